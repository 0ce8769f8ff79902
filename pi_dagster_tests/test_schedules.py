"""What the time series schedule asks for, tick by tick."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import date, datetime, timedelta, timezone
from pathlib import Path

import dagster as dg
import pytest

from pi_dagster.automation.partitions import TAIL_TAG, partition_key, range_tags
from pi_dagster.automation.schedules import DAYS_BEHIND_TAG, LOAD_TAG
from pi_dagster.factory import build_pi_definitions
from pi_dagster.site import Site, TagGroup


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


def run_requests(site: Site, instance: dg.DagsterInstance, at: datetime | None = None) -> Sequence[dg.RunRequest]:
    """What a tick, now or at that instant, asks for."""
    repository = build_pi_definitions(site).get_repository_def()
    context = dg.build_schedule_context(
        instance=instance, scheduled_execution_time=at or datetime.now(timezone.utc), repository_def=repository
    )
    prefix = "".join(f"{part}_" for part in site.asset_key_prefix)
    return repository.get_schedule_def(f"{prefix}pi_timeseries_schedule").evaluate_tick(context).run_requests or []


def tick(site: Site, instance: dg.DagsterInstance, at: datetime | None = None) -> list[tuple[str, str, str]]:
    """The asset and the first and last partition of each run that a tick asks for."""
    return [
        (
            request.asset_selection[0].to_user_string() if request.asset_selection else "",
            request.tags.get("dagster/asset_partition_range_start", ""),
            request.tags.get("dagster/asset_partition_range_end", ""),
        )
        for request in run_requests(site, instance, at)
    ]


def report(instance: dg.DagsterInstance, day: date, group: str, *, settled: bool) -> None:
    instance.report_runless_asset_event(
        dg.AssetMaterialization("pi_timeseries", partition=partition_key(day, group), metadata={"pi/settled": settled})
    )


def test_a_fresh_site_loads_its_tags_first(site: Site, instance: dg.DagsterInstance) -> None:
    assert tick(site, instance) == [("pi_points", "", "")]


def test_a_fresh_site_with_groups_by_assets_loads_those_before_its_tags(
    site: Site, instance: dg.DagsterInstance
) -> None:
    by_assets = site.model_copy(update={"tag_groups": (TagGroup(name="pumps", af_template="Pump"),)})
    assets = [dg.AssetKey("pi_asset_attributes"), dg.AssetKey("pi_asset_hierarchy")]
    [first] = run_requests(by_assets, instance)
    assert first.asset_selection == [*assets, dg.AssetKey("pi_points")]
    for key in assets:
        instance.report_runless_asset_event(dg.AssetMaterialization(key))
    assert tick(by_assets, instance) == [("pi_points", "", "")]


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
    report(instance, oldest, "b", settled=True)
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
        report(instance, oldest, group, settled=group != "b")
    assert tick(site, instance)[1:] == [("pi_timeseries", f"{oldest}|b", f"{oldest}|b")]


def midnight(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=timezone.utc)


def test_today_is_asked_for_as_a_tail_that_tells_how_many_days_are_missing(
    site: Site, instance: dg.DagsterInstance
) -> None:
    instance.report_runless_asset_event(dg.AssetMaterialization("pi_points"))
    today, closed_day = run_requests(site, instance, midnight(site.start_date) + timedelta(days=2, hours=3))
    assert (today.tags[TAIL_TAG], today.tags[DAYS_BEHIND_TAG]) == ("true", "2")
    assert TAIL_TAG not in closed_day.tags


def test_yesterday_is_left_to_the_tail_until_it_settles_and_then_read_whole(
    site: Site, instance: dg.DagsterInstance
) -> None:
    instance.report_runless_asset_event(dg.AssetMaterialization("pi_points"))
    yesterday = site.start_date
    for group in ("a", "b", "c"):
        instance.report_runless_asset_event(
            dg.AssetMaterialization(
                "pi_timeseries",
                partition=partition_key(yesterday, group),
                metadata={"pi/complete": True, "pi/settled": False},
            )
        )
    settle = midnight(yesterday) + timedelta(days=1, hours=site.settle_hours)
    today = settle.date()
    assert tick(site, instance, settle - timedelta(minutes=5)) == [("pi_timeseries", f"{today}|a", f"{today}|c")]
    assert tick(site, instance, settle)[1:] == [("pi_timeseries", f"{yesterday}|a", f"{yesterday}|c")]


def test_the_day_of_a_tick_is_the_day_of_utc_wherever_dagster_stands(site: Site, instance: dg.DagsterInstance) -> None:
    instance.report_runless_asset_event(dg.AssetMaterialization("pi_points"))
    today = datetime.now(timezone.utc).date()
    yesterday = today - timedelta(days=1)
    soon_after_midnight = midnight(today).replace(hour=0, minute=30)
    in_the_east = soon_after_midnight.replace(tzinfo=timezone(timedelta(hours=2)))
    assert tick(site, instance, in_the_east)[0] == ("pi_timeseries", f"{yesterday}|a", f"{yesterday}|c")
    assert tick(site, instance, soon_after_midnight)[0] == ("pi_timeseries", f"{today}|a", f"{today}|c")


def test_schedules_and_days_know_no_daylight_saving(site: Site) -> None:
    repository = build_pi_definitions(site.model_copy(update={"start_date": date(2026, 3, 28)})).get_repository_def()
    assert {schedule.execution_timezone for schedule in repository.schedule_defs} == {"UTC"}
    partitions = repository.assets_defs_by_key[dg.AssetKey("pi_timeseries")].partitions_def
    assert isinstance(partitions, dg.MultiPartitionsDefinition)
    days = partitions.get_partitions_def_for_dimension("date")
    assert isinstance(days, dg.TimeWindowPartitionsDefinition)
    for day in ("2026-03-29", "2026-10-25"):
        window = days.time_window_for_partition_key(day)
        assert (window.start, window.end - window.start) == (midnight(date.fromisoformat(day)), timedelta(days=1))


def test_when_all_is_loaded_only_today_is(site: Site, instance: dg.DagsterInstance) -> None:
    instance.report_runless_asset_event(dg.AssetMaterialization("pi_points"))
    today = datetime.now(timezone.utc).date()
    for group in ("a", "b", "c"):
        for days in (1, 2):
            report(instance, today - timedelta(days=days), group, settled=True)
    assert tick(site, instance) == [("pi_timeseries", f"{today}|a", f"{today}|c")]


def test_nothing_is_asked_for_while_an_earlier_tick_is_still_being_loaded(
    site: Site, instance: dg.DagsterInstance
) -> None:
    instance.report_runless_asset_event(dg.AssetMaterialization("pi_points"))
    job = build_pi_definitions(site).get_repository_def().get_job("load_pi_timeseries")
    for what in ("today", "closed day"):
        instance.create_run_for_job(job, tags={LOAD_TAG: f"pi_timeseries: {what}"}, status=dg.DagsterRunStatus.STARTED)
    assert tick(site, instance) == []


def fail(site: Site, instance: dg.DagsterInstance, day: date, group: str) -> None:
    """Let a partition fail, as the server of the site does not exist."""
    job = build_pi_definitions(site).get_repository_def().get_job("load_pi_timeseries")
    key = partition_key(day, group)
    assert not job.execute_in_process(instance=instance, partition_key=key, raise_on_error=False).success


def test_a_group_that_failed_waits_while_others_were_never_loaded(site: Site, instance: dg.DagsterInstance) -> None:
    instance.report_runless_asset_event(dg.AssetMaterialization("pi_points"))
    oldest = site.start_date
    fail(site, instance, oldest, "b")
    assert tick(site, instance)[1:] == [
        ("pi_timeseries", f"{oldest}|a", f"{oldest}|a"),
        ("pi_timeseries", f"{oldest}|c", f"{oldest}|c"),
    ]


def load_all_but(site: Site, instance: dg.DagsterInstance, left_out: set[tuple[date, str]]) -> None:
    instance.report_runless_asset_event(dg.AssetMaterialization("pi_points"))
    for day in (site.start_date, site.start_date + timedelta(days=1)):
        for group in ("a", "b", "c"):
            if (day, group) not in left_out:
                report(instance, day, group, settled=True)


def lack_a_tag(instance: dg.DagsterInstance, day: date, group: str, *, read_to_settle: bool) -> None:
    """What a load tells that the site lets keep what it could read."""
    metadata = {"pi/settled": False, "pi/failed_tags": 1, **({"pi/read_to_settle": True} if read_to_settle else {})}
    key = partition_key(day, group)
    instance.report_runless_asset_event(dg.AssetMaterialization("pi_timeseries", partition=key, metadata=metadata))


def test_when_the_rest_is_loaded_a_failed_day_is_tried_again_but_not_at_every_tick(
    site: Site, instance: dg.DagsterInstance
) -> None:
    oldest = site.start_date
    load_all_but(site, instance, {(oldest, "b")})
    fail(site, instance, oldest, "b")
    assert tick(site, instance)[1:] == [("pi_timeseries", f"{oldest}|b", f"{oldest}|b")]
    job = build_pi_definitions(site).get_repository_def().get_job("load_pi_timeseries")
    tags = {LOAD_TAG: "pi_timeseries: failed day"}
    instance.create_run_for_job(job, tags=tags, status=dg.DagsterRunStatus.FAILURE)
    assert tick(site, instance)[1:] == []


def test_a_day_that_lacks_a_tag_is_tried_again_like_one_that_failed(site: Site, instance: dg.DagsterInstance) -> None:
    oldest = site.start_date
    load_all_but(site, instance, {(oldest, "c")})
    lack_a_tag(instance, oldest, "c", read_to_settle=True)
    [_, again] = run_requests(site, instance)
    assert again.tags[LOAD_TAG] == "pi_timeseries: failed day"
    assert again.tags["dagster/asset_partition_range_start"] == f"{oldest}|c"


def test_a_day_whose_tail_could_not_read_a_tag_is_read_to_settle_all_the_same(
    site: Site, instance: dg.DagsterInstance
) -> None:
    """It does not wait for its turn among the days that lack that tag since long ago."""
    oldest, yesterday = site.start_date, site.start_date + timedelta(days=1)
    load_all_but(site, instance, {(oldest, "c"), (yesterday, "c")})
    lack_a_tag(instance, oldest, "c", read_to_settle=True)
    lack_a_tag(instance, yesterday, "c", read_to_settle=False)
    [_, closed_day] = run_requests(site, instance, midnight(yesterday) + timedelta(days=1, hours=12))
    assert closed_day.tags[LOAD_TAG] == "pi_timeseries: closed day"
    assert closed_day.tags["dagster/asset_partition_range_start"] == f"{yesterday}|c"


def test_a_server_that_is_down_does_not_use_up_the_days_to_load(site: Site, instance: dg.DagsterInstance) -> None:
    instance.report_runless_asset_event(dg.AssetMaterialization("pi_points"))
    today = datetime.now(timezone.utc).date()
    job = build_pi_definitions(site).get_repository_def().get_job("load_pi_timeseries")
    tags = {LOAD_TAG: "pi_timeseries: today", **range_tags(today, "a", "c")}
    for _ in range(3):
        assert not job.execute_in_process(instance=instance, tags=tags, raise_on_error=False).success
        assert tick(site, instance) == [("pi_timeseries", f"{today}|a", f"{today}|c")]


def test_days_that_only_tails_failed_on_are_loaded_one_a_tick(site: Site, instance: dg.DagsterInstance) -> None:
    """As after an outage of the server: the tails of those days were the only tries."""
    oldest, yesterday = site.start_date, site.start_date + timedelta(days=1)
    load_all_but(site, instance, {(day, group) for day in (oldest, yesterday) for group in ("b", "c")})
    job = build_pi_definitions(site).get_repository_def().get_job("load_pi_timeseries")
    for day in (oldest, yesterday):
        tags = {**range_tags(day, "b", "c"), TAIL_TAG: "true"}
        assert not job.execute_in_process(instance=instance, tags=tags, raise_on_error=False).success
    fail(site, instance, oldest, "b")
    [_, closed_day] = run_requests(site, instance, midnight(yesterday) + timedelta(days=1, hours=12))
    assert closed_day.tags[LOAD_TAG] == "pi_timeseries: closed day"
    assert closed_day.tags["dagster/asset_partition_range_start"] == f"{oldest}|c"


def test_a_day_waits_for_a_list_of_tags_from_after_it(site: Site, instance: dg.DagsterInstance) -> None:
    """A tag that was made yesterday is not in yesterday's list, and a closed day is read only once."""
    instance.report_runless_asset_event(dg.AssetMaterialization("pi_points"))
    yesterday = site.start_date + timedelta(days=1)
    for group in ("a", "b", "c"):
        report(instance, site.start_date, group, settled=True)
        report(instance, yesterday, group, settled=True)
    tomorrow = midnight(yesterday) + timedelta(days=2, hours=site.settle_hours)
    assert tick(site, instance, at=tomorrow) == [
        ("pi_timeseries", f"{tomorrow.date()}|a", f"{tomorrow.date()}|c"),
        ("pi_points", "", ""),
    ]


def test_a_day_that_failed_waits_for_a_list_of_tags_from_after_it_too(site: Site, instance: dg.DagsterInstance) -> None:
    """Dagster may tell that it failed because its last tail did."""
    load_all_but(site, instance, set())
    last_day = datetime.now(timezone.utc).date()
    for group in ("a", "b"):
        report(instance, last_day, group, settled=True)
    fail(site, instance, last_day, "c")
    tomorrow = midnight(last_day) + timedelta(days=1, hours=site.settle_hours)
    assert [asset for asset, _, _ in tick(site, instance, at=tomorrow)] == ["pi_timeseries", "pi_points"]


def test_today_comes_first_in_the_queue(site: Site, instance: dg.DagsterInstance) -> None:
    instance.report_runless_asset_event(dg.AssetMaterialization("pi_points"))
    priorities = [request.tags.get("dagster/priority") for request in run_requests(site, instance)]
    assert priorities == ["1", None]


def test_two_sites_of_one_name_do_not_wait_for_each_other(site: Site, instance: dg.DagsterInstance) -> None:
    north = site.model_copy(update={"asset_key_prefix": ("north",)})
    instance.report_runless_asset_event(dg.AssetMaterialization("pi_points"))
    instance.report_runless_asset_event(dg.AssetMaterialization(["north", "pi_points"]))
    loads = [{request.tags[LOAD_TAG] for request in run_requests(one, instance)} for one in (site, north)]
    assert loads[0].isdisjoint(loads[1])
