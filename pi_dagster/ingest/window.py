"""Windows of time: half-open, in UTC, on whole microseconds."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime, time, timedelta, timezone


@dataclass(frozen=True, order=True)
class Window:
    """The instants `start <= t < end`.

    Args:
        start: first instant inside, aware, UTC.
        end: first instant after, aware, UTC.

    Raises:
        ValueError: a naive or non-UTC bound, or an end before the start.
    """

    start: datetime
    end: datetime

    def __post_init__(self) -> None:
        for bound in (self.start, self.end):
            if bound.utcoffset() != timedelta(0):
                raise ValueError(f"a window's bounds must be in UTC, not {bound!r}")
        if self.end < self.start:
            raise ValueError(f"a window cannot end ({self.end}) before it starts ({self.start})")

    @classmethod
    def of_day(cls, day: date) -> Window:
        """The whole UTC day."""
        start = datetime.combine(day, time(), timezone.utc)
        return cls(start, start + timedelta(days=1))

    def until(self, instant: datetime) -> Window:
        """This window cut off at `instant`; empty when the instant lies before its start."""
        return Window(self.start, max(self.start, min(self.end, instant)))
