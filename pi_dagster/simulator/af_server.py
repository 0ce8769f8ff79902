"""The asset server: which databases it has, which of their elements the login may read, and how stale what it shows is.

PI Web API reads AF through a cache for each user and refreshes it after minutes, or when a request carries
`Cache-Control: no-cache`. What the login may not read is not there at all, as if it had been deleted.
Source: AVEVA PI Web API user guide, pages on the AF cache; PI Web API reference, topic `error-handling`.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from uuid import UUID

from pi_dagster.simulator.af_model import AssetDatabase, Attribute, Element, PlacedAttribute
from pi_dagster.simulator.events import TICKS_PER_SECOND, Ticks


class ReadableDatabase(AssetDatabase):
    """A database without the branches that may not be read: an element, and all whose primary path leads through it."""

    def __init__(self, whole: AssetDatabase, forbidden: frozenset[UUID]) -> None:
        super().__init__(
            whole.name,
            description=whole.description,
            element_templates=whole.element_templates.values(),
            enumeration_sets=whole.enumeration_sets,
            element_categories=whole.element_categories,
            attribute_categories=whole.attribute_categories,
        )
        self._whole = whole
        self._forbidden = {number for element_id in forbidden if (number := whole.number_of(element_id)) is not None}
        self._is_readable: dict[int | None, bool] = {None: True}

    def children(self, number: int | None) -> Sequence[int]:
        """Those below it that may be read."""
        return [child for child in self._whole.children(number) if self._readable(child)]

    def parents(self, number: int) -> Sequence[int | None]:
        """Those above it that may be read."""
        return [parent for parent in self._whole.parents(number) if self._readable(parent)]

    def has_children(self, number: int) -> bool:
        """Whether there are any, readable or not: the flag is a part of the element."""
        return self._whole.has_children(number)

    def element(self, number: int) -> Element:
        """What an element is."""
        return self._whole.element(number)

    def number_of(self, element_id: UUID) -> int | None:
        """The element with that id, if it may be read."""
        number = self._whole.number_of(element_id)
        return number if number is not None and self._readable(number) else None

    def placed_attributes(self, number: int) -> tuple[PlacedAttribute, ...]:
        """The attributes that an element has."""
        return self._whole.placed_attributes(number)

    def attribute(self, number: int, placed: PlacedAttribute) -> Attribute:
        """One of an element's attributes."""
        return self._whole.attribute(number, placed)

    def _readable(self, number: int | None) -> bool:
        way = []
        at = number
        while at not in self._is_readable:
            assert at is not None
            if at in self._forbidden:
                self._is_readable[at] = False
                break
            way.append(at)
            at = self._whole.parents(at)[0]
        readable = self._is_readable[at]
        self._is_readable.update(dict.fromkeys(way, readable))
        return readable


@dataclass
class _Seen:
    """What one user's cache holds."""

    since: Ticks
    of: tuple[object, ...]
    databases: Mapping[UUID, AssetDatabase]


class AssetServer:
    """An AF server over its databases; safe to change while it is served.

    Args:
        databases: what it holds.
        now: the server's clock.
        cache_seconds: how long a user's cache may be older than the databases.
    """

    def __init__(
        self, databases: Sequence[AssetDatabase], *, now: Callable[[], Ticks], cache_seconds: float = 0.0
    ) -> None:
        self._databases = {database.id: database for database in databases}
        self._forbidden: frozenset[UUID] = frozenset()
        self._now = now
        self._cache_seconds = cache_seconds
        self._seen: dict[str | None, _Seen] = {}
        self._lock = threading.Lock()

    def database(self, name: str | None = None) -> AssetDatabase:
        """The database of that name, or the first, as it truly is: everything, and as of now."""
        found = (database for database in self._databases.values() if name is None or database.name == name)
        return next(found)

    def forbid(self, object_id: UUID) -> None:
        """Let clients no longer read a database, or an element with all whose primary path leads through it."""
        self._forbidden |= {object_id}

    def allow(self, object_id: UUID) -> None:
        """Let clients read again what was forbidden."""
        self._forbidden -= {object_id}

    def readable(self) -> list[AssetDatabase]:
        """What clients may read, as of now."""
        return list(self._readable([database.snapshot() for database in self._databases.values()]).values())

    def seen_by(self, user: str | None, *, max_age: float | None = None) -> Mapping[UUID, AssetDatabase]:
        """The databases by id as a user's cache has them.

        Args:
            user: whose cache; None is anonymous.
            max_age: seconds it may be old, where the request says so; 0 for `Cache-Control: no-cache`.
        """
        now = self._now()
        allowed = self._cache_seconds if max_age is None else min(max_age, self._cache_seconds)
        with self._lock:
            snapshots = [database.snapshot() for database in self._databases.values()]
            state = (self._forbidden, *snapshots)
            seen = self._seen.get(user)
            if seen is None or now - seen.since >= allowed * TICKS_PER_SECOND:
                databases = seen.databases if seen and seen.of == state else self._readable(snapshots)
                seen = self._seen[user] = _Seen(now, state, databases)
            return seen.databases

    def _readable(self, snapshots: Sequence[AssetDatabase]) -> dict[UUID, AssetDatabase]:
        forbidden = self._forbidden
        readable = (database for database in snapshots if database.id not in forbidden)
        return {database.id: ReadableDatabase(database, forbidden) if forbidden else database for database in readable}
