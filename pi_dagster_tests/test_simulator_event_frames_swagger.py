"""Event frames as the simulator prints them are what the vendor's OpenAPI file describes."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlencode

import pytest
from jsonschema import Draft4Validator

from pi_dagster.simulator import SimulatorSettings, event_frame_routes, streamsets
from pi_dagster.simulator.routes import ROUTES
from pi_dagster.simulator.service import Route, Service
from pi_dagster_tests.planted_archive import FLOW, HOUR, NOON, planted_archive
from pi_dagster_tests.planted_event_frames import (
    Plant,
    frame_web_id,
    plant_frames,
    planted_frames,
    small_database,
)
from pi_dagster_tests.test_simulator_swagger import (
    OPTIONAL_PROPERTIES,
    WatchedCall,
    WatchedQuery,
    name_of,
    operations,
    schema_of,
    strict_definitions,
    swagger,
)

__all__ = ["swagger"]

OPTIONAL_HERE = {"DefaultAttribute", "EnumerationSet", "EnumerationValues", "Trait", "Point", "Element", "Paths"} | {
    "DataReference", "InterpolatedData", "RecordedData", "PlotData", "SummaryData", "EndValue", "Analyses",
    "NotificationRules", "MediaData", "MediaMetadata", "Template", "PrimaryReferencedElement",
}  # fmt: skip
"""What a frame, its attributes or its elements need not have."""

EVENT_FRAME_ROUTES = [
    *event_frame_routes.ROUTES,
    *(route for route in streamsets.ROUTES if "{webId}" in route.template),
]
CASES = [pytest.param(route, id=name_of(route)) for route in EVENT_FRAME_ROUTES]


@pytest.fixture(scope="module")
def plant() -> Iterator[Plant]:
    with planted_frames() as planted:
        frame = planted.frames.open(
            "Trip",
            start=NOON - HOUR,
            template="Unplanned Downtime",
            elements=[planted.pump],
            attributes={"Shift": "Nacht", "Trips": 2},
        )
        planted.frames.open("Open child", start=NOON - HOUR, parent=frame.id)
        planted.frames.annotate(frame.id, "checked", at=NOON)
        planted.frames.open("With tag", start=NOON - HOUR, template="With Tag", attributes={"Flow": FLOW.name})
        yield planted


def frames_of(plant: Plant) -> dict[str, Any]:
    return {frame.name: frame for frame in plant.frames.all_frames()}


def requests_of(plant: Plant, route: Route) -> list[tuple[str, dict[str, Any]]]:
    """Paths of a route with the parameters that it needs."""
    frames = frames_of(plant)
    trip, tagged = frame_web_id(frames["Trip"].id), frame_web_id(frames["With tag"].id)
    note = frames["Trip"].annotations[0].id
    if route.template.startswith("assetdatabases"):
        subjects = [plant.database_path.split("/")[1]]
    elif route.template.startswith("elements"):
        subjects = [plant.json("elements", path=r"\\AFSIM\Plant\Pump 1")["WebId"]]
    else:
        subjects = [trip, tagged] if route.method == "GET" else [trip]
    params: dict[str, Any] = {
        "eventframes": {"path": r"\\AFSIM\Plant\EventFrames[Trip]"},
        "eventframes/multiple": {"webId": [trip], "path": [r"\\AFSIM\Plant\EventFrames[Nope]"]},
        "eventframes/search": {"databaseWebId": plant.database_path.split("/")[1], "query": "Name:*"},
        "streamsets/{webId}/recordedattime": {"time": "2024-06-15T11:00:00Z"},
        "streamsets/{webId}/recordedattimes": {"time": "2024-06-15T11:00:00Z"},
        "streamsets/{webId}/summary": {"summaryType": ["Count", "PercentGood"]},
    }.get(route.template, {})
    if "{webId}" not in route.template:
        subjects = [""]
    if "{id}" in route.template:
        subjects = [trip]
    return [(route.template.format(webId=subject, id=note), params) for subject in subjects]


@pytest.mark.parametrize("route", CASES)
def test_the_vendor_has_every_parameter_the_server_looks_for(swagger: Any, plant: Plant, route: Route) -> None:
    documented = {
        parameter["name"].lower() for operation in operations(swagger, route) for parameter in operation["parameters"]
    }
    database = small_database()
    frames, _, _ = plant_frames(database)
    service = Service(planted_archive(), SimulatorSettings(now=lambda: NOON), ROUTES, [database], frames)
    frames.open("Trip", start=NOON - HOUR, template="Unplanned Downtime")
    WatchedQuery.looked_for = set()
    for path, params in requests_of(plant, route):
        content = json.dumps({"Name": "Note"}).encode() if route.method == "POST" else b""
        query = urlencode(params, doseq=True)
        asyncio.run(service.answer(WatchedCall(route.method, path, query, "http://h/piwebapi", body=content)))
    assert WatchedQuery.looked_for - documented <= {"webid"}


@pytest.mark.parametrize("form", ["Full", "IDOnly"])
@pytest.mark.parametrize("route", CASES)
def test_every_body_is_what_the_vendor_says(swagger: Any, plant: Plant, route: Route, form: str) -> None:
    definitions = strict_definitions(swagger)
    for definition in definitions.values():
        if "required" in definition:
            definition["required"] = sorted(set(definition["required"]) - OPTIONAL_HERE) or ["WebException"]
    for path, params in requests_of(plant, route):
        if route.method == "GET":
            answer = plant.get(path, webIdType=form, **params)
        else:
            url = f"{plant.running.url}/{path}"
            answer = plant.session.request(
                route.method, url, json={"Name": "Note"}, headers={"X-Requested-With": "test"}, timeout=10
            )
        assert answer.status_code in (200, 201, 204, 207), answer.text
        if answer.content:
            schema = {**schema_of(swagger, route, answer.status_code), "definitions": definitions}
            errors = list(Draft4Validator(schema).iter_errors(answer.json()))
            assert not errors, [(list(error.absolute_path), error.message, error.context) for error in errors[:3]]


def test_what_must_be_in_a_body_is_checked(swagger: Any) -> None:
    assert "WebId" in strict_definitions(swagger)["EventFrame"]["required"]
    assert "Security" in OPTIONAL_PROPERTIES
