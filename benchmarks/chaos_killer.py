"""Kills the processes of runs at the moments that the schedule of the chaos test names."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from benchmarks.chaos_schedule import Moment, Schedule
from pi_dagster.simulator import RunningSimulator


@dataclass
class Killing:
    """A run's process that is to be killed at its moment."""

    run_id: str
    handle: int
    moment: Moment
    since: float
    """When the process was seen, and then when what is waited for happened."""
    seen: object = None
    """What is watched, as it was then."""
    is_due: bool = False


class Killer(threading.Thread):
    """Kills run processes at the moments of the schedule while it runs.

    Args:
        runs: the folder in which run processes are announced.
        schedule: names the moments, one for each run in the order of their starts.
        server: its requests are watched.
        table: folder of pi_timeseries; its files are watched.
    """

    def __init__(self, runs: Path, schedule: Schedule, server: RunningSimulator, table: Path) -> None:
        super().__init__(daemon=True)
        self.killed: dict[str, Moment] = {}
        self.spares = threading.Event()
        self._runs = runs
        self._schedule = schedule
        self._watch: dict[str, Callable[[], object]] = {
            "request": lambda: server.requests.total,
            "file": lambda: [_modified(folder) for folder in table.glob("partition_date=*/tag_group=*")],
            "commit": lambda: _modified(table / "_delta_log"),
        }
        self._known: set[str] = set()
        self._waiting: list[Killing] = []

    def run(self) -> None:
        """Watch and kill, every few milliseconds."""
        while not self.spares.wait(0.003):
            self._welcome()
            seen = {
                what: self._watch[what]() for what in {killing.moment.after for killing in self._waiting} - {"start"}
            }
            for killing in list(self._waiting):
                now = time.monotonic()
                if not killing.is_due and seen[killing.moment.after] != killing.seen:
                    killing.is_due, killing.since = True, now
                if killing.is_due and now >= killing.since + killing.moment.seconds:
                    with suppress(ProcessLookupError):
                        signal.pidfd_send_signal(killing.handle, signal.SIGKILL)
                        self.killed[killing.run_id] = killing.moment
                    os.close(killing.handle)
                    self._waiting.remove(killing)

    def _welcome(self) -> None:
        for name in sorted({path.name for path in self._runs.iterdir()} - self._known):
            self._known.add(name)
            run_id, _, pid = name.rpartition(".")
            moment = self._schedule.next_moment()
            if moment is not None:
                with suppress(ProcessLookupError):
                    # A handle and not the number, which another process may have by the time.
                    handle = os.pidfd_open(int(pid))
                    seen = self._watch[moment.after]() if moment.after != "start" else None
                    is_due = moment.after == "start"
                    self._waiting.append(Killing(run_id, handle, moment, time.monotonic(), seen, is_due))


def _modified(folder: Path) -> int:
    try:
        return folder.stat().st_mtime_ns
    except FileNotFoundError:
        return 0
