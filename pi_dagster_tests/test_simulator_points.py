from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import quote

import pytest

from pi_dagster.webid import WebId, WebIdType
from pi_dagster_tests.planted_archive import (
    FLOW,
    ODD_NAME,
    POINTS,
    TIES,
    VALVE,
    Client,
    planted,
    server_web_id,
    web_id,
)


@pytest.fixture(scope="module")
def pi() -> Iterator[Client]:
    with planted() as client:
        yield client


def names(body: dict[str, list[dict[str, object]]]) -> list[object]:
    return [item["Name"] for item in body["Items"]]


def test_the_pages_of_points_end_with_one_that_has_no_next(pi: Client) -> None:
    url: str | None = f"{pi.running.url}/dataservers/{server_web_id()}/points?maxCount=3"
    pages = []
    while url:
        body = pi.session.get(url, timeout=10).json()
        pages.append(names(body))
        url = body["Links"].get("Next")
    assert [len(page) for page in pages] == [3, 3, 1]
    assert [name for page in pages for name in page] == [point.name for point in POINTS]


def test_a_page_beyond_the_last_point_is_empty(pi: Client) -> None:
    assert pi.json(f"dataservers/{server_web_id()}/points", startIndex=100)["Items"] == []


def test_points_are_filtered_by_name_and_by_source(pi: Client) -> None:
    path = f"dataservers/{server_web_id()}/points"
    assert names(pi.json(path, nameFilter="blr01.*")) == ["BLR01.FLOW", "BLR01.VALVE", "BLR01.NOTE"]
    assert names(pi.json(path, nameFilter="?MP*")) == ["PMP01:TIES", "PMP01:EMPTY"]
    assert names(pi.json(path, sourceFilter="OPC")) == [TIES.name]


def test_more_points_than_the_limit_are_refused() -> None:
    with planted(max_returned_items=2) as pi:
        assert len(pi.json(f"dataservers/{server_web_id()}/points")["Items"]) == 2
        assert pi.get(f"dataservers/{server_web_id()}/points", maxCount=3).status_code == 400


@pytest.mark.parametrize("point", POINTS, ids=lambda point: point.name)
def test_a_point_is_found_by_its_path_whatever_its_name(pi: Client, point: object) -> None:
    name = point.name  # type: ignore[attr-defined]
    body = pi.json("points", path=rf"\\PISIM\{name}")
    assert body["Name"] == name
    assert pi.session.get(body["Links"]["Self"], timeout=10).json() == body


def test_an_ampersand_that_is_not_encoded_ends_the_path(pi: Client) -> None:
    path = quote("\\\\PISIM\\" + ODD_NAME.name, safe="&")
    url = f"{pi.running.url}/points?path={path}"
    assert pi.session.get(url, timeout=10).status_code == 404


@pytest.mark.parametrize("form", list(WebIdType))
def test_a_webid_comes_in_the_form_asked_for(pi: Client, form: WebIdType) -> None:
    found = pi.json(f"points/{web_id(FLOW)}", webIdType=form.value.lower())["WebId"]
    assert found == web_id(FLOW, form)
    assert WebId.parse(found).type is form


def test_the_form_of_webids_nobody_asked_for_is_the_servers() -> None:
    with planted(web_id_type=WebIdType.ID_ONLY) as pi:
        assert pi.json(f"points/{web_id(FLOW)}")["WebId"] == web_id(FLOW)


def test_points_multiple_is_207_when_one_is_missing(pi: Client) -> None:
    asked = {"path": [r"\\PISIM\BLR01.FLOW", r"\\PISIM\NOPE"], "webId": [web_id(TIES)]}
    answer = pi.get("points/multiple", **asked)
    assert answer.status_code == 207
    items = answer.json()["Items"]
    assert [item["IdentifierType"] for item in items] == ["WebId", "Path", "Path"]
    assert ["Object" in item for item in items] == [True, True, False]
    assert items[2]["Exception"]["Errors"]
    only = pi.get("points/multiple", includeMode="ItemsWithExceptionOnly", **asked).json()["Items"]
    assert [item["Identifier"] for item in only] == [r"\\PISIM\NOPE"]
    assert pi.get("points/multiple", webId=web_id(TIES)).status_code == 200


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ({"query": "flow"}, ["BLR01.FLOW"]),
        ({"query": "PMP", "searchOption": 3}, ["PMP01:TIES", "PMP01:EMPTY"]),
        ({"query": "EMPTY", "searchOption": 4}, ["PMP01:EMPTY"]),
        ({"query": "live", "searchNameAndDescriptor": "true"}, ["BLR01.FLOW"]),
        ({"query": "tag:=BLR* AND PointType:=String"}, ["BLR01.NOTE"]),
        ({"query": "PointType:=String OR PointType:=Int32"}, ["BLR01.NOTE", "PMP01:EMPTY"]),
        ({"query": "tag:=BLR* pointtype:<>String"}, ["BLR01.FLOW", "BLR01.VALVE"]),
    ],
)
def test_points_are_searched_by_query(pi: Client, query: dict[str, str], expected: list[str]) -> None:
    assert names(pi.json("points/search", dataServerWebId=server_web_id(), **query)) == expected


def test_a_search_never_returns_more_than_a_thousand(pi: Client) -> None:
    query = {"dataServerWebId": server_web_id(), "query": "*"}
    assert pi.get("points/search", maxCount=1000, **query).status_code == 200
    assert pi.get("points/search", maxCount=1001, **query).status_code == 400


def test_the_raw_attributes_of_a_point_are_listed_by_name_and_filter(pi: Client) -> None:
    path = f"points/{web_id(FLOW)}/attributes"
    assert names(pi.json(path, name=["POINTSOURCE", "descriptor"])) == ["pointsource", "descriptor"]
    assert set(names(pi.json(path, nameFilter="comp*"))) == {"compdev", "compmax", "compmin", "compressing"}
    assert pi.json(f"{path}/descriptor")["Value"] == "Live steam"
    assert pi.get(path, name="nope").status_code == 400


@pytest.mark.parametrize("path", [r"\\PISIM", r"\\PIServers[PISIM]", r"\\pisim"])
def test_the_data_server_is_one_object_by_name_or_path(pi: Client, path: str) -> None:
    assert pi.json("dataservers", path=path)["Name"] == "PISIM"
    assert pi.json("dataservers", name="PISIM")["Path"] == r"\\PIServers[PISIM]"
    assert pi.get("dataservers", name="OTHER").status_code == 404


def test_the_digital_states_of_a_set_are_reached_by_links(pi: Client) -> None:
    server = pi.json("dataservers")["Items"][0]
    sets = pi.session.get(server["Links"]["EnumerationSets"], timeout=10).json()
    assert names(sets) == ["System", VALVE.name]
    states = pi.session.get(sets["Items"][1]["Links"]["Values"], timeout=10).json()
    assert [(item["Value"], item["Name"]) for item in states["Items"]] == [(0, "Closed"), (1, "Open")]
    assert pi.session.get(states["Items"][1]["Links"]["Self"], timeout=10).json() == states["Items"][1]
    assert pi.json("enumerationsets", path=r"\\PISIM\VALVE") == sets["Items"][1]
