"""An archive made up on demand: the same seed, tag and instant always give the same events.

Time is cut into blocks, counted from the plant's start, and a block is always generated whole, from a
counter-based random stream keyed by (seed, tag, block). So no window, order or thread can change what is
read, and nothing is kept but the blocks read last: a hundred thousand tags cost only what is asked of them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pi_dagster.simulator.archive import digital_states_of, name_pattern
from pi_dagster.simulator.events import (
    ANNOTATED,
    BAD,
    FLOAT_WIDTHS,
    NOT_A_STATE,
    QUESTIONABLE,
    SUBSTITUTED,
    TICKS_PER_SECOND,
    Events,
    Ticks,
    iso_timestamp,
    to_ticks,
    utc_now,
)
from pi_dagster.simulator.plant import DIGITAL_SETS, MESSAGES, ON_CHANGE, PLANT, SILENT, Mix, Sampling
from pi_dagster.simulator.points import FLOAT_TYPES, DigitalSet, Point

_SAMPLING, _TROUBLED, _REPEATING, _FRACTIONAL, _DIGITS, _CREATED = (
    0.6180339887,
    0.7548776662,
    0.5698402910,
    0.8191725134,
    0.6710436067,
    0.5497004779,
)
"""Steps of the trait sequences: irrational, so any run of tags has each trait about as often as its share."""

_POINT_CREATED, _IO_TIMEOUT, _NO_DATA, _SHUTDOWN, _BAD_INPUT = 253, 246, 248, 254, 255

_QUALITY_SHARES = np.cumsum([0.988, 0.002, 0.001, 0.002, 0.004, 0.001, 0.001])
_QUALITY_STATES = np.array([NOT_A_STATE, _BAD_INPUT, _NO_DATA] + [NOT_A_STATE] * 5, np.int32)
_QUALITY_FLAGS = np.array(
    [0, BAD, BAD, BAD, QUESTIONABLE, SUBSTITUTED, ANNOTATED, QUESTIONABLE | SUBSTITUTED], np.uint8
)
"""What happens to single events of a troubled tag: share (the last takes the rest), state and flags."""

_OUTAGES_PER_DAY = 0.2
_REPEATED_SHARE = 0.005
_BLOCKS_KEPT = 256
"""At most about 50 MB: a block is 8,640 events at most, about 21 bytes each."""


@dataclass(frozen=True)
class _Tag:
    """A tag with all that its events follow from."""

    point: Point
    index: int
    sampling: Sampling
    created: Ticks
    phase: Ticks
    resolution: Ticks
    troubled: bool
    repeating: bool
    middle: float
    swing: float
    wave_seconds: float
    wave_phase: float
    digital_states: tuple[str, ...]


class GeneratedBase:
    """An `ArchiveBase` of `tags` generated tags. Ids are 1 to `tags`; names follow the mix's signals.

    `now` is the server's clock: events later than it do not exist yet (future tags reach further, as the mix
    says). Two bases with one seed and mix agree on every event both have.
    Raises ValueError for a negative number of tags or seed.
    """

    def __init__(self, *, tags: int = 200, seed: int = 1, mix: Mix = PLANT, now: Callable[[], Ticks] = utc_now) -> None:
        self.mix = mix
        self.now = now
        self._seed = seed
        self._tags = tags
        self._origin = to_ticks(mix.start)
        self._signal_numbers = {
            (signal.area.casefold(), signal.suffix.casefold()): number for number, signal in enumerate(mix.signals)
        }
        self._tag = lru_cache(maxsize=4096)(self._make_tag)
        self._block = lru_cache(maxsize=_BLOCKS_KEPT)(self._make_block)
        self._matching = lru_cache(maxsize=16)(self._find_matching)

    @property
    def digital_sets(self) -> Sequence[DigitalSet]:
        """The digital state sets of the plant."""
        return DIGITAL_SETS

    @property
    def point_count(self) -> int:
        """How many points there are."""
        return self._tags

    def point_by_id(self, point_id: int) -> Point | None:
        """The point with that id."""
        return self._make_point(point_id - 1) if 1 <= point_id <= self._tags else None

    def point_by_name(self, name: str) -> Point | None:
        """The point with that name, whatever its case; found without listing any."""
        parts = re.fullmatch(r"([^\W\d]+)(\d+)(.*)", name.casefold())
        number = self._signal_numbers.get((parts[1], parts[3])) if parts else None
        if parts is None or number is None:
            return None
        point = self.point_by_id((int(parts[2]) - 1) * len(self.mix.signals) + number + 1)
        return point if point is not None and point.name.casefold() == name.casefold() else None

    def points(self, name_filter: str | None = None, start: int = 0, count: int | None = None) -> list[Point]:
        """Matching points in id order, `count` of them after skipping `start`."""
        found = range(self._tags) if name_filter is None else self._matching(name_filter)
        return [self._make_point(i) for i in found[start : None if count is None else start + count]]

    def span(self) -> None:
        """None: a generated plant goes on."""

    def events(
        self, point: Point, start: Ticks, end: Ticks, limit: int | None = None, descending: bool = False
    ) -> Events:
        """Events with start <= instant <= end, at most `limit`, in the reading direction."""
        tag = self._tag(point.id - 1)
        ahead = self.mix.forecast * TICKS_PER_SECOND if point.future else 0
        start, end = max(start, tag.created), min(end, self.now() + ahead)
        nothing = Events.none(point.point_type, tag.digital_states)
        if start > end or limit == 0:
            return nothing
        if tag.sampling is SILENT:
            return (_created(tag) if start == tag.created else nothing).limited(limit, descending=descending)
        block = tag.sampling.block * TICKS_PER_SECOND
        numbers = range((start - self._origin) // block, (end - self._origin) // block + 1)
        parts = []
        found = 0
        for number in reversed(numbers) if descending else numbers:
            part = self._block(tag.index, number).between(start, end)
            parts.append(part)
            found += len(part)
            if limit is not None and found >= limit:
                break
        return Events.concat(parts[::-1] if descending else parts).limited(limit, descending=descending)

    def _find_matching(self, name_filter: str) -> NDArray[np.int64]:
        matches = name_pattern(name_filter).match
        return np.array([i for i in range(self._tags) if matches(self._name(i))], np.int64)

    def _name(self, index: int) -> str:
        unit, number = divmod(index, len(self.mix.signals))
        return self.mix.signals[number].tag_name(unit + 1)

    def _make_point(self, index: int) -> Point:
        unit, number = divmod(index, len(self.mix.signals))
        signal = self.mix.signals[number]
        created = int(self._trait(index, _CREATED) * self.mix.creation_spread)
        return Point(
            id=int(index) + 1,
            name=signal.tag_name(unit + 1),
            point_type=signal.point_type,
            descriptor=f"{signal.descriptor}, {signal.area} {unit + 1}",
            digital_set_name=signal.digital_set,
            engineering_units=signal.units,
            zero=float(signal.zero),
            span=float(signal.span),
            step=signal.point_type not in FLOAT_TYPES,
            future=signal.future,
            created=self.mix.start + timedelta(seconds=created),
        )

    def _trait(self, index: int, step: float) -> float:
        """Where the tag stands in [0, 1) in the sequence of one trait."""
        return float((self._seed * 0.7320508076 + (index + 1) * step) % 1.0)

    def _random(self, index: int, stream: int, block: int) -> np.random.Generator:
        counter = np.array([0, 0, block, stream], np.uint64)
        key = np.array([self._seed, index], np.uint64)
        return np.random.Generator(np.random.Philox(key=key, counter=counter))

    def _make_tag(self, index: int) -> _Tag:
        point = self._make_point(index)
        random = self._random(index, 0, 0)
        sampling = self._sampling(index, point)
        digits = 0
        if self._trait(index, _FRACTIONAL) < self.mix.fractional:
            digits = 1 + int(self._trait(index, _DIGITS) * 7)
        resolution = 10 ** (7 - digits)
        period = sampling.period * TICKS_PER_SECOND
        return _Tag(
            point=point,
            index=index,
            sampling=sampling,
            created=to_ticks(point.created),
            phase=0 if sampling.jittered else int(random.random() * period) // resolution * resolution,
            resolution=resolution,
            troubled=self._trait(index, _TROUBLED) < self.mix.troubled,
            repeating=self._trait(index, _REPEATING) < self.mix.repeating,
            middle=point.zero + point.span * random.uniform(0.3, 0.7),
            swing=point.span * random.uniform(0.02, 0.2),
            wave_seconds=random.uniform(1, 24) * 3600,
            wave_phase=random.uniform(0, 2 * np.pi),
            digital_states=digital_states_of(point, DIGITAL_SETS),
        )

    def _sampling(self, index: int, point: Point) -> Sampling:
        place = self._trait(index, _SAMPLING)
        sampling = self.mix.samplings[-1][0]
        for candidate, share in self.mix.samplings:
            if place < share:
                sampling = candidate
                break
            place -= share
        if sampling is SILENT or point.point_type in FLOAT_TYPES or point.point_type.startswith("Int"):
            return sampling
        return ON_CHANGE

    def _make_block(self, index: int, number: int) -> Events:
        tag = self._tag(index)
        random = self._random(index, 1, number)
        start = self._origin + number * tag.sampling.block * TICKS_PER_SECOND
        ticks, outage = _instants(tag, start, random)
        states: NDArray[np.int32] = np.full(len(ticks), NOT_A_STATE, np.int32)
        flags: NDArray[np.uint8] = np.zeros(len(ticks), np.uint8)
        if tag.troubled and len(ticks):
            fate = np.searchsorted(_QUALITY_SHARES, random.random(len(ticks)), "right")
            states, flags = _QUALITY_STATES[fate], _QUALITY_FLAGS[fate]
            down = np.isin(ticks, outage)
            states[down] = _SHUTDOWN if random.random() < 0.5 else _IO_TIMEOUT
            flags[down] = BAD
        events = Events(
            point_type=tag.point.point_type,
            ticks=ticks,
            values=_values(tag, ticks, random),
            states=states,
            flags=flags,
            digital_states=tag.digital_states,
        )
        if start <= tag.created < start + tag.sampling.block * TICKS_PER_SECOND:
            events = Events.concat([_created(tag), events[ticks > tag.created]])
        return events


def _created(tag: _Tag) -> Events:
    """The first event of every point."""
    nothing: Any = {"String": "", "Timestamp": iso_timestamp(0), "Blob": b""}.get(tag.point.point_type, 0)
    return Events.of(
        tag.point.point_type,
        [tag.created],
        [nothing],
        states=[_POINT_CREATED],
        digital_states=tag.digital_states,
    )


def _instants(tag: _Tag, start: Ticks, random: np.random.Generator) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The instants of a block's events, ascending, and the first instant of its outage, if it has one."""
    sampling = tag.sampling
    period = sampling.period * TICKS_PER_SECOND
    ticks: NDArray[np.int64] = start + tag.phase + np.arange(sampling.block // sampling.period, dtype=np.int64) * period
    if sampling.jittered:
        jitter = (random.random(len(ticks)) * (0.9 * period)).astype(np.int64)
        ticks += jitter // tag.resolution * tag.resolution
    if sampling.kept != (1.0, 1.0):
        ticks = ticks[random.random(len(ticks)) < random.uniform(*sampling.kept)]
    outage = ticks[:0]
    if tag.troubled and len(ticks) and random.random() < _OUTAGES_PER_DAY * sampling.block / 86_400:
        first = int(random.random() * len(ticks))
        last = first + int(random.random() * 0.2 * len(ticks))
        outage = ticks[first : first + 1]
        ticks = np.delete(ticks, slice(first + 1, last + 1))
    if tag.repeating:
        times = 1 + (random.random(len(ticks)) < _REPEATED_SHARE) * random.integers(1, 4, len(ticks))
        apart = random.integers(0, 2, len(ticks))
        nth = np.arange(times.sum()) - np.repeat(np.cumsum(times) - times, times)
        ticks = np.repeat(ticks, times) + nth * np.repeat(apart, times)
    return ticks, outage


def _values(tag: _Tag, ticks: NDArray[np.int64], random: np.random.Generator) -> NDArray[Any]:
    point = tag.point
    count = len(ticks)
    if point.point_type == "Digital":
        return random.integers(0, len(tag.digital_states), count)
    if point.point_type in FLOAT_WIDTHS or point.point_type in ("Int16", "Int32"):
        return _measurements(tag, ticks, random)
    values = np.empty(count, np.object_)
    numbers = random.integers(0, 100_000, count).tolist()
    for i, number in enumerate(numbers):
        if point.point_type == "String":
            values[i] = MESSAGES[number % len(MESSAGES)].format(number=number)
        elif point.point_type == "Timestamp":
            values[i] = iso_timestamp(int(ticks[i]) - number * TICKS_PER_SECOND - number)
        else:
            values[i] = random.bytes(number % 17)
    return values


def _measurements(tag: _Tag, ticks: NDArray[np.int64], random: np.random.Generator) -> NDArray[np.float64]:
    """A slow wave with noise inside the tag's range, rounded to what its type can hold."""
    point = tag.point
    turn = 2 * np.pi / (tag.wave_seconds * TICKS_PER_SECOND)
    wave = np.sin((ticks % int(tag.wave_seconds * TICKS_PER_SECOND)) * turn + tag.wave_phase)
    values = tag.middle + tag.swing * wave
    values += (0.004 * point.span) * random.standard_normal(len(ticks))
    np.clip(values, point.zero, point.zero + point.span, out=values)
    held: NDArray[np.float64] = np.rint(values)
    if point.point_type in FLOAT_WIDTHS:
        held = values.astype(FLOAT_WIDTHS[point.point_type]).astype(np.float64)
    return held
