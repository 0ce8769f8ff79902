"""Backfills as a person launches them in the UI, from the GraphQL request through the daemon to the Delta table.

Dagster has no public way to run its daemon in a test; the imports of its internals, which are those of Dagster's
own tests, are all in the fixture `dagster_ui`.
"""

from __future__ import annotations

import logging
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from pi_dagster_tests.small_plant import KEYS, SmallPlant, small_plant

LAUNCH = """
mutation Launch($params: LaunchBackfillParams!) {
  launchPartitionBackfill(backfillParams: $params) {
    __typename
    ... on LaunchBackfillSuccess { backfillId }
    ... on PythonError { message stack }
  }
}
"""

ASSET_BACKFILL = {"assetSelection": [{"path": ["pi_timeseries"]}]}
JOB_BACKFILL = {
    "selector": {
        "partitionSetName": "load_pi_timeseries_partition_set",
        "repositorySelector": {"repositoryName": "__repository__", "repositoryLocationName": "pi_dagster"},
    }
}


@dataclass(frozen=True)
class DagsterUI:
    """What the UI's GraphQL requests and the backfill daemon reach, of one instance."""

    instance: dg.DagsterInstance
    graphql: Any
    run_daemon_once: Any

    def backfill(self, what: dict[str, Any], keys: set[str]) -> str:
        """Launch a backfill of these partitions and run the daemon until it is over; its status."""
        params = {**what, "partitionNames": sorted(keys)}
        answer = self.graphql(LAUNCH, {"params": params})["launchPartitionBackfill"]
        assert answer["__typename"] == "LaunchBackfillSuccess", answer
        for _ in range(100):
            backfill = self.instance.get_backfill(answer["backfillId"])
            assert backfill is not None
            if backfill.status.value not in ("REQUESTED", "FAILING"):
                return str(backfill.status.value)
            self.run_daemon_once()
        raise AssertionError("the backfill does not end")

    def materializations(self) -> Counter[str | None]:
        """How often each partition was materialized."""
        records = self.instance.fetch_materializations(dg.AssetKey("pi_timeseries"), limit=1000).records
        return Counter(record.partition_key for record in records)

    def failed(self, plant: SmallPlant) -> set[str]:
        """The partitions that the UI shows as failed."""
        partitions = plant.definitions().get_assets_def("pi_timeseries").partitions_def
        assert partitions is not None
        keys = partitions.get_partition_keys()
        status = self.instance.get_status_by_partition(dg.AssetKey("pi_timeseries"), keys, partitions) or {}
        return {key for key, value in status.items() if value is dg.AssetPartitionStatus.FAILED}


@pytest.fixture
def plant(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[SmallPlant]:
    with small_plant(tmp_path) as plant:
        monkeypatch.setenv("PI_DAGSTER_SITE", str(plant.site_file))
        yield plant


@pytest.fixture
def dagster_ui(plant: SmallPlant, tmp_path: Path) -> Iterator[DagsterUI]:
    from dagster._core.remote_origin import InProcessCodeLocationOrigin
    from dagster._core.test_utils import InProcessTestWorkspaceLoadTarget, instance_for_test
    from dagster._core.types.loadable_target_origin import LoadableTargetOrigin
    from dagster._core.workspace.context import WorkspaceProcessContext
    from dagster._daemon.backfill import execute_backfill_iteration
    from dagster_graphql.test.utils import execute_dagster_graphql

    in_this_process = {
        "run_launcher": {
            "module": "dagster._core.launcher.sync_in_memory_run_launcher",
            "class": "SyncInMemoryRunLauncher",
        },
        "run_coordinator": {
            "module": "dagster._core.run_coordinator.default_run_coordinator",
            "class": "DefaultRunCoordinator",
        },
    }
    module = LoadableTargetOrigin(executable_path=sys.executable, module_name="pi_dagster.definitions")
    target = InProcessTestWorkspaceLoadTarget(InProcessCodeLocationOrigin(module, location_name="pi_dagster"))
    home = tmp_path / "dagster"
    home.mkdir()
    with (
        instance_for_test(overrides=in_this_process, temp_dir=str(home)) as instance,
        WorkspaceProcessContext(instance, target) as workspace,
    ):

        def graphql(query: str, variables: dict[str, Any]) -> Any:
            answer = execute_dagster_graphql(workspace.create_request_context(), query, variables)
            assert not answer.errors, answer.errors
            return answer.data

        def run_daemon_once() -> None:
            list(execute_backfill_iteration(workspace, logging.getLogger("backfill")))

        points = plant.definitions().get_repository_def().get_job("load_pi_points")
        assert points.execute_in_process(instance=instance).success
        yield DagsterUI(instance, graphql, run_daemon_once)


@pytest.mark.parametrize("what", [ASSET_BACKFILL, JOB_BACKFILL], ids=["asset backfill", "job backfill"])
def test_a_backfill_loads_every_partition_exactly_once(
    plant: SmallPlant, dagster_ui: DagsterUI, what: dict[str, Any]
) -> None:
    assert dagster_ui.backfill(what, KEYS) == "COMPLETED_SUCCESS"
    assert dagster_ui.materializations() == Counter(KEYS)
    assert plant.rows() == plant.expected_rows(sorted({key.split("|")[0] for key in KEYS}))


@pytest.mark.parametrize("what", [ASSET_BACKFILL, JOB_BACKFILL], ids=["asset backfill", "job backfill"])
def test_a_group_that_fails_leaves_the_others_loaded_and_only_its_keys_failed(
    plant: SmallPlant, dagster_ui: DagsterUI, what: dict[str, Any]
) -> None:
    plant.forbid_tag("BLR01.FLOW")
    status = dagster_ui.backfill(what, KEYS)
    boilers = {key for key in KEYS if key.endswith("|boilers")}
    assert status == "COMPLETED_FAILED"
    assert dagster_ui.materializations() == Counter(KEYS - boilers)
    assert dagster_ui.failed(plant) == boilers
