"""pi_timeseries: the recorded values, one partition for each day and tag group."""

# Without `from __future__ import annotations`: Dagster wants the annotation of `context` as a class.

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta

import dagster as dg

from pi_dagster.assets.failures import (
    FailedPartition,
    errors_told_plainly,
    partitions_failure,
)
from pi_dagster.assets.materializations import materialized
from pi_dagster.assets.metadata import table_metadata, window_metadata
from pi_dagster.assets.tag_errors import TagErrorsOfRun, every_tag_read
from pi_dagster.assets.watermarks import last_watermarks
from pi_dagster.automation.partitions import (
    TAIL_TAG,
    build_timeseries_partitions,
    partition_key,
    partition_tags,
    run_keys,
    split_partition_key,
)
from pi_dagster.automation.schedules import DAYS_BEHIND_TAG, STOPPED_TAG
from pi_dagster.ingest.errors import PARTITION_ERRORS
from pi_dagster.ingest.load_plans import Partition
from pi_dagster.ingest.tail import load_tail
from pi_dagster.ingest.timeseries import Outcome, PartitionLoad, partitions_in_turn, run_in_turn
from pi_dagster.lake import Lake
from pi_dagster.lake.schemas import PI_TIMESERIES
from pi_dagster.piwebapi import PIWebAPISource
from pi_dagster.resources import SiteResources
from pi_dagster.site import Site

DESCRIPTION = """
The recorded values: **one row for each event in the PI archive**, exactly as it is there (nothing interpolated).

- A partition is one day (UTC) of one tag group. Loading it reads the whole day and replaces the whole day, in one
  step: loading it again never makes duplicates, and picks up late and edited values.
- Today's partition reaches to a few seconds ago: the schedule brings it forward every few minutes, reading only what
  is new and a few minutes before it. `pi/watermark` tells how far it reaches, `pi/lag_seconds` how far it is behind.
- Some hours after its end a day is read whole once more (`pi/settled`), and `pi/added_events`, `pi/changed_events`
  and `pi/removed_events` tell what had come late or was edited.
- `value` holds numbers. Digital states and texts are in `value_string`; states of the PI system itself, such as
  `No Data` or `Shutdown`, have `is_system_state` true.
- When a tag cannot be read its partition fails, and no other; the failed run names tag and reason, and so does
  `pi_tag_errors`. *Backfill only failed and missing partitions* repeats just those.
- A tag that was deleted on the server fails nothing: what was loaded of it stays.
"""


def build_pi_timeseries(
    site: Site, resources: SiteResources, *, archive: dg.AssetSpec, points: dg.AssetsDefinition
) -> dg.AssetsDefinition:
    """The asset pi_timeseries of a site."""
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
        check_specs=[every_tag_read(site)],
        pool=resources.pool,
        required_resource_keys=resources.keys,
    )
    def pi_timeseries(
        context: dg.AssetExecutionContext,
    ) -> Iterator[dg.MaterializeResult[None] | dg.AssetCheckResult]:
        keys = [str(key) for key in run_keys(context, partitions)]
        is_tail = TAIL_TAG in context.run.tags
        loaded: list[str] = []
        failed: list[FailedPartition] = []
        with errors_told_plainly(), resources.server(context).open() as source:
            lake = resources.lake(context).open()
            tag_errors = TagErrorsOfRun(site, context, lake)
            load = _tail_of if is_tail else _days_of
            for partition, outcome in load(site, context, source, lake, [split_partition_key(key) for key in keys]):
                key = str(partition_key(*partition))
                tag_errors.add((partition, outcome), tell_at_once=not is_tail)
                if isinstance(outcome, Exception):
                    context.log.error(f"{key}: {outcome}")
                    failed.append(FailedPartition(key, outcome))
                    continue
                loaded.append(key)
                if outcome.gone_tags:
                    names = ", ".join(tag.tag_name for tag in outcome.gone_tags)
                    context.log.warning(
                        f"{key}: the server does not have these tags any more; their rows stay: {names}"
                    )
                told = (
                    f"{key}: {outcome.rows:,} rows of {outcome.tags:,} tags in {outcome.seconds:.1f} s "
                    f"({len(loaded) + len(failed)} of {len(keys)})"
                )
                metadata = window_metadata(outcome, is_tail=is_tail)
                if behind := context.run.tags.get(DAYS_BEHIND_TAG):
                    metadata["pi/days_to_load"] = dg.MetadataValue.int(int(behind))
                yield from materialized(context, key, told, metadata, tags=partition_tags(*partition))
            tag_errors.record()
        yield tag_errors.check_result()
        if failed:
            tried = {*loaded, *(partition.key for partition in failed)}
            not_tried = [key for key in keys if key not in tried]
            if not isinstance(failed[-1].error, PARTITION_ERRORS):
                context.instance.add_run_tags(context.run.run_id, {STOPPED_TAG: failed[-1].key})
            raise partitions_failure(failed, not_tried=not_tried, loaded=len(loaded)) from failed[-1].error

    return pi_timeseries


def _days_of(
    site: Site, context: dg.AssetExecutionContext, source: PIWebAPISource, lake: Lake, partitions: Sequence[Partition]
) -> Iterator[Outcome]:
    """Whole days, each with a commit of its own."""
    if site.engine == "databricks":
        return _loads_on_databricks(site, context, partitions)
    if site.engine == "spark":
        loads = _loads_in_spark(site, context, source, lake, partitions)
    else:
        loads = partitions_in_turn(site, source, lake, partitions, run_id=context.run.run_id)
    return run_in_turn(loads, goes_on_after=PARTITION_ERRORS)


def _loads_in_spark(
    site: Site, context: dg.AssetExecutionContext, source: PIWebAPISource, lake: Lake, partitions: Sequence[Partition]
) -> Iterator[PartitionLoad]:
    # Every run would pay for importing Spark at the top, and it is an extra.
    with _of_extra("spark"):
        from pi_dagster.spark.engine import partitions_in_spark
        from pi_dagster.spark.session import open_session
    session = open_session(site.spark.master, site.spark.settings)
    return partitions_in_spark(site, source, lake, session, partitions, run_id=context.run.run_id)


def _loads_on_databricks(
    site: Site, context: dg.AssetExecutionContext, partitions: Sequence[Partition]
) -> Iterator[Outcome]:
    # It takes twice as long to import as all else.
    with _of_extra("databricks"):
        from pi_dagster.assets.databricks import days_on_databricks
    return days_on_databricks(site, context, partitions)


@contextmanager
def _of_extra(engine: str) -> Iterator[None]:
    try:
        yield
    except ModuleNotFoundError as error:
        raise dg.Failure(
            f"The site says `engine: {engine}`, and {error.name} is not installed: install pi-dagster[{engine}], or "
            "set `engine: local`."
        ) from None


def _tail_of(
    site: Site, context: dg.AssetExecutionContext, source: PIWebAPISource, lake: Lake, partitions: Sequence[Partition]
) -> Iterator[Outcome]:
    """What the days lack since their watermarks."""
    of_the_days_before = [(day - timedelta(days=1), group) for day, group in partitions]
    return load_tail(
        site,
        source,
        lake,
        partitions,
        watermarks=last_watermarks(context.instance, context.asset_key, {*partitions, *of_the_days_before}),
        run_id=context.run.run_id,
        goes_on_after=PARTITION_ERRORS,
    )


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
