"""pi_quality_report in Dagster: the file in the lake, the link to it, the lag from Dagster's record, the schedule."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, time, timedelta, timezone
from pathlib import Path

import dagster as dg
import pytest

from pi_dagster.automation.frame_days import day_range_tags
from pi_dagster_tests.small_plant import DAYS, SmallPlant, small_plant
from pi_dagster_tests.test_daily_assets import load_days, run
from pi_dagster_tests.test_metadata_documented import KEY, PAGE

TODAY = (datetime.fromisoformat(DAYS[2]) + timedelta(days=1)).date().isoformat()
REPORT = dg.AssetKey("pi_quality_report")


@pytest.fixture
def plant(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[SmallPlant]:
    with small_plant(tmp_path) as plant:
        monkeypatch.setenv("PI_DAGSTER_SITE", str(plant.site_file))
        yield plant


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as instance:
        yield instance


def test_the_materialization_leads_to_the_page(plant: SmallPlant, instance: dg.DagsterInstance) -> None:
    load_days(plant, instance, DAYS[2], TODAY)
    last_two = day_range_tags(*(datetime.fromisoformat(day).date() for day in (DAYS[2], TODAY)))
    run(plant, instance, "compute_pi_timeseries_daily", tags=last_two)
    result = run(plant, instance, "write_pi_quality_report", partition_key=DAYS[2])
    [told] = [event.materialization.metadata for event in result.get_asset_materialization_events()]
    page = plant.lake / "reports" / f"{DAYS[2]}.html"
    assert told["pi/report"] == dg.MetadataValue.path(str(page))
    assert told["pi/events"].value == 144
    assert "No load of this day is on record" in page.read_text()

    plant.site_file.write_text(plant.site_file.read_text() + "  reports_url: https://pi.example.com/reports/\n")
    run(plant, instance, "write_pi_quality_report", tags=last_two)
    newest = instance.fetch_materializations(REPORT, limit=1).records[0].asset_materialization
    assert newest is not None
    assert newest.metadata["pi/report"] == dg.MetadataValue.url(f"https://pi.example.com/reports/{TODAY}.html")
    assert instance.get_materialized_partitions(REPORT) == {DAYS[2], TODAY}
    # Today's loads left it behind the clock, and Dagster's record says by how much.
    assert "<polyline" in (plant.lake / "reports" / f"{TODAY}.html").read_text()


def test_the_page_tells_what_of_its_day_the_rules_have_judged(plant: SmallPlant, instance: dg.DagsterInstance) -> None:
    rules = "  quality_rules:\n    - {name: silence, kind: gap, longest_minutes: 90}\n"
    plant.site_file.write_text(plant.site_file.read_text() + rules)
    load_days(plant, instance, DAYS[1], DAYS[2])
    run(plant, instance, "compute_pi_timeseries_daily", partition_key=DAYS[2])
    told = []
    for judged in (f"{DAYS[1]}|pumps", f"{DAYS[2]}|tanks"):
        run(plant, instance, "judge_pi_timeseries", partition_key=judged)
        run(plant, instance, "write_pi_quality_report", partition_key=DAYS[2])
        page = (plant.lake / "reports" / f"{DAYS[2]}.html").read_text()
        told.append(("not judged" in page, "of 1 rules" in page, "1 of 3 tag groups judged" in page))
    assert told == [(True, False, False), (False, True, True)]


def test_the_documented_keys_are_those_that_a_page_is_told_by(plant: SmallPlant, instance: dg.DagsterInstance) -> None:
    load_days(plant, instance, DAYS[2])
    run(plant, instance, "compute_pi_timeseries_daily", partition_key=DAYS[2])
    result = run(plant, instance, "write_pi_quality_report", partition_key=DAYS[2])
    [told] = [event.materialization.metadata for event in result.get_asset_materialization_events()]
    [line] = [line for line in PAGE.splitlines() if line.startswith("| `pi_quality_report` |")]
    assert set(KEY.findall(line)) == {key for key in told if not key.startswith("dagster/")}


def test_a_day_whose_numbers_are_missing_fails_in_plain_words(plant: SmallPlant, instance: dg.DagsterInstance) -> None:
    load_days(plant, instance, DAYS[2])
    result = run(plant, instance, "write_pi_quality_report", partition_key=DAYS[2], fails=True)
    [failed] = [event for event in result.all_events if event.is_step_failure]
    told = str(failed.step_failure_data.user_failure_data.description)
    assert f"pi_timeseries_daily has no numbers of {DAYS[2]}" in told


def test_the_schedule_makes_yesterdays_page(plant: SmallPlant, instance: dg.DagsterInstance) -> None:
    schedule = plant.definitions().get_repository_def().get_schedule_def("pi_quality_report_schedule")
    at = datetime.combine(datetime.now(timezone.utc).date(), time(5), timezone.utc)
    ticks = [
        schedule.evaluate_tick(dg.build_schedule_context(instance=instance, scheduled_execution_time=when))
        for when in (at, at - timedelta(days=3))
    ]
    [request] = ticks[0].run_requests or ()
    yesterday = datetime.fromisoformat(DAYS[2]).date()
    assert day_range_tags(yesterday, yesterday).items() <= dict(request.tags).items()
    assert not ticks[1].run_requests
