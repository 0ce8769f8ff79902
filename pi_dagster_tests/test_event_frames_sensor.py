"""The event frame sensor in Dagster's daemon: from a change on the server to the row in the table, and nothing else."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from datetime import date, datetime, timedelta, timezone
from pathlib import Path

import dagster as dg
import pytest
from deltalake import DeltaTable

from pi_dagster.automation.event_frames import changes_tag
from pi_dagster.automation.frame_days import day_range_tags, days_of_run
from pi_dagster.automation.last_check import last_evaluation
from pi_dagster.definitions import defs
from pi_dagster.simulator import Fault, FaultKind
from pi_dagster_tests.framed_plant import FramedPlant, at, day, framed_plant
from pi_dagster_tests.sensor_daemon import SensorDaemon, sensor_daemon

SENSOR = "pi_event_frame_sensor"


class Daemon(SensorDaemon):
    """The daemon with the event frame sensor."""

    def tick(self) -> list[list[str]]:
        """The days of each run that the sensor asks for, the oldest day first."""
        return sorted([str(day) for day in days_of_run(run)] for run in self.runs_of_tick())

    def materialized(self) -> set[str]:
        return self.instance.get_materialized_partitions(dg.AssetKey("pi_event_frames"))

    def frames_told_unread(self) -> list[str]:
        """The event frames that the check `every_frame_read` told last; it passes when it tells none."""
        told = last_evaluation(self.instance, dg.AssetCheckKey(dg.AssetKey("pi_event_frames"), "every_frame_read"))
        assert told is not None
        table = told.metadata["pi/failed_frames"]
        assert isinstance(table, dg.TableMetadataValue)
        assert told.passed == (not table.records)
        return [str(record.data["event frame"]) for record in table.records]


@pytest.fixture
def plant(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FramedPlant]:
    with framed_plant(tmp_path) as plant:
        monkeypatch.setenv("PI_DAGSTER_SITE", str(plant.site_file))
        yield plant


@pytest.fixture
def daemon(plant: FramedPlant, tmp_path: Path) -> Iterator[Daemon]:
    with sensor_daemon(Daemon, SENSOR, tmp_path) as daemon:
        yield daemon


def test_a_scripted_day_is_in_the_table_and_no_other_day_was_asked_for(plant: FramedPlant, daemon: Daemon) -> None:
    frames, pumps = plant.frames, plant.pumps
    plant.server.requests.clear()
    assert daemon.tick() == [], "a plant without event frames asks for nothing"

    # Frames open, two of one name, one with children on two days.
    stop = frames.open("P-101 stop", start=at(1, 6), template="Unplanned Downtime", elements=[pumps[0]])
    twins = [frames.open("Alarm", start=at(1, 6, second=n), template="Excursion", elements=pumps[:2]) for n in (0, 0)]
    batch = frames.open("Batch 7", start=at(2, 23), template="Batch", elements=[pumps[2]])
    frames.open("Charge", start=at(2, 23), parent=batch.id, end=at(1, 1))
    frames.open("React", start=at(1, 1), parent=batch.id)
    assert daemon.tick() == [[day(2), day(1)]]
    assert plant.rows() == plant.expected_rows()
    assert daemon.tick() == [], "nothing has changed"

    # One closes, one changes its severity, one is acknowledged; each on its day.
    frames.close(stop.id, at(1, 9), attributes={"Lost Production": 12.5, "Reason": "Electrical", "Shift": "Früh"})
    assert daemon.tick() == [[day(1)]]
    frames.edit(batch.id, severity="Critical")
    assert daemon.tick() == [[day(2)]]
    frames.acknowledge(twins[0].id, at=at(1, 10))
    assert daemon.tick() == [[day(1)]]
    assert plant.rows() == plant.expected_rows()
    assert daemon.tick() == []

    # Late ones: three days ago, and one so old that no look-back reaches it.
    frames.open("late", start=at(3), end=at(3, 7), template="Downtime")
    frames.open("too late", start=at(40), end=at(40, 7))
    assert daemon.tick() == [[day(3)]]
    assert plant.rows() == plant.expected_rows(days_ago=39)

    # Deleted, with its children; then the last one of a day.
    frames.delete(batch.id)
    assert daemon.tick() == [[day(2), day(1)]]
    frames.delete(next(frame.id for frame in frames.all_frames() if frame.name == "late"))
    assert daemon.tick() == [[day(3)]]
    assert plant.rows() == plant.expected_rows(days_ago=39)

    # Five thousand in one minute.
    for number in range(5000):
        frames.open("Burst", start=at(1, 12, second=number % 60), template="Excursion", elements=[pumps[number % 3]])
    assert daemon.tick() == [[day(1)]], "a burst is one run"
    assert plant.rows() == plant.expected_rows(days_ago=39)
    assert daemon.tick() == []
    assert daemon.materialized() == {day(1), day(2), day(3)}
    assert len(daemon.cursor()) < 50


def test_an_open_frame_is_followed_until_it_closes_however_old(plant: FramedPlant, daemon: Daemon) -> None:
    old = plant.frames.open("campaign", start=at(300), template="Batch")
    assert daemon.tick() == [[day(300)]]
    assert daemon.tick() == []
    plant.frames.edit(old.id, severity="Minor")
    assert daemon.tick() == [[day(300)]]
    plant.frames.close(old.id, at(1, 9))
    assert daemon.tick() == [[day(300)]]
    assert daemon.tick() == []
    assert plant.rows() == plant.expected_rows()
    plant.frames.edit(old.id, severity="Major")
    assert daemon.tick() == [], "a closed frame that old is for a backfill"


def test_an_old_open_frame_that_is_deleted_leaves_the_table(plant: FramedPlant, daemon: Daemon) -> None:
    old = plant.frames.open("campaign", start=at(300), template="Batch")
    daemon.tick()
    plant.frames.delete(old.id)
    assert daemon.tick() == [[day(300)]]
    assert plant.rows() == {}


def test_a_frame_whose_start_moves_is_asked_for_on_both_days(plant: FramedPlant, daemon: Daemon) -> None:
    frame = plant.frames.open("batch", start=at(5), end=at(1), template="Batch")
    daemon.tick()
    plant.frames.edit(frame.id, start=at(2))
    assert daemon.tick() == [[day(5)], [day(2)]]
    assert plant.rows() == plant.expected_rows()


def test_days_that_follow_each_other_are_one_run(plant: FramedPlant, daemon: Daemon) -> None:
    for days_ago in (0, 1, 2, 4, 5, 6):
        plant.frames.open("stop", start=at(days_ago, 0), end=at(days_ago, 0, 1))
    assert daemon.tick() == [[day(5), day(4)], [day(2), day(1), day(0)]]
    assert daemon.tick() == [[day(6)]], "the older days have their turn"
    assert plant.rows() == plant.expected_rows()


def test_a_server_that_is_away_fails_the_tick_and_the_next_one_misses_nothing(
    plant: FramedPlant, daemon: Daemon
) -> None:
    daemon.tick()
    frame = plant.frames.open("stop", start=at(1), template="Downtime")
    down = plant.server.faults.add(Fault(kind=FaultKind.STATUS, status=503))
    cursor = daemon.cursor()
    assert daemon.tick() == []
    assert daemon.last_status() == "FAILURE"
    assert "503" in str(daemon.last_tick().error)
    assert daemon.cursor() == cursor
    plant.frames.close(frame.id, at(1, 7))
    plant.server.faults.clear(down)
    assert daemon.tick() == [[day(1)]]
    assert plant.rows() == plant.expected_rows()


def test_a_server_that_is_too_slow_fails_the_tick_before_dagster_ends_it(
    plant: FramedPlant, daemon: Daemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr("pi_dagster.automation.event_frames.TICK_SECONDS", -1.0)
        assert daemon.tick() == []
        assert daemon.last_status() == "FAILURE", "searches that find nothing take their time too"
        plant.frames.open("stop", start=at(1), template="Downtime")
        assert daemon.tick() == []
    assert daemon.last_status() == "FAILURE"
    assert "event_frames.lookback_days" in str(daemon.last_tick().error)
    assert daemon.tick() == [[day(1)]]


def test_a_change_whose_run_failed_is_asked_for_again_when_it_had_its_rest(
    plant: FramedPlant, daemon: Daemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    plant.frames.open("stop", start=at(1), template="Downtime")
    broken = plant.server.faults.add(Fault(kind=FaultKind.STATUS, status=500, route="streamsets/*"))
    assert daemon.tick() == [[day(1)]]
    assert daemon.materialized() == set()
    plant.server.faults.clear(broken)
    assert daemon.tick() == [], "a moment after it failed"
    plant.frames.open("other", start=at(2))
    assert daemon.tick() == [[day(2)]], "other days do not wait for it"
    monkeypatch.setattr("pi_dagster.automation.event_frames.RETRY_PAUSE", -timedelta(hours=1))
    assert daemon.tick() == [[day(1)]]
    assert plant.rows() == plant.expected_rows()


def test_a_day_rests_after_a_failure_however_long_its_run_took(
    plant: FramedPlant, daemon: Daemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    plant.frames.open("stop", start=at(1), template="Downtime")
    yesterday = date.fromisoformat(day(1))
    tags = {**changes_tag(dg.AssetKey("pi_event_frames")), **day_range_tags(yesterday, yesterday)}
    run = dg.DagsterRun("load_pi_event_frames", tags=tags, status=dg.DagsterRunStatus.STARTED)
    daemon.instance.run_storage.add_historical_run(run, datetime.now(timezone.utc) - timedelta(minutes=20))
    daemon.instance.report_run_failed(run)
    assert daemon.tick() == []
    monkeypatch.setattr("pi_dagster.automation.event_frames.RETRY_PAUSE", -timedelta(hours=1))
    assert daemon.tick() == [[day(1)]]


def test_a_day_that_is_being_loaded_is_not_asked_for_twice_and_not_forgotten(
    plant: FramedPlant, daemon: Daemon
) -> None:
    plant.frames.open("stop", start=at(1), template="Downtime")
    assert daemon.tick() == [[day(1)]]
    (run,) = [record.dagster_run for record in daemon.instance.get_run_records()]
    job = defs().get_repository_def().get_job(run.job_name)
    queued = daemon.instance.create_run_for_job(job, tags=dict(run.tags), status=dg.DagsterRunStatus.STARTED)
    plant.frames.open("another", start=at(1), template="Downtime")
    assert daemon.tick() == []
    daemon.instance.report_run_canceled(queued)
    daemon.instance.delete_run(queued.run_id)
    assert daemon.tick() == [[day(1)]]
    assert plant.rows() == plant.expected_rows()


def test_a_sensor_that_is_lost_before_its_runs_begin_asks_for_them_again(plant: FramedPlant, daemon: Daemon) -> None:
    """What a tick asked for is remembered nowhere, so nothing of it can be lost."""
    frame = plant.frames.open("stop", start=at(1), template="Downtime")
    repository = defs().get_repository_def()
    cursor = None
    for _ in range(2):
        with dg.build_sensor_context(
            daemon.instance, cursor=cursor, repository_def=repository, resources=repository.get_top_level_resources()
        ) as context:
            tick = repository.get_sensor_def(SENSOR).evaluate_tick(context)
        cursor = tick.cursor
        assert [request.tags["dagster/asset_partition_range_start"] for request in tick.run_requests or []] == [day(1)]
    plant.frames.close(frame.id, at(1, 7))
    assert daemon.tick() == [[day(1)]]
    assert plant.rows() == plant.expected_rows()


def test_a_day_that_somebody_loaded_by_hand_is_not_asked_for(plant: FramedPlant, daemon: Daemon) -> None:
    plant.frames.open("stop", start=at(1), template="Downtime")
    job = defs().get_repository_def().get_job("load_pi_event_frames")
    assert job.execute_in_process(instance=daemon.instance, partition_key=day(1)).success
    assert daemon.tick() == []
    assert plant.rows() == plant.expected_rows()


def test_an_old_day_that_somebody_loaded_by_hand_is_not_asked_for(plant: FramedPlant, daemon: Daemon) -> None:
    """The sensor knows old days from an earlier look at Dagster's record."""
    frame = plant.frames.open("stop", start=at(100), end=at(99))
    job = defs().get_repository_def().get_job("load_pi_event_frames")
    assert job.execute_in_process(instance=daemon.instance, partition_key=day(100)).success
    assert daemon.tick() == []
    plant.frames.edit(frame.id, severity="Minor")
    assert job.execute_in_process(instance=daemon.instance, partition_key=day(100)).success
    assert daemon.tick() == []


def test_a_table_that_is_new_is_filled_again(plant: FramedPlant, daemon: Daemon) -> None:
    plant.frames.open("stop", start=at(1), template="Downtime")
    daemon.tick()
    plant.lake.rename(plant.lake.with_name("moved away"))
    assert daemon.tick() == [[day(1)]]
    assert plant.rows() == plant.expected_rows()


def test_a_table_that_was_put_back_to_an_older_version_is_made_true_again(plant: FramedPlant, daemon: Daemon) -> None:
    frame = plant.frames.open("stop", start=at(1), template="Downtime")
    daemon.tick()
    shutil.copytree(plant.lake, plant.lake.with_name("backup"))
    plant.frames.close(frame.id, at(1, 7))
    daemon.tick()
    shutil.rmtree(plant.lake)
    plant.lake.with_name("backup").rename(plant.lake)
    assert daemon.tick() == [[day(1)]]
    assert plant.rows() == plant.expected_rows()


def test_a_table_whose_rows_were_put_back_is_made_true_again(plant: FramedPlant, daemon: Daemon) -> None:
    frame = plant.frames.open("stop", start=at(1), template="Downtime")
    daemon.tick()
    table = DeltaTable(str(plant.lake / "pi_event_frames"))
    plant.frames.close(frame.id, at(1, 7))
    daemon.tick()
    table_now = DeltaTable(table.table_uri)
    table_now.restore(table.version())
    assert daemon.tick() == [[day(1)]]
    assert plant.rows() == plant.expected_rows()


def test_a_frame_that_moves_to_another_day_and_back_is_not_lost(plant: FramedPlant, daemon: Daemon) -> None:
    frame = plant.frames.open("batch", start=at(5), end=at(1), template="Batch")
    daemon.tick()
    plant.frames.edit(frame.id, start=at(2))
    job = defs().get_repository_def().get_job("load_pi_event_frames")
    assert job.execute_in_process(instance=daemon.instance, partition_key=day(2)).success
    plant.frames.edit(frame.id, start=at(5))
    assert daemon.tick() == [[day(5)], [day(2)]]
    assert plant.rows() == plant.expected_rows()
    assert daemon.tick() == []


def test_a_quiet_tick_asks_the_server_for_four_things(plant: FramedPlant, daemon: Daemon) -> None:
    plant.frames.open("stop", start=at(1), template="Downtime")
    daemon.tick()
    plant.server.requests.clear()
    assert daemon.tick() == []
    # The AF server, its databases, the frames of the look-back, the open frames before it.
    assert plant.server.requests.total == 4


def test_a_run_over_many_days_asks_for_the_databases_once(plant: FramedPlant, daemon: Daemon) -> None:
    for days_ago in (1, 2, 3):
        plant.frames.open("stop", start=at(days_ago), end=at(days_ago, 7))
    plant.server.requests.clear()
    assert daemon.tick() == [[day(3), day(2), day(1)]]
    # Twice the AF server and its databases; the sensor's two lists; a list and the attributes of each day.
    assert plant.server.requests.total == 2 * 2 + 2 + 3 * 2


def test_the_nightly_schedule_reads_the_lookback_in_runs_of_their_size(plant: FramedPlant, tmp_path: Path) -> None:
    site = plant.site(lookback_days=40)
    from pi_dagster.factory import build_pi_definitions

    with dg.DagsterInstance.local_temp(str(tmp_path)) as instance:
        repository = build_pi_definitions(site).get_repository_def()
        night = datetime.now(timezone.utc)
        context = dg.build_schedule_context(
            instance=instance, scheduled_execution_time=night, repository_def=repository
        )
        schedule = repository.get_schedule_def("pi_event_frames_schedule")
        requests = schedule.evaluate_tick(context).run_requests or []
        asked = [
            [date.fromisoformat(request.tags[f"dagster/asset_partition_range_{end}"]) for end in ("start", "end")]
            for request in requests
        ]
        today = night.date()
        assert asked == [
            [today - timedelta(days=29), today],
            [today - timedelta(days=40), today - timedelta(days=30)],
        ]
        job = repository.get_job("load_pi_event_frames")
        instance.create_run_for_job(job, tags=dict(requests[0].tags), status=dg.DagsterRunStatus.STARTED)
        assert not schedule.evaluate_tick(context).run_requests


@pytest.fixture
def keeping(plant: FramedPlant) -> FramedPlant:
    """The plant whose site loads frames without attributes where those cannot be read."""
    with plant.site_file.open("a", encoding="utf-8") as site_file:
        site_file.write("  on_tag_error: keep\n")
    return plant


def broken_attributes() -> Fault:
    return Fault(kind=FaultKind.STATUS, status=500, route="streamsets/*/value")


def test_the_check_stays_red_while_a_frame_of_another_day_lacks_its_attributes(
    keeping: FramedPlant, daemon: Daemon
) -> None:
    keeping.frames.open("stop", start=at(1), end=at(1, 9), template="Downtime")
    keeping.server.faults.add(broken_attributes())
    assert daemon.tick() == [[day(1)]]
    assert daemon.frames_told_unread() == ["stop"]
    keeping.server.faults.clear()
    keeping.frames.open("other", start=at(2), end=at(2, 7), template="Downtime")
    assert daemon.tick() == [[day(2)]]
    assert daemon.frames_told_unread() == ["stop"]


def test_a_run_that_fails_for_other_days_tells_of_frames_that_lack_their_attributes(
    keeping: FramedPlant, daemon: Daemon
) -> None:
    keeping.frames.open("stop", start=at(2), end=at(2, 9), template="Downtime")
    daemon.tick()
    assert daemon.frames_told_unread() == []
    keeping.frames.open("second stop", start=at(2), end=at(2, 9), template="Downtime")
    keeping.frames.open("next day", start=at(1), end=at(1, 9), template="Downtime")
    keeping.server.faults.add(broken_attributes())
    in_the_way = keeping.lake / "pi_event_frames" / f"start_date={day(1)}"
    in_the_way.write_text("a day cannot be written where a file has its folder's name", encoding="utf-8")
    assert daemon.tick() == [[day(2), day(1)]]
    assert daemon.materialized() == {day(2)}
    assert daemon.frames_told_unread() == ["second stop"]


def test_a_day_whose_frames_lack_attributes_is_asked_for_again_when_it_had_its_rest(
    keeping: FramedPlant, daemon: Daemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    keeping.frames.open("stop", start=at(1), end=at(1, 9), template="Downtime")
    keeping.server.faults.add(broken_attributes())
    assert daemon.tick() == [[day(1)]]
    keeping.server.faults.clear()
    assert daemon.tick() == [], "a moment after they could not be read"
    monkeypatch.setattr("pi_dagster.automation.event_frames.RETRY_PAUSE", -timedelta(hours=1))
    assert daemon.tick() == [[day(1)]]
    assert daemon.tick() == []
    assert daemon.frames_told_unread() == []
    assert keeping.rows() == keeping.expected_rows()


def test_a_day_whose_frames_lack_attributes_does_not_rest_when_it_changes(keeping: FramedPlant, daemon: Daemon) -> None:
    keeping.frames.open("stop", start=at(1), end=at(1, 9), template="Downtime")
    keeping.server.faults.add(broken_attributes())
    assert daemon.tick() == [[day(1)]]
    keeping.frames.open("other", start=at(1), end=at(1, 9), template="Downtime")
    assert daemon.tick() == [[day(1)]]


def test_a_frame_that_kept_its_old_attributes_gets_its_new_ones(
    keeping: FramedPlant, daemon: Daemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    batch = keeping.frames.open("batch", start=at(1), template="Batch", attributes={"Yield": 1.5})
    daemon.tick()
    keeping.frames.close(batch.id, at(1, 9), attributes={"Yield": 99.5})
    keeping.server.faults.add(broken_attributes())
    assert daemon.tick() == [[day(1)]]
    assert daemon.frames_told_unread() == ["batch"]
    keeping.server.faults.clear()
    monkeypatch.setattr("pi_dagster.automation.event_frames.RETRY_PAUSE", -timedelta(hours=1))
    assert daemon.tick() == [[day(1)]]
    assert keeping.rows() == keeping.expected_rows()


def test_a_frame_that_has_no_attributes_lacks_none(keeping: FramedPlant, daemon: Daemon) -> None:
    keeping.frames.open("plain", start=at(1), end=at(1, 9))
    daemon.tick()
    assert daemon.frames_told_unread() == []
    assert daemon.tick() == []
