"""Event frames: searches of databases, elements and frames, by WebID, path or query, with what belongs to a frame.

A search without times is about the last eight hours, without a sort field in the order of names, and without
`searchFullHierarchy` it leaves children out.
Source: PI Web API reference, controller `eventframe`, actions `geteventframes` and `findeventframeattributes` of
`assetdatabase` and `element`, topic `search-mode`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any
from uuid import UUID

from pi_dagster.simulator.af_attribute_routes import FOUND_FILTERS, list_of_owner
from pi_dagster.simulator.af_bodies import Owner
from pi_dagster.simulator.af_lookup import bodies, element_at, find_database, find_element
from pi_dagster.simulator.af_model import AssetDatabase, Attribute
from pi_dagster.simulator.af_paging import check_conditions, conditions, multiple, page, wanted_order
from pi_dagster.simulator.af_search import AttributeFilter, Condition
from pi_dagster.simulator.calls import Call, RefusedError, Reply
from pi_dagster.simulator.event_frame_bodies import FrameBodies, frame_owner
from pi_dagster.simulator.event_frame_lookup import FoundFrame, find_frame, frame_at, frames_of
from pi_dagster.simulator.event_frame_model import SEVERITIES
from pi_dagster.simulator.event_frame_query import parse_query
from pi_dagster.simulator.event_frame_search import (
    RANGE_MODES,
    SORT_FIELDS,
    WALKING_MODES,
    FrameCondition,
    FrameSearch,
    TimeLimits,
)
from pi_dagster.simulator.event_frame_view import FrameView
from pi_dagster.simulator.events import Ticks
from pi_dagster.simulator.service import Route, Service
from pi_dagster.simulator.timestrings import parse_time


def _one(service: Service, call: Call) -> FoundFrame:
    """The frame that the path of a request names."""
    return find_frame(service, call, service.parse_web_id(call.params["webId"], "Fm"))


def _writer(service: Service, call: Call, database: AssetDatabase, view: FrameView) -> FrameBodies:
    return FrameBodies(bodies(service, call), service.settings, call, database, view)


def _body(service: Service, call: Call, found: FoundFrame) -> dict[str, Any]:
    return _writer(service, call, found.database, found.view).frame(found.frame)


def _page(service: Service, call: Call, database: AssetDatabase, view: FrameView, search: FrameSearch) -> object:
    places = view.search(database, search)
    writer = _writer(service, call, database, view)
    return page(
        service,
        call,
        len(places),
        lambda start, end, selected: writer.frames(
            (view.at(place, attributes=False) for place in places[start:end]), selected
        ),
    )


def _timed(service: Service, call: Call, search: FrameSearch) -> FrameSearch:
    """The search with the times and the order that the request's `searchMode` gives it.

    Raises:
        RefusedError: 400 for parameters that do not go together.
    """
    query, now = call.query, service.settings.now()
    mode = query.choice("searchMode", (*RANGE_MODES, *WALKING_MODES), "Overlapped")
    # Searches have no `timeZone`: what has no zone is in the server's.
    start = parse_time(query.text("startTime") or "*-8h", now=now, zone=service.zone())
    if mode in WALKING_MODES:
        given = [name for name in ("endTime", "sortField", "sortOrder") if query.text(name)]
        if given:
            raise RefusedError(400, f"The parameter '{given[0]}' cannot be used with the search mode '{mode}'.")
        field, descending = WALKING_MODES[mode]
        return replace(search, times=TimeLimits.of(mode, start), sort_field=field, descending=descending)
    end = parse_time(query.text("endTime"), now=now, zone=service.zone())
    if end < start:
        raise RefusedError(400, "The parameter 'startTime' must be less than or equal to 'endTime'.")
    return replace(
        search,
        times=TimeLimits.of(mode, start, end),
        sort_field=query.choice("sortField", tuple(SORT_FIELDS), "Name"),
        descending=query.choice("sortOrder", ("Ascending", "Descending"), "Ascending") == "Descending",
    )


_FRAME_FILTERS = (
    ("nameFilter", "Name"),
    ("templateName", "Template"),
    ("categoryName", "Category"),
    ("canBeAcknowledged", "CanBeAcknowledged"),
    ("isAcknowledged", "IsAcknowledged"),
)
_ELEMENT_FILTERS = (
    ("referencedElementNameFilter", "ElementName"),
    ("referencedElementTemplateName", "ElementTemplate"),
)
_OWNER_FILTERS = (
    ("eventFrameNameFilter", "Name"),
    ("eventFrameDescriptionFilter", "Description"),
    ("eventFrameTemplate", "Template"),
    ("eventFrameCategory", "Category"),
    ("referencedElementNameFilter", "ElementName"),
)


def _frame_conditions(
    call: Call, database: AssetDatabase, parameters: Iterable[tuple[str, str]]
) -> tuple[FrameCondition, ...]:
    """The conditions of filter parameters, given with the field that each is about; absent ones ask nothing.

    Raises:
        RefusedError: 400 for a template, category or severity that does not exist.
    """
    found = []
    for parameter, field in parameters:
        text = call.query.text(parameter)
        if text is not None:
            is_flag = field in ("CanBeAcknowledged", "IsAcknowledged")
            found.append(FrameCondition(field, (call.query.boolean(parameter) if is_flag else text,)))
            check_name(database, field, text)
    return tuple(found)


def _severities(call: Call) -> tuple[FrameCondition, ...]:
    known = {severity.lower(): severity for severity in SEVERITIES}
    wanted = [text for text in call.query.all("severity") if text]
    for text in wanted:
        if text.lower() not in known:
            raise RefusedError(400, f"The value '{text}' is not valid for the parameter 'severity'.")
    return (FrameCondition("Severity", tuple(known[text.lower()] for text in wanted)),) if wanted else ()


def check_name(database: AssetDatabase, field: str, name: str) -> None:
    """Refuse a template or category that the database does not have, as for elements.

    Raises:
        RefusedError: 400, it does not exist.
    """
    field = "Template" if field == "ElementTemplate" else field
    check_conditions(database, [Condition(field, (name,))], "element")


def _list_of_database(service: Service, call: Call) -> object:
    """`GET assetdatabases/{webId}/eventframes`."""
    database = find_database(service, call, service.parse_web_id(call.params["webId"], "RD"))
    conditions = _frame_conditions(call, database, (*_FRAME_FILTERS, *_ELEMENT_FILTERS)) + _severities(call)
    search = FrameSearch(conditions=conditions, all_descendants=call.query.boolean("searchFullHierarchy"))
    return _page(service, call, database, frames_of(service, call, database), _timed(service, call, search))


def _list_of_element(service: Service, call: Call) -> object:
    """`GET elements/{webId}/eventframes`: those that refer to it, at any place of the hierarchy."""
    database, number = find_element(service, call, service.parse_web_id(call.params["webId"], "Em"))
    about = FrameCondition("Element", (database.element(number).id,))
    conditions = (about, *_frame_conditions(call, database, _FRAME_FILTERS), *_severities(call))
    search = FrameSearch(conditions=conditions, all_descendants=True)
    return _page(service, call, database, frames_of(service, call, database), _timed(service, call, search))


def _list_children(service: Service, call: Call) -> object:
    """`GET eventframes/{webId}/eventframes`."""
    database, view, frame = _one(service, call)
    conditions = _frame_conditions(call, database, (*_FRAME_FILTERS, *_ELEMENT_FILTERS)) + _severities(call)
    is_full = call.query.boolean("searchFullHierarchy")
    search = FrameSearch(conditions=conditions, root=frame.id, all_descendants=is_full)
    return _page(service, call, database, view, _timed(service, call, search))


class _Context:
    """What a query can ask about the server: times, elements, frames and names."""

    def __init__(self, service: Service, call: Call, database: AssetDatabase) -> None:
        self._service, self._call, self._database = service, call, database

    def time(self, text: str) -> Ticks:
        return parse_time(text, now=self._service.settings.now(), zone=self._service.zone())

    def element(self, path: str) -> UUID:
        database, number = element_at(self._service, self._call, path)
        return database.element(number).id

    def frame(self, path: str) -> UUID:
        return frame_at(self._service, self._call, path).frame.id

    def check_name(self, kind: str, name: str) -> None:
        check_name(self._database, kind, name)


def _search(service: Service, call: Call) -> object:
    """`GET eventframes/search`."""
    database = find_database(service, call, service.parse_web_id(call.query.required("databaseWebId"), "RD"))
    search = parse_query(call.query.text("query") or "", _Context(service, call, database))
    return _page(service, call, database, frames_of(service, call, database), search)


def _get(service: Service, call: Call) -> object:
    """`GET eventframes/{webId}`."""
    return _body(service, call, _one(service, call))


def _by_path(service: Service, call: Call) -> object:
    """`GET eventframes?path=`."""
    return _body(service, call, frame_at(service, call, call.query.required("path")))


def _get_multiple(service: Service, call: Call) -> object:
    """`GET eventframes/multiple`."""

    def by_web_id(text: str) -> object:
        return _body(service, call, find_frame(service, call, service.parse_web_id(text, "Fm")))

    return multiple(service, call, by_web_id, lambda path: _body(service, call, frame_at(service, call, path)))


def _list_attributes(service: Service, call: Call) -> object:
    """`GET eventframes/{webId}/attributes`."""
    found = _one(service, call)
    return list_of_owner(service, call, found.owner, found.frame.attributes)


def _find_attributes(service: Service, call: Call) -> object:
    """`GET assetdatabases/{webId}/eventframeattributes` and `eventframes/{webId}/eventframeattributes`."""
    is_full = call.query.boolean("searchFullHierarchy")
    search = FrameSearch(all_descendants=is_full)
    if call.path.lower().startswith("assetdatabases"):
        database = find_database(service, call, service.parse_web_id(call.params["webId"], "RD"))
        view = frames_of(service, call, database)
    else:
        database, view, frame = _one(service, call)
        search = replace(search, root=frame.id)
    wanted = conditions(call, FOUND_FILTERS)
    check_conditions(database, wanted, "attribute")
    search = replace(search, conditions=_frame_conditions(call, database, _OWNER_FILTERS))
    shown = service.settings.searches_excluded
    places = view.search_attributes(
        database,
        _timed(service, call, search),
        AttributeFilter(wanted, nested=is_full, hidden=shown, excluded=shown),
        wanted_order(call),
    )
    written = bodies(service, call)

    def owned(start: int, end: int) -> Iterator[tuple[Owner, Attribute]]:
        for place, at in places[start:end]:
            frame = view.at(place)
            yield frame_owner(database, view, frame), frame.attributes[at]

    return page(
        service, call, len(places), lambda start, end, selected: written.attributes(owned(start, end), selected)
    )


def _list_referenced(service: Service, call: Call) -> object:
    """`GET eventframes/{webId}/referencedelements`."""
    database, _, frame = _one(service, call)
    numbers = [number for number in map(database.number_of, frame.elements) if number is not None]
    selected = call.selected.at("Items")
    items = bodies(service, call).elements(database, numbers, selected) if selected is not None else []
    return {"Links": {}, "Items": items}


def _list_categories(service: Service, call: Call) -> object:
    """`GET eventframes/{webId}/categories`."""
    database, _, frame = _one(service, call)
    written = bodies(service, call)
    names = frame.category_names
    return {"Links": {}, "Items": [written.category(database, name, of_attributes=False) for name in names]}


def _list_annotations(service: Service, call: Call) -> object:
    """`GET eventframes/{webId}/annotations`."""
    database, view, frame = _one(service, call)
    writer = _writer(service, call, database, view)
    return {"Links": {}, "Items": [writer.annotation(frame, annotation) for annotation in frame.annotations]}


def _get_annotation(service: Service, call: Call) -> object:
    """`GET eventframes/{webId}/annotations/{id}`."""
    database, view, frame = _one(service, call)
    for annotation in frame.annotations:
        if str(annotation.id) == call.params["id"].lower():
            return _writer(service, call, database, view).annotation(frame, annotation)
    raise service.not_found("annotation")


def _create_annotation(service: Service, call: Call) -> object:
    """`POST eventframes/{webId}/annotations`."""
    found = _one(service, call)
    order = call.json()
    if not isinstance(order, dict) or not order.get("Name"):
        raise RefusedError(400, "The annotation needs a Name.")
    at, by = service.settings.now(), _writing_user(call)
    changed = service.event_frames.annotate(
        found.frame.id, str(order.get("Value", "")), at=at, name=str(order["Name"]), by=by
    )
    writer = _writer(service, call, found.database, found.view)
    own = call.link("eventframes", writer.web_id(changed), "annotations", str(changed.annotations[-1].id))
    return Reply(201, None, {"Location": own})


def _acknowledge(service: Service, call: Call) -> object:
    """`PATCH eventframes/{webId}/acknowledge`."""
    found = _one(service, call)
    try:
        service.event_frames.acknowledge(found.frame.id, at=service.settings.now(), by=_writing_user(call))
    except ValueError as error:
        raise RefusedError(409, f"The request cannot be fulfilled: {error}.") from error
    return Reply(204)


def _writing_user(call: Call) -> str:
    return rf"PLANT\{call.user or 'anonymous'}"


ROUTES = (
    Route("GET", "assetdatabases/{webId}/eventframes", _list_of_database),
    Route("GET", "assetdatabases/{webId}/eventframeattributes", _find_attributes),
    Route("GET", "elements/{webId}/eventframes", _list_of_element),
    Route("GET", "eventframes", _by_path),
    Route("GET", "eventframes/multiple", _get_multiple),
    Route("GET", "eventframes/search", _search, is_search=True),
    Route("GET", "eventframes/{webId}", _get),
    Route("GET", "eventframes/{webId}/eventframes", _list_children),
    Route("GET", "eventframes/{webId}/attributes", _list_attributes),
    Route("GET", "eventframes/{webId}/eventframeattributes", _find_attributes),
    Route("GET", "eventframes/{webId}/referencedelements", _list_referenced),
    Route("GET", "eventframes/{webId}/categories", _list_categories),
    Route("GET", "eventframes/{webId}/annotations", _list_annotations),
    Route("GET", "eventframes/{webId}/annotations/{id}", _get_annotation),
    Route("POST", "eventframes/{webId}/annotations", _create_annotation, writes=True),
    Route("PATCH", "eventframes/{webId}/acknowledge", _acknowledge, writes=True),
)
