from __future__ import annotations

import pytest
import requests

from pi_dagster.simulator import Fault, FaultKind
from pi_dagster.webid import WebIdType
from pi_dagster_tests.planted_archive import FLOW, READ_ALL, TIES, planted, server_web_id, web_id


@pytest.mark.parametrize("retry_after", [None, "7", "Sat, 15 Jun 2024 12:00:07 GMT"])
def test_too_many_requests_comes_with_and_without_retry_after(retry_after: str | None) -> None:
    with planted() as pi:
        pi.running.faults.add(Fault(kind=FaultKind.STATUS, status=429, retry_after=retry_after, count=1))
        answer = pi.get("system/status")
        assert answer.status_code == 429
        assert answer.headers.get("Retry-After") == retry_after
        assert pi.get("system/status").status_code == 200


@pytest.mark.parametrize("status", [401, 403, 404, 500, 503])
def test_any_refusal_can_be_switched_on(status: int) -> None:
    with planted() as pi:
        pi.running.faults.add(Fault(kind=FaultKind.STATUS, status=status, message="no luck"))
        answer = pi.get("dataservers")
    assert (answer.status_code, answer.json()) == (status, {"Errors": ["no luck"]})


def test_a_proxy_answers_in_html() -> None:
    with planted() as pi:
        pi.running.faults.add(Fault(kind=FaultKind.HTML))
        answer = pi.get("dataservers")
    assert answer.status_code == 502
    assert answer.headers["Content-Type"] == "text/html"


def test_a_web_exception_comes_on_a_200_after_half_of_the_items() -> None:
    with planted() as pi:
        pi.running.faults.add(Fault(kind=FaultKind.WEB_EXCEPTION))
        body = pi.json(f"streams/{web_id(FLOW)}/recorded", **READ_ALL)
    assert len(body["Items"]) == 60
    assert body["WebException"] == {
        "Errors": ["Error occurred during writing of the output stream."],
        "StatusCode": 500,
    }


def test_a_web_exception_cuts_a_streamset_in_the_middle_of_a_stream() -> None:
    with planted() as pi:
        pi.running.faults.add(Fault(kind=FaultKind.WEB_EXCEPTION))
        body = pi.json("streamsets/recorded", **READ_ALL, webId=[web_id(FLOW), web_id(TIES)])
    (only,) = body["Items"]
    assert (only["Name"], len(only["Items"])) == (FLOW.name, 60)
    assert "WebException" in body


def test_values_can_carry_errors_of_their_own() -> None:
    with planted() as pi:
        pi.running.faults.add(Fault(kind=FaultKind.VALUE_ERRORS, message="unreadable"))
        items = pi.recorded(FLOW)
    failed = [item for item in items if "Errors" in item]
    assert len(failed) == 12
    assert failed[0]["Value"] is None
    assert failed[0]["Errors"] == [{"FieldName": "Value", "Message": ["unreadable"]}]


def test_value_errors_of_one_stream_leave_the_others_alone() -> None:
    with planted() as pi:
        pi.running.faults.add(Fault(kind=FaultKind.VALUE_ERRORS, web_id=web_id(TIES, WebIdType.FULL)))
        body = pi.json("streamsets/recorded", **READ_ALL, webId=[web_id(FLOW), web_id(TIES)])
    counted = {item["Name"]: sum("Errors" in value for value in item["Items"]) for item in body["Items"]}
    assert counted == {FLOW.name: 0, TIES.name: 1}


def test_a_stream_can_go_missing_from_a_streamset() -> None:
    with planted() as pi:
        pi.running.faults.add(Fault(kind=FaultKind.MISSING_STREAM, web_id=web_id(FLOW)))
        body = pi.json("streamsets/recorded", **READ_ALL, webId=[web_id(FLOW), web_id(TIES)])
    assert [item["Name"] for item in body["Items"]] == [TIES.name]


@pytest.mark.parametrize("encoding", ["gzip", "identity"])
def test_a_body_can_end_early(encoding: str) -> None:
    with planted() as pi:
        pi.running.faults.add(Fault(kind=FaultKind.CUT_BODY, count=1))
        pi.session.headers["Accept-Encoding"] = encoding
        with pytest.raises(requests.RequestException):
            pi.get(f"streams/{web_id(FLOW)}/recorded", **READ_ALL)
        assert len(pi.recorded(FLOW)) == 120


def test_a_connection_can_end_without_an_answer() -> None:
    with planted() as pi:
        pi.running.faults.add(Fault(kind=FaultKind.DROPPED_CONNECTION, count=1))
        with pytest.raises(requests.ConnectionError):
            pi.get("system/status")
        assert pi.get("system/status").status_code == 200


def test_a_slow_answer_does_not_hold_up_others() -> None:
    with planted() as pi:
        pi.running.faults.add(Fault(kind=FaultKind.SLOW, route="system/versions", seconds=30))
        with pytest.raises(requests.ReadTimeout):
            pi.session.get(f"{pi.running.url}/system/versions", timeout=0.2)
        assert pi.get("system/status").status_code == 200


def test_a_fault_keeps_to_its_route_and_its_stream() -> None:
    with planted() as pi:
        pi.running.faults.add(Fault(kind=FaultKind.STATUS, status=500, route="Streams/*/recorded", web_id=web_id(FLOW)))
        assert pi.get(f"streams/{web_id(FLOW)}/recorded").status_code == 500
        assert pi.get(f"streams/{web_id(FLOW, WebIdType.FULL)}/recorded").status_code == 500
        assert pi.get(f"streams/{web_id(FLOW)}/value").status_code == 200
        assert pi.get(f"streams/{web_id(TIES)}/recorded").status_code == 200


def test_a_stream_can_spoil_every_set_it_is_in() -> None:
    with planted() as pi:
        pi.running.faults.add(Fault(kind=FaultKind.STATUS, status=403, web_id=web_id(TIES)))
        assert pi.get("streamsets/recorded", webId=[web_id(FLOW), web_id(TIES)]).status_code == 403
        assert pi.get("streamsets/recorded", webId=[web_id(FLOW)]).status_code == 200


def test_a_count_of_value_errors_is_not_used_up_by_other_requests() -> None:
    with planted() as pi:
        pi.running.faults.add(Fault(kind=FaultKind.VALUE_ERRORS, count=1))
        pi.get(f"dataservers/{server_web_id()}/points")
        assert any("Errors" in item for item in pi.recorded(FLOW))
        assert not any("Errors" in item for item in pi.recorded(FLOW))
        assert pi.running.faults.active() == {}


def test_a_fault_happens_about_as_often_as_its_probability() -> None:
    with planted() as pi:
        pi.running.faults.add(Fault(kind=FaultKind.STATUS, probability=0.5))
        statuses = [pi.get("system").status_code for _ in range(100)]
    assert 25 < statuses.count(503) < 75


def test_faults_can_be_cleared() -> None:
    with planted() as pi:
        number = pi.running.faults.add(Fault(kind=FaultKind.STATUS))
        pi.running.faults.add(Fault(kind=FaultKind.STATUS, route="dataservers"))
        pi.running.faults.clear(number)
        assert (pi.get("system").status_code, pi.get("dataservers").status_code) == (200, 503)
        pi.running.faults.clear()
        assert pi.get("dataservers").status_code == 200


@pytest.mark.parametrize("wrong", [{"probability": 1.5}, {"count": 0}, {"seconds": -1}])
def test_a_fault_that_makes_no_sense_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Fault(kind=FaultKind.SLOW, **wrong)  # type: ignore[arg-type]
