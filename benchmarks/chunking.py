"""Chunking: requests used for a mixed plant, against the fewest in which the server would give that many items.

A tenth of the tags at 10 Hz, four tenths with a value a second, the others with one in five minutes: dense tags should
not be turned page by page, and sparse ones should share requests.
"""

from __future__ import annotations

from datetime import timedelta

from benchmarks.loads import Load, benchmark_site, streams_of
from benchmarks.measuring import cost_of, own_process, peak_megabytes
from benchmarks.plants import MIDNIGHT, mixed, plant
from benchmarks.results import Figure, Row, Scale, Section, at_most
from pi_dagster.ingest.source import open_source
from pi_dagster.site import ServerSettings

TARGET = at_most(1.3)
WINDOWS = {
    Scale.SMOKE: {"10 minutes": (20, timedelta(minutes=10))},
    Scale.QUICK: {"a day": (20, timedelta(days=1)), "an hour": (300, timedelta(hours=1))},
    Scale.FULL: {
        "a day": (200, timedelta(days=1)),
        "an hour": (3_000, timedelta(hours=1)),
        "10 minutes": (10_000, timedelta(minutes=10)),
    },
}
"""Tags and length of each window that is read."""


def run(scale: Scale) -> Section:
    """Read each window twice over one connection, which remembers how dense the tags are."""
    rows = []
    for name, (tags, duration) in WINDOWS[scale].items():
        with plant(mixed(tags, duration), now=MIDNIGHT + duration + timedelta(days=1)) as simulator:
            site = benchmark_site(simulator.url, "unused")
            with own_process() as call:
                for which, load in zip(("first", "second"), call(read_twice, site.server, duration), strict=True):
                    least = load.rows / site.server.max_items_per_call
                    rows.append(
                        Row(
                            f"{tags:,} tags x {name}, {which} reading: requests / fewest possible",
                            Figure.of([load.requests / least]),
                            measured=f"{load.rows:,} values, {load.requests} requests, fewest possible {least:.1f}",
                            target=TARGET,
                        )
                    )
    return Section(title="Chunking: a mixed plant", rows=rows)


def read_twice(server: ServerSettings, duration: timedelta) -> list[Load]:
    """Read the window of all tags, twice over one connection."""
    streams = streams_of(benchmark_site(server.url, "unused"))
    loads = []
    with open_source(server) as source:
        for _ in range(2):
            before = source.traffic
            reading = source.read(streams, MIDNIGHT, MIDNIGHT + duration)
            rows, cost = cost_of(lambda: sum(table.num_rows for table in reading))  # noqa: B023  # done before the next
            after = source.traffic
            loads.append(
                Load(
                    rows,
                    cost,
                    after.requests - before.requests,
                    after.bytes_received - before.bytes_received,
                    peak_megabytes(),
                )
            )
    return loads
