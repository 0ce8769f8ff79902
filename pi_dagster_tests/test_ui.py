"""Somebody at Dagster's UI, in a browser: what is clicked does what it says, and what is wrong can be read there.

The tests go through one session in the order of a first morning; `PI_DAGSTER_SCREENSHOTS=docs/images` keeps what they
saw for the documentation.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from pi_dagster_tests.dagster_dev import DAYS, DagsterUI, dagster_ui
from pi_dagster_tests.waiting import wait_until

RUNS = "query { runsOrError { ... on Runs { results { status } } } }"
BACKFILLS = """
query { partitionBackfillsOrError { ... on PartitionBackfills { results { id status partitionNames } } } }
"""


@pytest.fixture(scope="module")
def ui(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DagsterUI]:
    with dagster_ui(tmp_path_factory.mktemp("project")) as ui:
        yield ui


def finished_runs(ui: DagsterUI) -> list[str]:
    statuses = [run["status"] for run in ui.ask(RUNS)["runsOrError"]["results"]]
    return [status for status in statuses if status in ("SUCCESS", "FAILURE", "CANCELED")]


def backfills(ui: DagsterUI) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = ui.ask(BACKFILLS)["partitionBackfillsOrError"]["results"]
    return found


def materialize(ui: DagsterUI, asset: str, *, confirm: bool = False) -> None:
    """Press the button of an asset without partitions, and wait until its run has ended."""
    before = len(finished_runs(ui))
    ui.open(f"/assets/{asset}").get_by_role("button", name="Materialize").first.click()
    if confirm:
        ui.page.get_by_role("button", name="Confirm").click()
    wait_until(lambda: len(finished_runs(ui)) > before)


def choose_partitions(ui: DagsterUI, *, days: str, tag_groups: Sequence[str]) -> None:
    """Press the button of pi_timeseries and choose in its dialog, without launching."""
    page = ui.open("/assets/pi_timeseries")
    page.get_by_role("button", name="Materialize").first.click()
    date = page.get_by_placeholder(DAYS[0])
    date.fill(days)
    date.press("Enter")
    page.get_by_text("Select a partition or create one").click()
    for tag_group in tag_groups:
        page.get_by_text(tag_group, exact=True).locator("visible=true").last.click()
    # Closes the list of groups.
    page.get_by_text("Launch runs to materialize").click()


def test_the_default_site_shows_its_assets(ui: DagsterUI) -> None:
    page = ui.open("/asset-groups")
    for asset in ("pi_points", "pi_timeseries", "pi_asset_hierarchy", "pi_event_frames"):
        page.get_by_text(asset, exact=True).first.wait_for()
    ui.photograph("asset-graph")


def test_assets_and_then_tags_are_materialized_by_a_button(ui: DagsterUI) -> None:
    materialize(ui, "pi_asset_hierarchy", confirm=True)
    materialize(ui, "pi_points")
    assert finished_runs(ui) == ["SUCCESS", "SUCCESS"]
    ui.open("/assets/pi_points?view=events").get_by_text("pi/tags").first.wait_for()


def test_one_partition_is_materialized_and_tells_what_it_holds(ui: DagsterUI) -> None:
    choose_partitions(ui, days=DAYS[3], tag_groups=["boilers"])
    ui.page.get_by_role("button", name="Launch 1 run").click()
    wait_until(lambda: len(finished_runs(ui)) == 3)
    assert finished_runs(ui) == ["SUCCESS"] * 3
    page = ui.open(f"/assets/pi_timeseries?view=partitions&partition={DAYS[3]}%7Cboilers")
    page.get_by_text("load/rows", exact=True).wait_for()
    ui.photograph("partition")
    assert page.locator("img[src^='data:image/svg']").count() > 0, "the picture of events by hour is not drawn"


def test_a_backfill_of_three_days_and_two_groups_completes(ui: DagsterUI) -> None:
    choose_partitions(ui, days=f"[{DAYS[0]}...{DAYS[2]}]", tag_groups=["boilers", "tanks"])
    ui.page.get_by_text("6 partitions", exact=True).wait_for()
    ui.photograph("backfill-dialog")
    ui.page.get_by_role("button", name="Launch backfill").click()
    wait_until(lambda: [backfill["status"] for backfill in backfills(ui)] == ["COMPLETED_SUCCESS"])
    backfill = backfills(ui)[0]
    assert sorted(backfill["partitionNames"]) == [
        f"{day}|{group}" for day in DAYS[:3] for group in ("boilers", "tanks")
    ]
    ui.open(f"/runs/b/{backfill['id']}").get_by_text("100% completed").wait_for()
    ui.photograph("backfill")
    ui.open("/assets/pi_timeseries?view=partitions").get_by_text("Materialized (7)").wait_for()
    ui.photograph("partitions")


def test_a_check_that_fails_names_in_a_table_what_is_wrong_and_what_to_do(ui: DagsterUI) -> None:
    page = ui.open("/assets/pi_timeseries?view=checks&checkDetail=today_is_up_to_date")
    page.get_by_text("Today is behind in 5 of 5 tag groups").wait_for()
    offenders = page.locator("table").last
    for told in ("what to do", "pumps-00", "Switch on pi_timeseries_schedule"):
        offenders.get_by_text(told).first.wait_for()
    ui.photograph("failing-check")


def test_plots_show_what_was_loaded(ui: DagsterUI) -> None:
    page = ui.open("/assets/pi_timeseries")
    page.get_by_role("button", name="Plots").click()
    page.get_by_text("load/events_per_second", exact=True).first.wait_for()
    page.locator("canvas").first.scroll_into_view_if_needed()
    ui.photograph("plots")
