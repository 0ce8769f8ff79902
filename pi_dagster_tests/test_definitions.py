"""What Dagster loads from this project: names that people and dashboards rely on."""

from __future__ import annotations

from datetime import date, datetime, timedelta, timezone
from pathlib import Path

import dagster as dg
import pytest
import yaml

from pi_dagster.automation.partitions import partition_key
from pi_dagster.definitions import defs

PROJECT = Path(__file__).parents[1]


@pytest.fixture
def default_definitions(monkeypatch: pytest.MonkeyPatch) -> dg.Definitions:
    monkeypatch.delenv("PI_DAGSTER_SITE", raising=False)
    monkeypatch.delenv("PI_START_DATE", raising=False)
    loaded = defs()
    dg.Definitions.validate_loadable(loaded)
    return loaded


def test_the_names_in_the_ui_do_not_change_by_accident(default_definitions: dg.Definitions) -> None:
    repository = default_definitions.get_repository_def()
    graph = repository.asset_graph
    assert {key.to_user_string(): sorted(parent.to_user_string() for parent in graph.get(key).parent_keys)
            for key in graph.get_all_asset_keys()} == {
        "pi_archive": [],
        "pi_points": ["pi_archive", "pi_asset_attributes"],
        "pi_timeseries": ["pi_archive", "pi_points"],
        "pi_tag_errors": ["pi_timeseries"],
        "pi_timeseries_daily": ["pi_timeseries"],
        "pi_event_frames": ["pi_asset_hierarchy"],
        "pi_quality_report": ["pi_event_frames", "pi_tag_errors", "pi_timeseries_daily"],
        "pi_asset_hierarchy": [],
        "pi_asset_attributes": ["pi_asset_hierarchy"],
    }  # fmt: skip
    assert {name for name in repository.job_names if not name.startswith("__")} == {
        "load_pi_points",
        "load_pi_assets",
        "load_pi_timeseries",
        "load_pi_event_frames",
        "compute_pi_timeseries_daily",
        "write_pi_quality_report",
        "maintain_lake",
        "compare_counts",
        "check_pi_tables",
    }
    assert {key.to_user_string() for key in graph.asset_check_keys} == {
        "pi_archive:clocks_agree",
        "pi_points:columns_as_designed",
        "pi_timeseries:columns_as_designed",
        "pi_timeseries:counts_match_the_archive",
        "pi_timeseries:every_tag_read",
        "pi_timeseries:few_bad_values",
        "pi_timeseries:few_system_states",
        "pi_timeseries:no_event_twice",
        "pi_timeseries:no_partition_left_failed",
        "pi_timeseries:no_silent_tag",
        "pi_timeseries:today_is_up_to_date",
        "pi_timeseries_daily:columns_as_designed",
        "pi_event_frames:columns_as_designed",
        "pi_event_frames:every_frame_read",
        "pi_event_frames:no_frame_open_too_long",
        "pi_event_frames:no_partition_left_failed",
        "pi_asset_hierarchy:columns_as_designed",
        "pi_asset_attributes:columns_as_designed",
        "pi_asset_attributes:every_attribute_has_its_tag",
    }
    assert {
        schedule.name: (schedule.cron_schedule, schedule.execution_timezone, schedule.default_status.value)
        for schedule in repository.schedule_defs
    } == {
        "pi_assets_schedule": ("5 0 * * *", "UTC", "STOPPED"),
        "pi_points_schedule": ("15 0 * * *", "UTC", "STOPPED"),
        "pi_timeseries_schedule": ("*/5 * * * *", "UTC", "STOPPED"),
        "pi_timeseries_daily_schedule": ("20 * * * *", "UTC", "STOPPED"),
        "pi_event_frames_schedule": ("30 0 * * *", "UTC", "STOPPED"),
        "pi_checks_schedule": ("10,40 * * * *", "UTC", "STOPPED"),
        "pi_quality_report_schedule": ("0 5 * * *", "UTC", "STOPPED"),
        "maintenance_schedule": ("45 3 * * *", "UTC", "STOPPED"),
    }
    assert {
        sensor.name: (sensor.minimum_interval_seconds, sensor.default_status.value) for sensor in repository.sensor_defs
    } == {"pi_event_frame_sensor": (60, "STOPPED"), "pi_reconcile_sensor": (300, "STOPPED")}
    assert set(repository.get_top_level_resources()) == {"pi_server", "lake"}
    asks_the_server = {key for key in graph.materializable_asset_keys if graph.get(key).pools}
    assert {key.to_user_string() for key in graph.materializable_asset_keys - asks_the_server} == {
        "pi_timeseries_daily",
        "pi_quality_report",
    }
    assert {pool for key in asks_the_server for pool in graph.get(key).pools} == {"pi_web_api_127_0_0_1_5450"}


def test_partitions_are_days_up_to_today_times_tag_groups(default_definitions: dg.Definitions) -> None:
    partitions = default_definitions.get_assets_def("pi_timeseries").partitions_def
    assert isinstance(partitions, dg.MultiPartitionsDefinition)
    keys = partitions.get_partition_keys()
    today = datetime.now(timezone.utc).date()
    days = (today - date(2026, 1, 1)).days + 1
    groups = ["boilers", "pumps-00", "pumps-01", "tanks", "utilities"]
    assert len(keys) == days * len(groups)
    assert {partition_key(today, group) for group in groups} <= set(keys)
    assert partition_key(today + timedelta(days=1), "boilers") not in keys


def test_every_column_is_described(default_definitions: dg.Definitions) -> None:
    for name in (
        "pi_points",
        "pi_timeseries",
        "pi_timeseries_daily",
        "pi_asset_hierarchy",
        "pi_asset_attributes",
        "pi_event_frames",
    ):
        spec = default_definitions.get_assets_def(name).get_asset_spec(dg.AssetKey(name))
        columns = spec.metadata["dagster/column_schema"].schema.columns
        assert len(columns) >= 15
        assert all(column.description for column in columns)
        assert spec.description


def test_another_site_is_loaded_by_an_environment_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PI_DAGSTER_SITE", str(PROJECT / "docs" / "example-site" / "defs.yaml"))
    keys = defs().resolve_asset_graph().get_all_asset_keys()
    assert dg.AssetKey(["plant1", "pi_timeseries"]) in keys


def test_the_location_has_one_name_however_it_is_loaded() -> None:
    """Dagster keeps history and schedules by this name."""
    workspace = yaml.safe_load((PROJECT / "workspace.yaml").read_text())
    module = workspace["load_from"][0]["python_module"]
    pyproject = (PROJECT / "pyproject.toml").read_text()
    assert f'code_location_name = "{module["location_name"]}"' in pyproject
    assert f'code_location_target_module = "{module["module_name"]}"' in pyproject


def test_dagster_accepts_the_settings_in_dagster_yaml(tmp_path: Path) -> None:
    (tmp_path / "dagster.yaml").write_text((PROJECT / "dagster.yaml").read_text())
    with dg.DagsterInstance.from_config(str(tmp_path)) as instance:
        assert not instance.telemetry_enabled
        assert not instance.nux_enabled
        assert instance.run_monitoring_enabled
