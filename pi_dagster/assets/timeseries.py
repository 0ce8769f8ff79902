"""pi_timeseries: the recorded values, one partition for each day and tag group."""

# Without `from __future__ import annotations`: Dagster wants the annotation of `context` as a class.

from collections.abc import Iterator

import dagster as dg

from pi_dagster.assets.failures import (
    EXPECTED_ERRORS,
    PARTITION_ERRORS,
    FailedPartition,
    errors_told_plainly,
    partitions_failure,
)
from pi_dagster.assets.metadata import table_metadata, unread_tags_table, window_metadata
from pi_dagster.automation.partitions import (
    build_timeseries_partitions,
    is_range_run,
    partition_tags,
    run_keys,
    split_partition_key,
)
from pi_dagster.automation.schedules import STOPPED_TAG
from pi_dagster.ingest.report import FailedTag
from pi_dagster.ingest.timeseries import partitions_in_turn
from pi_dagster.lake.schemas import PI_TIMESERIES
from pi_dagster.resources import SiteResources
from pi_dagster.site import Site

EVERY_TAG_READ = "every_tag_read"

DESCRIPTION = """
The recorded values: **one row for each event in the PI archive**, exactly as it is there (nothing interpolated).

- A partition is one day (UTC) of one tag group. Loading it reads the whole day and replaces the whole day, in one
  step: loading it again never makes duplicates, and picks up late and edited values.
- Today's partition reaches to a few seconds ago; `pi/watermark` tells how far.
- `value` holds numbers. Digital states and texts are in `value_string`; states of the PI system itself, such as
  `No Data` or `Shutdown`, have `is_system_state` true.
- When a tag cannot be read its partition fails, and no other; the failed run names tag and reason. *Backfill only
  failed and missing partitions* repeats just those.
"""


def build_pi_timeseries(
    site: Site, resources: SiteResources, *, archive: dg.AssetSpec, points: dg.AssetsDefinition
) -> dg.AssetsDefinition:
    """The asset pi_timeseries of a site.

    Each partition's materialization is recorded as soon as its commit is made, so that a run over many partitions
    that fails on one leaves the others done. `MaterializeResult` cannot do that: it counts for all partitions of
    the run and only once the function has returned.
    """
    partitions = build_timeseries_partitions(site)

    @dg.asset(
        key=[*site.asset_key_prefix, PI_TIMESERIES.name],
        deps=[points, archive],
        partitions_def=partitions,
        backfill_policy=dg.BackfillPolicy.multi_run(site.max_partitions_per_run),
        output_required=False,
        group_name="pi",
        kinds={"python", "deltalake"},
        description=DESCRIPTION,
        metadata={**table_metadata(PI_TIMESERIES, site.lake), "dagster/column_lineage": _lineage(points.key)},
        check_specs=[
            dg.AssetCheckSpec(
                EVERY_TAG_READ,
                asset=[*site.asset_key_prefix, PI_TIMESERIES.name],
                description=(
                    "Every tag of the loaded partitions was read whole. Can only fail where the site says "
                    "`allow_partial`: then the other tags are loaded, and the unread ones keep their old rows."
                ),
            )
        ],
        pool=resources.pool,
        required_resource_keys=resources.keys,
    )
    def pi_timeseries(
        context: dg.AssetExecutionContext,
    ) -> Iterator[dg.MaterializeResult[None] | dg.AssetCheckResult]:
        keys = run_keys(context, partitions)
        failed: list[FailedPartition] = []
        unread: list[tuple[str, FailedTag]] = []
        with errors_told_plainly(), resources.server(context).open() as source:
            lake = resources.lake(context).open()
            loads = partitions_in_turn(site, source, lake, map(split_partition_key, keys), run_id=context.run.run_id)
            for position, (key, load) in enumerate(zip(keys, loads, strict=True)):
                try:
                    report = load.run()
                except EXPECTED_ERRORS as error:
                    context.log.error(f"{key}: {error}")
                    failed.append(FailedPartition(key, error))
                    if isinstance(error, PARTITION_ERRORS):
                        continue
                    context.instance.add_run_tags(context.run.run_id, {STOPPED_TAG: key})
                    loaded = position + 1 - len(failed)
                    raise partitions_failure(failed, not_tried=keys[position + 1 :], loaded=loaded) from error
                context.log.info(
                    f"{key}: {report.rows:,} rows of {report.tags:,} tags in {report.seconds:.1f} s "
                    f"({position + 1} of {len(keys)})"
                )
                unread += [(key, tag) for tag in report.failed_tags]
                if is_range_run(context):
                    context.log_event(
                        dg.AssetMaterialization(
                            context.asset_key,
                            partition=key,
                            metadata=window_metadata(report),
                            tags=partition_tags(*split_partition_key(key)),
                        )
                    )
                else:
                    yield dg.MaterializeResult(metadata=window_metadata(report))
        if failed:
            raise partitions_failure(failed, not_tried=(), loaded=len(keys) - len(failed))
        yield dg.AssetCheckResult(
            check_name=EVERY_TAG_READ, passed=not unread, metadata={"pi/unread_tags": unread_tags_table(unread)}
        )

    return pi_timeseries


def _lineage(points: dg.AssetKey) -> dg.TableColumnLineage:
    """The columns that are copied from pi_points; all others come from the archive, which has no columns."""
    copied = {
        "tag_webid": "tag_webid",
        "tag_name": "tag_name",
        "tag_group": "tag_group",
        "units": "engineering_units",
    }
    return dg.TableColumnLineage(
        {column: [dg.TableColumnDep(asset_key=points, column_name=origin)] for column, origin in copied.items()}
    )
