"""A made-up history of event frames, of any length, computed from the number of each frame when it is asked for.

Batches with their phases, and stoppages of equipment that overlap as they like. Only times are kept, sixteen bytes a
frame; names, attributes and everything else follow from the number.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from datetime import date, datetime, timedelta, timezone
from uuid import UUID, uuid5

import numpy as np
from numpy.typing import NDArray

from pi_dagster.simulator.af_model import (
    AssetDatabase,
    Attribute,
    Element,
    ElementTemplate,
    PlacedAttribute,
)
from pi_dagster.simulator.event_frame_model import SEVERITIES, Annotation, EventFrame
from pi_dagster.simulator.events import MAX_TICKS, TICKS_PER_SECOND, iso_timestamp, to_ticks
from pi_dagster.simulator.timestrings import InvalidTimeError, parse_time

_PATTERN = 8
"""Frames come in groups of so many: the first is a batch, the next ones are its phases, the rest are by themselves."""
_PHASES = ("Charge", "React", "Discharge")
_SHORTEST, _LONGEST = 60.0, 4 * 3600.0
_FORGOTTEN = 4999
"""One frame of so many, and one more, is never closed."""
_ELEMENTS = 500
"""How many elements of a plant the history is about."""
_NUMBER_BITS = 48
_MASK = (1 << 64) - 1
_TEXTS = (
    "Motor tripped",
    "Dichtung prüfen",
    'Operator: "restart"',
    "Line 1\nLine 2",
    "",
    "Auftrag 4711; siehe Schicht|B",
)


class FrameHistory:
    """The event frames of one database between two instants.

    The same arguments make the same frames. A frame that would last beyond the end is in progress, and so are a few
    old ones that nobody closed.

    Args:
        database: what they are about: its leaf elements, its event frame templates.
        count: how many.
        start: when the first one starts; aware.
        end: when the history ends; aware.
        seed: another one makes others.

    Raises:
        ValueError: a negative count, or an end before the start.
    """

    def __init__(self, database: AssetDatabase, *, count: int, start: datetime, end: datetime, seed: int = 1) -> None:
        if count < 0 or end < start:
            raise ValueError("a history has no negative number of event frames, and ends after it starts")
        self.database = database = database.snapshot()
        self._seed = seed * 0x9E3779B97F4A7C15
        self._first_id = uuid5(database.id, f"event frames {seed}").int >> _NUMBER_BITS << _NUMBER_BITS
        self._templates = [t for t in database.element_templates.values() if t.instance_type == "EventFrame"]
        self._states = {found.name: found.values for found in database.enumeration_sets}
        self._elements = list(itertools.islice(_leaves(database), _ELEMENTS))
        self.starts, self.ends = _times(count, to_ticks(start), to_ticks(end), seed)
        self._in_groups = count // _PATTERN * _PATTERN
        numbers = np.arange(count)
        place = numbers % _PATTERN
        self.is_child: NDArray[np.bool_] = (place >= 1) & (place <= len(_PHASES)) & (numbers < self._in_groups)

    def __len__(self) -> int:
        return len(self.starts)

    def children(self, number: int) -> range:
        """The numbers of a frame's children."""
        has_phases = number % _PATTERN == 0 and number < self._in_groups
        return range(number + 1, number + 1 + len(_PHASES)) if has_phases else range(0)

    def number_of(self, frame_id: UUID) -> int | None:
        """The number of the frame with that id."""
        number = frame_id.int - self._first_id
        return number if 0 <= number < len(self) else None

    def id_of(self, number: int) -> UUID:
        """The id of a frame."""
        return UUID(int=self._first_id + number)

    def name(self, number: int) -> str:
        """The name of a frame; phases of batches share theirs."""
        if self._is_phase(number):
            return _PHASES[number % _PATTERN - 1]
        chance = _mixed(self._seed ^ number)
        element, template = self._element(chance), self._template(chance)
        what = template.name if template else "Event"
        return f"{element.name if element else 'Plant'} {what} {iso_timestamp(int(self.starts[number]))}"

    def numbers_named(self, name: str) -> list[int]:
        """The numbers of the frames at the top that have that name, in any case."""
        try:
            start = parse_time(name.rpartition(" ")[2], now=0, zone=timezone.utc)
        except InvalidTimeError:
            return []
        then = np.flatnonzero((self.starts == start) & ~self.is_child).tolist()
        return [number for number in then if self.name(number).casefold() == name.casefold()]

    def frame(self, number: int, *, attributes: bool = True) -> EventFrame:
        """A frame with everything about it; without `attributes` it has none, which halves the work."""
        chance = _mixed(self._seed ^ number)
        start, end = int(self.starts[number]), int(self.ends[number])
        is_open = end == MAX_TICKS
        template = self._template(chance)
        elements = [e for e in (self._element(chance), self._element(chance >> 7) if chance % 10 == 0 else None) if e]
        acknowledged = template is not None and template.can_be_acknowledged and not is_open and chance % 3 > 0
        return EventFrame(
            id=UUID(int=self._first_id + number),
            name=self.name(number),
            start=start,
            end=None if is_open else end,
            template_name=template.name if template else "",
            description=_TEXTS[chance % 97] if chance % 97 < len(_TEXTS) else "",
            severity=SEVERITIES[(chance >> 20) % len(SEVERITIES)],
            category_names=template.category_names if template else (),
            elements=tuple(dict.fromkeys(element.id for element in elements)),
            attributes=self._attributes(template, chance, start) if attributes else (),
            parent=UUID(int=self._first_id + number // _PATTERN * _PATTERN) if self._is_phase(number) else None,
            can_be_acknowledged=template is not None and template.can_be_acknowledged,
            acknowledged_by=r"PLANT\operator" if acknowledged else "",
            acknowledged_at=end + chance % 3600 * TICKS_PER_SECOND if acknowledged else None,
            annotations=(self._annotation(number, end),) if chance % 50 == 0 and not is_open else (),
            are_values_captured=not is_open and template is not None,
        )

    def _is_phase(self, number: int) -> bool:
        return 1 <= number % _PATTERN <= len(_PHASES) and number < self._in_groups

    def _template(self, chance: int) -> ElementTemplate | None:
        return self._templates[(chance >> 33) % len(self._templates)] if self._templates else None

    def _element(self, chance: int) -> Element | None:
        return self._elements[(chance >> 41) % len(self._elements)] if self._elements else None

    def _annotation(self, number: int, end: int) -> Annotation:
        note = UUID(int=self._first_id + number | 1 << (_NUMBER_BITS - 1))
        return Annotation(note, "Note", "checked", r"PLANT\operator", end)

    def _attributes(self, template: ElementTemplate | None, chance: int, start: int) -> tuple[Attribute, ...]:
        if template is None:
            return ()
        placed = self.database.template_attributes(template.name)
        return tuple(
            Attribute(attribute, None, self._value(attribute, _mixed(chance + place), start))
            for place, attribute in enumerate(placed)
        )

    def _value(self, placed: PlacedAttribute, chance: int, start: int) -> object:
        template = placed.template
        if chance % 20 == 0:
            return None
        chance >>= 8
        if template.value_type in ("Double", "Single"):
            return round(template.zero + template.span * (chance % 100_001) / 100_000, 3)
        if template.value_type.startswith("Int"):
            return int(template.zero) + chance % max(1, int(template.span))
        if template.value_type == "Boolean":
            return bool(chance & 1)
        if template.value_type in ("String", ""):
            return _TEXTS[chance % len(_TEXTS)]
        if template.value_type == "DateTime":
            return iso_timestamp(start - chance % 1_000_000_000_000)
        if template.value_type == "EnumerationValue":
            states = self._states.get(template.type_qualifier, ())
            return states[chance % len(states)].name if states else None
        return template.value


def recent_history(
    database: AssetDatabase, count: int, days: int, seed: int = 1, *, until: date | None = None
) -> FrameHistory:
    """A history that begins that many days before today, or before `until`, and ends with the last full hour of it."""
    now = datetime.now(timezone.utc)
    end = now.replace(minute=0, second=0, microsecond=0)
    if until is not None:
        end = datetime(until.year, until.month, until.day, tzinfo=timezone.utc)
    start = end.replace(hour=0) - timedelta(days=days)
    return FrameHistory(database, count=count, start=start, end=end, seed=seed)


def _mixed(number: int) -> int:
    """A number of 64 bits that looks like chance, the same for the same number (SplitMix64, finishing step)."""
    number &= _MASK
    number = (number ^ number >> 30) * 0xBF58476D1CE4E5B9 & _MASK
    number = (number ^ number >> 27) * 0x94D049BB133111EB & _MASK
    return number ^ number >> 31


def _leaves(database: AssetDatabase) -> Iterator[Element]:
    """Elements with none below them, in the order of a walk down from the database; each once."""
    seen = set()
    waiting = [iter(database.children(None))]
    while waiting:
        number = next(waiting[-1], None)
        if number is None:
            waiting.pop()
        elif number not in seen:
            seen.add(number)
            below = database.children(number)
            if below:
                waiting.append(iter(below))
            else:
                yield database.element(number)


def _times(count: int, start: int, end: int, seed: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Starts, in order except for phases, and ends, `MAX_TICKS` for frames in progress."""
    random = np.random.default_rng(seed)
    numbers = np.arange(count)
    starts = start + ((numbers + random.random(count)) * ((end - start) / max(1, count))).astype(np.int64)
    # Whole seconds as from an analysis that runs on the clock, but every fourth frame with all seven digits.
    starts -= np.where(numbers % 4 > 0, starts % TICKS_PER_SECOND, 0)
    starts = np.maximum(starts, start)
    seconds = np.exp(random.uniform(np.log(_SHORTEST), np.log(_LONGEST), count))
    ends = starts + np.round(seconds).astype(np.int64) * TICKS_PER_SECOND
    batches = np.arange(0, count // _PATTERN * _PATTERN, _PATTERN)
    ends[batches] = np.maximum(np.minimum(ends[batches], end), starts[batches])
    for phase in range(len(_PHASES)):
        lasts = ends[batches] - starts[batches]
        starts[batches + 1 + phase] = starts[batches] + lasts * phase // len(_PHASES)
        ends[batches + 1 + phase] = starts[batches] + lasts * (phase + 1) // len(_PHASES)
    ends[ends > end] = MAX_TICKS
    ends[_FORGOTTEN :: _FORGOTTEN + 1] = MAX_TICKS
    return starts, ends
