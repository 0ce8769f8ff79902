"""The sensor that loads partitions again whose events came late, were edited or deleted, as the server tells it.

Each tick asks what has changed since the markers of the last one, and asks Dagster for the partitions. The markers of
a tick count only once Dagster has saved its cursor, together with its runs; until then the next tick asks with the old
ones, which tell the same again. A partition stays in the cursor until it was asked for, and is asked for again when its
run failed. So no crash, failed run, server that is away or run that began too early loses a change.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Set
from datetime import datetime, timedelta, timezone

import dagster as dg

from pi_dagster.assets.failures import errors_told_plainly
from pi_dagster.automation.last_loads import last_load_ids, loads_by_id
from pi_dagster.automation.partitions import partition_key, split_partition_key
from pi_dagster.automation.reload import (
    RUNS_A_TICK,
    Reload,
    partitions_of_run,
    partitions_under_way,
    plan_reload,
)
from pi_dagster.automation.schedules import LOAD_TAG
from pi_dagster.automation.updates_cursor import MarkerMemory, UpdatesCursor
from pi_dagster.ingest.load_plans import Partition
from pi_dagster.ingest.stream_updates import Followed, Following, follow
from pi_dagster.resources import SiteResources
from pi_dagster.site import Site, StreamUpdateSettings

WHY = "stream updates"
"""In the runs' tag `pi/load`."""

REQUEST_PATIENCE_SECONDS = 10.0
"""How long the sensor waits for one answer."""

TICK_SECONDS = 25.0
"""After so long a tick sends no further requests. Dagster ends a tick after 60 s, whatever it is doing."""

PAUSE = timedelta(minutes=10)
"""How long a partition rests after it was asked for: values that always come late would have it loaded all the time."""

FAILED_PAUSE = timedelta(hours=1)
"""How long it rests when its run failed; the schedule tries failed days again as often."""

_FAILURES_LAST = timedelta(days=2)
_LONG_AGO = datetime(1970, 1, 1, tzinfo=timezone.utc)
_MOST_NAMED = 3


def build_stream_updates_sensor(
    site: Site,
    settings: StreamUpdateSettings,
    resources: SiteResources,
    timeseries: dg.AssetsDefinition,
    *,
    name: str,
    job_name: str,
) -> dg.SensorDefinition:
    """The sensor for a site that has `stream_updates` switched on.

    Args:
        site: the settings.
        settings: its `stream_updates`.
        resources: the server and the lake.
        timeseries: the asset pi_timeseries.
        name: the sensor's name.
        job_name: the job that loads pi_timeseries.
    """
    memory = MarkerMemory()
    groups = site.partition_names()

    @dg.sensor(
        name=name,
        job_name=job_name,
        minimum_interval_seconds=settings.sensor_interval_seconds,
        required_resource_keys=resources.keys,
        description=(
            "Asks PI Web API which events came late, were edited or deleted (Stream Updates), and loads the days and "
            "tag groups they belong to again. What the schedule reads anyway is not asked for. Where it is not known "
            f"what has changed, as after a restart, today and the {settings.reread_days} days before are loaded again."
        ),
    )
    def follow_stream_updates(context: dg.SensorEvaluationContext) -> dg.SensorResult:
        deadline = time.monotonic() + TICK_SECONDS
        cursor = UpdatesCursor.parse(context.cursor, groups)
        with errors_told_plainly():
            lake = resources.lake(context).open()
            with resources.server(context).open(patience_seconds=REQUEST_PATIENCE_SECONDS) as source:
                followed = follow(
                    site,
                    settings,
                    source,
                    lake,
                    memory.at(cursor.position) or Following(),
                    goes_on=lambda: time.monotonic() < deadline,
                )
                requests = source.traffic.requests
        now = _now()
        reload = _plan(
            context.instance,
            site,
            timeseries,
            {*cursor.pending, *followed.partitions},
            job_name=job_name,
            now=now,
            last_tick=datetime.fromtimestamp(cursor.saved_at, timezone.utc) if cursor.saved_at else now,
        )
        pending = reload.under_way | reload.waiting
        told = _told(followed, requests) + (
            f" Partitions asked for: {len(reload.asked)}; to be asked for later: {len(pending)}."
            if reload.asked or pending
            else " Nothing has to be loaded again."
        )
        context.log.info(told)
        saved = str(UpdatesCursor(memory.keep(followed.following), pending, saved_at=int(now.timestamp())))
        if not reload.requests:
            return dg.SensorResult(skip_reason=told, cursor=saved)
        return dg.SensorResult(run_requests=[*reload.requests], cursor=saved)

    return follow_stream_updates


def _plan(
    instance: dg.DagsterInstance,
    site: Site,
    timeseries: dg.AssetsDefinition,
    changed: Set[Partition],
    *,
    job_name: str,
    now: datetime,
    last_tick: datetime,
) -> Reload:
    """What to ask for of the partitions that have changed and of those whose reload failed; the rest is pending.

    A partition that was never loaded is not asked for, as its first load reads it as it is then.
    """
    groups = site.partition_names()
    load = {LOAD_TAG: f"{timeseries.key.to_user_string()}: {WHY}"}
    # A server that was away for days fails runs, and the ticks that would have seen it.
    since = min(now, last_tick) - _FAILURES_LAST
    runs = instance.get_run_records(dg.RunsFilter(tags=load, updated_after=since))
    newest: dict[Partition, dg.RunRecord] = {}
    for record in runs:
        for partition in partitions_of_run(record.dagster_run, groups):
            known = newest.get(partition)
            if known is None or known.create_timestamp < record.create_timestamp:
                newest[partition] = record
    failed = {partition for partition, record in newest.items() if _has_failed(record)}
    if not changed and not failed:
        return Reload([], frozenset(), frozenset(), frozenset())
    resting = {
        partition
        for partition, record in newest.items()
        if now - record.create_timestamp < (FAILED_PAUSE if partition in failed else PAUSE)
    }
    # Before the look for what is loaded: a first load that ends in between counts for one or the other.
    under_way = partitions_under_way(instance, timeseries.key, groups, job_name, with_tails=True)
    keys = [str(partition_key(*partition)) for partition in {*changed, *failed}]
    loads = {split_partition_key(key): load for key, load in last_load_ids(instance, timeseries.key, keys).items()}
    loaded_at = _runs_created(instance, timeseries.key, {loads[partition] for partition in failed & loads.keys()})
    # A run that was there before the one that failed may have read before the change. Today is materialized by every
    # tail, which does not tell that its older changes were read; its settling reads all.
    still_failed = {
        partition
        for partition in failed & loads.keys()
        if partition[0] >= now.date() or loaded_at.get(partition, _LONG_AGO) < newest[partition].create_timestamp
    }
    wanted = (changed & loads.keys()) | still_failed
    reload = plan_reload(
        instance, site, timeseries.key, wanted - resting, why=WHY, job_name=job_name, at_most=RUNS_A_TICK
    )
    # Those that only failed are known by their runs, and may be loaded by others meanwhile.
    return Reload(
        requests=reload.requests,
        asked=reload.asked,
        under_way=(reload.under_way & changed) | ((under_way & changed) - loads.keys()),
        waiting=(reload.waiting | (wanted & resting)) & changed,
    )


def _has_failed(record: dg.RunRecord) -> bool:
    return record.dagster_run.status in (dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED)


def _runs_created(instance: dg.DagsterInstance, asset: dg.AssetKey, load_ids: Set[int]) -> Mapping[Partition, datetime]:
    """When the runs were asked for that made these materializations; runs that were deleted since are left out."""
    runs = {
        split_partition_key(record.partition_key): record.run_id
        for record in loads_by_id(instance, asset, load_ids)
        if record.partition_key is not None
    }
    records = instance.get_run_records(dg.RunsFilter(run_ids=[*set(runs.values())])) if runs else ()
    created = {record.dagster_run.run_id: record.create_timestamp for record in records}
    return {partition: created[run_id] for partition, run_id in runs.items() if run_id in created}


def _now() -> datetime:
    return datetime.now(timezone.utc)


def _told(followed: Followed, requests: int) -> str:
    """What a tick found, in one paragraph."""
    changes = ", ".join(f"{number:,} {action}" for action, number in sorted(followed.actions.items())) or "no changes"
    told = f"Followed {followed.tags:,} tags in {requests} requests: {changes}."
    if unknown := sum(followed.unknown.values()):
        named = ", ".join(f"{group} ({tags:,})" for group, tags in sorted(followed.unknown.items())[:_MOST_NAMED])
        told += (
            f" Registered {unknown:,} tags, of which it is not known what had changed before: {named}"
            f"{', ...' if len(followed.unknown) > _MOST_NAMED else ''}."
        )
    if followed.waiting:
        told += f" Left for the next tick, for want of time: {followed.waiting:,} tags."
    if followed.refused:
        named = "; ".join(f"{tag}: {reason}" for tag, reason in sorted(followed.refused.items())[:_MOST_NAMED])
        told += f" Not registered by the server: {len(followed.refused):,} tags, such as {named}"
    return told
