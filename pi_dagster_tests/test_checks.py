"""Each asset check is green on a good plant and red on its fault, through the simulator, Dagster and Delta tables."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta, timezone
from pathlib import Path

import dagster as dg
import pytest
from deltalake import DeltaTable, Field, write_deltalake

from pi_dagster.automation.partitions import range_tags
from pi_dagster.simulator import Fault, FaultKind
from pi_dagster.simulator.events import BAD, to_ticks
from pi_dagster_tests.checked_plant import GROUPS, MINUTE, CheckedPlant, checked_plant, offenders

CHECKS = {
    "pi_archive:clocks_agree",
    "pi_asset_attributes:columns_as_designed",
    "pi_asset_attributes:every_attribute_has_its_tag",
    "pi_asset_hierarchy:columns_as_designed",
    "pi_event_frames:columns_as_designed",
    "pi_event_frames:no_frame_open_too_long",
    "pi_event_frames:no_partition_left_failed",
    "pi_points:columns_as_designed",
    "pi_timeseries_daily:columns_as_designed",
    "pi_timeseries:columns_as_designed",
    "pi_timeseries:few_bad_values",
    "pi_timeseries:few_system_states",
    "pi_timeseries:no_event_twice",
    "pi_timeseries:no_partition_left_failed",
    "pi_timeseries:no_silent_tag",
    "pi_timeseries:today_is_up_to_date",
}
IO_TIMEOUT = 246


@pytest.fixture
def plant(tmp_path: Path) -> Iterator[CheckedPlant]:
    with checked_plant(tmp_path) as plant:
        yield plant


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CheckedPlant]:
    """A good plant, all loaded; tests leave it as they found it."""
    with checked_plant(tmp_path_factory.mktemp("loaded")) as plant:
        plant.load_all()
        yield plant


@pytest.fixture(scope="module")
def broken(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[tuple[CheckedPlant, Mapping[str, dg.AssetCheckEvaluation]]]:
    """A plant with a fault for every check, and what they found."""
    with checked_plant(tmp_path_factory.mktemp("broken")) as plant:
        plant.assets.add("P-102", template="Pump", tags={"Flow": "NO.SUCH.TAG", "Speed": "PMP2"})
        last_event = datetime.now(timezone.utc) - timedelta(hours=5)
        plant.silence("BLR1", last_event + MINUTE)
        plant.replace("BLR2", range(120, 720), states=[IO_TIMEOUT] * 600)
        plant.replace("PMP2", range(0, 360), flags=[BAD] * 360)
        old = datetime.now(timezone.utc) - timedelta(days=5)
        plant.running.event_frames.open("Alarm\x1b[2J <b>", start=to_ticks(old))
        plant.list_all()
        assert plant.load_day(plant.yesterday)
        assert plant.compute_daily(plant.yesterday)
        for day in (old.date(), plant.today):
            assert plant.load_frames(day)
        plant.forbid("PMP1")
        plant.load_today()
        hierarchy = DeltaTable(plant.lake.table_uri("pi_asset_hierarchy"))
        hierarchy.alter.add_columns([Field("note", "string")])
        again = plant.rows(plant.yesterday, "boilers").slice(0, 3)
        write_deltalake(plant.lake.table_uri("pi_timeseries"), again, mode="append")
        plant.set_server_ahead(timedelta(minutes=5))
        plant.set_limits(failed_partition_hours=0)
        yield plant, plant.check()


def test_a_good_plant_is_all_green(loaded: CheckedPlant) -> None:
    found = loaded.check()
    assert set(found) == CHECKS
    red = {name: one.description for name, one in found.items() if not one.passed}
    assert red == {}
    assert all("pi/offenders" not in one.metadata for one in found.values())
    assert found["pi_timeseries:no_event_twice"].metadata["pi/rows_checked"].value == loaded.rows(
        loaded.yesterday, "boilers"
    ).num_rows * 2 + sum(loaded.rows(loaded.today, group).num_rows for group in GROUPS)
    silence = found["pi_timeseries:no_silent_tag"].metadata
    assert (silence["pi/tags_judged"].value, silence["pi/days_of_habit"].value) == (4, 3)


def test_all_is_red_on_a_plant_with_a_fault_for_each(
    broken: tuple[CheckedPlant, Mapping[str, dg.AssetCheckEvaluation]],
) -> None:
    _, found = broken
    assert {name for name, one in found.items() if one.passed} == {
        "pi_asset_attributes:columns_as_designed",
        "pi_event_frames:columns_as_designed",
        "pi_event_frames:no_partition_left_failed",
        "pi_points:columns_as_designed",
        "pi_timeseries:columns_as_designed",
        "pi_timeseries_daily:columns_as_designed",
    }
    for name, one in found.items():
        rows = offenders(one, "what to do") if not one.passed else [name]
        assert rows, name
        assert all(rows), name


@pytest.mark.parametrize(
    ("check", "columns", "expected"),
    [
        ("pi_timeseries:today_is_up_to_date", ["tag group"], ["pumps"]),
        ("pi_timeseries:no_event_twice", ["partition", "rows too many"], [("{yesterday}|boilers", 3)]),
        (
            "pi_timeseries:few_bad_values",
            ["partition", "tag", "events", "bad values"],
            [("{yesterday}|pumps", "PMP2", 1440, 360)],
        ),
        (
            "pi_timeseries:few_system_states",
            ["partition", "tag", "system states", "percent"],
            [("{yesterday}|boilers", "BLR2", 600, 41.67)],
        ),
        ("pi_timeseries:no_silent_tag", ["tag group", "tag", "longest pause before"], [("boilers", "BLR1", "60 s")]),
        ("pi_timeseries:no_partition_left_failed", ["partition"], ["{today}|pumps"]),
        ("pi_asset_hierarchy:columns_as_designed", ["difference"], ["It has the unknown column note"]),
        ("pi_asset_attributes:every_attribute_has_its_tag", ["attribute", "tag is"], [("/P-102|Flow", "not found")]),
        ("pi_event_frames:no_frame_open_too_long", ["event frame"], ["Alarm [2J <b>"]),
    ],
)
def test_a_check_names_what_is_wrong(
    broken: tuple[CheckedPlant, Mapping[str, dg.AssetCheckEvaluation]],
    check: str,
    columns: list[str],
    expected: list[object],
) -> None:
    plant, found = broken
    days = {"today": plant.today, "yesterday": plant.yesterday}
    named = [
        tuple(cell.format(**days) if isinstance(cell, str) else cell for cell in row)
        if isinstance(row, tuple)
        else row.format(**days)
        for row in expected
    ]
    assert offenders(found[check], *columns) == named


def test_the_servers_clock_is_compared_with_this_machines(
    broken: tuple[CheckedPlant, Mapping[str, dg.AssetCheckEvaluation]],
) -> None:
    _, found = broken
    ahead = found["pi_archive:clocks_agree"].metadata["pi/server_seconds_ahead"].value
    assert ahead == pytest.approx(300, abs=5)


def test_today_stays_behind_while_yesterday_is_backfilled(plant: CheckedPlant) -> None:
    plant.list_all()
    seen = []
    for day in (plant.today - timedelta(days=2), plant.yesterday):
        assert plant.load_day(day)
        check = plant.check()["pi_timeseries:today_is_up_to_date"]
        seen.append((check.passed, offenders(check, "tag group")))
    now = datetime.now(timezone.utc)
    # Yesterday reaches to midnight, which is not behind by the limit until half past midnight.
    is_behind = now - now.replace(hour=0, minute=0, second=0) > timedelta(minutes=30)
    assert seen == [(False, ["boilers", "pumps"]), (not is_behind, ["boilers", "pumps"] if is_behind else [])]
    assert plant.load_today()
    assert plant.check()["pi_timeseries:today_is_up_to_date"].passed


def test_a_check_can_be_run_by_itself(loaded: CheckedPlant) -> None:
    """As *Execute* in its tab of the UI does."""
    key = dg.AssetCheckKey(dg.AssetKey("pi_timeseries"), "few_bad_values")
    job = loaded.repository.get_implicit_global_asset_job_def().get_subset(asset_check_selection={key})
    result = job.execute_in_process(instance=loaded.instance)
    assert [one.check_name for one in result.get_asset_check_evaluations()] == ["few_bad_values"]


def test_an_empty_site_is_told_what_to_load_first(plant: CheckedPlant) -> None:
    found = plant.check()
    waiting = {name: str(one.description) for name, one in found.items() if not one.passed}
    assert set(waiting) == CHECKS - {
        "pi_archive:clocks_agree",
        "pi_event_frames:no_partition_left_failed",
        "pi_timeseries:no_partition_left_failed",
    }
    assert all("materialize it first" in said for said in waiting.values()), waiting
    for check in ("today_is_up_to_date", "no_event_twice", "few_bad_values", "few_system_states", "no_silent_tag"):
        assert "pi_points" in waiting[f"pi_timeseries:{check}"]
    assert {one.severity for one in found.values() if not one.passed} == {dg.AssetCheckSeverity.WARN}


def test_a_server_that_does_not_answer_turns_its_check_red_and_no_other(loaded: CheckedPlant) -> None:
    loaded.running.faults.add(Fault(kind=FaultKind.STATUS, status=503))
    found = loaded.check()
    loaded.running.faults.clear()
    assert [name for name, one in found.items() if not one.passed] == ["pi_archive:clocks_agree"]
    assert str(found["pi_archive:clocks_agree"].description).startswith("This could not be judged.")


def test_a_run_of_a_backfill_does_not_read_todays_rows_again(loaded: CheckedPlant) -> None:
    before = loaded.check()
    once_more = loaded.rows(loaded.yesterday, "boilers").slice(0, 1)
    write_deltalake(loaded.lake.table_uri("pi_timeseries"), once_more, mode="append")
    job = loaded.repository.get_implicit_global_asset_job_def()
    tags = {"dagster/backfill": "x", **range_tags(loaded.today - timedelta(days=2), *GROUPS)}
    result = job.execute_in_process(instance=loaded.instance, tags=tags, asset_selection=[dg.AssetKey("pi_timeseries")])
    told = {one.check_name: one for one in result.get_asset_check_evaluations()}
    check = told["no_event_twice"]
    assert result.success
    assert check.passed
    assert told["today_is_up_to_date"].metadata["pi/judged_at"] != check.metadata["pi/judged_at"]
    assert check.metadata["pi/judged_at"] == before["pi_timeseries:no_event_twice"].metadata["pi/judged_at"]
    assert not loaded.check()["pi_timeseries:no_event_twice"].passed
    assert loaded.load_day(loaded.yesterday)
    assert loaded.check()["pi_timeseries:no_event_twice"].passed


def test_a_sentence_that_a_backfill_repeats_tells_once_of_when_it_is(loaded: CheckedPlant) -> None:
    judged = loaded.check()["pi_timeseries:no_partition_left_failed"]
    at = datetime.fromtimestamp(float(str(judged.metadata["pi/judged_at"].value)), timezone.utc)
    job = loaded.repository.get_implicit_global_asset_job_def()
    tags = {"dagster/backfill": "x", **range_tags(loaded.today - timedelta(days=2), *GROUPS)}
    for _ in range(2):
        result = job.execute_in_process(
            instance=loaded.instance, tags=tags, asset_selection=[dg.AssetKey("pi_timeseries")]
        )
        told = {one.check_name: str(one.description) for one in result.get_asset_check_evaluations()}
        assert told["no_partition_left_failed"] == f"As of {at:%Y-%m-%d %H:%M} UTC: {judged.description}"
        assert "As of" not in told["today_is_up_to_date"]
