"""Runs of the real assets in this process, on a real instance of Dagster with its SQLite storage."""

from __future__ import annotations

import time
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dagster as dg

from pi_dagster.automation.partitions import RANGE_END_TAG, RANGE_START_TAG
from pi_dagster.factory import build_pi_definitions
from pi_dagster.site import Site

TIMESERIES = dg.AssetKey("pi_timeseries")
_SILENT = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}


@dataclass(frozen=True)
class Run:
    """A run that succeeded.

    Args:
        seconds: wall time of all of it.
        cpu_seconds: of this process.
        committed: when each partition's materialization was logged, seconds since 1970, in order.
        rows: of all partitions together.
    """

    seconds: float
    cpu_seconds: float
    committed: Sequence[float]
    rows: int

    @property
    def seconds_a_partition(self) -> float:
        """From the first commit to the last, so without the start of the run."""
        return (self.committed[-1] - self.committed[0]) / (len(self.committed) - 1)


class Dagster:
    """The definitions of a site and an instance to run them on.

    Args:
        site: the site.
        home: folder of the instance.
    """

    def __init__(self, site: Site, home: Path) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", category=dg.BetaWarning)
            self._definitions = build_pi_definitions(site)
        self._instance = dg.DagsterInstance.local_temp(str(home))

    def run_points(self) -> Run:
        """Materialize pi_points."""
        return self._run("load_pi_points", {})

    def run_timeseries(self, keys: Sequence[str]) -> Run:
        """Materialize a range of partitions of pi_timeseries in one run, as a backfill does.

        Args:
            keys: the partitions, all that there are from the first to the last.
        """
        return self._run("load_pi_timeseries", {RANGE_START_TAG: keys[0], RANGE_END_TAG: keys[-1]})

    def _run(self, job: str, tags: dict[str, str]) -> Run:
        wall, cpu = time.perf_counter(), time.process_time()
        result = self._definitions.resolve_job_def(job).execute_in_process(
            instance=self._instance, tags=tags, run_config=_SILENT
        )
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        records = self._instance.get_records_for_run(result.run_id, of_type=dg.DagsterEventType.ASSET_MATERIALIZATION)
        entries = [record.event_log_entry for record in records.records]
        return Run(wall, cpu, [entry.timestamp for entry in entries], sum(map(_rows, entries)))


def _rows(entry: dg.EventLogEntry) -> int:
    materialization: Any = entry.asset_materialization
    count = materialization.metadata.get("dagster/partition_row_count")
    return int(count.value) if count is not None else 0
