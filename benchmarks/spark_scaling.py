"""`python -m benchmarks.spark_scaling`: 1, 2 and 4 tasks of Spark that read from a server 200 ms away.

Each task may have one request in flight, so what is measured is whether tasks wait beside each other: the rate should
grow with their number until the cores are busy. Needs the extra `spark` and Java, so it is no part of `benchmarks`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from benchmarks.machine import this_machine
from benchmarks.measuring import in_turn
from benchmarks.plants import LAG, MIDNIGHT, TEN_MINUTES_1HZ, generated, plant
from benchmarks.replay import replaying
from benchmarks.report import as_json, markdown, print_machine, print_section, wide_screen, write, write_markdown
from benchmarks.results import Figure, Row, Section, Table, at_least

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

LATENCY_MS = 200
TASKS = (1, 2, 4)
WINDOW = timedelta(minutes=10)
_TAGS_A_REQUEST = 5
_NEARLY = 0.8
"""Of the rate that so many tasks would have without anything in common."""


def main(
    tags: Annotated[int, typer.Option(help="Tags of the plant; with one task each takes 40 ms.")] = 800,
    rounds: Annotated[int, typer.Option(help="How often each number of tasks is tried.", min=1)] = 3,
    json_file: Annotated[Path | None, typer.Option("--json", metavar="FILE", help="Write everything as JSON.")] = None,
    markdown_file: Annotated[
        Path | None, typer.Option("--markdown", metavar="FILE", help="Write the tables as Markdown.")
    ] = None,
) -> None:
    """Read ten minutes of all tags at one value a second with 1, 2 and 4 tasks."""
    from pi_dagster.spark.session import open_session

    screen = wide_screen()
    machine = this_machine()
    print_machine(machine, screen)
    settings = {"spark.ui.enabled": "false", "spark.log.level": "ERROR", "spark.driver.host": "127.0.0.1"}
    session = open_session(f"local[{max(TASKS)}]", settings)
    begun = time.monotonic()
    section = report(measure(session, tags=tags, rounds=rounds), tags=tags)
    session.stop()
    print_section(section, time.monotonic() - begun, screen)
    if json_file is not None:
        write(json_file, as_json(machine, {"spark_scaling": section}))
    if markdown_file is not None:
        write_markdown(markdown_file, markdown(machine, {"spark_scaling": section}), part="spark_scaling")


def measure(spark: SparkSession, *, tags: int, rounds: int, tasks: Sequence[int] = TASKS) -> dict[int, list[float]]:
    """Rows a second of each round, by number of tasks."""
    with (
        plant(generated(tags, TEN_MINUTES_1HZ), now=MIDNIGHT + WINDOW + LAG) as simulator,
        replaying(simulator.url) as replay,
    ):
        for number in tasks:
            # What is not counted: the server fills its memory, and Spark starts its Python workers.
            read(spark, replay.url, number)
        replay.set_latency(LATENCY_MS)
        turns: dict[str, Callable[[], float]] = {
            str(number): partial(rate, spark, replay.url, number, rows=tags * int(WINDOW.total_seconds()))
            for number in tasks
        }
        return {int(number): rates for number, rates in in_turn(turns, rounds=rounds).items()}


def rate(spark: SparkSession, url: str, tasks: int, *, rows: int) -> float:
    """Rows a second of one job, its start included."""
    begun = time.perf_counter()
    read(spark, url, tasks)
    return rows / (time.perf_counter() - begun)


def read(spark: SparkSession, url: str, tasks: int) -> None:
    """Read everything and throw it away."""
    options = {
        "server.url": url,
        "server.batch_size": str(_TAGS_A_REQUEST),
        "server.max_requests_in_flight": str(tasks),
        "start": MIDNIGHT.isoformat(),
        "end": (MIDNIGHT + WINDOW).isoformat(),
        "tasks": str(tasks),
    }
    spark.read.format("pi_web_api").options(**options).load().write.format("noop").mode("overwrite").save()


def report(rates: dict[int, list[float]], *, tags: int) -> Section:
    """How the rate grows with the number of tasks."""
    fewest = min(rates)
    return Section(
        title=f"Spark: {tags:,} tags x 10 min at 1 s, {LATENCY_MS} ms a request, one request in flight a task",
        rows=[
            Row(
                f"rate with {tasks} tasks / with {fewest}",
                Figure.ratio(found, rates[fewest]),
                measured=f"{Figure.of(found).median:,.0f} / {Figure.of(rates[fewest]).median:,.0f} rows/s",
                target=at_least(_NEARLY * tasks / fewest),
            )
            for tasks, found in rates.items()
            if tasks != fewest
        ],
        tables=[
            Table(
                "Rows a second",
                ["tasks", "median", "slowest", "fastest"],
                [
                    [f"{tasks}", f"{figure.median:,.0f}", f"{figure.low:,.0f}", f"{figure.high:,.0f}"]
                    for tasks, figure in ((tasks, Figure.of(found)) for tasks, found in rates.items())
                ],
            )
        ],
    )


if __name__ == "__main__":
    typer.run(main)
