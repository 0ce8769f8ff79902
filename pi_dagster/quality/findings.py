"""Findings: stretches of a tag's events that break a rule, as columns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pi_dagster.quality.tag_rows import Booleans, Integers, Numbers

MOST_FINDINGS = 1_000
"""Findings of one tag by one rule on one day; what comes after is told as one, so that a broken tag does not fill the
table."""


@dataclass(frozen=True)
class Findings:
    """Stretches that break a rule, in the order of tag and time; all columns have the same length."""

    tag: Integers
    """Position of the tag among those judged."""
    first_us: Integers
    """First instant, microseconds since 1970."""
    last_us: Integers
    """Last instant, microseconds since 1970."""
    events: Integers
    """How many events it has."""
    worst: Numbers
    """The worst value; NaN where it is a text."""
    worst_text: Sequence[str | None] | None = None
    """The first text, where the rule is about texts."""

    def __len__(self) -> int:
        return len(self.tag)

    def bounded(self) -> Findings:
        """At most `MOST_FINDINGS` a tag; the last one stands for all that are left, and has the worst of them."""
        position = np.arange(len(self)) - np.searchsorted(self.tag, self.tag)
        if not len(self) or position.max() < MOST_FINDINGS:
            return self
        starts = np.flatnonzero(position < MOST_FINDINGS)
        ends = np.append(starts[1:], len(self)) - 1
        texts = self.worst_text
        return Findings(
            tag=self.tag[starts],
            first_us=self.first_us[starts],
            last_us=np.maximum.reduceat(self.last_us, starts),
            events=np.add.reduceat(self.events, starts),
            worst=self.worst[_of_the_largest(np.abs(np.nan_to_num(self.worst)), starts, ends)],
            worst_text=None if texts is None else [texts[int(start)] for start in starts],
        )


def stretches(
    tag: Integers, instant: Integers, is_fault: Booleans, *, worst: Numbers, excess: Numbers | None = None
) -> Findings:
    """The stretches of rows, one after the other in the same tag, that are faults.

    Args:
        tag: of each row.
        instant: of each row, microseconds since 1970.
        is_fault: whether a row is one.
        worst: what to tell of each row, such as its value.
        excess: how bad each row is; default: the larger `worst` is, the worse.
    """
    at = np.flatnonzero(is_fault)
    if not len(at):
        return nothing()
    begins = np.ones(len(at), bool)
    begins[1:] = (np.diff(at) != 1) | (np.diff(tag[at]) != 0)
    starts = np.flatnonzero(begins)
    ends = np.append(starts[1:], len(at)) - 1
    badness = np.abs(worst[at]) if excess is None else excess[at]
    return Findings(
        tag=tag[at[starts]],
        first_us=instant[at[starts]],
        last_us=instant[at[ends]],
        events=ends - starts + 1,
        worst=worst[at[_of_the_largest(badness, starts, ends)]],
    )


def nothing() -> Findings:
    """No finding."""
    none = np.empty(0, np.int64)
    return Findings(none, none, none, none, np.empty(0))


def _of_the_largest(values: Numbers, starts: npt.NDArray[np.intp], ends: npt.NDArray[np.intp]) -> npt.NDArray[np.intp]:
    """Where the largest value of each stretch from a start to an end stands; the first such."""
    largest = np.maximum.reduceat(values, starts)
    stretch = np.repeat(np.arange(len(starts)), ends - starts + 1)
    candidates = np.flatnonzero(values >= largest[stretch])
    _, first = np.unique(stretch[candidates], return_index=True)
    return candidates[first]
