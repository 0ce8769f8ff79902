"""`python -m benchmarks.sustained`: tail runs back to back for many minutes; does anything grow?

The plant's clock goes on by five minutes a run, from the beginning of a day, and runs follow each other without a
pause or paced. Midnight is passed as it is in production: the day before is finished by the runs of the next one.
Growth is the slope of a straight line through the runs, over the whole time, in parts of the median.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from deltalake import DeltaTable
from rich.console import Console

from benchmarks.loads import list_tags
from benchmarks.machine import this_machine
from benchmarks.measuring import cost_of, own_process, resident_megabytes
from benchmarks.plants import EVERY_20_SECONDS, LAG, MIDNIGHT, generated, plant
from benchmarks.report import as_json, markdown, print_machine, print_section, wide_screen, write, write_markdown
from benchmarks.results import Figure, Row, Section, Table, at_most
from benchmarks.tail import INTERVAL, TAGS_A_PARTITION, tail_site
from pi_dagster.ingest.load_plans import Partition
from pi_dagster.ingest.source import open_source
from pi_dagster.ingest.tail import Watermark, load_tail
from pi_dagster.lake import Lake, TimeseriesTable
from pi_dagster.site import Site

_WARM_UP_RUNS = 24
"""The first runs, those of two hours, that the growth is not taken from, but of half the runs at most: memory has to
fill first, and the files of an hour are put together once it is over, which takes more of it."""
_ALLOWED_GROWTH = 0.1
_ROWS_SHOWN = 12


@dataclass(frozen=True)
class TailRun:
    """What one run took and left."""

    minute: float
    """Wall time since the first run."""
    seconds: float
    cpu_seconds: float
    events: int
    requests: int
    lag_seconds: float
    """How far the watermarks are behind the server's clock when the run ends, on the clock of the wall."""
    resident_megabytes: float
    live_files: int
    """Of all days."""
    log_files: int


def main(
    minutes: Annotated[float, typer.Option(help="How long to go on.")] = 30,
    tags: Annotated[int, typer.Option(help="Tags, with an event every 20 seconds each.")] = 30_000,
    pace_seconds: Annotated[
        float, typer.Option("--pace", metavar="SECONDS", help="Least time from the start of a run to the next.")
    ] = 0,
    json_file: Annotated[Path | None, typer.Option("--json", metavar="FILE", help="Write everything as JSON.")] = None,
    markdown_file: Annotated[
        Path | None, typer.Option("--markdown", metavar="FILE", help="Write the tables as Markdown.")
    ] = None,
    plot_file: Annotated[Path | None, typer.Option("--plot", metavar="FILE", help="Draw the runs as PNG.")] = None,
) -> None:
    """Run the tail of a simulated plant for a while and look for growth."""
    screen = wide_screen()
    machine = this_machine()
    print_machine(machine, screen)
    begun = time.monotonic()
    runs = measure(tags=tags, seconds=minutes * 60, pace_seconds=pace_seconds, on_run=_progress(screen))
    section = report(runs, tags)
    print_section(section, time.monotonic() - begun, screen)
    if json_file is not None:
        write(json_file, as_json(machine, {"sustained": section}))
    if markdown_file is not None:
        write_markdown(markdown_file, markdown(machine, {"sustained": section}), part="sustained")
    if plot_file is not None:
        from benchmarks.plot import draw_runs

        draw_runs([asdict(run) for run in runs], plot_file)


def measure(
    *, tags: int, seconds: float, pace_seconds: float = 0, on_run: Callable[[TailRun], None] = lambda run: None
) -> list[TailRun]:
    """Run the tail for some time."""
    with (
        plant(generated(tags, EVERY_20_SECONDS), now=MIDNIGHT) as simulator,
        tempfile.TemporaryDirectory() as folder,
        own_process() as call,
    ):
        site = tail_site(simulator.url, folder, tags)
        call(list_tags, site)
        runs: list[TailRun] = []
        watermarks: dict[Partition, Watermark] = {}
        begun = time.monotonic()
        while not runs or time.monotonic() - begun < seconds:
            started = time.monotonic()
            clock = MIDNIGHT + (len(runs) + 1) * INTERVAL + LAG
            simulator.set_clock(clock)
            run, left = call(run_once, site, clock, watermarks, (started - begun) / 60)
            watermarks = {
                (day, group): watermark
                for (day, group), watermark in {**watermarks, **left}.items()
                if day >= clock.date() - timedelta(days=1)
            }
            runs.append(run)
            on_run(run)
            time.sleep(max(0.0, pace_seconds - (time.monotonic() - started)))
        return runs


def report(runs: Sequence[TailRun], tags: int) -> Section:
    """The growth over the runs."""
    steady = runs[min(_WARM_UP_RUNS, len(runs) // 2) :]
    rows = []
    for what, unit, value in (
        ("time of a run", "s", lambda run: run.seconds),
        ("CPU time of a run", "s", lambda run: run.cpu_seconds),
        ("memory after a run", "MB", lambda run: run.resident_megabytes),
        ("lag after a run", "s", lambda run: run.lag_seconds),
    ):
        values = [value(run) for run in steady]
        figure = Figure.of(values)
        rows.append(
            Row(
                f"{what}: growth from the first to the last run, in parts of the median",
                Figure.of([_growth([run.minute for run in steady], values) / figure.median]),
                measured=f"median {figure.median:.2f} {unit}, {figure.low:.2f} to {figure.high:.2f} {unit}",
                target=at_most(_ALLOWED_GROWTH),
            )
        )
    files = [run.live_files for run in steady]
    shown = [runs[round(index)] for index in np.linspace(0, len(runs) - 1, min(len(runs), _ROWS_SHOWN))]
    return Section(
        title=f"Sustained: {len(runs)} tail runs of {tags:,} tags in {runs[-1].minute:.0f} minutes",
        rows=rows,
        tables=[
            Table(
                "Some of the runs",
                ["minute", "run", "s", "CPU s", "events", "requests", "lag s", "RSS MB", "live files", "log files"],
                [
                    [
                        f"{run.minute:.1f}",
                        f"{runs.index(run) + 1}",
                        f"{run.seconds:.2f}",
                        f"{run.cpu_seconds:.2f}",
                        f"{run.events:,}",
                        f"{run.requests}",
                        f"{run.lag_seconds:.1f}",
                        f"{run.resident_megabytes:.0f}",
                        f"{run.live_files}",
                        f"{run.log_files}",
                    ]
                    for run in shown
                ],
            )
        ],
        notes=[
            f"Each run brings {INTERVAL.total_seconds() / 60:.0f} minutes of the plant's time; a partition holds "
            f"{TAGS_A_PARTITION:,} tags at most. Live files: {min(files)} to {max(files)}; they grow with the day "
            "until it is settled, by one an hour and partition.",
            "The simulator makes up its answers on the same cores, so the time of a run is its too.",
        ],
        facts={"runs": len(runs), "median seconds": Figure.of([run.seconds for run in steady]).median},
    )


def run_once(
    site: Site, clock: datetime, watermarks: dict[Partition, Watermark], minute: float
) -> tuple[TailRun, dict[Partition, Watermark]]:
    """One run at a clock; in the process that all runs share, as its memory is looked at."""
    lake = Lake(site.lake.uri)
    run_id = f"{clock:%d %H:%M}"
    partitions = [(clock.date(), group) for group in site.partition_names()]
    with open_source(site.server) as source:
        outcomes, cost = cost_of(
            lambda: list(
                load_tail(site, source, lake, partitions, watermarks=watermarks, run_id=run_id, goes_on_after=())
            )
        )
        requests = source.traffic.requests
    reports = []
    left: dict[Partition, Watermark] = {}
    for partition, outcome in outcomes:
        if isinstance(outcome, Exception):
            raise outcome
        reports.append(outcome)
        left[partition] = Watermark.of(outcome, run_id)
    table: Any = DeltaTable(TimeseriesTable.open(lake).uri)
    return (
        TailRun(
            minute=minute,
            seconds=cost.seconds,
            cpu_seconds=cost.cpu_seconds,
            events=sum(report.rows for report in reports),
            requests=requests,
            lag_seconds=(clock - min(report.watermark for report in reports)).total_seconds() + cost.seconds,
            resident_megabytes=resident_megabytes(),
            live_files=len(table.file_uris()),
            log_files=len(list((Path(lake.table_uri("pi_timeseries")) / "_delta_log").glob("*.json"))),
        ),
        left,
    )


def _growth(minutes: Sequence[float], values: Sequence[float]) -> float:
    """How much a straight line through the values rises from the first to the last."""
    if len(values) < 2:
        return 0.0
    slope = np.polyfit(minutes, values, 1)[0]
    return float(slope * (minutes[-1] - minutes[0]))


def _progress(screen: Console) -> Callable[[TailRun], None]:
    def show(run: TailRun) -> None:
        screen.print(
            f"minute {run.minute:5.1f}: {run.seconds:6.2f} s, CPU {run.cpu_seconds:5.2f} s, {run.events:,} events, "
            f"{run.resident_megabytes:.0f} MB, {run.live_files} live files"
        )

    return show


if __name__ == "__main__":
    typer.run(main)
