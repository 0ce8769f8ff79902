"""The problems that are open, and which address was told of which: the memory of the sensor between two ticks.

A problem is told once to each address, and once more when it is over. What an address could not be told stays due, also
when it is over by then; so nothing is lost while a webhook is down, and nothing is said twice.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

MOST_PROBLEMS = 100
"""Kept at once, in a sensor's cursor; the first ones are, as later ones are mostly consequences."""

_FORGOTTEN_SECONDS = 7 * 86_400.0


@dataclass(frozen=True)
class Problem:
    """Something that somebody should know of.

    Args:
        key: what makes it the same problem when it happens again.
        what: that it is, in one line.
        where: which partitions.
        since: when it began, in seconds since 1970.
        why: the reason, as the asset or check told it.
        remedy: what to do.
        path: of its page below the address of Dagster's UI.
    """

    key: str
    what: str
    where: str
    since: float
    why: str
    remedy: str
    path: str


@dataclass
class KnownProblem:
    """A problem and who was told of it.

    Args:
        problem: as it was when it last happened, but with its first `since`.
        times: how often it has happened.
        over_at: when it was over, in seconds since 1970; None while it is open.
        told: addresses that were told of it.
        told_over: those that were told that it is over.
    """

    problem: Problem
    times: int = 1
    over_at: float | None = None
    told: list[str] = field(default_factory=list)
    told_over: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Due:
    """What one address is to be told now.

    Args:
        new: problems that it does not know of; some may be over.
        over: problems that it knows of and that are over.
        still_open: how many it knows of that are not.
    """

    new: Sequence[KnownProblem]
    over: Sequence[KnownProblem]
    still_open: int

    def __bool__(self) -> bool:
        return bool(self.new or self.over)


class Problems:
    """All problems that are open, or over with somebody not told of it yet.

    Args:
        known: by key.
    """

    def __init__(self, known: Mapping[str, KnownProblem] | None = None) -> None:
        self._known = dict(known or {})

    def __iter__(self) -> Iterator[KnownProblem]:
        return iter(self._known.values())

    @property
    def are_full(self) -> bool:
        """True when a further one is not taken."""
        return len(self._known) >= MOST_PROBLEMS

    def has(self, problem: Problem) -> None:
        """It is there, or is there again."""
        known = self._known.get(problem.key)
        if known is None:
            if not self.are_full:
                self._known[problem.key] = KnownProblem(problem)
            return
        known.problem = Problem(**{**asdict(problem), "since": known.problem.since})
        known.times += 1
        if known.over_at is not None:
            # Who was told that it is over has to be told anew, who was not never knew that it was.
            known.told = [address for address in known.told if address not in known.told_over]
            known.over_at, known.told_over = None, []

    def is_over(self, key: str, at: float) -> None:
        """It is there no more, if it was."""
        known = self._known.get(key)
        if known is not None and known.over_at is None:
            known.over_at = at

    def open_keys(self) -> Collection[str]:
        """The keys of those that are there."""
        return [key for key, known in self._known.items() if known.over_at is None]

    def due(self, address: str) -> Due:
        """What that address has not been told."""
        new = [known for known in self if address not in known.told]
        knows = [known for known in self if address in known.told]
        return Due(
            new=new,
            over=[known for known in knows if known.over_at is not None and address not in known.told_over],
            still_open=sum(known.over_at is None for known in knows),
        )

    def tell(self, address: str, due: Due) -> None:
        """The address was told all of `due`."""
        for known in due.new:
            known.told.append(address)
        for known in (*due.new, *due.over):
            if known.over_at is not None:
                known.told_over.append(address)

    def forget(self, addresses: Collection[str], now: float) -> None:
        """Drop what is over and known to all, and what has been told and open for a week."""
        for key, known in list(self._known.items()):
            is_told = set(addresses) <= set(known.told_over if known.over_at is not None else known.told)
            if is_told and (known.over_at is not None or now - known.problem.since > _FORGOTTEN_SECONDS):
                del self._known[key]

    def dump(self) -> Any:
        """As JSON."""
        return [asdict(known) for known in self]

    @classmethod
    def load(cls, dumped: Any) -> Problems:
        """From what `dump` gave.

        Raises:
            TypeError, KeyError: it is not that.
        """
        known = [KnownProblem(**{**one, "problem": Problem(**one["problem"])}) for one in dumped]
        return cls({one.problem.key: one for one in known})


@dataclass
class SensorMemory:
    """What the sensor keeps from one tick to the next, in its cursor.

    Args:
        problems: the open ones.
        looked_until: runs that ended before are known, in seconds since 1970.
        seen: ids of runs that ended shortly before that and are known too.
        last_sent: when each address was sent a message.
        failing_since: addresses that could not be reached, and since when.
    """

    problems: Problems
    looked_until: float
    seen: list[str] = field(default_factory=list)
    last_sent: dict[str, float] = field(default_factory=dict)
    failing_since: dict[str, float] = field(default_factory=dict)

    def dump(self) -> str:
        """As text for the cursor."""
        state = {**vars(self), "problems": self.problems.dump()}
        return json.dumps(state, separators=(",", ":"))

    @classmethod
    def load(cls, cursor: str | None, *, now: float) -> SensorMemory:
        """From the cursor; what happened before the first tick is not told."""
        try:
            state = json.loads(cursor or "")
            return cls(**{**state, "problems": Problems.load(state["problems"])})
        except (ValueError, TypeError, KeyError):
            return cls(Problems(), looked_until=now)
