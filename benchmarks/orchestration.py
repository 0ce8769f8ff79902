"""Orchestration: what Dagster adds to a partition of a backfill, with partitions that hold nothing.

The same partitions are loaded by a run over a range of them, as a backfill has it, and without Dagster; what a
partition takes longer in the run is Dagster's share. The start of a run, as a run over a single partition shows it, is
taken off; what a run does once for each partition before the first, such as planning it, is not.
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

TAGS = 160
GROUPS = {Scale.SMOKE: 2, Scale.QUICK: 16, Scale.FULL: 16}
FIRST_DAY = DAY - timedelta(days=80)
"""Long before the first event of the plant."""
DAYS_A_RUN = 2
DAYS = {Scale.SMOKE: 2, Scale.QUICK: 2, Scale.FULL: 30}
TARGET = at_most(25)
START, IN_A_RUN, BETWEEN_COMMITS = "run over one partition", "in a run", "in a run, from commit to commit"


def run(scale: Scale) -> Section:
    """Measure runs of two days each."""
    with (
        plant(generated(TAGS, WHOLE_DAY_1HZ), now=MIDNIGHT) as simulator,
        tempfile.TemporaryDirectory() as folder,
        own_process() as call,
    ):
        measured = call(measure, simulator.url, folder, DAYS[scale] // DAYS_A_RUN, GROUPS[scale])
    shares = {
        name: [(a - b) * 1e3 for a, b in zip(measured[name], measured["without Dagster"], strict=True)]
        for name in (IN_A_RUN, BETWEEN_COMMITS)
    }
    partitions = DAYS[scale] * GROUPS[scale]
    figures = {name: Figure.of([value * 1e3 for value in rounds]) for name, rounds in measured.items()}
    return Section(
        title="Orchestration: Dagster's share of a backfill",
        rows=[
            Row(
                f"{partitions} empty partitions: Dagster's share of the wall time of one",
                Figure.of(shares[IN_A_RUN]),
                unit="ms",
                measured=f"in a run {figures[IN_A_RUN].median:.1f} ms, without Dagster "
                f"{figures['without Dagster'].median:.1f} ms",
                target=TARGET,
            ),
            Row(
                "the part of it from commit to commit",
                Figure.of(shares[BETWEEN_COMMITS]),
                unit="ms",
                measured="the other part is planned events, logged when a run is created",
            ),
            Row(
                "an empty partition in a run / without Dagster",
                Figure.ratio(measured[IN_A_RUN], measured["without Dagster"]),
            ),
        ],
        tables=[
            Table(
                "ms, in the order of the backfill",
                ["", "median", "first", "last"],
                [
                    [name, f"{figures[name].median:.1f}", f"{rounds[0] * 1e3:.1f}", f"{rounds[-1] * 1e3:.1f}"]
                    for name, rounds in measured.items()
                ],
            )
        ],
        notes=[
            f"A run takes {DAYS_A_RUN * GROUPS[scale]} partitions, in this process; in production a process is started "
            "for each run, which costs some seconds more. The instance keeps its log in SQLite."
        ],
        facts={name: figure.median for name, figure in figures.items()},
    )


def measure(url: str, folder: str, rounds: int, groups: int) -> dict[str, list[float]]:
    """Seconds of a partition with Dagster and without, and of the start of a run, in each round."""
    settings = {"shards": groups, "start_date": FIRST_DAY}
    plain, orchestrated = (benchmark_site(url, f"{folder}/{name}", **settings) for name in ("plain", "dagster"))
    list_tags(plain)
    home = Path(folder) / "home"
    home.mkdir()
    dagster = Dagster(orchestrated, home)
    dagster.run_points()
    dagster.run_timeseries(_keys(plain, -1)[:1])
    found: dict[str, list[float]] = {START: [], IN_A_RUN: [], BETWEEN_COMMITS: [], "without Dagster": []}
    numbers = {"dagster": iter(range(rounds)), "plain": iter(range(rounds))}

    def with_dagster() -> None:
        keys = _keys(plain, next(numbers["dagster"]))
        one, all_of_them = dagster.run_timeseries(keys[:1]), dagster.run_timeseries(keys)
        found[START].append(one.seconds)
        found[IN_A_RUN].append((all_of_them.seconds - one.seconds) / (len(keys) - 1))
        found[BETWEEN_COMMITS].append(all_of_them.seconds_a_partition)

    def without() -> None:
        found["without Dagster"].append(_plain(plain, _keys(plain, next(numbers["plain"]))))

    in_turn({"dagster": with_dagster, "plain": without}, rounds=rounds)
    return found


def _keys(site: Site, number: int) -> list[str]:
    """The partitions of a run."""
    first = FIRST_DAY + timedelta(days=DAYS_A_RUN * (number + 1))
    return [
        str(partition_key(first + timedelta(days=day), group))
        for day in range(DAYS_A_RUN)
        for group in site.partition_names()
    ]


def _plain(site: Site, keys: Sequence[str]) -> float:
    """Seconds a partition without Dagster."""
    partitions: list[tuple[date, str]] = [split_partition_key(key) for key in keys]
    committed = []
    with open_source(site.server) as source:
        for load in partitions_in_turn(site, source, Lake(site.lake.uri), partitions, run_id="benchmark"):
            load.run()
            committed.append(time.perf_counter())
    return (committed[-1] - committed[0]) / (len(committed) - 1)
