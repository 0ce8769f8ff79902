"""The numbers of a tag's day, by hand and against a plain loop."""

from __future__ import annotations

import random
from datetime import timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from pi_dagster.automation.rollup import days_to_compute
from pi_dagster.lake import TimeseriesDailyTable, TimeseriesTable
from pi_dagster.pictures.daily_numbers import DailyNumbers, compute_day
from pi_dagster_tests.judged_lake import DAY, GROUP, MIDNIGHT, Event, JudgedLake

TOMORROW = DAY + timedelta(days=1)


def day_of(lake: JudgedLake) -> DailyNumbers | None:
    return compute_day(lake.site(), lake.write(), DAY, run_id="test")


def numbers_of(lake: JudgedLake) -> dict[str, dict[str, Any]]:
    found = day_of(lake)
    assert found is not None
    assert TimeseriesDailyTable.open(lake.write()).to_arrow().num_rows == found.rows.num_rows
    return {row["tag_name"]: row for row in found.rows.to_pylist()}


def test_a_number_that_is_not_good_counts_as_an_event_and_not_as_a_number(tmp_path: Path) -> None:
    lake = JudgedLake(tmp_path).add("FLOW", [(0, 4.0), (10, None), (20, "Shutdown"), (30, -2.5), (40, 6.0)])
    row = numbers_of(lake)["FLOW"]
    assert (row["events"], row["good_events"], row["bad_events"], row["system_states"]) == (5, 4, 1, 1)
    assert (row["number_count"], row["min_value"], row["max_value"], row["mean_value"]) == (3, -2.5, 6.0, 2.5)
    assert (row["first_value"], row["last_value"]) == (4.0, 6.0)
    assert (row["first_event"], row["last_event"]) == (MIDNIGHT, MIDNIGHT + timedelta(minutes=40))


def test_a_tag_of_states_only_has_no_numbers(tmp_path: Path) -> None:
    row = numbers_of(JudgedLake(tmp_path).add("STATE", [(0, "RUNNING"), (10, "STOPPED")]))["STATE"]
    assert (row["events"], row["number_count"]) == (2, 0)
    assert [row[name] for name in ("min_value", "mean_value", "time_weighted_mean", "last_value")] == [None] * 4


def test_the_mean_over_time_follows_a_straight_line_or_steps_as_the_tag_says(tmp_path: Path) -> None:
    events: list[Event] = [(0, 0.0), (10, 10.0), (40, 10.0)]
    lake = JudgedLake(tmp_path).add("LINE", events).add("STEP", events, step=True)
    rows = numbers_of(lake)
    assert rows["LINE"]["time_weighted_mean"] == pytest.approx((10 * 5 + 30 * 10) / 40)
    assert rows["STEP"]["time_weighted_mean"] == pytest.approx((10 * 0 + 30 * 10) / 40)


def test_time_after_a_state_is_left_out_of_the_mean_and_a_number_before_it_holds_until_then(tmp_path: Path) -> None:
    lake = JudgedLake(tmp_path).add("FLOW", [(0, 8.0), (10, "Shutdown"), (500, 2.0), (530, 2.0)])
    assert numbers_of(lake)["FLOW"]["time_weighted_mean"] == pytest.approx((10 * 8 + 30 * 2) / 40)


def test_many_tags_have_the_numbers_that_a_plain_loop_finds(tmp_path: Path) -> None:
    chance = random.Random(4)
    lake = JudgedLake(tmp_path)
    plain: dict[str, list[Event]] = {}
    for number in range(40):
        times = sorted(chance.sample(range(1440), chance.randint(1, 30)))
        plain[f"TAG{number:02d}"] = [(at, chance.choice([chance.uniform(-9, 9), None, "Shutdown"])) for at in times]
        lake.add(f"TAG{number:02d}", plain[f"TAG{number:02d}"], step=bool(number % 2))
    rows = numbers_of(lake)
    assert rows.keys() == plain.keys()
    for number, (tag, events) in enumerate(plain.items()):
        values = [value for _, value in events if isinstance(value, float)]
        area = taken = 0.0
        for (at, value), (after, following) in pairwise(events):
            if isinstance(value, float):
                line = isinstance(following, float) and not number % 2
                area += (after - at) * ((value + following) / 2 if line else value)
                taken += after - at
        row = rows[tag]
        assert row["events"] == len(events)
        assert row["bad_events"] == sum(value is None for _, value in events)
        assert row["mean_value"] == (pytest.approx(sum(values) / len(values)) if values else None)
        assert (row["min_value"], row["max_value"]) == ((min(values), max(values)) if values else (None, None))
        assert row["time_weighted_mean"] == (pytest.approx(area / taken) if taken else None)


def test_tags_without_an_event_are_named_and_have_no_row(tmp_path: Path) -> None:
    lake = JudgedLake(tmp_path).add("FLOW", [(0, 1.0)]).add("SILENT", []).add("GONE", [], is_active=False)
    found = day_of(lake)
    assert found is not None
    assert found.silent_tags == ["SILENT"]
    assert found.by_group[GROUP] == found.totals
    assert (found.totals.tags, found.totals.tags_with_events, found.totals.events) == (2, 1, 1)


def test_a_day_that_lost_its_rows_loses_its_numbers(tmp_path: Path) -> None:
    lake = JudgedLake(tmp_path).add("FLOW", [(0, 1.0)])
    tables, site = lake.write(), lake.site()
    assert compute_day(site, tables, DAY, run_id="test")
    TimeseriesTable.open(tables).replace_window(
        partition_date=DAY,
        tag_group=GROUP,
        start=MIDNIGHT,
        end=MIDNIGHT + timedelta(days=1),
        batches=[],
        commit_info={},
    )
    assert compute_day(site, tables, DAY, run_id="test") is None
    assert TimeseriesDailyTable.open(tables).to_arrow().num_rows == 0


def test_a_day_is_computed_again_only_once_its_files_are_others(tmp_path: Path) -> None:
    lake = JudgedLake(tmp_path).add("FLOW", [(0, 1.0)])
    tables, site = lake.write(), lake.site()
    assert days_to_compute(site, tables, before=TOMORROW) == {DAY}
    assert days_to_compute(site, tables, before=DAY) == set()
    compute_day(site, tables, DAY, run_id="test")
    assert days_to_compute(site, tables, before=TOMORROW) == set()
    lake.write()
    assert days_to_compute(site, tables, before=TOMORROW) == {DAY}
