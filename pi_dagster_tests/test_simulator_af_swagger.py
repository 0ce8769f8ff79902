"""Assets as the simulator prints them are what the vendor's OpenAPI file describes."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlencode

import pytest
from jsonschema import Draft4Validator

from pi_dagster.simulator import (
    SimulatorSettings,
    af_attribute_routes,
    af_database_routes,
    af_element_routes,
    af_security,
    enumerations,
    streams,
    streamsets,
)
from pi_dagster.simulator.routes import ROUTES
from pi_dagster.simulator.service import Route, Service
from pi_dagster_tests.planted_archive import NOON, READ_ALL, planted_archive
from pi_dagster_tests.planted_assets import Assets, planted_assets, planted_tree
from pi_dagster_tests.test_simulator_swagger import (
    WatchedCall,
    WatchedQuery,
    name_of,
    operations,
    schema_of,
    strict_definitions,
    swagger,
)

__all__ = ["swagger"]

ALSO = [route for route in (*enumerations.ROUTES, *streams.ROUTES, *streamsets.ROUTES) if "{webId}" in route.template]
CASES = [
    pytest.param(route, id=name_of(route))
    for route in (
        *af_database_routes.ROUTES,
        *af_element_routes.ROUTES,
        *af_attribute_routes.ROUTES,
        *af_security.ROUTES,
        *ALSO,
    )
]

DATABASE = r"\\AFSIM\Plant"
PUMP = rf"{DATABASE}\Site 1\Unit A\[Pump | 1]"
PATHS = {
    "assetdatabases": [DATABASE],
    "elements": [PUMP, rf"{DATABASE}\Site 1", rf"{DATABASE}\Unit B", rf"{DATABASE}\Site 1\Unit A\Valve"],
    "attributes": [f"{PUMP}|Flow", f"{PUMP}|Serial Number"],
    "elementtemplates": [rf"{DATABASE}\ElementTemplates[Pump]", rf"{DATABASE}\ElementTemplates[Asset]"],
    "attributetemplates": [
        rf"{DATABASE}\ElementTemplates[Pump]|Flow",
        rf"{DATABASE}\ElementTemplates[Asset]|Serial Number",
    ],
    "elementcategories": [rf"{DATABASE}\ElementCategories[Places]"],
    "attributecategories": [rf"{DATABASE}\AttributeCategories[Nameplate]"],
    "enumerationsets": [rf"{DATABASE}\EnumerationSets[Mode]"],
    "streams": [f"{PUMP}|Flow"],
    "streamsets": [PUMP, rf"{DATABASE}\Site 1\Unit A\Valve"],
}
"""Of each controller some objects; what one of them does not have another does."""


@pytest.fixture(scope="module")
def plant() -> Iterator[Assets]:
    with planted_assets() as planted:
        yield planted


def web_ids_of(plant: Assets, controller: str) -> list[str]:
    finder = {"streams": "attributes", "streamsets": "elements"}.get(controller, controller)
    return [plant.json(finder, path=path, webIdType="IDOnly")["WebId"] for path in PATHS[controller]]


def subjects_of(plant: Assets, route: Route) -> list[str]:
    controller = route.template.split("/")[0]
    if controller in ("dataservers", "assetservers"):
        return [plant.json(controller, webIdType="IDOnly")["Items"][0]["WebId"]]
    if controller == "enumerationvalues":
        (mode,) = web_ids_of(plant, "enumerationsets")
        return [value["WebId"] for value in plant.json(f"enumerationsets/{mode}/enumerationvalues")["Items"]]
    if route.template == "attributes/{webId}/value":
        return [plant.json("attributes", path=f"{PUMP}|{name}")["WebId"] for name in ("Mode", "Efficiency")]
    return web_ids_of(plant, controller)


def requests_of(plant: Assets, route: Route) -> list[tuple[str, dict[str, Any]]]:
    """Paths of a route with the parameters that it needs."""
    controller, *rest = route.template.split("/")
    verb = rest[-1] if rest else ""
    params: dict[str, Any] = {}
    if controller in ("elements", "attributes", "assetdatabases"):
        params = {"associations": "Paths;DataReference", "searchFullHierarchy": True, "showHidden": True}
    if verb == "search":
        params |= {"databaseWebId": web_ids_of(plant, "assetdatabases"), "query": "Name:*"}
    elif verb == "multiple":
        params |= {"webId": web_ids_of(plant, controller), "path": [*PATHS[controller], rf"{PUMP}\Nope|Nope"]}
    elif not rest and controller != "assetservers":
        params |= {"path": PATHS[controller][0]}
    elif verb in ("recordedattime", "recordedattimes"):
        params = {"time": "2024-06-15T11:00:00Z"}
    elif verb in ("recorded", "interpolated", "plot", "summary"):
        params = {**READ_ALL, "summaryType": "Count"}
    if "{webId}" not in route.template:
        return [(route.template, params)]
    return [(route.template.format(webId=subject), params) for subject in subjects_of(plant, route)]


@pytest.mark.parametrize("route", CASES)
def test_the_vendor_has_every_parameter_the_server_looks_for(swagger: Any, plant: Assets, route: Route) -> None:
    documented = {
        parameter["name"].lower() for operation in operations(swagger, route) for parameter in operation["parameters"]
    }
    service = Service(planted_archive(), SimulatorSettings(now=lambda: NOON), ROUTES, [planted_tree()[0]])
    WatchedQuery.looked_for = set()
    for path, params in requests_of(plant, route):
        query = urlencode(params, doseq=True)
        asyncio.run(service.answer(WatchedCall(route.method, path, query, "http://h/piwebapi")))
    assert WatchedQuery.looked_for - documented <= {"webid"}


@pytest.mark.parametrize("form", ["Full", "IDOnly"])
@pytest.mark.parametrize("route", CASES)
def test_every_body_is_what_the_vendor_says(swagger: Any, plant: Assets, route: Route, form: str) -> None:
    definitions = strict_definitions(swagger)
    definitions["AttributeTemplate"]["properties"]["DefaultValue"] = {}
    shows_something = False
    for path, params in requests_of(plant, route):
        answer = plant.get(path, webIdType=form, **params)
        assert answer.status_code in (200, 207), answer.text
        body = answer.json()
        shows_something |= bool(body.get("Items", True))
        schema = {**schema_of(swagger, route, answer.status_code), "definitions": definitions}
        errors = list(Draft4Validator(schema).iter_errors(body))
        assert not errors, [(list(error.absolute_path), error.message, error.context) for error in errors[:3]]
    assert shows_something
