"""The chaos test at small scale, and the power cut in the middle of a backfill.

Both run Dagster's daemon and its code server as processes of their own, as `benchmarks/chaos.py` does.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path

import dagster as dg
import pytest

from benchmarks.chaos import Chaos, run_chaos
from benchmarks.chaos_dagster import TIMESERIES, wait_until
from benchmarks.chaos_plant import DAY, Plant
from benchmarks.chaos_schedule import Schedule
from pi_dagster.automation.partitions import partition_key
from pi_dagster.ingest.points import refresh_points
from pi_dagster.ingest.source import open_source
from pi_dagster.simulator import Fault, FaultKind

SLOW_READING = Fault(kind=FaultKind.SLOW, route="*recorded", seconds=0.5)


def test_a_seed_stands_for_one_sequence_of_rounds_and_of_kills() -> None:
    def beginning(seed: int) -> list[object]:
        schedule = Schedule(seed)
        return [(schedule.next_round(), schedule.next_moment()) for _ in range(50)]

    assert beginning(1) == beginning(1)
    assert beginning(1) != beginning(2)


def test_the_table_equals_the_archive_after_runs_were_killed_and_the_server_was_in_trouble(tmp_path: Path) -> None:
    result = run_chaos(3, kills=3, seconds=150, folder=tmp_path, say=print)
    assert result.differences == []
    assert result.events > 10_000
    assert result.runs["success"] > 0
    assert result.kills.total() > 0


@pytest.fixture
def chaos(tmp_path: Path) -> Iterator[Chaos]:
    today = datetime.combine(datetime.now(timezone.utc).date(), datetime.min.time(), timezone.utc)
    plant = Plant(today - 8 * DAY, today)
    with plant.served() as server:
        chaos = Chaos(0, tmp_path, plant, server)
        try:
            yield chaos
        finally:
            chaos.dagster.kill()


def loaded(instance: dg.DagsterInstance) -> set[str]:
    return set(instance.get_materialized_partitions(TIMESERIES))


def test_a_backfill_goes_on_to_its_end_after_daemon_code_server_and_runs_were_killed_at_once(chaos: Chaos) -> None:
    with open_source(chaos.site.server) as source:
        refresh_points(chaos.site, source, chaos.lake, run_id="tags")
    days = [chaos.site.start_date + number * DAY for number in range(2)]
    keys = {str(partition_key(day, group)) for day in days for group in chaos.site.partition_names()}
    dagster, instance = chaos.dagster, chaos.dagster.instance
    chaos.set_clock(chaos.plant.now)
    dagster.start()
    chaos.server.faults.add(SLOW_READING)
    dagster.backfill(sorted(keys))
    running = dg.RunsFilter(statuses=[dg.DagsterRunStatus.STARTED])
    wait_until(
        lambda: instance.get_run_ids(running) and 0 < len(loaded(instance)) < len(keys), 60, "no run is under way"
    )
    dagster.kill()
    orphans = instance.get_run_ids(running)
    assert orphans
    chaos.server.faults.clear()
    dagster.start()
    wait_until(lambda: not dagster.backfills_under_way() and not dagster.under_way(), 60, "the backfill does not end")
    [backfill] = instance.get_backfills()
    assert backfill.status.value == "COMPLETED_SUCCESS"
    assert loaded(instance) == keys
