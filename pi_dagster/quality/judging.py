"""What each kind of rule calls a fault, as operations on the columns of many tags at once."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from pi_dagster.quality.findings import Findings, stretches
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
    numbers = rows.good_numbers.of_tags(wanted)
    if rule.low is None and rule.high is None:
        tops = [None if fact.zero is None or fact.span is None else fact.zero + fact.span for fact in facts]
        low = _by_tag([fact.zero for fact in facts], -np.inf)[numbers.tag]
        high = _by_tag(tops, np.inf)[numbers.tag]
    else:
        low = np.array(-np.inf if rule.low is None else rule.low)
        high = np.array(np.inf if rule.high is None else rule.high)
    excess = np.maximum(low - numbers.value, numbers.value - high)
    return stretches(numbers.tag, numbers.instant, excess > 0, worst=numbers.value, excess=excess)


def _rate(rule: RateRule, rows: TagRows, wanted: Booleans, facts: Sequence[TagFacts], day: Day) -> Findings:
    numbers = rows.good_numbers.of_tags(wanted)
    change = numbers.change
    minutes = np.diff(numbers.instant, prepend=0) / MINUTE_US
    # Events of one instant have no rate; the next one is judged against the last of them.
    has_rate = numbers.follows & (minutes > 0)
    rate = np.divide(change, minutes, out=np.zeros_like(change), where=has_rate)
    return stretches(numbers.tag, numbers.instant, np.abs(rate) > rule.most_per_minute, worst=rate)


def _stuck(rule: StuckRule, rows: TagRows, wanted: Booleans, facts: Sequence[TagFacts], day: Day) -> Findings:
    numbers = rows.good_numbers.of_tags(wanted)
    if not len(numbers.tag):
        return stretches(numbers.tag, numbers.instant, numbers.follows, worst=numbers.value)
    stays = numbers.follows & (np.abs(numbers.change) <= rule.tolerance)
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
    numbers = rows.good_numbers.of_tags(wanted)
    count = len(numbers.tag)
    change = np.abs(numbers.change)
    least = rule.threshold * _usual_change(numbers, change, len(rows.web_ids))
    # A spike begins with a change that is as high as itself.
    starts = np.flatnonzero(numbers.follows & (change > least[numbers.tag]) & (least[numbers.tag] > 0))
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
