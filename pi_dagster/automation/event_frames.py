"""The sensor that keeps pi_event_frames true, and the nightly schedule that reads the look-back again."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from datetime import date, datetime, timedelta, timezone
from functools import partial

import dagster as dg

from pi_dagster.assets.failures import errors_told_plainly
from pi_dagster.automation.frame_days import (
    LoadedDay,
    LoadedDays,
    day_range_tags,
    days_between,
    days_of_run,
    stretches,
)
from pi_dagster.automation.frame_watch import Listing, Turn, plan_look
from pi_dagster.automation.schedules import LOAD_TAG, UNFINISHED
from pi_dagster.ingest.event_frames import event_frame_databases, list_event_frames
from pi_dagster.ingest.window import Window
from pi_dagster.lake import EventFramesTable, Lake, TableMissingError
from pi_dagster.piwebapi.event_frames import EventFrame
from pi_dagster.resources import SiteResources
from pi_dagster.site import Site

REQUEST_PATIENCE_SECONDS = 12.0
"""How long the sensor waits for one answer; a small plant needs four, one after the other."""

TICK_SECONDS = 30.0
"""After so long a tick begins no further page. Dagster ends a tick after 60 s, whatever it is doing."""

RETRY_PAUSE = timedelta(minutes=5)
"""How long a day is left alone whose load failed, or could not read the attributes of all its frames."""


def changes_tag(asset: dg.AssetKey) -> dict[str, str]:
    """The tag of the runs that the sensor asks for; they read the attributes of those frames only that changed."""
    return {LOAD_TAG: f"{asset.to_user_string()}: changes"}


def build_event_frame_sensor(
    site: Site, resources: SiteResources, event_frames: dg.AssetsDefinition, *, name: str, job_name: str
) -> dg.SensorDefinition:
    """The sensor: every minute it asks for the days whose frames are not in the table as the server lists them."""
    loaded_days = LoadedDays(event_frames.key)
    settings = site.event_frames

    @dg.sensor(
        name=name,
        job_name=job_name,
        minimum_interval_seconds=settings.sensor_interval_seconds,
        required_resource_keys=resources.keys,
        description=(
            "Finds event frames that are new, changed, closed, acknowledged or deleted, and loads the days they start "
            "on; also days some attributes of which could not be read. Looks at today, yesterday and all open frames "
            f"every time, and in turn at the {settings.lookback_days} days before. Asks for nothing when nothing has "
            "changed."
        ),
    )
    def watch_event_frames(context: dg.SensorEvaluationContext) -> dg.SensorResult:
        deadline = time.monotonic() + TICK_SECONDS
        instance = context.instance
        today = datetime.now(timezone.utc).date()
        lookback = days_between(max(site.start_date, today - timedelta(days=settings.lookback_days)), today)
        # Before anything is listed: a run that ends while it is would have loaded what the list does not show yet.
        under_way = _days_under_way(instance, event_frames.key)
        with errors_told_plainly():
            lake = resources.lake(context).open()
            loaded = loaded_days.read(instance, lookback, files=_files_by_day(lake))
            look = plan_look(site, Turn.parse(context.cursor), today=today, loaded=loaded)
            with resources.server(context).open(patience_seconds=REQUEST_PATIENCE_SECONDS) as source:
                databases = event_frame_databases(site, source)

                def listed(windows: Sequence[Window], *, only_open: bool) -> Iterator[EventFrame]:
                    in_time = partial(_check_time, deadline)
                    return list_event_frames(site, source, databases, windows, only_open=only_open, before_page=in_time)

                listing = Listing.of(
                    look, frames=partial(listed, only_open=False), open_frames=partial(listed, only_open=True)
                )
                requests = source.traffic.requests
            loaded = loaded_days.read(instance, {*lookback, *listing.still_open}, files=_files_by_day(lake))
        listed_otherwise = listing.differing_days(look, loaded)
        lacking = {day for day in look.days if day in loaded and loaded[day].failed_frames}
        differing = listed_otherwise | lacking
        resting = {day for day in lacking - listed_otherwise if _was_loaded_just_now(loaded[day])}
        wanted = differing - under_way - resting - _days_that_failed(instance, event_frames.key, loaded)
        seen = (
            f"Looked at {listing.frames:,} frames of {len(look.days)} days and {listing.open_frames:,} older open ones "
            f"in {requests} requests."
        )
        context.log.info(f"{seen} Days that differ: {len(differing)}; asked for: {len(wanted)}.")
        if not wanted:
            waiting = f" Days being loaded, or waiting after a failure: {len(differing)}." if differing else ""
            return dg.SensorResult(
                skip_reason=f"{seen}{waiting or ' Nothing has changed.'}", cursor=str(look.next_turn)
            )
        return dg.SensorResult(
            run_requests=[
                dg.RunRequest(tags={**changes_tag(event_frames.key), **day_range_tags(first, last)})
                for first, last in stretches(wanted, longest=site.max_partitions_per_run)
            ],
            cursor=str(look.next_turn),
        )

    return watch_event_frames


def build_event_frames_schedule(
    site: Site, event_frames: dg.AssetsDefinition, *, name: str, job_name: str
) -> dg.ScheduleDefinition:
    """Every night the look-back is read again with all attributes, which no list tells the changes of."""
    load = _nightly_tag(event_frames.key)

    @dg.schedule(
        name=name,
        job_name=job_name,
        cron_schedule=site.schedules.event_frames,
        execution_timezone="UTC",
        description=(
            f"Reads the event frames of the last {site.event_frames.lookback_days} days again with all their "
            "attributes, whose values may have changed without a change of the frame."
        ),
    )
    def load_event_frames(context: dg.ScheduleEvaluationContext) -> list[dg.RunRequest] | dg.SkipReason:
        if context.instance.get_run_records(dg.RunsFilter(tags=load, statuses=UNFINISHED), limit=1):
            return dg.SkipReason("The look-back is still being read for an earlier tick.")
        now = context.scheduled_execution_time.astimezone(timezone.utc)
        first = max(site.start_date, now.date() - timedelta(days=site.event_frames.lookback_days))
        return [
            dg.RunRequest(run_key=f"{now.isoformat()} {begin}", tags={**load, **day_range_tags(begin, end)})
            for begin, end in stretches(days_between(first, now.date()), longest=site.max_partitions_per_run)
        ]

    return load_event_frames


def _nightly_tag(asset: dg.AssetKey) -> dict[str, str]:
    return {LOAD_TAG: f"{asset.to_user_string()}: look-back"}


def _check_time(deadline: float) -> None:
    """Go on as long as there is time.

    Raises:
        Failure: there is none left; the next tick begins anew.
    """
    if time.monotonic() > deadline:
        raise dg.Failure(
            f"The server needs more than {TICK_SECONDS:.0f} s to list the event frames of the last days. Nothing "
            "is lost, but nothing is found either: lower `event_frames.lookback_days`, choose fewer "
            "`event_frames.templates`, or leave event frames to the nightly schedule."
        )


def _files_by_day(lake: Lake) -> Mapping[date, str]:
    """The table as it is; nothing when there is none, so that nothing counts as loaded."""
    try:
        return EventFramesTable(lake).files_by_day()
    except TableMissingError:
        return {}


def _days_under_way(instance: dg.DagsterInstance, asset: dg.AssetKey) -> set[date]:
    """Days that a run is to load, or is loading."""
    records = instance.get_run_records(dg.RunsFilter(tags=_both_tags(asset), statuses=UNFINISHED))
    return {day for record in records for day in days_of_run(record.dagster_run)}


def _days_that_failed(instance: dg.DagsterInstance, asset: dg.AssetKey, loaded: Mapping[date, LoadedDay]) -> set[date]:
    """Days that a run could not load a short while ago; they are tried again later."""
    failed = dg.RunsFilter(
        tags=_both_tags(asset),
        statuses=[dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED],
        updated_after=datetime.now(timezone.utc) - RETRY_PAUSE,
    )
    return {
        day
        for record in instance.get_run_records(failed)
        for day in days_of_run(record.dagster_run)
        if day not in loaded or loaded[day].at < record.create_timestamp.timestamp()
    }


def _was_loaded_just_now(day: LoadedDay) -> bool:
    return day.at > (datetime.now(timezone.utc) - RETRY_PAUSE).timestamp()


def _both_tags(asset: dg.AssetKey) -> dict[str, list[str]]:
    return {LOAD_TAG: [changes_tag(asset)[LOAD_TAG], _nightly_tag(asset)[LOAD_TAG]]}
