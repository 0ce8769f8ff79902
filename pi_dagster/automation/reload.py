"""How a sensor asks for partitions of pi_timeseries again that were loaded, but are no longer what the archive holds.

A partition is loaded whole by as few runs as can be: neighbouring days and neighbouring tag groups share one. What a
run is about to load is not asked for twice, and what could not be loaded a short while ago is left alone. Nothing is
remembered of what was asked for: the sensor is told what was not, and asks again as long as it needs to.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta, timezone

import dagster as dg

from pi_dagster.automation.frame_days import days_between, stretches
from pi_dagster.automation.partitions import (
    RANGE_END_TAG,
    RANGE_START_TAG,
    TAIL_TAG,
    partition_key,
    split_partition_key,
)
from pi_dagster.automation.schedules import LOAD_TAG, UNFINISHED
from pi_dagster.ingest.load_plans import Partition
from pi_dagster.site import Site

RUNS_A_TICK = 5
"""Each is a process that waits for its turn at the server; the others are asked for by the next ticks."""

RETRY_PAUSE = timedelta(minutes=15)
"""How long a partition is left alone whose reload failed."""

PARTITION_TAG = "dagster/partition"
"""Tag of a run for a single partition, which has no range."""


@dataclass(frozen=True)
class Reload:
    """What a tick asks for of the partitions that it wants.

    Args:
        requests: one a run.
        asked: the partitions of these runs.
        under_way: those that a run is to load, or is loading; one that began before they changed may miss it.
        waiting: those that a run could not load a short while ago, or that are too many for this tick.
    """

    requests: Sequence[dg.RunRequest]
    asked: frozenset[Partition]
    under_way: frozenset[Partition]
    waiting: frozenset[Partition]


def plan_reload(
    instance: dg.DagsterInstance,
    site: Site,
    timeseries: dg.AssetKey,
    wanted: Collection[Partition],
    *,
    why: str,
    job_name: str,
    at_most: int = RUNS_A_TICK,
) -> Reload:
    """Ask for partitions again, the newest first.

    Args:
        instance: Dagster's record of runs.
        site: its tag groups, and how many partitions a run may have.
        timeseries: the key of pi_timeseries.
        wanted: the partitions; those of groups that the site no longer has are left out.
        why: a few words for the runs' tag `pi/load`, the same in every tick, such as `counts differ`.
        job_name: the job that loads pi_timeseries, which is the one of the sensor.
        at_most: how many runs.
    """
    load = {LOAD_TAG: f"{timeseries.to_user_string()}: {why}"}
    groups = site.partition_names()
    known = frozenset(partition for partition in wanted if partition[1] in groups)
    under_way = known & partitions_under_way(instance, timeseries, groups, job_name)
    failed = known & _failed(instance, load, groups)
    free = known - under_way - failed
    blocks = sorted(
        partition_blocks(free, groups, longest=site.max_partitions_per_run), key=lambda block: block.last_day
    )[::-1]
    chosen = blocks[:at_most]
    asked = frozenset(partition for block in chosen for partition in block.partitions(groups))
    return Reload(
        requests=[dg.RunRequest(job_name=job_name, tags={**load, **block.run_tags()}) for block in chosen],
        asked=asked,
        under_way=under_way,
        waiting=known - under_way - asked,
    )


def partitions_of_run(run: dg.DagsterRun, groups: Sequence[str]) -> frozenset[Partition]:
    """The partitions of pi_timeseries that a run is for, from its tags.

    Args:
        run: one that loads pi_timeseries.
        groups: all partition keys of the dimension `tag_group`, in the site's order.
    """
    if RANGE_START_TAG in run.tags:
        first, last = run.tags[RANGE_START_TAG], run.tags[RANGE_END_TAG]
    elif PARTITION_TAG in run.tags:
        first = last = run.tags[PARTITION_TAG]
    else:
        return frozenset()
    (first_day, first_group), (last_day, last_group) = split_partition_key(first), split_partition_key(last)
    if first_group not in groups or last_group not in groups:
        return frozenset()
    return PartitionBlock(first_day, last_day, first_group, last_group).partitions(groups)


def partitions_under_way(
    instance: dg.DagsterInstance,
    timeseries: dg.AssetKey,
    groups: Sequence[str],
    job_name: str,
    *,
    with_tails: bool = False,
) -> frozenset[Partition]:
    """Partitions that some run, whoever asked for it, is to load, or is loading.

    Args:
        instance: Dagster's record of runs.
        timeseries: the key of pi_timeseries.
        groups: all partition keys of the dimension `tag_group`, in the site's order.
        job_name: the job that loads pi_timeseries.
        with_tails: count tails too. They read only what is new, unless they are the first to load a day.
    """
    runs = [record.dagster_run for record in instance.get_run_records(dg.RunsFilter(statuses=UNFINISHED))]
    return frozenset(
        partition
        for run in runs
        if (with_tails or TAIL_TAG not in run.tags)
        and (timeseries in (run.asset_selection or ()) or run.job_name == job_name)
        for partition in partitions_of_run(run, groups)
    )


@dataclass(frozen=True)
class PartitionBlock:
    """The partitions of one run: some days of some tag groups."""

    first_day: date
    last_day: date
    first_group: str
    last_group: str

    def partitions(self, groups: Sequence[str]) -> frozenset[Partition]:
        """Its partitions, where the dimension `tag_group` has these keys."""
        inside = groups[groups.index(self.first_group) : groups.index(self.last_group) + 1]
        return frozenset((day, group) for day in days_between(self.first_day, self.last_day) for group in inside)

    def run_tags(self) -> Mapping[str, str]:
        """Run tags that select them: a range of two dimensions is all days and all groups between its ends."""
        return {
            RANGE_START_TAG: str(partition_key(self.first_day, self.first_group)),
            RANGE_END_TAG: str(partition_key(self.last_day, self.last_group)),
        }


def partition_blocks(
    partitions: Collection[Partition], groups: Sequence[str], *, longest: int
) -> Iterator[PartitionBlock]:
    """Neighbouring days of each group, and together the neighbouring groups that want the same days.

    Args:
        partitions: those to load.
        groups: all partition keys of the dimension `tag_group`, in the site's order.
        longest: how many partitions a block may have.
    """
    by_days: dict[tuple[date, date], list[str]] = {}
    for group in groups:
        for days in stretches({day for day, of_group in partitions if of_group == group}, longest=longest):
            by_days.setdefault(days, []).append(group)
    for (first, last), wanting in by_days.items():
        room = max(1, longest // len(days_between(first, last)))
        members: list[str] = []
        for group in wanting:
            if members and (len(members) == room or groups.index(group) > groups.index(members[-1]) + 1):
                yield PartitionBlock(first, last, members[0], members[-1])
                members = []
            members.append(group)
        yield PartitionBlock(first, last, members[0], members[-1])


def _failed(instance: dg.DagsterInstance, load: Mapping[str, str], groups: Sequence[str]) -> frozenset[Partition]:
    """Partitions of the reloads that failed a short while ago; some of them may be loaded, and wait for nothing."""
    failed = dg.RunsFilter(
        tags=dict(load),
        statuses=[dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED],
        updated_after=datetime.now(timezone.utc) - RETRY_PAUSE,
    )
    return frozenset(
        partition
        for record in instance.get_run_records(failed)
        for partition in partitions_of_run(record.dagster_run, groups)
    )
