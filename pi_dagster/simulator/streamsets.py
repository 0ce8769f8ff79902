"""Reading many streams in one request: `GET /streamsets/...` by a list of WebIDs or by element.

`maxCount` counts for each stream, and truncation shows nowhere but in the number of values of each stream.
Source: PI Web API reference, controller `streamset`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

from pi_dagster.simulator.af_attribute_routes import wanted_attributes
from pi_dagster.simulator.af_bodies import element_owner
from pi_dagster.simulator.af_lookup import find_attribute, find_element
from pi_dagster.simulator.calls import Call, RefusedError
from pi_dagster.simulator.event_frame_lookup import find_frame
from pi_dagster.simulator.event_frame_values import captured_values
from pi_dagster.simulator.selected_fields import SelectedFields
from pi_dagster.simulator.service import Route, Service
from pi_dagster.simulator.stream_lookup import (
    Stream,
    attribute_stream,
    find_stream,
    frame_stream,
    held_value,
    in_time_of,
)
from pi_dagster.simulator.streams import VERBS, Reader, Verb


def _head(service: Service, call: Call, stream: Stream) -> dict[str, object]:
    web_id = service.write_web_id(stream.web_id, call)
    return {
        "WebId": web_id,
        "Name": stream.name,
        "Path": stream.path,
        "Links": {"Source": call.link(stream.controller, web_id)},
    }


def _sorted(call: Call, streams: list[Stream]) -> list[Stream]:
    field = call.query.text("sortField")
    if field is not None and field.lower() != "name":
        raise RefusedError(400, f"The value '{field}' is not valid for the parameter 'sortField'.")
    descending = call.query.choice("sortOrder", ("Ascending", "Descending"), "Ascending") == "Descending"
    if field is None:
        return streams
    return sorted(streams, key=lambda stream: stream.name.casefold(), reverse=descending)


def _items(service: Service, call: Call, verb: Verb, streams: list[Stream], wanted: int) -> list[object]:
    selected = call.selected.at("Items", "Value" if verb.is_single else "Items")
    readers: dict[object, Reader] = {}
    items: list[object] = []
    for stream in _sorted(call, streams) if verb.sorts_streams else streams:
        if stream.times not in readers:
            readers[stream.times] = verb.reader(service, in_time_of(call, stream), selected, wanted)
        result = readers[stream.times](stream.point) if stream.point is not None else _held(service, stream, selected)
        values = {"Value": result} if verb.is_single else cast("dict[str, object]", result)
        items.append({**_head(service, call, stream), **values})
    return items


def _held(service: Service, stream: Stream, selected: SelectedFields | None) -> object:
    assert stream.held is not None
    return (selected or SelectedFields()).prune(held_value(service, stream.held))


def _read_listed(verb: Verb) -> Callable[[Service, Call], object]:
    def handler(service: Service, call: Call) -> object:
        call.query.required("webId")
        web_ids = call.query.all("webId")
        found = [_find_or_refusal(service, call, verb, web_id) for web_id in web_ids]
        items = _items(service, call, verb, [s for s in found if isinstance(s, Stream)], len(web_ids))
        if service.settings.bad_stream_in_set == "error":
            values: dict[str, object] = {"Value": None} if verb.is_single else {"Items": []}
            for web_id, refusal in zip(web_ids, found, strict=True):
                if isinstance(refusal, RefusedError):
                    error = {"Errors": list(refusal.errors), "StatusCode": refusal.status}
                    head = {"WebId": web_id, "Name": "", "Path": "", "Links": {}}
                    items.append({**head, **values, "WebException": error})
        return {"Links": {}, "Items": items}

    return handler


def _find_or_refusal(service: Service, call: Call, verb: Verb, web_id: str) -> Stream | RefusedError:
    try:
        stream = find_stream(service, call, web_id)
        if stream.point is None and not verb.reads_held:
            raise RefusedError(
                409, f"The data reference of the attribute '{stream.path}' does not support this method."
            )
        return stream
    except RefusedError as refusal:
        if service.settings.bad_stream_in_set == "fail":
            raise
        return refusal


def _read_owner(verb: Verb) -> Callable[[Service, Call], object]:
    def handler(service: Service, call: Call) -> object:
        captured = captured_values(service, call) if verb.reads_held else None
        if captured is not None:
            return captured
        streams = _streams_below(service, call)
        if not verb.reads_held:
            streams = [stream for stream in streams if stream.point is not None]
        return {"Links": {}, "Items": _items(service, call, verb, streams, len(streams))}

    return handler


def _streams_below(service: Service, call: Call) -> list[Stream]:
    """The streams of the attributes of an element or event frame, or of those nested in an attribute."""
    web_id = service.parse_web_id(call.params["webId"], "Em", "Fm", "Ab")
    if web_id.marker == "Fm":
        frame = find_frame(service, call, web_id)
        wanted = wanted_attributes(call, frame.owner, frame.frame.attributes)
        return [frame_stream(service, frame, attribute) for attribute in wanted]
    if web_id.marker == "Em":
        database, number = find_element(service, call, web_id)
        owner, attributes, above = element_owner(database, number), database.attributes(number), None
    else:
        found = find_attribute(service, call, web_id)
        owner, attributes, above = found.owner, found.database.attributes(found.number), found.attribute.placed
    return [attribute_stream(service, owner, found) for found in wanted_attributes(call, owner, attributes, above)]


ROUTES = (
    *(Route("GET", f"streamsets/{verb.name}", _read_listed(verb)) for verb in VERBS),
    *(Route("GET", f"streamsets/{{webId}}/{verb.name}", _read_owner(verb)) for verb in VERBS),
)
