"""Stream Updates: `POST .../updates` signs up for the changes of streams, `GET .../updates` tells them by marker.

Registering changes nothing in PI, so it works where writes are disabled. Source: PI Web API reference, topic
`stream-updates`; controllers `stream` and `streamset`, actions `registerstreamupdate(s)`, `retrievestreamupdate(s)`.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

import msgspec

from pi_dagster.simulator.calls import Call, RefusedError, Reply
from pi_dagster.simulator.encoding import TIMED_VALUE_FIELDS, encode_events
from pi_dagster.simulator.points import Point
from pi_dagster.simulator.service import Route, Service
from pi_dagster.simulator.stream_lookup import find_stream, point_path, point_web_id
from pi_dagster.simulator.update_signups import (
    CHANGED,
    MarkerInvalidError,
    MarkerUnknownError,
    SignupBrokenError,
    events_of,
)


def _check_it_is_there(service: Service, call: Call) -> None:
    """Refuse as a server does whose version has no Stream Updates."""
    if service.settings.stream_updates == "absent":
        url = call.link(call.path)
        raise RefusedError(404, f"No HTTP resource was found that matches the request URI '{url}'.", key="Message")


def _head(service: Service, call: Call, point: Point) -> dict[str, object]:
    return {
        "Source": service.write_web_id(point_web_id(service, point), call),
        "SourceName": point.name,
        "SourcePath": point_path(service, point),
    }


def _registered(service: Service, call: Call, point: Point) -> dict[str, object]:
    marker, was_there = service.signups.register(call.user, point)
    return {
        **_head(service, call, point),
        "LatestMarker": marker,
        "Status": "AlreadyRegistered" if was_there else "Succeeded",
        "Links": {"Updates": call.link("streams", "updates", marker)},
    }


def _point(service: Service, call: Call, web_id: str) -> Point:
    point = find_stream(service, call, web_id).point
    if point is None:
        raise RefusedError(409, "The attribute is static and does not support stream updates.")
    return point


def _point_or_refusal(service: Service, call: Call, web_id: str) -> Point | RefusedError:
    try:
        return _point(service, call, web_id)
    except RefusedError as refusal:
        if service.settings.bad_stream_in_set == "fail":
            raise
        return refusal


def register(service: Service, call: Call) -> object:
    """`POST /streams/{webId}/updates`."""
    _check_it_is_there(service, call)
    point = _point(service, call, call.params["webId"])
    if service.settings.stream_updates == "empty":
        return Reply(204)
    answer = _registered(service, call, point)
    return Reply(200, call.selected.prune(answer), _location(call, [answer]))


def register_set(service: Service, call: Call) -> object:
    """`POST /streamsets/updates`: any WebID that is none, or a static attribute's, fails the whole request."""
    _check_it_is_there(service, call)
    call.query.required("webId")
    found = [(web_id, _point_or_refusal(service, call, web_id)) for web_id in call.query.all("webId")]
    if service.settings.stream_updates == "empty":
        return Reply(204)
    items = [
        _failed({"Source": web_id, "SourceName": "", "SourcePath": ""}, *stream.errors)
        if isinstance(stream, RefusedError)
        else _registered(service, call, stream)
        for web_id, stream in found
        if isinstance(stream, Point) or service.settings.bad_stream_in_set == "error"
    ]
    return Reply(200, call.selected.prune({"Links": {}, "Items": items}), _location(call, items))


def _failed(head: dict[str, object], *errors: str) -> dict[str, object]:
    return {**head, "LatestMarker": "", "Status": "Failed", "Exception": {"Errors": list(errors)}}


def _location(call: Call, items: list[dict[str, object]]) -> dict[str, str]:
    """Where to ask for the changes, which the vendor says is in the header."""
    markers = [str(item["LatestMarker"]) for item in items if item["LatestMarker"]]
    if "streamsets" not in call.path.lower():
        return {"Location": call.link("streams", "updates", markers[0])}
    return {"Location": f"{call.link('streamsets', 'updates')}?{urlencode([('marker', marker) for marker in markers])}"}


def _changes(service: Service, call: Call, marker: str) -> dict[str, object]:
    """What has changed since a marker.

    Raises:
        RefusedError: 404 for a marker that the process does not know, 409 for what is none.
    """
    try:
        point, changes, latest = service.signups.changes_since(call.user, marker)
    except SignupBrokenError as error:
        return {
            **_failed(_head(service, call, error.point), str(error)),
            "RequestedMarker": marker,
            "Events": [],
            "Links": {},
        }
    except MarkerUnknownError as error:
        raise RefusedError(404, "Cache not found") from error
    except MarkerInvalidError as error:
        raise RefusedError(409, f"Invalid marker supplied: '{marker}'.") from error
    events: list[Any] = []
    if changes:
        fields = [f for f in TIMED_VALUE_FIELDS if service.settings.prints_annotated or f != "Annotated"]
        values = msgspec.json.decode(encode_events(events_of(changes), point.engineering_units, fields))
        previous = {"Add": "PreviousEventArchived"}
        events = [
            {"Action": change.action, "PreviousEventAction": previous.get(change.action, "None"), **value}
            for change, value in zip(changes, values, strict=True)
        ]
    return {
        **_head(service, call, point),
        "RequestedMarker": marker,
        "LatestMarker": latest,
        "Status": "Updated",
        "Events": events,
        "Links": {},
    }


def _changes_or_failure(service: Service, call: Call, marker: str) -> dict[str, object]:
    try:
        return _changes(service, call, marker)
    except RefusedError as refusal:
        if service.settings.lost_marker_in_set == "fail":
            raise
        head: dict[str, object] = {"Source": "", "SourceName": "", "SourcePath": ""}
        return {**_failed(head, *refusal.errors), "RequestedMarker": marker, "Events": [], "Links": {}}


def retrieve(service: Service, call: Call) -> object:
    """`GET /streams/updates/{marker}`."""
    _check_it_is_there(service, call)
    if call.query.text("desiredUnits"):
        raise RefusedError(400, "Units cannot be chosen for a PI Point.")
    answer = _changes(service, call, call.params["marker"])
    return Reply(200, answer, _location(call, [answer]) if answer["LatestMarker"] else {})


def retrieve_set(service: Service, call: Call) -> object:
    """`GET /streamsets/updates?marker=...&marker=...`."""
    _check_it_is_there(service, call)
    call.query.required("marker")
    items = [_changes_or_failure(service, call, marker) for marker in call.query.all("marker")]
    return Reply(200, {"Links": {}, "Items": items}, _location(call, items))


def order_updates(service: Service, order: dict[str, Any]) -> None:
    """What the admin door can do: `forget` all signups, or `unregister` the tag's for a `reason`.

    Raises:
        ValueError: an order that cannot be understood.
    """
    action = order.get("action")
    if action == "forget":
        service.signups.forget()
        return
    point = service.archive.point_by_name(str(order.get("tag", "")))
    if action != "unregister" or point is None:
        raise ValueError("the body needs the action forget, or the action unregister with a tag that exists")
    service.signups.unregister(point, str(order.get("reason", CHANGED)))


ROUTES = (
    Route("POST", "streams/{webId}/updates", register),
    Route("GET", "streams/updates/{marker}", retrieve),
    Route("POST", "streamsets/updates", register_set),
    Route("GET", "streamsets/updates", retrieve_set),
)
