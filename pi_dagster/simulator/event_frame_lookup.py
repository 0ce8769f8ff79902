r"""Which event frame a request is about: by WebID, whose ids count first and whose path counts where they are gone, or
by path.

Source: PI Web API reference, topics `webid-type` and `path-syntax`.
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import NamedTuple
from uuid import UUID

from pi_dagster.simulator.af_bodies import Owner
from pi_dagster.simulator.af_lookup import cache_age, database_at, databases
from pi_dagster.simulator.af_model import AssetDatabase, Attribute, path_steps
from pi_dagster.simulator.calls import Call
from pi_dagster.simulator.event_frame_bodies import frame_owner
from pi_dagster.simulator.event_frame_model import EventFrame
from pi_dagster.simulator.event_frame_view import FrameView
from pi_dagster.simulator.service import Service
from pi_dagster.webid import WebId

_PATH = re.compile(r"(?P<database>\\\\[^\\]+\\.+?)\\EventFrames\[(?P<name>.*?)\](?P<children>(?:\\.*)?)", re.IGNORECASE)


class FoundFrame(NamedTuple):
    """An event frame in its database."""

    database: AssetDatabase
    view: FrameView
    frame: EventFrame

    @property
    def owner(self) -> Owner:
        """The frame, as what has attributes."""
        return frame_owner(self.database, self.view, self.frame)


def frames_of(service: Service, call: Call, database: AssetDatabase) -> FrameView:
    """The frames of a database, as the user's AF cache has them."""
    settings = service.settings
    views = service.event_frames.seen_by(
        call.user, now=settings.now(), cache_seconds=settings.af_cache_seconds, max_age=cache_age(call)
    )
    return views[database.id] if database.id in views else FrameView(None, {}, frozenset())


def find_frame(service: Service, call: Call, web_id: WebId) -> FoundFrame:
    """The event frame a WebID names.

    Raises:
        RefusedError: 404 where there is none, or none that may be read.
    """
    frame_id = web_id.ids[-1] if web_id.ids else None
    if isinstance(frame_id, UUID):
        for database in databases(service, call).values():
            view = frames_of(service, call, database)
            frame = view.frame(frame_id)
            if frame is not None:
                return FoundFrame(database, view, frame)
    return frame_at(service, call, rf"\\{web_id.path}")


def frame_at(service: Service, call: Call, path: str) -> FoundFrame:
    r"""The event frame at a path `\\SERVER\DATABASE\EventFrames[NAME]`, or below one; of equal paths the first one.

    Raises:
        RefusedError: 404 where there is none.
    """
    steps = _PATH.fullmatch(path)
    if steps is None:
        raise service.not_found("event frame")
    database = database_at(service, call, steps["database"])
    view = frames_of(service, call, database)
    frame: EventFrame | None = None
    for name in [steps["name"], *path_steps(steps["children"])[0]]:
        named = view.named(name, frame.id if frame else None)
        if not named:
            raise service.not_found("event frame")
        frame = view.at(named[0])
    assert frame is not None
    return FoundFrame(database, view, frame)


def find_frame_attribute(service: Service, call: Call, web_id: WebId) -> tuple[FoundFrame, Attribute]:
    """The attribute of an event frame that a WebID names.

    Raises:
        RefusedError: 404 where there is none, or none that may be read.
    """
    path = (web_id.path or "").partition("|")[0] or None
    ids = web_id.ids[:-1]
    found = find_frame(service, call, replace(web_id, marker="Fm", owner_marker=None, ids=ids, path=path))
    for attribute in found.frame.attributes:
        placed = attribute.placed
        if placed.id in web_id.ids or (not ids and f"{found.owner.path}|{placed.path}"[2:].upper() == web_id.path):
            return found, attribute
    raise service.not_found("attribute")
