"""`uv run python -m benchmarks.power_cut`: `dagster dev` and all its runs are killed in the middle of a backfill.

`dagster dev` is started, a backfill is launched over its GraphQL, and when some partitions are loaded and others are
being loaded, all processes of its session get SIGKILL. `dagster dev` is started once more, and nothing else is done:
the backfill has to go on and to end complete, with the table as the archive is. Takes some minutes, as Dagster looks
after backfills every half minute. `test_chaos.py` has the same with loops that are not so slow.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import warnings
from datetime import datetime, timezone
from pathlib import Path

import dagster as dg
import requests
import typer
import yaml

from benchmarks.chaos import Chaos
from benchmarks.chaos_dagster import LAUNCH_BACKFILL, ROOT, TIMESERIES, wait_until
from benchmarks.chaos_plant import DAY, GROUPS, Plant
from pi_dagster.automation.partitions import partition_key
from pi_dagster.ingest.points import refresh_points
from pi_dagster.ingest.source import open_source
from pi_dagster.lake import TimeseriesTable
from pi_dagster.simulator import Fault, FaultKind
from pi_dagster_tests.archive_truth import assert_equals_archive, truth

DAYS = 3


class DagsterDev:
    """`dagster dev` over a home and its workspace."""

    def __init__(self, home: Path, site_file: Path) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self._port = probe.getsockname()[1]
        module = {"module_name": "pi_dagster.definitions", "location_name": "pi_dagster"}
        (home / "workspace.yaml").write_text(yaml.safe_dump({"load_from": [{"python_module": module}]}))
        self._home = home
        self._environment = {
            **os.environ,
            "DAGSTER_HOME": str(home),
            "PI_DAGSTER_SITE": str(site_file),
            "PYTHONPATH": str(ROOT),
        }

    def start(self) -> None:
        """Start it and wait until it answers."""
        command = [sys.executable, "-m", "dagster", "dev", "-w", "workspace.yaml", "-h", "127.0.0.1", "-p"]
        with (self._home / "dagster_dev.log").open("ab") as log:
            self._process = subprocess.Popen(
                [*command, str(self._port)],
                cwd=self._home,
                env=self._environment,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        wait_until(self._answers, 120, "dagster dev does not come up")

    def launch_backfill(self, keys: list[str]) -> None:
        """As the UI does."""
        params = {"assetSelection": [{"path": TIMESERIES.path}], "partitionNames": keys}
        order = {"query": LAUNCH_BACKFILL, "variables": {"params": params}}
        answer = requests.post(f"http://127.0.0.1:{self._port}/graphql", json=order, timeout=60).json()
        assert answer["data"]["launchPartitionBackfill"]["__typename"] == "LaunchBackfillSuccess", answer

    def kill(self) -> int:
        """SIGKILL for all processes of its session; how many those were."""
        session = [int(stat.parent.name) for stat in Path("/proc").glob("[0-9]*/stat") if self._is_ours(stat)]
        for process in session:
            os.kill(process, signal.SIGKILL)
        self._process.wait()
        return len(session)

    def _answers(self) -> bool:
        try:
            return requests.get(f"http://127.0.0.1:{self._port}/server_info", timeout=5).ok
        except requests.RequestException:
            return False

    def _is_ours(self, stat: Path) -> bool:
        try:
            state, _, _, session = stat.read_text().rpartition(")")[2].split()[:4]
        except (FileNotFoundError, ProcessLookupError):
            return False
        return int(session) == self._process.pid and state != "Z"


def main() -> None:
    """Exit with 0 only if the backfill ends complete and the table equals the archive."""
    warnings.simplefilter("ignore", category=dg.BetaWarning)
    today = datetime.combine(datetime.now(timezone.utc).date(), datetime.min.time(), timezone.utc)
    plant = Plant(today - 8 * DAY, today)
    with tempfile.TemporaryDirectory() as folder, plant.served() as server:
        chaos = Chaos(0, Path(folder), plant, server)
        with open_source(chaos.site.server) as source:
            refresh_points(chaos.site, source, chaos.lake, run_id="tags")
        days = [chaos.site.start_date + number * DAY for number in range(DAYS)]
        keys = [str(partition_key(day, group)) for day in days for group in GROUPS]
        instance = chaos.dagster.instance
        running = dg.RunsFilter(statuses=[dg.DagsterRunStatus.STARTED])
        server.faults.add(Fault(kind=FaultKind.SLOW, route="*recorded", seconds=2))
        dagster = DagsterDev(chaos.dagster.home, chaos.dagster.site_file)

        def loaded() -> set[str]:
            return set(instance.get_materialized_partitions(TIMESERIES))

        try:
            dagster.start()
            dagster.launch_backfill(keys)
            wait_until(
                lambda: 0 < len(loaded()) < len(keys) and instance.get_run_ids(running), 180, "nothing is loaded"
            )
            killed = dagster.kill()
            print(
                f"killed {killed} processes with {len(loaded())} of {len(keys)} partitions loaded and "
                f"{len(instance.get_run_ids(running))} runs under way"
            )
            server.faults.clear()
            begun = time.monotonic()
            dagster.start()
            wait_until(lambda: not chaos.dagster.backfills_under_way(), 400, "the backfill does not end")
        finally:
            dagster.kill()
        [backfill] = instance.get_backfills()
        expected = truth(plant.archive, plant.archive.points(), plant.begins, plant.begins + DAYS * DAY)
        assert_equals_archive(TimeseriesTable.open(chaos.lake).to_arrow(), expected)
        print(
            f"{time.monotonic() - begun:.0f} s after it was started again the backfill is {backfill.status.value}, "
            f"{len(loaded())} of {len(keys)} partitions are loaded, {expected.num_rows:,} events: "
            "the table equals the archive"
        )
        raise typer.Exit(0 if backfill.status.value == "COMPLETED_SUCCESS" else 1)


if __name__ == "__main__":
    typer.run(main)
