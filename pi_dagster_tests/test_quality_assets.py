"""pi_quality_findings in Dagster: partitions, a check a rule with the table of offenders, and the schedule."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, time, timedelta, timezone
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from deltalake import DeltaTable

from pi_dagster.automation.partitions import range_tags
from pi_dagster.simulator.events import Events, to_ticks
from pi_dagster_tests.small_plant import DAYS, GROUPS, TAGS, SmallPlant, small_plant

FINDINGS = dg.AssetKey("pi_quality_findings")
RULES = """\
  quality_rules:
    - {name: high_values, kind: range, high: 21, tags: ["BLR01*", "TNK*"], severity: error}
    - {name: silence, kind: gap, longest_minutes: 90}
"""


@pytest.fixture
def plant(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[SmallPlant]:
    with small_plant(tmp_path) as plant:
        plant.site_file.write_text(plant.site_file.read_text() + RULES)
        monkeypatch.setenv("PI_DAGSTER_SITE", str(plant.site_file))
        yield plant


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as instance:
        yield instance


def run(plant: SmallPlant, instance: dg.DagsterInstance, job: str, **partition: Any) -> dg.ExecuteInProcessResult:
    result = plant.definitions().get_repository_def().get_job(job).execute_in_process(instance=instance, **partition)
    assert result.success
    return result


def load_days(plant: SmallPlant, instance: dg.DagsterInstance, *days: str) -> None:
    run(plant, instance, "load_pi_points")
    for day in days:
        run(plant, instance, "load_pi_timeseries", tags=whole_day(day))


def whole_day(day: str) -> dict[str, str]:
    return range_tags(datetime.fromisoformat(day).date(), GROUPS[0], GROUPS[-1])


def test_a_rule_that_is_broken_fails_its_check_and_names_the_tags(
    plant: SmallPlant, instance: dg.DagsterInstance
) -> None:
    load_days(plant, instance, DAYS[2])
    result = run(plant, instance, "judge_pi_timeseries", tags=whole_day(DAYS[2]))
    checks = {check.check_name: check for check in result.get_asset_check_evaluations()}
    assert checks["silence"].passed
    broken = checks["high_values"]
    assert (broken.passed, broken.severity) == (False, dg.AssetCheckSeverity.ERROR)
    offenders = broken.metadata["pi/offenders"]
    assert isinstance(offenders, dg.TableMetadataValue)
    assert [record.data["tag"] for record in offenders.records] == ["BLR01.FLOW", "TNK01.LEVEL", "TNK02.LEVEL"]
    assert offenders.records[0].data["from"] == f"{DAYS[2]}T22:00:00Z"
    rows = DeltaTable(str(plant.lake / "pi_quality_findings")).to_pyarrow_table().to_pylist()
    assert {(row["tag_group"], row["tag_name"], row["event_count"], row["worst_value"]) for row in rows} == {
        ("boilers", "BLR01.FLOW", 2, 23.0),
        ("tanks", "TNK01.LEVEL", 2, 23.0),
        ("tanks", "TNK02.LEVEL", 2, 23.0),
    }
    assert instance.get_materialized_partitions(FINDINGS) == {f"{DAYS[2]}|{group}" for group in GROUPS}


def test_an_old_day_that_is_judged_does_not_hide_what_the_newest_has(
    plant: SmallPlant, instance: dg.DagsterInstance
) -> None:
    plant.site_file.write_text(plant.site_file.read_text().replace("high: 21", "high: 22.5"))
    load_days(plant, instance, DAYS[1], DAYS[2])
    run(plant, instance, "judge_pi_timeseries", tags=whole_day(DAYS[2]))
    result = run(plant, instance, "judge_pi_timeseries", partition_key=f"{DAYS[1]}|pumps")
    [check] = [check for check in result.get_asset_check_evaluations() if check.check_name == "high_values"]
    assert not check.passed
    assert check.metadata["pi/day"].value == DAYS[2]


def test_an_old_day_that_is_judged_does_not_bring_back_what_the_newest_has_not(
    plant: SmallPlant, instance: dg.DagsterInstance
) -> None:
    archive = plant.running.archive
    for day in (DAYS[0], DAYS[2]):
        late = to_ticks(datetime.fromisoformat(day).replace(tzinfo=timezone.utc) + timedelta(hours=23))
        for tag in TAGS:
            archive.replace(plant.base.point_by_name(tag), Events.of("Float32", [late], [1.0]))
    plant.site_file.write_text(plant.site_file.read_text().replace("high: 21", "high: 22.5"))
    load_days(plant, instance, *DAYS)
    told = {}
    for day in (DAYS[1], DAYS[2], DAYS[0]):
        result = run(plant, instance, "judge_pi_timeseries", tags=whole_day(day))
        [check] = [check for check in result.get_asset_check_evaluations() if check.check_name == "high_values"]
        told[day] = (check.passed, check.metadata["pi/day"].value)
    assert told == {DAYS[1]: (False, DAYS[1]), DAYS[2]: (True, DAYS[2]), DAYS[0]: (True, DAYS[2])}


def test_a_rule_tells_how_many_of_its_tag_groups_are_judged(plant: SmallPlant, instance: dg.DagsterInstance) -> None:
    of_two_groups = "{name: silence, kind: gap, tag_groups: [pumps, boilers],"
    plant.site_file.write_text(plant.site_file.read_text().replace("{name: silence, kind: gap,", of_two_groups))
    load_days(plant, instance, DAYS[2])
    told = []
    for group in ("tanks", "pumps", "boilers"):
        result = run(plant, instance, "judge_pi_timeseries", partition_key=f"{DAYS[2]}|{group}")
        told.append({check.check_name: check.description for check in result.get_asset_check_evaluations()})
    assert [one["silence"] for one in told] == [
        f"No finding on {DAYS[2]}; {judged} of 2 tag groups judged." for judged in (0, 1, 2)
    ]
    assert told[1]["high_values"] == f"2 findings on {DAYS[2]}: TNK01.LEVEL and 1 more; 2 of 3 tag groups judged."


def test_a_rules_settings_are_told_in_words(plant: SmallPlant) -> None:
    key = dg.AssetCheckKey(FINDINGS, "high_values")
    spec = plant.definitions().get_repository_def().asset_graph.get_check_spec(key)
    assert str(spec.description).endswith(" Here: tags BLR01*, TNK*; high 21.0.")


def test_a_day_that_is_not_loaded_is_not_called_a_gap(plant: SmallPlant, instance: dg.DagsterInstance) -> None:
    load_days(plant, instance)
    job = plant.definitions().get_repository_def().get_job("judge_pi_timeseries")
    partition = f"{DAYS[0]}|pumps"
    result = job.execute_in_process(instance=instance, partition_key=partition, raise_on_error=False)
    [failed] = [event for event in result.all_events if event.is_step_failure]
    assert f"no rows of {partition}" in str(failed.step_failure_data.user_failure_data.description)
    assert not instance.get_materialized_partitions(FINDINGS)


def empty_day(plant: SmallPlant, day: str, prefix: str) -> None:
    """No tag of a group has an event on a day."""
    start = datetime.fromisoformat(day).replace(tzinfo=timezone.utc)
    for tag in TAGS:
        point = plant.base.point_by_name(tag)
        assert point is not None
        if tag.startswith(prefix):
            archive = plant.running.archive
            archive.remove(point, archive.events(point, to_ticks(start), to_ticks(start + timedelta(days=1)) - 1))


def findings(plant: SmallPlant) -> set[tuple[str, str, float]]:
    """Rule, tag and hours of all findings."""
    rows = DeltaTable(str(plant.lake / "pi_quality_findings")).to_pyarrow_table().to_pylist()
    hour = timedelta(hours=1)
    return {(row["rule"], row["tag_name"], (row["finding_end"] - row["finding_start"]) / hour) for row in rows}


def test_a_loaded_day_without_an_event_is_a_gap_of_each_tag(plant: SmallPlant, instance: dg.DagsterInstance) -> None:
    empty_day(plant, DAYS[0], "PMP")
    load_days(plant, instance, DAYS[0])
    run(plant, instance, "judge_pi_timeseries", partition_key=f"{DAYS[0]}|pumps")
    assert findings(plant) == {("silence", "PMP01.SPEED", 24.0), ("silence", "PMP02.SPEED", 24.0)}


def test_findings_go_with_the_rows_that_they_were_about(plant: SmallPlant, instance: dg.DagsterInstance) -> None:
    plant.site_file.write_text(plant.site_file.read_text().replace("longest_minutes: 90", "longest_minutes: 1440"))
    load_days(plant, instance, DAYS[0])
    run(plant, instance, "judge_pi_timeseries", partition_key=f"{DAYS[0]}|tanks")
    assert {rule for rule, _, _ in findings(plant)} == {"high_values"}
    empty_day(plant, DAYS[0], "TNK")
    load_days(plant, instance, DAYS[0])
    run(plant, instance, "judge_pi_timeseries", partition_key=f"{DAYS[0]}|tanks")
    assert findings(plant) == set()


def test_the_schedule_judges_yesterday_in_all_groups(plant: SmallPlant, instance: dg.DagsterInstance) -> None:
    schedule = plant.definitions().get_repository_def().get_schedule_def("pi_quality_schedule")
    today = datetime.combine(datetime.now(timezone.utc).date(), time(4, 30), timezone.utc)
    ticks = [
        schedule.evaluate_tick(dg.build_schedule_context(instance=instance, scheduled_execution_time=at))
        for at in (today, today - timedelta(days=3))
    ]
    assert [dict(request.tags) for request in ticks[0].run_requests or ()] == [
        {**whole_day(DAYS[2]), "dagster/schedule_name": "pi_quality_schedule"}
    ]
    assert not ticks[1].run_requests
