"""The rules of watermarks, and that the table equals the archive after whatever comes between two tails."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from deltalake import DeltaTable

from pi_dagster.ingest.errors import TagsFailedError
from pi_dagster.ingest.load_plans import Partition
from pi_dagster.ingest.report import WindowReport
from pi_dagster.ingest.tail import Watermark
from pi_dagster.ingest.window import Window
from pi_dagster.lake import LakeError
from pi_dagster.piwebapi import errors as piwebapi
from pi_dagster.simulator import Fault, FaultKind
from pi_dagster.simulator.points import Point
from pi_dagster.webid import point_webid
from pi_dagster_tests.archive_truth import assert_equals_archive, truth
from pi_dagster_tests.tailed_plant import (
    A_DAY,
    DAY,
    GROUPS,
    HOUR,
    LAG,
    MINUTE,
    NOON,
    TailedPlant,
    events,
    tailed_plant,
    windows,
)


@pytest.fixture
def plant(tmp_path: Path) -> Iterator[TailedPlant]:
    with tailed_plant(tmp_path) as plant:
        yield plant


def test_without_a_watermark_the_whole_day_is_read(plant: TailedPlant) -> None:
    assert set(windows(plant.tail(NOON + LAG)).values()) == {Window(DAY, NOON)}
    plant.assert_table_equals_archive(DAY, NOON)


def test_a_tail_reads_from_its_watermark_minus_the_overlap_to_the_clock_minus_the_lag(plant: TailedPlant) -> None:
    plant.tail(NOON + LAG)
    later = plant.tail(NOON + 5 * MINUTE + LAG)
    assert set(windows(later).values()) == {Window(NOON - 10 * MINUTE, NOON + 5 * MINUTE)}
    assert {report.lag_seconds // 1 for report in later.values() if isinstance(report, WindowReport)} == {10}
    plant.assert_table_equals_archive(DAY, NOON + 5 * MINUTE)


def test_a_window_ends_on_a_whole_second(plant: TailedPlant) -> None:
    reports = plant.tail(NOON + LAG + timedelta(milliseconds=345))
    assert {window.end for window in windows(reports).values()} == {NOON}


def test_all_partitions_of_a_run_are_one_commit(plant: TailedPlant) -> None:
    plant.tail(NOON + LAG)
    before = plant.table.version
    plant.tail(NOON + 5 * MINUTE + LAG)
    assert plant.table.version == before + 1


def test_late_edited_and_deleted_events_within_the_overlap_are_found(plant: TailedPlant) -> None:
    plant.tail(NOON + LAG)
    plant.insert("PUMPS.1", NOON - 9 * MINUTE + timedelta(seconds=1))
    plant.archive.replace(plant.tag("PUMPS.2"), events([NOON - 5 * MINUTE], 3.0))
    plant.archive.remove(plant.tag("TANKS.1"), events([NOON - MINUTE]))
    plant.tail(NOON + 5 * MINUTE + LAG)
    plant.assert_table_equals_archive(DAY, NOON + 5 * MINUTE)


def test_around_midnight_the_day_before_is_finished_once(plant: TailedPlant) -> None:
    midnight = DAY + A_DAY
    plant.tail(midnight - 5 * MINUTE + LAG)
    on_the_stroke = plant.tail(midnight)
    assert windows(on_the_stroke)["26|pumps"] == Window(midnight, midnight)
    assert windows(on_the_stroke)["25|pumps"] == Window(midnight - 15 * MINUTE, midnight - LAG)
    version = plant.table.version
    after = plant.tail(midnight + 5 * MINUTE)
    assert plant.table.version == version + 1
    assert windows(after)["25|pumps"] == Window(midnight - LAG - 10 * MINUTE, midnight)
    assert windows(after)["26|pumps"] == Window(midnight, midnight + 5 * MINUTE - LAG)
    assert set(windows(plant.tail(midnight + 10 * MINUTE))) == {"26|boilers", "26|pumps", "26|tanks"}
    plant.assert_table_equals_archive(DAY, midnight + 10 * MINUTE - LAG)


def test_a_run_that_waited_in_the_queue_until_its_day_was_settled_does_nothing(plant: TailedPlant) -> None:
    plant.tail(DAY + 23 * HOUR)
    plant.clock.now = DAY + A_DAY + 3 * HOUR
    for group in GROUPS:
        plant.load_day(DAY.date(), group)
    version = plant.table.version
    assert plant.tail(day=DAY.date()) == {}
    assert plant.table.version == version


def test_the_day_before_is_no_longer_the_tails_once_it_settles(plant: TailedPlant) -> None:
    plant.tail(DAY + 23 * HOUR)
    assert set(windows(plant.tail(DAY + A_DAY + 2 * HOUR))) == {"26|boilers", "26|pumps", "26|tanks"}


def test_the_hour_that_daylight_saving_repeats_is_an_hour_like_any_other(plant: TailedPlant) -> None:
    for hours in range(7):
        reports = plant.tail(DAY + hours * HOUR + LAG)
        start = max(DAY, DAY + (hours - 1) * HOUR - 10 * MINUTE)
        assert windows(reports)["25|tanks"] == Window(start, DAY + hours * HOUR)
    plant.assert_table_equals_archive(DAY, DAY + 6 * HOUR)


def test_after_hours_down_it_goes_on_where_it_stopped_with_a_commit_for_each_partition(plant: TailedPlant) -> None:
    plant.tail(DAY + 6 * HOUR + LAG)
    before = plant.table.version
    caught_up = plant.tail(NOON + LAG)
    assert set(windows(caught_up).values()) == {Window(DAY + 6 * HOUR - 10 * MINUTE, NOON)}
    assert plant.table.version == before + len(GROUPS)
    plant.assert_table_equals_archive(DAY, NOON)


def test_after_three_days_down_today_is_read_whole_and_the_days_between_are_left_to_the_schedule(
    plant: TailedPlant,
) -> None:
    plant.tail(DAY + 6 * HOUR + LAG)
    after = DAY + 3 * A_DAY + NOON.hour * HOUR
    assert set(windows(plant.tail(after + LAG)).values()) == {Window(DAY + 3 * A_DAY, after)}
    for days in range(3):
        for group in GROUPS:
            assert plant.load_day((DAY + days * A_DAY).date(), group).settled
    plant.assert_table_equals_archive(DAY, after)


def test_lost_history_is_the_whole_day(plant: TailedPlant) -> None:
    plant.tail(NOON + LAG)
    plant.watermarks.clear()
    assert set(windows(plant.tail(NOON + 5 * MINUTE + LAG)).values()) == {Window(DAY, NOON + 5 * MINUTE)}
    plant.assert_table_equals_archive(DAY, NOON + 5 * MINUTE)


def test_a_lost_table_is_the_whole_day(plant: TailedPlant) -> None:
    plant.tail(NOON + LAG)
    shutil.rmtree(plant.table.uri)
    assert set(windows(plant.tail(NOON + 5 * MINUTE + LAG)).values()) == {Window(DAY, NOON + 5 * MINUTE)}
    plant.assert_table_equals_archive(DAY, NOON + 5 * MINUTE)


def test_a_table_made_anew_is_the_whole_day_even_when_its_version_has_come_as_far(plant: TailedPlant) -> None:
    plant.tail(NOON + LAG)
    version = plant.table.version
    shutil.rmtree(plant.table.uri)
    while plant.table.version < version:
        plant.load_day((DAY - A_DAY).date(), "tanks")
    plant.tail(NOON + 5 * MINUTE + LAG)
    expected = truth(plant.archive, plant.archive.points(), DAY, NOON + 5 * MINUTE)
    assert_equals_archive(plant.table.to_arrow(partition_date=DAY.date()), expected)


def test_an_older_copy_of_the_table_put_back_is_read_again_from_the_start_of_the_day(
    plant: TailedPlant, tmp_path: Path
) -> None:
    plant.tail(NOON - HOUR + LAG)
    shutil.copytree(plant.table.uri, tmp_path / "backup")
    for minutes in range(5, 30, 5):
        plant.tail(NOON - HOUR + minutes * MINUTE + LAG)
    version, folder = plant.table.version, plant.table.uri
    shutil.rmtree(folder)
    shutil.copytree(tmp_path / "backup", folder)
    # Another run may bring the table to where the watermarks' version was.
    while plant.table.version < version:
        plant.load_day((DAY - A_DAY).date(), "tanks")
    plant.tail(NOON + LAG)
    expected = truth(plant.archive, plant.archive.points(), DAY, NOON)
    assert_equals_archive(plant.table.to_arrow(partition_date=DAY.date()), expected)


def test_a_table_restored_by_delta_is_read_again_from_the_start_of_the_day(plant: TailedPlant) -> None:
    plant.tail(NOON - HOUR + LAG)
    for minutes in range(5, 60, 5):
        plant.tail(NOON - HOUR + minutes * MINUTE + LAG)
    DeltaTable(plant.table.uri).restore(plant.table.version - 5)
    plant.tail(NOON + LAG)
    plant.assert_table_equals_archive(DAY, NOON)


def test_a_new_tag_makes_its_partition_read_the_whole_day_and_no_other(plant: TailedPlant) -> None:
    plant.tail(NOON + LAG)
    plant.base.add(Point(id=9, name="PUMPS.NEW", point_type="Float64", created=DAY))
    plant.insert("PUMPS.NEW", DAY + HOUR, NOON + MINUTE)
    plant.list_tags()
    reports = plant.tail(NOON + 5 * MINUTE + LAG)
    assert windows(reports) == {
        "25|boilers": Window(NOON - 10 * MINUTE, NOON + 5 * MINUTE),
        "25|pumps": Window(DAY, NOON + 5 * MINUTE),
        "25|tanks": Window(NOON - 10 * MINUTE, NOON + 5 * MINUTE),
    }
    plant.assert_table_equals_archive(DAY, NOON + 5 * MINUTE)


def test_a_partition_that_fails_is_left_out_and_its_watermark_stays(plant: TailedPlant) -> None:
    plant.tail(NOON + LAG)
    plant.forbid("PUMPS.2")
    reports = plant.tail(NOON + 5 * MINUTE + LAG)
    assert isinstance(reports[DAY.date(), "pumps"], TagsFailedError)
    assert set(windows(reports)) == {"25|boilers", "25|tanks"}
    plant.faults.clear()
    reports = plant.tail(NOON + 20 * MINUTE + LAG)
    assert windows(reports)["25|pumps"] == Window(NOON - 10 * MINUTE, NOON + 20 * MINUTE)
    plant.assert_table_equals_archive(DAY, NOON + 20 * MINUTE)


def test_a_server_that_goes_down_half_way_ends_the_run_and_keeps_what_was_read(plant: TailedPlant) -> None:
    plant.tail(NOON + LAG)
    web_id = point_webid(plant.archive.server_id, 3, plant.archive.server_name, "PUMPS.1").identity
    plant.faults.add(Fault(kind=FaultKind.STATUS, status=503, web_id=web_id))
    reports = plant.tail(NOON + 5 * MINUTE + LAG)
    assert [group for _, group in reports] == ["boilers", "pumps"]
    assert set(windows(reports)) == {"25|boilers"}
    plant.faults.clear()
    plant.tail(NOON + 10 * MINUTE + LAG)
    plant.assert_table_equals_archive(DAY, NOON + 10 * MINUTE)


def test_a_server_that_is_down_is_told_with_the_first_partition(plant: TailedPlant) -> None:
    plant.faults.add(Fault(kind=FaultKind.STATUS, status=503))
    [(partition, error)] = plant.tail(NOON).items()
    assert partition == (DAY.date(), "boilers")
    assert isinstance(error, piwebapi.PIWebAPIError)


def test_a_lake_that_cannot_be_committed_to_leaves_all_watermarks(plant: TailedPlant) -> None:
    plant.tail(NOON + LAG)
    before = dict(plant.watermarks)
    in_the_way = Path(plant.table.uri) / "_delta_log" / f"{plant.table.version + 1:020}.json"
    in_the_way.mkdir()
    [error] = plant.tail(NOON + 5 * MINUTE + LAG).values()
    assert isinstance(error, LakeError)
    assert plant.watermarks == before
    in_the_way.rmdir()
    plant.tail(NOON + 10 * MINUTE + LAG)
    plant.assert_table_equals_archive(DAY, NOON + 10 * MINUTE)


def test_a_backfill_of_yesterday_while_the_tail_finishes_it_leaves_both_days_equal(plant: TailedPlant) -> None:
    midnight = DAY + A_DAY
    plant.tail(midnight - 5 * MINUTE + LAG)
    plant.insert("PUMPS.1", DAY + HOUR + timedelta(seconds=1))

    def backfill() -> None:
        for group in GROUPS:
            plant.load_day(DAY.date(), group)

    plant.tail(midnight + 5 * MINUTE + LAG, meanwhile=backfill)
    plant.assert_table_equals_archive(DAY, midnight + 5 * MINUTE)


@pytest.mark.parametrize("other_is_later", [True, False], ids=["later one inside", "earlier one inside"])
def test_two_tails_at_once_leave_no_gap_and_no_double(plant: TailedPlant, other_is_later: bool) -> None:
    plant.tail(NOON + LAG)
    first, second = (5, 10) if other_is_later else (10, 5)
    plant.tail(
        NOON + first * MINUTE + LAG, meanwhile=lambda: plant.tail(NOON + second * MINUTE + LAG, meanwhile=lambda: None)
    )
    plant.assert_table_equals_archive(DAY, NOON + 10 * MINUTE)
    plant.tail(NOON + 15 * MINUTE + LAG)
    plant.assert_table_equals_archive(DAY, NOON + 15 * MINUTE)


def test_a_slower_tail_that_overwrites_a_newer_one_loses_nothing_though_the_newer_is_told_of_last(
    plant: TailedPlant,
) -> None:
    plant.tail(NOON + LAG)
    newer: dict[Partition, Watermark] = {}

    def newer_tail() -> None:
        plant.insert("PUMPS.1", NOON - 3 * MINUTE + timedelta(seconds=1))
        plant.tail(NOON + 10 * MINUTE + LAG)
        newer.update(plant.watermarks)

    plant.tail(NOON + 5 * MINUTE + LAG, before_commit=newer_tail)
    plant.watermarks.update(newer)
    plant.tail(NOON + 15 * MINUTE + LAG)
    plant.assert_table_equals_archive(DAY, NOON + 15 * MINUTE)


def test_after_a_load_that_was_killed_before_it_could_tell_its_partition_is_read_whole(plant: TailedPlant) -> None:
    """It may have been planned long ago, with fewer tags."""
    plant.tail(NOON + LAG)
    told = dict(plant.watermarks)
    plant.load_day(DAY.date(), "pumps")
    plant.watermarks = told
    assert windows(plant.tail(NOON + 5 * MINUTE + LAG)) == {
        "25|boilers": Window(NOON - 10 * MINUTE, NOON + 5 * MINUTE),
        "25|pumps": Window(DAY, NOON + 5 * MINUTE),
        "25|tanks": Window(NOON - 10 * MINUTE, NOON + 5 * MINUTE),
    }


def test_a_load_of_today_by_hand_while_tails_run_leaves_no_gap(plant: TailedPlant) -> None:
    plant.tail(NOON + LAG)
    plant.tail(NOON + 5 * MINUTE + LAG, meanwhile=lambda: plant.load_day(DAY.date(), "pumps"))
    plant.tail(NOON + 10 * MINUTE + LAG)
    plant.assert_table_equals_archive(DAY, NOON + 10 * MINUTE)


def test_a_watermark_ahead_of_the_servers_clock_is_not_believed(plant: TailedPlant) -> None:
    """The clock that it was read by was wrong, so nobody knows up to where there was anything to read."""
    plant.tail(NOON + HOUR + LAG)
    plant.insert("PUMPS.1", NOON + timedelta(seconds=1))
    assert set(windows(plant.tail(NOON + 5 * MINUTE + LAG)).values()) == {Window(DAY, NOON + 5 * MINUTE)}
    plant.assert_table_equals_archive(DAY, NOON + HOUR)


def test_a_day_that_was_complete_by_a_wrong_clock_is_read_on(plant: TailedPlant) -> None:
    midnight = DAY + A_DAY
    plant.tail(midnight + HOUR, day=DAY.date())
    plant.insert("PUMPS.1", midnight - HOUR + timedelta(seconds=1))
    plant.tail(midnight - 5 * MINUTE + LAG)
    plant.assert_table_equals_archive(DAY, midnight)


def test_a_load_by_hand_reads_the_whole_day(plant: TailedPlant) -> None:
    plant.tail(NOON + LAG)
    plant.insert("PUMPS.1", DAY + timedelta(seconds=1))
    assert plant.load_day(DAY.date(), "pumps").window == Window(DAY, NOON)
    plant.assert_table_equals_archive(DAY, NOON)


def test_settling_brings_what_came_too_late_for_every_tail_and_tells_how_much(plant: TailedPlant) -> None:
    for hours in range(1, 24):
        plant.tail(DAY + hours * HOUR + LAG)
    plant.tail(DAY + A_DAY + 5 * MINUTE)
    plant.insert("PUMPS.1", DAY + HOUR + timedelta(seconds=1), DAY + 2 * HOUR + timedelta(seconds=1))
    plant.archive.replace(plant.tag("PUMPS.1"), events([NOON], 3.0))
    plant.archive.remove(plant.tag("PUMPS.2"), events([DAY + 3 * HOUR, DAY + 4 * HOUR, DAY + 5 * HOUR]))
    plant.clock.now = DAY + A_DAY + 2 * HOUR - 10 * MINUTE
    assert not plant.load_day(DAY.date(), "boilers").settled, "it is not yet time"
    plant.clock.now = DAY + A_DAY + 2 * HOUR
    reports = {group: plant.load_day(DAY.date(), group) for group in GROUPS}
    assert all(report.settled and report.live_files == 1 for report in reports.values())
    found = reports["pumps"].difference
    assert found is not None
    assert (found.added, found.changed, found.removed) == (2, 1, 3)
    assert [(tag.tag_name, tag.added, tag.changed, tag.removed) for tag in found.tags] == [
        ("PUMPS.1", 2, 1, 0),
        ("PUMPS.2", 0, 0, 3),
    ]
    assert reports["tanks"].difference is not None
    assert reports["tanks"].difference.added == 0
    expected = truth(plant.archive, plant.archive.points(), DAY, DAY + A_DAY)
    assert_equals_archive(plant.table.to_arrow(partition_date=DAY.date()), expected)


def test_a_server_whose_clock_is_a_little_behind_the_schedules_settles_at_the_first_try(plant: TailedPlant) -> None:
    plant.clock.now = DAY + A_DAY + 2 * HOUR - timedelta(seconds=40)
    assert plant.load_day(DAY.date(), "pumps").settled


def test_a_first_load_of_a_day_has_no_difference_to_tell(plant: TailedPlant) -> None:
    assert plant.load_day((DAY - A_DAY).date(), "pumps").difference is None
