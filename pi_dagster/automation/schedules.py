"""The schedules: the list of tags once a day; every few minutes today's data and one closed day that is missing."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, time, timedelta, timezone

import dagster as dg

from pi_dagster.automation.closed_days import ClosedDays
from pi_dagster.automation.partitions import TAIL_TAG, only_own_checks, range_tags
from pi_dagster.site import Site

LOAD_TAG = "pi/load"
"""Run tag that says what the schedule asked for, so that it does not ask again while that run is under way."""

DAYS_BEHIND_TAG = "pi/days_to_load"
"""Run tag that tells how many closed days are not loaded, so that today's metadata can show it."""

STOPPED_TAG = "pi/stopped"
"""Run tag of a run that gave up for a reason which concerns every partition, such as a server that does not answer."""

_RETRY_PAUSE = timedelta(hours=1)
UNFINISHED = [
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


def list_began(listed: dg.EventLogEntry) -> float:
    """When the server was asked for the list of tags that this materialization is of, in seconds since 1970."""
    took = listed.asset_materialization.metadata.get("load/seconds") if listed.asset_materialization else None
    return listed.timestamp - (float(str(took.value)) if took is not None else 0.0)


def build_timeseries_schedule(
    site: Site,
    points: dg.AssetsDefinition,
    timeseries: dg.AssetsDefinition,
    *,
    before_points: Sequence[dg.AssetsDefinition] = (),
    name: str,
) -> dg.ScheduleDefinition:
    """Today's partitions at every tick, and beside them one closed day that is not loaded and settled.

    One run takes all tag groups of the day: a run of its own for each would start a process every few minutes
    for every group, and they would wait for each other at the PI server's pool anyway.

    Args:
        site: the settings.
        points: the list of tags, which is loaded where it is missing.
        timeseries: what is loaded.
        before_points: what the list of tags needs, such as the AF elements that tag groups are chosen by; loaded
            before the first list.
        name: the schedule's name.
    """
    groups = site.partition_names()
    needed_by_points = [key for assets in before_points for key in sorted(assets.keys)]
    closed_days = ClosedDays(site, timeseries)

    @dg.schedule(
        name=name,
        # Checks of other runs, such as comparing counts, are not for every five minutes.
        target=dg.AssetSelection.assets(*before_points, points).without_checks() | only_own_checks(timeseries),
        cron_schedule=site.schedules.timeseries,
        execution_timezone="UTC",
        description=(
            "Brings today's data of every tag group forward, reading only what is new; and beside it loads, oldest "
            f"first, one closed day of the last {site.incremental_window_days} that was not read whole since "
            f"{site.settle_hours:g} hours after its end; days that failed are tried again, one an hour. Loads the list "
            "of tags first where there is none, with the AF elements that tag groups need, or none from after that day."
        ),
    )
    def load_timeseries(context: dg.ScheduleEvaluationContext) -> list[dg.RunRequest] | dg.SkipReason:
        now = context.scheduled_execution_time.astimezone(timezone.utc)
        today = now.date()
        requests: list[dg.RunRequest] = []

        def load_of(what: str) -> dict[str, str]:
            return {LOAD_TAG: f"{timeseries.key.to_user_string()}: {what}"}

        def request(
            what: str, assets: Sequence[dg.AssetKey], runs: Sequence[dict[str, str]], *, pause: timedelta | None = None
        ) -> None:
            """Ask for `runs` unless the last such request is unfinished, or younger than `pause`."""
            filters = [dg.RunsFilter(tags=load_of(what), statuses=UNFINISHED)]
            if pause is not None:
                filters.append(dg.RunsFilter(tags=load_of(what), created_after=datetime.now(timezone.utc) - pause))
            if not any(context.instance.get_run_records(runs_filter, limit=1) for runs_filter in filters):
                requests.extend(
                    dg.RunRequest(
                        run_key=f"{now.isoformat()} {what} {number}",
                        asset_selection=assets,
                        tags={**load_of(what), **tags},
                    )
                    for number, tags in enumerate(runs)
                )

        listed = context.instance.get_latest_materialization_event(points.key)
        if listed is None:
            known = [context.instance.get_latest_materialization_event(key) for key in needed_by_points]
            request("tags", [*(needed_by_points if None in known else []), points.key], [{}])
        else:
            work = closed_days.open_work(context.instance, now)
            tail = {
                **range_tags(today, groups[0], groups[-1]),
                TAIL_TAG: "true",
                DAYS_BEHIND_TAG: str(work.days),
                # Before anything else in Dagster's queue, in which a backfill may have put hundreds of runs.
                "dagster/priority": "1",
            }
            request("today", [timeseries.key], [tail])
            last_of_today = context.instance.get_run_records(dg.RunsFilter(tags=load_of("today")), limit=1)
            if any(STOPPED_TAG in record.dagster_run.tags for record in last_of_today):
                context.log.info("No closed day is asked for: the last run was stopped by the server or the lake.")
            elif work.next_day is not None or work.failed:
                turn = int(now.timestamp() // _RETRY_PAUSE.total_seconds()) % max(1, len(work.failed))
                day = work.next_day or work.failed[turn]
                day_end = datetime.combine(day.day, time(), timezone.utc) + timedelta(days=1)
                if list_began(listed) < day_end.timestamp():
                    # A tag that was made during that day is in no older list, and the day is read only once.
                    request("tags", [points.key], [{}])
                elif work.next_day is not None:
                    request("closed day", [timeseries.key], day.run_tags(groups))
                else:
                    request("failed day", [timeseries.key], day.run_tags(groups), pause=_RETRY_PAUSE)
        return requests or dg.SkipReason("What this tick would load is still being loaded by an earlier run.")

    return load_timeseries
