"""The event frames of an asset server, and how they change while they are served.

A history of any length is computed (`event_frame_history`); frames that a test opens, edits or deletes lie over it as
objects. Requests read a `FrameView` of them.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from uuid import UUID, uuid5

from pi_dagster.simulator.af_model import AssetDatabase
from pi_dagster.simulator.event_frame_history import FrameHistory
from pi_dagster.simulator.event_frame_model import SEVERITIES, Annotation, EventFrame, with_values
from pi_dagster.simulator.event_frame_view import FrameView
from pi_dagster.simulator.events import TICKS_PER_SECOND, Ticks

_FIRST_OPENED = 1 << 40


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
