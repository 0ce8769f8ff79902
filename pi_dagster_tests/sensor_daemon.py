"""Dagster's sensor daemon in a test: it evaluates one sensor of the site and runs what that asks for, in this process.

Dagster has no public way to do this; the imports of its internals, which are those of Dagster's own tests, are all
here.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any, TypeVar

import dagster as dg


@dataclass
class SensorDaemon:
    """The sensor daemon of one instance; every tick comes a minute after the one before."""

    instance: dg.DagsterInstance
    workspace: Any
    sensor: Any
    load_definitions: Callable[[], Any]
    now: datetime = field(default_factory=lambda: datetime.now(timezone.utc))

    def runs_of_tick(self) -> Sequence[dg.DagsterRun]:
        """Let the daemon evaluate the sensor and launch what it asks for; the runs, which are over by then."""
        from dagster._core.test_utils import freeze_time
        from dagster._daemon.sensor import execute_sensor_iteration

        self.now += timedelta(seconds=61)
        known = {record.dagster_run.run_id for record in self.instance.get_run_records()}
        with freeze_time(self.now):
            errors = [
                error
                for error in execute_sensor_iteration(self.workspace, logging.getLogger("sensor"), None, None)
                if error is not None
            ]
        assert not errors or self.last_status() == "FAILURE", errors
        runs = [record.dagster_run for record in self.instance.get_run_records()]
        return [run for run in runs if run.run_id not in known]

    def last_tick(self) -> Any:
        (tick,) = self.instance.get_ticks(self.sensor.get_remote_origin_id(), self.sensor.selector_id, limit=1)
        return tick

    def last_status(self) -> str:
        return str(self.last_tick().status.value)

    def cursor(self) -> str:
        state = self.instance.get_instigator_state(self.sensor.get_remote_origin_id(), self.sensor.selector_id)
        assert state is not None
        return str(state.instigator_data.cursor)  # type: ignore[union-attr]

    def restart(self) -> None:
        """Load the definitions anew, as a code server that was restarted."""
        self.workspace = self.load_definitions()


Daemon = TypeVar("Daemon", bound=SensorDaemon)


@contextmanager
def sensor_daemon(kind: type[Daemon], sensor_name: str, folder: Path) -> Iterator[Daemon]:
    """The daemon with one sensor of the definitions that PI_DAGSTER_SITE leads to; its record is in `folder`."""
    from dagster._core.definitions.reconstruct import ReconstructableJob
    from dagster._core.remote_origin import InProcessCodeLocationOrigin
    from dagster._core.test_utils import InProcessTestWorkspaceLoadTarget, instance_for_test
    from dagster._core.types.loadable_target_origin import LoadableTargetOrigin
    from dagster._core.workspace.context import WorkspaceProcessContext

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
    # Runs in this process would use the job of the test before, whose server is gone.
    ReconstructableJob.get_definition.cache_clear()
    ReconstructableJob.get_repository_definition.cache_clear()
    home = folder / "dagster"
    home.mkdir(exist_ok=True)
    with instance_for_test(overrides=in_this_process, temp_dir=str(home)) as instance, ExitStack() as code_servers:

        def load_definitions() -> Any:
            code_servers.close()
            return code_servers.enter_context(WorkspaceProcessContext(instance, target))

        workspace = load_definitions()
        (location,) = workspace.create_request_context().code_locations
        sensor = location.get_repository("__repository__").get_sensor(sensor_name)
        instance.start_sensor(sensor)
        yield kind(instance, workspace, sensor, load_definitions)
