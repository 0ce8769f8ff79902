"""Stream Updates in Dagster's daemon: from a late, edited or deleted event to a table that equals the archive."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, datetime, timedelta, timezone
from pathlib import Path

import dagster as dg
import pytest
from deltalake import DeltaTable

from pi_dagster.automation import stream_updates
from pi_dagster.automation.partitions import RANGE_END_TAG, RANGE_START_TAG, TAIL_TAG
from pi_dagster.automation.reload import partitions_of_run
from pi_dagster.automation.stream_updates import WHY
from pi_dagster.automation.updates_cursor import LONGEST_CURSOR
from pi_dagster.definitions import defs
from pi_dagster.simulator import Fault, FaultKind, RunningSimulator, Simulator, SimulatorSettings
from pi_dagster.simulator.archive import Archive, MemoryBase, UpdateOption
from pi_dagster.simulator.events import Events, to_ticks
from pi_dagster.simulator.points import Point
from pi_dagster_tests.archive_truth import assert_equals_archive, truth
from pi_dagster_tests.sensor_daemon import SensorDaemon, sensor_daemon

MIDNIGHT = datetime.now(timezone.utc).replace(hour=0, minute=0, second=0, microsecond=0)
NOON = MIDNIGHT + timedelta(hours=12)
"""The server's clock stands there."""

GROUPS = ["boilers", "pumps"]
POINTS = [Point(id=number, name=name) for number, name in enumerate(("BLR1", "BLR2", "PMP1", "PMP2"), 1)]
BLR1, BLR2, PMP1, PMP2 = POINTS
DAYS_LOADED = 5
SENSOR = "pi_stream_updates_sensor"
REREAD_DAYS = 1

SITE_FILE = """\
type: pi_dagster.components.PISystemComponent
attributes:
  server: {{url: "{url}", retry_budget_seconds: 0}}
  lake: {{uri: "{lake}"}}
  start_date: {start}
  asset_framework: null
  tag_groups:
    - {{name: boilers, tag_filter: BLR*}}
    - {{name: pumps, tag_filter: PMP*}}
  stream_updates: {{reread_days: 1}}
"""


def day(days_ago: int) -> date:
    return (MIDNIGHT - timedelta(days=days_ago)).date()


def at(days_ago: int, hour: float = 6) -> datetime:
    return MIDNIGHT - timedelta(days=days_ago) + timedelta(hours=hour)


RECENT = {f"{day(back)}|{group}" for back in range(REREAD_DAYS + 1) for group in GROUPS}


class Daemon(SensorDaemon):
    """The daemon with the sensor that follows stream updates."""

    def tick(self) -> set[str]:
        """The partitions that the sensor asks for; each once."""
        asked = [f"{day}|{group}" for run in self.runs_of_tick() for day, group in partitions_of_run(run, GROUPS)]
        assert len(asked) == len(set(asked))
        return set(asked)

    def run(self, job: str, **tags: str) -> None:
        """Run a job of the definitions in this process, some seconds after the last tick."""
        from dagster._core.test_utils import freeze_time

        definition = defs().get_repository_def().get_job(job)
        with freeze_time(self.now + timedelta(seconds=30)):
            assert definition.execute_in_process(instance=self.instance, tags=tags).success


@dataclass
class Plant:
    server: RunningSimulator
    base: MemoryBase
    lake: Path
    site_file: Path
    port: int

    def write(self, point: Point, instant: datetime, value: float, option: UpdateOption = UpdateOption.INSERT) -> None:
        self.server.archive.update(point, Events.of("Float32", [to_ticks(instant)], [value]), option)

    def assert_table_equals_archive(self, points: Sequence[Point] = POINTS) -> None:
        table = DeltaTable(str(self.lake / "pi_timeseries")).to_pyarrow_table()
        assert_equals_archive(table, truth(self.server.archive, points, at(DAYS_LOADED - 1, 0), NOON))


def serve(base: MemoryBase, archive: Archive | None = None, port: int = 0) -> RunningSimulator:
    settings = SimulatorSettings(now=lambda: to_ticks(NOON))
    return Simulator(archive=archive or Archive(base), settings=settings).serve(port=port)


@contextmanager
def served_plant(folder: Path) -> Iterator[Plant]:
    """The plant, behind an address of its own, with its lake and its site file in `folder`."""
    ticks = [to_ticks(at(back, hour)) for back in range(DAYS_LOADED) for hour in range(24)]
    events = Events.of("Float32", ticks, [float(number) for number in range(len(ticks))])
    base = MemoryBase(POINTS, {point.id: events for point in POINTS})
    running = serve(base)
    lake, site_file = folder / "lake", folder / "defs.yaml"
    site_file.write_text(SITE_FILE.format(url=running.url, lake=lake, start=day(20)), encoding="utf-8")
    plant = Plant(running, base, lake, site_file, int(running.url.rsplit(":", 1)[1].partition("/")[0]))
    try:
        yield plant
    finally:
        plant.server.close()


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the lake and Dagster's record after the plant was loaded, to be copied."""
    folder = tmp_path_factory.mktemp("loaded")
    with served_plant(folder) as plant, pytest.MonkeyPatch.context() as patched:
        patched.setenv("PI_DAGSTER_SITE", str(plant.site_file))
        with sensor_daemon(Daemon, SENSOR, folder) as daemon:
            daemon.run("load_pi_points")
            first, last = f"{day(DAYS_LOADED - 1)}|{GROUPS[0]}", f"{day(0)}|{GROUPS[-1]}"
            daemon.run("load_pi_timeseries", **{RANGE_START_TAG: first, RANGE_END_TAG: last})
    return folder


@pytest.fixture
def plant(loaded: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Plant]:
    shutil.copytree(loaded, tmp_path, dirs_exist_ok=True)
    with served_plant(tmp_path) as plant:
        monkeypatch.setenv("PI_DAGSTER_SITE", str(plant.site_file))
        yield plant


@pytest.fixture
def daemon(plant: Plant, tmp_path: Path) -> Iterator[Daemon]:
    """Its sensor has had its first tick."""
    with sensor_daemon(Daemon, SENSOR, tmp_path) as daemon:
        assert daemon.tick() == RECENT
        yield daemon


@pytest.fixture
def no_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    """Partitions are asked for again at once."""
    monkeypatch.setattr(stream_updates, "PAUSE", -timedelta(days=1))
    monkeypatch.setattr(stream_updates, "FAILED_PAUSE", -timedelta(days=1))
    monkeypatch.setattr("pi_dagster.automation.reload.RETRY_PAUSE", -timedelta(days=1))


@pytest.mark.usefixtures("no_rest")
def test_whatever_is_changed_the_table_equals_the_archive_and_nothing_else_is_loaded(
    plant: Plant, daemon: Daemon
) -> None:
    assert daemon.tick() == set()
    assert "Nothing has to be loaded again" in daemon.last_tick().skip_reason
    # Late, edited so that no count tells, deleted: each on a day and in a group of its own.
    plant.write(BLR1, at(3, 6.5), 1.0)
    assert daemon.tick() == {f"{day(3)}|boilers"}
    plant.write(PMP2, at(2, 6), -5.0, UpdateOption.REPLACE)
    assert daemon.tick() == {f"{day(2)}|pumps"}
    plant.write(BLR2, at(4, 23), 0.0, UpdateOption.REMOVE)
    assert daemon.tick() == {f"{day(4)}|boilers"}
    plant.assert_table_equals_archive()
    # Several at once; today as a whole, but not for what the tail reads.
    plant.write(PMP1, at(3, 6), 7.0, UpdateOption.REPLACE)
    plant.write(PMP1, at(2, 6), 7.0, UpdateOption.REPLACE)
    plant.write(BLR1, at(0, 3), 7.0, UpdateOption.REPLACE)
    plant.write(PMP2, NOON - timedelta(minutes=5), 7.0)
    assert daemon.tick() == {f"{day(3)}|pumps", f"{day(2)}|pumps", f"{day(0)}|boilers"}
    plant.write(PMP2, NOON - timedelta(minutes=5), 7.0, UpdateOption.REMOVE)
    # A day that was never loaded is read as it is when it is loaded first.
    plant.write(PMP1, at(10), 7.0)
    assert daemon.tick() == set()
    plant.assert_table_equals_archive()
    assert len(daemon.cursor()) < 100


def test_values_that_always_come_late_do_not_have_their_partition_loaded_all_the_time(
    plant: Plant, daemon: Daemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    plant.write(BLR1, at(3, 6.5), 1.0)
    assert daemon.tick() == {f"{day(3)}|boilers"}
    plant.write(BLR1, at(3, 6.6), 1.0)
    assert daemon.tick() == set()
    assert "to be asked for later: 1" in daemon.last_tick().skip_reason
    daemon.restart()
    monkeypatch.setattr(stream_updates, "PAUSE", -timedelta(days=1))
    assert daemon.tick() == {*RECENT, f"{day(3)}|boilers"}, "what rests is not forgotten by a restart"
    plant.assert_table_equals_archive()


@pytest.mark.usefixtures("no_rest")
def test_a_restart_of_pi_web_api_or_of_dagster_loads_the_last_days_again_and_goes_on(
    plant: Plant, daemon: Daemon
) -> None:
    plant.write(BLR1, at(1), -1.0, UpdateOption.REPLACE)
    plant.server.close()
    plant.server = serve(plant.base, plant.server.archive, plant.port)
    assert daemon.tick() == RECENT
    plant.write(BLR1, at(1), -2.0, UpdateOption.REPLACE)
    daemon.restart()
    assert daemon.tick() == RECENT
    plant.write(BLR1, at(4), -1.0, UpdateOption.REPLACE)
    assert daemon.tick() == {f"{day(4)}|boilers"}
    plant.assert_table_equals_archive()


@pytest.mark.usefixtures("no_rest")
def test_a_server_that_is_away_fails_the_tick_and_the_next_one_misses_nothing(plant: Plant, daemon: Daemon) -> None:
    plant.write(BLR1, at(3), -1.0, UpdateOption.REPLACE)
    cursor = daemon.cursor()
    down = plant.server.faults.add(Fault(kind=FaultKind.STATUS, status=503))
    assert daemon.tick() == set()
    assert (daemon.last_status(), daemon.cursor()) == ("FAILURE", cursor)
    assert "503" in str(daemon.last_tick().error)
    # It answers, but its clock, which is asked last, does not: the changes are told, and must be told again.
    plant.server.faults.clear(down)
    no_clock = plant.server.faults.add(Fault(kind=FaultKind.STATUS, status=503, route="system/status"))
    assert daemon.tick() == set()
    plant.server.faults.clear(no_clock)
    plant.write(PMP1, at(4), -1.0, UpdateOption.REPLACE)
    assert daemon.tick() == {f"{day(3)}|boilers", f"{day(4)}|pumps"}
    plant.assert_table_equals_archive()


@pytest.mark.usefixtures("no_rest")
def test_a_tick_whose_runs_dagster_never_saved_is_taken_again(plant: Plant, daemon: Daemon) -> None:
    """Somebody presses *Test sensor*, or the daemon is killed between the tick and its runs."""
    plant.write(BLR1, at(3), -1.0, UpdateOption.REPLACE)
    (location,) = daemon.workspace.create_request_context().code_locations
    tested = location.get_sensor_execution_data(
        daemon.instance,
        daemon.sensor.handle.repository_handle,
        daemon.sensor.name,
        None,
        None,
        daemon.cursor(),
        None,
        None,
    )
    assert [request.tags["pi/load"] for request in tested.run_requests] == [f"pi_timeseries: {WHY}"]
    assert daemon.tick() == {f"{day(3)}|boilers"}
    plant.assert_table_equals_archive()


def test_a_change_whose_run_failed_is_asked_for_again_after_a_rest(
    plant: Plant, daemon: Daemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    plant.write(BLR1, at(3), -1.0, UpdateOption.REPLACE)
    plant.write(PMP1, at(4), -1.0, UpdateOption.REPLACE)
    broken = plant.server.faults.add(Fault(kind=FaultKind.STATUS, status=500, route="streamsets/recorded"))
    assert daemon.tick() == {f"{day(3)}|boilers", f"{day(4)}|pumps"}
    plant.server.faults.clear(broken)
    assert daemon.tick() == set(), "a moment after it failed"
    # Somebody loads one of the two by hand, as the schedule would.
    daemon.run("load_pi_timeseries", **{RANGE_START_TAG: f"{day(4)}|pumps", RANGE_END_TAG: f"{day(4)}|pumps"})
    monkeypatch.setattr(stream_updates, "FAILED_PAUSE", -timedelta(days=1))
    monkeypatch.setattr("pi_dagster.automation.reload.RETRY_PAUSE", -timedelta(days=1))
    assert daemon.tick() == {f"{day(3)}|boilers"}
    plant.assert_table_equals_archive()
    assert daemon.tick() == set()


@pytest.mark.usefixtures("no_rest")
def test_a_partition_that_is_being_loaded_is_asked_for_when_that_is_over(plant: Plant, daemon: Daemon) -> None:
    """The run may have read the tag before the change; this goes for a first load too."""
    plant.write(BLR1, at(3), -1.0, UpdateOption.REPLACE)
    plant.write(BLR1, at(8), -1.0)
    job = defs().get_repository_def().get_job("load_pi_timeseries")
    runs = [
        daemon.instance.create_run_for_job(
            job,
            tags={RANGE_START_TAG: f"{day(back)}|boilers", RANGE_END_TAG: f"{day(back)}|boilers"},
            status=dg.DagsterRunStatus.STARTED,
        )
        for back in (3, 8)
    ]
    assert daemon.tick() == set()
    for run in runs:
        daemon.instance.report_run_canceled(run)
    assert daemon.tick() == {f"{day(3)}|boilers"}, "the first load of the other was given up; the next one reads it all"
    plant.assert_table_equals_archive()


@pytest.mark.usefixtures("no_rest")
def test_a_day_that_a_tail_is_the_first_to_load_is_asked_for_when_that_is_over(plant: Plant, daemon: Daemon) -> None:
    """After an outage a tail reads today from midnight, and may have read the tag before the change."""
    plant.write(BLR1, at(8), -1.0)
    tags = {TAIL_TAG: "true", RANGE_START_TAG: f"{day(8)}|boilers", RANGE_END_TAG: f"{day(8)}|pumps"}
    job = defs().get_repository_def().get_job("load_pi_timeseries")
    tail = daemon.instance.create_run_for_job(job, tags=tags, status=dg.DagsterRunStatus.STARTED)
    assert daemon.tick() == set()
    daemon.run("load_pi_timeseries", **{RANGE_START_TAG: f"{day(8)}|boilers", RANGE_END_TAG: f"{day(8)}|boilers"})
    daemon.instance.report_run_canceled(tail)
    assert daemon.tick() == {f"{day(8)}|boilers"}


@pytest.mark.usefixtures("no_rest")
def test_a_run_that_failed_before_a_server_was_away_for_days_is_not_forgotten(
    plant: Plant, daemon: Daemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    plant.write(BLR1, at(3), -1.0, UpdateOption.REPLACE)
    broken = plant.server.faults.add(Fault(kind=FaultKind.STATUS, status=500, route="streamsets/recorded"))
    assert daemon.tick() == {f"{day(3)}|boilers"}
    plant.server.faults.clear(broken)
    monkeypatch.setattr(stream_updates, "_now", lambda: datetime.now(timezone.utc) + timedelta(days=4))
    assert daemon.tick() == {f"{day(3)}|boilers"}
    plant.assert_table_equals_archive()


@pytest.mark.usefixtures("no_rest")
def test_a_new_tag_is_followed_and_the_last_days_of_its_group_are_loaded(plant: Plant, daemon: Daemon) -> None:
    new = Point(id=9, name="PMP9")
    plant.base.add(new, Events.of("Float32", [to_ticks(at(1))], [9.0]))
    assert daemon.tick() == set()
    daemon.run("load_pi_points")
    assert daemon.tick() == {key for key in RECENT if key.endswith("pumps")}
    plant.assert_table_equals_archive([*POINTS, new])
    plant.write(new, at(4), 4.0)
    assert daemon.tick() == {f"{day(4)}|pumps"}
    plant.assert_table_equals_archive([*POINTS, new])


@pytest.mark.usefixtures("no_rest")
def test_changes_of_more_days_than_a_tick_asks_for_are_asked_for_by_the_next_ones(
    plant: Plant, daemon: Daemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pi_dagster.automation.stream_updates.RUNS_A_TICK", 1)
    for back, point in ((4, BLR1), (2, BLR1), (3, PMP1)):
        plant.write(point, at(back), -1.0, UpdateOption.REPLACE)
    asked = [daemon.tick() for _ in range(4)]
    assert asked == [{f"{day(2)}|boilers"}, {f"{day(3)}|pumps"}, {f"{day(4)}|boilers"}, set()]
    plant.assert_table_equals_archive()
    assert len(daemon.cursor()) < LONGEST_CURSOR


def test_only_a_site_that_wants_it_has_the_sensor(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PI_DAGSTER_SITE", raising=False)
    assert SENSOR not in {sensor.name for sensor in defs().get_repository_def().sensor_defs}
    monkeypatch.setenv("PI_DAGSTER_SITE", str(Path(__file__).parents[1] / "docs" / "example-site" / "defs.yaml"))
    [sensor] = [sensor for sensor in defs().get_repository_def().sensor_defs if sensor.name == f"plant1_{SENSOR}"]
    assert sensor.default_status.value == "STOPPED"
    assert sensor.minimum_interval_seconds == 60
