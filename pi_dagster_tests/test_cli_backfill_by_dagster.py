"""`pi-dagster backfill` beside `dagster dev`, whose daemon does the work: what is told meanwhile, and at the end."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import requests
from dagster._core.execution.backfill import BulkActionStatus
from dagster._core.instance.ref import InstanceRef

from pi_dagster.dagster_record import DagsterRecord
from pi_dagster.simulator import Fault, FaultKind
from pi_dagster_tests.dagster_dev import dagster_dev
from pi_dagster_tests.small_plant import DAYS, ROWS_PER_PARTITION, SmallPlant, small_plant
from pi_dagster_tests.waiting import wait_until

CANCEL = """
mutation ($id: String!) { cancelPartitionBackfill(backfillId: $id) { __typename } }
"""


@dataclass(frozen=True)
class RunningDagster:
    """Dagster in a folder, the plant that it loads, and the command as it is typed in that folder."""

    folder: Path
    url: str
    plant: SmallPlant

    @contextmanager
    def record(self) -> Iterator[dg.DagsterInstance]:
        """Dagster's own record."""
        # Its paths are relative to the folder where Dagster was started.
        before = Path.cwd()
        os.chdir(self.folder)
        try:
            with dg.DagsterInstance.from_ref(InstanceRef.from_dir(str(self.folder))) as instance:
                yield instance
        finally:
            os.chdir(before)

    def backfill(self, *options: str) -> subprocess.Popen[str]:
        """Start the command."""
        environment = {name: value for name, value in os.environ.items() if name != "DAGSTER_HOME"}
        return subprocess.Popen(
            [sys.executable, "-c", "from pi_dagster.cli import main; main()", "backfill", "--from", DAYS[0], *options],
            cwd=self.folder,
            env={**environment, "PI_DAGSTER_SITE": str(self.plant.site_file)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def outcome_of(self, *options: str) -> tuple[int, dict[str, Any], str]:
        """The command's exit code, what it says to programs and what it says to people."""
        with self.backfill(*options, "--json") as command:
            output, errors = command.communicate(timeout=300)
        return command.returncode, json.loads(output), errors


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningDagster]:
    folder = tmp_path_factory.mktemp("site")
    with small_plant(folder) as plant, dagster_dev(folder, PI_DAGSTER_SITE=str(plant.site_file)) as url:
        running = RunningDagster(folder, url, plant)
        with running.record() as instance:
            wait_until(DagsterRecord(instance, is_kept=True).has_running_daemon)
        yield running


@pytest.fixture(autouse=True)
def healthy_again(running: RunningDagster) -> Iterator[None]:
    """What one test does to the server is over before the next."""
    yield
    running.plant.running.faults.clear()


def expected_rows(running: RunningDagster, *groups: str) -> Sequence[tuple[str, str, float]]:
    return running.plant.expected_rows(DAYS, list(groups))


def has_ended_well(instance: dg.DagsterInstance, backfill_id: str) -> bool:
    backfill = instance.get_backfill(backfill_id)
    return backfill is not None and backfill.status is BulkActionStatus.COMPLETED_SUCCESS


def test_it_is_told_how_far_dagster_has_come_and_why_some_of_it_failed(running: RunningDagster) -> None:
    running.plant.forbid_tag("PMP01.SPEED")
    exit_code, told, said = running.outcome_of("--group", "tanks", "--group", "pumps")
    assert exit_code == 1, said
    assert f"Dagster is running: 6 partitions launched as its backfill {told['backfill_id']}." in said
    assert f"3 of 6 partitions loaded, 3 failed, {3 * ROWS_PER_PARTITION} rows, in " in said
    assert (told["failed"], told["not_tried"]) == ([f"{day}|pumps" for day in DAYS], [])
    assert "PMP01.SPEED" in said
    assert running.plant.rows() == expected_rows(running, "tanks")


def test_ctrl_c_ends_the_waiting_and_not_the_backfill(running: RunningDagster) -> None:
    running.plant.running.faults.add(Fault(kind=FaultKind.SLOW, seconds=600.0, route="*recorded"))
    with running.backfill("--group", "boilers", "--json") as command:
        assert command.stderr is not None
        launched = command.stderr.readline()
        command.send_signal(signal.SIGINT)
        output, said = command.communicate(timeout=60)
    backfill_id = json.loads(output)["backfill_id"]
    assert f"launched as its backfill {backfill_id}." in launched
    assert command.returncode == 130, said
    assert f"Interrupted. 0 of 3 partitions loaded, 0 rows. Dagster goes on with its backfill {backfill_id}" in said
    assert "Traceback" not in said
    running.plant.running.faults.clear()
    with running.record() as instance:
        wait_until(lambda: has_ended_well(instance, backfill_id))
    assert running.plant.rows() == expected_rows(running, "boilers", "tanks")


def test_a_backfill_that_somebody_cancels_is_told_as_that(running: RunningDagster) -> None:
    running.plant.running.faults.add(Fault(kind=FaultKind.SLOW, seconds=600.0, route="*recorded"))
    with running.backfill("--group", "tanks", "--json") as command, running.record() as instance:
        assert command.stderr is not None
        command.stderr.readline()
        (backfill,) = instance.get_backfills(limit=1)
        wait_until(lambda: bool(instance.get_runs(dg.RunsFilter(tags={"dagster/backfill": backfill.backfill_id}))))
        cancel = {"query": CANCEL, "variables": {"id": backfill.backfill_id}}
        requests.post(f"{running.url}/graphql", json=cancel, timeout=60).raise_for_status()
        output, said = command.communicate(timeout=300)
    assert command.returncode == 1, said
    assert "The backfill was canceled in Dagster." in said
    assert json.loads(output)["loaded"] == 0
