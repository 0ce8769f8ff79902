"""Dagster under the chaos test: an instance with the project's settings, its daemon and its code server."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import dagster as dg
import yaml

from benchmarks.chaos_plant import MINUTE
from benchmarks.chaos_processes import RUNS
from pi_dagster.automation.schedules import LOAD_TAG, UNFINISHED

ROOT = Path(__file__).parents[1]
TIMESERIES = dg.AssetKey("pi_timeseries")

LAUNCH_BACKFILL = """
mutation Launch($params: LaunchBackfillParams!) {
  launchPartitionBackfill(backfillParams: $params) { __typename ... on PythonError { message } }
}
"""


class ChaosError(Exception):
    """The experiment cannot go on, or does not come to rest."""


@dataclass
class Dagster:
    """An instance, its daemon and its code server, in processes of their own."""

    home: Path
    site_file: Path
    instance: dg.DagsterInstance = field(init=False)
    _processes: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def __post_init__(self) -> None:
        settings = yaml.safe_load((ROOT / "dagster.yaml").read_text())
        for kept_in_the_project in ("storage", "local_artifact_storage"):
            settings.pop(kept_in_the_project)
        # The usual one starts two processes for each run, only to copy what the run prints.
        settings["compute_logs"] = {
            "module": "dagster._core.storage.noop_compute_log_manager",
            "class": "NoOpComputeLogManager",
        }
        settings["run_coordinator"] = {
            "module": "dagster.core.run_coordinator",
            "class": "QueuedRunCoordinator",
            "config": {"dequeue_interval_seconds": 1, "dequeue_use_threads": True, "dequeue_num_workers": 4},
        }
        settings["run_monitoring"] |= {"poll_interval_seconds": 2, "start_timeout_seconds": 20}
        (self.home / RUNS).mkdir(parents=True)
        (self.home / "dagster.yaml").write_text(yaml.safe_dump(settings))
        self.socket = self.home / "code_server"
        location = {"grpc_server": {"socket": str(self.socket), "location_name": "pi_dagster"}}
        (self.home / "workspace.yaml").write_text(yaml.safe_dump({"load_from": [location]}))
        self.instance = dg.DagsterInstance.from_config(str(self.home))

    def start(self) -> None:
        """Start both and wait until they are there."""
        self.socket.unlink(missing_ok=True)
        self._spawn("code-server", str(self.socket))
        wait_until(self.socket.exists, 60, "the code server does not come up")
        self._spawn("daemon", str(self.home / "workspace.yaml"))

    def kill(self) -> None:
        """Kill the daemon, the code server and all runs at once, as a power cut would."""
        for process in self._processes:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        self._processes.clear()

    def begin(self, now: datetime) -> None:
        """Switch on all schedules and sensors, as if somebody did so at `now`."""
        from dagster._core.test_utils import freeze_time

        with self._workspace() as workspace, freeze_time(now - MINUTE):
            [location] = workspace.create_request_context().code_locations
            [repository] = location.get_repositories().values()
            for schedule in repository.get_schedules():
                self.instance.start_schedule(schedule)
            for sensor in repository.get_sensors():
                self.instance.start_sensor(sensor)

    def backfill(self, keys: Sequence[str]) -> None:
        """Load partitions as a person does in the UI."""
        from dagster_graphql.test.utils import execute_dagster_graphql

        params = {"assetSelection": [{"path": TIMESERIES.path}], "partitionNames": list(keys)}
        with self._workspace() as workspace:
            answer = execute_dagster_graphql(workspace.create_request_context(), LAUNCH_BACKFILL, {"params": params})
        launched = answer.data["launchPartitionBackfill"]
        assert launched["__typename"] == "LaunchBackfillSuccess", launched

    def backfills_under_way(self) -> int:
        """How many backfills are not over."""
        from dagster._core.execution.backfill import BulkActionStatus

        return len(self.instance.get_backfills(status=BulkActionStatus.REQUESTED))

    def under_way(self) -> list[str]:
        """Runs that are not over, and how many backfills; without the comparisons, which never end for long."""
        unfinished = self.instance.get_runs(dg.RunsFilter(statuses=UNFINISHED))
        runs = [run.run_id for run in unfinished if not run.tags.get(LOAD_TAG, "").endswith("compare counts")]
        backfills = self.backfills_under_way()
        return [*runs, f"{backfills} backfills"] if backfills else runs

    def backfills_without_runs(self) -> list[str]:
        """As `under_way` tells of them when there are only backfills left."""
        return [f"{self.backfills_under_way()} backfills"]

    def looked_at(self) -> float:
        """When, by the plant's clock, the schedule of pi_timeseries was last due and looked."""
        for state in self.instance.all_instigator_state():
            if state.instigator_name == "pi_timeseries_schedule":
                ticks = self.instance.get_ticks(state.instigator_origin_id, state.selector_id, limit=1)
                return ticks[0].timestamp if ticks and ticks[0].status.value != "STARTED" else 0.0
        return 0.0

    def _spawn(self, what: str, argument: str) -> None:
        environment = {
            **os.environ,
            "DAGSTER_HOME": str(self.home),
            "PI_DAGSTER_SITE": str(self.site_file),
            "DAGSTER_EVENT_LOG_CONSUMER_DAEMON_INTERVAL_SECONDS": "1",
            "PYTHONPATH": str(ROOT),
        }
        with (self.home / f"{what}.log").open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "benchmarks.chaos_processes", what, argument],
                cwd=self.home,
                env=environment,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self._processes.append(process)

    @contextmanager
    def _workspace(self) -> Iterator[Any]:
        from dagster._core.workspace.context import WorkspaceProcessContext
        from dagster._core.workspace.load_target import GrpcServerTarget

        target = GrpcServerTarget(host="localhost", port=None, socket=str(self.socket), location_name="pi_dagster")
        with WorkspaceProcessContext(self.instance, target) as workspace:
            yield workspace


def wait_until(condition: Callable[[], object], seconds: float, otherwise: str) -> None:
    """Wait for a condition.

    Raises:
        ChaosError: `otherwise`, when it does not come true in so many seconds.
    """
    until = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > until:
            raise ChaosError(otherwise)
        time.sleep(0.05)
