"""Which event frames a search wants, and in what order: the vendor's search modes, filters and sort fields.

Source: PI Web API reference, topic `search-mode`; AF SDK reference, `AFEventFrameSearchMode`.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple
from uuid import UUID

import numpy as np
from numpy.typing import NDArray

from pi_dagster.simulator.af_model import AssetDatabase, Element
from pi_dagster.simulator.archive import name_pattern
from pi_dagster.simulator.event_frame_model import EventFrame
from pi_dagster.simulator.events import MAX_TICKS, MIN_TICKS, Ticks

RANGE_MODES = ("StartInclusive", "EndInclusive", "Inclusive", "Overlapped", "InProgress")
"""Search modes that look at what lies between two instants."""

WALKING_MODES: Mapping[str, tuple[str, bool]] = {
    "BackwardFromStartTime": ("StartTime", True),
    "ForwardFromStartTime": ("StartTime", False),
    "BackwardFromEndTime": ("EndTime", True),
    "ForwardFromEndTime": ("EndTime", False),
    "BackwardInProgress": ("StartTime", True),
    "ForwardInProgress": ("StartTime", False),
}
"""Search modes that walk from one instant: what they sort by, and whether descending."""

SORT_FIELDS: Mapping[str, Callable[[EventFrame], Any]] = {
    "Name": lambda frame: frame.name.casefold(),
    "ID": lambda frame: str(frame.id),
    "StartTime": lambda frame: frame.start,
    "EndTime": lambda frame: frame.ends_at,
}


class TimeLimits(NamedTuple):
    """Inclusive limits on the start and the end of a frame; the end of an open one is `MAX_TICKS`."""

    first_start: Ticks = MIN_TICKS
    last_start: Ticks = MAX_TICKS
    first_end: Ticks = MIN_TICKS
    last_end: Ticks = MAX_TICKS

    @classmethod
    def of(cls, mode: str, start: Ticks, end: Ticks = MAX_TICKS) -> TimeLimits:
        """What a search mode lets through; `end` counts for `RANGE_MODES` only."""
        return {
            "StartInclusive": cls(first_start=start, last_start=end),
            "EndInclusive": cls(first_end=start, last_end=end),
            "Inclusive": cls(first_start=start, last_end=end),
            "Overlapped": cls(last_start=end, first_end=start),
            "InProgress": cls(first_start=start, last_start=end, first_end=MAX_TICKS),
            "BackwardFromStartTime": cls(last_start=start),
            "ForwardFromStartTime": cls(first_start=start),
            "BackwardFromEndTime": cls(last_end=start),
            "ForwardFromEndTime": cls(first_end=start),
            "BackwardInProgress": cls(last_start=start, first_end=MAX_TICKS),
            "ForwardInProgress": cls(first_start=start, first_end=MAX_TICKS),
        }[mode]

    def within(self, other: TimeLimits) -> TimeLimits:
        """What both let through."""
        return TimeLimits(
            max(self.first_start, other.first_start),
            min(self.last_start, other.last_start),
            max(self.first_end, other.first_end),
            min(self.last_end, other.last_end),
        )

    def hold(self, frame: EventFrame) -> bool:
        """Whether a frame is let through."""
        in_time = self.first_start <= frame.start <= self.last_start
        return in_time and self.first_end <= frame.ends_at <= self.last_end

    def among(self, starts: NDArray[np.int64], ends: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Which of many frames are let through."""
        found: NDArray[np.bool_] = (starts >= self.first_start) & (starts <= self.last_start)
        return found & (ends >= self.first_end) & (ends <= self.last_end)


ALL_TIMES = TimeLimits()


class FrameCondition(NamedTuple):
    """One thing that a frame must fulfil: a field of `CONDITIONS`, and the values of which one will do."""

    field: str
    values: tuple[Hashable, ...]


class Comparison(NamedTuple):
    """How an attribute of a frame is compared: its path, one of `=`, `<>`, `<`, `<=`, `>`, `>=`, and a text."""

    attribute: str
    operator: str
    text: str

    def holds(self, frame: EventFrame) -> bool:
        """Whether the frame has such an attribute and it compares so; numbers as numbers."""
        value = next((v.value for v in frame.values if v.name.upper() == self.attribute.upper()), None)
        if value is None:
            return False
        if self.operator in ("=", "<>") and not isinstance(value, (int, float)):
            return (name_pattern(self.text).match(str(value)) is not None) is (self.operator == "=")
        try:
            left, right = float(str(value)), float(self.text)
        except ValueError:
            return False
        return {
            "=": left == right,
            "<>": left != right,
            "<": left < right,
            "<=": left <= right,
            ">": left > right,
            ">=": left >= right,
        }[self.operator]


def _elements(database: AssetDatabase, frame: EventFrame) -> list[Element]:
    numbers = (database.number_of(element_id) for element_id in frame.elements)
    return [database.element(number) for number in numbers if number is not None]


def _lasts(frame: EventFrame, limits: Any) -> bool:
    shortest, longest = limits
    return frame.end is not None and bool(shortest <= frame.end - frame.start <= longest)


CONDITIONS: Mapping[str, Callable[[AssetDatabase, EventFrame, Any], bool]] = {
    "Name": lambda _, frame, text: name_pattern(text).match(frame.name) is not None,
    "Description": lambda _, frame, text: name_pattern(text).match(frame.description[:440]) is not None,
    "Template": lambda database, frame, name: database.is_from_template(frame.template_name, name),
    "Category": lambda _, frame, name: name.upper() in map(str.upper, frame.category_names),
    "Severity": lambda _, frame, name: frame.severity == name,
    "CanBeAcknowledged": lambda _, frame, wanted: frame.can_be_acknowledged is wanted,
    "IsAcknowledged": lambda _, frame, wanted: (frame.acknowledged_at is not None) is wanted,
    "IsAnnotated": lambda _, frame, wanted: bool(frame.annotations) is wanted,
    "Duration": lambda _, frame, limits: _lasts(frame, limits),
    "ID": lambda _, frame, frame_id: str(frame.id) == frame_id.lower(),
    "Element": lambda _, frame, element_id: element_id in frame.elements,
    "ElementName": lambda database, frame, text: any(
        name_pattern(text).match(element.name) for element in _elements(database, frame)
    ),
    "ElementTemplate": lambda database, frame, name: any(
        database.is_from_template(element.template_name, name) for element in _elements(database, frame)
    ),
    "Attribute": lambda _, frame, comparison: comparison.holds(frame),
}
"""What can be asked for, by name. Those of templates let derived ones through, `Duration` takes limits in ticks."""


@dataclass(frozen=True, kw_only=True)
class FrameSearch:
    """What is searched for, and in what order it is wanted.

    Without `all_descendants` only the immediate children of `root` are found, or of the database where it is None.
    """

    times: TimeLimits = ALL_TIMES
    conditions: tuple[FrameCondition, ...] = ()
    root: UUID | None = None
    all_descendants: bool = False
    sort_field: str = "Name"
    descending: bool = False

    def wants(self, database: AssetDatabase, frame: EventFrame) -> bool:
        """Whether a frame in the right place fulfils everything that was asked for."""
        if not self.times.hold(frame):
            return False
        return all(any(CONDITIONS[field](database, frame, v) for v in values) for field, values in self.conditions)
