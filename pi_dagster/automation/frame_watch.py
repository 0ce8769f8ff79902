"""Which days of event frames the sensor looks at in a tick, and which of them are not as the server lists them.

PI Web API cannot be asked what has changed. So the frames of a day are listed and compared, as a digest, with what the
day's last materialization loaded. Most changes are in the last two days and among open frames, which every tick looks
at; the older days of the look-back take turns, as many a tick as a server can well list.

Nothing is remembered of what was asked for: a day is asked for as long as it differs. So a run that failed, was lost
or read too early loses no change, and neither does a sensor that stops between two of its steps.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta

from pi_dagster.automation.frame_days import LoadedDay, days_between, differs, open_frames_differ
from pi_dagster.ingest.frame_rows import DayDigester, digests_by_day
from pi_dagster.ingest.window import Window
from pi_dagster.piwebapi.event_frames import EventFrame
from pi_dagster.site import Site

FRAMES_A_TICK = 20_000
"""Frames of older days that a tick looks at, as the days were when they were loaded: a page or two of a search."""

RECENT_DAYS = 2
"""Today and yesterday."""

_UNKNOWN_PLANT_FRAMES = FRAMES_A_TICK // 4
"""How many frames a day is taken for as long as none was ever loaded."""


@dataclass(frozen=True)
class Turn:
    """The sensor's cursor: the older day that is looked at next; None for the newest of them.

    It is some thirty characters long, however many frames there are.
    """

    next_older_day: date | None = None

    @classmethod
    def parse(cls, cursor: str | None) -> Turn:
        """The turn that a cursor tells; the first one for a cursor that cannot be read."""
        try:
            return cls(date.fromisoformat(json.loads(cursor or "")["next_older_day"]))
        except (ValueError, TypeError, KeyError):
            return cls()

    def __str__(self) -> str:
        """The cursor."""
        return json.dumps({"next_older_day": self.next_older_day.isoformat() if self.next_older_day else None})


@dataclass(frozen=True)
class Look:
    """What one tick looks at.

    Args:
        days: days whose frames are listed, in order.
        open_frames: the window in which open frames are listed; days before the newest ones, to the site's first.
        next_turn: where the next tick goes on.
    """

    days: Sequence[date]
    open_frames: Window
    next_turn: Turn

    @property
    def windows(self) -> Sequence[Window]:
        """The days, those that follow each other put together."""
        windows: list[Window] = []
        for window in map(Window.of_day, self.days):
            if windows and windows[-1].end == window.start:
                windows[-1] = Window(windows[-1].start, window.end)
            else:
                windows.append(window)
        return windows


def plan_look(site: Site, turn: Turn, *, today: date, loaded: Mapping[date, LoadedDay]) -> Look:
    """What to look at now: the recent days, and from the turn on, into the past, older ones of the look-back."""
    oldest = max(site.start_date, today - timedelta(days=site.event_frames.lookback_days))
    first_recent = max(site.start_date, today - timedelta(days=RECENT_DAYS - 1))
    older = days_between(oldest, first_recent - timedelta(days=1))[::-1]
    begin = older.index(turn.next_older_day) if turn.next_older_day in older else 0
    in_turn = older[begin:] + older[:begin]
    # A day that was never loaded mostly has no frames, but may have as many as any other.
    usual = max((day.frames for day in loaded.values()), default=_UNKNOWN_PLANT_FRAMES)
    taken = 0
    frames = 0
    for day in in_turn:
        frames += loaded[day].frames if day in loaded else usual
        if taken and frames > FRAMES_A_TICK:
            break
        taken += 1
    days = sorted([*in_turn[:taken], *days_between(first_recent, today)])
    return Look(
        days=days,
        # Where the days that are looked at reach back without a gap, their open frames are listed with the others.
        open_frames=Window(Window.of_day(site.start_date).start, Window.of_day(_first_of_last_stretch(days)).start),
        next_turn=Turn(in_turn[taken] if taken < len(in_turn) else None),
    )


def _first_of_last_stretch(days: Sequence[date]) -> date:
    first = days[-1]
    for day in reversed(days):
        if first - day > timedelta(days=1):
            break
        first = day
    return first


@dataclass(frozen=True)
class Listing:
    """What the server listed in a tick.

    Args:
        days: the days that were looked at and have frames.
        still_open: open frames of the other days.
    """

    days: Mapping[date, DayDigester]
    still_open: Mapping[date, DayDigester]

    @property
    def frames(self) -> int:
        """How many frames of the days that were looked at."""
        return sum(day.frames for day in self.days.values())

    @property
    def open_frames(self) -> int:
        """How many open frames of other days."""
        return sum(day.frames for day in self.still_open.values())

    @classmethod
    def of(
        cls,
        look: Look,
        *,
        frames: Callable[[Sequence[Window]], Iterable[EventFrame]],
        open_frames: Callable[[Sequence[Window]], Iterable[EventFrame]],
    ) -> Listing:
        """List what `look` says.

        Args:
            look: what to look at.
            frames: lists the frames that start in some windows.
            open_frames: lists those of them that are open.
        """
        window = look.open_frames
        return cls(
            days=digests_by_day(frames(look.windows)),
            still_open=digests_by_day(open_frames([window])) if window.start < window.end else {},
        )

    def differing_days(self, look: Look, loaded: Mapping[date, LoadedDay]) -> set[date]:
        """The days that are not loaded as they are listed here.

        Args:
            look: what was looked at.
            loaded: the days that are loaded, at least those that were listed and all with open frames.
        """
        nothing = DayDigester()
        differing = {day for day in look.days if differs(self.days.get(day, nothing).digest(), loaded.get(day))}
        others = {
            *self.still_open,
            *(day for day in loaded if look.open_frames.start <= Window.of_day(day).start < look.open_frames.end),
        } - set(look.days)
        for day in others:
            if open_frames_differ(self.still_open.get(day, nothing).digest().open_frames, loaded.get(day)):
                differing.add(day)
        return differing
