"""Invariant 2 where it is hardest to keep: whatever stops a load leaves old rows or new ones; the next run heals."""

from __future__ import annotations

import shutil
import signal
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pyarrow as pa
import pytest

from pi_dagster.ingest.load_plans import Partition
from pi_dagster.ingest.points import refresh_points
from pi_dagster.ingest.source import open_source
from pi_dagster.ingest.tail import Watermark
from pi_dagster.lake import Lake, TimeseriesTable
from pi_dagster.simulator import Simulator, SimulatorSettings
from pi_dagster.simulator.archive import Archive, MemoryBase
from pi_dagster.simulator.events import Events, to_ticks
from pi_dagster.simulator.points import Point
from pi_dagster.site import LakeSettings, ServerSettings, Site, TagGroup
from pi_dagster_tests.archive_truth import KEY, TRUTH_SCHEMA, assert_equals_archive, truth
from pi_dagster_tests.fatal_steps import (
    at_once,
    die_at,
    steps_of,
    tail,
    whole_day,
    with_files_of_at_most,
    without_privileges,
)

DAY = datetime(2026, 11, 2, tzinfo=timezone.utc)
MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)
LAG = timedelta(seconds=10)
GROUPS = ("boilers", "pumps")


class Plant:
    """Two groups of one tag, an event a minute, and a table that the tails of a morning have filled."""

    def __init__(self, folder: Path) -> None:
        self.now = DAY + 10 * HOUR
        self.archive = _archive()
        simulator = Simulator(archive=self.archive, settings=SimulatorSettings(now=lambda: to_ticks(self.now)))
        self.server = simulator.serve()
        self.site = Site(
            server=ServerSettings(url=self.server.url, retry_budget_seconds=0, max_requests_in_flight=1),
            lake=LakeSettings(uri=str(folder / "lake")),
            start_date=DAY.date(),
            tag_groups=tuple(TagGroup(name=group, tag_filter=f"{group}*") for group in GROUPS),
        )
        self.watermarks: dict[Partition, Watermark] = {}

    def begin(self) -> None:
        """Tails until one of the next has an hour's files to merge."""
        with open_source(self.site.server) as source:
            refresh_points(self.site, source, Lake(self.site.lake.uri), run_id="points")
        for minutes in (0, 20, 40, 60, 65):
            self.now = DAY + 10 * HOUR + minutes * MINUTE + LAG
            self.watermarks = tail(self.site, self.watermarks, DAY.date())

    def go_on(self) -> None:
        """Time passes, and an event of the past is edited that the next load of any kind reads."""
        instant = self.now.replace(second=0) - 5 * MINUTE
        self.now += 15 * MINUTE
        for point in self.archive.points():
            self.archive.replace(point, Events.of("Float64", [to_ticks(instant)], [-1.0]))

    def truth(self) -> pa.Table:
        """What the table must hold when a load has reached the plant's now."""
        return truth(self.archive, self.archive.points(), DAY, self.now - LAG)

    def copy(self, folder: Path) -> Site:
        """The site with a copy of its lake."""
        shutil.copytree(self.site.lake.uri, folder)
        return self.site.model_copy(update={"lake": LakeSettings(uri=str(folder))})


def _archive() -> Archive:
    minutes = [DAY + minute * MINUTE for minute in range(1440)]
    events = Events.of("Float64", [to_ticks(minute) for minute in minutes], [float(minute.hour) for minute in minutes])
    points = [
        Point(id=number, name=f"{group}.1", point_type="Float64", created=DAY - HOUR)
        for number, group in enumerate(GROUPS, 1)
    ]
    return Archive(MemoryBase(points, {point.id: events for point in points}))


@pytest.fixture
def plant(tmp_path: Path) -> Iterator[Plant]:
    plant = Plant(tmp_path)
    with plant.server:
        plant.begin()
        yield plant


def rows(site: Site) -> pa.Table:
    return (
        TimeseriesTable.open(Lake(site.lake.uri)).to_arrow().select(TRUTH_SCHEMA.names).cast(TRUTH_SCHEMA).sort_by(KEY)
    )


LOADS = {"tail": tail, "whole day": whole_day}


@pytest.mark.parametrize("load", LOADS.values(), ids=LOADS)
def test_a_process_killed_at_any_step_leaves_old_rows_or_new_ones_and_the_next_run_heals(
    plant: Plant, tmp_path: Path, load: Callable[..., object]
) -> None:
    old = rows(plant.site)
    plant.go_on()
    arguments = plant.watermarks, DAY.date()
    done = plant.copy(tmp_path / "done")
    steps = steps_of(load, done, *arguments)
    new = rows(done)
    assert not new.equals(old)
    found = []
    for step in range(1, steps + 1):
        site = plant.copy(tmp_path / str(step))
        assert die_at(step, load, site, *arguments) == -signal.SIGKILL
        left = rows(site)
        assert left.equals(old) or left.equals(new)
        found.append(left.equals(new))
        tail(site, plant.watermarks, DAY.date())
        assert_equals_archive(rows(site), plant.truth())
    # Old up to some step, new from there on, and both are met.
    assert found == sorted(found)
    assert {*found} == {False, True}


SIZES = [0, 1_000, 3_000, 8_000]


def test_a_disk_that_is_full_at_any_size_leaves_old_rows_or_new_ones_and_room_heals(
    plant: Plant, tmp_path: Path
) -> None:
    """What fails, by the size: data files, the log's entry, the checkpoint that the last commits make due."""
    while TimeseriesTable.open(Lake(plant.site.lake.uri)).version % 20 != 19:
        plant.watermarks = tail(plant.site, plant.watermarks, DAY.date())
    old = rows(plant.site)
    plant.go_on()
    new = plant.truth()
    codes = {}
    for size in SIZES:
        site = plant.copy(tmp_path / str(size))
        codes[size] = with_files_of_at_most(size, tail, site, plant.watermarks, DAY.date())
        left = rows(site)
        assert left.equals(old if codes[size] else new)
        tail(site, plant.watermarks, DAY.date())
        assert_equals_archive(rows(site), new)
    assert {*codes.values()} == {0, 1}, codes


REFUSING = {"log": "pi_timeseries/_delta_log", "data": "pi_timeseries/partition_date=2026-11-02/tag_group=boilers"}


@pytest.mark.parametrize("folder", REFUSING.values(), ids=REFUSING)
def test_a_lake_that_refuses_to_be_written_keeps_the_old_rows_and_heals(
    plant: Plant, folder: str, tmp_path: Path
) -> None:
    old = rows(plant.site)
    plant.go_on()
    site = plant.copy(tmp_path / "copy")
    refusing = tmp_path / "copy" / folder
    refusing.chmod(0o555)
    assert without_privileges(tail, site, plant.watermarks, DAY.date()) == 1
    assert rows(site).equals(old)
    refusing.chmod(0o777)
    tail(site, plant.watermarks, DAY.date())
    assert_equals_archive(rows(site), plant.truth())


def test_a_tail_and_a_load_of_the_whole_day_at_once_leave_neither_gap_nor_double(plant: Plant, tmp_path: Path) -> None:
    plant.go_on()
    for number in range(2):
        site = plant.copy(tmp_path / str(number))
        assert at_once([tail, whole_day, tail], site, plant.watermarks, DAY.date()) == [0, 0, 0]
        assert_equals_archive(rows(site), plant.truth())
