from __future__ import annotations

from typing import Any

from pi_dagster.simulator import Fault, FaultKind
from pi_dagster_tests.planted_archive import EMPTY, FLOW, POINTS, READ_ALL, TIES, Client, planted, server_web_id, web_id

LIST_POINTS = f"https://elsewhere.example.com/piwebapi/dataservers/{server_web_id()}/points"


def run(pi: Client, requests: dict[str, Any]) -> dict[str, Any]:
    answer = pi.post("batch", requests)
    assert answer.status_code == 207, answer.text
    body: dict[str, Any] = answer.json()
    return body


def test_a_batch_is_207_even_when_every_request_failed() -> None:
    with planted() as pi:
        body = run(pi, {"a": {"Method": "GET", "Resource": "/piwebapi/points/F1DPbogus"}})
    assert body["a"]["Status"] == 400
    assert body["a"]["Content"] == {"Errors": ["Unknown or invalid WebID format: 'F1DPbogus'."]}


def test_the_host_of_a_resource_is_ignored_and_its_query_counts() -> None:
    with planted() as pi:
        body = run(pi, {"1": {"Method": "GET", "Resource": f"{LIST_POINTS}?maxCount=2&nameFilter=PMP*"}})
    assert [item["Name"] for item in body["1"]["Content"]["Items"]] == ["PMP01:TIES", "PMP01:EMPTY"]


def test_a_query_beside_the_resource_is_not_read() -> None:
    with planted() as pi:
        body = run(pi, {"1": {"Method": "GET", "Resource": LIST_POINTS, "Parameters": [], "Query": {"maxCount": 1}}})
    assert len(body["1"]["Content"]["Items"]) == len(POINTS)


def test_a_template_makes_one_request_of_each_token_in_their_order() -> None:
    with planted() as pi:
        body = run(
            pi,
            {
                "points": {"Method": "GET", "Resource": f"{LIST_POINTS}?nameFilter=PMP*"},
                "values": {
                    "Method": "GET",
                    "ParentIds": ["points"],
                    "Parameters": ["$.points.Content.Items[*].WebId"],
                    "RequestTemplate": {
                        "Resource": "https://x/piwebapi/streams/{0}/recorded?maxCount=1&startTime=*-1d"
                    },
                },
            },
        )
    assert body["values"]["Status"] == 207
    content = body["values"]["Content"]
    assert content["Total"] == 2
    assert [item["Status"] for item in content["Items"]] == [200, 200]
    assert [len(item["Content"]["Items"]) for item in content["Items"]] == [1, 0]


def test_a_parameter_fills_a_resource_and_a_resource_can_be_a_path_itself() -> None:
    with planted() as pi:
        body = run(
            pi,
            {
                "1": {"Method": "GET", "Resource": f"{LIST_POINTS}?maxCount=1"},
                "2": {
                    "Method": "GET",
                    "ParentIds": ["1"],
                    "Parameters": ["$.1.Content.Items[0].WebId"],
                    "Resource": "https://x/piwebapi/streams/{0}/value",
                },
                "3": {"Method": "GET", "ParentIds": ["1"], "Resource": "$.1.Content.Items[0].Links.EndValue"},
            },
        )
    assert body["2"]["Content"] == body["3"]["Content"]
    assert body["2"]["Content"]["Value"] == 119


def test_the_child_of_a_failed_parent_is_409_and_a_bare_string() -> None:
    with planted() as pi:
        body = run(
            pi,
            {
                "GetPoint": {"Method": "GET", "Resource": "/piwebapi/points?path=\\\\PISIM\\NOPE"},
                "GetValue": {"Method": "GET", "ParentIds": ["GetPoint"], "Resource": "$.GetPoint.Content.Links.Value"},
            },
        )
    assert body["GetPoint"]["Status"] == 404
    assert body["GetValue"]["Status"] == 409
    assert body["GetValue"]["Content"] == "The following ParentIds did not complete successfully: GetPoint."


def test_a_path_that_selects_nothing_is_400_and_a_bare_string() -> None:
    path = "$.points.Content.Items[*].WebId"
    with planted() as pi:
        body = run(
            pi,
            {
                "points": {"Method": "GET", "Resource": f"{LIST_POINTS}?nameFilter=NOPE*"},
                "values": {
                    "Method": "GET",
                    "ParentIds": ["points"],
                    "Parameters": [path],
                    "RequestTemplate": {"Resource": "https://x/piwebapi/streams/{0}/value"},
                },
            },
        )
    assert body["values"]["Status"] == 400
    assert body["values"]["Content"] == f"Some JSON paths did not select any tokens: {path}."


def test_parents_that_do_not_exist_or_wait_for_each_other_are_refused() -> None:
    request = {"Method": "GET", "Resource": "/piwebapi/system"}
    with planted() as pi:
        assert pi.post("batch", {"a": {**request, "ParentIds": ["b"]}}).status_code == 400
        circle = {"a": {**request, "ParentIds": ["b"]}, "b": {**request, "ParentIds": ["a"]}}
        assert pi.post("batch", circle).status_code == 400


def test_a_body_that_is_no_batch_is_refused() -> None:
    with planted() as pi:
        for body in ([], {"a": 1}, {"a": {"Method": "GET"}}, {"a": {"Method": "FETCH", "Resource": "/piwebapi"}}):
            assert pi.post("batch", body).status_code == 400


def test_a_write_in_a_batch_takes_its_content_as_a_string() -> None:
    value = '{"Timestamp": "2024-06-15T11:30:00Z", "Value": 7}'
    resource = f"/piwebapi/streams/{web_id(EMPTY)}/value"
    with planted() as pi:
        body = run(pi, {"w": {"Method": "POST", "Resource": resource, "Content": value}})
        assert body["w"] == {"Status": 204, "Headers": {}, "Content": {}}
        assert [item["Value"] for item in pi.recorded(EMPTY)] == [7]


def test_a_fault_can_hit_one_request_of_a_batch() -> None:
    path = f"/piwebapi/streams/{{}}/recorded?startTime={READ_ALL['startTime']}"
    requests = {str(p.id): {"Method": "GET", "Resource": path.format(web_id(p))} for p in (FLOW, TIES)}
    with planted() as pi:
        pi.running.faults.add(Fault(kind=FaultKind.WEB_EXCEPTION, web_id=web_id(TIES)))
        body = run(pi, requests)
    assert body[str(FLOW.id)]["Status"] == body[str(TIES.id)]["Status"] == 200
    assert "WebException" not in body[str(FLOW.id)]["Content"]
    assert body[str(TIES.id)]["Content"]["WebException"]["StatusCode"] == 500


def test_the_size_of_a_batch_is_limited_where_the_switch_says_so() -> None:
    requests = {str(i): {"Method": "GET", "Resource": "/piwebapi/system"} for i in range(3)}
    with planted(max_batch_requests=2) as pi:
        assert pi.post("batch", requests).status_code == 400
    with planted() as pi:
        assert len(run(pi, requests)) == 3
