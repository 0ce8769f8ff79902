"""`engine: databricks` from end to end: real Dagster, SDK, Spark and Delta; only the workspace is ours."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pyarrow as pa
import pytest

from pi_dagster.factory import build_pi_definitions
from pi_dagster.ingest.points import refresh_points
from pi_dagster.ingest.source import open_source
from pi_dagster.lake import Lake, TimeseriesTable
from pi_dagster.simulator import Fault, FaultKind, RunningSimulator
from pi_dagster.simulator.auth import BasicMethod
from pi_dagster.site import Site
from pi_dagster.webid import point_webid
from pi_dagster_tests.archive_truth import assert_equals_archive, truth
from pi_dagster_tests.fake_workspace import TOKEN, FakeWorkspace, fake_workspace
from pi_dagster_tests.logged_in_plant import DAY, plant

pytestmark = pytest.mark.spark

pytest.importorskip("pyspark", reason="the extra `spark` is not installed")
pytest.importorskip("dagster_databricks", reason="the extra `databricks` is not installed")

PASSWORD = "geheim-Ω"
_SAYS_PASSWORD = b"geheim"
"""However the letter that is not ASCII is written."""
NEXT_DAY = DAY.replace(day=DAY.day + 1)
NEW_CLUSTER = {
    "kind": "new_cluster",
    "spark_version": "18.0.x-scala2.13",
    "node_type_id": "Standard_D4ds_v5",
    "workers": 2,
    "secrets": {"PI_TEST_PASSWORD": "pi/password"},
}
EXISTING_CLUSTER = {"kind": "existing_cluster", "cluster_id": "1102-060000-boiler12"}
SERVERLESS = {"kind": "serverless", "environment_version": "5", "secrets": {"PI_TEST_PASSWORD": "pi/password"}}
TIMESERIES = dg.AssetKey("pi_timeseries")
GROUPS = ("first", "second")


@pytest.fixture
def running() -> Iterator[RunningSimulator]:
    with plant(BasicMethod("svc", PASSWORD), rate_limit_requests=None) as running:
        yield running


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeWorkspace]:
    for name in [name for name in os.environ if name.startswith("DATABRICKS_")]:
        monkeypatch.delenv(name)
    folder = tmp_path / "workspace"
    folder.mkdir()
    password = {"PI_TEST_PASSWORD": PASSWORD}
    with fake_workspace(folder, secrets={"pi/password": PASSWORD}, cluster_variables=password) as workspace:
        monkeypatch.setenv("DATABRICKS_HOST", workspace.url)
        monkeypatch.setenv("DATABRICKS_TOKEN", TOKEN)
        yield workspace


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.instance_for_test() as instance:
        yield instance


def databricks_site(
    running: RunningSimulator, folder: Path, monkeypatch: pytest.MonkeyPatch, compute: dict[str, Any]
) -> Site:
    """A site with two tag groups of fifty tags, whose list of tags is loaded."""
    monkeypatch.setenv("PI_TEST_PASSWORD", PASSWORD)
    login = {"kind": "basic", "username": "svc", "password_env": "PI_TEST_PASSWORD"}
    site = Site.model_validate(
        {
            "server": {"url": running.url, "login": login, "retry_budget_seconds": 0},
            "lake": {"uri": f"file://{folder / 'lake'}"},
            "start_date": DAY.date(),
            "tag_groups": [
                {"name": "first", "tags": [f"TAG{number:03}" for number in range(1, 51)]},
                {"name": "second", "tag_filter": "*"},
            ],
            "engine": "databricks",
            "spark": {"tasks": 2},
            "databricks": {
                "compute": compute,
                "volume_path": "/Volumes/main/pi/dagster",
                "libraries": ["/Volumes/main/pi/dagster/pi_dagster-0.1.0-py3-none-any.whl"],
                "poll_interval_seconds": 0.2,
                # A task that hangs fails its test, and says so.
                "timeout_minutes": 15,
            },
        }
    )
    with open_source(site.server) as source:
        refresh_points(site, source, Lake(site.lake.uri), run_id="points")
    return site


def load(site: Site, instance: dg.DagsterInstance, *groups: str) -> dg.ExecuteInProcessResult:
    keys = [f"{DAY.date()}|{group}" for group in groups]
    tags = {"dagster/asset_partition_range_start": keys[0], "dagster/asset_partition_range_end": keys[-1]}
    job = build_pi_definitions(site).get_repository_def().get_job("load_pi_timeseries")
    return job.execute_in_process(instance=instance, raise_on_error=False, tags=tags)


def metadata(result: dg.ExecuteInProcessResult, group: str) -> dict[str, Any]:
    [found] = [
        event.materialization.metadata
        for event in result.get_asset_materialization_events()
        if event.materialization.partition == f"{DAY.date()}|{group}"
    ]
    return {name: value.value for name, value in found.items()}


def table(site: Site) -> pa.Table:
    return TimeseriesTable.open(Lake(site.lake.uri), create=False).to_arrow()


def told_of_failure(result: dg.ExecuteInProcessResult) -> str:
    [event] = [event for event in result.all_events if event.is_step_failure]
    data = event.step_failure_data.user_failure_data
    assert data is not None
    return str(data.description)


def give_up_after_a_second(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the SDK repeat what the workspace does not answer no longer than that."""
    file = folder / "databrickscfg"
    file.write_text("[impatient]\nretry_timeout_seconds = 1\n")
    monkeypatch.setenv("DATABRICKS_CONFIG_FILE", str(file))
    monkeypatch.setenv("DATABRICKS_CONFIG_PROFILE", "impatient")


def forbid(running: RunningSimulator, tag: str, **fault: Any) -> None:
    archive = running.archive
    point = archive.point_by_name(tag)
    assert point is not None
    web_id = point_webid(archive.server_id, point.id, archive.server_name, tag).identity
    running.faults.add(Fault(route="*recorded", web_id=web_id, **fault))


def assert_password_kept(
    workspace: FakeWorkspace, instance: dg.DagsterInstance, folder: Path, *, nonetheless: str
) -> None:
    """It is in no request, message or log of the job, not in what Dagster stores, and not in the lake.

    Args:
        workspace: where the job ran.
        instance: where Dagster's run is.
        folder: where volumes, logs and lake are.
        nonetheless: what Dagster does store, so that this looks at the right files.
    """
    stored = _contents(Path(instance.root_directory))
    assert any(nonetheless.encode() in content for content in stored)
    assert any(b"partitions" in content for content in workspace.passed)
    found = [*workspace.passed, *stored, *_contents(folder)]
    assert not [content for content in found if _SAYS_PASSWORD in content]


def test_a_new_cluster_loads_partitions_and_each_is_reported_as_if_loaded_here(
    running: RunningSimulator,
    workspace: FakeWorkspace,
    instance: dg.DagsterInstance,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    site = databricks_site(running, tmp_path, monkeypatch, NEW_CLUSTER)
    result = load(site, instance, *GROUPS)
    assert result.success, f"{told_of_failure(result)} {workspace.log_of(1)}"
    assert_equals_archive(table(site), truth(running.archive, running.archive.points(), DAY, NEXT_DAY))
    on_databricks = [metadata(result, group) for group in GROUPS]
    assert [told["dagster/partition_row_count"] for told in on_databricks] == [1200, 1200]
    page = f"{workspace.url}/jobs/1/runs/1"
    assert [told["load/job"] for told in on_databricks] == [page, page]
    assert page in {value.value for event in result.get_asset_observation_events() for value in _values(event)}

    again = site.model_copy(update={"engine": "local"})
    here = [metadata(load(again, instance, *GROUPS), group) for group in GROUPS]
    same = ("pi/tags", "pi/tags_digest", "pi/complete", "pi/watermark", "load/rows", "pi/bad_share")
    for name in same:
        assert [told[name] for told in on_databricks] == [told[name] for told in here], name
    assert [set(told) - {"load/job"} for told in on_databricks] == [
        set(told) - {"pi/added_events", "pi/changed_events", "pi/removed_events"} for told in here
    ]

    [body] = workspace.submitted
    cluster = body["tasks"][0]["new_cluster"]
    assert cluster["spark_env_vars"] == {"PI_TEST_PASSWORD": "{{secrets/pi/password}}"}
    assert_password_kept(workspace, instance, tmp_path, nonetheless=page)


def test_what_failed_on_databricks_is_told_here_and_what_came_before_stays(
    running: RunningSimulator,
    workspace: FakeWorkspace,
    instance: dg.DagsterInstance,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    site = databricks_site(running, tmp_path, monkeypatch, EXISTING_CLUSTER)
    forbid(running, "TAG077", kind=FaultKind.STATUS, status=403)
    result = load(site, instance, *GROUPS)
    assert not result.success
    assert instance.get_materialized_partitions(TIMESERIES) == {f"{DAY.date()}|first"}
    message = told_of_failure(result)
    assert "1 of 2 partitions failed; 1 were loaded and stay" in message
    assert "TAG077" in message
    assert workspace.run(1)["state"]["result_state"] == "FAILED"
    assert table(site).num_rows == 1200


def test_cancelling_the_run_cancels_the_job(
    running: RunningSimulator,
    workspace: FakeWorkspace,
    instance: dg.DagsterInstance,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    site = databricks_site(running, tmp_path, monkeypatch, EXISTING_CLUSTER)
    forbid(running, "TAG077", kind=FaultKind.SLOW, seconds=300)

    over = threading.Event()

    def interrupt_after_the_first() -> None:
        while not over.wait(0.2):
            if instance.get_materialized_partitions(TIMESERIES):
                os.kill(os.getpid(), signal.SIGINT)
                return

    threading.Thread(target=interrupt_after_the_first, daemon=True).start()
    monkeypatch.setattr("dagster._core.pipes.utils.WAIT_FOR_LOGS_AFTER_EXECUTION_INTERVAL", 1)
    try:
        assert not load(site, instance, *GROUPS).success
    finally:
        over.set()
    assert workspace.cancelled == [1], workspace.log_of(1)
    assert workspace.run(1)["state"]["result_state"] == "CANCELED"
    assert instance.get_materialized_partitions(TIMESERIES) == {f"{DAY.date()}|first"}
    assert table(site).num_rows == 1200


@pytest.mark.parametrize(("status", "told"), [(403, "Databricks refused: Not now."), (429, "did not answer in time")])
def test_a_job_that_cannot_be_watched_is_cancelled(
    running: RunningSimulator,
    workspace: FakeWorkspace,
    instance: dg.DagsterInstance,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    status: int,
    told: str,
) -> None:
    site = databricks_site(running, tmp_path, monkeypatch, EXISTING_CLUSTER)
    give_up_after_a_second(tmp_path, monkeypatch)
    monkeypatch.setattr("dagster._core.pipes.utils.WAIT_FOR_LOGS_AFTER_EXECUTION_INTERVAL", 1)
    workspace.refuses["jobs/runs/get"] = status
    result = load(site, instance, *GROUPS)
    assert not result.success
    assert told in told_of_failure(result)
    assert workspace.cancelled == [1]


def test_a_workspace_that_does_not_cancel_in_time_hides_nothing(
    running: RunningSimulator,
    workspace: FakeWorkspace,
    instance: dg.DagsterInstance,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    site = databricks_site(running, tmp_path, monkeypatch, EXISTING_CLUSTER)
    give_up_after_a_second(tmp_path, monkeypatch)
    monkeypatch.setattr("dagster._core.pipes.utils.WAIT_FOR_LOGS_AFTER_EXECUTION_INTERVAL", 1)
    workspace.refuses |= {"jobs/runs/get": 403, "jobs/runs/cancel": 429}
    assert "Databricks refused: Not now." in told_of_failure(load(site, instance, *GROUPS))


def test_serverless_compute_gets_its_secrets_from_the_scope_and_keeps_rows_in_the_volume(
    running: RunningSimulator,
    workspace: FakeWorkspace,
    instance: dg.DagsterInstance,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    site = databricks_site(running, tmp_path, monkeypatch, SERVERLESS)
    result = load(site, instance, "first")
    assert result.success, f"{told_of_failure(result)} {workspace.log_of(1)}"
    assert metadata(result, "first")["load/rows"] == 1200
    assert table(site).num_rows == 1200
    [body] = workspace.submitted
    assert body["environments"][0]["spec"]["environment_version"] == "5"
    assert not list(workspace.local("/Volumes/main/pi/dagster/rows").iterdir())
    assert_password_kept(workspace, instance, tmp_path, nonetheless="jobs/1/runs/1")


def _contents(folder: Path) -> list[bytes]:
    return [path.read_bytes() for path in folder.rglob("*") if path.is_file()]


def _values(event: dg.DagsterEvent) -> list[dg.MetadataValue[Any]]:
    return list(event.asset_observation_data.asset_observation.metadata.values())
