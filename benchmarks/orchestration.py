"""Orchestration: what Dagster adds to a partition of a backfill, with partitions that hold nothing.

The same partitions are loaded by a run over a range of them, as a backfill has it, and without Dagster; what a partition
takes longer in the run is Dagster's share. Both are measured from the first commit to the last.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Sequence
from datetime import date, timedelta
from pathlib import Path

from benchmarks.dagster_runs import Dagster
from benchmarks.loads import benchmark_site, list_tags
from benchmarks.measuring import in_turn, own_process
from benchmarks.plants import DAY, MIDNIGHT, WHOLE_DAY_1HZ, generated, plant
from benchmarks.results import Figure, Row, Scale, Section, Table, at_most
from pi_dagster.automation.partitions import partition_key, split_partition_key
from pi_dagster.ingest.source import open_source
from pi_dagster.ingest.timeseries import partitions_in_turn
from pi_dagster.lake import Lake
from pi_dagster.site import Site

GROUPS, TAGS = 16, 160
FIRST_DAY = DAY - timedelta(days=60)
"""Long before the first event of the plant."""
DAYS_A_RUN = 2
DAYS = {Scale.SMOKE: 2, Scale.QUICK: 4, Scale.FULL: 30}
TARGET = at_most(25)


def run(scale: Scale) -> Section:
    """Measure runs of two days each."""
    with (
        plant(generated(TAGS, WHOLE_DAY_1HZ), now=MIDNIGHT) as simulator,
        tempfile.TemporaryDirectory() as folder,
        own_process() as call,
    ):
        measured = call(measure, simulator.url, folder, DAYS[scale] // DAYS_A_RUN)
    with_dagster, without, start = measured["Dagster"], measured["plain"], measured["start"]
    share = [(a - b) * 1e3 for a, b in zip(with_dagster, without, strict=True)]
    partitions = DAYS[scale] * GROUPS
    milliseconds = {
        name: Figure.of([value * 1e3 for value in rounds])
        for name, rounds in (("in a run", with_dagster), ("without Dagster", without))
    }
    return Section(
        title="Orchestration: Dagster's share of a backfill",
        rows=[
            Row(
                f"{partitions} empty partitions: Dagster's share of the wall time of one",
                Figure.of(share),
                unit="ms",
                measured=", ".join(f"{name} {figure.median:.1f} ms" for name, figure in milliseconds.items()),
                target=TARGET,
            ),
            Row(
                "an empty partition in a run / without Dagster",
                Figure.ratio(with_dagster, without),
            ),
        ],
        tables=[
            Table(
                "One partition, in the order of the backfill, ms",
                ["", "median", "first run", "last run"],
                [
                    [name, f"{Figure.of(rounds).median * 1e3:.1f}", f"{rounds[0] * 1e3:.1f}", f"{rounds[-1] * 1e3:.1f}"]
                    for name, rounds in (("in a run", with_dagster), ("without Dagster", without))
                ],
            )
        ],
        notes=[
            f"A run takes {DAYS_A_RUN * GROUPS} partitions; what it takes before its first commit is "
            f"{Figure.of(start).median:.2f} s here, and a process of its own is started for it in production, which "
            "costs some seconds more. The instance keeps its log in SQLite."
        ],
        facts={name: figure.median for name, figure in milliseconds.items()},
    )


def measure(url: str, folder: str, rounds: int) -> dict[str, list[float]]:
    """Seconds a partition with Dagster and without, and of the start of a run, for each round."""
    settings = {"shards": GROUPS, "start_date": FIRST_DAY}
    plain, orchestrated = (benchmark_site(url, f"{folder}/{name}", **settings) for name in ("plain", "dagster"))
    list_tags(plain)
    home = Path(folder) / "home"
    home.mkdir()
    dagster = Dagster(orchestrated, home)
    dagster.run_points()
    starts: list[float] = []
    day = {"Dagster": FIRST_DAY, "plain": FIRST_DAY}

    def keys(name: str) -> list[str]:
        first = day[name]
        day[name] += timedelta(days=DAYS_A_RUN)
        return [
            str(partition_key(first + timedelta(days=number), group))
            for number in range(DAYS_A_RUN)
            for group in plain.partition_names()
        ]

    def with_dagster() -> float:
        done = dagster.run_timeseries(keys("Dagster"))
        starts.append(done.seconds - done.seconds_a_partition * len(done.committed))
        return done.seconds_a_partition

    seconds = in_turn({"Dagster": with_dagster, "plain": lambda: _plain(plain, keys("plain"))}, rounds=rounds)
    return {**seconds, "start": starts}


def _plain(site: Site, keys: Sequence[str]) -> float:
    """Seconds a partition without Dagster."""
    partitions: list[tuple[date, str]] = [split_partition_key(key) for key in keys]
    committed = []
    with open_source(site.server) as source:
        for load in partitions_in_turn(site, source, Lake(site.lake.uri), partitions, run_id="benchmark"):
            load.run()
            committed.append(time.perf_counter())
    return (committed[-1] - committed[0]) / (len(committed) - 1)
