"""What each kind of rule calls a fault, as operations on the columns of many tags at once."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from pi_dagster.quality.findings import Findings, stretches
from pi_dagster.quality.tag_rows import Booleans, Integers, Numbers, TagRows
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


@dataclass(frozen=True)
class _Numbers:
    """The good numbers of the tags that a rule is about."""

    tag: Integers
    instant: Integers
    value: Numbers
    follows: Booleans
    """Whether the row before is of the same tag."""


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


def _numbers(rows: TagRows, wanted: Booleans) -> _Numbers:
    chosen = np.flatnonzero(rows.is_good_number & wanted[rows.tag])
    tag = rows.tag[chosen]
    follows = np.zeros(len(tag), bool)
    follows[1:] = tag[1:] == tag[:-1]
    return _Numbers(tag, rows.instant[chosen], rows.value[chosen], follows)


def _by_tag(values: Sequence[float | None], default: float) -> Numbers:
    return np.array([default if value is None else value for value in values], np.float64)


def _range(rule: RangeRule, rows: TagRows, wanted: Booleans, facts: Sequence[TagFacts], day: Day) -> Findings:
    numbers = _numbers(rows, wanted)
    if rule.low is None and rule.high is None:
        tops = [None if fact.zero is None or fact.span is None else fact.zero + fact.span for fact in facts]
        low = _by_tag([fact.zero for fact in facts], -np.inf)[numbers.tag]
        high = _by_tag(tops, np.inf)[numbers.tag]
    else:
        low = np.full(len(numbers.tag), -np.inf if rule.low is None else rule.low)
        high = np.full(len(numbers.tag), np.inf if rule.high is None else rule.high)
    excess = np.maximum(low - numbers.value, numbers.value - high)
    return stretches(numbers.tag, numbers.instant, excess > 0, worst=numbers.value, excess=excess)


def _rate(rule: RateRule, rows: TagRows, wanted: Booleans, facts: Sequence[TagFacts], day: Day) -> Findings:
    numbers = _numbers(rows, wanted)
    change = np.diff(numbers.value, prepend=0.0)
    minutes = np.diff(numbers.instant, prepend=0) / MINUTE_US
    # Events of one instant have no rate; the next one is judged against the last of them.
    has_rate = numbers.follows & (minutes > 0)
    rate = np.divide(change, minutes, out=np.zeros_like(change), where=has_rate)
    return stretches(numbers.tag, numbers.instant, np.abs(rate) > rule.most_per_minute, worst=rate)


def _stuck(rule: StuckRule, rows: TagRows, wanted: Booleans, facts: Sequence[TagFacts], day: Day) -> Findings:
    numbers = _numbers(rows, wanted)
    if not len(numbers.tag):
        return stretches(numbers.tag, numbers.instant, numbers.follows, worst=numbers.value)
    stays = numbers.follows & (np.abs(np.diff(numbers.value, prepend=0.0)) <= rule.tolerance)
    starts = np.flatnonzero(~stays)
    ends = np.append(starts[1:], len(stays)) - 1
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
    chosen = np.flatnonzero(wanted)
    ends = np.append(rows.starts[1:], len(rows.tag))
    # Each tag's instants with the day's own bounds around them.
    before = np.insert(rows.instant, rows.starts, day.start_us)
    after = np.insert(rows.instant, ends, day.end_us)
    tag = np.insert(rows.tag, rows.starts, np.arange(len(rows.starts)))
    is_gap = (after - before > rule.longest_minutes * MINUTE_US) & np.isin(tag, chosen)
    return Findings(
        tag=tag[is_gap],
        first_us=before[is_gap],
        last_us=after[is_gap],
        events=np.zeros(int(is_gap.sum()), np.int64),
        worst=(after - before)[is_gap] / MINUTE_US,
    )


def _spike(rule: SpikeRule, rows: TagRows, wanted: Booleans, facts: Sequence[TagFacts], day: Day) -> Findings:
    numbers = _numbers(rows, wanted)
    count = len(numbers.tag)
    height = np.zeros(count)
    for width in range(1, rule.longest_events + 1):
        last = count - width - 1
        if last < 1:
            break
        # Rows i to i+width-1 against i-1 and i+width.
        low_side = np.minimum.reduce([numbers.value[1 + k : 1 + k + last] for k in range(width)])
        high_side = np.maximum.reduce([numbers.value[1 + k : 1 + k + last] for k in range(width)])
        left, right = numbers.value[:last], numbers.value[width + 1 : width + 1 + last]
        above = low_side - np.maximum(left, right)
        below = np.minimum(left, right) - high_side
        found = np.where(
            numbers.tag[:last] == numbers.tag[width + 1 : width + 1 + last], np.maximum(np.maximum(above, below), 0), 0
        )
        for k in range(width):
            inside = height[1 + k : 1 + k + last]
            np.maximum(inside, found, out=inside)
    usual = _usual_change(numbers, len(rows.web_ids))[numbers.tag]
    is_fault = (usual > 0) & (height > rule.threshold * usual)
    return stretches(numbers.tag, numbers.instant, is_fault, worst=numbers.value, excess=height)


def _usual_change(numbers: _Numbers, tags: int) -> Numbers:
    """How much each tag usually changes from one number to the next, as a standard deviation."""
    changes = np.abs(np.diff(numbers.value, prepend=0.0))[numbers.follows]
    bounds = np.searchsorted(numbers.tag[numbers.follows], np.arange(tags + 1))
    usual = np.zeros(tags)
    for tag, (start, end) in enumerate(pairwise(bounds)):
        if end > start:
            of_tag = changes[start:end]
            # Where most values repeat the one before, the median is zero and the mean takes its place.
            usual[tag] = _MAD_TO_DEVIATION * np.median(of_tag) or _MEAN_TO_DEVIATION * of_tag.mean()
    return usual


def _counter(rule: CounterRule, rows: TagRows, wanted: Booleans, facts: Sequence[TagFacts], day: Day) -> Findings:
    numbers = _numbers(rows, wanted)
    change = np.diff(numbers.value, prepend=0.0)
    falls = numbers.follows & (change < 0)
    if rule.resets_below is not None:
        falls &= numbers.value >= rule.resets_below
    return stretches(numbers.tag, numbers.instant, falls, worst=change)


def _states(rule: StatesRule, rows: TagRows, wanted: Booleans, facts: Sequence[TagFacts], day: Day) -> Findings:
    allowed = {state.casefold() for state in rule.allowed}
    codes, texts = rows.texts("value_string")
    is_wrong = np.array([text is not None and text.casefold() not in allowed for text in texts], bool)
    is_fault = is_wrong[codes] & wanted[rows.tag]
    if not rule.system_states:
        is_fault &= ~rows.flag("is_system_state")
    return _of_texts(rows, is_fault, codes, texts)


def _units(rule: UnitsRule, rows: TagRows, wanted: Booleans, facts: Sequence[TagFacts], day: Day) -> Findings:
    codes, texts = rows.texts("units")
    code_of = {text or "": code for code, text in enumerate(texts)}
    expected = [(fact.units if rule.expected is None else rule.expected) or "" for fact in facts]
    right = np.array([code_of.get(units, -1) for units in expected], np.int64)
    names_units = np.array([bool(text) for text in texts], bool)[codes]
    is_fault = names_units & (codes != right[rows.tag]) & wanted[rows.tag] & ~np.isnan(rows.value)
    return _of_texts(rows, is_fault, codes, texts)


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
