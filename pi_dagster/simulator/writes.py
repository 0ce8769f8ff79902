"""Writing values: `POST` on streams and streamsets, with the vendor's `updateOption`s.

The same URLs read with GET: a client that turns a long GET into a POST would write.
Source: PI Web API reference, controllers `stream` and `streamset`, actions `updatevalue(s)`.
"""

from __future__ import annotations

from typing import Any

from pi_dagster.simulator.archive import UpdateOption, digital_states_of
from pi_dagster.simulator.calls import Call, RefusedError, Reply
from pi_dagster.simulator.events import BAD, NOT_A_STATE, QUESTIONABLE, SUBSTITUTED, Events, Ticks, iso_timestamp
from pi_dagster.simulator.points import FLOAT_TYPES, SYSTEM_STATES, Point
from pi_dagster.simulator.service import Route, Service
from pi_dagster.simulator.stream_lookup import find_stream
from pi_dagster.simulator.timestrings import InvalidTimeError, parse_time

_BUFFER_OPTIONS = ("BufferIfPossible", "DoNotBuffer", "Buffer")
_INTEGER_BITS = {"Int16": 16, "Int32": 32}


class _UnwritableValueError(ValueError):
    """A value the point cannot hold."""


def write_events(service: Service, point: Point, values: list[Any], option: UpdateOption) -> list[dict[str, object]]:
    """Write `TimedValue`s to a point; returns a `Substatus` for each, 204 where it was taken."""
    now = service.settings.now()
    substatuses: list[dict[str, object]] = []
    for value in values:
        try:
            event = event_of(service, point, value, now)
        except (_UnwritableValueError, InvalidTimeError) as error:
            substatuses.append({"Substatus": 400, "Message": str(error)})
            continue
        applied = service.archive.update(point, event, option)[0]
        if not applied and option is UpdateOption.REMOVE:
            message = f"No event at {iso_timestamp(int(event.ticks[0]))} to remove."
            substatuses.append({"Substatus": 404, "Message": message})
        else:
            substatuses.append({"Substatus": 204, "Message": ""})
    return substatuses


def event_of(service: Service, point: Point, value: Any, now: Ticks) -> Events:
    """A `TimedValue` as one event of the point.

    Raises:
        _UnwritableValueError: the point cannot hold it.
        InvalidTimeError: its Timestamp means no instant.
    """
    if not isinstance(value, dict):
        raise _UnwritableValueError("A value must be an object with Timestamp and Value.")
    content = {str(name).lower(): part for name, part in value.items()}
    instant = parse_time(content.get("timestamp"), now=now, zone=service.zone())
    states = digital_states_of(point, service.archive.digital_sets)
    held, state = _held(point, states, content.get("value"))
    flags = 0 if content.get("good", state == NOT_A_STATE) else BAD
    flags |= QUESTIONABLE if content.get("questionable") else 0
    flags |= SUBSTITUTED if content.get("substituted") else 0
    return Events.of(point.point_type, [instant], [held], states=[state], flags=[flags], digital_states=states)


def _held(point: Point, states: tuple[str, ...], value: Any) -> tuple[object, int]:
    """A JSON value as what the archive holds: the value, and a system state's code or `NOT_A_STATE`."""
    if isinstance(value, dict):
        named = {str(name).lower(): part for name, part in value.items()}
        value = named.get("value") if named.get("value") is not None else named.get("name")
        if named.get("issystem") or (point.point_type != "Digital" and value in SYSTEM_STATES):
            code = value if value in SYSTEM_STATES else _system_code(value)
            return None, code
    kind = point.point_type
    if kind == "Digital":
        offset = states.index(value) if value in states else value
        if isinstance(offset, int) and 0 <= offset < len(states):
            return offset, NOT_A_STATE
    elif kind in FLOAT_TYPES:
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            return value, NOT_A_STATE
    elif kind in _INTEGER_BITS:
        if isinstance(value, (int, float)) and value == int(value) and abs(value) < 2 ** (_INTEGER_BITS[kind] - 1):
            return int(value), NOT_A_STATE
    elif kind == "Blob":
        if isinstance(value, list) and all(isinstance(byte, int) and 0 <= byte < 256 for byte in value):
            return bytes(value), NOT_A_STATE
    elif isinstance(value, str):
        return value, NOT_A_STATE
    raise _UnwritableValueError(f"The value {value!r} cannot be written to a point of type {kind}.")


def _system_code(name: object) -> int:
    for code, known in SYSTEM_STATES.items():
        if known == name:
            return code
    raise _UnwritableValueError(f"The system state {name!r} is not known.")


def _option(call: Call) -> UpdateOption:
    call.query.choice("bufferOption", _BUFFER_OPTIONS, "BufferIfPossible")
    return UpdateOption(call.query.choice("updateOption", tuple(o.value for o in UpdateOption), "Replace"))


def _list(body: object) -> list[Any]:
    if not isinstance(body, list):
        raise RefusedError(400, "The request body must be a list.")
    return body


def _point(service: Service, call: Call, text: str) -> Point:
    point = find_stream(service, call, text).point
    if point is None:
        raise RefusedError(409, "The data reference of the attribute does not support writing.")
    return point


def update_value(service: Service, call: Call) -> object:
    """`POST /streams/{webId}/value`: 204 done, 202 left to the buffer."""
    point = _point(service, call, call.params["webId"])
    (substatus,) = write_events(service, point, [call.json()], _option(call))
    if substatus["Substatus"] != 204:
        raise RefusedError(int(str(substatus["Substatus"])), str(substatus["Message"]))
    return Reply(202 if call.query.choice("bufferOption", _BUFFER_OPTIONS, "BufferIfPossible") == "Buffer" else 204)


def update_values(service: Service, call: Call) -> object:
    """`POST /streams/{webId}/recorded`: 204 done, 207 with a substatus for each value where some failed."""
    point = _point(service, call, call.params["webId"])
    values = _list(call.json())
    service.within_limit("values", len(values))
    substatuses = write_events(service, point, values, _option(call))
    if all(item["Substatus"] == 204 for item in substatuses):
        return Reply(204)
    return Reply(207, {"Links": {}, "Items": substatuses})


def _update_set(service: Service, call: Call, *, many: bool) -> object:
    option = _option(call)
    items: list[object] = []
    failed = False
    for entry in _list(call.json()):
        if not isinstance(entry, dict):
            raise RefusedError(400, "Each stream must be an object with a WebId and its values.")
        values = _list(entry.get("Items")) if many else [entry.get("Value")]
        try:
            point = _point(service, call, str(entry.get("WebId", "")))
            substatuses = write_events(service, point, values, option)
        except RefusedError as refusal:
            substatuses = [{"Substatus": refusal.status, "Message": "; ".join(refusal.errors)}] * len(values)
        failed = failed or any(item["Substatus"] != 204 for item in substatuses)
        items += [{"Links": {}, "Items": substatuses}] if many else substatuses
    return Reply(207 if failed else 200, {"Links": {}, "Items": items})


def update_set_value(service: Service, call: Call) -> object:
    """`POST /streamsets/value`: one value for each of several streams."""
    return _update_set(service, call, many=False)


def update_set_values(service: Service, call: Call) -> object:
    """`POST /streamsets/recorded`: values for several streams."""
    return _update_set(service, call, many=True)


ROUTES = (
    Route("POST", "streams/{webId}/value", update_value, writes=True),
    Route("POST", "streams/{webId}/recorded", update_values, writes=True),
    Route("POST", "streamsets/value", update_set_value, writes=True),
    Route("POST", "streamsets/recorded", update_set_values, writes=True),
)
