"""pi_timeseries_daily in Dagster: a partition a day, the schedule that follows loads, and the picture of a load."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from pi_dagster.automation.frame_days import day_range_tags
from pi_dagster.automation.partitions import range_tags
from pi_dagster_tests.small_plant import DAYS, GROUPS, SmallPlant, small_plant

DAILY = dg.AssetKey("pi_timeseries_daily")


@pytest.fixture
def plant(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[SmallPlant]:
    with small_plant(tmp_path) as plant:
        monkeypatch.setenv("PI_DAGSTER_SITE", str(plant.site_file))
        yield plant


@pytest.fixture
def instance(tmp_path: Path) -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.local_temp(str(tmp_path)) as instance:
        yield instance


def run(
    plant: SmallPlant, instance: dg.DagsterInstance, job: str, *, fails: bool = False, **what: Any
) -> dg.ExecuteInProcessResult:
    definition = plant.definitions().get_repository_def().get_job(job)
    result = definition.execute_in_process(instance=instance, raise_on_error=not fails, **what)
    assert result.success is not fails
    return result


def load_days(plant: SmallPlant, instance: dg.DagsterInstance, *days: str) -> None:
    run(plant, instance, "load_pi_points")
    for day in days:
        tags = range_tags(datetime.fromisoformat(day).date(), GROUPS[0], GROUPS[-1])
        run(plant, instance, "load_pi_timeseries", tags=tags)


def tick(plant: SmallPlant, instance: dg.DagsterInstance) -> list[dict[str, str]]:
    repository = plant.definitions().get_repository_def()
    with dg.build_schedule_context(
        instance=instance,
        scheduled_execution_time=datetime.now(timezone.utc),
        repository_def=repository,
        resources=repository.get_top_level_resources(),
    ) as context:
        requests = repository.get_schedule_def("pi_timeseries_daily_schedule").evaluate_tick(context).run_requests
    return [dict(request.tags) for request in requests or ()]


def test_the_schedule_computes_days_that_were_loaded_and_then_has_nothing_to_do(
    plant: SmallPlant, instance: dg.DagsterInstance
) -> None:
    assert not tick(plant, instance)
    load_days(plant, instance, *DAYS)
    asked = tick(plant, instance)
    first, last = (datetime.fromisoformat(day).date() for day in (DAYS[1], DAYS[2]))
    # The site takes two partitions a run.
    assert [day_range_tags(first, last).items() <= tags.items() for tags in asked] == [True, False]
    for tags in asked:
        run(plant, instance, "compute_pi_timeseries_daily", tags=tags)
    assert instance.get_materialized_partitions(DAILY) == set(DAYS)
    assert not tick(plant, instance)
    load_days(plant, instance, DAYS[0])
    [again] = tick(plant, instance)
    assert again["dagster/asset_partition_range_start"] == again["dagster/asset_partition_range_end"] == DAYS[0]


def test_a_day_tells_the_whole_plants_numbers_and_those_of_each_group(
    plant: SmallPlant, instance: dg.DagsterInstance
) -> None:
    load_days(plant, instance, DAYS[2])
    result = run(plant, instance, "compute_pi_timeseries_daily", partition_key=DAYS[2])
    [told] = [event.materialization.metadata for event in result.get_asset_materialization_events()]
    assert (told["pi/events"].value, told["pi/tags"].value, told["pi/silent_tags"].value) == (144, 6, 0)
    by_group = told["pi/by_tag_group"]
    assert isinstance(by_group, dg.TableMetadataValue)
    assert [(row.data["tag group"], row.data["events"]) for row in by_group.records] == [(name, 48) for name in GROUPS]


def test_a_day_that_is_not_loaded_fails_and_says_what_to_do(plant: SmallPlant, instance: dg.DagsterInstance) -> None:
    load_days(plant, instance, DAYS[2])
    result = run(plant, instance, "compute_pi_timeseries_daily", partition_key=DAYS[0], fails=True)
    [failed] = [event for event in result.all_events if event.is_step_failure]
    assert f"no rows of {DAYS[0]}. Load those days first" in str(failed.step_failure_data.user_failure_data.description)


def test_a_load_shows_its_events_by_hour_and_tells_them_in_words(
    plant: SmallPlant, instance: dg.DagsterInstance
) -> None:
    load_days(plant, instance, DAYS[2])
    [newest] = instance.fetch_materializations(dg.AssetKey("pi_timeseries"), limit=1).records
    assert newest.asset_materialization is not None
    picture = newest.asset_materialization.metadata["pi/events_by_hour"]
    assert isinstance(picture, dg.MarkdownMetadataValue)
    assert "48 events, 0 bad; at most 2 an hour" in str(picture.value)


def test_a_day_under_way_has_no_gaps_in_hours_to_come(plant: SmallPlant, instance: dg.DagsterInstance) -> None:
    today = (datetime.fromisoformat(DAYS[2]) + timedelta(days=1)).date()
    load_days(plant, instance, today.isoformat())
    [newest] = instance.fetch_materializations(dg.AssetKey("pi_timeseries"), limit=1).records
    assert newest.asset_materialization is not None
    assert "without any" not in str(newest.asset_materialization.metadata["pi/events_by_hour"].value)
