"""`python -m benchmarks.tail_day`: all 288 tail runs of a day, one after the other; do they cost the same?

Nothing is waited for: the plant's clock goes on by five minutes a run. No run is made up, so what is merged, committed
and checkpointed on the way is what it is in production. Single runs differ, as an hour's small files are put together
by one of its runs in each partition; so the runs of an early hour are compared with those of the last one.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Sequence
from datetime import timedelta
from pathlib import Path
from statistics import mean
from typing import Annotated

import pyarrow as pa
import typer
from deltalake import DeltaTable

from benchmarks.loads import list_tags
from benchmarks.machine import this_machine
from benchmarks.measuring import own_process
from benchmarks.plants import LAG, MIDNIGHT, plant, steady
from benchmarks.report import as_json, markdown, print_machine, print_section, wide_screen, write, write_markdown
from benchmarks.results import Figure, Row, Section, Table, at_most
from benchmarks.tail import INTERVAL, TAGS_A_PARTITION, TailRun, Watermarks, run_tail, tail_site
from pi_dagster.lake import Lake
from pi_dagster.lake.schemas import PI_TIMESERIES

RUNS_OF_A_DAY = timedelta(days=1) // INTERVAL
RUNS_OF_AN_HOUR = timedelta(hours=1) // INTERVAL
_FLAT = 1.5


def main(
    tags: Annotated[int, typer.Option(help="Tags of the plant.")] = 10_000,
    period: Annotated[int, typer.Option(help="Seconds from one event of a tag to its next.")] = 300,
    runs: Annotated[int, typer.Option(help="Runs, from midnight on.", min=2, max=RUNS_OF_A_DAY)] = RUNS_OF_A_DAY,
    json_file: Annotated[Path | None, typer.Option("--json", metavar="FILE", help="Write everything as JSON.")] = None,
    markdown_file: Annotated[
        Path | None, typer.Option("--markdown", metavar="FILE", help="Write the tables as Markdown.")
    ] = None,
) -> None:
    """Run the tail from midnight to midnight and compare the last hour with the second."""
    screen = wide_screen()
    machine = this_machine()
    print_machine(machine, screen)
    begun = time.monotonic()

    def show(number: int, run: TailRun) -> None:
        if number % RUNS_OF_AN_HOUR == 0:
            screen.print(f"run {number}: {run.cost.seconds:.2f} s, {run.live_files} live files")

    done, day_bytes = measure(tags=tags, period=period, runs=runs, on_run=show)
    section = report(done, day_bytes=day_bytes, tags=tags, period=period)
    print_section(section, time.monotonic() - begun, screen)
    if json_file is not None:
        write(json_file, as_json(machine, {"tail_day": section}))
    if markdown_file is not None:
        write_markdown(markdown_file, markdown(machine, {"tail_day": section}), part="tail_day")


def measure(
    *, tags: int, period: int, runs: int, on_run: Callable[[int, TailRun], None] = lambda number, run: None
) -> tuple[list[TailRun], int]:
    """The runs from midnight on, and the bytes of the files that the day has after them."""
    with (
        plant(steady(tags, period), now=MIDNIGHT) as simulator,
        tempfile.TemporaryDirectory() as folder,
        own_process() as call,
    ):
        site = tail_site(simulator.url, folder, tags)
        call(list_tags, site)
        done: list[TailRun] = []
        watermarks: Watermarks = {}
        for number in range(1, runs + 1):
            simulator.set_clock(MIDNIGHT + number * INTERVAL + LAG)
            run: TailRun = call(run_tail, site, watermarks, f"run {number}")
            watermarks = run.watermarks
            done.append(run)
            on_run(number, run)
        files = pa.table(DeltaTable(Lake(site.lake.uri).table_uri(PI_TIMESERIES.name)).get_add_actions())
        return done, sum(files["size_bytes"].to_pylist())


def report(runs: Sequence[TailRun], *, day_bytes: int, tags: int, period: int) -> Section:
    """How the last runs compare with early ones, and what some of them cost."""
    early = runs[RUNS_OF_AN_HOUR : 2 * RUNS_OF_AN_HOUR] or runs[:1]
    last = runs[-len(early) :]
    rows = []
    for what, unit, value in (
        ("time", "s", lambda run: run.cost.seconds),
        ("CPU time", "s", lambda run: run.cost.cpu_seconds),
        ("requests", "", lambda run: run.requests),
        ("bytes written", "MB", lambda run: run.file_bytes / 1e6),
        ("files added", "", lambda run: run.files),
    ):
        first_hour, last_hour = (mean(value(run) for run in hour) for hour in (early, last))
        rows.append(
            Row(
                f"{what} of a run: last hour / second hour",
                Figure.of([last_hour / first_hour]),
                measured=f"{last_hour:.2f} / {first_hour:.2f} {unit}".rstrip(),
                target=at_most(_FLAT),
            )
        )
    written = sum(run.file_bytes for run in runs)
    rows.append(
        Row(
            "bytes written by all runs / bytes of the day at its end",
            Figure.of([written / day_bytes]),
            measured=f"{written / 1e6:.0f} / {day_bytes / 1e6:.0f} MB",
        )
    )
    header = ["run", "events read", "requests", "s", "CPU s", "commits", "files", "MB written", "live files"]
    return Section(
        title=f"A day of the tail: {len(runs)} runs of {tags:,} tags with an event every {period} s",
        rows=rows,
        tables=[
            Table(
                "Some of the runs",
                header,
                [
                    [
                        f"{number}",
                        f"{run.rows:,}",
                        f"{run.requests}",
                        f"{run.cost.seconds:.2f}",
                        f"{run.cost.cpu_seconds:.2f}",
                        f"{run.commits}",
                        f"{run.files}",
                        f"{run.file_bytes / 1e6:.2f}",
                        f"{run.live_files}",
                    ]
                    for number, run in enumerate(runs, 1)
                    if number in (1, 2, 3, 10) or number % (len(runs) // 6 or 1) == 0
                ],
            )
        ],
        notes=[
            f"A partition holds {TAGS_A_PARTITION:,} tags at most. Each run reads five new minutes and the ten before.",
            "The simulator encodes its answers on the same cores, so the time of a run is its too; CPU is the client's",
        ],
        facts={"runs": len(runs), "tags": tags, "period": period},
    )


if __name__ == "__main__":
    typer.run(main)
