"""Counting at the server: what belongs to a day, and what a tag that cannot be counted does to the others."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, datetime, timedelta, timezone
from typing import Any

import pytest

from pi_dagster.piwebapi import summaries
from pi_dagster.piwebapi.errors import ServerTroubleError
from pi_dagster.piwebapi.summaries import EventCounter, ServerCounts
from pi_dagster.piwebapi.transport import Transport
from pi_dagster.simulator import Fault, FaultKind, Simulator, SimulatorSettings
from pi_dagster.simulator.archive import Archive, MemoryBase
from pi_dagster.simulator.events import Events, to_ticks
from pi_dagster.simulator.points import Point
from pi_dagster.site import ServerSettings
from pi_dagster.webid import point_webid

DAY = datetime(2026, 10, 24, tzinfo=timezone.utc)
"""On the next day clocks in Europe go back an hour."""
DAYS = 3
LATE = DAY + timedelta(days=DAYS + 1)
TAGS = 5


@dataclass(frozen=True)
class Server:
    """A server of five tags, and a counter that asks it."""

    archive: Archive
    counter: EventCounter
    transport: Transport
    faults: Any

    def web_id(self, number: int) -> str:
        archive = self.archive
        return point_webid(archive.server_id, number, archive.server_name, "").identity

    def count(self, *numbers: int, days: int = DAYS, each: int = 10) -> ServerCounts:
        expected = dict.fromkeys(map(self.web_id, numbers or range(1, TAGS + 1)), each)
        return self.counter.count(expected, first_day=date(2026, 10, 24), days=days)

    def by_day(self, number: int, days: int = DAYS) -> list[int]:
        return [*self.count(number, days=days).by_day[self.web_id(number)]]


@contextmanager
def served(server: dict[str, Any] | None = None, **settings: Any) -> Iterator[Server]:
    """Tag `n` has an event at 06:00 of the n-th day, and tag 1 those around midnight."""
    midnight = to_ticks(DAY)
    day = to_ticks(DAY + timedelta(days=1)) - midnight
    around = [midnight, midnight + day - 1, midnight + day, midnight + day, midnight + 3 * day]
    events = {1: Events.of("Float32", around, [1.0] * len(around))}
    for number in range(2, TAGS + 1):
        events[number] = Events.of("Float32", [midnight + (number - 2) * day + day // 4], [1.0])
    archive = Archive(MemoryBase([Point(id=number, name=f"T{number}") for number in range(1, TAGS + 1)], events))
    simulator = Simulator(archive=archive, settings=SimulatorSettings(now=lambda: to_ticks(LATE), **settings))
    with simulator.serve() as running:
        site = ServerSettings.model_validate({"url": running.url, "retry_budget_seconds": 0, **(server or {})})
        with Transport(site) as transport:
            yield Server(archive, EventCounter(transport, site), transport, running.faults)


@pytest.mark.parametrize("read_mode", ["streamset", "batch"])
@pytest.mark.parametrize("select_fields", [True, False])
def test_an_event_at_midnight_belongs_to_the_day_that_begins(read_mode: str, select_fields: bool) -> None:
    with served({"read_mode": read_mode, "select_fields": select_fields}) as server:
        assert server.by_day(1) == [2, 2, 0]
        assert server.by_day(1, days=1) == [2]
        assert server.by_day(1, days=2) == [2, 2]


def test_days_are_those_of_utc_also_where_the_server_changes_its_clocks() -> None:
    with served(server_time_zone="Europe/Berlin") as server:
        assert server.by_day(1) == [2, 2, 0]
        assert server.by_day(4) == [0, 0, 1]


@pytest.mark.parametrize("what", ["zero", "no_data"])
def test_a_day_without_events_counts_none_whatever_the_server_calls_it(what: str) -> None:
    with served(count_of_nothing=what) as server:
        assert server.by_day(3) == [0, 1, 0]


def test_the_tags_share_a_request() -> None:
    with served() as server:
        found = server.count()
        assert server.transport.traffic.requests == 1
        assert not found.failures
        assert len(found.by_day) == TAGS


@pytest.mark.parametrize("streamset_limit", ["per_stream", "total"])
def test_no_request_asks_for_more_items_than_the_server_allows(streamset_limit: str) -> None:
    with served({"max_items_per_call": 6}, max_returned_items=6, streamset_limit=streamset_limit) as server:
        assert len(server.count().by_day) == TAGS
        assert server.transport.traffic.requests == 3


def test_no_request_makes_the_server_go_through_too_many_events(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(summaries, "MOST_EVENTS_COUNTED", 20)
    with served() as server:
        assert len(server.count(each=10).by_day) == TAGS
        assert server.transport.traffic.requests == 3
        assert server.by_day(1) == [2, 2, 0]
    with served() as server:
        # A tag alone that has too many is asked for in two parts.
        assert [*server.count(1, each=40).by_day[server.web_id(1)]] == [2, 2, 0]
        assert server.transport.traffic.requests == 2


@pytest.mark.parametrize("bad_stream_in_set", ["fail", "error", "missing"])
@pytest.mark.parametrize("read_mode", ["streamset", "batch"])
def test_a_tag_that_is_gone_is_named_and_the_others_are_counted(bad_stream_in_set: str, read_mode: str) -> None:
    with served({"read_mode": read_mode}, bad_stream_in_set=bad_stream_in_set) as server:
        found = server.count(1, 2, 99, 3)
        assert found.failures.keys() == {server.web_id(99)}
        assert found.by_day.keys() == {server.web_id(number) for number in (1, 2, 3)}


def test_a_server_that_counts_for_no_tag_is_not_asked_for_each_of_them() -> None:
    with served(max_returned_items=1) as server:
        wanted = dict.fromkeys(map(server.web_id, range(1, 65)), 1)
        with pytest.raises(Exception, match="maximum allowed"):
            server.counter.count(wanted, first_day=date(2026, 10, 24), days=DAYS)
        assert server.transport.traffic.requests < 30


def test_a_server_in_trouble_is_no_fault_of_a_tag() -> None:
    with served() as server:
        server.faults.add(Fault(kind=FaultKind.STATUS, status=503, route="streamsets/summary"))
        with pytest.raises(ServerTroubleError):
            server.count()
