"""The schedule of the daily numbers: each closed day whose rows are others than those that it was computed from.

The two tables' logs tell which days those are. So days follow loads of any kind, such as backfills, reloads that
reconciliation asked for and loads by another tool, and a load knows nothing of it and waits for nothing.
"""

# Without `from __future__ import annotations`: Dagster wants the annotation of `context` as a class.

from collections.abc import Set
from datetime import date, timezone
from itertools import islice

import dagster as dg

from pi_dagster.assets.failures import errors_told_plainly
from pi_dagster.automation.frame_days import day_range_tags, stretches
from pi_dagster.automation.schedules import LOAD_TAG, UNFINISHED
from pi_dagster.lake import Lake, TableMissingError, TimeseriesDailyTable, TimeseriesTable
from pi_dagster.lake.timeseries_daily import files_by_day
from pi_dagster.resources import SiteResources
from pi_dagster.site import Site

_MOST_RUNS = 10
"""Asked for at a tick; what is left is for the next one, so that a backfill of years does not fill Dagster's queue."""


def build_daily_schedule(
    site: Site, resources: SiteResources, daily: dg.AssetKey, *, name: str, job_name: str
) -> dg.ScheduleDefinition:
    """Closed days of pi_timeseries that pi_timeseries_daily does not show as they are now, the newest first.

    Args:
        site: the settings.
        resources: the lake.
        daily: the key of pi_timeseries_daily.
        name: the schedule's name.
        job_name: the job that it starts.
    """

    @dg.schedule(
        name=name,
        job_name=job_name,
        cron_schedule=site.schedules.daily,
        execution_timezone="UTC",
        required_resource_keys={resources.lake_key},
        description="Computes the numbers of each closed day whose rows have changed since they were computed.",
    )
    def follow_loads(context: dg.ScheduleEvaluationContext) -> list[dg.RunRequest] | dg.SkipReason:
        load_tag = {LOAD_TAG: f"{daily.to_user_string()}: days"}
        if context.instance.get_run_records(dg.RunsFilter(tags=load_tag, statuses=UNFINISHED), limit=1):
            return dg.SkipReason("The days of an earlier tick are still being computed.")
        # Dagster wants a key for each run, and never makes a second run of a key: a day may be computed many times.
        tick = context.scheduled_execution_time.astimezone(timezone.utc)
        with errors_told_plainly():
            days = days_to_compute(site, resources.lake(context).open(), before=tick.date())
        requests = [
            dg.RunRequest(run_key=f"{tick.isoformat()} {first}", tags={**load_tag, **day_range_tags(first, last)})
            for first, last in islice(stretches(days, longest=site.max_partitions_per_run), _MOST_RUNS)
        ]
        return requests or dg.SkipReason("Every closed day shows its rows as they are now.")

    return follow_loads


def days_to_compute(site: Site, lake: Lake, *, before: date) -> Set[date]:
    """The days before `before` whose numbers were not computed from the rows that they have now.

    Raises:
        LakeError: the storage failed.
    """
    try:
        timeseries = TimeseriesTable.open(lake, create=False).snapshot()
    except TableMissingError:
        return set()
    source = files_by_day(timeseries, site.partition_names())
    try:
        computed = TimeseriesDailyTable.open(lake, create=False).source_files()
    except TableMissingError:
        computed = {}
    return {day for day, digest in source.items() if site.start_date <= day < before and computed.get(day) != digest}
