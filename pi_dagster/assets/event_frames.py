"""pi_event_frames: the events of the plant, one partition for each day that they start on."""

# Without `from __future__ import annotations`: Dagster wants the annotation of `context` as a class.

from collections.abc import Iterator, Mapping, Sequence
from datetime import date

import dagster as dg

from pi_dagster.assets.failures import (
    EXPECTED_ERRORS,
    FailedPartition,
    errors_told_plainly,
    partitions_failure,
)
from pi_dagster.assets.materializations import materialized
from pi_dagster.assets.metadata import frames_metadata, table_metadata
from pi_dagster.assets.metadata_tables import failed_frames_in_table, failed_frames_table
from pi_dagster.automation.event_frames import changes_tag
from pi_dagster.automation.frame_days import FAILED_FRAMES
from pi_dagster.automation.last_check import last_evaluation
from pi_dagster.automation.partitions import build_day_partitions, run_keys
from pi_dagster.automation.schedules import STOPPED_TAG
from pi_dagster.ingest.errors import PARTITION_ERRORS
from pi_dagster.ingest.event_frames import event_frame_databases, load_day
from pi_dagster.ingest.report import FailedFrame
from pi_dagster.lake.schemas import PI_EVENT_FRAMES
from pi_dagster.resources import SiteResources
from pi_dagster.site import Site

EVERY_FRAME_READ = "every_frame_read"

DESCRIPTION = """
The event frames of PI Asset Framework: **one row for each event**, such as a batch, a downtime or an alarm, with when
it began and ended, what it is about, and the values that were recorded with it.

- A partition is the day (UTC) that a frame **starts** on. Loading it lists the frames of that day and replaces the
  day, in one step: deleted frames go, and a frame that was moved to another day leaves its old one.
- A frame that has not ended has `is_open` true, and neither `end_time` nor `duration_minutes`.
- `event_attributes['Product']` is the value of the attribute *Product*, as text; `attribute_units` has the units under
  the same names. Numbers: `TRY_CAST(event_attributes['Yield'] AS DOUBLE)`.
- `primary_element_id` joins to `element_id` of `pi_asset_hierarchy` and `pi_asset_attributes`, and from there
  `tag_webid` to `pi_timeseries`. Children have the frame they are a part of in `parent_event_frame_id`.
- The sensor keeps this true by the minute; the nightly schedule reads the last days again.
"""


def build_pi_event_frames(
    site: Site, resources: SiteResources, *, upstream: Sequence[dg.AssetKey]
) -> dg.AssetsDefinition:
    """The asset pi_event_frames of a site.

    Args:
        site: the settings.
        resources: the names of the resources.
        upstream: what the lineage shows before it: the assets that events are about.
    """
    partitions = build_day_partitions(site)
    key = dg.AssetKey([*site.asset_key_prefix, PI_EVENT_FRAMES.name])

    @dg.asset(
        key=key,
        deps=upstream,
        partitions_def=partitions,
        backfill_policy=dg.BackfillPolicy.multi_run(site.max_partitions_per_run),
        output_required=False,
        group_name="pi",
        kinds={"python", "deltalake"},
        description=DESCRIPTION,
        metadata=table_metadata(PI_EVENT_FRAMES, site.lake),
        check_specs=[
            dg.AssetCheckSpec(
                EVERY_FRAME_READ,
                asset=key,
                description=(
                    "The attributes of every event frame were read, whichever load it was that last read its day. Can "
                    "only fail where the site says `on_tag_error: keep`: then such frames are loaded with their old "
                    "attribute values or none. The sensor asks again for days that its look-back reaches; load older "
                    "ones again when the cause is gone."
                ),
            )
        ],
        pool=resources.pool,
        required_resource_keys=resources.keys,
    )
    def pi_event_frames(
        context: dg.AssetExecutionContext,
    ) -> Iterator[dg.MaterializeResult[None] | dg.AssetCheckResult]:
        keys = run_keys(context, partitions)
        only_changes = changes_tag(key).items() <= context.run.tags.items()
        failed: list[FailedPartition] = []
        unread = _unread_before(context.instance, key)
        with errors_told_plainly(), resources.server(context).open() as source:
            lake = resources.lake(context).open()
            databases = event_frame_databases(site, source)
            for position, day in enumerate(keys):
                try:
                    report = load_day(
                        site,
                        source,
                        lake,
                        databases=databases,
                        day=date.fromisoformat(day),
                        # A frame that kept its old attributes looks as if it had settled.
                        read_all_attributes=not only_changes or day in unread,
                        run_id=context.run.run_id,
                    )
                except EXPECTED_ERRORS as error:
                    context.log.error(f"{day}: {error}")
                    failed.append(FailedPartition(day, error))
                    if isinstance(error, PARTITION_ERRORS):
                        continue
                    context.instance.add_run_tags(context.run.run_id, {STOPPED_TAG: day})
                    loaded = position + 1 - len(failed)
                    yield _every_frame_read(unread)
                    raise partitions_failure(failed, not_tried=keys[position + 1 :], loaded=loaded) from error
                told = (
                    f"{day}: {report.frames:,} event frames, {report.new_frames:,} new, {report.changed_frames:,} "
                    f"changed, {report.gone_frames:,} gone, in {report.seconds:.1f} s ({position + 1} of {len(keys)})"
                )
                if report.lost_databases:
                    context.log.warning(
                        f"{day}: {report.kept_frames:,} event frames stay because the server no longer shows their "
                        f"database: {', '.join(report.lost_databases)}"
                    )
                unread.pop(day, None)
                if report.failed_frames:
                    unread[day] = report.failed_frames
                yield from materialized(context, day, told, frames_metadata(report))
        yield _every_frame_read(unread)
        if failed:
            raise partitions_failure(failed, not_tried=(), loaded=len(keys) - len(failed))

    return pi_event_frames


def _unread_before(instance: dg.DagsterInstance, asset: dg.AssetKey) -> dict[str, Sequence[FailedFrame]]:
    """The frames that lack attributes since earlier loads, by day, as the check told last."""
    check = dg.AssetCheckKey(asset, EVERY_FRAME_READ)
    evaluation = last_evaluation(instance, check, with_metadata=FAILED_FRAMES)
    return {} if evaluation is None else {**failed_frames_in_table(evaluation.metadata[FAILED_FRAMES])}


def _every_frame_read(unread: Mapping[str, Sequence[FailedFrame]]) -> dg.AssetCheckResult:
    return dg.AssetCheckResult(
        check_name=EVERY_FRAME_READ, passed=not unread, metadata={FAILED_FRAMES: failed_frames_table(unread)}
    )
