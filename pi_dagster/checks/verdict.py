"""What a check comes to: a plain sentence, numbers, and the offenders with what to do about each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

Row = Mapping[str, Any]
"""A line of a table that people read: column to cell."""

MOST_NAMED = 100
"""Lines that such a table has at most."""


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """The outcome of a check."""

    passed: bool
    said: str
    """One or two sentences; no text of a server is in them."""
    numbers: Mapping[str, int | float | datetime] = field(default_factory=dict)
    """Figures by metadata key, which Dagster plots."""
    offenders: Sequence[Row] = ()
    """The worst first."""
    tables: Mapping[str, Sequence[Row]] = field(default_factory=dict)
    """Further tables by metadata key."""


def duration(span: timedelta) -> str:
    """A span of time for a sentence: `45 s`, `12 min`, `3.5 h`, `3 days`."""
    seconds = span.total_seconds()
    if seconds < 120:
        return f"{seconds:.0f} s"
    if seconds < 7200:
        return f"{seconds / 60:.0f} min"
    number, unit = (seconds / 3600, "h") if seconds < 172_800 else (seconds / 86_400, "days")
    return f"{round(number, 1):g} {unit}"


def counted(number: int, one: str, many: str | None = None) -> str:
    """A number and what it counts: `1 tag`, `2,000 tags`."""
    return f"{number:,} {one if number == 1 else many or f'{one}s'}"
