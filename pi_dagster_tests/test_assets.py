"""What the assets load, report, and do when something is wrong; against a served plant."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from pi_dagster.assets.watermarks import last_watermarks
from pi_dagster_tests.small_plant import DAYS, GROUPS, ROWS_PER_PARTITION, TAGS, TODAY, SmallPlant, small_plant

TIMESERIES, POINTS = dg.AssetKey("pi_timeseries"), dg.AssetKey("pi_points")


@pytest.fixture
def plant(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[SmallPlant]:
    with small_plant(tmp_path) as plant:
        monkeypatch.setenv("PI_DAGSTER_SITE", str(plant.site_file))
        yield plant


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as instance:
        yield instance


def load(plant: SmallPlant, instance: dg.DagsterInstance, asset: str, **partition: Any) -> dg.ExecuteInProcessResult:
    job = plant.definitions().get_repository_def().get_job(f"load_{asset}")
    return job.execute_in_process(instance=instance, raise_on_error=False, **partition)


def range_tags(first: str, last: str) -> dict[str, str]:
    return {"dagster/asset_partition_range_start": first, "dagster/asset_partition_range_end": last}


def metadata(result: dg.ExecuteInProcessResult, partition: str | None = None) -> dict[str, Any]:
    found = [
        event.materialization
        for event in result.get_asset_materialization_events()
        if event.materialization.partition == partition
    ]
    assert len(found) == 1
    return {
        name: [record.data for record in value.records] if isinstance(value, dg.TableMetadataValue) else value.value
        for name, value in found[0].metadata.items()
    }


def failure(result: dg.ExecuteInProcessResult) -> tuple[str, set[str]]:
    """What the failed run tells, and the names of its metadata."""
    [event] = [event for event in result.all_events if event.is_step_failure]
    data = event.step_failure_data.user_failure_data
    assert data is not None
    return str(data.description), set(data.metadata)


def materialized(instance: dg.DagsterInstance) -> set[str]:
    return instance.get_materialized_partitions(TIMESERIES)


def test_points_are_loaded_with_the_group_that_owns_each(plant: SmallPlant, instance: dg.DagsterInstance) -> None:
    result = load(plant, instance, "pi_points")
    assert result.success
    told = metadata(result)
    assert (told["pi/tags"], told["pi/new_tags"], told["pi/tags_in_no_group"]) == (len(TAGS), len(TAGS), 0)
    assert told["pi/tags_by_partition"] == [{"tag group": group, "tags": 2} for group in GROUPS]


def test_a_single_partition_is_loaded_and_reported(plant: SmallPlant, instance: dg.DagsterInstance) -> None:
    load(plant, instance, "pi_points")
    key = f"{DAYS[0]}|pumps"
    result = load(plant, instance, "pi_timeseries", partition_key=key)
    assert result.success
    assert plant.rows() == plant.expected_rows([DAYS[0]], ["pumps"])
    told = metadata(result, key)
    assert told["dagster/partition_row_count"] == ROWS_PER_PARTITION
    assert told["pi/complete"] is True
    assert (told["pi/tags"], told["pi/tags_with_events"], told["pi/failed_tags"]) == (2, 2, 0)
    assert told["load/requests"] > 0


def test_a_range_run_records_each_partition_with_its_own_metadata(
    plant: SmallPlant, instance: dg.DagsterInstance
) -> None:
    load(plant, instance, "pi_points")
    tags = range_tags(f"{DAYS[0]}|boilers", f"{DAYS[1]}|pumps")
    result = load(plant, instance, "pi_timeseries", tags=tags)
    assert result.success
    expected = {f"{day}|{group}" for day in DAYS[:2] for group in GROUPS[:2]}
    assert materialized(instance) == expected
    events = {str(event.partition): event.message for event in result.get_asset_materialization_events()}
    assert events.keys() == expected
    assert all(told.startswith(f"{key}: {ROWS_PER_PARTITION} rows of 2 tags in ") for key, told in events.items())
    versions = [metadata(result, key)["lake/table_version"] for key in expected]
    assert len(set(versions)) == len(expected)
    assert plant.rows() == plant.expected_rows(DAYS[:2], GROUPS[:2])


@pytest.mark.parametrize("days", [DAYS, DAYS[2:]], ids=["three partitions", "one partition"])
def test_the_stray_tags_of_a_job_backfill_do_not_hide_the_range(
    plant: SmallPlant, instance: dg.DagsterInstance, days: list[str]
) -> None:
    load(plant, instance, "pi_points")
    stray = {"dagster/partition/date": DAYS[0], "dagster/partition/tag_group": "pumps"}
    tags = {**range_tags(f"{days[0]}|boilers", f"{days[-1]}|boilers"), **stray}
    assert load(plant, instance, "pi_timeseries", tags=tags).success
    assert materialized(instance) == {f"{day}|boilers" for day in days}


def test_today_reaches_to_a_moment_ago_and_is_not_complete(plant: SmallPlant, instance: dg.DagsterInstance) -> None:
    load(plant, instance, "pi_points")
    key = f"{TODAY.date()}|tanks"
    told = metadata(load(plant, instance, "pi_timeseries", partition_key=key), key)
    assert told["pi/complete"] is False
    assert TODAY.timestamp() <= told["pi/watermark"] < TODAY.timestamp() + 86_400
    assert told["pi/lag_seconds"] >= 10


def test_a_partition_that_fails_leaves_the_others_of_the_run_loaded(
    plant: SmallPlant, instance: dg.DagsterInstance
) -> None:
    load(plant, instance, "pi_points")
    plant.forbid_tag("PMP02.SPEED")
    result = load(plant, instance, "pi_timeseries", tags=range_tags(f"{DAYS[0]}|boilers", f"{DAYS[1]}|tanks"))
    assert not result.success
    assert materialized(instance) == {f"{day}|{group}" for day in DAYS[:2] for group in ("boilers", "tanks")}
    assert plant.rows() == plant.expected_rows(DAYS[:2], ["boilers", "tanks"])
    told, names = failure(result)
    assert told.startswith("2 of 6 partitions failed; 4 were loaded and stay.")
    assert f"{DAYS[0]}|pumps" in told
    assert "PMP02.SPEED" in told
    assert f"pi/failed_tags/{DAYS[1]}|pumps" in names


def test_partial_partitions_are_loaded_when_the_site_allows_them(
    plant: SmallPlant, instance: dg.DagsterInstance
) -> None:
    plant.keep_on_tag_errors()
    load(plant, instance, "pi_points")
    plant.forbid_tag("PMP02.SPEED")
    key = f"{DAYS[0]}|pumps"
    result = load(plant, instance, "pi_timeseries", partition_key=key)
    assert result.success
    told = metadata(result, key)
    assert told["pi/failed_tags"] == 1
    assert "pi/failed_tags_and_reasons" in told
    assert {tag for tag, _, _ in plant.rows()} == {"PMP01.SPEED"}


@pytest.mark.parametrize("forbidden", [None, "PMP02.SPEED"], ids=["all tags read", "one tag unread"])
@pytest.mark.parametrize(
    "run",
    [{"partition_key": f"{DAYS[0]}|pumps"}, {"tags": range_tags(f"{DAYS[0]}|boilers", f"{DAYS[0]}|tanks")}],
    ids=["one partition", "range"],
)
def test_a_partial_partition_fails_its_check_and_names_the_tag(
    plant: SmallPlant, instance: dg.DagsterInstance, run: dict[str, Any], forbidden: str | None
) -> None:
    plant.keep_on_tag_errors()
    load(plant, instance, "pi_points")
    if forbidden is not None:
        plant.forbid_tag(forbidden)
    result = load(plant, instance, "pi_timeseries", **run)
    assert result.success
    [check] = result.get_asset_check_evaluations()
    assert check.passed is (forbidden is None)
    unread = [(record.data["partition"], record.data["tag"]) for record in check.metadata["pi/unread_tags"].records]
    assert unread == ([] if forbidden is None else [(f"{DAYS[0]}|pumps", forbidden)])


def test_a_server_that_is_down_is_asked_once_and_not_for_every_partition(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, instance: dg.DagsterInstance
) -> None:
    with small_plant(tmp_path) as plant:
        monkeypatch.setenv("PI_DAGSTER_SITE", str(plant.site_file))
        load(plant, instance, "pi_points")
    result = load(plant, instance, "pi_timeseries", tags=range_tags(f"{DAYS[0]}|boilers", f"{DAYS[2]}|boilers"))
    assert not result.success
    told, _ = failure(result)
    assert told.startswith("1 of 3 partitions failed; 0 were loaded and stay.")
    assert f"Not tried after that: 2 ({DAYS[1]}|boilers to {DAYS[2]}|boilers)." in told


def tail_tags(**more: str) -> dict[str, str]:
    return {**range_tags(f"{TODAY.date()}|boilers", f"{TODAY.date()}|tanks"), "pi/tail": "true", **more}


def test_a_tail_logs_each_partition_with_its_watermark_and_the_next_one_begins_there(
    plant: SmallPlant, instance: dg.DagsterInstance
) -> None:
    load(plant, instance, "pi_points")
    load(plant, instance, "pi_timeseries", tags=tail_tags())
    today = [(TODAY.date(), group) for group in GROUPS]
    first = last_watermarks(instance, TIMESERIES, today)
    result = load(plant, instance, "pi_timeseries", tags=tail_tags(**{"pi/days_to_load": "3"}))
    second = last_watermarks(instance, TIMESERIES, today)
    assert set(first) == set(second) == set(today)
    assert all(second[partition].instant >= first[partition].instant for partition in today)
    assert {watermark.run_id for watermark in second.values()} == {result.run_id}
    told = metadata(result, f"{TODAY.date()}|pumps")
    assert told["load/rows"] <= 2
    assert told["pi/days_to_load"] == 3
    assert 0 < told["pi/lag_seconds"] < 60
    versions = {metadata(result, f"{TODAY.date()}|{group}")["lake/table_version"] for group in GROUPS}
    assert len(versions) == 1
    hours = range(int((second[today[0]].instant - TODAY) / timedelta(hours=1)) + 1)
    assert plant.rows() == [row for row in plant.expected_rows([str(TODAY.date())]) if row[2] in hours]


def test_a_load_by_hand_after_tails_reads_the_whole_day(plant: SmallPlant, instance: dg.DagsterInstance) -> None:
    load(plant, instance, "pi_points")
    load(plant, instance, "pi_timeseries", tags=tail_tags())
    key = f"{TODAY.date()}|tanks"
    told = metadata(load(plant, instance, "pi_timeseries", partition_key=key), key)
    assert told["load/rows"] == told["dagster/partition_row_count"]


def test_a_partition_that_fails_in_a_tail_is_told_and_the_others_are_loaded(
    plant: SmallPlant, instance: dg.DagsterInstance
) -> None:
    load(plant, instance, "pi_points")
    plant.forbid_tag("PMP02.SPEED")
    result = load(plant, instance, "pi_timeseries", tags=tail_tags())
    assert failure(result)[0].startswith("1 of 3 partitions failed; 2 were loaded and stay.")
    assert materialized(instance) == {f"{TODAY.date()}|{group}" for group in ("boilers", "tanks")}


def test_a_tail_of_a_server_that_is_down_says_that_it_was_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, instance: dg.DagsterInstance
) -> None:
    with small_plant(tmp_path) as plant:
        monkeypatch.setenv("PI_DAGSTER_SITE", str(plant.site_file))
        load(plant, instance, "pi_points")
    result = load(plant, instance, "pi_timeseries", tags=tail_tags())
    assert failure(result)[0].startswith("1 of 3 partitions failed; 0 were loaded and stay.")
    run = instance.get_run_by_id(result.run_id)
    assert run is not None
    assert "pi/stopped" in run.tags


def test_a_closed_day_read_again_tells_what_had_changed(plant: SmallPlant, instance: dg.DagsterInstance) -> None:
    load(plant, instance, "pi_points")
    key = f"{DAYS[0]}|pumps"
    assert "pi/added_events" not in metadata(load(plant, instance, "pi_timeseries", partition_key=key), key)
    told = metadata(load(plant, instance, "pi_timeseries", partition_key=key), key)
    assert (told["pi/added_events"], told["pi/changed_events"], told["pi/removed_events"]) == (0, 0, 0)
    assert told["pi/settled"] is True


def test_loading_time_series_before_points_says_what_to_do(plant: SmallPlant, instance: dg.DagsterInstance) -> None:
    result = load(plant, instance, "pi_timeseries", partition_key=f"{DAYS[0]}|pumps")
    assert "materialize pi_points first" in failure(result)[0]


def test_a_missing_password_variable_is_a_failure_in_plain_words(
    plant: SmallPlant, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PI_PASSWORD", raising=False)
    login = "login: {kind: basic, username: me, password_env: PI_PASSWORD}, retry"
    plant.site_file.write_text(plant.site_file.read_text().replace("retry", login))
    told, _ = failure(load(plant, instance, "pi_points"))
    assert "The environment variable PI_PASSWORD is not set" in told
