"""What the retrieval methods make of recorded values: boundaries, values at an instant, interpolation, plots.

Pure functions from an archive to `Events`, in reading order.
Source: PI Web API reference, controller `stream` and topic `boundary-type`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from pi_dagster.simulator.archive import Archive, digital_states_of
from pi_dagster.simulator.events import BAD, MAX_TICKS, MIN_TICKS, NOT_A_STATE, QUESTIONABLE, Events, Ticks
from pi_dagster.simulator.points import FLOAT_TYPES, Point

NO_DATA = 248

BoundaryType = Literal["Inside", "Outside", "Interpolated"]
RetrievalMode = Literal["Auto", "AtOrBefore", "Before", "AtOrAfter", "After", "Exact"]


def recorded(
    archive: Archive,
    point: Point,
    start: Ticks,
    end: Ticks,
    limit: int,
    boundary: BoundaryType = "Inside",
    newest: Ticks = MAX_TICKS,
) -> Events:
    """The first `limit` events from `start` to `end`, both included; newest first where start is after end.

    `Outside` adds the nearest event beyond each end, `Interpolated` a made-up value at each end that holds none.
    Events after `newest` are taken as not archived yet.
    """
    descending = start > end
    low, high = min(start, end), min(max(start, end), newest)
    if low > high:
        return no_data(archive, point, [])
    inside = archive.events(point, low, high, limit, descending)
    if boundary == "Inside":
        return inside
    if boundary == "Outside":
        at_low, at_high = archive.event_before(point, low), archive.event_after(point, high)
    else:
        at_low, at_high = (
            values_at(archive, point, [instant]) if not archive.count(point, instant, instant) else inside[:0]
            for instant in (low, high)
        )
    first, last = (at_high, at_low) if descending else (at_low, at_high)
    return Events.concat([first, inside, last])[:limit]


def recorded_at(archive: Archive, point: Point, instant: Ticks, mode: RetrievalMode = "Auto") -> Events:
    """The one event nearest to an instant in the sense of `mode`; `No Data` at the instant where there is none."""
    before = archive.event_before(point, instant + 1)
    exact = before if len(before) and before.ticks[0] == instant else before[:0]
    if mode == "Exact":
        found = exact
    elif mode == "AtOrBefore":
        found = before
    elif mode == "Before":
        found = archive.event_before(point, instant)
    elif mode == "After" or (mode == "AtOrAfter" and not len(exact)):
        found = archive.event_after(point, instant)
    elif mode == "AtOrAfter":
        found = exact
    else:
        found = before if len(before) else archive.event_after(point, instant)
    return found if len(found) else no_data(archive, point, [instant])


def no_data(archive: Archive, point: Point, instants: Sequence[Ticks]) -> Events:
    """The system state `No Data` at each instant."""
    count = len(instants)
    return Events.of(
        point.point_type,
        instants,
        [None] * count,
        states=[NO_DATA] * count,
        digital_states=digital_states_of(point, archive.digital_sets),
    )


def surrounding(archive: Archive, point: Point, low: Ticks, high: Ticks) -> Events:
    """The events from the last one at or before `low` to the first one at or after `high`."""
    before = archive.event_before(point, low + 1)
    after = archive.event_after(point, high - 1)
    first = int(before.ticks[0]) if len(before) else max(MIN_TICKS, low)
    last = int(after.ticks[-1]) if len(after) else min(MAX_TICKS, high)
    return archive.events(point, first, last)


def is_interpolated(point: Point) -> bool:
    """Whether the point's values between two events lie on a line; else each value holds until the next."""
    return point.point_type in FLOAT_TYPES and not point.step


def values_at(archive: Archive, point: Point, instants: Sequence[Ticks]) -> Events:
    """The point's value at each instant, archived or not; `No Data` before its first event."""
    if not len(instants):
        return no_data(archive, point, [])
    wanted = np.asarray(instants, np.int64)
    known = surrounding(archive, point, int(wanted.min()), int(wanted.max()))
    if not len(known):
        return no_data(archive, point, instants)
    place = np.searchsorted(known.ticks, wanted, "right") - 1
    left = known[np.maximum(place, 0)]
    right = known[np.minimum(place + 1, len(known) - 1)]
    unknown = place < 0
    between = (left.ticks != wanted) & ~unknown
    values = left.values.copy()
    if is_interpolated(point):
        on_line = between & is_good(left) & is_good(right) & (right.ticks > left.ticks)
        apart = np.maximum(right.ticks - left.ticks, 1)
        share = (wanted - left.ticks) / apart
        with np.errstate(invalid="ignore"):
            line = left.values + (right.values - left.values) * share
        values = np.where(on_line, line, values)
    flags = np.where(between, left.flags & (BAD | QUESTIONABLE), left.flags)
    return replace(
        left,
        ticks=wanted,
        values=values,
        states=np.where(unknown, NO_DATA, left.states).astype(np.int32),
        flags=np.where(unknown, BAD, flags).astype(np.uint8),
    )


def is_good(events: Events) -> NDArray[np.bool_]:
    """Which events are real values that are not bad."""
    return np.asarray((events.states == NOT_A_STATE) & (events.flags & BAD == 0))


def plot(archive: Archive, point: Point, start: Ticks, end: Ticks, intervals: int) -> Events:
    """At most five events of each interval: the first, last, smallest, largest and first exceptional one."""
    low, high = min(start, end), max(start, end)
    events = archive.events(point, low, high)
    good = is_good(events)
    numeric = events.values.dtype == np.float64
    edges = np.searchsorted(events.ticks, np.linspace(low, high, intervals + 1).astype(np.int64)[1:-1], "left")
    chosen: set[int] = set()
    for first, last in zip([0, *edges.tolist()], [*edges.tolist(), len(events)], strict=True):
        if first == last:
            continue
        chosen |= {first, last - 1}
        good_here = np.flatnonzero(good[first:last]) + first
        if numeric and len(good_here):
            values = events.values[good_here]
            chosen |= {int(good_here[values.argmin()]), int(good_here[values.argmax()])}
        if len(good_here) < last - first:
            chosen.add(int(np.flatnonzero(~good[first:last])[0]) + first)
    found = events[np.array(sorted(chosen), np.int64)]
    return found.reversed() if start > end else found
