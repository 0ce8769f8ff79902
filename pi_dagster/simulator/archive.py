"""The archive behind the simulator: recorded values as arrays, and edits laid over a base that never changes.

The base (generated, read from files, or planted by a test) is immutable, so a hundred thousand tags cost
nothing until they are read. Late, edited and deleted events are kept beside it, per instant: an instant that
was touched once belongs to the overlay.
"""

from __future__ import annotations

import threading
from bisect import bisect_left, bisect_right, insort
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from fnmatch import translate
from functools import lru_cache
from re import IGNORECASE, Pattern
from re import compile as compile_pattern
from typing import Protocol
from uuid import UUID

import numpy as np

from pi_dagster.simulator.events import MAX_TICKS, MIN_TICKS, SUBSTITUTED, Events, Ticks
from pi_dagster.simulator.points import DigitalSet, Point

DEFAULT_SERVER_ID = UUID("8d4d1dad-f1d3-4311-ae94-d9a9b3a689a9")


class ArchiveBase(Protocol):
    """What an archive needs of its unchanging part: a catalogue of points and their recorded values.

    Implementations are safe to read from several threads.
    """

    @property
    def digital_sets(self) -> Sequence[DigitalSet]:
        """All digital state sets, without the system one."""

    @property
    def point_count(self) -> int:
        """How many points there are."""

    def point_by_id(self, point_id: int) -> Point | None:
        """The point with that id."""

    def point_by_name(self, name: str) -> Point | None:
        """The point with that name; PI tag names are not case-sensitive."""

    def points(self, name_filter: str | None = None, start: int = 0, count: int | None = None) -> list[Point]:
        """Points in id order whose name matches the `*`/`?` filter: `count` of them from the `start`-th."""

    def events(
        self, point: Point, start: Ticks, end: Ticks, limit: int | None = None, descending: bool = False
    ) -> Events:
        """Events with start <= instant <= end, at most `limit`, in the reading direction."""

    def span(self) -> tuple[Ticks, Ticks] | None:
        """The first and last recorded instant, or None where there is no end to it."""


@lru_cache(maxsize=64)
def name_pattern(name_filter: str) -> Pattern[str]:
    """A PI name filter (`*` any run, `?` one character, case-insensitive) as a compiled pattern."""
    return compile_pattern(translate(name_filter.replace("[", "[[]")), IGNORECASE)


class MemoryBase:
    """A base that holds exactly the points and events it is given; what tests plant their events in."""

    def __init__(
        self,
        points: Iterable[Point] = (),
        events: Mapping[int, Events] | None = None,
        digital_sets: Sequence[DigitalSet] = (),
    ) -> None:
        """Hold `events` by point id; each is sorted by instant, equal instants keep their given order."""
        self.digital_sets = tuple(digital_sets)
        self._points: dict[int, Point] = {}
        self._events: dict[int, Events] = {}
        for point in points:
            self.add(point, (events or {}).get(point.id))

    def add(self, point: Point, events: Events | None = None) -> None:
        """Add a point, or replace the one with its id together with its events."""
        self._points[point.id] = point
        if events is None:
            events = Events.none(point.point_type, digital_states_of(point, self.digital_sets))
        self._events[point.id] = events[np.argsort(events.ticks, kind="stable")]

    def drop(self, point_id: int) -> None:
        """Delete a point and its events, as an administrator of the Data Archive would."""
        del self._points[point_id], self._events[point_id]

    @property
    def point_count(self) -> int:
        """How many points there are."""
        return len(self._points)

    def point_by_id(self, point_id: int) -> Point | None:
        """The point with that id."""
        return self._points.get(point_id)

    def point_by_name(self, name: str) -> Point | None:
        """The point with that name, whatever its case."""
        return next((p for p in self._points.values() if p.name.casefold() == name.casefold()), None)

    def points(self, name_filter: str | None = None, start: int = 0, count: int | None = None) -> list[Point]:
        """Matching points in id order, `count` of them after skipping `start`."""
        found = [self._points[point_id] for point_id in sorted(self._points)]
        if name_filter is not None:
            found = [point for point in found if name_pattern(name_filter).match(point.name)]
        return found[start:] if count is None else found[start : start + count]

    def events(
        self, point: Point, start: Ticks, end: Ticks, limit: int | None = None, descending: bool = False
    ) -> Events:
        """Events with start <= instant <= end, at most `limit`, in the reading direction."""
        return self._events[point.id].between(start, end).limited(limit, descending=descending)

    def span(self) -> tuple[Ticks, Ticks] | None:
        """The first and last recorded instant, or None when nothing is recorded."""
        filled = [events for events in self._events.values() if len(events)]
        if not filled:
            return None
        return min(int(e.ticks[0]) for e in filled), max(int(e.ticks[-1]) for e in filled)


def digital_states_of(point: Point, digital_sets: Sequence[DigitalSet]) -> tuple[str, ...]:
    """The state names of a digital point's set; empty for other points."""
    return next((s.states for s in digital_sets if s.name == point.digital_set_name), ())


class UpdateOption(str, Enum):
    """How a written event meets the events already at its instant (PI Web API `updateOption`)."""

    REPLACE = "Replace"
    INSERT = "Insert"
    NO_REPLACE = "NoReplace"
    REPLACE_ONLY = "ReplaceOnly"
    INSERT_NO_COMPRESSION = "InsertNoCompression"
    REMOVE = "Remove"


@dataclass
class _Edits:
    """The instants of one point that were edited, each with all its events now; `instants` is sorted."""

    instants: list[Ticks] = field(default_factory=list)
    at: dict[Ticks, Events] = field(default_factory=dict)

    def put(self, instant: Ticks, events: Events) -> None:
        if instant not in self.at:
            insort(self.instants, instant)
        self.at[instant] = events

    def between(self, start: Ticks, end: Ticks) -> list[Ticks]:
        return self.instants[bisect_left(self.instants, start) : bisect_right(self.instants, end)]


@dataclass(frozen=True)
class ArchiveChange:
    """One event that was written or deleted: the action, as the vendor's `AFDataPipeAction` has it, and the event."""

    action: str
    event: Events


class Archive:
    """One PI Data Archive: a base plus the edits made while it runs. Safe to use from several threads."""

    def __init__(
        self,
        base: ArchiveBase,
        *,
        server_name: str = "PISIM",
        server_id: UUID = DEFAULT_SERVER_ID,
    ) -> None:
        self.base = base
        self.server_name = server_name
        self.server_id = server_id
        self._edits: dict[int, _Edits] = {}
        self._lock = threading.RLock()
        self._watchers: list[Callable[[Point, Sequence[ArchiveChange]], None]] = []

    def watch(self, tell: Callable[[Point, Sequence[ArchiveChange]], None]) -> None:
        """Have `tell` called after each update, with the point and what was changed of it."""
        self._watchers.append(tell)

    @property
    def digital_sets(self) -> Sequence[DigitalSet]:
        """All digital state sets, without the system one."""
        return self.base.digital_sets

    @property
    def point_count(self) -> int:
        """How many points there are."""
        return self.base.point_count

    def point_by_id(self, point_id: int) -> Point | None:
        """The point with that id."""
        return self.base.point_by_id(point_id)

    def point_by_name(self, name: str) -> Point | None:
        """The point with that name, whatever its case."""
        return self.base.point_by_name(name)

    def points(self, name_filter: str | None = None, start: int = 0, count: int | None = None) -> list[Point]:
        """Points in id order whose name matches the `*`/`?` filter: `count` of them from the `start`-th."""
        return self.base.points(name_filter, start, count)

    def span(self) -> tuple[Ticks, Ticks] | None:
        """The first and last recorded instant of the base, or None where there is no end to it."""
        return self.base.span()

    def events(
        self, point: Point, start: Ticks, end: Ticks, limit: int | None = None, descending: bool = False
    ) -> Events:
        """The point's events with start <= instant <= end.

        At most `limit` of them, counted in the reading direction: `descending` starts at `end`. Events of
        one instant come in archive order, or its mirror when descending.
        """
        with self._lock:
            edits = self._edits.get(point.id)
            edited = edits.between(start, end) if edits else []
            changed = [edits.at[instant] for instant in edited] if edits else []
        if not edited or limit == 0:
            return self.base.events(point, start, end, limit, descending)
        touched = np.array(edited, np.int64)
        ask = limit
        while True:
            base = self.base.events(point, start, end, ask, descending)
            if descending:
                base = base.reversed()
            low, high = start, end
            whole = ask is None or len(base) < ask
            if not whole:
                # beyond the last event read the base may hold more, so only edits up to it are in order yet
                low, high = (int(base.ticks[0]), end) if descending else (start, int(base.ticks[-1]))
            merged = Events.concat([base[~np.isin(base.ticks, touched)], *changed])
            merged = merged[np.argsort(merged.ticks, kind="stable")].between(low, high)
            if whole or (limit is not None and len(merged) >= limit):
                return merged.limited(limit, descending=descending)
            ask = 2 * ask + len(edited) if ask is not None else None

    def count(self, point: Point, start: Ticks, end: Ticks) -> int:
        """How many events the point has with start <= instant <= end."""
        return len(self.events(point, start, end))

    def event_before(self, point: Point, instant: Ticks) -> Events:
        """The last event strictly before the instant, if there is one."""
        return self.events(point, MIN_TICKS, instant - 1, limit=1, descending=True)

    def event_after(self, point: Point, instant: Ticks) -> Events:
        """The first event strictly after the instant, if there is one."""
        return self.events(point, instant + 1, MAX_TICKS, limit=1)

    def snapshot(self, point: Point, now: Ticks) -> Events:
        """The point's current value: its last event at or before `now`, if there is one."""
        return self.event_before(point, now + 1)

    def update(self, point: Point, events: Events, option: UpdateOption = UpdateOption.REPLACE) -> list[bool]:
        """Write events as `POST streams/{webId}/recorded` does; say for each whether it was applied.

        `NoReplace` leaves an instant that holds an event, `ReplaceOnly` and `Remove` one that holds none. An
        event that replaces another is marked substituted, as the Data Archive marks edits.
        """
        applied = []
        changes: list[ArchiveChange] = []
        with self._lock:
            edits = self._edits.setdefault(point.id, _Edits())
            for i, instant in enumerate(events.ticks.tolist()):
                present = self.events(point, instant, instant)
                written = events[i : i + 1]
                if option in (UpdateOption.NO_REPLACE, UpdateOption.REPLACE_ONLY, UpdateOption.REMOVE):
                    wants_present = option is not UpdateOption.NO_REPLACE
                    if wants_present != bool(len(present)):
                        applied.append(False)
                        continue
                if option is UpdateOption.REMOVE:
                    written = written[:0]
                elif option in (UpdateOption.INSERT, UpdateOption.INSERT_NO_COMPRESSION):
                    written = Events.concat([present, written])
                elif len(present):
                    written = written[:]
                    object.__setattr__(written, "flags", written.flags | np.uint8(SUBSTITUTED))
                edits.put(instant, written)
                applied.append(True)
                if option is UpdateOption.REMOVE:
                    changes += [ArchiveChange("Delete", present[j : j + 1]) for j in range(len(present))]
                else:
                    inserts = option in (UpdateOption.INSERT, UpdateOption.INSERT_NO_COMPRESSION)
                    action = "Update" if len(present) and not inserts else "Add"
                    changes.append(ArchiveChange(action, written[-1:]))
        if changes:
            for tell in self._watchers:
                tell(point, changes)
        return applied

    def insert(self, point: Point, events: Events) -> None:
        """Add late events beside whatever is at their instants."""
        self.update(point, events, UpdateOption.INSERT)

    def replace(self, point: Point, events: Events) -> None:
        """Put each event in the place of all events at its instant."""
        self.update(point, events, UpdateOption.REPLACE)

    def remove(self, point: Point, events: Events) -> None:
        """Delete all events at the instants of the given ones."""
        self.update(point, events, UpdateOption.REMOVE)
