"""What each kind of rule calls a fault, as operations on the columns of many tags at once."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from pi_dagster.quality.findings import Findings, nothing, stretches
from pi_dagster.quality.tag_rows import Booleans, GoodNumbers, Integers, Numbers, TagRows
from pi_dagster.quality_rules import (
    AnyRule,
    CounterRule,
    GapRule,
    RangeRule,
    RateRule,
    SpikeRule,
    StatesRule,
    StuckRule,
    UnitsRule,
)

MINUTE_US = 60_000_000
_MAD_TO_DEVIATION, _MEAN_TO_DEVIATION = 1.4826, 1.2533


@dataclass(frozen=True)
class TagFacts:
    """What the list of tags tells about a tag that a rule may need."""

    zero: float | None
    span: float | None
    units: str | None


@dataclass(frozen=True)
class Day:
    """The stretch that is judged: microseconds since 1970, half-open."""

    start_us: int
    end_us: int


def judge(rule: AnyRule, rows: TagRows, wanted: Booleans, facts: Sequence[TagFacts], day: Day) -> Findings:
    """The findings of a rule that looks at each tag by itself.

    Args:
        rule: any but a `DifferenceRule`.
        rows: the rows of some tags.
        wanted: which of these tags the rule is about.
        facts: of each of these tags.
        day: what is judged.
    """
    return _JUDGES[type(rule)](rule, rows, wanted, facts, day).bounded()


def silent_all_day(day: Day, tags: Sequence[int]) -> Findings:
    """One finding for each tag without any event: the whole day."""
    found = len(tags)
    return Findings(
        tag=np.array(tags, np.int64),
        first_us=np.full(found, day.start_us),
        last_us=np.full(found, day.end_us),
        events=np.zeros(found, np.int64),
        worst=np.full(found, (day.end_us - day.start_us) / MINUTE_US),
    )


def _by_tag(values: Sequence[float | None], default: float) -> Numbers:
    return np.array([default if value is None else value for value in values], np.float64)


def _range(rule: RangeRule, rows: TagRows, wanted: Booleans, facts: Sequence[TagFacts], day: Day) -> Findings:
    if rule.low is None and rule.high is None:
        tops = [None if fact.zero is None or fact.span is None else fact.zero + fact.span for fact in facts]
        low, high = _by_tag([fact.zero for fact in facts], -np.inf), _by_tag(tops, np.inf)
    else:
        low = _by_tag([rule.low] * len(facts), -np.inf)
        high = _by_tag([rule.high] * len(facts), np.inf)
    numbers = rows.good_numbers.of_tags(wanted)
    if not len(numbers.tag):
        return nothing()
    # Most tags keep their range all day, which their smallest and largest number tell.
    tag = numbers.tag[numbers.starts]
    leaves = np.zeros(len(wanted), bool)
    leaves[tag] = (np.minimum.reduceat(numbers.value, numbers.starts) < low[tag]) | (
        np.maximum.reduceat(numbers.value, numbers.starts) > high[tag]
    )
    numbers = numbers.of_tags(leaves)
    excess = np.maximum(low[numbers.tag] - numbers.value, numbers.value - high[numbers.tag])
    return stretches(numbers.tag, numbers.instant, excess > 0, worst=numbers.value, excess=excess)


def _rate(rule: RateRule, rows: TagRows, wanted: Booleans, facts: Sequence[TagFacts], day: Day) -> Findings:
    numbers = rows.good_numbers.of_tags(wanted)
    # Events of one instant have no rate; the next one is judged against the last of them.
    is_fast = numbers.size_of_change * MINUTE_US > rule.most_per_minute * numbers.elapsed
    is_fast &= numbers.follows & (numbers.elapsed > 0)
    rate = np.zeros(len(numbers.tag))
    rate[is_fast] = numbers.change[is_fast] / (numbers.elapsed[is_fast] / MINUTE_US)
    return stretches(numbers.tag, numbers.instant, is_fast, worst=rate)


def _stuck(rule: StuckRule, rows: TagRows, wanted: Booleans, facts: Sequence[TagFacts], day: Day) -> Findings:
    numbers = rows.good_numbers.of_tags(wanted)
    stays = numbers.follows & (numbers.size_of_change <= rule.tolerance)
    edges = np.diff(stays.astype(np.int8), prepend=0, append=0)
    # The number before the first that stays is a part of the stretch.
    starts, ends = np.flatnonzero(edges > 0) - 1, np.flatnonzero(edges < 0) - 1
    too_long = numbers.instant[ends] - numbers.instant[starts] > rule.longest_minutes * MINUTE_US
    starts, ends = starts[too_long], ends[too_long]
    return Findings(
        tag=numbers.tag[starts],
        first_us=numbers.instant[starts],
        last_us=numbers.instant[ends],
        events=ends - starts + 1,
        worst=numbers.value[starts],
    )


def _gap(rule: GapRule, rows: TagRows, wanted: Booleans, facts: Sequence[TagFacts], day: Day) -> Findings:
    longest_us = rule.longest_minutes * MINUTE_US
    at = np.flatnonzero(np.diff(rows.instant) > longest_us)
    at = at[rows.tag[at] == rows.tag[at + 1]]
    # The day's own bounds are around each tag's events.
    every, last = np.arange(len(rows.starts)), np.append(rows.starts[1:], len(rows.tag)) - 1
    midnight, end = np.full(len(every), day.start_us), np.full(len(every), day.end_us)
    tag = np.concatenate([every, rows.tag[at], every])
    before = np.concatenate([midnight, rows.instant[at], rows.instant[last]])
    after = np.concatenate([rows.instant[rows.starts], rows.instant[at + 1], end])
    gaps = np.flatnonzero((after - before > longest_us) & wanted[tag])
    gaps = gaps[np.lexsort((before[gaps], tag[gaps]))]
    return Findings(
        tag=tag[gaps],
        first_us=before[gaps],
        last_us=after[gaps],
        events=np.zeros(len(gaps), np.int64),
        worst=(after - before)[gaps] / MINUTE_US,
    )


def _spike(rule: SpikeRule, rows: TagRows, wanted: Booleans, facts: Sequence[TagFacts], day: Day) -> Findings:
    numbers = rows.good_numbers.of_tags(wanted)
    count = len(numbers.tag)
    change = numbers.size_of_change
    least = rule.threshold * _usual_change(numbers, change, len(rows.web_ids))
    # A spike begins with a change that is as high as itself.
    of_row = least[numbers.tag]
    starts = np.flatnonzero(numbers.follows & (change > of_row) & (of_row > 0))
    height = np.zeros(count)
    for width in range(1, rule.longest_events + 1):
        at = starts[starts + width < count]
        at = at[numbers.tag[at] == numbers.tag[at + width]]
        inside = numbers.value[at[:, None] + np.arange(width)]
        before, after = numbers.value[at - 1], numbers.value[at + width]
        above = inside.min(axis=1) - np.maximum(before, after)
        below = np.minimum(before, after) - inside.max(axis=1)
        found = np.maximum(above, below)
        is_high = found > least[numbers.tag[at]]
        for offset in range(width):
            np.maximum.at(height, at[is_high] + offset, found[is_high])
    return stretches(numbers.tag, numbers.instant, height > 0, worst=numbers.value, excess=height)


def _usual_change(numbers: GoodNumbers, change: Numbers, tags: int) -> Numbers:
    """How much each tag usually changes from one number to the next, as a standard deviation."""
    bounds = np.searchsorted(numbers.tag, np.arange(tags + 1))
    usual = np.zeros(tags)
    for tag, (start, end) in enumerate(pairwise(bounds)):
        if end > start + 1:
            of_tag = change[start + 1 : end]
            # Where most values repeat the one before, the median is zero and the mean takes its place.
            usual[tag] = _MAD_TO_DEVIATION * np.median(of_tag) or _MEAN_TO_DEVIATION * of_tag.mean()
    return usual


def _counter(rule: CounterRule, rows: TagRows, wanted: Booleans, facts: Sequence[TagFacts], day: Day) -> Findings:
    numbers = rows.good_numbers.of_tags(wanted)
    falls = numbers.follows & (numbers.change < 0)
    if rule.resets_below is not None:
        falls &= numbers.value >= rule.resets_below
    return stretches(numbers.tag, numbers.instant, falls, worst=numbers.change)


def _states(rule: StatesRule, rows: TagRows, wanted: Booleans, facts: Sequence[TagFacts], day: Day) -> Findings:
    allowed = {state.casefold() for state in rule.allowed}
    codes, texts = rows.texts("value_string")
    is_wrong = np.array([text is not None and text.casefold() not in allowed for text in texts], bool)
    if not is_wrong[_used(codes, texts)].any():
        return nothing()
    is_fault = is_wrong[codes] & wanted[rows.tag]
    if not rule.system_states:
        is_fault &= ~rows.flag("is_system_state")
    return _of_texts(rows, is_fault, codes, texts)


def _units(rule: UnitsRule, rows: TagRows, wanted: Booleans, facts: Sequence[TagFacts], day: Day) -> Findings:
    codes, texts = rows.texts("units")
    code_of = {text or "": code for code, text in enumerate(texts)}
    expected = [(fact.units if rule.expected is None else rule.expected) or "" for fact in facts]
    right = np.array([code_of.get(units, -1) for units in expected], np.int64)
    named = np.array([bool(text) for text in texts], bool)
    used = _used(codes, texts)
    if (right[wanted] == used[named[used]][:, None]).all():
        return nothing()
    is_fault = named[codes] & (codes != right[rows.tag]) & wanted[rows.tag] & ~np.isnan(rows.value)
    return _of_texts(rows, is_fault, codes, texts)


def _used(codes: Integers, texts: Sequence[str | None]) -> npt.NDArray[np.intp]:
    """The codes that some row has."""
    return np.flatnonzero(np.bincount(codes, minlength=len(texts)))


def _of_texts(rows: TagRows, is_fault: Booleans, codes: Integers, texts: Sequence[str | None]) -> Findings:
    """Stretches of one wrong text; another wrong text begins another stretch."""
    # Each text as a tag of its own, so that a stretch ends where the text changes.
    found = stretches(rows.tag * len(texts) + codes, rows.instant, is_fault, worst=np.zeros(len(codes)))
    return Findings(
        tag=found.tag // len(texts),
        first_us=found.first_us,
        last_us=found.last_us,
        events=found.events,
        worst=np.full(len(found), np.nan),
        worst_text=[texts[code] for code in found.tag % len(texts)],
    )


_Judge = Callable[[Any, TagRows, Booleans, Sequence[TagFacts], Day], Findings]

_JUDGES: Mapping[type, _Judge] = {
    RangeRule: _range,
    RateRule: _rate,
    StuckRule: _stuck,
    GapRule: _gap,
    SpikeRule: _spike,
    CounterRule: _counter,
    StatesRule: _states,
    UnitsRule: _units,
}
