from __future__ import annotations

from pi_dagster.webid import WebIdType
from pi_dagster_tests.planted_archive import (
    EMPTY,
    FLOW,
    NOTE,
    READ_ALL,
    TIES,
    VALVE_TAG,
    Client,
    planted,
    values,
    web_id,
)


def read(pi: Client, *web_ids: str, **params: object) -> dict[str, list[object]]:
    items = pi.json("streamsets/recorded", **{**READ_ALL, "webId": web_ids, **params})["Items"]
    return {item["Name"]: values(item["Items"]) for item in items}


def test_max_count_counts_for_each_stream() -> None:
    with planted() as pi:
        found = read(pi, web_id(FLOW), web_id(TIES), web_id(EMPTY), maxCount=3)
    assert found == {FLOW.name: [0, 1, 2], TIES.name: [0, 1, 2], EMPTY.name: []}


def test_the_limit_holds_for_each_stream_or_for_their_sum_as_the_switch_says() -> None:
    for limit, status in [("per_stream", 200), ("total", 400)]:
        with planted(max_returned_items=100, streamset_limit=limit) as pi:
            ids = [web_id(FLOW), web_id(TIES)]
            assert pi.get("streamsets/recorded", webId=ids, maxCount=60).status_code == status


def test_the_webid_of_an_item_has_the_form_asked_for_not_the_one_sent() -> None:
    with planted() as pi:
        sent = web_id(FLOW, WebIdType.PATH_ONLY)
        (full,) = pi.json("streamsets/value", webId=sent)["Items"]
        (id_only,) = pi.json("streamsets/value", webId=sent, webIdType="idonly")["Items"]
    assert full["WebId"] == web_id(FLOW, WebIdType.FULL)
    assert id_only["WebId"] == web_id(FLOW)


def test_one_unknown_webid_fails_the_request_or_its_item_or_goes_missing() -> None:
    ids = [web_id(FLOW), web_id(type(FLOW)(id=999, name="GONE"))]
    with planted(bad_stream_in_set="fail") as pi:
        assert pi.get("streamsets/recorded", webId=ids).status_code == 404
    with planted(bad_stream_in_set="error") as pi:
        items = pi.json("streamsets/recorded", webId=ids)["Items"]
        assert [item.get("WebException", {}).get("StatusCode") for item in items] == [None, 404]
    with planted(bad_stream_in_set="missing") as pi:
        assert [item["Name"] for item in pi.json("streamsets/recorded", webId=ids)["Items"]] == [FLOW.name]


def test_the_streams_of_a_unit_are_its_attributes() -> None:
    with planted() as pi:
        unit = pi.json("elements", path=r"\\AFSIM\Plant\Boilers\BLR01")["WebId"]
        items = pi.json(f"streamsets/{unit}/recorded", **READ_ALL, maxCount=1)["Items"]
        assert {item["Name"] for item in items} == {"FLOW", "VALVE", "NOTE"}
        flow = next(item for item in items if item["Name"] == "FLOW")
        assert flow["Path"] == r"\\AFSIM\Plant\Boilers\BLR01|FLOW"
        assert pi.json(f"streams/{flow['WebId']}/value")["Value"] == 119
        by_path = pi.json("elements", path=r"\\AFSIM\Plant\Boilers\BLR01", webIdType="PathOnly")["WebId"]
        filtered = pi.json(f"streamsets/{by_path}/value", nameFilter="v*")["Items"]
        assert [item["Name"] for item in filtered] == ["VALVE"]


def test_streams_come_by_name_only_when_asked() -> None:
    ids = [web_id(VALVE_TAG), web_id(FLOW), web_id(NOTE)]
    with planted() as pi:
        unsorted = pi.json("streamsets/value", webId=ids)["Items"]
        by_name = pi.json("streamsets/value", webId=ids, sortField="Name", sortOrder="Descending")["Items"]
    assert [item["Name"] for item in unsorted] == [VALVE_TAG.name, FLOW.name, NOTE.name]
    assert [item["Name"] for item in by_name] == [VALVE_TAG.name, NOTE.name, FLOW.name]


def test_a_set_without_webids_is_refused() -> None:
    with planted() as pi:
        assert pi.get("streamsets/recorded").status_code == 400
