"""What goes wrong in the chaos test, and when runs are killed: all that follows from the seed."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from benchmarks.chaos_plant import DAYS_BEFORE, TAGS, Change
from pi_dagster.simulator import Fault, FaultKind


@dataclass(frozen=True)
class Trouble:
    """A fault of the server that lasts some rounds."""

    name: str
    tag: str
    rounds: int


@dataclass(frozen=True)
class Backfill:
    """Closed days, and today with 0, that somebody loads in the UI."""

    days_ago: int
    days: int


@dataclass(frozen=True)
class Round:
    """What happens until the schedules look at the clock again."""

    minutes: int
    """By which the plant's clock goes on."""
    changes: Sequence[Change]
    trouble: Trouble | None
    skew_seconds: int
    """Of the PI server's clock."""
    backfill: Backfill | None
    power_cut: bool
    """Daemon, code server and all runs are killed at once, and the first two started again."""
    seconds: float
    """Time for runs until the next round; those that take longer go on in it."""


@dataclass(frozen=True)
class Moment:
    """When a run's process is killed."""

    after: str
    """`start` of the process, or what comes next from then on: `request` to the server, `file` in the table's folder,
    `commit` in its log."""
    seconds: float


class Schedule:
    """What the seed stands for: one endless sequence of rounds, and one of the moments at which runs are killed."""

    def __init__(self, seed: int) -> None:
        self._rounds = random.Random(f"rounds of {seed}")
        self._moments = random.Random(f"moments of {seed}")

    def next_round(self) -> Round:
        """The next round."""
        chance = self._rounds
        return Round(
            minutes=chance.choice([7, 10, 15, 20, 30]) if chance.random() < 0.95 else chance.randint(120, 400),
            changes=[self._change() for _ in range(chance.randint(0, 12))],
            trouble=self._trouble() if chance.random() < 0.2 else None,
            skew_seconds=chance.choice([0, 0, 0, 30, -30]),
            backfill=Backfill(chance.randint(0, DAYS_BEFORE), chance.randint(1, 3)) if chance.random() < 0.3 else None,
            power_cut=chance.random() < 0.015,
            seconds=chance.uniform(0.5, 2.5),
        )

    def next_moment(self) -> Moment | None:
        """When the next run that starts is to be killed; None spares it."""
        chance = self._moments
        kind, seconds = chance.choice(
            [
                ("start", chance.uniform(0, 1.5)),
                ("request", chance.uniform(0, 0.3)),
                ("file", chance.uniform(0, 0.03)),
                ("commit", chance.uniform(0, 0.005)),
                ("commit", chance.uniform(0, 0.1)),
            ]
        )
        return Moment(kind, seconds) if chance.random() < 0.8 else None

    def _change(self) -> Change:
        chance = self._rounds
        place = 1 - chance.random() ** 3 if chance.random() < 0.7 else chance.random()
        kind = chance.choice(["late", "edited", "deleted", "equal stamp"] * 4 + ["very late"])
        return Change(kind, chance.choice(TAGS), place, chance.randint(0, 1000))

    def _trouble(self) -> Trouble:
        chance = self._rounds
        return Trouble(chance.choice(sorted(TROUBLES)), chance.choice(TAGS), chance.randint(1, 4))


TROUBLES: dict[str, Callable[[str], Fault]] = {
    "server down": lambda tag: Fault(kind=FaultKind.DROPPED_CONNECTION),
    "429 storm": lambda tag: Fault(kind=FaultKind.STATUS, status=429, probability=0.6),
    "overload": lambda tag: Fault(kind=FaultKind.OVERLOAD, at_once=1),
    "half bodies": lambda tag: Fault(kind=FaultKind.CUT_BODY, probability=0.4),
    "broken answers": lambda tag: Fault(kind=FaultKind.WEB_EXCEPTION, probability=0.4),
    "proxy errors": lambda tag: Fault(kind=FaultKind.HTML, probability=0.4),
    "slow": lambda tag: Fault(kind=FaultKind.SLOW, probability=0.4, seconds=1),
    "login expired": lambda tag: Fault(kind=FaultKind.STATUS, status=401),
    "tag cannot be read": lambda tag: Fault(kind=FaultKind.STATUS, status=500, web_id=tag),
    "tag may not be read": lambda tag: Fault(kind=FaultKind.STATUS, status=403, web_id=tag),
    "values with errors": lambda tag: Fault(kind=FaultKind.VALUE_ERRORS, web_id=tag),
    "stream missing": lambda tag: Fault(kind=FaultKind.MISSING_STREAM, web_id=tag),
}
