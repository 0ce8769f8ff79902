"""The event frames of an asset server, and how they change while they are served.

A history of any length is computed (`event_frame_history`); frames that a test opens, edits or deletes lie over it as
objects. Requests read a `FrameView`, which never changes, so that an edit disturbs no search half-way.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from operator import itemgetter
from typing import Any
from uuid import UUID, uuid5

import numpy as np
from numpy.typing import NDArray

from pi_dagster.simulator.af_model import AssetDatabase
from pi_dagster.simulator.af_search import AttributeFilter, Order, attribute_key
from pi_dagster.simulator.event_frame_history import FrameHistory
from pi_dagster.simulator.event_frame_model import SEVERITIES, Annotation, EventFrame, with_values
from pi_dagster.simulator.event_frame_search import SORT_FIELDS, FrameSearch
from pi_dagster.simulator.events import TICKS_PER_SECOND, Ticks

_KEPT_SEARCHES = 16
_FIRST_OPENED = 1 << 40

Place = int | UUID
"""Where a frame of a view is: its number in the history, or the id of one that lies over it."""


class FrameView:
    """The event frames of one database at one moment.

    Args:
        history: the computed frames, if there are any.
        frames: those that were opened or changed, by id.
        gone: numbers of the history's frames that were changed or deleted.
    """

    def __init__(
        self, history: FrameHistory | None, frames: Mapping[UUID, EventFrame], gone: frozenset[int] | set[int]
    ) -> None:
        self._history = history
        self._frames = frames
        self._gone = gone
        # Pages of one search follow each other, and a server finds what it searched for only once.
        self._searched: dict[FrameSearch, tuple[AssetDatabase, list[Place]]] = {}
        self._searched_attributes: dict[object, tuple[AssetDatabase, list[tuple[Place, int]]]] = {}

    def __len__(self) -> int:
        return (len(self._history) - len(self._gone) if self._history else 0) + len(self._frames)

    def __iter__(self) -> Iterator[EventFrame]:
        """All frames, children too, in no particular order."""
        if self._history is not None:
            yield from (self._history.frame(int(number)) for number in np.flatnonzero(self._alive))
        yield from self._frames.values()

    def at(self, place: Place, *, attributes: bool = True) -> EventFrame:
        """The frame at a place that `search` or `children` found; a computed one without attributes is made faster."""
        if isinstance(place, UUID):
            return self._frames[place]
        assert self._history is not None
        return self._history.frame(place, attributes=attributes)

    def frame(self, frame_id: UUID, *, attributes: bool = True) -> EventFrame | None:
        """The frame with that id; see `at`."""
        place = self._place(frame_id)
        return None if place is None else self.at(place, attributes=attributes)

    def children(self, frame_id: UUID) -> list[Place]:
        """Where the children of a frame are."""
        found: list[Place] = []
        number = self._history.number_of(frame_id) if self._history else None
        if self._history is not None and number is not None:
            found += (child for child in self._history.children(number) if child not in self._gone)
        return found + self._children_over.get(frame_id, [])

    def named(self, name: str, parent: UUID | None) -> list[Place]:
        """Where the children of a frame, or with None the frames at the top, are that have that name, in any case."""
        wanted = name.casefold()
        if parent is not None:
            return [
                place for place in self.children(parent) if self.at(place, attributes=False).name.casefold() == wanted
            ]
        computed = self._history.numbers_named(name) if self._history else []
        found: list[Place] = [number for number in computed if number not in self._gone]
        over = self._frames.values()
        return found + [f.id for f in over if f.parent is None and f.name.casefold() == wanted]

    def search(self, database: AssetDatabase, search: FrameSearch) -> Sequence[Place]:
        """Where the frames are that a search wants, in its order; equal ones in the order of their creation."""
        known = self._searched.get(search)
        if known is not None and known[0] is database:
            return known[1]
        found = list(self._below(search.root, search) if search.root else self._anywhere(search))
        if search.conditions or search.root:
            found = [place for place in found if search.wants(database, self.at(place))]
        found.sort(key=lambda place: self._sort_key(place, search.sort_field), reverse=search.descending)
        while len(self._searched) >= _KEPT_SEARCHES:
            self._searched.pop(next(iter(self._searched)), None)
        self._searched[search] = (database, found)
        return found

    def search_attributes(
        self, database: AssetDatabase, search: FrameSearch, wanted: AttributeFilter, order: Order
    ) -> Sequence[tuple[Place, int]]:
        """Where the attributes are of the frames that a search wants: the frame, and the attribute's place in it."""
        known = self._searched_attributes.get((search, wanted, order))
        if known is not None and known[0] is database:
            return known[1]
        keyed: list[tuple[str, Place, int]] = []
        for place in self.search(database, search):
            placed = [attribute.placed for attribute in self.at(place).attributes]
            keyed += ((attribute_key(placed[at], order.field), place, at) for at in wanted.places(placed))
        keyed.sort(key=itemgetter(0), reverse=order.is_descending)
        found = [(place, at) for _, place, at in keyed]
        self._searched_attributes = {(search, wanted, order): (database, found)}
        return found

    def _place(self, frame_id: UUID) -> Place | None:
        if frame_id in self._frames:
            return frame_id
        number = self._history.number_of(frame_id) if self._history else None
        return None if number in self._gone else number

    def _anywhere(self, search: FrameSearch) -> Iterator[Place]:
        """Frames in the right time and level of the hierarchy."""
        history = self._history
        if history is not None:
            found = self._alive & search.times.among(history.starts, history.ends)
            yield from np.flatnonzero(found if search.all_descendants else found & ~history.is_child).tolist()
        for frame_id, frame in self._frames.items():
            if (search.all_descendants or frame.parent is None) and search.times.hold(frame):
                yield frame_id

    def _below(self, root: UUID, search: FrameSearch) -> Iterator[Place]:
        waiting = self.children(root)
        while waiting:
            place = waiting.pop()
            yield place
            if search.all_descendants:
                waiting += self.children(self.at(place, attributes=False).id)

    def _sort_key(self, place: Place, field: str) -> Any:
        if isinstance(place, UUID):
            return SORT_FIELDS[field](self._frames[place])
        assert self._history is not None
        if field == "Name":
            return self._history.name(place).casefold()
        if field == "ID":
            return str(self._history.id_of(place))
        return int((self._history.starts if field == "StartTime" else self._history.ends)[place])

    @cached_property
    def _alive(self) -> NDArray[np.bool_]:
        assert self._history is not None
        alive = np.ones(len(self._history), np.bool_)
        alive[list(self._gone)] = False
        return alive

    @cached_property
    def _children_over(self) -> dict[UUID, list[Place]]:
        children: dict[UUID, list[Place]] = {}
        for frame in self._frames.values():
            if frame.parent is not None:
                children.setdefault(frame.parent, []).append(frame.id)
        return children


@dataclass
class _Contents:
    """The frames of one database now, and the view of them while it is true."""

    database: AssetDatabase
    history: FrameHistory | None
    frames: dict[UUID, EventFrame] = field(default_factory=dict)
    gone: set[int] = field(default_factory=set)
    view: FrameView | None = None


@dataclass
class _Seen:
    """What one user's cache holds."""

    since: Ticks
    views: Mapping[UUID, FrameView]


class EventFrameStore:
    """The event frames of all databases; safe to change from any thread while they are served.

    Args:
        databases: the databases they are in; the first is meant where a method is told no other.
        histories: computed frames, at most one history for each database.
    """

    def __init__(self, databases: Sequence[AssetDatabase], histories: Sequence[FrameHistory] = ()) -> None:
        by_database = {history.database.id: history for history in histories}
        self._contents = {d.id: _Contents(d, by_database.get(d.id)) for d in databases}
        self._names = {database.name: database.id for database in databases}
        self._opened = _FIRST_OPENED
        self._seen: dict[str | None, _Seen] = {}
        self._lock = threading.RLock()

    def all_frames(self, database: str | None = None) -> Iterator[EventFrame]:
        """Every frame of a database as it truly is now, children too, in no particular order."""
        return iter(self.view(self._of(database).database.id))

    def frame(self, frame_id: UUID) -> EventFrame:
        """The frame with that id, whatever its database.

        Raises:
            KeyError: there is none.
        """
        return self._find(frame_id)[1]

    def database_of(self, frame_id: UUID) -> str:
        """The name of the database that a frame is in.

        Raises:
            KeyError: there is no such frame.
        """
        return self._find(frame_id)[0].database.name

    def open(
        self,
        name: str,
        *,
        start: Ticks,
        end: Ticks | None = None,
        template: str = "",
        description: str = "",
        severity: str | None = None,
        elements: Sequence[UUID] = (),
        attributes: Mapping[str, object] | None = None,
        parent: UUID | None = None,
        database: str | None = None,
    ) -> EventFrame:
        """Create a frame, in progress unless its end is given; `start` may be long ago.

        Args:
            name: need not be unique.
            start: when it began, in ticks (`archive.to_ticks`).
            end: when it ended; None while it is in progress.
            template: name of its event frame template, which gives it attributes, categories and a severity.
            description: free text.
            severity: one of `SEVERITIES`; None is the template's.
            elements: ids of the elements it refers to, the primary one first.
            attributes: values by attribute name, see `event_frame_model.with_values`.
            parent: id of the frame it is a child of.
            database: name of the database; None is the first.

        Raises:
            KeyError: there is no such template, parent or database.
            ValueError: an attribute, a severity or an end that cannot be.
        """
        with self._lock:
            contents = self._of(database)
            if parent is not None and self._find(parent)[0] is not contents:
                raise ValueError("a child is in the database of its parent")
            found = contents.database.element_templates[template] if template else None
            self._opened += 1
            frame = EventFrame(
                id=UUID(int=uuid5(contents.database.id, "opened").int >> 48 << 48 | self._opened),
                name=name,
                start=start,
                end=end,
                template_name=template,
                description=description,
                severity=severity or (found.severity if found else "None"),
                category_names=found.category_names if found else (),
                elements=tuple(elements),
                attributes=with_values(
                    contents.database, contents.database.template_attributes(template), attributes or {}
                ),
                parent=parent,
                can_be_acknowledged=found is not None and found.can_be_acknowledged,
            )
            return self._put(contents, frame)

    def close(self, frame_id: UUID, end: Ticks, *, attributes: Mapping[str, object] | None = None) -> EventFrame:
        """End a frame and capture the values of its attributes, changing those that are given."""
        frame = self.edit(frame_id, end=end, attributes=attributes)
        with self._lock:
            return self._put(self._find(frame_id)[0], replace(frame, are_values_captured=True))

    def edit(self, frame_id: UUID, *, attributes: Mapping[str, object] | None = None, **changes: object) -> EventFrame:
        """Change a frame as an engineer or a backfilled analysis does.

        Args:
            frame_id: the frame.
            attributes: values by attribute name; the others keep theirs.
            **changes: fields of `EventFrame`: `name`, `start`, `end` (None opens it again), `severity` ...

        Raises:
            KeyError: there is no such frame.
            ValueError: an attribute, a severity or an end that cannot be.
        """
        with self._lock:
            contents, frame = self._find(frame_id)
            if attributes:
                given = with_values(contents.database, [a.placed for a in frame.attributes], attributes)
                changes["attributes"] = tuple(
                    new if old.placed.path in attributes else old
                    for new, old in zip(given, frame.attributes, strict=True)
                )
            return self._put(contents, replace(frame, **changes))  # type: ignore[arg-type]

    def acknowledge(self, frame_id: UUID, *, at: Ticks, by: str = r"PLANT\operator") -> EventFrame:
        """Acknowledge a frame.

        Raises:
            KeyError: there is no such frame.
            ValueError: it cannot be acknowledged.
        """
        if not self.frame(frame_id).can_be_acknowledged:
            raise ValueError("the event frame cannot be acknowledged")
        return self.edit(frame_id, acknowledged_at=at, acknowledged_by=by)

    def annotate(
        self, frame_id: UUID, text: str, *, at: Ticks, name: str = "Note", by: str = r"PLANT\operator"
    ) -> EventFrame:
        """Write an annotation about a frame.

        Raises:
            KeyError: there is no such frame.
        """
        with self._lock:
            written = self.frame(frame_id).annotations
            note = Annotation(uuid5(frame_id, f"annotation {len(written)}"), name, text, by, at)
            return self.edit(frame_id, annotations=(*written, note))

    def delete(self, frame_id: UUID) -> None:
        """Delete a frame with its children.

        Raises:
            KeyError: there is no such frame.
        """
        with self._lock:
            contents, _ = self._find(frame_id)
            view = self.view(contents.database.id)
            for child in [view.at(place).id for place in view.children(frame_id)]:
                self.delete(child)
            contents.frames.pop(frame_id, None)
            self._hide(contents, frame_id)

    def view(self, database_id: UUID) -> FrameView:
        """The frames of a database as they truly are now."""
        with self._lock:
            contents = self._contents[database_id]
            if contents.view is None:
                contents.view = FrameView(contents.history, dict(contents.frames), set(contents.gone))
            return contents.view

    def seen_by(
        self, user: str | None, *, now: Ticks, cache_seconds: float, max_age: float | None
    ) -> Mapping[UUID, FrameView]:
        """The frames by database as a user's AF cache has them.

        Args:
            user: whose cache; None is anonymous.
            now: the server's clock.
            cache_seconds: how old the cache may be.
            max_age: how old it may be at most, as `Cache-Control` asks for; None is whatever the server has.
        """
        with self._lock:
            seen = self._seen.get(user)
            age = cache_seconds if max_age is None else min(max_age, cache_seconds)
            if seen is None or now - seen.since >= age * TICKS_PER_SECOND:
                views = {database_id: self.view(database_id) for database_id in self._contents}
                seen = self._seen[user] = _Seen(now, views)
            return seen.views

    def _of(self, database: str | None) -> _Contents:
        return self._contents[next(iter(self._contents)) if database is None else self._names[database]]

    def _find(self, frame_id: UUID) -> tuple[_Contents, EventFrame]:
        for contents in self._contents.values():
            if frame_id in contents.frames:
                return contents, contents.frames[frame_id]
            number = contents.history.number_of(frame_id) if contents.history else None
            if contents.history is not None and number is not None and number not in contents.gone:
                return contents, contents.history.frame(number)
        raise KeyError(frame_id)

    def _put(self, contents: _Contents, frame: EventFrame) -> EventFrame:
        if frame.severity not in SEVERITIES:
            raise ValueError(f"{frame.severity} is no severity: {', '.join(SEVERITIES)}")
        if frame.end is not None and frame.end < frame.start:
            raise ValueError("an event frame cannot end before it starts")
        contents.frames[frame.id] = frame
        self._hide(contents, frame.id)
        return frame

    def _hide(self, contents: _Contents, frame_id: UUID) -> None:
        number = contents.history.number_of(frame_id) if contents.history else None
        if number is not None:
            contents.gone.add(number)
        contents.view = None
