from __future__ import annotations

import pytest

from pi_dagster.simulator.points import Point
from pi_dagster_tests.planted_archive import EMPTY, FLOW, NOTE, TIES, VALVE_TAG, Client, planted, values, web_id

AT_TIES = "2024-06-15T11:00:00Z"


def write(pi: Client, point: Point, timestamp: str, value: object, **params: str) -> int:
    body = {"Timestamp": timestamp, "Value": value}
    return pi.post(f"streams/{web_id(point)}/value", body, **params).status_code


def at_ties(pi: Client) -> list[object]:
    return values(pi.recorded(TIES, startTime=AT_TIES, endTime=AT_TIES))


@pytest.mark.parametrize(
    ("option", "expected"),
    [
        (None, [9]),
        ("replace", [9]),
        ("Insert", [0, 1, 2, 3, 4, 9]),
        ("InsertNoCompression", [0, 1, 2, 3, 4, 9]),
        ("NoReplace", [0, 1, 2, 3, 4]),
        ("ReplaceOnly", [9]),
        ("Remove", []),
    ],
)
def test_an_update_option_decides_what_becomes_of_the_events_there(option: str | None, expected: list[int]) -> None:
    with planted() as pi:
        params = {"updateOption": option} if option else {}
        assert write(pi, TIES, AT_TIES, 9, **params) == 204
        assert at_ties(pi) == expected


def test_an_event_that_replaced_another_is_substituted() -> None:
    with planted() as pi:
        write(pi, FLOW, "2024-06-15T10:00:00Z", 7.5)
        assert pi.recorded(FLOW, maxCount=1)[0]["Substituted"] is True


def test_some_bad_values_among_many_are_207_in_the_order_written() -> None:
    with planted() as pi:
        body = [
            {"Timestamp": "2024-06-15T11:00:00Z", "Value": 1},
            {"Timestamp": "2024-06-15T11:01:00Z", "Value": "text"},
            {"Timestamp": "never", "Value": 3},
        ]
        answer = pi.post(f"streams/{web_id(EMPTY)}/recorded", body)
        assert answer.status_code == 207
        assert [item["Substatus"] for item in answer.json()["Items"]] == [204, 400, 400]
        assert values(pi.recorded(EMPTY)) == [1]
        assert pi.post(f"streams/{web_id(EMPTY)}/recorded", body[:1]).status_code == 204


@pytest.mark.parametrize(
    ("point", "written", "read"),
    [
        (VALVE_TAG, 1, {"Name": "Open", "Value": 1, "IsSystem": False}),
        (VALVE_TAG, "Open", {"Name": "Open", "Value": 1, "IsSystem": False}),
        (
            EMPTY,
            {"Name": "No Data", "Value": 248, "IsSystem": True},
            {"Name": "No Data", "Value": 248, "IsSystem": True},
        ),
        (NOTE, "fine", "fine"),
    ],
)
def test_a_value_is_read_as_it_was_written(point: Point, written: object, read: object) -> None:
    with planted() as pi:
        assert write(pi, point, "2024-06-15T11:30:00Z", written) == 204
        assert read in values(pi.recorded(point))


@pytest.mark.parametrize(("point", "value"), [(EMPTY, 2**31), (EMPTY, 1.5), (VALVE_TAG, 7), (NOTE, 1), (FLOW, True)])
def test_a_value_the_point_cannot_hold_is_refused(point: Point, value: object) -> None:
    with planted() as pi:
        assert write(pi, point, "2024-06-15T11:30:00Z", value) == 400


def test_removing_what_is_not_there_is_reported() -> None:
    with planted() as pi:
        assert write(pi, EMPTY, AT_TIES, 0, updateOption="Remove") == 404


def test_the_url_that_reads_a_streamset_writes_it_when_posted_to() -> None:
    with planted() as pi:
        value = {"Timestamp": AT_TIES, "Value": 5}
        body = [{"WebId": web_id(EMPTY), "Items": [value]}, {"WebId": "F1DPbogus", "Items": [value]}]
        answer = pi.post("streamsets/recorded", body)
        assert answer.status_code == 207
        statuses = [[value["Substatus"] for value in item["Items"]] for item in answer.json()["Items"]]
        assert statuses == [[204], [400]]
        assert values(pi.recorded(EMPTY)) == [5]
        assert pi.post("streamsets/value", [{"WebId": web_id(EMPTY), "Value": value}]).status_code == 200
