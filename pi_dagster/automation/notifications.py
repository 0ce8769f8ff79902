"""The sensor that tells people of failed runs and red checks, by the addresses of the site's `notifications`.

It looks at Dagster's record instead of being called for each failure, so that a burst is one message, a load that fails
every five minutes is told once until it works again, and what could not be delivered is still due at the next tick.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping
from datetime import date, datetime, timezone

import dagster as dg

from pi_dagster.automation.frame_days import days_between
from pi_dagster.automation.partitions import RANGE_END_TAG, RANGE_START_TAG, TAIL_TAG, partition_key
from pi_dagster.automation.reload import PARTITION_TAG, partitions_of_run
from pi_dagster.automation.run_failures import reason_of_run
from pi_dagster.automation.schedules import LOAD_TAG
from pi_dagster.lake.schemas import PI_TIMESERIES
from pi_dagster.notifications.delivery import trouble_of_sending
from pi_dagster.notifications.message import message_of
from pi_dagster.notifications.problems import Problem, SensorMemory
from pi_dagster.redaction import redacted
from pi_dagster.site import NotificationSettings, Site

_BACKFILL_TAG = "dagster/backfill"
_WILL_RETRY_TAG = "dagster/will_retry"

_RUNS_A_TICK = 500
_OVERLAP_SECONDS = 60.0
"""Runs are recorded by several processes, and their clocks need not agree."""

_SENDING_SECONDS = 30.0
"""Dagster ends a tick after 60 s."""

_LONGEST_REASON = 1_000
_MOST_NUMBERS = 6

_REMEDY_OF_LOAD = (
    "put right what the reason names; Dagster tries it again by itself, and what was loaded before stays as it is."
)
_REMEDY_OF_BACKFILL = (
    'put right what the reason names; then "Backfill only failed and missing partitions" in the UI repeats what failed'
)
_REMEDY_OF_RUN = "put right what the reason names, and repeat the run."


def build_notification_sensor(
    site: Site, settings: NotificationSettings, *, name: str, job_names: Collection[str]
) -> dg.SensorDefinition:
    """The sensor, which is on as soon as the site has `notifications`.

    Args:
        site: the settings.
        settings: its `notifications`.
        name: the sensor's name.
        job_names: all jobs of the site.
    """

    @dg.sensor(
        name=name,
        minimum_interval_seconds=settings.sensor_interval_seconds,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description=(
            "Tells people of failed runs and red checks, each once until it is over, with at most one message in "
            f"{settings.quiet_minutes:g} minutes to each address: {', '.join(settings.targets_env)}."
        ),
    )
    def notify(context: dg.SensorEvaluationContext) -> dg.SensorResult:
        now = time.time()
        memory = SensorMemory.load(context.cursor, now=now)
        _look_at_runs(context.instance, site, job_names, memory)
        _look_at_days(context, site, memory, now)
        _look_at_backfills(context.instance, memory, now)
        _look_at_checks(context, site, settings, memory)
        told = _tell(context, site, settings, memory)
        memory.problems.forget(settings.targets_env, now)
        return dg.SensorResult(cursor=memory.dump(), skip_reason=told)

    return notify


def _look_at_runs(instance: dg.DagsterInstance, site: Site, job_names: Collection[str], memory: SensorMemory) -> None:
    """What runs that ended since the last look say: failures open problems, and success ends most of them."""
    since = memory.looked_until - _OVERLAP_SECONDS
    ended = dg.RunsFilter(
        statuses=[dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.SUCCESS],
        updated_after=datetime.fromtimestamp(since, timezone.utc),
    )
    records = instance.get_run_records(ended, limit=_RUNS_A_TICK, order_by="update_timestamp", ascending=True)
    seen = set(memory.seen)
    for record in records:
        run = record.dagster_run
        if run.run_id in seen or not _is_of_site(run, site, job_names) or run.tags.get(_WILL_RETRY_TAG) == "true":
            continue
        key = _key_of_run(run)
        if run.status is dg.DagsterRunStatus.FAILURE:
            memory.problems.has(
                _problem_of_run(instance, run, site, record.start_time or record.create_timestamp.timestamp())
            )
        elif not key.startswith(("backfill ", "days ")):
            memory.problems.is_over(key, record.end_time or record.update_timestamp.timestamp())
    if records:
        memory.looked_until = max(memory.looked_until, records[-1].update_timestamp.timestamp())
    recent = memory.looked_until - _OVERLAP_SECONDS
    memory.seen = [one.dagster_run.run_id for one in records if one.update_timestamp.timestamp() >= recent]


def _is_of_site(run: dg.DagsterRun, site: Site, job_names: Collection[str]) -> bool:
    return run.job_name in job_names or any(_is_asset_of_site(key, site) for key in run.asset_selection or ())


def _is_asset_of_site(key: dg.AssetKey, site: Site) -> bool:
    *prefix, name = key.path
    return tuple(prefix) == site.asset_key_prefix and name.startswith("pi_")


def _key_of_run(run: dg.DagsterRun) -> str:
    """Runs with one key do the same work: what one of them could not do is one problem, however often it is tried."""
    if _BACKFILL_TAG in run.tags:
        return f"backfill {run.tags[_BACKFILL_TAG]}"
    if LOAD_TAG in run.tags and RANGE_START_TAG in run.tags and TAIL_TAG not in run.tags:
        asset = run.tags[LOAD_TAG].partition(": ")[0]
        first, last = (run.tags[tag].partition("|")[0] for tag in (RANGE_START_TAG, RANGE_END_TAG))
        return f"days {asset} {first} {last}"
    if LOAD_TAG in run.tags:
        return f"load {run.tags[LOAD_TAG]}"
    return f"run of {_work_of(run)} {_partitions_of(run)}"


def _problem_of_run(instance: dg.DagsterInstance, run: dg.DagsterRun, site: Site, began: float) -> Problem:
    key = _key_of_run(run)
    if key.startswith("backfill "):
        what, remedy = f"The {key} has partitions that failed", _remedy_of_backfill(run, site)
    elif LOAD_TAG in run.tags:
        what, remedy = f"A load failed ({run.tags[LOAD_TAG]})", _REMEDY_OF_LOAD
    else:
        what, remedy = f"A run of {_work_of(run)} failed", _REMEDY_OF_RUN
    why = redacted(reason_of_run(instance, run.run_id))[:_LONGEST_REASON]
    return Problem(key, what, _partitions_of(run), began, why, remedy, path=f"/runs/{run.run_id}")


def _remedy_of_backfill(run: dg.DagsterRun, site: Site) -> str:
    """What repeats it; for pi_timeseries, which alone the command line loads, the command for the days of this run."""
    timeseries = dg.AssetKey([*site.asset_key_prefix, PI_TIMESERIES.name])
    job_name = "_".join([*site.asset_key_prefix, "load_pi_timeseries"])
    is_of_timeseries = timeseries in (run.asset_selection or ()) or run.job_name == job_name
    partitions = partitions_of_run(run, site.partition_names()) if is_of_timeseries else ()
    if not partitions:
        return f"{_REMEDY_OF_BACKFILL}."
    days = [day for day, _ in partitions]
    return (
        f"{_REMEDY_OF_BACKFILL}, and so does, for the days of this run, `pi-dagster backfill --from {min(days)} "
        f"--to {max(days)} --missing`."
    )


def _work_of(run: dg.DagsterRun) -> str:
    assets = sorted(key.to_user_string() for key in run.asset_selection or ())
    return ", ".join(assets) or run.job_name


def _partitions_of(run: dg.DagsterRun) -> str:
    first, last = run.tags.get(RANGE_START_TAG), run.tags.get(RANGE_END_TAG)
    if first is None or last is None:
        return run.tags.get(PARTITION_TAG, "")
    return first if first == last else f"{first} to {last}"


def _look_at_days(context: dg.SensorEvaluationContext, site: Site, memory: SensorMemory, now: float) -> None:
    """What failed of some days is over when none of it is failed any more, whichever runs have loaded it since."""
    loads: dict[str, dict[str, Collection[date]]] = {}
    for key in memory.problems.open_keys():
        kind, _, load = key.partition(" ")
        if kind == "days":
            asset, first, last = load.rsplit(" ", 2)
            loads.setdefault(asset, {})[key] = days_between(date.fromisoformat(first), date.fromisoformat(last))
    for asset, days_of in loads.items():
        every_day = {day for days in days_of.values() for day in days}
        unfinished = _unfinished_days(context, site, dg.AssetKey.from_user_string(asset), every_day)
        for key, days in days_of.items():
            if unfinished.isdisjoint(days):
                memory.problems.is_over(key, now)


def _unfinished_days(
    context: dg.SensorEvaluationContext, site: Site, asset: dg.AssetKey, days: Collection[date]
) -> set[date]:
    """Those of `days` of which a partition is failed or is being loaded; none where the site has the asset no more."""
    assert context.repository_def is not None
    graph = context.repository_def.asset_graph
    definition = graph.get(asset).partitions_def if graph.has(asset) else None
    if definition is None:
        return set()
    if isinstance(definition, dg.MultiPartitionsDefinition):
        day_of = {str(partition_key(day, group)): day for day in days for group in site.partition_names()}
    else:
        day_of = {day.isoformat(): day for day in days}
    status = context.instance.get_status_by_partition(asset, list(day_of), definition) or {}
    is_unfinished = (dg.AssetPartitionStatus.FAILED, dg.AssetPartitionStatus.IN_PROGRESS)
    return {day_of[key] for key, state in status.items() if state in is_unfinished}


def _look_at_backfills(instance: dg.DagsterInstance, memory: SensorMemory, now: float) -> None:
    """A backfill's problem is over with the backfill: other runs of it say nothing about the one that failed."""
    for key in memory.problems.open_keys():
        kind, _, backfill_id = key.partition(" ")
        if kind != "backfill":
            continue
        backfill = instance.get_backfill(backfill_id)
        if backfill is None or backfill.backfill_end_timestamp is not None:
            memory.problems.is_over(key, backfill.backfill_end_timestamp or now if backfill else now)


def _look_at_checks(
    context: dg.SensorEvaluationContext, site: Site, settings: NotificationSettings, memory: SensorMemory
) -> None:
    """What the last result of each check says."""
    assert context.repository_def is not None
    graph = context.repository_def.asset_graph
    keys = [key for key in graph.asset_check_keys if _is_asset_of_site(key.asset_key, site)]
    summaries = context.instance.event_log_storage.get_asset_check_summary_records(keys)
    open_keys = set(memory.problems.open_keys())
    for key in sorted(keys, key=lambda key: key.to_user_string()):
        summary = summaries.get(key)
        record = summary.last_completed_check_execution_record if summary is not None else None
        result = record.evaluation if record is not None else None
        if record is None or not isinstance(result, dg.AssetCheckEvaluation):
            continue
        is_told_of = settings.least_severity == "warn" or result.severity is dg.AssetCheckSeverity.ERROR
        problem_key = f"check {key.to_user_string()}"
        if result.passed or not is_told_of:
            memory.problems.is_over(problem_key, record.create_timestamp)
        elif problem_key not in open_keys:
            meaning = " ".join((graph.get_check_spec(key).description or "").split()).partition(". ")[0]
            memory.problems.has(
                Problem(
                    problem_key,
                    what=f"The check {key.name} of {key.asset_key.to_user_string()} is red",
                    where=str(getattr(result, "partition", None) or ""),
                    since=record.create_timestamp,
                    why=redacted(_finding_of(result.description, result.metadata))[:_LONGEST_REASON],
                    remedy=f"open the check, which lists what it found.{f' It means: {meaning}.' if meaning else ''}",
                    path=f"/assets/{'/'.join(key.asset_key.path)}?view=checks&checkDetail={key.name}",
                )
            )


def _finding_of(description: str | None, metadata: Mapping[str, dg.MetadataValue]) -> str:
    """What a result says, and the numbers in it."""
    numbers = [
        f"{name.partition('/')[2] or name}: {value.value}"
        for name, value in metadata.items()
        if isinstance(value, (dg.IntMetadataValue, dg.FloatMetadataValue, dg.TextMetadataValue))
    ]
    told = [*([description] if description else []), *([", ".join(numbers[:_MOST_NUMBERS])] if numbers else [])]
    return " ".join(told) or "It says no more."


def _tell(context: dg.SensorEvaluationContext, site: Site, settings: NotificationSettings, memory: SensorMemory) -> str:
    """Send each address what it is due; returns what the tick says of it."""
    began = time.time()
    said: list[str] = []
    for variable in settings.targets_env:
        due = memory.problems.due(variable)
        if not due:
            continue
        quiet_until = memory.last_sent.get(variable, 0.0) + 60 * settings.quiet_minutes
        if began < quiet_until:
            said.append(f"{variable} is told in {(quiet_until - began) / 60:.0f} minutes.")
        elif time.time() - began > _SENDING_SECONDS:
            said.append(f"{variable} is told at the next tick, as others took long.")
        elif (trouble := trouble_of_sending(message_of(site, due), variable)) is None:
            memory.problems.tell(variable, due)
            memory.last_sent[variable] = time.time()
            memory.failing_since.pop(variable, None)
            said.append(f"{variable} was told of {len(due.new)} new problems and of {len(due.over)} that are over.")
        else:
            since = memory.failing_since.setdefault(variable, began)
            said.append(
                f"{trouble} So it is since {datetime.fromtimestamp(since, timezone.utc):%Y-%m-%d %H:%M} UTC; each tick "
                "tries again."
            )
            context.log.warning(said[-1])
    return " ".join(said) or f"Nothing new to tell; problems that are open: {len(memory.problems.open_keys())}."
