"""pi_asset_hierarchy and pi_asset_attributes: the plant's assets, both from one reading of PI Asset Framework."""

# Without `from __future__ import annotations`: Dagster wants the annotation of `context` as a class.

from collections.abc import Iterator

import dagster as dg

from pi_dagster.assets.failures import errors_told_plainly
from pi_dagster.assets.metadata import attributes_metadata, hierarchy_metadata, table_metadata
from pi_dagster.ingest.assets import refresh_assets
from pi_dagster.lake.schemas import PI_ASSET_ATTRIBUTES, PI_ASSET_HIERARCHY
from pi_dagster.resources import SiteResources
from pi_dagster.site import Site

HIERARCHY_DESCRIPTION = """
The assets of the plant: **one row for each element of PI Asset Framework**, with its path, its parent and its template.

- An element keeps its `element_id` when it is renamed or moved.
- An element that several others hold is one row; `all_paths` and `all_parent_ids` tell all of them, and there may be
  cycles. `parent_id` is the primary parent, and its paths have no cycle.
- The table is a snapshot. When nothing has changed, no new version of it is made; older snapshots are its older
  versions.
- To PI, an element that the login may no longer read looks deleted. When many are gone at once the run fails and the
  table stays.
"""

ATTRIBUTES_DESCRIPTION = """
What the assets have: **one row for each attribute of an element**, hidden ones too, and the bridge from assets to tags.

- `tag_webid` joins to `pi_points` and `pi_timeseries`, `element_id` to `pi_asset_hierarchy`.
- Elements of one template share the ids of its attributes, so the key is `(element_id, attribute_id)`.
- A static attribute has its value in `static_value`; values of formulas and tables are not read.
"""


def build_pi_assets(site: Site, resources: SiteResources) -> dg.AssetsDefinition:
    """The assets pi_asset_hierarchy and pi_asset_attributes of a site, materialized together."""
    hierarchy = dg.AssetKey([*site.asset_key_prefix, PI_ASSET_HIERARCHY.name])
    attributes = dg.AssetKey([*site.asset_key_prefix, PI_ASSET_ATTRIBUTES.name])

    @dg.multi_asset(
        name="_".join([*site.asset_key_prefix, "pi_assets"]),
        specs=[
            dg.AssetSpec(
                key=hierarchy,
                group_name="pi",
                kinds={"python", "deltalake"},
                description=HIERARCHY_DESCRIPTION,
                metadata=table_metadata(PI_ASSET_HIERARCHY, site.lake),
            ),
            dg.AssetSpec(
                key=attributes,
                deps=[hierarchy],
                group_name="pi",
                kinds={"python", "deltalake"},
                description=ATTRIBUTES_DESCRIPTION,
                metadata={
                    **table_metadata(PI_ASSET_ATTRIBUTES, site.lake),
                    "dagster/column_lineage": dg.TableColumnLineage(
                        {"element_id": [dg.TableColumnDep(asset_key=hierarchy, column_name="element_id")]}
                    ),
                },
            ),
        ],
        pool=resources.pool,
        required_resource_keys=resources.keys,
    )
    def pi_assets(context: dg.AssetExecutionContext) -> Iterator[dg.MaterializeResult[None]]:
        with errors_told_plainly(), resources.server(context).open() as source:
            report = refresh_assets(site, source, resources.lake(context).open(), run_id=context.run.run_id)
        context.log.info(
            f"{report.elements:,} elements with {report.attributes:,} attributes in {report.seconds:.1f} s; "
            + ", ".join(f"{count:,} {change}" for change, count in report.changes.items())
        )
        if report.unreadable_elements:
            context.log.warning(
                f"{len(report.unreadable_elements):,} elements are still there but not for this login; their old rows "
                f"stay: {', '.join(report.unreadable_elements[:5])} ..."
            )
        if report.unread_value_count:
            context.log.warning(
                f"The server could not give the values of {report.unread_value_count:,} static attributes: "
                f"{', '.join(report.unread_values[:5])} ..."
            )
        yield dg.MaterializeResult(
            asset_key=hierarchy,
            metadata=hierarchy_metadata(report),
            data_version=dg.DataVersion(report.hierarchy_content),
        )
        yield dg.MaterializeResult(
            asset_key=attributes,
            metadata=attributes_metadata(report),
            data_version=dg.DataVersion(report.attributes_content),
        )

    return pi_assets
