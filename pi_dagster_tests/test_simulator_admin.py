from __future__ import annotations

from typing import Any

import pytest
import requests

from pi_dagster_tests.planted_archive import EMPTY, FLOW, Client, planted, values, web_id


def admin(pi: Client, method: str, path: str, body: object = None) -> requests.Response:
    return requests.request(method, f"{pi.running.admin_url}/{path}", json=body, timeout=10)


def event(timestamp: str, value: object, **fields: object) -> dict[str, Any]:
    return {"Timestamp": timestamp, "Value": value, **fields}


def test_the_admin_door_is_shut_unless_asked_for() -> None:
    with planted() as pi:
        assert pi.running.admin_url is None


def test_late_edited_and_deleted_events_are_read_from_then_on() -> None:
    with planted(admin=True) as pi:
        ends = {"startTime": "2024-06-15T10:00:00Z", "endTime": "2024-06-15T10:02:00Z"}
        for action, value in [
            ("insert", event("2024-06-15T10:00:30Z", 0.5, Questionable=True)),
            ("replace", event("2024-06-15T10:01:00Z", 100)),
            ("remove", event("2024-06-15T10:02:00Z", 0)),
        ]:
            answer = admin(pi, "POST", "events", {"tag": "blr01.flow", "action": action, "values": [value]})
            assert answer.status_code == 200, answer.text
        items = pi.recorded(FLOW, **ends)
    assert values(items) == [0, 0.5, 100]
    assert [item["Questionable"] for item in items] == [False, True, False]


def test_the_door_answers_mistakes_in_words() -> None:
    with planted(admin=True) as pi:
        assert "no tag" in admin(pi, "POST", "events", {"tag": "NOPE", "values": []}).text
        assert "values" in admin(pi, "POST", "events", {"tag": FLOW.name}).text
        assert "colour" in admin(pi, "POST", "faults", {"kind": "slow", "colour": "red"}).text
        wrong = admin(pi, "POST", "faults", {"kind": "explosion"})
        assert (wrong.status_code, "explosion" in wrong.text) == (400, True)
        bad_value = admin(pi, "POST", "events", {"tag": EMPTY.name, "values": [event("*", "text")]})
        assert bad_value.status_code == 400


def test_a_fault_is_switched_on_listed_and_cleared() -> None:
    with planted(admin=True) as pi:
        fault = {"kind": "status", "status": 429, "retry_after": "1", "route": "streams/*", "web_id": web_id(FLOW)}
        number = admin(pi, "POST", "faults", fault).json()["number"]
        assert pi.get(f"streams/{web_id(FLOW)}/value").status_code == 429
        listed = admin(pi, "GET", "faults").json()
        assert {name: listed[str(number)][name] for name in fault} == fault
        assert admin(pi, "DELETE", f"faults?number={number}").status_code == 204
        assert pi.get(f"streams/{web_id(FLOW)}/value").status_code == 200


@pytest.mark.parametrize("path", ["events", "faults", "requests"])
def test_the_door_is_on_its_own_port_only(path: str) -> None:
    with planted(admin=True) as pi:
        assert pi.post(path, {}).status_code == 404


def test_requests_are_counted_by_route() -> None:
    with planted(admin=True) as pi:
        pi.recorded(FLOW)
        counted = admin(pi, "GET", "requests").json()
        assert counted["per_route"] == {"GET streams/{webId}/recorded": 1}
        assert admin(pi, "DELETE", "requests").status_code == 204
        assert admin(pi, "GET", "requests").json()["total"] == 0
