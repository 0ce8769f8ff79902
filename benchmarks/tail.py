"""The tail: what one run costs that brings today forward by five minutes, by the number of tags and the age of the day.

Tags have an event every 20 seconds, 50 a second for 1,000 of them. A run reads the last five minutes and the overlap,
15 minutes in all.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta

from benchmarks.commits import rows_of
from benchmarks.loads import benchmark_site, list_tags, streams_of
from benchmarks.measuring import Call, Cost, cost_of, own_process, peak_megabytes
from benchmarks.plants import DAY, EVERY_20_SECONDS, LAG, MIDNIGHT, Plant, generated, plant
from benchmarks.replay import Replay, replaying
from benchmarks.results import Figure, Row, Scale, Section, Table, at_most
from pi_dagster.ingest.load_plans import Partition
from pi_dagster.ingest.report import WindowReport
from pi_dagster.ingest.source import open_source
from pi_dagster.ingest.tail import Watermark, load_tail
from pi_dagster.lake import Lake, NewRows, PartitionWindow, TimeseriesTable
from pi_dagster.site import Site

INTERVAL = timedelta(minutes=5)
LATENCY_MS = 200
SECONDS_BETWEEN_EVENTS = 20
TAGS_A_PARTITION = 6_250
FIRST_FULL_RUN, LAST_RUN = 3, 287
"""Runs of a day that read five minutes and the whole overlap, and end before the day does."""
Watermarks = Mapping[Partition, Watermark]


@dataclass(frozen=True)
class TailRun:
    """One run of the tail and what it left."""

    cost: Cost
    rows: int
    requests: int
    bytes_received: int
    commits: int
    files: int
    file_bytes: int
    live_files: int
    peak_megabytes: float
    watermarks: Watermarks


@dataclass(frozen=True, kw_only=True)
class Size:
    """How much is measured: tags of single runs, their rounds, and tags and runs of a day that is watched."""

    tags: Sequence[int]
    rounds: int
    day_tags: int
    day_runs: Sequence[int]


SIZES = {
    Scale.SMOKE: Size(tags=(50,), rounds=1, day_tags=50, day_runs=(1, FIRST_FULL_RUN, 5)),
    Scale.QUICK: Size(tags=(1_000, 4_000), rounds=1, day_tags=200, day_runs=(1, FIRST_FULL_RUN, LAST_RUN)),
    Scale.FULL: Size(
        tags=(1_000, 10_000, 100_000), rounds=3, day_tags=10_000, day_runs=(1, FIRST_FULL_RUN, 10, LAST_RUN)
    ),
}


def run(scale: Scale) -> Section:
    """Measure single runs of several numbers of tags, then runs of one day."""
    size = SIZES[scale]
    runs = {tags: _second_run(tags, size.rounds) for tags in size.tags}
    day = _runs_of_a_day(size.day_tags, size.day_runs)
    rows = []
    for tags, rounds in runs.items():
        seconds = Figure.of([done.cost.seconds for done in rounds])
        largest = tags == max(size.tags)
        rows.append(
            Row(
                f"{tags:,} tags: one tail run",
                seconds,
                unit="s",
                measured=f"{seconds.median / INTERVAL.total_seconds():.1%} of the {INTERVAL.total_seconds():.0f} s "
                "until the next",
                target=at_most(60) if largest else None,
            )
        )
    last = size.day_runs[-1]
    rows.append(
        Row(
            f"{size.day_tags:,} tags: run {last} of a day / run {FIRST_FULL_RUN}",
            Figure.of([day[last].cost.seconds / day[FIRST_FULL_RUN].cost.seconds]),
            measured=", ".join(f"run {number} {done.cost.seconds:.2f} s" for number, done in day.items()),
        )
    )
    header = ["", "events", "requests", "s", "CPU s", "commits", "files", "MB written", "live files", "peak MB"]
    largest_run = runs[max(size.tags)][-1]
    return Section(
        title=f"The tail: one run of the schedule, {LATENCY_MS} ms a request",
        rows=rows,
        tables=[
            Table("By tags, medians", header, [_cells(f"{tags:,} tags", rounds) for tags, rounds in runs.items()]),
            Table(
                f"By the age of the day, {size.day_tags:,} tags",
                header,
                [_cells(f"run {number}", [done]) for number, done in day.items()],
            ),
        ],
        notes=[
            f"A partition holds {TAGS_A_PARTITION:,} tags at most. The runs of the day between those that are measured "
            "write made-up rows in the same windows."
        ],
        facts={
            "tags": max(size.tags),
            "seconds": Figure.of([done.cost.seconds for done in runs[max(size.tags)]]).median,
            "CPU seconds": Figure.of([done.cost.cpu_seconds for done in runs[max(size.tags)]]).median,
            "requests": largest_run.requests,
            "rows": largest_run.rows,
            "bytes received": largest_run.bytes_received,
            **{
                f"{tags} tags, seconds": Figure.of([r.cost.seconds for r in rounds]).median
                for tags, rounds in runs.items()
            },
        },
    )


def tail_site(url: str, folder: str, tags: int) -> Site:
    """A site whose partitions have a usual number of tags."""
    return benchmark_site(url, folder, shards=max(1, -(-tags // TAGS_A_PARTITION)))


def _second_run(tags: int, rounds: int) -> list[TailRun]:
    """The second run of a day, again and again from what the first left."""
    with (
        plant(generated(tags, EVERY_20_SECONDS), now=MIDNIGHT + 2 * INTERVAL + LAG) as simulator,
        replaying(simulator.url) as replay,
        tempfile.TemporaryDirectory() as folder,
        own_process() as call,
    ):
        site = tail_site(replay.url, f"{folder}/lake", tags)
        call(list_tags, site)
        first: TailRun = call(run_tail, site, {}, "first")
        simulator.set_clock(MIDNIGHT + 3 * INTERVAL + LAG)

        def second() -> TailRun:
            with tempfile.TemporaryDirectory() as copy:
                shutil.copytree(f"{folder}/lake", copy, dirs_exist_ok=True)
                lake = site.lake.model_copy(update={"uri": copy})
                done: TailRun = call(run_tail, site.model_copy(update={"lake": lake}), first.watermarks, "second")
                return done

        second()
        replay.set_latency(LATENCY_MS)
        return [second() for _ in range(rounds)]


def _runs_of_a_day(tags: int, numbers: Sequence[int]) -> dict[int, TailRun]:
    with (
        plant(generated(tags, EVERY_20_SECONDS), now=MIDNIGHT) as simulator,
        replaying(simulator.url) as replay,
        tempfile.TemporaryDirectory() as folder,
        own_process() as call,
    ):
        site = tail_site(replay.url, folder, tags)
        call(list_tags, site)
        watermarks: Watermarks = {}
        done: dict[int, TailRun] = {}
        last = 0
        for number in numbers:
            if between := range(last + 1, number):
                watermarks = call(write_runs, site, between, watermarks)
            done[number] = _one_run_from_memory(call, simulator, replay, site, number, watermarks)
            watermarks, last = done[number].watermarks, number
        return done


def _one_run_from_memory(
    call: Call, simulator: Plant, replay: Replay, site: Site, number: int, watermarks: Watermarks
) -> TailRun:
    """A run whose answers are in memory: it runs once on a copy of the lake that is thrown away."""
    run_id = f"run {number}"
    simulator.set_clock(MIDNIGHT + number * INTERVAL + LAG)
    replay.set_latency(0)
    with tempfile.TemporaryDirectory() as copy:
        shutil.copytree(site.lake.uri, copy, dirs_exist_ok=True)
        lake = site.lake.model_copy(update={"uri": copy})
        call(run_tail, site.model_copy(update={"lake": lake}), watermarks, run_id)
    replay.set_latency(LATENCY_MS)
    done: TailRun = call(run_tail, site, watermarks, run_id)
    return done


def run_tail(site: Site, watermarks: Watermarks, run_id: str) -> TailRun:
    """Bring all partitions of DAY forward."""
    lake = Lake(site.lake.uri)
    before = TimeseriesTable.open(lake).version
    partitions = [(DAY, group) for group in site.partition_names()]
    with open_source(site.server) as source:
        outcomes, cost = cost_of(
            lambda: list(
                load_tail(site, source, lake, partitions, watermarks=watermarks, run_id=run_id, goes_on_after=())
            )
        )
        traffic = source.traffic
    reports: dict[Partition, WindowReport] = {}
    for partition, outcome in outcomes:
        if isinstance(outcome, Exception):
            raise outcome
        reports[partition] = outcome
    return TailRun(
        cost=cost,
        rows=sum(report.rows for report in reports.values()),
        requests=traffic.requests,
        bytes_received=traffic.bytes_received,
        commits=TimeseriesTable.open(lake).version - before,
        files=sum(report.files for report in reports.values()),
        file_bytes=sum(report.file_bytes for report in reports.values()),
        live_files=sum(report.live_files for report in reports.values()),
        peak_megabytes=peak_megabytes(),
        watermarks={partition: Watermark.of(report, run_id) for partition, report in reports.items()},
    )


def write_runs(site: Site, numbers: Sequence[int], watermarks: Watermarks) -> Watermarks:
    """Commit made-up rows in the windows of some runs, as they would have; returns what they leave."""
    table = TimeseriesTable.open(Lake(site.lake.uri))
    overlap = timedelta(minutes=site.tail_overlap_minutes)
    last = watermarks
    tags = len(streams_of(site)) // len(site.partition_names())
    for number in numbers:
        end = MIDNIGHT + number * INTERVAL
        start = max(MIDNIGHT, end - INTERVAL - overlap)
        rows = int(tags * (end - start).total_seconds()) // SECONDS_BETWEEN_EVENTS
        batches = rows_of(start, end - start, rows, tags=tags).to_batches()
        new = [
            NewRows(window=PartitionWindow(DAY, group, start, end), batches=batches, again_from=end - overlap)
            for group in site.partition_names()
        ]
        run_id = f"run {number}"
        commits = table.replace_windows(new, commit_info={"site": site.name, "run_id": run_id})
        last = {
            window.partition: replace(
                watermarks[window.partition], instant=end, table_version=commit.version, run_id=run_id
            )
            for window, commit in commits.items()
        }
    return last


def _cells(what: str, rounds: Sequence[TailRun]) -> list[str]:
    done = rounds[-1]
    return [
        what,
        f"{done.rows:,}",
        f"{done.requests:,}",
        f"{Figure.of([r.cost.seconds for r in rounds]).median:.2f}",
        f"{Figure.of([r.cost.cpu_seconds for r in rounds]).median:.2f}",
        f"{done.commits}",
        f"{done.files}",
        f"{done.file_bytes / 1e6:.1f}",
        f"{done.live_files}",
        f"{done.peak_megabytes:.0f}",
    ]
