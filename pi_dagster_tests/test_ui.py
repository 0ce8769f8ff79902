"""Somebody at Dagster's UI, in a browser: what is clicked does what it says, and what is wrong can be read there.

The tests go through one session in the order of a first morning; `PI_DAGSTER_SCREENSHOTS=docs/images` keeps what they
saw for the documentation.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import tenacity

from pi_dagster_tests.dagster_dev import DagsterUI, dagster_ui

BACKFILL = "query { partitionBackfillsOrError { ... on PartitionBackfills { results { status partitionNames } } } }"
EVERY_RUN = "query { runsOrError { ... on Runs { results { status } } } }"


@pytest.fixture(scope="module")
def ui(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DagsterUI]:
    with dagster_ui(tmp_path_factory.mktemp("project")) as ui:
        yield ui


def wait_until(condition: object, *, seconds: float) -> None:
    tenacity.Retrying(
        retry=tenacity.retry_if_result(lambda is_so: not is_so),
        wait=tenacity.wait_fixed(0.5),
        stop=tenacity.stop_after_delay(seconds),
    )(condition)


def runs(ui: DagsterUI) -> list[str]:
    return [run["status"] for run in ui.ask(EVERY_RUN)["runsOrError"]["results"]]


def test_the_default_site_shows_its_assets(ui: DagsterUI) -> None:
    page = ui.open("/asset-groups")
    for asset in ("pi_points", "pi_timeseries", "pi_asset_hierarchy", "pi_event_frames"):
        page.get_by_text(asset, exact=True).first.wait_for()
    ui.photograph("asset-graph")


def test_the_list_of_tags_is_materialized(ui: DagsterUI) -> None:
    page = ui.open("/assets/pi_points")
    page.get_by_role("button", name="Materialize").first.click()
    wait_until(lambda: runs(ui) == ["SUCCESS"], seconds=90)
    page = ui.open("/assets/pi_points?view=events")
    page.get_by_text("pi/tags").first.wait_for()
