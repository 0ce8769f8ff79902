"""What comparing counts finds, and what it must not take for a difference."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date, datetime, timedelta, timezone
from pathlib import Path

import pytest
from deltalake import DeltaTable

from benchmarks.reconcile import Size, compare, find, loaded_plant, plant_differences
from pi_dagster.ingest import reconcile
from pi_dagster.ingest.points import refresh_points
from pi_dagster.ingest.reconcile import Comparison, Reconciler
from pi_dagster.ingest.source import open_source
from pi_dagster.ingest.timeseries import load_partition
from pi_dagster.lake import Lake, PointsTable
from pi_dagster.simulator import Fault, FaultKind, RunningSimulator, Simulator, SimulatorSettings
from pi_dagster.simulator.archive import Archive, MemoryBase
from pi_dagster.simulator.events import Events, to_ticks
from pi_dagster.simulator.points import Point
from pi_dagster.site import Site, TagGroup
from pi_dagster.webid import point_webid

FIRST = datetime(2026, 10, 24, tzinfo=timezone.utc)
DAYS = [date(2026, 10, 24), date(2026, 10, 25)]
NOON = FIRST + timedelta(hours=12)
SHUTDOWN, BAD = 254, 1


@pytest.mark.parametrize("server", [{}, {"count_of_nothing": "no_data", "streamset_limit": "total"}])
def test_every_planted_difference_is_found_and_nothing_else(tmp_path: Path, server: dict[str, str]) -> None:
    size = Size(tags=60, days=4, planted=40, shards=2)
    with loaded_plant(str(tmp_path), size, **server) as (site, archive):
        assert not [one for one in compare(site, size)[0] if one.differences or one.uncounted]
        outcome = find(site, size, plant_differences(archive, size))
    assert outcome.found == outcome.planted
    assert not outcome.found_after_reload


class Plant:
    """Tags A1 to A9 and B1 with an event an hour, of which A1 to A6 have some system states, two days loaded."""

    def __init__(self, running: RunningSimulator, folder: Path) -> None:
        self.archive = running.archive
        self.faults = running.faults
        self.site = Site.model_validate(
            {
                "server": {"url": running.url, "retry_budget_seconds": 0},
                "lake": {"uri": str(folder / "lake")},
                "start_date": DAYS[0],
                "tag_groups": [{"name": "a", "tag_filter": "A*"}, {"name": "b", "tag_filter": "B*"}],
            }
        )
        self.lake = Lake(self.site.lake.uri)
        self.list_tags()
        for group in ("a", "b"):
            self.load(group)

    def list_tags(self) -> None:
        with open_source(self.site.server) as source:
            refresh_points(self.site, source, self.lake, run_id="points")

    def load(self, group: str) -> None:
        with open_source(self.site.server) as source:
            for day in DAYS:
                load_partition(self.site, source, self.lake, day=day, tag_group=group, run_id="load")

    def web_id(self, name: str) -> str:
        point = self.point(name)
        return point_webid(self.archive.server_id, point.id, self.archive.server_name, name).identity

    def point(self, name: str) -> Point:
        point = self.archive.point_by_name(name)
        assert point is not None
        return point

    def insert(self, name: str, at: datetime = NOON, *, state: int = -1) -> None:
        self.archive.insert(self.point(name), Events.of("Float32", [to_ticks(at)], [1.0], states=[state]))

    def remove(self, name: str, at: datetime = NOON) -> None:
        self.archive.remove(self.point(name), Events.of("Float32", [to_ticks(at)], [1.0]))

    def compare(self, group: str = "a") -> Comparison:
        with open_source(self.site.server) as source:
            (found,) = Reconciler(self.site, source, self.lake).compare(group, DAYS, requests=100)
            return found

    def differences(self, group: str = "a") -> list[tuple[str, int, int]]:
        return [(one.tag_name, one.server, one.table) for one in self.compare(group).differences]


@contextmanager
def served(folder: Path, **settings: object) -> Iterator[Plant]:
    names = [*(f"A{number}" for number in range(1, 10)), "B1"]
    ticks = [to_ticks(FIRST + timedelta(hours=hour)) for hour in range(48)]
    good = Events.of("Float32", ticks, [1.0] * 48)
    states = [SHUTDOWN if hour % 24 == 3 else -1 for hour in range(48)]
    troubled = Events.of("Float32", ticks, [1.0] * 48, states=states, flags=[BAD if s > 0 else 0 for s in states])
    points = [Point(id=number, name=name) for number, name in enumerate(names, 1)]
    events = {point.id: troubled if point.id <= 6 else good for point in points}
    now = to_ticks(FIRST + timedelta(days=3))
    simulator = Simulator(
        archive=Archive(MemoryBase(points, events)),
        settings=SimulatorSettings(now=lambda: now, **settings),  # type: ignore[arg-type]
    )
    with simulator.serve() as running:
        yield Plant(running, folder)


@pytest.mark.parametrize("count_includes_bad", [True, False])
def test_bad_values_are_compared_as_the_server_counts_them(tmp_path: Path, count_includes_bad: bool) -> None:
    with served(tmp_path, count_includes_bad=count_includes_bad) as plant:
        found = plant.compare()
        assert not found.differences
        # Twelve tag-days have bad values, and tell how they are counted: none has to be read.
        assert (found.suspects, found.read) == (0, 0)
        plant.remove("A1")
        plant.insert("A9", NOON + timedelta(minutes=1))
        assert plant.differences() == [("A1", 23, 24), ("A9", 25, 24)]
        plant.insert("A2", NOON + timedelta(minutes=1), state=SHUTDOWN)
        # What counts cannot see: one more bad value where the server does not count those.
        assert [name for name, _, _ in plant.differences()] == (
            ["A1", "A2", "A9"] if count_includes_bad else ["A1", "A9"]
        )


def test_an_edit_is_not_seen(tmp_path: Path) -> None:
    with served(tmp_path) as plant:
        plant.archive.replace(plant.point("A9"), Events.of("Float32", [to_ticks(NOON)], [99.0]))
        assert not plant.compare().differences


def test_a_tag_that_the_server_does_not_count_is_named_and_no_difference(tmp_path: Path) -> None:
    with served(tmp_path) as plant:
        plant.insert("A1")
        plant.faults.add(
            Fault(kind=FaultKind.STATUS, status=403, route="streamsets/summary", web_id=plant.web_id("A9"))
        )
        found = plant.compare()
        assert [tag.tag_name for tag in found.uncounted] == ["A9"]
        assert [one.tag_name for one in found.differences] == ["A1"]
        assert found.tag_days == 8 * len(DAYS)


def test_a_difference_that_cannot_be_looked_at_is_none(tmp_path: Path) -> None:
    with served(tmp_path) as plant:
        plant.insert("A9", NOON + timedelta(minutes=1))
        plant.faults.add(Fault(kind=FaultKind.STATUS, status=403, route="streamsets/recorded"))
        found = plant.compare()
        assert not found.differences
        assert [tag.tag_name for tag in found.uncounted] == ["A9"]


def test_a_newest_event_that_is_counted_but_not_sent_makes_no_difference(tmp_path: Path) -> None:
    with served(tmp_path, recorded_includes_snapshot=False) as plant:
        plant.insert("A8", NOON + timedelta(minutes=1))
        found = plant.compare()
        assert [(one.day, one.tag_name) for one in found.differences] == [(DAYS[0], "A8")]
        assert found.suspects == found.read == 10


def test_where_very_much_differs_only_some_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reconcile, "MOST_READ_A_PARTITION", 2)
    with served(tmp_path) as plant:
        for number in range(1, 10):
            plant.insert(f"A{number}", NOON + timedelta(minutes=1))
        found = plant.compare()
        assert found.read == 2
        assert [one.tag_name for one in found.differences] == [f"A{number}" for number in range(1, 10)]


def test_what_no_way_of_counting_explains_is_read_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reconcile, "MOST_READ_A_PARTITION", 2)
    monkeypatch.setattr(reconcile, "_VOTES_THAT_DECIDE", 99)
    with served(tmp_path) as plant:
        plant.insert("A9", NOON + timedelta(minutes=1))
        found = plant.compare()
        assert (found.suspects, found.read) == (13, 4)
        assert [(one.day, one.tag_name) for one in found.differences] == [(DAYS[0], "A9")]
        assert found.not_looked_at == 4, "of the other day, on which none that was read differs"


def test_many_tags_that_changed_groups_are_found_although_only_some_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reconcile, "MOST_READ_A_PARTITION", 1)
    with served(tmp_path) as plant:
        mix_groups_up(plant)
        wanted = {partition for one in plant.compare("b").differences for partition in one.partitions}
        assert wanted == {(day, "b") for day in DAYS}
        plant.load("b")
        assert not plant.compare("b").differences


def test_days_with_very_many_events_are_compared_in_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reconcile, "MOST_EVENTS_COUNTED", 250)
    with served(tmp_path) as plant, open_source(plant.site.server) as source:
        parts = [*Reconciler(plant.site, source, plant.lake).compare("a", DAYS, requests=1)]
        assert [part.partitions for part in parts] == [[(day, "a")] for day in DAYS]


def test_a_tag_that_moved_to_another_group_is_not_missed_there(tmp_path: Path) -> None:
    with served(tmp_path) as plant:
        move_b1(plant)
        assert not plant.compare("a").differences


def test_tags_that_are_missed_or_found_twice_after_a_move_are_healed_by_loads_of_both_groups(tmp_path: Path) -> None:
    with served(tmp_path) as plant:
        mix_groups_up(plant)
        assert plant.differences("b") == [("A9", 24, 0), ("B1", 24, 48)] * len(DAYS)
        wanted = {partition for one in plant.compare("b").differences for partition in one.partitions}
        assert wanted == {(day, group) for day in DAYS for group in ("a", "b")}
        plant.load("b")
        assert not plant.compare("b").differences
        assert not plant.compare("a").differences


def move_b1(plant: Plant) -> None:
    """The first group takes B1 too; the second has A9 instead, or it would have no tags."""
    groups = (TagGroup(name="a", tags=("B1", "A1")), TagGroup(name="b", tag_filter="A9"))
    plant.site = plant.site.model_copy(update={"tag_groups": groups})
    plant.list_tags()


def mix_groups_up(plant: Plant) -> None:
    """B1 is in both groups, as the list was made anew and no load knows of the move; the rows of A9 are lost."""
    points = PointsTable.open(plant.lake)
    points.replace(points.read().slice(0, 0), {})
    move_b1(plant)
    plant.load("a")
    DeltaTable(plant.lake.table_uri("pi_timeseries")).delete("tag_name = 'A9'")
