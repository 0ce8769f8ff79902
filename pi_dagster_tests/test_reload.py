"""What a sensor asks for when partitions of pi_timeseries are to be loaded again."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path

import dagster as dg
import pytest

from pi_dagster.automation.partitions import RANGE_END_TAG, RANGE_START_TAG, TAIL_TAG
from pi_dagster.automation.reload import LOAD_TAG, Reload, partitions_of_run, plan_reload
from pi_dagster.factory import build_pi_definitions
from pi_dagster.ingest.load_plans import Partition
from pi_dagster.site import Site

JOB = "load_pi_timeseries"
TIMESERIES = dg.AssetKey("pi_timeseries")
FIRST = date(2026, 11, 2)
GROUPS = ("a", "b", "c")


def day(number: int) -> date:
    return FIRST + timedelta(days=number)


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site.model_validate(
        {
            "server": {"url": "http://127.0.0.1:9/piwebapi"},
            "lake": {"uri": str(tmp_path / "lake")},
            "start_date": FIRST,
            "max_partitions_per_run": 6,
            "tag_groups": [{"name": name, "tag_filter": f"{name}*"} for name in GROUPS],
        }
    )


@pytest.fixture
def instance(tmp_path: Path) -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.local_temp(str(tmp_path)) as instance:
        yield instance


def plan(site: Site, instance: dg.DagsterInstance, wanted: set[Partition], at_most: int = 5) -> Reload:
    return plan_reload(instance, site, TIMESERIES, wanted, why="counts differ", job_name=JOB, at_most=at_most)


def ranges(reload: Reload) -> list[tuple[str, str]]:
    return [(request.tags[RANGE_START_TAG], request.tags[RANGE_END_TAG]) for request in reload.requests]


def create_run(
    site: Site, instance: dg.DagsterInstance, tags: dict[str, str], status: dg.DagsterRunStatus
) -> dg.DagsterRun:
    job = build_pi_definitions(site).resolve_job_def(JOB)
    return instance.create_run_for_job(job, tags=tags, status=status)


def test_neighbouring_days_of_a_group_are_one_run(site: Site, instance: dg.DagsterInstance) -> None:
    reload = plan(site, instance, {(day(0), "b"), (day(1), "b"), (day(3), "b")})
    assert ranges(reload) == [(f"{day(3)}|b", f"{day(3)}|b"), (f"{day(0)}|b", f"{day(1)}|b")]
    assert {request.tags[LOAD_TAG] for request in reload.requests} == {"pi_timeseries: counts differ"}


def test_neighbouring_groups_that_want_the_same_days_are_one_run(site: Site, instance: dg.DagsterInstance) -> None:
    reload = plan(site, instance, {(day(number), group) for number in (0, 1) for group in GROUPS})
    assert ranges(reload) == [(f"{day(0)}|a", f"{day(1)}|c")]


def test_a_run_is_no_longer_than_the_site_allows(site: Site, instance: dg.DagsterInstance) -> None:
    reload = plan(site, instance, {(day(number), group) for number in range(4) for group in GROUPS})
    assert sorted(ranges(reload)) == [(f"{day(0)}|{group}", f"{day(3)}|{group}") for group in GROUPS]


def test_no_partition_is_asked_for_that_was_not_wanted(site: Site, instance: dg.DagsterInstance) -> None:
    wanted = {(day(0), "a"), (day(0), "c"), (day(1), "b"), (day(2), "a"), (day(2), "b"), (day(9), "gone")}
    reload = plan(site, instance, wanted, at_most=99)
    runs = [
        create_run(site, instance, dict(request.tags), dg.DagsterRunStatus.NOT_STARTED) for request in reload.requests
    ]
    assert sum(len(partitions_of_run(run, GROUPS)) for run in runs) == 5
    assert frozenset().union(*(partitions_of_run(run, GROUPS) for run in runs)) == wanted - {(day(9), "gone")}


def test_the_ranges_select_in_dagster_what_is_told_as_asked(site: Site, instance: dg.DagsterInstance) -> None:
    reload = plan(site, instance, {(day(number), group) for number in (1, 2) for group in ("b", "c")})
    timeseries = build_pi_definitions(site).resolve_assets_def(TIMESERIES)
    assert timeseries.partitions_def is not None
    [(first, last)] = ranges(reload)
    keys = timeseries.partitions_def.get_partition_keys_in_range(dg.PartitionKeyRange(first, last))
    assert sorted(map(str, keys)) == sorted(f"{of_day}|{group}" for of_day, group in reload.asked)


def test_the_newest_days_come_first_and_the_rest_waits(site: Site, instance: dg.DagsterInstance) -> None:
    reload = plan(site, instance, {(day(0), "a"), (day(2), "a"), (day(4), "a")}, at_most=2)
    assert reload.asked == {(day(4), "a"), (day(2), "a")}
    assert reload.waiting == {(day(0), "a")}


@pytest.mark.parametrize("status", [dg.DagsterRunStatus.NOT_STARTED, dg.DagsterRunStatus.STARTED])
def test_what_a_run_is_about_to_load_is_not_asked_for_again(
    site: Site, instance: dg.DagsterInstance, status: dg.DagsterRunStatus
) -> None:
    create_run(site, instance, {RANGE_START_TAG: f"{day(0)}|a", RANGE_END_TAG: f"{day(1)}|b"}, status)
    create_run(site, instance, {"dagster/partition": f"{day(2)}|a"}, status)
    wanted = {(day(1), "b"), (day(2), "a"), (day(3), "a")}
    reload = plan(site, instance, wanted)
    assert reload.under_way == {(day(1), "b"), (day(2), "a")}
    assert reload.asked == {(day(3), "a")}


def test_a_tail_under_way_does_not_count_as_reading_the_day(site: Site, instance: dg.DagsterInstance) -> None:
    tags = {TAIL_TAG: "true", RANGE_START_TAG: f"{day(0)}|a", RANGE_END_TAG: f"{day(0)}|c"}
    create_run(site, instance, tags, dg.DagsterRunStatus.STARTED)
    assert plan(site, instance, {(day(0), "a")}).asked == {(day(0), "a")}


def test_a_partition_whose_reload_failed_a_moment_ago_waits(site: Site, instance: dg.DagsterInstance) -> None:
    [request] = plan(site, instance, {(day(0), "a")}).requests
    create_run(site, instance, dict(request.tags), dg.DagsterRunStatus.FAILURE)
    reload = plan(site, instance, {(day(0), "a"), (day(2), "a")})
    assert (reload.asked, reload.waiting) == ({(day(2), "a")}, {(day(0), "a")})
