"""Event frames: loading days of frames with their attributes, and loading them again when nothing has changed."""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import dataclass
from datetime import timedelta

from benchmarks.loads import benchmark_site
from benchmarks.measuring import Cost, cost_of, own_process, peak_megabytes
from benchmarks.plants import DAY, MIDNIGHT, WHOLE_DAY_1HZ, AssetModel, generated, plant
from benchmarks.replay import replaying
from benchmarks.results import Figure, Row, Scale, Section, Table
from pi_dagster.ingest.event_frames import event_frame_databases, load_day
from pi_dagster.ingest.source import open_source
from pi_dagster.lake import Lake
from pi_dagster.site import Site

TAGS, ELEMENTS = 1_000, 500
LATENCIES_MS = (0, 200)
DAYS_OF_FRAMES = {
    Scale.SMOKE: {20: 1},
    Scale.QUICK: {1_000: 1},
    Scale.FULL: {1_000: 1, 100_000: 30},
}
"""Number of frames, and of days on which they start."""


@dataclass(frozen=True)
class FramesLoad:
    """Some days that were loaded."""

    cost: Cost
    frames: int
    requests: int
    peak_megabytes: float


def run(scale: Scale) -> Section:
    """Measure each number of frames at each latency: into an empty table, and once more as the sensor does."""
    rows, table_rows, facts = [], [], {}
    for frames, days in DAYS_OF_FRAMES[scale].items():
        model = AssetModel(elements=ELEMENTS, event_frames=frames, days=days)
        with (
            plant(generated(TAGS, WHOLE_DAY_1HZ), now=MIDNIGHT, assets=model) as simulator,
            replaying(simulator.url) as replay,
            tempfile.TemporaryDirectory() as folder,
            own_process() as call,
        ):
            site = benchmark_site(replay.url, folder)
            call(load_days, site, days, all_attributes=True)
            for latency in LATENCIES_MS:
                shutil.rmtree(folder)
                replay.set_latency(latency)
                first: FramesLoad = call(load_days, site, days, all_attributes=True)
                again: FramesLoad = call(load_days, site, days, all_attributes=False)
                if latency:
                    rows.append(
                        Row(
                            f"{frames:,} frames: one request a frame, one after the other / this, {latency} ms",
                            Figure.of([frames * latency / 1000 / first.cost.seconds]),
                            measured=f"this {first.cost.seconds:.2f} s; the former by arithmetic from the latency",
                        )
                    )
                for what, done in (("first load", first), ("again", again)):
                    table_rows.append(
                        [
                            f"{frames:,} frames, {days} d, {latency} ms, {what}",
                            f"{done.cost.seconds:.2f}",
                            f"{done.frames / done.cost.seconds:,.0f}",
                            f"{done.cost.cpu_seconds:.2f}",
                            f"{done.requests:,}",
                            f"{done.peak_megabytes:.0f}",
                        ]
                    )
                facts[f"{frames} frames, {latency} ms, s"] = first.cost.seconds
    return Section(
        title="Event frames to Delta",
        rows=rows,
        tables=[
            Table(
                "Frames by the days on which they start",
                ["", "s", "frames/s", "CPU s", "requests", "peak MB"],
                table_rows,
            )
        ],
        notes=["One round each; the sensor reads the attributes only of frames that may have changed."],
        facts=facts,
    )


def load_days(site: Site, days: int, *, all_attributes: bool) -> FramesLoad:
    """Load the days before DAY, the oldest first."""
    lake = Lake(site.lake.uri)
    with open_source(site.server) as source:
        databases = event_frame_databases(site, source)

        def load() -> int:
            return sum(
                load_day(
                    site,
                    source,
                    lake,
                    databases=databases,
                    day=DAY - timedelta(days=days - number),
                    read_all_attributes=all_attributes,
                    run_id="benchmark",
                ).frames
                for number in range(days)
            )

        frames, cost = cost_of(load)
        return FramesLoad(cost, frames, source.traffic.requests, peak_megabytes())
