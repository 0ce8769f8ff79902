"""What the assets pi_asset_hierarchy and pi_asset_attributes tell Dagster."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from deltalake import DeltaTable

from pi_dagster_tests.small_plant import SmallPlant, small_plant

HIERARCHY, ATTRIBUTES = dg.AssetKey("pi_asset_hierarchy"), dg.AssetKey("pi_asset_attributes")


@pytest.fixture
def plant(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[SmallPlant]:
    with small_plant(tmp_path) as plant:
        monkeypatch.setenv("PI_DAGSTER_SITE", str(plant.site_file))
        yield plant


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as instance:
        yield instance


def load(plant: SmallPlant, instance: dg.DagsterInstance, job: str = "load_pi_assets") -> dg.ExecuteInProcessResult:
    return (
        plant.definitions()
        .get_repository_def()
        .get_job(job)
        .execute_in_process(instance=instance, raise_on_error=False)
    )


def told(result: dg.ExecuteInProcessResult, key: dg.AssetKey) -> dict[str, Any]:
    [event] = [one for one in result.get_asset_materialization_events() if one.asset_key == key]
    return {name: value.value for name, value in event.materialization.metadata.items()}


def data_version(result: dg.ExecuteInProcessResult, key: dg.AssetKey) -> str | None:
    [event] = [one for one in result.get_asset_materialization_events() if one.asset_key == key]
    return (event.materialization.tags or {}).get("dagster/data_version")


def test_both_assets_are_materialized_by_one_run(plant: SmallPlant, instance: dg.DagsterInstance) -> None:
    result = load(plant, instance)
    assert result.success
    hierarchy, attributes = told(result, HIERARCHY), told(result, ATTRIBUTES)
    assert hierarchy["pi/elements"] == hierarchy["dagster/row_count"] == hierarchy["pi/added_elements"] > 6
    assert hierarchy["pi/databases"] == "Plant"
    assert "  BLR01" in hierarchy["pi/tree"]
    assert (attributes["pi/attributes"], attributes["pi/tags"]) == (6, 6)
    assert hierarchy["load/requests"] > 0


def test_an_unchanged_tree_keeps_its_data_version(plant: SmallPlant, instance: dg.DagsterInstance) -> None:
    first, second = load(plant, instance), load(plant, instance)
    plant.delete_tag("PMP02.SPEED")
    third = load(plant, instance)
    assert data_version(first, HIERARCHY) == data_version(second, HIERARCHY) == data_version(third, HIERARCHY)
    assert data_version(first, ATTRIBUTES) == data_version(second, ATTRIBUTES) != data_version(third, ATTRIBUTES)
    assert told(second, HIERARCHY)["lake/changed"] is False
    assert told(second, ATTRIBUTES)["lake/table_version"] == told(first, ATTRIBUTES)["lake/table_version"]


def test_the_tags_of_attributes_join_the_list_of_tags(plant: SmallPlant, instance: dg.DagsterInstance) -> None:
    load(plant, instance)
    load(plant, instance, "load_pi_points")
    tables = {name: DeltaTable(str(plant.lake / name)).to_pyarrow_table() for name in ("pi_points", ATTRIBUTES.path[0])}
    tags = {row["tag_webid"] for row in tables["pi_points"].to_pylist()}
    assert {row["tag_webid"] for row in tables["pi_asset_attributes"].to_pylist()} == tags


def test_points_by_assets_fail_in_plain_words_before_the_assets(
    plant: SmallPlant, instance: dg.DagsterInstance
) -> None:
    text = plant.site_file.read_text(encoding="utf-8")
    plant.site_file.write_text(text.replace("tag_filter: PMP*", "af_template: Pump"), encoding="utf-8")
    failed = load(plant, instance, "load_pi_points")
    [event] = [event for event in failed.all_events if event.is_step_failure]
    assert event.step_failure_data.user_failure_data is not None
    assert "materialize pi_asset_hierarchy first" in str(event.step_failure_data.user_failure_data.description)
    load(plant, instance)
    points = told(load(plant, instance, "load_pi_points"), dg.AssetKey("pi_points"))
    assert points["pi/tags_in_no_group"] == 0


def test_a_site_without_af_has_none_of_its_assets(plant: SmallPlant) -> None:
    plant.site_file.write_text(
        plant.site_file.read_text(encoding="utf-8") + "  asset_framework: null\n", encoding="utf-8"
    )
    keys = plant.definitions().resolve_asset_graph().get_all_asset_keys()
    names = {key.to_user_string() for key in keys}
    assert names == {
        "pi_archive",
        "pi_points",
        "pi_timeseries",
        "pi_tag_errors",
        "pi_timeseries_daily",
        "pi_quality_report",
    }
