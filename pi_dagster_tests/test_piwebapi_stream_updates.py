"""The client of Stream Updates, against a server on a socket that has them, loses them or never had them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime, timezone
from typing import Any

import pytest

from pi_dagster.ingest.source import open_source
from pi_dagster.piwebapi import PIWebAPISource
from pi_dagster.piwebapi.errors import StreamUpdatesMissingError, TransientError, WriteRefusedError
from pi_dagster.piwebapi.stream_updates import CHANGES_SCHEMA, TAGS_A_REQUEST, Registration, register, updates_since
from pi_dagster.simulator import Fault, FaultKind, RunningSimulator, Simulator, SimulatorSettings
from pi_dagster.simulator.archive import Archive, MemoryBase, UpdateOption
from pi_dagster.simulator.events import Events
from pi_dagster.simulator.points import Point
from pi_dagster.simulator.update_signups import CHANGED
from pi_dagster.site import ServerSettings
from pi_dagster.webid import point_webid
from pi_dagster_tests.planted_archive import MINUTE, NOON

POINTS = [Point(id=number, name=f"TAG{number}") for number in range(1, TAGS_A_REQUEST + 21)]
A, B, *_ = POINTS
MISSING = "I1DPrR1NjdPxEUOulNmps6aJqf__AAA"


def web_id(point: Point) -> str:
    archive = Archive(MemoryBase())
    return point_webid(archive.server_id, point.id, archive.server_name, point.name).identity


@contextmanager
def served(points: Sequence[Point] = (A, B), **settings: Any) -> Iterator[tuple[RunningSimulator, PIWebAPISource]]:
    clock = {"now": lambda: NOON}
    simulator = Simulator(archive=Archive(MemoryBase(points)), settings=SimulatorSettings(**{**clock, **settings}))
    with (
        simulator.serve() as running,
        open_source(ServerSettings(url=running.url, retry_budget_seconds=0)) as source,
    ):
        yield running, source


def registered(source: PIWebAPISource, *web_ids: str) -> Registration:
    markers: dict[str, str] = {}
    refused: dict[str, str] = {}
    for part in register(source.transport, web_ids, in_flight=4, goes_on=lambda: True):
        markers.update(part.markers)
        refused.update(part.refused)
    return Registration(markers, refused)


def told(source: PIWebAPISource, markers: Mapping[str, str]) -> tuple[list[tuple[str, datetime, str]], dict[str, str]]:
    rows: list[tuple[str, datetime, str]] = []
    lost: dict[str, str] = {}
    for updates in updates_since(source.transport, markers, in_flight=4, goes_on=lambda: True):
        assert updates.changes.schema == CHANGES_SCHEMA
        rows += [tuple(row.values()) for row in updates.changes.to_pylist()]
        lost.update(updates.lost)
    return sorted(rows), lost


def write(running: RunningSimulator, point: Point, ticks: int, option: UpdateOption = UpdateOption.INSERT) -> None:
    running.archive.update(point, Events.of("Float32", [ticks], [1.0]), option)


def instant(minute: int, microsecond: int = 0) -> datetime:
    return datetime(2024, 6, 15, 11, minute, 0, microsecond, tzinfo=timezone.utc)


@pytest.mark.parametrize("select_fields", [True, False])
def test_a_change_is_told_by_tag_instant_and_action(select_fields: bool) -> None:
    with served() as (running, source):
        markers = registered(source, web_id(A), web_id(B)).markers
        write(running, A, NOON - MINUTE)
        write(running, A, NOON - MINUTE, UpdateOption.REPLACE)
        write(running, A, NOON - MINUTE, UpdateOption.REMOVE)
        write(running, B, NOON - 2 * MINUTE + 1234567)
        [updates] = updates_since(
            source.transport, markers, in_flight=1, goes_on=lambda: True, select_fields=select_fields
        )
        assert [tuple(row.values()) for row in updates.changes.to_pylist()] == [
            (web_id(A), instant(59), "Add"),
            (web_id(A), instant(59), "Update"),
            (web_id(A), instant(59), "Delete"),
            (web_id(B), instant(58, 123456), "Add"),
        ]
        assert told(source, updates.markers) == ([], {})
        assert told(source, markers)[0], "the old markers tell it again"


def test_many_tags_are_registered_and_followed_in_short_requests() -> None:
    with served(POINTS) as (running, source):
        ids = [web_id(point) for point in POINTS]
        registration = registered(source, *ids)
        assert (registration.markers.keys(), registration.refused) == (set(ids), {})
        for point in POINTS:
            write(running, point, NOON - MINUTE)
        rows, lost = told(source, registration.markers)
        assert (sorted(row[0] for row in rows), lost) == (sorted(ids), {})
        lengths = [len(seen.query_text) for seen in running.requests.recent if "updates" in seen.path]
        assert len(lengths) == 4
        assert max(lengths) < 4096


@pytest.mark.parametrize("mode", ["fail", "error", "missing"])
def test_a_tag_that_cannot_be_registered_is_told_and_the_others_are_registered(mode: str) -> None:
    with served(POINTS[:9], bad_stream_in_set=mode) as (_, source):
        ids = [web_id(point) for point in POINTS[:9]]
        registration = registered(source, *ids[:5], MISSING, *ids[5:])
        assert registration.markers.keys() == set(ids)
        assert registration.refused.keys() == {MISSING}
        assert registration.refused[MISSING]


def test_a_server_that_refuses_all_of_the_first_tags_is_not_asked_for_the_others() -> None:
    with served(POINTS) as (running, source):
        running.faults.add(Fault(kind=FaultKind.STATUS, status=403, route="streamsets/updates"))
        registration = registered(source, *(web_id(point) for point in POINTS))
        assert (registration.markers, len(registration.refused)) == ({}, TAGS_A_REQUEST)


@pytest.mark.parametrize("mode", ["fail", "error"])
def test_markers_that_a_server_has_lost_are_told(mode: str) -> None:
    with served(lost_marker_in_set=mode) as (running, source):
        markers = registered(source, web_id(A), web_id(B)).markers
        running.signups.forget()
        rows, lost = told(source, markers)
        assert (rows, lost.keys()) == ([], markers.keys())
        assert "Cache not found" in lost[web_id(A)]


def test_a_tag_that_the_server_unregistered_is_lost_and_the_others_are_not() -> None:
    with served() as (running, source):
        markers = registered(source, web_id(A), web_id(B)).markers
        write(running, B, NOON - MINUTE)
        running.signups.unregister(A, CHANGED)
        assert told(source, markers) == ([(web_id(B), instant(59), "Add")], {web_id(A): CHANGED})


def test_a_marker_that_an_answer_leaves_out_is_lost() -> None:
    with served() as (running, source):
        markers = registered(source, web_id(A), web_id(B)).markers
        running.faults.add(Fault(kind=FaultKind.MISSING_STREAM, route="streamsets/updates"))
        assert told(source, markers)[1].keys() == {web_id(B)}


@pytest.mark.parametrize("mode", ["absent", "empty"])
def test_a_server_without_stream_updates_is_told_with_what_to_do(mode: str) -> None:
    with (
        served(stream_updates=mode) as (_, source),
        pytest.raises(StreamUpdatesMissingError, match=r"no Stream Updates.*`stream_updates: null`"),
    ):
        registered(source, web_id(A))


@pytest.mark.parametrize("kind", [FaultKind.STATUS, FaultKind.WEB_EXCEPTION, FaultKind.CUT_BODY])
def test_a_server_in_trouble_is_no_lost_marker(kind: FaultKind) -> None:
    with served() as (running, source):
        markers = registered(source, web_id(A)).markers
        running.faults.add(Fault(kind=kind, count=1))
        with pytest.raises(TransientError):
            told(source, markers)
        write(running, A, NOON - MINUTE)
        assert len(told(source, markers)[0]) == 1


def test_what_is_left_when_time_is_up_is_not_asked_for() -> None:
    with served(POINTS) as (_, source):
        answers = iter([True, False, False])
        parts = [
            *register(
                source.transport,
                [web_id(point) for point in POINTS],
                in_flight=1,
                goes_on=lambda: next(answers),
            )
        ]
        assert [len(part.markers) for part in parts] == [TAGS_A_REQUEST]


@pytest.mark.parametrize(
    "path", ["streams/x/updates", "streamsets/updates/", "streamsets/value", "streamsets/x/updates"]
)
def test_registering_is_the_only_other_post_that_is_sent(path: str) -> None:
    with served() as (running, source):
        with pytest.raises(WriteRefusedError):
            source.transport._repeated("POST", f"{running.url}/{path}?webId=x", None, bytes)
        assert running.requests.total == 0
