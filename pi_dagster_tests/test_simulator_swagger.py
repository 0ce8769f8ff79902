"""Everything the simulator serves is what the vendor's OpenAPI file describes, or is listed here as an exception."""

from __future__ import annotations

import asyncio
import copy
import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
from jsonschema import Draft4Validator

from pi_dagster.simulator import (
    SimulatorSettings,
    af_attribute_routes,
    af_database_routes,
    af_element_routes,
    event_frame_routes,
    stream_updates,
)
from pi_dagster.simulator.calls import Call, Query
from pi_dagster.simulator.routes import ROUTES
from pi_dagster.simulator.service import Route, Service
from pi_dagster_tests.planted_archive import (
    FLOW,
    NOON,
    NOTE,
    READ_ALL,
    TIES,
    VALVE_TAG,
    Client,
    planted,
    planted_archive,
    server_web_id,
    web_id,
)

SWAGGER = Path(__file__).parents[2] / "shared" / "reference" / "piwebapi-2018sp1-swagger.json"

NEWER_ROUTES = {"GET points/search"}
"""Actions that came after 2018 SP1: `points/search` is of 2021 SP3."""

NEWER_PARAMETERS = {("GET dataservers/{webId}/points", "sourcefilter")}
"""Parameters that came after 2018 SP1."""

UNLISTED_PROPERTIES = {"ExtendedTimedValues": {"Links"}, "TimedValues": {"Links"}}
"""Properties that real servers print and the file leaves out."""

OTHER_DEFINITIONS = {"GET streamsets/end": "Items[StreamValue]"}
"""The file says a list of `StreamValues`; like `streamsets/value` it carries one value a stream."""

FREE_PROPERTIES = {"Value", "Content"}
"""Called `object` in the file, where any JSON may stand."""

OPTIONAL_PROPERTIES = {
    "WebException", "Errors", "Exception", "Annotations", "Object", "Description", "Parent", "Previous", "Next", "Last",
    "First", "Database", "Security", "SecurityEntries", "CacheInstances", "Configuration", "Links",
    "SerializeDescription", "SerializeId", "SerializeLinks", "SerializePath", "SerializeWebId",
}  # fmt: skip
"""What need not be in a body: errors, neighbours of a page, and links to what is not simulated."""

OPTIONAL_OF = {
    "EnumerationSetLinks": {"DataServer"},
    "AssetServerLinks": {
        "AnalysisRulePlugIns", "NotificationContactTemplates", "NotificationPlugIns", "SecurityIdentities",
        "SecurityMappings", "TimeRulePlugIns", "UnitClasses",
    },
    "AssetDatabaseLinks": {"AnalysisCategories", "AnalysisTemplates", "TableCategories", "Tables"},
    "ElementLinks": {"Analyses", "NotificationRules", "DefaultAttribute", "Template"},
    "Element": {"Paths"},
    "AttributeLinks": {
        "Element", "EventFrame", "EnumerationSet", "EnumerationValues", "Point", "Template", "Trait",
        "InterpolatedData", "RecordedData", "PlotData", "SummaryData", "EndValue",
    },
    "Attribute": {"Paths", "DataReference"},
    "DataReference": {"PIPoint"},
    "ElementTemplateLinks": {"AnalysisTemplates", "BaseTemplate", "DefaultAttribute", "NotificationRuleTemplates"},
    "AttributeTemplateLinks": {"Trait"},
}  # fmt: skip
"""What need not be in objects of one kind: links to what the object does not have, associations, the unsimulated."""


@pytest.fixture(scope="module")
def swagger() -> Any:
    if not SWAGGER.exists():
        pytest.skip(f"the vendor's OpenAPI file is not in ../shared/reference: {SWAGGER}")
    return json.loads(SWAGGER.read_text())


@pytest.fixture(scope="module")
def pi() -> Iterator[Client]:
    with planted() as client:
        yield client


def operations(swagger: Any, route: Route) -> list[Any]:
    """The operations of a route: the file writes one path once for each set of required parameters, after a `#`."""
    path = "/" + route.template
    return [
        methods[route.method.lower()]
        for template, methods in swagger["paths"].items()
        if template.split("#")[0] == path and route.method.lower() in methods
    ]


def name_of(route: Route) -> str:
    return f"{route.method} {route.template}"


TESTED_APART = (
    *af_database_routes.ROUTES,
    *af_element_routes.ROUTES,
    *af_attribute_routes.ROUTES,
    *event_frame_routes.ROUTES,
    *stream_updates.ROUTES,
)
"""Those of assets and event frames, for which more must be planted, and of updates, which need a marker."""

ALL_ROUTES = [pytest.param(route, id=name_of(route)) for route in ROUTES]
ROUTES_HERE = [pytest.param(route, id=name_of(route)) for route in ROUTES if route not in TESTED_APART]


@pytest.mark.parametrize("route", ALL_ROUTES)
def test_the_vendor_has_the_route(swagger: Any, route: Route) -> None:
    assert bool(operations(swagger, route)) is not (name_of(route) in NEWER_ROUTES)


SUBJECTS = {
    "assetdatabases/{webId}": ["DATABASE"],
    "dataservers/{webId}": [server_web_id()],
    "enumerationsets/{webId}": ["SET"],
    "enumerationvalues/{webId}": ["STATE"],
    "points/{webId}": [web_id(FLOW), web_id(VALVE_TAG)],
    "streams/{webId}": [web_id(p) for p in (FLOW, VALVE_TAG, NOTE, TIES)],
    "streamsets/{webId}": ["UNIT"],
}
"""What to put for the WebID of a path; capitals are looked up on the running server."""

PARAMETERS: dict[str, dict[str, Any]] = {
    "points": {"path": r"\\PISIM\BLR01.FLOW"},
    "points/multiple": {"webId": web_id(FLOW), "path": [r"\\PISIM\NOPE"]},
    "points/search": {"dataServerWebId": server_web_id(), "query": "BLR"},
    "enumerationsets": {"path": r"\\PISIM\VALVE"},
}


def parameters(route: Route) -> dict[str, Any]:
    found = dict(PARAMETERS.get(route.template, {}))
    verb = route.template.rpartition("/")[2]
    if route.method == "GET" and route.template.startswith("stream"):
        if verb in ("recorded", "interpolated", "plot", "summary"):
            found.update(READ_ALL)
        if verb in ("recordedattime", "recordedattimes"):
            found["time"] = "2024-06-15T11:00:00Z"
        if verb == "summary":
            found["summaryType"] = "Count"
        if route.template.startswith("streamsets/") and "{" not in route.template:
            found["webId"] = [web_id(FLOW), web_id(NOTE)]
    return found


def body(route: Route) -> Any:
    value = {"Timestamp": "2024-06-15T11:59:30Z", "Value": 1}
    bad = {"Timestamp": "2024-06-15T11:59:30Z", "Value": "text"}
    return {
        "streams/{webId}/value": value,
        "streams/{webId}/recorded": [value, bad],
        "streamsets/value": [{"WebId": web_id(TIES), "Value": bad}],
        "streamsets/recorded": [{"WebId": web_id(TIES), "Items": [value, bad]}],
        "batch": {
            "1": {"Method": "GET", "Resource": "/piwebapi/system"},
            "2": {"Method": "GET", "Resource": "/piwebapi/nope"},
            "3": {"Method": "GET", "Resource": "/piwebapi/nope", "ParentIds": ["2"]},
        },
    }[route.template]


def paths(pi: Client, route: Route) -> list[str]:
    prefix = "/".join(route.template.split("/")[:2])
    sets = pi.json(f"dataservers/{server_web_id()}/enumerationsets")["Items"]
    states = pi.session.get(sets[0]["Links"]["Values"], timeout=10).json()["Items"]
    unit = pi.json("elements", path=r"\\AFSIM\Plant\Boilers\BLR01", webIdType="IDOnly")["WebId"]
    database = pi.json("assetdatabases", path=r"\\AFSIM\Plant", webIdType="IDOnly")["WebId"]
    found = {"SET": sets[0]["WebId"], "STATE": states[0]["WebId"], "UNIT": unit, "DATABASE": database}
    subjects = SUBJECTS.get(prefix, [""]) if "{webId}" in route.template else [""]
    if route.method == "POST":
        subjects = subjects[-1:]
    return [route.template.format(webId=found.get(subject, subject), name="descriptor") for subject in subjects]


@dataclass(frozen=True)
class WatchedCall(Call):
    """A call that notes which parameters the server looks for."""

    @cached_property
    def query(self) -> Query:
        return WatchedQuery(self.query_text)


class WatchedQuery(Query):
    looked_for: set[str]

    def __init__(self, text: str) -> None:
        super().__init__(text)

    def all(self, name: str) -> list[str]:
        WatchedQuery.looked_for.add(name.lower())
        return super().all(name)


@pytest.mark.parametrize("route", ROUTES_HERE)
def test_the_vendor_has_every_parameter_the_server_looks_for(swagger: Any, pi: Client, route: Route) -> None:
    if name_of(route) in NEWER_ROUTES:
        return
    documented = {
        parameter["name"].lower() for operation in operations(swagger, route) for parameter in operation["parameters"]
    }
    service = Service(planted_archive(), SimulatorSettings(now=lambda: NOON), ROUTES)
    WatchedQuery.looked_for = set()
    for path in paths(pi, route):
        query = urlencode(parameters(route), doseq=True)
        content = json.dumps(body(route)).encode() if route.method == "POST" else b""
        asyncio.run(service.answer(WatchedCall(route.method, path, query, "http://h/piwebapi", body=content)))
    anywhere = {"webid"}  # what a fault may be about is looked for on every route
    undocumented = WatchedQuery.looked_for - documented - anywhere
    exceptions = {name for listed, name in NEWER_PARAMETERS if listed == name_of(route)}
    assert undocumented <= exceptions


def strict_definitions(swagger: Any) -> Any:
    """The file's definitions, without room for other properties, and with all that is not optional required."""
    definitions = copy.deepcopy(swagger["definitions"])
    for name, definition in definitions.items():
        properties = definition.get("properties")
        if not properties:
            continue
        for unlisted in UNLISTED_PROPERTIES.get(name, ()):
            properties[unlisted] = {"type": "object", "additionalProperties": False}
        for free in FREE_PROPERTIES & set(properties):
            if properties[free].get("type") == "object":
                properties[free] = {}
        definition["additionalProperties"] = False
        required = sorted(set(properties) - OPTIONAL_PROPERTIES - OPTIONAL_OF.get(name, set()))
        if required:
            definition["required"] = required
    return definitions


def schema_of(swagger: Any, route: Route, status: int) -> Any:
    if name_of(route) in NEWER_ROUTES:
        return {"$ref": "#/definitions/Items[Point]"}
    if name_of(route) in OTHER_DEFINITIONS:
        return {"$ref": f"#/definitions/{OTHER_DEFINITIONS[name_of(route)]}"}
    alternatives = [operation["responses"][str(status)].get("schema") for operation in operations(swagger, route)]
    return {"anyOf": alternatives} if None not in alternatives else {}


@pytest.mark.parametrize("form", ["Full", "IDOnly"])
@pytest.mark.parametrize("route", ROUTES_HERE)
def test_every_body_is_what_the_vendor_says(swagger: Any, pi: Client, route: Route, form: str) -> None:
    for path in paths(pi, route):
        if route.method == "POST":
            answer = pi.post(path, body(route))
        else:
            answer = pi.get(path, webIdType=form, **parameters(route))
        assert answer.status_code in (200, 204, 207), answer.text
        if not answer.content:
            continue
        schema = {**schema_of(swagger, route, answer.status_code), "definitions": strict_definitions(swagger)}
        errors = list(Draft4Validator(schema).iter_errors(answer.json()))
        assert not errors, [(list(error.absolute_path), error.message, error.context) for error in errors[:3]]


def test_refusals_are_the_vendors_errors(swagger: Any, pi: Client) -> None:
    schema = {"$ref": "#/definitions/Errors", "definitions": strict_definitions(swagger)}
    for path in ("points/F1DPbogus", "streams/F1DPbogus/recorded", "streamsets/recorded"):
        Draft4Validator(schema).validate(pi.get(path).json())
