"""From the changes that the server tells to the partitions that are loaded again, and to no others."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from pi_dagster.ingest import stream_updates
from pi_dagster.ingest.errors import PointsMissingError
from pi_dagster.ingest.load_plans import Partition
from pi_dagster.ingest.points import refresh_points
from pi_dagster.ingest.source import open_source
from pi_dagster.ingest.stream_updates import (
    Followed,
    Following,
    NoTagFollowedError,
    follow,
    has_to_be_loaded_again,
)
from pi_dagster.lake import Lake
from pi_dagster.simulator import Fault, FaultKind, RunningSimulator, Simulator, SimulatorSettings
from pi_dagster.simulator.archive import Archive, ArchiveChange, MemoryBase, UpdateOption
from pi_dagster.simulator.events import Events, to_ticks
from pi_dagster.simulator.points import Point
from pi_dagster.simulator.update_signups import CHANGED, TOO_MANY
from pi_dagster.site import Site

NOW = datetime(2026, 3, 18, 14, 30, tzinfo=timezone.utc)
TODAY = NOW.date()
POINTS = [Point(id=number, name=name) for number, name in enumerate(("BLR1", "BLR2", "PMP1", "PMP2", "ODD"), 1)]
BLR1, BLR2, PMP1, PMP2, ODD = POINTS
GROUPS = {"boilers", "pumps"}


def days_ago(*days: int) -> list[date]:
    return [TODAY - timedelta(days=back) for back in days]


@dataclass
class Plant:
    server: RunningSimulator
    base: MemoryBase
    site: Site
    lake: Lake
    following: Following = field(default_factory=Following)

    def look(self, *, goes_on: Callable[[], bool] = lambda: True) -> Followed:
        assert self.site.stream_updates is not None
        with open_source(self.site.server) as source:
            followed = follow(self.site, self.site.stream_updates, source, self.lake, self.following, goes_on=goes_on)
        self.following = followed.following
        return followed

    def list_tags(self) -> None:
        with open_source(self.site.server) as source:
            refresh_points(self.site, source, self.lake, run_id="")

    def write(self, point: Point, at: datetime, option: UpdateOption = UpdateOption.INSERT) -> None:
        self.server.archive.update(point, Events.of("Float32", [to_ticks(at)], [1.0]), option)

    def settings(self, **stream_updates: Any) -> None:
        values = self.site.model_dump()
        self.site = Site.model_validate({**values, "stream_updates": {**values["stream_updates"], **stream_updates}})


@pytest.fixture(name="clock")
def clock_of_the_server() -> list[datetime]:
    return [NOW]


@pytest.fixture
def plant(tmp_path: Path, clock: list[datetime]) -> Iterator[Plant]:
    base = MemoryBase(POINTS)
    settings = SimulatorSettings(now=lambda: to_ticks(clock[0]), max_pending_updates=50)
    with Simulator(archive=Archive(base), settings=settings).serve() as server:
        site = Site.model_validate(
            {
                "server": {"url": server.url, "retry_budget_seconds": 0},
                "lake": {"uri": str(tmp_path)},
                "start_date": TODAY - timedelta(days=100),
                "tag_groups": [
                    {"name": "boilers", "tag_filter": "BLR*"},
                    {"name": "pumps", "tag_filter": "PMP*"},
                    {"name": "tanks", "tag_filter": "TNK*"},
                ],
                "stream_updates": {"reread_days": 2},
            }
        )
        plant = Plant(server, base, site, Lake(uri=str(tmp_path)))
        plant.list_tags()
        yield plant


def recent(*groups: str) -> set[Partition]:
    return {(day, group) for day in days_ago(0, 1, 2) for group in groups}


def test_the_first_look_registers_and_takes_the_last_days_for_changed(plant: Plant) -> None:
    first = plant.look()
    assert first.partitions == recent(*GROUPS)
    assert (first.tags, first.unknown) == (4, {"boilers": 2, "pumps": 2})
    again = plant.look()
    assert (again.partitions, again.unknown, again.tags) == (set(), {}, 4)


def test_each_change_of_an_older_day_is_its_own_partition(plant: Plant) -> None:
    plant.look()
    old = NOW - timedelta(days=40)
    plant.write(BLR1, old)
    assert plant.look().partitions == {(old.date(), "boilers")}
    plant.write(BLR1, old, UpdateOption.REPLACE)
    assert plant.look().partitions == {(old.date(), "boilers")}
    plant.write(BLR1, old, UpdateOption.REMOVE)
    assert plant.look().partitions == {(old.date(), "boilers")}
    for point, days in ((PMP2, 3), (PMP2, 4), (BLR2, 3)):
        plant.write(point, NOW - timedelta(days=days))
    found = plant.look()
    assert found.partitions == {*((day, "pumps") for day in days_ago(3, 4)), *((day, "boilers") for day in days_ago(3))}
    assert found.actions == {"Add": 3}


def test_the_first_and_the_last_microsecond_belong_to_their_day(plant: Plant) -> None:
    plant.look()
    midnight = datetime.combine(TODAY - timedelta(days=5), datetime.min.time(), timezone.utc)
    plant.write(BLR1, midnight)
    plant.write(PMP1, midnight - timedelta(microseconds=1))
    assert plant.look().partitions == {(midnight.date(), "boilers"), (midnight.date() - timedelta(days=1), "pumps")}


def test_what_the_tail_reads_anyway_and_what_no_partition_holds_is_not_asked_for(plant: Plant) -> None:
    plant.look()
    plant.write(BLR1, NOW - timedelta(minutes=9))
    plant.write(BLR1, NOW + timedelta(hours=30))
    plant.write(BLR1, NOW - timedelta(days=101))
    plant.write(ODD, NOW - timedelta(days=3))
    found = plant.look()
    assert (found.partitions, found.actions) == (set(), {"Add": 3})
    plant.write(BLR2, NOW - timedelta(minutes=11))
    assert plant.look().partitions == {(TODAY, "boilers")}


MIDNIGHT = datetime(2026, 3, 18, tzinfo=timezone.utc)


@pytest.mark.parametrize(
    ("change", "server_now", "needed"),
    [
        (MIDNIGHT - timedelta(minutes=2), MIDNIGHT + timedelta(minutes=5), False),
        (MIDNIGHT - timedelta(minutes=6), MIDNIGHT + timedelta(minutes=5), True),
        (MIDNIGHT - timedelta(days=1), MIDNIGHT, True),
        (MIDNIGHT, MIDNIGHT + timedelta(minutes=10, seconds=10), False),
        (MIDNIGHT, MIDNIGHT + timedelta(minutes=10, seconds=11), True),
        (MIDNIGHT + timedelta(seconds=1), MIDNIGHT - timedelta(seconds=1), False),
    ],
)
def test_a_change_older_than_the_overlap_has_to_be_loaded(
    plant: Plant, change: datetime, server_now: datetime, needed: bool
) -> None:
    """The settling of a day, two hours after its end, is what a change in the last minutes of it can wait for."""
    assert has_to_be_loaded_again(plant.site, change.date(), change, server_now) is needed


def test_a_day_that_settles_at_its_end_does_not_wait_for_it(plant: Plant) -> None:
    site = plant.site.model_copy(update={"settle_hours": 0.0})
    last_minute, now = MIDNIGHT - timedelta(minutes=2), MIDNIGHT + timedelta(minutes=5)
    assert has_to_be_loaded_again(site, last_minute.date(), last_minute, now)


def test_a_day_that_may_have_settled_by_another_clock_does_not_wait_for_it(plant: Plant) -> None:
    site = plant.site.model_copy(update={"settle_hours": 0.1})
    last_minute, now = MIDNIGHT - timedelta(minutes=1), MIDNIGHT + timedelta(minutes=3)
    assert has_to_be_loaded_again(site, last_minute.date(), last_minute, now)


def test_a_look_whose_result_was_lost_is_taken_again(plant: Plant) -> None:
    plant.look()
    before = plant.following
    plant.write(BLR1, NOW - timedelta(days=3))
    found = plant.look().partitions
    plant.following = before
    plant.write(PMP1, NOW - timedelta(days=4))
    assert plant.look().partitions == {*found, (TODAY - timedelta(days=4), "pumps")}


@pytest.mark.parametrize("lose", ["markers of the server", "markers of ours"])
def test_lost_markers_are_registered_anew_and_the_last_days_taken_for_changed(plant: Plant, lose: str) -> None:
    plant.look()
    if lose == "markers of ours":
        plant.following = Following()
    else:
        plant.server.signups.forget()
    assert plant.look().partitions == recent(*GROUPS)
    plant.write(BLR1, NOW - timedelta(days=30))
    assert plant.look().partitions == {(TODAY - timedelta(days=30), "boilers")}


@pytest.mark.parametrize("reason", [CHANGED, TOO_MANY, "Refresh"])
def test_one_tag_whose_changes_are_not_known_concerns_its_group(plant: Plant, reason: str) -> None:
    plant.look()
    if reason == TOO_MANY:
        for minute in range(51):
            plant.write(PMP1, NOW - timedelta(days=20, minutes=minute))
    elif reason == "Refresh":
        [signup] = plant.server.signups._by_point[PMP1.id].values()
        signup.changes.append(ArchiveChange("Refresh", Events.of("Float32", [to_ticks(NOW)], [0.0])))
    else:
        plant.server.signups.unregister(PMP1, reason)
    found = plant.look()
    assert (found.partitions, found.unknown) == (recent("pumps"), {"pumps": 1})
    assert plant.look().partitions == set()


def test_tags_that_come_and_go_with_the_list(plant: Plant) -> None:
    plant.look()
    plant.base.add(Point(id=9, name="PMP9"))
    plant.base.drop(BLR2.id)
    plant.list_tags()
    found = plant.look()
    assert (found.partitions, found.unknown, found.tags) == (recent("pumps"), {"pumps": 1}, 4)
    plant.write(Point(id=9, name="PMP9"), NOW - timedelta(days=9))
    assert plant.look().partitions == {(TODAY - timedelta(days=9), "pumps")}


def test_a_tag_that_the_server_does_not_register_is_named_and_left_alone_for_a_while(
    plant: Plant, monkeypatch: pytest.MonkeyPatch
) -> None:
    plant.base.drop(BLR2.id)
    found = plant.look()
    assert (found.refused.keys(), found.tags) == ({"BLR2"}, 3)
    plant.server.requests.clear()
    assert plant.look().refused == {}
    assert "POST streamsets/updates" not in plant.server.requests.per_route
    plant.base.add(BLR2)
    monkeypatch.setattr(stream_updates, "REFUSED_PAUSE_SECONDS", 0.0)
    back = plant.look()
    assert (back.partitions, back.tags) == (recent("boilers"), 4)


def test_a_server_that_registers_no_tag_fails_the_look(plant: Plant) -> None:
    plant.server.faults.add(Fault(kind=FaultKind.STATUS, status=403, route="streamsets/updates"))
    with pytest.raises(NoTagFollowedError, match=r"registers none.*BLR1.*403"):
        plant.look()


def test_only_the_groups_that_the_site_names_are_followed(plant: Plant) -> None:
    plant.settings(tag_groups=["pumps"])
    assert plant.look().partitions == recent("pumps")
    plant.write(BLR1, NOW - timedelta(days=3))
    assert plant.look().actions == {}


def test_a_group_that_the_site_does_not_have_is_refused(plant: Plant) -> None:
    with pytest.raises(ValueError, match=r"`stream_updates.tag_groups` names pump, which"):
        plant.settings(tag_groups=["pump"])


@pytest.fixture
def one_tag_a_request(plant: Plant, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pi_dagster.piwebapi.stream_updates.TAGS_A_REQUEST", 1)
    plant.site = plant.site.model_copy(
        update={"server": plant.site.server.model_copy(update={"max_requests_in_flight": 1})}
    )


def time_for(requests: int) -> Callable[[], bool]:
    left = iter([True] * requests)
    return lambda: next(left, False)


@pytest.mark.usefixtures("one_tag_a_request")
def test_tags_for_which_no_time_is_left_come_first_the_next_time(plant: Plant) -> None:
    first = plant.look(goes_on=time_for(2))
    assert (first.tags, first.waiting, first.partitions) == (2, 2, recent("boilers"))
    second = plant.look(goes_on=time_for(4))
    assert (second.tags, second.waiting, second.partitions) == (4, 0, recent("pumps"))
    for number, point in enumerate((BLR1, BLR2, PMP1, PMP2), 3):
        plant.write(point, NOW - timedelta(days=number))
    some = plant.look(goes_on=time_for(2))
    assert (len(some.partitions), some.waiting) == (2, 2)
    others = plant.look(goes_on=time_for(2))
    assert {day for day, _ in some.partitions | others.partitions} == set(days_ago(3, 4, 5, 6))


@pytest.mark.usefixtures("one_tag_a_request")
def test_each_tag_has_its_turn_when_a_look_has_time_for_few(plant: Plant) -> None:
    more = [Point(id=number, name=f"PMP{number}") for number in range(10, 21)]
    for point in more:
        plant.base.add(point)
    plant.list_tags()
    plant.look()
    points = [BLR1, BLR2, PMP1, PMP2, *more]
    for number, point in enumerate(points, 3):
        plant.write(point, NOW - timedelta(days=number))
    looks = [plant.look(goes_on=time_for(3)) for _ in range(5)]
    assert {day for look in looks for day, _ in look.partitions} == set(days_ago(*range(3, 18)))


@pytest.mark.usefixtures("one_tag_a_request")
def test_a_new_tag_is_registered_although_the_others_take_all_the_time(plant: Plant) -> None:
    plant.look()
    plant.base.add(Point(id=9, name="PMP9"))
    plant.list_tags()
    found = plant.look(goes_on=time_for(3))
    assert (found.unknown, found.waiting) == ({"pumps": 1}, 2)


def test_tags_that_are_refused_keep_no_others_waiting(plant: Plant, monkeypatch: pytest.MonkeyPatch) -> None:
    plant.look()
    monkeypatch.setattr("pi_dagster.piwebapi.stream_updates.TAGS_A_REQUEST", 1)
    monkeypatch.setattr(stream_updates, "REFUSED_PAUSE_SECONDS", 0.0)
    plant.base.drop(BLR2.id)
    plant.server.signups.unregister(BLR2, CHANGED)
    assert plant.look().refused.keys() == {"BLR2"}
    plant.base.add(Point(id=9, name="PMP9"))
    plant.base.add(BLR2)
    plant.list_tags()
    plant.base.drop(BLR2.id)
    found = plant.look()
    assert (found.unknown, found.refused.keys()) == ({"pumps": 1}, {"BLR2"})


def test_no_request_is_sent_when_the_time_is_over_also_where_one_tag_refuses_all(plant: Plant) -> None:
    plant.server.faults.add(Fault(kind=FaultKind.STATUS, status=400, route="streamsets/updates"))
    plant.server.requests.clear()
    with pytest.raises(NoTagFollowedError):
        plant.look()
    asked_without_end = plant.server.requests.per_route["POST streamsets/updates"]
    plant.server.requests.clear()
    plant.look(goes_on=time_for(2))
    assert (asked_without_end, plant.server.requests.per_route["POST streamsets/updates"]) == (7, 2)


def test_a_list_of_tags_that_was_never_loaded_is_told(plant: Plant, tmp_path: Path) -> None:
    plant.lake = Lake(uri=str(tmp_path / "empty"))
    with pytest.raises(PointsMissingError, match="materialize pi_points first"):
        plant.look()
