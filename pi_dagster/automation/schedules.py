"""The schedules: the list of tags once a day; every few minutes today's data and one closed day that is missing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import date, timedelta, timezone
from itertools import groupby

import dagster as dg

from pi_dagster.automation.partitions import COMPLETE, partition_key, range_tags
from pi_dagster.site import Site

LOAD_TAG = "pi/load"
"""Run tag that says what the schedule asked for, so that it does not ask again while that run is under way."""

_UNFINISHED = [
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
]


def build_points_schedule(site: Site, *, name: str, job_name: str) -> dg.ScheduleDefinition:
    """The list of tags once a day."""
    return dg.ScheduleDefinition(
        name=name,
        job_name=job_name,
        cron_schedule=site.schedules.points,
        execution_timezone="UTC",
        description="Reads the list of tags again, so that new, renamed and deleted tags are known.",
    )


def build_timeseries_schedule(
    site: Site, points: dg.AssetsDefinition, timeseries: dg.AssetsDefinition, *, name: str
) -> dg.ScheduleDefinition:
    """Today's partitions at every tick, and the oldest closed day that nobody has loaded whole.

    One run takes all tag groups of the day: a run of its own for each would start a process every few minutes
    for every group, and they would wait for each other at the PI server's pool anyway.
    """
    groups = site.partition_names()
    closed_days = _ClosedDays(site, timeseries)

    @dg.schedule(
        name=name,
        target=[points, timeseries],
        cron_schedule=site.schedules.timeseries,
        execution_timezone="UTC",
        description=(
            "Loads today's data of every tag group again and again, and beside it, oldest first, one closed day "
            f"of the last {site.incremental_window_days} that was never loaded whole. Loads the list of tags "
            "first where there is none. Days that failed are left to a person."
        ),
    )
    def load_timeseries(context: dg.ScheduleEvaluationContext) -> list[dg.RunRequest] | dg.SkipReason:
        today = context.scheduled_execution_time.astimezone(timezone.utc).date()
        requests: list[dg.RunRequest] = []

        def request(what: str, asset: dg.AssetsDefinition, ranges: Sequence[dict[str, str]]) -> None:
            load = {LOAD_TAG: f"{site.name}: {what}"}
            if not context.instance.get_run_records(dg.RunsFilter(tags=load, statuses=_UNFINISHED), limit=1):
                requests.extend(
                    dg.RunRequest(
                        run_key=f"{context.scheduled_execution_time.isoformat()} {what} {number}",
                        asset_selection=[asset.key],
                        tags={**load, **tags},
                    )
                    for number, tags in enumerate(ranges)
                )

        if context.instance.get_latest_materialization_event(points.key) is None:
            request("tags", points, [{}])
        else:
            request("today", timeseries, [range_tags(today, groups[0], groups[-1])])
            missing = closed_days.oldest_missing(context.instance, today)
            if missing is not None:
                day, missing_groups = missing
                stretches = _stretches(missing_groups, groups)
                request("closed day", timeseries, [range_tags(day, first, last) for first, last in stretches])
        return requests or dg.SkipReason("What this tick would load is still being loaded by an earlier run.")

    return load_timeseries


class _ClosedDays:
    """Which of the days before today are loaded to their end, as Dagster's materializations tell."""

    def __init__(self, site: Site, timeseries: dg.AssetsDefinition) -> None:
        self._site = site
        self._timeseries = timeseries
        self._complete: dict[int, bool] = {}
        """By storage id of a materialization, which never changes, so that each is read once and not every tick."""

    def oldest_missing(self, instance: dg.DagsterInstance, today: date) -> tuple[date, list[str]] | None:
        """The oldest day with tag groups that are not complete, not under way and not failed, and those groups.

        A day that was only loaded while it lasted is not complete: one more run has to read its last minutes.
        """
        key, partitions, groups = self._timeseries.key, self._timeseries.partitions_def, self._site.partition_names()
        assert partitions is not None
        first = max(self._site.start_date, today - timedelta(days=self._site.incremental_window_days))
        days = [first + timedelta(days=offset) for offset in range((today - first).days)]
        keys = [partition_key(day, group) for day in days for group in groups]
        status = instance.get_status_by_partition(key, keys, partitions) or {}
        latest = instance.get_latest_storage_id_by_partition(key, dg.DagsterEventType.ASSET_MATERIALIZATION)
        busy = (dg.AssetPartitionStatus.IN_PROGRESS, dg.AssetPartitionStatus.FAILED)
        for day in days:
            events = {group: latest.get(partition_key(day, group)) for group in groups}
            self._learn(instance, [event for event in events.values() if event is not None])
            missing = [
                group
                for group, event in events.items()
                if not (event is not None and self._complete.get(event, False))
                and status.get(partition_key(day, group)) not in busy
            ]
            if missing:
                return day, missing
        return None

    def _learn(self, instance: dg.DagsterInstance, events: Sequence[int]) -> None:
        unknown = [event for event in events if event not in self._complete]
        if not unknown:
            return
        wanted = dg.AssetRecordsFilter(self._timeseries.key, storage_ids=unknown)
        for record in instance.fetch_materializations(wanted, limit=len(unknown)).records:
            materialization = record.asset_materialization
            complete = materialization.metadata.get(COMPLETE) if materialization else None
            self._complete[record.storage_id] = complete is not None and bool(complete.value)


def _stretches(groups: Sequence[str], order: Sequence[str]) -> Iterator[tuple[str, str]]:
    """First and last of each stretch of `groups` without a gap, as a partition range covers all between its ends."""
    positions = [order.index(group) for group in groups]
    for _, stretch in groupby(enumerate(positions), key=lambda pair: pair[1] - pair[0]):
        members = [position for _, position in stretch]
        yield order[members[0]], order[members[-1]]
