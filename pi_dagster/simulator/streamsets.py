"""Reading many streams in one request: `GET /streamsets/...` by a list of WebIDs or by element.

`maxCount` counts for each stream, and truncation shows nowhere but in the number of values of each stream.
Source: PI Web API reference, controller `streamset`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

from pi_dagster.simulator.archive import name_pattern
from pi_dagster.simulator.calls import Call, RefusedError
from pi_dagster.simulator.service import Route, Service
from pi_dagster.simulator.streams import VERBS, Stream, Verb, find_stream


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
    read = verb.reader(service, call, selected, wanted)
    items: list[object] = []
    for stream in _sorted(call, streams) if verb.sorts_streams else streams:
        result = read(stream.point)
        values = {"Value": result} if verb.is_single else cast("dict[str, object]", result)
        items.append({**_head(service, call, stream), **values})
    return items


def _read_listed(verb: Verb) -> Callable[[Service, Call], object]:
    def handler(service: Service, call: Call) -> object:
        call.query.required("webId")
        web_ids = call.query.all("webId")
        found = [_find_or_refusal(service, web_id) for web_id in web_ids]
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


def _find_or_refusal(service: Service, web_id: str) -> Stream | RefusedError:
    try:
        return find_stream(service, web_id)
    except RefusedError as refusal:
        if service.settings.bad_stream_in_set == "fail":
            raise
        return refusal


def _read_element(verb: Verb) -> Callable[[Service, Call], object]:
    def handler(service: Service, call: Call) -> object:
        unit = service.units.unit(service.parse_web_id(call.params["webId"], "Em"))
        if unit is None:
            raise service.not_found("element")
        streams = [Stream(a.web_id, a.name, a.path, "attributes", a.point) for a in service.units.attributes(unit)]
        name_filter = call.query.text("nameFilter")
        if name_filter is not None:
            matches = name_pattern(name_filter).match
            streams = [stream for stream in streams if matches(stream.name)]
        if call.query.text("categoryName") or call.query.text("templateName"):
            streams = []  # the units' attributes have neither
        return {"Links": {}, "Items": _items(service, call, verb, streams, len(streams))}

    return handler


ROUTES = (
    *(Route("GET", f"streamsets/{verb.name}", _read_listed(verb)) for verb in VERBS),
    *(Route("GET", f"streamsets/{{webId}}/{verb.name}", _read_element(verb)) for verb in VERBS),
)
