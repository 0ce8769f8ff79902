"""Which runs count as gone; that a backfill then goes on is in `test_chaos.py`."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest
import yaml
from dagster._core.launcher import WorkerStatus

PROJECT = Path(__file__).parents[1]


@pytest.fixture
def instance(tmp_path: Path) -> Iterator[dg.DagsterInstance]:
    named = yaml.safe_load((PROJECT / "dagster.yaml").read_text())["run_launcher"]
    (tmp_path / "dagster.yaml").write_text(yaml.safe_dump({"run_launcher": named, "telemetry": {"enabled": False}}))
    with dg.DagsterInstance.from_config(str(tmp_path)) as instance:
        yield instance


def health(instance: dg.DagsterInstance, tags: dict[str, str]) -> WorkerStatus:
    """Of a run that is under way."""

    @dg.job
    def load() -> None:
        pass

    run = instance.create_run_for_job(load, tags=tags, status=dg.DagsterRunStatus.STARTED)
    return instance.run_launcher.check_run_worker_health(run).status


def launched_by(code_server: Path) -> dict[str, str]:
    return {".dagster/grpc_info": json.dumps({"host": "localhost", "socket": str(code_server)})}


def test_run_monitoring_asks_for_runs_that_nobody_watches(instance: dg.DagsterInstance) -> None:
    assert instance.run_launcher.supports_check_run_worker_health


def test_a_run_whose_code_server_is_gone_is_gone_too(instance: dg.DagsterInstance, tmp_path: Path) -> None:
    assert health(instance, launched_by(tmp_path / "no such socket")) is WorkerStatus.NOT_FOUND


def test_a_run_of_which_no_code_server_is_known_counts_as_gone(instance: dg.DagsterInstance) -> None:
    assert health(instance, {}) is WorkerStatus.UNKNOWN
