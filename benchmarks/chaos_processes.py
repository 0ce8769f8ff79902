"""Dagster's own processes as the chaos test runs them: its daemon and its code server, unchanged but for time.

`daemon`: the scheduler goes by the plant's clock, in which a day takes minutes, and loops that look around every half
minute do so every second. `code-server`: pauses of hours are seconds, and a run's process is forked from one that has
the imports done, which takes a tenth of the CPU of starting Python anew; its process id is left in a folder, so that it
can be killed. The rest, from the launch of a run to who notices that its process is gone, is Dagster's.
"""

from __future__ import annotations

import multiprocessing
import multiprocessing.context
import os
import sys
from datetime import datetime, timedelta, timezone
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from dagster._grpc.types import ExecuteExternalJobArgs
from dagster._serdes import deserialize_value

CLOCK = "chaos_clock"
"""File in the home: the plant's time, in seconds since 1970."""

RUNS = "chaos_runs"
"""Folder in the home: an empty file for each run process, named by run and process id."""

_IMPORTED_BEFORE_THE_FORK = [
    "dagster._cli.api",
    "dagster._grpc.impl",
    "dagster._core.execution.api",
    "dagster._core.storage.root",
    "dagster._core.storage.runs.sqlite.sqlite_run_storage",
    "dagster._core.storage.event_log.sqlite.sqlite_event_log",
    "dagster._core.storage.schedules.sqlite.sqlite_schedule_storage",
    "dagster._core.storage.local_compute_log_manager",
    "pi_dagster.definitions",
]
_AN_HOUR_OF_THE_SCHEDULE = timedelta(seconds=5)
"""What schedule and sensors let pass before they try again what failed."""


def home() -> Path:
    """The folder of the instance."""
    return Path(os.environ["DAGSTER_HOME"])


def write_clock(folder: Path, now: datetime) -> None:
    """Let it be `now` for the scheduler."""
    new = folder / f"{CLOCK}.new"
    new.write_text(repr(now.timestamp()))
    new.replace(folder / CLOCK)


def _now() -> datetime:
    return datetime.fromtimestamp(float((home() / CLOCK).read_text()), timezone.utc)


def run_daemon(workspace: str) -> None:
    """`dagster-daemon run`, with the plant's clock."""
    from dagster._daemon import controller
    from dagster._daemon.cli import cli
    from dagster._scheduler import scheduler

    patched: Any = scheduler
    patched.get_current_datetime = _now
    patched.get_current_timestamp = lambda: _now().timestamp()
    patched._get_next_scheduler_iteration_time = lambda start: start + 0.3
    controller.DEFAULT_DAEMON_INTERVAL_SECONDS = 1
    cli(["run", "--workspace", workspace, "--log-level", "warning"])


class RunProcess(multiprocessing.context.ForkServerProcess):
    """The process of a run, which tells when it has been started."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._run_id = deserialize_value(kwargs["args"][0], ExecuteExternalJobArgs).run_id

    def start(self) -> None:
        """Start it and leave its id."""
        super().start()
        (home() / RUNS / f"{self._run_id}.{self.pid}").touch()


def run_code_server(socket: str) -> None:
    """`dagster api grpc`, with forked run processes."""
    from dagster._cli.api import grpc_command
    from dagster._grpc import server

    from pi_dagster.automation import reconcile, reload, schedules

    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(_IMPORTED_BEFORE_THE_FORK)
    forking = SimpleNamespace(Process=RunProcess, Queue=context.Queue, Event=context.Event)
    patched: Any = server
    patched.multiprocessing = SimpleNamespace(get_context=lambda method: forking)
    for module, pause, shorter in (
        (schedules, "_RETRY_PAUSE", _AN_HOUR_OF_THE_SCHEDULE),
        (reload, "RETRY_PAUSE", _AN_HOUR_OF_THE_SCHEDULE),
        (reconcile, "PAUSE_SECONDS", 1.0),
        (reconcile, "ROUND_SECONDS", 15.0),
        (reconcile, "_SENSOR_INTERVAL_SECONDS", 5),
    ):
        assert hasattr(module, pause), pause
        setattr(module, pause, shorter)
    grpc_command(["--socket", socket, "--module-name", "pi_dagster.definitions", "--log-level", "warning"])


if __name__ == "__main__":
    {"daemon": run_daemon, "code-server": run_code_server}[sys.argv[1]](sys.argv[2])
