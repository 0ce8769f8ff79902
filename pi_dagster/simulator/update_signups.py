"""Who has signed up for the changes of which streams, and what has changed since: the memory behind Stream Updates.

It is one process's memory, so a server that starts again knows none of its markers. A marker names a signup and a
position in its list of events; an older one may be used again for as long as its events are kept.
Source: PI Web API reference, topic `stream-updates`. How long and how many events are kept is not documented.
"""

from __future__ import annotations

import threading
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field

from pi_dagster.simulator.archive import Archive, ArchiveChange
from pi_dagster.simulator.events import TICKS_PER_SECOND, Events, Ticks
from pi_dagster.simulator.points import Point
from pi_dagster.simulator.settings import SimulatorSettings

GONE = "The signup was removed because it is no longer valid."
"""What the vendor's server says of a stream that was deleted."""

CHANGED = "The signup was updated and any cached data could be invalid."
"""The same of one whose metadata changed."""

TOO_MANY = "The number of pending updates is greater than the maximum allowed."


class MarkerUnknownError(Exception):
    """The signup of a marker is not there, or no longer has the events after it."""


class MarkerInvalidError(Exception):
    """Text that is no marker, or one of a position that its signup has not reached."""


class SignupBrokenError(Exception):
    """The stream was unregistered; what is said is why."""

    def __init__(self, point: Point, reason: str) -> None:
        super().__init__(reason)
        self.point = point


@dataclass
class _Signup:
    id: str
    user: str | None
    point: Point
    live_until: Ticks
    """Events of the archive's base up to here are among the changes, as they came."""
    used_at: Ticks
    changes: list[ArchiveChange] = field(default_factory=list)
    dropped: int = 0
    """Changes before those that are kept."""
    read_until: int = 0
    trouble: str | None = None

    @property
    def position(self) -> int:
        return self.dropped + len(self.changes)

    @property
    def marker(self) -> str:
        return f"{self.id}_{self.position}"


class UpdateSignups:
    """The signups of one server process. Safe to use from several threads.

    Args:
        archive: whose changes are followed.
        settings: how long a signup lasts that nobody asks about, and how many events it holds.
    """

    def __init__(self, archive: Archive, settings: SimulatorSettings) -> None:
        self._archive = archive
        self._settings = settings
        self._lock = threading.RLock()
        self._by_id: dict[str, _Signup] = {}
        self._by_point: dict[int, dict[str | None, _Signup]] = {}
        archive.watch(self._note)

    def register(self, user: str | None, point: Point) -> tuple[str, bool]:
        """The newest marker of a user's signup to a point, and whether it was there already."""
        now = self._settings.now()
        with self._lock:
            self._drop_idle(now)
            known = self._by_point.get(point.id, {}).get(user)
            if known is not None:
                self._bring_up_to_date(known, now)
                return known.marker, True
            signup = _Signup(uuid.uuid4().hex, user, point, live_until=now, used_at=now)
            self._by_id[signup.id] = signup
            self._by_point.setdefault(point.id, {})[user] = signup
            return signup.marker, False

    def changes_since(self, user: str | None, marker: str) -> tuple[Point, Sequence[ArchiveChange], str]:
        """The point of a marker, what has changed since it, and the newest marker.

        Raises:
            MarkerInvalidError: it is no marker.
            MarkerUnknownError: the process has no such signup.
            SignupBrokenError: the stream was unregistered.
        """
        signup_id, _, position_text = marker.rpartition("_")
        if not signup_id or not (position_text.isascii() and position_text.isdigit()):
            raise MarkerInvalidError(marker)
        position = int(position_text)
        now = self._settings.now()
        with self._lock:
            self._drop_idle(now)
            signup = self._by_id.get(signup_id)
            if signup is None or signup.user != user or position < signup.dropped:
                raise MarkerUnknownError(marker)
            self._bring_up_to_date(signup, now)
            if self._archive.point_by_id(signup.point.id) is None:
                signup.trouble = GONE
            if signup.trouble is not None:
                self._drop(signup)
                raise SignupBrokenError(signup.point, signup.trouble)
            if position > signup.position:
                raise MarkerInvalidError(marker)
            signup.read_until = max(signup.read_until, position)
            return signup.point, signup.changes[position - signup.dropped :], signup.marker

    def forget(self) -> None:
        """Lose all signups, as a process that starts again does."""
        with self._lock:
            self._by_id.clear()
            self._by_point.clear()

    def unregister(self, point: Point, reason: str) -> None:
        """End the signups to a point; the next who asks is told why."""
        with self._lock:
            for signup in self._by_point.get(point.id, {}).values():
                signup.trouble = reason

    def _note(self, point: Point, changes: Sequence[ArchiveChange]) -> None:
        with self._lock:
            for signup in self._by_point.get(point.id, {}).values():
                self._add(signup, changes)

    def _bring_up_to_date(self, signup: _Signup, now: Ticks) -> None:
        signup.used_at = now
        if now > signup.live_until and self._archive.point_by_id(signup.point.id) is not None:
            live = self._archive.base.events(signup.point, signup.live_until + 1, now)
            self._add(signup, [ArchiveChange("Add", live[i : i + 1]) for i in range(len(live))])
            signup.live_until = now

    def _add(self, signup: _Signup, changes: Sequence[ArchiveChange]) -> None:
        signup.changes += changes
        excess = len(signup.changes) - self._settings.max_pending_updates
        if excess > 0:
            droppable = min(excess, signup.read_until - signup.dropped)
            del signup.changes[:droppable]
            signup.dropped += droppable
            if droppable < excess:
                signup.trouble = TOO_MANY

    def _drop_idle(self, now: Ticks) -> None:
        oldest = now - int(self._settings.updates_idle_seconds * TICKS_PER_SECOND)
        for signup in [signup for signup in self._by_id.values() if signup.used_at < oldest]:
            self._drop(signup)

    def _drop(self, signup: _Signup) -> None:
        self._by_id.pop(signup.id, None)
        self._by_point.get(signup.point.id, {}).pop(signup.user, None)


def events_of(changes: Sequence[ArchiveChange]) -> Events:
    """The events of at least one change, in order."""
    return Events.concat([change.event for change in changes])
