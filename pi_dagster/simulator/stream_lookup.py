"""What a WebID names that has values: a point, or an attribute of an element or event frame.

Source: PI Web API reference, controller `stream`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import cast
from urllib.parse import urlencode

from pi_dagster.simulator.af_bodies import Owner, point_of
from pi_dagster.simulator.af_lookup import find_attribute
from pi_dagster.simulator.af_model import ASSET_SERVER_ID, Attribute
from pi_dagster.simulator.af_webids import enumeration_value
from pi_dagster.simulator.calls import Call
from pi_dagster.simulator.event_frame_lookup import FoundFrame, find_frame_attribute
from pi_dagster.simulator.events import Ticks, iso_timestamp
from pi_dagster.simulator.points import Point
from pi_dagster.simulator.service import Service
from pi_dagster.webid import WebId, object_webid, point_webid

NOTHING_CAPTURED = {"Name": "No Data", "Value": 248, "IsSystem": True}
"""What an attribute of an event frame shows for which there was no value."""


@dataclass(frozen=True)
class HeldValue:
    """What an attribute without a tag holds. `at` is its instant; a static attribute has the first of all."""

    value: object
    units: str
    at: Ticks = 0
    is_good: bool = True


@dataclass(frozen=True)
class Stream:
    """Something with values: a point, or an attribute that refers to one, or one that holds a value itself."""

    web_id: WebId
    name: str
    path: str
    controller: str
    point: Point | None
    held: HeldValue | None = None
    times: tuple[Ticks, Ticks | None] | None = None
    """Start and end of the event frame that it belongs to, which requests without times are about."""


def find_stream(service: Service, call: Call, text: str) -> Stream:
    """The stream a WebID names. A Full WebID is taken by its ids first, by its path where those are gone.

    Raises:
        RefusedError: 400 for what is no stream's WebID, 404 for a stream that does not exist.
    """
    web_id = service.parse_web_id(text, "DP", "Ab")
    if web_id.owner_marker == "F":
        return frame_stream(service, *find_frame_attribute(service, call, web_id))
    if web_id.marker == "Ab":
        found = find_attribute(service, call, web_id)
        return attribute_stream(service, found.owner, found.attribute)
    point = find_point(service, web_id)
    return Stream(point_web_id(service, point), point.name, point_path(service, point), "points", point)


def attribute_stream(service: Service, owner: Owner, attribute: Attribute) -> Stream:
    """The values of an attribute of an element or event frame: its tag's, or the one that it holds itself."""
    placed = attribute.placed
    path = f"{owner.path}|{placed.path}"
    web_id = object_webid("Ab", (ASSET_SERVER_ID, owner.id, placed.id), path, owner.kind)
    point = point_of(service.archive, attribute)
    held = None
    if point is None:
        now = service.settings.now()
        value = enumeration_value(owner.database, placed.template.type_qualifier, attribute.value)
        held = HeldValue(value, placed.template.units_abbreviation, at=now if placed.template.data_reference else 0)
        if attribute.tag is not None:
            held = HeldValue({"Errors": [f"PI Point not found '{attribute.tag}'."]}, "", at=now, is_good=False)
    return Stream(web_id, placed.template.name, path, "attributes", point, held)


def frame_stream(service: Service, found: FoundFrame, attribute: Attribute) -> Stream:
    """The values of an attribute of an event frame; one that it holds itself was captured when the frame ended."""
    stream = attribute_stream(service, found.owner, attribute)
    start, end = found.frame.start, found.frame.end
    held = stream.held
    if held is not None and attribute.tag is None:
        value = NOTHING_CAPTURED if attribute.value is None else held.value
        held = replace(held, value=value, at=start if end is None else end, is_good=attribute.value is not None)
    return replace(stream, held=held, times=(start, end))


def in_time_of(call: Call, stream: Stream) -> Call:
    """The request with the times of the event frame that a stream belongs to, where it gives none itself."""
    if stream.times is None:
        return call
    start, end = stream.times
    times = {"startTime": start} if end is None else {"startTime": start, "endTime": end, "time": end}
    missing = {name: iso_timestamp(at) for name, at in times.items() if call.query.text(name) is None}
    return replace(call, query_text=f"{call.query_text}&{urlencode(missing)}") if missing else call


def held_value(service: Service, held: HeldValue) -> dict[str, object]:
    """What an attribute holds as the vendor's `TimedValue`."""
    value = {
        "Timestamp": iso_timestamp(held.at),
        "Value": held.value,
        "UnitsAbbreviation": held.units,
        "Good": held.is_good,
        "Questionable": False,
        "Substituted": False,
    }
    return {**value, "Annotated": False} if service.settings.prints_annotated else value


def find_point(service: Service, web_id: WebId) -> Point:
    """The point a WebID names.

    Raises:
        RefusedError: 404 where there is none.
    """
    archive = service.archive
    point = None
    if web_id.ids and (len(web_id.ids) == 1 or web_id.ids[0] in (archive.server_id, 0)):
        point = archive.point_by_id(cast(int, web_id.ids[-1]))
    if point is None and web_id.path is not None:
        server, _, tag = web_id.path.partition("\\")
        if server == archive.server_name.upper():
            point = archive.point_by_name(tag)
    if point is None:
        raise service.not_found("PI Point")
    return point


def point_web_id(service: Service, point: Point) -> WebId:
    """The Full WebID of a point."""
    archive = service.archive
    return point_webid(archive.server_id, point.id, archive.server_name, point.name)


def point_path(service: Service, point: Point) -> str:
    """The path of a point."""
    return rf"\\{service.archive.server_name}\{point.name}"
