"""pi_archive: the PI Data Archive itself, an asset that Dagster shows as the origin and never loads."""

from __future__ import annotations

import dagster as dg

from pi_dagster.site import Site


def build_pi_archive(site: Site) -> dg.AssetSpec:
    """The upstream end of the lineage, with the server's address in its metadata."""
    return dg.AssetSpec(
        key=[*site.asset_key_prefix, "pi_archive"],
        group_name="pi",
        kinds={"source"},
        description=(
            "The archive of the PI server: every value it recorded, of every tag. It is read through PI Web API "
            "and never written to."
        ),
        metadata={
            "pi/server": dg.MetadataValue.url(site.server.url),
            "pi/data_server": site.server.data_server or "the only one that PI Web API knows",
        },
    )
