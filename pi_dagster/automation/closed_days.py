"""Which closed days still have to be loaded, as Dagster's own record of materializations and failures tells.

A day is done when it was read whole after its time to settle. Until then it is the tail's, which has read nearly all
of it; afterwards it makes no difference how much that was, or whether a tag could not be read.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from enum import Enum, auto
from itertools import groupby

import dagster as dg

from pi_dagster.automation.last_loads import last_load_ids, loads_by_id
from pi_dagster.automation.partitions import FAILED_TAGS, READ_TO_SETTLE, SETTLED, TAIL_TAG, partition_key, range_tags
from pi_dagster.site import Site


class _State(Enum):
    SETTLED = auto()
    TO_LOAD = auto()
    FAILED = auto()
    UNDER_WAY = auto()


@dataclass(frozen=True)
class DayToLoad:
    """A closed day and those of its tag groups that are not loaded to its end, in the site's order."""

    day: date
    groups: Sequence[str]

    def run_tags(self, all_groups: Sequence[str]) -> list[dict[str, str]]:
        """Range tags, one set a run: a range covers all groups between its ends."""
        positions = [all_groups.index(group) for group in self.groups]
        return [range_tags(self.day, all_groups[first], all_groups[last]) for first, last in _stretches(positions)]


@dataclass(frozen=True)
class OpenWork:
    """What of the days whose time to settle has come is not settled.

    Args:
        next_day: the oldest day with groups that are not settled, not under way and did not fail, but for their tails.
        failed: the days with groups whose last load failed, or was to settle them and could not read some tag, oldest
            first.
        days: how many days are not settled, those under way included.
    """

    next_day: DayToLoad | None
    failed: Sequence[DayToLoad]
    days: int


class ClosedDays:
    """Looks back over the days of a site that are over.

    Args:
        site: says how far to look back.
        timeseries: the asset pi_timeseries of the site.
    """

    def __init__(self, site: Site, timeseries: dg.AssetsDefinition) -> None:
        self._site = site
        self._timeseries = timeseries
        self._state_of_event: dict[int, _State] = {}
        """By storage id of a materialization, which never changes, so that each is read once and not every tick."""

    def open_work(self, instance: dg.DagsterInstance, now: datetime) -> OpenWork:
        """What is not settled although it is time."""
        groups = self._site.partition_names()
        first = max(self._site.start_date, now.date() - timedelta(days=self._site.incremental_window_days))
        over = (now - timedelta(hours=self._site.settle_hours)).date()
        days = [first + timedelta(days=offset) for offset in range((over - first).days)]
        states = self._states(instance, [partition_key(day, group) for day in days for group in groups])
        next_day: DayToLoad | None = None
        failed: list[DayToLoad] = []
        open_days = 0
        for day in days:
            in_state = {
                state: [group for group in groups if states[partition_key(day, group)] is state] for state in _State
            }
            open_days += len(in_state[_State.SETTLED]) < len(groups)
            if next_day is None:
                to_load = {
                    group for group in in_state[_State.FAILED] if self._only_its_tail_failed(instance, day, group)
                }
                to_load.update(in_state[_State.TO_LOAD])
                next_day = DayToLoad(day, sorted(to_load, key=groups.index)) if to_load else None
            if in_state[_State.FAILED]:
                failed.append(DayToLoad(day, in_state[_State.FAILED]))
        return OpenWork(next_day, failed, open_days)

    def _only_its_tail_failed(self, instance: dg.DagsterInstance, day: date, group: str) -> bool:
        """Whether the last run for a partition that failed was a tail, as after days without the server."""
        last = instance.get_latest_planned_materialization_info(self._timeseries.key, str(partition_key(day, group)))
        run = instance.get_run_by_id(last.run_id) if last is not None else None
        return run is not None and TAIL_TAG in run.tags

    def _states(self, instance: dg.DagsterInstance, keys: Sequence[str]) -> dict[str, _State]:
        asset, partitions = self._timeseries.key, self._timeseries.partitions_def
        assert partitions is not None
        status = instance.get_status_by_partition(asset, keys, partitions) or {}
        latest = last_load_ids(instance, asset, keys)
        self._learn(instance, latest.values())
        states: dict[str, _State] = {}
        for key in keys:
            state = self._state_of_event.get(latest[key], _State.TO_LOAD) if key in latest else _State.TO_LOAD
            if state is not _State.SETTLED and status.get(key) == dg.AssetPartitionStatus.IN_PROGRESS:
                state = _State.UNDER_WAY
            elif state is not _State.SETTLED and status.get(key) == dg.AssetPartitionStatus.FAILED:
                state = _State.FAILED
            states[key] = state
        return states

    def _learn(self, instance: dg.DagsterInstance, events: Collection[int]) -> None:
        unknown = [event for event in events if event not in self._state_of_event]
        for record in loads_by_id(instance, self._timeseries.key, unknown):
            materialization = record.asset_materialization
            told = {name: value.value for name, value in materialization.metadata.items()} if materialization else {}
            finished = _State.SETTLED if told.get(SETTLED) else _State.TO_LOAD
            lacks_a_tag = told.get(READ_TO_SETTLE) and told.get(FAILED_TAGS)
            self._state_of_event[record.storage_id] = _State.FAILED if lacks_a_tag else finished


def _stretches(positions: Sequence[int]) -> Iterator[tuple[int, int]]:
    """First and last of each run of positions without a gap."""
    for _, stretch in groupby(enumerate(positions), key=lambda pair: pair[1] - pair[0]):
        members = [position for _, position in stretch]
        yield members[0], members[-1]
