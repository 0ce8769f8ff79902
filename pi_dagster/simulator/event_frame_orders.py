"""Changes of event frames that come through the admin door, from a test in another process."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any
from uuid import UUID

from pi_dagster.simulator.af_model import AssetDatabase, path_steps
from pi_dagster.simulator.event_frame_model import EventFrame
from pi_dagster.simulator.service import Service
from pi_dagster.simulator.timestrings import parse_time

_TIMES = ("start", "end", "at")
_FIELDS = {
    "open": {
        "name",
        "start",
        "end",
        "template",
        "description",
        "severity",
        "elements",
        "attributes",
        "parent",
        "database",
    },
    "close": {"end", "attributes"},
    "edit": {"name", "start", "end", "description", "severity", "elements", "attributes"},
    "acknowledge": {"at", "by"},
    "annotate": {"text", "at", "name", "by"},
    "delete": set(),
}
"""What can be ordered, and what an order may say beside `action` and, of all but `open`, `id`."""

ACTIONS = tuple(_FIELDS)


def change_event_frames(service: Service, order: Mapping[str, Any]) -> UUID:
    """Do what an order says: a method of `EventFrameStore` and its arguments; returns the frame's id.

    Times are PI time strings (`end` null opens a frame again), elements are paths. Where there is no `start`, `end`
    or `at`, it is now.

    Raises:
        ValueError: an order that cannot be understood or done; says what is wrong.
    """
    action = str(order.get("action"))
    if action not in _FIELDS:
        raise ValueError(f"the action is one of {', '.join(ACTIONS)}")
    said = {name: value for name, value in order.items() if name not in ("action", "id")}
    unknown = set(said) - _FIELDS[action]
    if unknown:
        raise ValueError(f"the action {action} takes no {', '.join(sorted(unknown))}")
    now = service.settings.now()
    for name in _TIMES:
        if said.get(name) is not None:
            said[name] = parse_time(str(said[name]), now=now, zone=service.zone())
    store = service.event_frames
    try:
        if action == "open":
            database = service.assets.database(said.get("database"))
            if said.get("parent") is not None:
                said["parent"] = UUID(said["parent"])
            said.setdefault("start", now)
            return store.open(**_with_elements(said, database)).id
        frame_id = UUID(str(order.get("id")))
        if action == "delete":
            store.delete(frame_id)
            return frame_id
        if action == "edit":
            database = service.assets.database(store.database_of(frame_id))
            return store.edit(frame_id, **_with_elements(said, database)).id
        said.setdefault("end" if action == "close" else "at", now)
        methods: Mapping[str, Callable[..., EventFrame]] = {
            "close": store.close,
            "acknowledge": store.acknowledge,
            "annotate": store.annotate,
        }
        return methods[action](frame_id, **said).id
    except (KeyError, TypeError, StopIteration) as error:
        raise ValueError(f"the action {action} names what is not there, or lacks something: {error!r}") from error


def _with_elements(said: dict[str, Any], database: AssetDatabase) -> dict[str, Any]:
    if "elements" not in said:
        return said
    database = database.snapshot()
    found = []
    for path in said["elements"]:
        number = database.element_at(path_steps(path)[0][2:])
        if number is None:
            raise ValueError(f"there is no element {path}")
        found.append(database.element(number).id)
    return {**said, "elements": tuple(found)}
