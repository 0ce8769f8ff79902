"""What the stream updates sensor remembers from one tick to the next, and where.

A marker is 35 characters a tag, which are megabytes for 100,000 tags; Dagster would keep them anew for every tick. So
the markers stay in this process's memory, and the cursor names which of them were good: when Dagster saved a cursor,
it saved the runs of its tick too, and until then the markers from before are kept. A process that starts again has
none, as a server that does, and the tags are registered anew.

Partitions that could not be asked for yet are in the cursor itself, so that nothing of them is lost. It never has more
than 4,000 characters: where they do not fit one by one, the days between the first and the last of each tag group are
taken with them, or the days between the first and the last of all, which only loads more than has to be.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from itertools import count
from typing import Any

from pi_dagster.automation.frame_days import days_between, stretches
from pi_dagster.ingest.load_plans import Partition
from pi_dagster.ingest.stream_updates import Following

LONGEST_CURSOR = 4_000
"""Characters."""

_ALL_GROUPS = ""
_ANY_NUMBER = 10_000_000

Stretches = Mapping[str, Sequence[tuple[date, date]]]
"""By tag group, the first and the last of days that follow each other."""


@dataclass(frozen=True)
class UpdatesCursor:
    """The sensor's cursor.

    Args:
        position: names the markers to go on from; empty when there are none.
        pending: partitions that have to be loaded again and were not asked for yet.
        saved_at: when its tick was, in seconds since 1970: what failed since, no tick has seen; 0 for no tick.
    """

    position: str = ""
    pending: frozenset[Partition] = frozenset()
    saved_at: int = 0

    @classmethod
    def parse(cls, cursor: str | None, groups: Sequence[str]) -> UpdatesCursor:
        """What a cursor tells; nothing when it cannot be read, which leads to all tags being registered anew.

        Args:
            cursor: as Dagster has it.
            groups: all partition keys of the dimension `tag_group`; pending partitions of others are gone.
        """
        try:
            told: Any = json.loads(cursor or "{}")
            return cls(
                position=str(told["position"]),
                pending=frozenset(_partitions(told["pending"], groups)),
                saved_at=int(told.get("at", 0)),
            )
        except (ValueError, TypeError, KeyError, AttributeError):
            return cls()

    def __str__(self) -> str:
        """The cursor, at most LONGEST_CURSOR characters."""
        for pending in (_exactly(self.pending), _hulls(self.pending), _hull(self.pending)):
            cursor = json.dumps(
                {
                    "position": self.position,
                    "pending": {
                        group: [f"{first} {last}" for first, last in days] for group, days in sorted(pending.items())
                    },
                    "at": self.saved_at,
                },
                ensure_ascii=False,
                separators=(",", ":"),
            )
            if len(cursor) <= LONGEST_CURSOR:
                return cursor
        raise AssertionError("one stretch of days always fits")


class MarkerMemory:
    """The markers of the ticks whose cursor may still be the saved one."""

    def __init__(self) -> None:
        self._process = uuid.uuid4().hex[:12]
        self._numbers = count(1)
        self._kept: dict[str, Following] = {}

    def at(self, position: str) -> Following | None:
        """The markers of a saved cursor, after which all others are forgotten; None when they are not here."""
        following = self._kept.get(position)
        if following is not None:
            self._kept = {position: following}
        return following

    def keep(self, following: Following) -> str:
        """The position under which these markers will be found."""
        position = f"{self._process}:{next(self._numbers)}"
        self._kept[position] = following
        return position


def _exactly(partitions: Collection[Partition]) -> Stretches:
    days_of: dict[str, set[date]] = {}
    for day, group in partitions:
        days_of.setdefault(group, set()).add(day)
    return {group: [*stretches(days, longest=_ANY_NUMBER)][::-1] for group, days in days_of.items()}


def _hulls(partitions: Collection[Partition]) -> Stretches:
    return {group: [(days[0][0], days[-1][1])] for group, days in _exactly(partitions).items()}


def _hull(partitions: Collection[Partition]) -> Stretches:
    days = [day for day, _ in partitions]
    return {_ALL_GROUPS: [(min(days), max(days))]} if days else {}


def _partitions(pending: Mapping[str, Sequence[str]], groups: Sequence[str]) -> Iterator[Partition]:
    for named, texts in pending.items():
        for text in texts:
            first, last = map(date.fromisoformat, text.split())
            for group in groups if named == _ALL_GROUPS else {named} & set(groups):
                yield from ((day, group) for day in days_between(first, last))
