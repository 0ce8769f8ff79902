"""What Dagster shows of tags that cannot be read: a check of all partitions, and the table behind it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import dagster as dg
import pyarrow as pa
import pytest
from deltalake import DeltaTable, write_deltalake

from pi_dagster.assets.tag_errors import TagErrorsOfRun
from pi_dagster.components.site_file import load_site
from pi_dagster.ingest.errors import TagsFailedError
from pi_dagster.ingest.report import FailedTag
from pi_dagster.ingest.window import Window
from pi_dagster.lake import Lake
from pi_dagster_tests.small_plant import DAYS, TODAY, SmallPlant, small_plant

TAG_ERRORS = dg.AssetKey("pi_tag_errors")
PUMPS, TANKS = f"{DAYS[0]}|pumps", f"{DAYS[0]}|tanks"


@pytest.fixture
def plant(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[SmallPlant]:
    with small_plant(tmp_path) as plant:
        monkeypatch.setenv("PI_DAGSTER_SITE", str(plant.site_file))
        yield plant


@pytest.fixture
def instance(plant: SmallPlant) -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as instance:
        assert run(plant, instance, "load_pi_points").success
        yield instance


def run(plant: SmallPlant, instance: dg.DagsterInstance, name: str, **partition: Any) -> dg.ExecuteInProcessResult:
    job = plant.definitions().get_repository_def().get_job(name)
    return job.execute_in_process(instance=instance, raise_on_error=False, **partition)


def load(plant: SmallPlant, instance: dg.DagsterInstance, key: str) -> tuple[bool, dg.AssetCheckEvaluation]:
    """Whether the run of that partition succeeded, and what its check found."""
    result = run(plant, instance, "load_pi_timeseries", partition_key=key)
    [check] = [event for event in result.get_asset_check_evaluations() if event.check_name == "every_tag_read"]
    return result.success, check


def named(check: dg.AssetCheckEvaluation, table: str = "pi/unread_tags") -> list[tuple[object, ...]]:
    records = [record.data for record in check.metadata[table].records]  # type: ignore[union-attr]
    return [(record["partition"], record["tag"], record["kind"]) for record in records]


def test_the_check_stays_red_while_other_partitions_are_loaded_well(
    plant: SmallPlant, instance: dg.DagsterInstance
) -> None:
    plant.keep_on_tag_errors()
    plant.forbid_tag("PMP02.SPEED")
    lacking = [(PUMPS, "PMP02.SPEED", "refused")]
    for key in (PUMPS, TANKS):
        succeeded, check = load(plant, instance, key)
        assert (succeeded, check.passed, named(check)) == (True, False, lacking)
    plant.running.faults.clear()
    assert load(plant, instance, f"{DAYS[1]}|pumps")[1].passed is False
    assert load(plant, instance, PUMPS)[1].passed is True


def test_a_day_that_was_read_to_settle_without_a_tag_is_not_settled(
    plant: SmallPlant, instance: dg.DagsterInstance
) -> None:
    plant.keep_on_tag_errors()
    plant.forbid_tag("PMP02.SPEED")
    load(plant, instance, PUMPS)
    event = instance.get_latest_materialization_event(dg.AssetKey("pi_timeseries"))
    assert event is not None
    assert event.asset_materialization is not None
    told = event.asset_materialization.metadata
    assert (told["pi/read_to_settle"].value, told["pi/settled"].value) == (True, False)


def test_a_run_that_fails_for_a_tag_turns_the_check_red_too(plant: SmallPlant, instance: dg.DagsterInstance) -> None:
    plant.forbid_tag("PMP02.SPEED")
    succeeded, check = load(plant, instance, PUMPS)
    assert (succeeded, check.passed, named(check)) == (False, False, [(PUMPS, "PMP02.SPEED", "refused")])
    plant.running.faults.clear()
    succeeded, check = load(plant, instance, PUMPS)
    assert (succeeded, check.passed, named(check)) == (True, True, [])


def test_a_tail_names_the_tag_and_since_when(plant: SmallPlant, instance: dg.DagsterInstance) -> None:
    plant.keep_on_tag_errors()
    plant.forbid_tag("PMP02.SPEED")
    today = str(TODAY.date())
    tags = {
        "dagster/asset_partition_range_start": f"{today}|boilers",
        "dagster/asset_partition_range_end": f"{today}|tanks",
        "pi/tail": "true",
    }
    versions = []
    for _ in range(2):
        result = run(plant, instance, "load_pi_timeseries", tags=tags)
        assert result.success
        [check] = result.get_asset_check_evaluations()
        assert named(check) == [(f"{today}|pumps", "PMP02.SPEED", "refused")]
        versions.append(DeltaTable(str(plant.lake / "pi_tag_errors")).version())
    assert versions == [1, 2], "one commit a run, however many partitions"
    told = next(
        event.materialization
        for event in result.get_asset_materialization_events()
        if event.materialization.partition == f"{today}|pumps"
    )
    assert told.metadata["pi/unread_since"].value == TODAY.timestamp()


def test_a_deleted_tag_is_told_and_turns_nothing_red(plant: SmallPlant, instance: dg.DagsterInstance) -> None:
    plant.delete_tag("PMP02.SPEED")
    succeeded, check = load(plant, instance, PUMPS)
    assert (succeeded, check.passed, named(check)) == (True, True, [])
    assert named(check, "pi/gone_tags") == [("", "PMP02.SPEED", "gone")]
    told = instance.get_latest_materialization_event(TAG_ERRORS)
    assert told is not None
    assert told.asset_materialization is not None
    assert told.asset_materialization.metadata["pi/gone_tags"].value == 1
    [row] = DeltaTable(str(plant.lake / "pi_tag_errors")).to_pyarrow_table().to_pylist()
    assert (row["tag_name"], row["tag_group"], row["partition_date"]) == ("PMP02.SPEED", "pumps", None)


def test_without_trouble_the_table_of_errors_is_not_told_of(plant: SmallPlant, instance: dg.DagsterInstance) -> None:
    assert load(plant, instance, PUMPS)[1].passed
    assert instance.get_latest_materialization_event(TAG_ERRORS) is None


def test_a_table_of_errors_that_cannot_be_written_fails_no_load_and_says_so(
    plant: SmallPlant, instance: dg.DagsterInstance
) -> None:
    write_deltalake(str(plant.lake / "pi_tag_errors"), pa.table({"somebody": ["else's"]}))
    succeeded, check = load(plant, instance, PUMPS)
    assert (succeeded, check.passed) == (True, False)
    assert check.description is not None
    assert "is not a pi_tag_errors table" in check.description
    assert plant.rows() == plant.expected_rows(DAYS[:1], ["pumps"])


def test_what_could_not_be_told_for_a_moment_is_told_later_in_the_run(plant: SmallPlant) -> None:
    site, lake, table = load_site(plant.site_file), Lake(str(plant.lake)), plant.lake / "pi_tag_errors"
    day = date.fromisoformat(DAYS[0])
    tag = FailedTag(tag_webid="I1DP1", tag_name="PMP02.SPEED", error="403")
    checks: list[dg.AssetCheckResult] = []

    @dg.asset
    def loads(context) -> None:  # type: ignore[no-untyped-def]
        errors = TagErrorsOfRun(site, context, lake)
        write_deltalake(str(table), pa.table({"somebody": ["else's"]}))
        errors.add(((day, "pumps"), TagsFailedError(PUMPS, [tag], window=Window.of_day(day))), tell_at_once=True)
        shutil.rmtree(table)
        errors.record()
        checks.append(errors.check_result())

    assert dg.materialize([loads]).success
    assert checks[0].description is None
    assert checks[0].metadata["pi/unread_tags_and_days"] == dg.MetadataValue.int(1)


def test_an_error_is_told_at_once_and_what_went_well_at_the_end_of_the_run(
    plant: SmallPlant, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    plant.keep_on_tag_errors()
    plant.forbid_tag("PMP02.SPEED")
    told: list[int] = []
    record = TagErrorsOfRun.record
    monkeypatch.setattr(TagErrorsOfRun, "record", lambda errors: (record(errors), told.append(len(errors._untold))))
    tags = {
        "dagster/asset_partition_range_start": f"{DAYS[0]}|boilers",
        "dagster/asset_partition_range_end": f"{DAYS[0]}|tanks",
    }
    assert run(plant, instance, "load_pi_timeseries", tags=tags).success
    assert told == [0, 0], "once for the pumps, once at the end; not for the boilers and the tanks"
    assert DeltaTable(str(plant.lake / "pi_tag_errors")).version() == 1
