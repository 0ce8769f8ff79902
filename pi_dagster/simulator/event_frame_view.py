"""The event frames of one database at one moment, as requests read and search them.

A view never changes, so that an edit disturbs no search half-way.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from operator import itemgetter
from typing import Any
from uuid import UUID

import numpy as np
from numpy.typing import NDArray

from pi_dagster.simulator.af_model import AssetDatabase
from pi_dagster.simulator.af_search import AttributeFilter, Order, attribute_key
from pi_dagster.simulator.event_frame_history import FrameHistory
from pi_dagster.simulator.event_frame_model import EventFrame
from pi_dagster.simulator.event_frame_search import SORT_FIELDS, FrameSearch

_KEPT_SEARCHES = 16

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
