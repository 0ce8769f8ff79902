"""Somebody at Dagster's UI, in a browser: what is clicked does what it says, and what is wrong can be read there.

The tests go through one session in the order of a first morning; `PI_DAGSTER_SCREENSHOTS=docs/images` keeps what they
saw for the documentation.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import tenacity

from pi_dagster_tests.dagster_dev import DAYS, DagsterUI, dagster_ui

RUNS = "query { runsOrError { ... on Runs { results { status } } } }"
BACKFILLS = """
query { partitionBackfillsOrError { ... on PartitionBackfills { results { id status partitionNames } } } }
"""


@pytest.fixture(scope="module")
def ui(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DagsterUI]:
    with dagster_ui(tmp_path_factory.mktemp("project")) as ui:
        yield ui


def wait_until(condition: Callable[[], bool]) -> None:
    tenacity.Retrying(
        retry=tenacity.retry_if_result(lambda is_so: not is_so),
        wait=tenacity.wait_fixed(0.5),
        stop=tenacity.stop_after_delay(300),
    )(condition)


def finished_runs(ui: DagsterUI) -> list[str]:
    statuses = [run["status"] for run in ui.ask(RUNS)["runsOrError"]["results"]]
    return [status for status in statuses if status in ("SUCCESS", "FAILURE", "CANCELED")]


def backfills(ui: DagsterUI) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = ui.ask(BACKFILLS)["partitionBackfillsOrError"]["results"]
    return found


def materialize(ui: DagsterUI, asset: str) -> None:
    """Press the button of an asset without partitions, and wait until its run has ended."""
    before = len(finished_runs(ui))
    ui.open(f"/assets/{asset}").get_by_role("button", name="Materialize").first.click()
    wait_until(lambda: len(finished_runs(ui)) > before)


def choose_partitions(ui: DagsterUI, *, days: str, groups: str) -> None:
    """Press the button of pi_timeseries and choose in its dialog, without launching."""
    page = ui.open("/assets/pi_timeseries")
    page.get_by_role("button", name="Materialize").first.click()
    inputs = page.get_by_test_id("dimension-range-input")
    inputs.nth(1).wait_for()
    for number, text in enumerate((days, groups)):
        inputs.nth(number).fill(text)
        inputs.nth(number).press("Enter")


def launch(ui: DagsterUI) -> None:
    ui.page.get_by_test_id("launch-button").click()
    ui.page.get_by_test_id("launch-button").wait_for(state="hidden")


def test_the_default_site_shows_its_assets(ui: DagsterUI) -> None:
    page = ui.open("/asset-groups")
    for asset in ("pi_points", "pi_timeseries", "pi_asset_hierarchy", "pi_event_frames"):
        page.get_by_text(asset, exact=True).first.wait_for()
    ui.photograph("asset-graph")


def test_assets_and_then_tags_are_materialized_by_a_button(ui: DagsterUI) -> None:
    materialize(ui, "pi_asset_hierarchy")
    materialize(ui, "pi_points")
    assert finished_runs(ui) == ["SUCCESS", "SUCCESS"]
    ui.open("/assets/pi_points?view=events").get_by_text("pi/tags").first.wait_for()


def test_one_partition_is_materialized_and_tells_what_it_holds(ui: DagsterUI) -> None:
    choose_partitions(ui, days=DAYS[3], groups="boilers")
    launch(ui)
    wait_until(lambda: len(finished_runs(ui)) == 3)
    assert finished_runs(ui) == ["SUCCESS"] * 3
    page = ui.open(f"/assets/pi_timeseries?view=partitions&partition={DAYS[3]}%7Cboilers")
    page.get_by_text("pi/events_by_hour").first.wait_for()
    ui.photograph("partition")


def test_a_backfill_of_three_days_and_two_groups_completes(ui: DagsterUI) -> None:
    choose_partitions(ui, days=f"[{DAYS[0]}...{DAYS[2]}]", groups="boilers,tanks")
    ui.page.get_by_text("6 partitions").first.wait_for()
    ui.photograph("backfill-dialog")
    launch(ui)
    wait_until(lambda: [backfill["status"] for backfill in backfills(ui)] == ["COMPLETED_SUCCESS"])
    backfill = backfills(ui)[0]
    assert sorted(backfill["partitionNames"]) == [f"{day}|{group}" for day in DAYS[:3] for group in ("boilers", "tanks")]
    page = ui.open(f"/runs/b/{backfill['id']}?tab=partitions")
    page.get_by_text("Completed").first.wait_for()
    ui.photograph("backfill")
    ui.open("/assets/pi_timeseries?view=partitions").get_by_text("boilers").first.wait_for()
    ui.photograph("partitions")


def test_a_check_that_fails_names_the_tag_and_the_reason_in_a_table(ui: DagsterUI) -> None:
    tag = ui.first_tag("TNK*")
    ui.plant_fault(kind="status", status=403, web_id=tag["WebId"])
    before = len(finished_runs(ui))
    choose_partitions(ui, days=DAYS[3], groups="tanks")
    launch(ui)
    wait_until(lambda: len(finished_runs(ui)) > before)
    page = ui.open("/assets/pi_tag_errors?view=checks&checkDetail=every_tag_read")
    page.get_by_text("Failed").first.wait_for()
    page.get_by_text("Show table", exact=False).first.click()
    page.get_by_text(tag["Name"], exact=True).first.wait_for()
    ui.photograph("failing-check")


def test_plots_show_what_was_loaded(ui: DagsterUI) -> None:
    page = ui.open("/assets/pi_timeseries?view=plots")
    page.get_by_text("load/events_per_second").first.wait_for()
    page.locator("canvas").first.wait_for()
    ui.photograph("plots")
