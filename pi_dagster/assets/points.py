"""pi_points: the list of the PI server's tags and the tag group that owns each."""

# Without `from __future__ import annotations`: Dagster wants the annotation of `context` as a class.

from collections.abc import Sequence

import dagster as dg

from pi_dagster.assets.failures import errors_told_plainly
from pi_dagster.assets.metadata import points_metadata, table_metadata
from pi_dagster.ingest.points import refresh_points
from pi_dagster.lake.schemas import PI_POINTS
from pi_dagster.resources import SiteResources
from pi_dagster.site import Site

DESCRIPTION = """
The list of tags: **one row for each tag (point) of the PI server**, with its description, type, engineering units,
and the tag group (the partition of `pi_timeseries`) that reads it.

- A tag belongs to the first group of the site that matches; groups chosen by AF elements go by the last snapshot of
  `pi_asset_attributes`. Tags that match none are counted and named in
  the metadata; they are not read.
- A tag that the server no longer lists stays, with `is_active` false.
- Load this once before `pi_timeseries`, and again when tags were added.
"""


def build_pi_points(
    site: Site, resources: SiteResources, *, archive: dg.AssetSpec, upstream: Sequence[dg.AssetKey] = ()
) -> dg.AssetsDefinition:
    """The asset pi_points of a site.

    Args:
        site: the settings.
        resources: the names of the resources.
        archive: where the tags are.
        upstream: what tag groups may be chosen by: the attributes of AF elements.
    """

    @dg.asset(
        key=[*site.asset_key_prefix, PI_POINTS.name],
        deps=[archive, *upstream],
        group_name="pi",
        kinds={"python", "deltalake"},
        description=DESCRIPTION,
        metadata=table_metadata(PI_POINTS, site.lake),
        pool=resources.pool,
        required_resource_keys=resources.keys,
    )
    def pi_points(context: dg.AssetExecutionContext) -> dg.MaterializeResult[None]:
        with errors_told_plainly(), resources.server(context).open() as source:
            report = refresh_points(site, source, resources.lake(context).open(), run_id=context.run.run_id)
        context.log.info(f"{report.tags:,} tags, {report.new_tags:,} of them new")
        if report.groups_without_tags:
            context.log.warning(f"Groups that no tag matches: {', '.join(report.groups_without_tags)}")
        if report.gone_tags:
            context.log.warning(f"{len(report.gone_tags):,} tags are no longer listed by the server; their rows stay")
        if report.moved_tags:
            context.log.warning(
                f"{len(report.moved_tags):,} tags are in another tag group than before. What the old one has of older "
                "days stays there until these days are loaded again for the new one"
            )
        if report.missing_tags:
            context.log.warning(f"Tags of the site that the server does not list: {', '.join(report.missing_tags)}")
        if report.tags_in_no_group_count:
            context.log.warning(f"{report.tags_in_no_group_count:,} tags are in no group and are not read")
        return dg.MaterializeResult(metadata=points_metadata(report))

    return pi_points
