"""Stream Updates as the vendor documents them: registering, following markers, and all the ways to lose one."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
import requests
from jsonschema import Draft4Validator

from pi_dagster.simulator import stream_updates
from pi_dagster.simulator.archive import Archive, UpdateOption
from pi_dagster.simulator.events import TICKS_PER_SECOND, Events
from pi_dagster.simulator.points import Point
from pi_dagster.simulator.service import Route
from pi_dagster.simulator.update_signups import CHANGED, GONE, TOO_MANY
from pi_dagster_tests.planted_archive import FLOW, HOUR, MINUTE, NOON, NOTE, TIES, Client, planted, web_id
from pi_dagster_tests.planted_assets import planted_assets
from pi_dagster_tests.test_simulator_swagger import name_of, operations, schema_of, strict_definitions, swagger

__all__ = ["swagger"]

UNKNOWN = web_id(Point(id=99, name="NOPE"))


def register(pi: Client, *points: Point) -> list[str]:
    answer = pi.post("streamsets/updates", None, webId=[web_id(point) for point in points])
    assert answer.status_code == 200, answer.text
    return [item["LatestMarker"] for item in answer.json()["Items"]]


def changes(pi: Client, *markers: str) -> list[Any]:
    items = pi.json("streamsets/updates", marker=list(markers))["Items"]
    assert isinstance(items, list)
    return items


def actions(item: Any) -> list[tuple[str, str]]:
    return [(event["Action"], event["Timestamp"]) for event in item["Events"]]


def write(archive: Archive, point: Point, ticks: int, value: float, option: UpdateOption = UpdateOption.INSERT) -> None:
    archive.update(point, Events.of("Float32", [ticks], [value]), option)


def test_a_late_an_edited_and_a_deleted_event_are_told_once_each() -> None:
    with planted() as pi:
        flow, ties = register(pi, FLOW, TIES)
        archive = pi.running.archive
        write(archive, FLOW, NOON - 2 * HOUR + 1, 7)
        write(archive, FLOW, NOON - HOUR, 8, UpdateOption.REPLACE)
        write(archive, FLOW, NOON - MINUTE, 0, UpdateOption.REMOVE)
        of_flow, of_ties = changes(pi, flow, ties)
        assert actions(of_flow) == [
            ("Add", "2024-06-15T10:00:00.0000001Z"),
            ("Update", "2024-06-15T11:00:00Z"),
            ("Delete", "2024-06-15T11:59:00Z"),
        ]
        assert [event["Value"] for event in of_flow["Events"]] == [7, 8, 119]
        assert (of_flow["RequestedMarker"], of_flow["Status"]) == (flow, "Updated")
        assert (of_ties["Events"], of_ties["LatestMarker"]) == ([], ties)
        assert changes(pi, of_flow["LatestMarker"])[0]["Events"] == []


def test_an_old_marker_tells_the_same_again() -> None:
    with planted() as pi:
        [marker] = register(pi, FLOW)
        for minute in range(3):
            write(pi.running.archive, FLOW, NOON - HOUR - 1 - minute, 1.0)
        first = changes(pi, marker)[0]
        write(pi.running.archive, FLOW, NOON - HOUR - 9, 1.0)
        assert actions(changes(pi, marker)[0])[:3] == actions(first)
        assert len(changes(pi, marker)[0]["Events"]) == 4
        assert len(changes(pi, first["LatestMarker"])[0]["Events"]) == 1


def test_nothing_from_before_the_registration_is_told_and_live_events_are() -> None:
    clock = [NOON - HOUR]
    with planted(now=lambda: clock[0]) as pi:
        write(pi.running.archive, FLOW, NOON - 3 * HOUR, 1.0)
        [marker] = register(pi, FLOW)
        clock[0] += 2 * MINUTE
        assert actions(changes(pi, marker)[0]) == [("Add", "2024-06-15T11:01:00Z"), ("Add", "2024-06-15T11:02:00Z")]


def test_a_single_stream_has_routes_of_its_own() -> None:
    with planted() as pi:
        answer = pi.post(f"streams/{web_id(FLOW)}/updates", None)
        assert answer.json()["Links"]["Updates"] == answer.headers["Location"]
        write(pi.running.archive, FLOW, NOON - HOUR - 1, 1.0)
        told = pi.session.get(answer.headers["Location"], timeout=10).json()
        assert [event["Action"] for event in told["Events"]] == ["Add"]


def test_a_second_registration_says_so_and_leaves_older_markers_in_force() -> None:
    with planted() as pi:
        [first] = register(pi, FLOW)
        write(pi.running.archive, FLOW, NOON - HOUR - 1, 1.0)
        again = pi.post("streamsets/updates", None, webId=web_id(FLOW)).json()["Items"][0]
        assert again["Status"] == "AlreadyRegistered"
        assert changes(pi, again["LatestMarker"])[0]["Events"] == []
        assert len(changes(pi, first)[0]["Events"]) == 1


def test_a_server_that_starts_again_knows_no_marker() -> None:
    with planted(admin=True) as pi:
        [marker] = register(pi, FLOW)
        assert requests.post(f"{pi.running.admin_url}/stream-updates", json={"action": "forget"}, timeout=10).ok
        lost = pi.get(f"streams/updates/{marker}")
        assert (lost.status_code, lost.json()) == (404, {"Errors": ["Cache not found"]})
        assert pi.get("streamsets/updates", marker=marker).status_code == 404


def test_a_marker_that_is_none_is_refused_otherwise() -> None:
    with planted() as pi:
        [marker] = register(pi, FLOW)
        for wrong in ("nonsense", f"{marker}x", marker.replace("_0", "_17")):
            assert pi.get(f"streams/updates/{wrong}").status_code == 409


def test_a_lost_marker_may_spare_the_others_of_its_request() -> None:
    with planted(lost_marker_in_set="error") as pi:
        [marker] = register(pi, FLOW)
        good, lost = changes(pi, marker, f"{'0' * 32}_3")
        assert (good["Status"], lost["Status"]) == ("Updated", "Failed")
        assert lost["Exception"] == {"Errors": ["Cache not found"]}


def test_a_signup_that_broke_tells_why_once_and_is_gone() -> None:
    with planted(admin=True) as pi:
        [marker] = register(pi, FLOW)
        order = {"action": "unregister", "tag": FLOW.name}
        assert requests.post(f"{pi.running.admin_url}/stream-updates", json=order, timeout=10).ok
        [broken] = changes(pi, marker)
        assert (broken["Exception"], broken["Events"]) == ({"Errors": [CHANGED]}, [])
        assert pi.get("streamsets/updates", marker=marker).status_code == 404


def test_a_deleted_tag_ends_its_signup() -> None:
    with planted() as pi:
        [marker] = register(pi, FLOW)
        pi.running.archive.base.drop(FLOW.id)  # type: ignore[attr-defined]
        assert changes(pi, marker)[0]["Exception"] == {"Errors": [GONE]}


def test_a_signup_with_too_much_pending_is_given_up_and_one_that_is_read_is_not() -> None:
    with planted(max_pending_updates=3) as pi:
        read, unread = register(pi, FLOW, TIES)
        for number in range(4):
            write(pi.running.archive, FLOW, NOON - HOUR - 1 - number, 1.0)
            write(pi.running.archive, TIES, NOON - 2 * HOUR - 1 - number, 1.0)
            first, read = read, changes(pi, read)[0]["LatestMarker"]
            changes(pi, read)
        assert changes(pi, unread)[0]["Exception"] == {"Errors": [TOO_MANY]}
        assert changes(pi, read)[0]["Status"] == "Updated"
        assert pi.get("streamsets/updates", marker=f"{first.split('_')[0]}_0").status_code == 404


def test_a_signup_that_nobody_asks_about_is_forgotten() -> None:
    clock = [NOON]
    with planted(now=lambda: clock[0], updates_idle_seconds=900) as pi:
        [marker] = register(pi, FLOW)
        clock[0] += 899 * TICKS_PER_SECOND
        assert changes(pi, marker)[0]["Status"] == "Updated"
        clock[0] += 901 * TICKS_PER_SECOND
        assert pi.get("streamsets/updates", marker=marker).status_code == 404


def test_one_stream_that_is_none_fails_the_registration_of_all() -> None:
    with planted() as pi:
        for wrong in ("nonsense", UNKNOWN):
            answer = pi.post("streamsets/updates", None, webId=[web_id(FLOW), wrong])
            assert answer.status_code in (400, 404)
        assert pi.post("streamsets/updates", None, webId=web_id(FLOW)).json()["Items"][0]["Status"] == "Succeeded"


@pytest.mark.parametrize(("mode", "statuses"), [("error", ["Succeeded", "Failed"]), ("missing", ["Succeeded"])])
def test_or_is_told_apart_from_the_others(mode: str, statuses: list[str]) -> None:
    with planted(bad_stream_in_set=mode) as pi:
        items = pi.post("streamsets/updates", None, webId=[web_id(NOTE), UNKNOWN]).json()["Items"]
        assert [item["Status"] for item in items] == statuses


def test_a_static_attribute_cannot_be_followed() -> None:
    with planted_assets() as plant:
        static = plant.json("attributes", path=r"\\AFSIM\Plant\Site 1\Unit A\Valve|Any")["WebId"]
        for path in (f"streams/{static}/updates", f"streamsets/updates?webId={static}"):
            url = f"{plant.running.url}/{path}"
            assert plant.session.post(url, headers={"X-Requested-With": "test"}, timeout=10).status_code == 409


def test_registering_needs_the_csrf_header_and_no_right_to_write() -> None:
    with planted(disable_writes=True) as pi:
        assert register(pi, FLOW)
        bare = requests.post(f"{pi.running.url}/streamsets/updates", params={"webId": web_id(FLOW)}, timeout=10)
        assert bare.status_code == 400


def test_an_old_server_has_no_such_route_and_another_answers_nothing() -> None:
    with planted(stream_updates="absent") as pi:
        answer = pi.post("streamsets/updates", None, webId=web_id(FLOW))
        assert (answer.status_code, "No HTTP resource" in answer.text) == (404, True)
    with planted(stream_updates="empty") as pi:
        answer = pi.post("streamsets/updates", None, webId=web_id(FLOW))
        assert (answer.status_code, answer.content) == (204, b"")


@pytest.mark.parametrize("form", ["Full", "IDOnly"])
def test_every_body_is_what_the_vendor_says(swagger: Any, form: str) -> None:
    definitions = strict_definitions(swagger)
    for kind in ("StreamUpdatesRegister", "StreamUpdatesRetrieve"):
        # The reference's samples have links, which the file leaves out.
        definitions[kind]["properties"]["Links"] = {"type": "object"}
    with planted(bad_stream_in_set="error") as pi:
        markers = register(pi, FLOW, TIES)
        write(pi.running.archive, FLOW, NOON - HOUR, 1.0)
        pi.running.signups.unregister(TIES, CHANGED)
        asked: dict[str, dict[str, Any]] = {
            f"streams/{web_id(NOTE)}/updates": {},
            f"streams/updates/{markers[0]}": {},
            "streamsets/updates": {"webId": [web_id(FLOW), UNKNOWN], "marker": markers},
        }
        for route in stream_updates.ROUTES:
            [path] = [path for path in asked if matches(route, path)]
            ask = pi.get if route.method == "GET" else partial(post_nothing, pi)
            answer = ask(path, webIdType=form, **asked[path])
            assert answer.status_code == 200, answer.text
            schema = {**schema_of(swagger, route, 200), "definitions": definitions}
            errors = list(Draft4Validator(schema).iter_errors(answer.json()))
            assert not errors, (name_of(route), [(list(error.absolute_path), error.message) for error in errors[:3]])


def post_nothing(pi: Client, path: str, **params: Any) -> requests.Response:
    return pi.post(path, None, **params)


def matches(route: Route, path: str) -> bool:
    return route.pattern.fullmatch(path) is not None


def test_the_vendor_has_every_route_and_parameter(swagger: Any) -> None:
    for route in stream_updates.ROUTES:
        named = {parameter["name"] for operation in operations(swagger, route) for parameter in operation["parameters"]}
        assert {"selectedFields", "webIdType"} <= named
