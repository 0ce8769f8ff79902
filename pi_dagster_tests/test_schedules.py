"""What the time series schedule asks for, tick by tick."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, datetime, timedelta, timezone
from pathlib import Path

import dagster as dg
import pytest

from pi_dagster.automation.partitions import partition_key
from pi_dagster.factory import build_pi_definitions
from pi_dagster.site import Site


@pytest.fixture
def site(tmp_path: Path) -> Site:
    yesterday = datetime.now(timezone.utc).date() - timedelta(days=1)
    return Site.model_validate(
        {
            "server": {"url": "http://127.0.0.1:9/piwebapi", "retry_budget_seconds": 0},
            "lake": {"uri": str(tmp_path / "lake")},
            "start_date": yesterday - timedelta(days=1),
            "tag_groups": [{"name": name, "tag_filter": f"{name}*"} for name in ("a", "b", "c")],
        }
    )


@pytest.fixture
def instance(tmp_path: Path) -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.local_temp(str(tmp_path)) as instance:
        yield instance


def tick(site: Site, instance: dg.DagsterInstance) -> list[tuple[str, str, str]]:
    """The asset and the first and last partition of each run that a tick now asks for."""
    repository = build_pi_definitions(site).get_repository_def()
    context = dg.build_schedule_context(
        instance=instance, scheduled_execution_time=datetime.now(timezone.utc), repository_def=repository
    )
    requests = repository.get_schedule_def("pi_timeseries_schedule").evaluate_tick(context).run_requests or []
    return [
        (
            request.asset_selection[0].to_user_string() if request.asset_selection else "",
            request.tags.get("dagster/asset_partition_range_start", ""),
            request.tags.get("dagster/asset_partition_range_end", ""),
        )
        for request in requests
    ]


def report(instance: dg.DagsterInstance, day: date, group: str, *, complete: bool) -> None:
    instance.report_runless_asset_event(
        dg.AssetMaterialization(
            "pi_timeseries", partition=partition_key(day, group), metadata={"pi/complete": complete}
        )
    )


def test_a_fresh_site_loads_its_tags_first(site: Site, instance: dg.DagsterInstance) -> None:
    assert tick(site, instance) == [("pi_points", "", "")]


def test_today_and_the_oldest_missing_day_are_loaded(site: Site, instance: dg.DagsterInstance) -> None:
    instance.report_runless_asset_event(dg.AssetMaterialization("pi_points"))
    today, oldest = datetime.now(timezone.utc).date(), site.start_date
    assert tick(site, instance) == [
        ("pi_timeseries", f"{today}|a", f"{today}|c"),
        ("pi_timeseries", f"{oldest}|a", f"{oldest}|c"),
    ]


def test_only_missing_groups_of_a_day_are_loaded(site: Site, instance: dg.DagsterInstance) -> None:
    instance.report_runless_asset_event(dg.AssetMaterialization("pi_points"))
    oldest = site.start_date
    report(instance, oldest, "b", complete=True)
    assert tick(site, instance)[1:] == [
        ("pi_timeseries", f"{oldest}|a", f"{oldest}|a"),
        ("pi_timeseries", f"{oldest}|c", f"{oldest}|c"),
    ]


def test_a_day_that_was_only_loaded_while_it_lasted_is_read_to_its_end(
    site: Site, instance: dg.DagsterInstance
) -> None:
    instance.report_runless_asset_event(dg.AssetMaterialization("pi_points"))
    oldest = site.start_date
    for group in ("a", "b", "c"):
        report(instance, oldest, group, complete=group != "b")
    assert tick(site, instance)[1:] == [("pi_timeseries", f"{oldest}|b", f"{oldest}|b")]


def test_when_all_is_loaded_only_today_is(site: Site, instance: dg.DagsterInstance) -> None:
    instance.report_runless_asset_event(dg.AssetMaterialization("pi_points"))
    today = datetime.now(timezone.utc).date()
    for group in ("a", "b", "c"):
        for days in (1, 2):
            report(instance, today - timedelta(days=days), group, complete=True)
    assert tick(site, instance) == [("pi_timeseries", f"{today}|a", f"{today}|c")]


def test_nothing_is_asked_for_while_an_earlier_tick_is_still_being_loaded(
    site: Site, instance: dg.DagsterInstance
) -> None:
    instance.report_runless_asset_event(dg.AssetMaterialization("pi_points"))
    job = build_pi_definitions(site).get_repository_def().get_job("load_pi_timeseries")
    for what in ("pi: today", "pi: closed day"):
        instance.create_run_for_job(job, tags={"pi/load": what}, status=dg.DagsterRunStatus.STARTED)
    assert tick(site, instance) == []


def test_a_day_that_failed_is_left_to_a_person(site: Site, instance: dg.DagsterInstance) -> None:
    instance.report_runless_asset_event(dg.AssetMaterialization("pi_points"))
    oldest = site.start_date
    job = build_pi_definitions(site).get_repository_def().get_job("load_pi_timeseries")
    key = partition_key(oldest, "b")
    assert not job.execute_in_process(instance=instance, partition_key=key, raise_on_error=False).success
    assert tick(site, instance)[1:] == [
        ("pi_timeseries", f"{oldest}|a", f"{oldest}|a"),
        ("pi_timeseries", f"{oldest}|c", f"{oldest}|c"),
    ]
