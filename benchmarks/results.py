"""What a benchmark says: figures with their spread, the targets they are held against, and tables beside them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum
from statistics import median


class Scale(Enum):
    """How much is measured: `FULL` for figures, `QUICK` for a look, `SMOKE` to see that a benchmark still runs."""

    SMOKE = "smoke"
    QUICK = "quick"
    FULL = "full"


@dataclass(frozen=True)
class Figure:
    """A median with the smallest and the largest of its rounds."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, rounds: Sequence[float]) -> Figure:
        """The figure of some rounds."""
        return cls(median(rounds), min(rounds), max(rounds))

    @classmethod
    def ratio(cls, numerators: Sequence[float], denominators: Sequence[float]) -> Figure:
        """How often the denominators go into the numerators, each round compared with itself."""
        return cls.of([a / b for a, b in zip(numerators, denominators, strict=True)])


@dataclass(frozen=True)
class Target:
    """A bound that a figure is held against."""

    bound: float
    at_least: bool

    def is_met(self, figure: Figure) -> bool:
        """Whether the median keeps the bound."""
        return figure.median >= self.bound if self.at_least else figure.median <= self.bound

    def __str__(self) -> str:
        return f"{'>=' if self.at_least else '<='} {self.bound:g}"


def at_least(bound: float) -> Target:
    """The figure should not be smaller."""
    return Target(bound, at_least=True)


def at_most(bound: float) -> Target:
    """The figure should not be larger."""
    return Target(bound, at_least=False)


@dataclass(frozen=True)
class Row:
    """One figure.

    Args:
        what: what it is a figure of.
        figure: the median and its spread.
        unit: `x` for a ratio, else the unit that the target has too.
        measured: the absolute numbers behind it, as text.
        target: what it is held against.
    """

    what: str
    figure: Figure
    unit: str = "x"
    measured: str = ""
    target: Target | None = None


@dataclass(frozen=True)
class Table:
    """Numbers beside the figures."""

    title: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]


@dataclass(frozen=True)
class Section:
    """What one benchmark found.

    Args:
        title: what was measured, for the report.
        rows: its figures.
        tables: absolute numbers.
        notes: what must be known to read them.
        facts: numbers by name, for the plot and for the projection.
    """

    title: str
    rows: Sequence[Row]
    tables: Sequence[Table] = ()
    notes: Sequence[str] = ()
    facts: dict[str, float] = field(default_factory=dict)
