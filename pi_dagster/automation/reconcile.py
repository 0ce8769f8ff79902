"""The sensor that compares the server's counts with the table's, and loads again what differs.

Comparing takes minutes, so the sensor leaves it to runs of the check `counts_match_the_archive`: each goes on where the
last one ended, through all tag groups and days, until its share of requests is used up, so that what was looked at
longest ago always comes next. Where that is, and which partitions differ, is in the check's last result; there is no
other state.

A partition that differs is loaded again, and compared again at once. When it still differs in the same way it is left
alone and the check says so: to load it once more would find the same.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime, timedelta, timezone
from typing import Any

import dagster as dg

from pi_dagster.automation.last_check import last_evaluation
from pi_dagster.automation.last_loads import last_load_ids, loads_by_id
from pi_dagster.automation.partitions import SETTLED, partition_key, split_partition_key
from pi_dagster.automation.reload import Reload, partitions_of_run, plan_reload
from pi_dagster.automation.schedules import LOAD_TAG, UNFINISHED
from pi_dagster.ingest.load_plans import Partition
from pi_dagster.ingest.reconcile import CountDifference
from pi_dagster.site import Site

COUNTS_MATCH = "counts_match_the_archive"
"""The check's name."""

STATE = "pi/reconcile_state"
"""Metadata of the check's result: where the next comparison goes on, and which partitions differ."""

WHY = "counts differ"
"""In the tag `pi/load` of the runs that load partitions again."""

PAUSE_SECONDS = 1800.0
"""Between two comparisons of a round, so that a large site's are spread over the day."""

ROUND_SECONDS = 86_400.0
"""From the beginning of a round to that of the next one."""

MOST_LOADS = 3
"""Runs for one finding: after so many that failed, or left another difference each time, the partition is left alone
until the next round."""

_MOST_TAGS_KEPT = 20
_SENSOR_INTERVAL_SECONDS = 300


@dataclass(frozen=True)
class DifferingPartition:
    """A partition that did not hold what the archive does when it was last compared.

    Args:
        compared_at: when that was done, in seconds since 1970.
        digest: of the differences.
        tags: how many tags differ.
        examples: tag, events at the server and in the table of some of them.
        loads: how often it was loaded again and differed in another way.
        is_left_alone: it differs as before although it was loaded again.
        is_given_up: as many runs as may be could not load it since; the next round tries it again.
    """

    compared_at: float
    digest: str
    tags: int
    examples: Sequence[tuple[str, int, int]]
    loads: int = 0
    is_left_alone: bool = False
    is_given_up: bool = False

    @classmethod
    def of(
        cls,
        differences: Sequence[CountDifference],
        *,
        compared_at: float,
        before: DifferingPartition | None,
        load_began: float | None,
    ) -> DifferingPartition:
        """What to remember of a partition.

        Args:
            differences: what was found in it now.
            compared_at: when the comparison was done; not earlier, or a load that it saw would count as one after it.
            before: what was remembered so far.
            load_began: when the run began that loaded it last: one that was under way already may have read it before
                it came to differ.
        """
        found = sorted((one.tag_webid, one.server, one.table) for one in differences)
        digest = hashlib.sha256(repr(found).encode()).hexdigest()[:16]
        was_loaded = before is not None and load_began is not None and load_began > before.compared_at
        is_same = before is not None and before.digest == digest
        loads = before.loads + 1 if before is not None and was_loaded and not is_same else 0
        return cls(
            compared_at=compared_at,
            digest=digest,
            tags=len(differences),
            examples=[(one.tag_name, one.server, one.table) for one in differences[:_MOST_TAGS_KEPT]],
            loads=loads,
            is_left_alone=before is not None
            and ((is_same and (was_loaded or before.is_left_alone)) or loads >= MOST_LOADS),
        )


@dataclass(frozen=True)
class ReconcileState:
    """What the check's last result tells the next comparison.

    Args:
        compared_at: when the last one was, in seconds since 1970; 0 for never.
        round_began: when the first one of this round was that found something to compare.
        next_partition: where the round goes on; None when it is at its end.
        differing: the partitions that differ.
    """

    compared_at: float = 0.0
    round_began: float = 0.0
    next_partition: Partition | None = None
    differing: Mapping[Partition, DifferingPartition] = field(default_factory=dict)

    @classmethod
    def last(cls, instance: dg.DagsterInstance, check: dg.AssetCheckKey) -> ReconcileState:
        """The state that the check's last result tells; the first one where there is none."""
        told = last_evaluation(instance, check, with_metadata=STATE)
        return cls() if told is None else cls.parse(told.metadata[STATE].value)

    @classmethod
    def parse(cls, told: object) -> ReconcileState:
        """The state that a result tells; the first one where it cannot be read."""
        try:
            state = dict(told)  # type: ignore[call-overload]
            return cls(
                compared_at=float(state["compared_at"]),
                round_began=float(state["round_began"]),
                next_partition=split_partition_key(state["next_partition"]) if state["next_partition"] else None,
                differing={
                    split_partition_key(key): DifferingPartition(**partition)
                    for key, partition in state["differing"].items()
                },
            )
        except (TypeError, ValueError, KeyError, AttributeError):
            return cls()

    @property
    def has_compared(self) -> bool:
        """Whether anything was ever compared: a run that finds nothing to compare begins no round."""
        return self.round_began > 0

    def as_metadata(self) -> dg.MetadataValue:
        """The state for a result."""
        state = {
            "compared_at": self.compared_at,
            "round_began": self.round_began,
            "next_partition": str(partition_key(*self.next_partition)) if self.next_partition else None,
            "differing": {str(partition_key(*key)): asdict(partition) for key, partition in self.differing.items()},
        }
        return dg.MetadataValue.json(json.loads(json.dumps(state)))

    def given_up(self, partitions: Collection[Partition]) -> ReconcileState:
        """The same, where these partitions are known to be given up."""
        differing = {
            partition: replace(found, is_given_up=True) if partition in partitions else found
            for partition, found in self.differing.items()
        }
        return replace(self, differing=differing)

    def is_due(self, now: float) -> bool:
        """Whether the round goes on now, or the next one begins."""
        is_open = self.next_partition is not None or now >= self.round_began + ROUND_SECONDS
        return is_open and now >= self.compared_at + PAUSE_SECONDS


@dataclass(frozen=True)
class LastLoad:
    """A partition as it was last materialized.

    Args:
        at: when, in seconds since 1970.
        is_settled: it was read whole after its time to settle.
        run_id: by which run.
    """

    at: float
    is_settled: bool
    run_id: str


def last_loads(
    instance: dg.DagsterInstance, timeseries: dg.AssetKey, partitions: Iterable[Partition]
) -> Mapping[Partition, LastLoad]:
    """How partitions of pi_timeseries were last materialized; nothing of those that never were."""
    keys = [str(partition_key(*partition)) for partition in partitions]
    ids = last_load_ids(instance, timeseries, keys) if keys else {}
    found: dict[Partition, LastLoad] = {}
    for record in loads_by_id(instance, timeseries, list(ids.values())):
        materialization = record.asset_materialization
        if materialization is not None and record.partition_key is not None:
            settled = materialization.metadata.get(SETTLED)
            found[split_partition_key(record.partition_key)] = LastLoad(
                record.timestamp, settled is not None and settled.value is True, record.run_id
            )
    return found


def when_loads_began(instance: dg.DagsterInstance, loads: Mapping[Partition, LastLoad]) -> Mapping[Partition, float]:
    """When the runs of these loads began, in seconds since 1970; of a run that was deleted since, when it loaded."""
    run_ids = list({load.run_id for load in loads.values()})
    records = instance.get_run_records(dg.RunsFilter(run_ids=run_ids)) if run_ids else ()
    began = {record.dagster_run.run_id: record.start_time for record in records}
    return {partition: began.get(load.run_id) or load.at for partition, load in loads.items()}


def build_reconcile_sensor(
    site: Site, timeseries: dg.AssetKey, *, name: str, check_job: Any, load_job: Any
) -> dg.SensorDefinition:
    """The sensor: it has counts compared, and what differs loaded again.

    Args:
        site: the settings.
        timeseries: the key of pi_timeseries.
        name: the sensor's name.
        check_job: the job that runs the check, from `define_asset_job`, whose class Dagster does not export.
        load_job: the job that loads pi_timeseries, likewise.
    """
    check = dg.AssetCheckKey(timeseries, COUNTS_MATCH)
    compare = {LOAD_TAG: f"{timeseries.to_user_string()}: compare counts"}

    @dg.sensor(
        name=name,
        jobs=[check_job, load_job],
        minimum_interval_seconds=_SENSOR_INTERVAL_SECONDS,
        description=(
            f"Has the server's own event counts of the last {site.reconcile_days} days compared with the table's, tag "
            f"by tag, once a day with at most some {site.reconcile_requests_per_run} requests a run, and loads what "
            "differs again. The check shows what it found."
        ),
    )
    def reconcile(context: dg.SensorEvaluationContext) -> dg.SensorResult:
        instance = context.instance
        state = ReconcileState.last(instance, check)
        loads = last_loads(instance, timeseries, state.differing)
        loaded_since = {
            partition
            for partition, found in state.differing.items()
            if partition in loads and loads[partition].is_settled and loads[partition].at > found.compared_at
        }
        untold = partitions_to_give_up(instance, site, timeseries, state.differing) - loaded_since
        state = state.given_up(untold)
        wanted = {
            partition
            for partition, found in state.differing.items()
            if partition not in loaded_since and not found.is_left_alone and not found.is_given_up
        }
        reload = plan_reload(
            instance,
            site,
            timeseries,
            wanted - _asked_often(instance, site, timeseries, state.differing),
            why=WHY,
            job_name=load_job.name,
        )
        requests = [*reload.requests]
        # What is still being loaded is compared together with what was loaded before it. What is given up, the check
        # tells; no comparison comes of that.
        is_wanted = ((loaded_since or untold) and not (reload.asked or reload.under_way)) or state.is_due(time.time())
        is_loaded = instance.get_latest_materialization_event(timeseries) is not None
        if is_wanted and is_loaded and _may_compare(instance, compare):
            requests.append(dg.RunRequest(job_name=check_job.name, tags=compare))
        if not requests:
            return dg.SensorResult(skip_reason=_told(state, reload))
        return dg.SensorResult(run_requests=requests)

    return reconcile


def _may_compare(instance: dg.DagsterInstance, compare: Mapping[str, str]) -> bool:
    """No comparison is under way, and none failed a short while ago."""
    tags = dict(compare)
    recently = datetime.now(timezone.utc) - timedelta(seconds=PAUSE_SECONDS)
    failed = [dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED]
    filters = [
        dg.RunsFilter(tags=tags, statuses=UNFINISHED),
        dg.RunsFilter(tags=tags, statuses=failed, updated_after=recently),
    ]
    return not any(instance.get_run_records(runs, limit=1) for runs in filters)


def partitions_to_give_up(
    instance: dg.DagsterInstance,
    site: Site,
    timeseries: dg.AssetKey,
    differing: Mapping[Partition, DifferingPartition],
) -> set[Partition]:
    """Partitions that as many runs as may be could not load since they were compared, and that are not given up yet.

    Args:
        instance: Dagster's record.
        site: its tag groups.
        timeseries: the key of pi_timeseries.
        differing: the partitions that differ, as the check told last.
    """
    failed = [dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED]
    failing = _asked_often(instance, site, timeseries, differing, statuses=failed)
    loads = last_loads(instance, timeseries, failing)
    return {
        partition
        for partition in failing
        if not differing[partition].is_given_up
        and (partition not in loads or loads[partition].at <= differing[partition].compared_at)
    }


def _asked_often(
    instance: dg.DagsterInstance,
    site: Site,
    timeseries: dg.AssetKey,
    differing: Mapping[Partition, DifferingPartition],
    *,
    statuses: Sequence[dg.DagsterRunStatus] | None = None,
) -> set[Partition]:
    """Partitions that as many runs as may be, or as many that came to these, were for since they were compared."""
    if not differing:
        return set()
    compared_at = {partition: found.compared_at for partition, found in differing.items()}
    since = datetime.fromtimestamp(min(compared_at.values()), timezone.utc)
    tags = {LOAD_TAG: f"{timeseries.to_user_string()}: {WHY}"}
    runs: Counter[Partition] = Counter()
    for record in instance.get_run_records(dg.RunsFilter(tags=tags, statuses=statuses, created_after=since)):
        for partition in partitions_of_run(record.dagster_run, site.partition_names()):
            runs[partition] += record.create_timestamp.timestamp() > compared_at.get(partition, float("inf"))
    return {partition for partition, number in runs.items() if number >= MOST_LOADS}


def _told(state: ReconcileState, reload: Reload) -> str:
    if not state.differing:
        return "Nothing differs that was compared; the next comparison is not due yet."
    left_alone = sum(found.is_left_alone for found in state.differing.values())
    given_up = sum(found.is_given_up for found in state.differing.values())
    return (
        f"Partitions that differ: {len(state.differing)}; of these being loaded: {len(reload.under_way)}; waiting "
        f"after a failed run: {len(reload.waiting)}; left alone as they differ after a load too: {left_alone}; left "
        f"alone until the next round, as {MOST_LOADS} loads failed: {given_up}."
    )
