"""AF: reading the whole hierarchy with its attributes into its two tables."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from functools import partial

from benchmarks.loads import benchmark_site
from benchmarks.measuring import Cost, cost_of, in_turn, own_process, peak_megabytes
from benchmarks.plants import MIDNIGHT, WHOLE_DAY_1HZ, AssetModel, generated, plant
from benchmarks.replay import Replay, replaying
from benchmarks.results import Figure, Row, Scale, Section, Table, at_most
from pi_dagster.ingest.assets import refresh_assets
from pi_dagster.ingest.source import open_source
from pi_dagster.lake import Lake
from pi_dagster.site import Site

TAGS = 2_000
LATENCIES_MS = (0, 200)
SECONDS_ALLOWED = {500: 3, 50_000: 300}
ELEMENTS = {Scale.SMOKE: (20,), Scale.QUICK: (500,), Scale.FULL: (500, 50_000)}
ROUNDS = {Scale.SMOKE: 1, Scale.QUICK: 2, Scale.FULL: 3}


@dataclass(frozen=True)
class Refresh:
    """One reading of AF into empty tables."""

    cost: Cost
    elements: int
    attributes: int
    requests: int
    peak_megabytes: float


def run(scale: Scale) -> Section:
    """Measure each number of elements at each latency."""
    rows, table_rows, facts = [], [], {}
    for elements in ELEMENTS[scale]:
        with (
            plant(generated(TAGS, WHOLE_DAY_1HZ), now=MIDNIGHT, assets=AssetModel(elements=elements)) as simulator,
            replaying(simulator.url) as replay,
            own_process() as call,
        ):
            site = benchmark_site(replay.url, "unused")

            def refresh_at(latency: float, replay: Replay, call: partial[Refresh]) -> Refresh:
                replay.set_latency(latency)
                return call()

            read = partial(call, refresh, site)
            read()
            results = in_turn(
                {str(latency): partial(refresh_at, latency, replay, read) for latency in LATENCIES_MS},
                rounds=ROUNDS[scale],
            )
        for latency in LATENCIES_MS:
            rounds = results[str(latency)]
            seconds = Figure.of([done.cost.seconds for done in rounds])
            last = rounds[-1]
            allowed = SECONDS_ALLOWED.get(elements)
            rows.append(
                Row(
                    f"{elements:,} elements with attributes, {latency} ms",
                    seconds,
                    unit="s",
                    measured=f"{last.attributes:,} attributes, {last.requests} requests",
                    target=at_most(allowed) if allowed and latency else None,
                )
            )
            table_rows.append(
                [
                    f"{elements:,} elements, {latency} ms",
                    f"{last.elements / seconds.median:,.0f}",
                    f"{Figure.of([done.cost.cpu_seconds for done in rounds]).median:.2f}",
                    f"{last.peak_megabytes:.0f}",
                ]
            )
            facts[f"{elements} elements, {latency} ms, s"] = seconds.median
        rows.append(
            Row(
                f"{elements:,} elements: one request an element, one after the other / this, {LATENCIES_MS[-1]} ms",
                Figure.of([elements * LATENCIES_MS[-1] / 1000 / done.cost.seconds for done in rounds]),
                measured="the former by arithmetic from the latency",
            )
        )
    return Section(
        title="AF: elements and attributes to Delta",
        rows=rows,
        tables=[Table("Reading into empty tables", ["", "elements/s", "CPU s", "peak MB"], table_rows)],
        facts=facts,
    )


def refresh(site: Site) -> Refresh:
    """Read AF into a new lake."""
    with tempfile.TemporaryDirectory() as folder, open_source(site.server) as source:
        report, cost = cost_of(lambda: refresh_assets(site, source, Lake(folder), run_id="benchmark"))
        return Refresh(cost, report.elements, report.attributes, source.traffic.requests, peak_megabytes())
