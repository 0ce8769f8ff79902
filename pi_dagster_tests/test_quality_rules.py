"""Each kind of rule finds its fault, says from when to when and how bad, and finds nothing else."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest

from pi_dagster.lake import AssetAttributesTable, AssetHierarchyTable, Lake
from pi_dagster.lake.schemas import ASSET_ATTRIBUTES_SCHEMA, ASSET_HIERARCHY_SCHEMA
from pi_dagster.quality.findings import MOST_FINDINGS
from pi_dagster_tests.judged_lake import GROUP, JudgedLake, minutes


@pytest.fixture
def lake(tmp_path: Path) -> JudgedLake:
    return JudgedLake(tmp_path / "lake")


def test_a_range_is_left_as_long_as_the_values_are_outside(lake: JudgedLake) -> None:
    lake.add("T", [(0, 50), (1, 101), (2, 140), (3, 99), (4, -1), (5, 50)]).add("fine", [(0, 100), (1, 0)])
    rule = {"kind": "range", "low": 0, "high": 100}
    assert lake.judge(rule) == [("range", "T", 1, 2, 2, 140), ("range", "T", 4, 4, 1, -1)]


def test_a_range_without_bounds_is_the_points_zero_and_span(lake: JudgedLake) -> None:
    lake.add("T", [(0, 9), (1, 10), (2, 30), (3, 31)], zero=10.0, span=20.0).add("unknown", [(0, 1e9)])
    assert lake.judge({"kind": "range"}) == [("range", "T", 0, 0, 1, 9), ("range", "T", 3, 3, 1, 31)]


def test_bad_numbers_and_states_are_no_part_of_a_comparison(lake: JudgedLake) -> None:
    lake.add("T", [(0, 50), (1, None), (2, "Shutdown"), (3, 51)])
    assert lake.judge({"kind": "range", "high": 60}, {"kind": "rate_of_change", "most_per_minute": 1}) == []


def test_a_change_that_is_too_fast_is_told_with_its_rate(lake: JudgedLake) -> None:
    lake.add("T", [(0, 10), (10, 15), (10.5, 25), (20, 26)])
    assert lake.judge({"kind": "rate_of_change", "most_per_minute": 2}) == [("rate_of_change", "T", 10.5, 10.5, 1, 20)]


def test_a_tag_is_not_compared_with_the_one_before_it(lake: JudgedLake) -> None:
    lake.add("A", minutes(0, 3, 1, value=0)).add("B", minutes(0, 3, 1, value=1000))
    rules = [
        {"kind": "rate_of_change", "most_per_minute": 1},
        {"kind": "spike", "threshold": 2},
        {"kind": "counter"},
        {"kind": "stuck", "longest_minutes": 2},
    ]
    assert lake.judge(*rules) == []


def test_a_value_that_stays_the_same_for_too_long_is_stuck(lake: JudgedLake) -> None:
    lake.add("T", [(0, 1), *minutes(10, 7, 10, value=5), (75, 5.1), *minutes(80, 3, 10, value=6)])
    assert lake.judge({"kind": "stuck", "longest_minutes": 45}) == [("stuck", "T", 10, 70, 7, 5)]
    tolerant = {"kind": "stuck", "longest_minutes": 45, "tolerance": 0.2}
    assert lake.judge(tolerant) == [("stuck", "T", 10, 75, 8, 5)]


def test_gaps_reach_from_midnight_to_midnight_and_a_silent_tag_is_one(lake: JudgedLake) -> None:
    lake.add("T", [(100, 1), (130, "Shutdown"), (500, 1), *minutes(550, 18, 50)]).add("silent", [])
    assert lake.judge({"kind": "gap", "longest_minutes": 60}) == [
        ("gap", "T", 0, 100, 0, 100),
        ("gap", "T", 130, 500, 0, 370),
        ("gap", "silent", 0, 1440, 0, 1440),
    ]


@pytest.mark.parametrize("width", [1, 2, 3])
def test_a_spike_leaves_its_level_and_comes_back(lake: JudgedLake, width: int) -> None:
    events = [(float(at), 10 + 0.1 * (at % 3)) for at in range(60)]
    for number in range(width):
        events[30 + number] = (30.0 + number, 25.0 - number)
    lake.add("T", events)
    assert lake.judge({"kind": "spike"}) == [("spike", "T", 30, 30 + width - 1, width, 25)]


def test_a_step_a_ramp_and_a_long_excursion_are_no_spikes(lake: JudgedLake) -> None:
    lake.add("step", [(float(at), 10.0 + 0.1 * (at % 3) + 50 * (at >= 30)) for at in range(60)])
    lake.add("ramp", [(float(at), at * 1.5) for at in range(60)])
    lake.add("long", [(float(at), 10.0 + 0.1 * (at % 3) + 50 * (20 <= at < 24)) for at in range(60)])
    assert lake.judge({"kind": "spike"}) == []


def test_a_spike_of_a_tag_that_mostly_repeats_its_value_is_found(lake: JudgedLake) -> None:
    events = [(float(at), 10.0 + 0.1 * (at % 10 == 0)) for at in range(200)]
    events[100] = (100.0, 60.0)
    lake.add("T", events)
    assert [finding[1:4] for finding in lake.judge({"kind": "spike"})] == [("T", 100, 100)]


def test_a_state_that_is_not_allowed_is_told_by_name(lake: JudgedLake) -> None:
    lake.add("T", [(0, "Running"), (1, "TRIPPED"), (2, "TRIPPED"), (3, "Bypass"), (4, "Shutdown"), (5, "running")])
    rule = {"kind": "states", "allowed": ["Running"]}
    found = [("states", "T", 1, 2, 2, "TRIPPED"), ("states", "T", 3, 3, 1, "Bypass")]
    assert lake.judge(rule) == found
    assert lake.judge({**rule, "system_states": True}) == [*found, ("states", "T", 4, 4, 1, "Shutdown")]


def test_a_counter_that_falls_is_found_unless_it_is_reset(lake: JudgedLake) -> None:
    lake.add("T", [(0, 10), (1, 20), (2, 18), (3, 30), (4, 0.5), (5, 2)])
    assert lake.judge({"kind": "counter"}) == [("counter", "T", 2, 2, 1, -2), ("counter", "T", 4, 4, 1, -29.5)]
    assert lake.judge({"kind": "counter", "resets_below": 1}) == [("counter", "T", 2, 2, 1, -2)]


def test_other_units_than_listed_or_expected_are_found(lake: JudgedLake) -> None:
    lake.add("T", [(0, 1), (1, 2), (2, "Shutdown"), (3, 4)], units="bar")
    lake.points["T"]["engineering_units"] = "kPa"
    assert lake.judge({"kind": "units"}) == [("units", "T", 0, 1, 2, "bar"), ("units", "T", 3, 3, 1, "bar")]
    assert lake.judge({"kind": "units", "expected": "bar"}) == []


def test_two_tags_of_an_element_that_drift_apart_are_found(lake: JudgedLake) -> None:
    lake.add("FLOW", [(0, 10), (5, 11), (10, 20), (15, 21), (200, 50)]).add("SETPOINT", [(1, 11), (12, 20)])
    elements = [{"element_id": "p1", "template_name": "Pump", "all_paths": ["/P1"]}]
    attributes = [
        {"element_id": "p1", "attribute_id": name, "attribute_name": name, "tag_webid": tag}
        for name, tag in (("Flow", "FLOW"), ("Flow Setpoint", "SETPOINT"))
    ]
    AssetHierarchyTable.open(Lake(str(lake.folder))).replace(pa.Table.from_pylist(elements, ASSET_HIERARCHY_SCHEMA), {})
    AssetAttributesTable.open(Lake(str(lake.folder))).replace(
        pa.Table.from_pylist(attributes, ASSET_ATTRIBUTES_SCHEMA), {}
    )
    rule = {"kind": "difference", "attribute": "flow", "other_attribute": "Flow Setpoint", "most": 5}
    assert lake.judge(rule) == [("difference", "FLOW", 10, 10, 1, 9)]
    assert lake.judge({**rule, "af_template": "Tank"}) == []
    assert lake.judge({**rule, "af_template": "Pu*"}) == [("difference", "FLOW", 10, 10, 1, 9)]


def test_a_rule_is_about_the_tags_it_names(lake: JudgedLake) -> None:
    lake.add("PUMP1.FLOW", [(0, 200)]).add("PUMP1.SPEED", [(0, 200)])
    assert [finding[1] for finding in lake.judge({"kind": "range", "high": 100, "tags": ["*.flow"]})] == ["PUMP1.FLOW"]
    assert len(lake.judge({"kind": "range", "high": 100, "tag_groups": [GROUP]})) == 2


def test_a_tag_that_breaks_a_rule_all_day_does_not_fill_the_table(lake: JudgedLake) -> None:
    lake.add("T", [(at / 100, 200.0 if at % 2 else 0.0) for at in range(10_000)])
    found = lake.judge({"kind": "range", "high": 100})
    assert len(found) == MOST_FINDINGS
    assert sum(finding[4] for finding in found) == 5_000
    assert found[-1][3] == 99.99


def test_judging_again_replaces_what_was_found(lake: JudgedLake) -> None:
    first = lake.add("T", [(0, 200)]).judged({"kind": "range", "high": 100})
    assert lake.judged({"kind": "range", "high": 100}).table_version == first.table_version + 1
    assert lake.add("T", [(0, 50)]).judge({"kind": "range", "high": 100}) == []


def test_a_day_that_is_judged_in_pieces_has_the_same_findings(
    lake: JudgedLake, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(20):
        lake.add(f"T{number:02d}", [(at, 0 if at % 7 else 200 + number) for at in range(100)])
    rules = [{"kind": "range", "high": 100}, {"kind": "spike"}, {"kind": "gap", "longest_minutes": 60}]
    whole = lake.judge(*rules)
    assert len(whole) > 300
    monkeypatch.setattr("pi_dagster.quality.tag_rows.in_whole_tags.__kwdefaults__", {"rows": 250})
    assert lake.judge(*rules) == whole
