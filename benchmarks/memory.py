"""Peak memory of loading one day at one value a second, for some tags and for a tenth of them.

    uv run python -m benchmarks.memory [--tags 1000]

Each load runs in a process of its own, so that its peak is its own. The last line is the ratio of the two peaks.
"""

from __future__ import annotations

import argparse
import multiprocessing
import resource
import tempfile
from datetime import date

from pi_dagster.ingest.points import refresh_points
from pi_dagster.ingest.source import open_source
from pi_dagster.ingest.timeseries import load_partition
from pi_dagster.lake import Lake
from pi_dagster.simulator import spawned
from pi_dagster.site import LakeSettings, ServerSettings, Site, TagGroup

DAY = date(2026, 11, 2)


def load(url: str) -> tuple[int, float, float]:
    """Load the day of all tags; returns rows, seconds and this process's peak memory in MB."""
    with tempfile.TemporaryDirectory() as folder:
        site = Site(
            server=ServerSettings(url=url, compress=False),
            lake=LakeSettings(uri=folder),
            start_date=DAY,
            tag_groups=(TagGroup(name="all", tag_filter="*"),),
        )
        lake = Lake(site.lake.uri)
        with open_source(site.server) as source:
            refresh_points(site, source, lake, run_id="benchmark")
            report = load_partition(site, source, lake, day=DAY, tag_group="all", run_id="benchmark")
    return report.rows, report.seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def measure(tags: int) -> float:
    """Print one line for a load of `tags` tags; returns its peak in MB."""
    with spawned(tags=tags, profile="uniform") as simulator, multiprocessing.get_context("spawn").Pool(1) as pool:
        rows, seconds, peak = pool.apply(load, (simulator.url,))
    print(f"{tags:6,} tags  {rows:12,} rows  {seconds:6.1f} s  {rows / seconds:11,.0f} rows/s  peak {peak:5.0f} MB")
    return peak


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tags", type=int, default=1000, help="tags of the larger load")
    most_tags = parser.parse_args().tags
    small, large = measure(most_tags // 10), measure(most_tags)
    print(f"peak of ten times as much: {large / small:.2f} x")
