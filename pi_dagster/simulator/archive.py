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
from datetime import datetime, timedelta, timezone
from enum import Enum
from fnmatch import translate
from functools import lru_cache
from re import IGNORECASE, Pattern
from re import compile as compile_pattern
from typing import Any, Protocol
from uuid import UUID

import numpy as np
from numpy.typing import NDArray

from pi_dagster.simulator.points import FLOAT_TYPES, SYSTEM_STATES, DigitalSet, Point, PointType

Ticks = int
"""An instant: 100 ns steps since 1970-01-01T00:00:00Z, the resolution of PI Web API timestamps."""

TICKS_PER_SECOND = 10_000_000
MIN_TICKS = 0
MAX_TICKS = 2_534_023_007_999_999_999
"""9999-12-31T23:59:59.9999999Z, the last instant PI can name."""

BAD, QUESTIONABLE, SUBSTITUTED, ANNOTATED = 1, 2, 4, 8
"""Bits of `Events.flags`."""

NOT_A_STATE = -1
"""In `Events.states`: the event holds a real value."""

DEFAULT_SERVER_ID = UUID("8d4d1dad-f1d3-4311-ae94-d9a9b3a689a9")

_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)


def to_ticks(instant: datetime) -> Ticks:
    """The ticks of an aware datetime."""
    return (instant - _EPOCH) // timedelta(microseconds=1) * 10


def utc_now() -> Ticks:
    """The ticks of this machine's clock, the default clock of a generated archive."""
    return to_ticks(datetime.now(timezone.utc))


def iso_timestamp(ticks: Ticks) -> str:
    """The instant as PI Web API prints it: UTC, `Z`, 0 to 7 fraction digits without trailing zeros."""
    seconds, fraction = divmod(int(ticks), TICKS_PER_SECOND)
    days, of_day = divmod(seconds, 86_400)
    text = f"{_date(days)}T{of_day // 3600:02d}:{of_day // 60 % 60:02d}:{of_day % 60:02d}"
    return f"{text}.{fraction:07d}".rstrip("0") + "Z" if fraction else text + "Z"


@lru_cache(maxsize=4096)
def _date(days: int) -> str:
    return (_EPOCH + timedelta(days=days)).strftime("%Y-%m-%d")


@dataclass(frozen=True, eq=False)
class Events:
    """Recorded values of one point, as arrays of one length, in the order they are read.

    `values` holds float64 for the float and integer types (exact for Int32), int64 offsets into
    `digital_states` for Digital, and objects for String (str), Timestamp (str, ISO) and Blob (bytes). Where
    `states` is not `NOT_A_STATE` the event is that system state and its value means nothing. `flags` are the
    bits `BAD`, `QUESTIONABLE`, `SUBSTITUTED`, `ANNOTATED`.
    """

    point_type: PointType
    ticks: NDArray[np.int64]
    values: NDArray[Any]
    states: NDArray[np.int32]
    flags: NDArray[np.uint8]
    digital_states: tuple[str, ...] = ()

    @classmethod
    def of(
        cls,
        point_type: PointType,
        ticks: Sequence[Ticks] | NDArray[np.int64],
        values: Sequence[object] | NDArray[Any],
        *,
        states: Sequence[int] | NDArray[np.int32] | None = None,
        flags: Sequence[int] | NDArray[np.uint8] | None = None,
        digital_states: tuple[str, ...] = (),
    ) -> Events:
        """Build events from sequences; without `states` all are real, without `flags` bad where a state is.

        The value beside a system state may be anything the type can hold, or None.
        """
        dtype = value_dtype(point_type)
        if isinstance(values, np.ndarray):
            array = values.astype(dtype)
        else:
            array = np.empty(len(values), dtype=dtype)
            for i, value in enumerate(values):
                array[i] = 0 if value is None and dtype is not np.object_ else value
        count = len(array)
        state_codes = np.full(count, NOT_A_STATE, np.int32) if states is None else np.asarray(states, np.int32)
        if flags is None:
            flags = np.where(state_codes == NOT_A_STATE, 0, BAD).astype(np.uint8)
        return cls(
            point_type=point_type,
            ticks=np.asarray(ticks, np.int64),
            values=array,
            states=state_codes,
            flags=np.asarray(flags, np.uint8),
            digital_states=digital_states,
        )

    @classmethod
    def none(cls, point_type: PointType, digital_states: tuple[str, ...] = ()) -> Events:
        """No events, of that type."""
        return cls.of(point_type, [], [], digital_states=digital_states)

    @classmethod
    def concat(cls, parts: Sequence[Events]) -> Events:
        """The events of all parts (at least one, all of one point), one after the other."""
        if len(parts) == 1:
            return parts[0]
        first = parts[0]
        return cls(
            point_type=first.point_type,
            ticks=np.concatenate([part.ticks for part in parts]),
            values=np.concatenate([part.values for part in parts]),
            states=np.concatenate([part.states for part in parts]),
            flags=np.concatenate([part.flags for part in parts]),
            digital_states=first.digital_states,
        )

    def __len__(self) -> int:
        return len(self.ticks)

    def __getitem__(self, which: slice | NDArray[Any]) -> Events:
        """The events a slice, an index array or a mask selects."""
        return Events(
            point_type=self.point_type,
            ticks=self.ticks[which],
            values=self.values[which],
            states=self.states[which],
            flags=self.flags[which],
            digital_states=self.digital_states,
        )

    def reversed(self) -> Events:
        """The same events, newest first (equal instants too: the exact mirror of the archive order)."""
        return self[::-1]

    def between(self, start: Ticks, end: Ticks) -> Events:
        """The events with start <= instant <= end; the events must be in archive order."""
        first = int(np.searchsorted(self.ticks, start, "left"))
        last = int(np.searchsorted(self.ticks, end, "right"))
        return self if first == 0 and last == len(self) else self[first:last]

    def limited(self, limit: int | None, *, descending: bool) -> Events:
        """Archive-ordered events turned into the reading direction and cut after `limit`."""
        if descending:
            return self.reversed()[:limit]
        return self if limit is None or limit >= len(self) else self[:limit]

    @property
    def nbytes(self) -> int:
        """Bytes the arrays take, counting a guess of 64 for an object value."""
        value_bytes = 64 * len(self) if self.values.dtype == np.object_ else self.values.nbytes
        return int(self.ticks.nbytes + value_bytes + self.states.nbytes + self.flags.nbytes)

    def value_at(self, index: int) -> object:
        """The value of one event as PI Web API writes it in JSON.

        A number, a string (Timestamp too), a list of 0..255 (Blob), or for digital and system states
        `{"Name", "Value", "IsSystem"}`. Float32 and Float16 come with the digits of their width; a number
        JSON cannot write comes as `"NaN"`, `"Infinity"` or `"-Infinity"`.
        Source: PI Web API reference, topic `value-types`.
        """
        state = int(self.states[index])
        if state != NOT_A_STATE:
            return {"Name": SYSTEM_STATES.get(state, ""), "Value": state, "IsSystem": True}
        value = self.values[index]
        if self.point_type == "Digital":
            return {"Name": self.digital_states[int(value)], "Value": int(value), "IsSystem": False}
        if self.point_type == "Blob":
            return list(value)
        if self.point_type in FLOAT_TYPES:
            if not np.isfinite(value):
                return "NaN" if np.isnan(value) else "Infinity" if value > 0 else "-Infinity"
            return float(str(value.astype(FLOAT_WIDTHS[self.point_type])))
        return value if isinstance(value, str) else int(value)


FLOAT_WIDTHS: Mapping[str, Any] = {"Float16": np.float16, "Float32": np.float32, "Float64": np.float64}
"""The numpy type whose digits a float point prints."""


def value_dtype(point_type: PointType) -> Any:
    """The numpy dtype of `Events.values` for a point type."""
    if point_type == "Digital":
        return np.int64
    return np.object_ if point_type in ("String", "Timestamp", "Blob") else np.float64


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
