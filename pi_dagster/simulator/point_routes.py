"""Points: listing, looking up, searching, and their raw attributes.

Source: PI Web API reference, controllers `dataserver` (action `getpoints`) and `point`, topic
`pipoint-search-query-syntax`.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable
from urllib.parse import quote

from pi_dagster.simulator.archive import name_pattern
from pi_dagster.simulator.calls import Call, RefusedError, Reply
from pi_dagster.simulator.dataservers import check_data_server, server_name_in
from pi_dagster.simulator.points import Point
from pi_dagster.simulator.service import Route, Service, page_links
from pi_dagster.simulator.stream_lookup import find_point, point_path, point_web_id
from pi_dagster.webid import data_server_webid

SEARCH_MAX_COUNT = 1000
"""`points/search` returns no more than this, whatever the server's configuration."""

_SEARCHED = {
    "tag": "tag",
    "name": "tag",
    "descriptor": "descriptor",
    "pointtype": "pointtype",
    "pointclass": "ptclassname",
    "pointsource": "pointsource",
    "engunits": "engunits",
    "digitalset": "digitalset",
    "pointid": "pointid",
    "step": "step",
    "future": "future",
}
_TERM = re.compile(r"""(?:(\w+):(=|<>))?("[^"]*"|'[^']*'|(?:\\.|[^\s"'])+)""")


def point_body(service: Service, call: Call, point: Point) -> dict[str, object]:
    """A point as the vendor's `Point`."""
    web_id = service.write_web_id(point_web_id(service, point), call)
    archive = service.archive
    server = service.write_web_id(data_server_webid(archive.server_id, archive.server_name), call)
    own, stream = call.link("points", web_id), call.link("streams", web_id)
    return {
        **point.body(web_id, point_path(service, point)),
        "Links": {
            "Self": own,
            "DataServer": call.link("dataservers", server),
            "Attributes": f"{own}/attributes",
            "InterpolatedData": f"{stream}/interpolated",
            "RecordedData": f"{stream}/recorded",
            "PlotData": f"{stream}/plot",
            "SummaryData": f"{stream}/summary",
            "Value": f"{stream}/value",
            "EndValue": f"{stream}/end",
        },
    }


def list_points(service: Service, call: Call) -> object:
    """`GET /dataservers/{webId}/points`."""
    check_data_server(service, call.params["webId"])
    start, count = call.query.whole("startIndex", 0), service.max_count(call)
    name_filter, source = call.query.text("nameFilter"), call.query.text("sourceFilter")
    if source is None:
        found = service.archive.points(name_filter, start, count + 1)
    else:
        from_source = name_pattern(source).match
        matching = (p for p in service.archive.points(name_filter) if from_source(p.point_source))
        found = list(itertools.islice(matching, start, start + count + 1))
    return _page(service, call, found, start, count)


def _page(service: Service, call: Call, found: list[Point], start: int, count: int) -> dict[str, object]:
    links = page_links(call, start, count, more=len(found) > count)
    return {"Links": links, "Items": [point_body(service, call, point) for point in found[:count]]}


def _point_at(service: Service, path: str) -> Point:
    tag = path.lstrip("\\").partition("\\")[2]
    point = service.archive.point_by_name(tag) if tag else None
    if point is None or server_name_in(path).upper() != service.archive.server_name.upper():
        raise service.not_found("PI Point")
    return point


def point_by_path(service: Service, call: Call) -> object:
    r"""`GET /points?path=\\SERVER\TAG`."""
    return point_body(service, call, _point_at(service, call.query.required("path")))


def get_point(service: Service, call: Call) -> object:
    """`GET /points/{webId}`."""
    return point_body(service, call, find_point(service, service.parse_web_id(call.params["webId"], "DP")))


def get_multiple(service: Service, call: Call) -> object:
    """`GET /points/multiple`: 207 where some of the points could not be had."""
    modes = ("All", "ItemsWithExceptionOnly", "ItemsWithoutExceptionOnly")
    mode = call.query.choice("includeMode", modes, "All")
    identifiers = [(web_id, "WebId") for web_id in call.query.all("webId")]
    identifiers += [(path, "Path") for path in call.query.all("path")]
    if not identifiers:
        raise RefusedError(400, "At least one 'webId' or 'path' is required.")
    service.within_limit("webId", len(identifiers))
    items = [_point_item(service, call, identifier, kind) for identifier, kind in identifiers]
    failed = any("Exception" in item for item in items)
    unwanted = {modes[1]: "Object", modes[2]: "Exception"}.get(mode)
    return Reply(207 if failed else 200, {"Links": {}, "Items": [i for i in items if unwanted not in i]})


def _point_item(service: Service, call: Call, identifier: str, kind: str) -> dict[str, object]:
    item: dict[str, object] = {"Identifier": identifier, "IdentifierType": kind}
    try:
        if kind == "Path":
            point = _point_at(service, identifier)
        else:
            point = find_point(service, service.parse_web_id(identifier, "DP"))
        return {**item, "Object": point_body(service, call, point)}
    except RefusedError as refusal:
        return {**item, "Exception": refusal.body}


def search(service: Service, call: Call) -> object:
    """`GET /points/search`, of PI Web API 2021 SP3 and later."""
    check_data_server(service, call.query.required("dataServerWebId"))
    start, count = call.query.whole("startIndex", 0), call.query.whole("maxCount", SEARCH_MAX_COUNT)
    if count > SEARCH_MAX_COUNT:
        raise RefusedError(400, f"Parameter (maxCount) is greater than the maximum allowed ({SEARCH_MAX_COUNT})")
    matches = _search_filter(call)
    matching = (point for point in service.archive.points() if matches(point))
    found = list(itertools.islice(matching, start, start + count + 1))
    return _page(service, call, found, start, count)


def _search_filter(call: Call) -> Callable[[Point], bool]:
    query = call.query.required("query")
    option = call.query.choice("searchOption", ("1", "2", "3", "4"), "2" if ":" in query or "*" in query else "1")
    also_descriptor = call.query.boolean("searchNameAndDescriptor")
    alternatives = []
    for alternative in re.split(r"\s+OR\s+", query):
        terms = [_term(match, option, also_descriptor) for match in _TERM.finditer(alternative) if match[0] != "AND"]
        if not terms:
            raise RefusedError(400, f"The query '{query}' could not be understood.")
        alternatives.append(terms)
    return lambda point: any(all(term(point) for term in terms) for terms in alternatives)


def _term(match: re.Match[str], option: str, also_descriptor: bool) -> Callable[[Point], bool]:
    attribute, operator, text = match[1], match[2], match[3].strip("\"'")
    attributes = ["tag", "descriptor"] if also_descriptor and attribute is None else [attribute or "tag"]
    unknown = next((name for name in attributes if name.lower() not in _SEARCHED), None)
    if unknown is not None:
        raise RefusedError(400, f"The query attribute '{unknown}' is not supported.")
    text = re.sub(r"\\(.)", r"\1", text)
    if attribute is None:
        text = {"1": f"*{text}*", "2": text, "3": f"{text}*", "4": f"*{text}"}[option]
    pattern = name_pattern(text)
    names = [_SEARCHED[name.lower()] for name in attributes]

    def holds(point: Point) -> bool:
        found = any(pattern.match(str(point.attributes[name])) for name in names)
        return found != (operator == "<>")

    return holds


def list_attributes(service: Service, call: Call) -> object:
    """`GET /points/{webId}/attributes`."""
    point = find_point(service, service.parse_web_id(call.params["webId"], "DP"))
    names = [name.lower() for name in call.query.all("name")] or list(point.attributes)
    unknown = [name for name in names if name not in point.attributes]
    if unknown:
        raise RefusedError(400, f"The attribute '{unknown[0]}' does not exist.")
    matches = name_pattern(call.query.text("nameFilter") or "*").match
    return {"Links": {}, "Items": [_attribute(service, call, point, name) for name in names if matches(name)]}


def get_attribute(service: Service, call: Call) -> object:
    """`GET /points/{webId}/attributes/{name}`."""
    point = find_point(service, service.parse_web_id(call.params["webId"], "DP"))
    name = call.params["name"].lower()
    if name not in point.attributes:
        raise service.not_found("point attribute")
    return _attribute(service, call, point, name)


def _attribute(service: Service, call: Call, point: Point, name: str) -> dict[str, object]:
    own = call.link("points", service.write_web_id(point_web_id(service, point), call))
    links = {"Self": f"{own}/attributes/{quote(name)}", "Point": own}
    return {"Name": name, "Value": point.attributes[name], "Links": links}


ROUTES = (
    Route("GET", "dataservers/{webId}/points", list_points),
    Route("GET", "points", point_by_path),
    Route("GET", "points/multiple", get_multiple),
    Route("GET", "points/search", search, is_search=True),
    Route("GET", "points/{webId}", get_point),
    Route("GET", "points/{webId}/attributes", list_attributes),
    Route("GET", "points/{webId}/attributes/{name}", get_attribute),
)
