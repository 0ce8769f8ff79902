"""Memory: the peak of loading one day at one value a second, for some tags, ten and a hundred times as many.

Each load runs in a process of its own, so that its peak is its own.
"""

from __future__ import annotations

import tempfile
from datetime import timedelta

from benchmarks.loads import Load, benchmark_site, list_tags, load_to_delta
from benchmarks.measuring import own_process
from benchmarks.plants import MIDNIGHT, WHOLE_DAY_1HZ, generated, plant
from benchmarks.results import Figure, Row, Scale, Section, Table, at_most

TAGS = {Scale.SMOKE: (1, 2), Scale.QUICK: (16, 160), Scale.FULL: (24, 240, 2_400)}
"""The first is enough to have as many requests under way as there may be, and as much waiting to be written."""


def run(scale: Scale) -> Section:
    """Load each volume once."""
    loads = {tags: _load(tags) for tags in TAGS[scale]}
    (smallest, *_), (*_, largest) = TAGS[scale], TAGS[scale]
    rows = [
        Row(
            f"peak RSS at {tags // smallest}x / at 1x",
            Figure.of([loads[tags].peak_megabytes / loads[smallest].peak_megabytes]),
            measured=f"{loads[tags].peak_megabytes:.0f} MB, {loads[smallest].peak_megabytes:.0f} MB",
            target=at_most(1.2),
        )
        for tags in TAGS[scale][1:]
    ]
    rows.append(
        Row(
            f"peak RSS at {largest // smallest}x",
            Figure.of([loads[largest].peak_megabytes]),
            unit="MB",
            target=at_most(700),
        )
    )
    return Section(
        title="Memory: a day at one value a second to Delta, default settings",
        rows=rows,
        tables=[
            Table(
                "Each load in a process of its own",
                ["volume", "tags", "rows", "seconds", "M rows/s", "peak MB"],
                [
                    [
                        f"{tags // smallest}x",
                        f"{tags:,}",
                        f"{load.rows:,}",
                        f"{load.cost.seconds:.1f}",
                        f"{load.rate / 1e6:.2f}",
                        f"{load.peak_megabytes:.0f}",
                    ]
                    for tags, load in loads.items()
                ],
            )
        ],
        notes=["Read straight from the simulator, which makes up its answers on the same cores: rates are its too."],
        facts={f"{tags // smallest}x": load.peak_megabytes for tags, load in loads.items()},
    )


def _load(tags: int) -> Load:
    with (
        plant(generated(tags, WHOLE_DAY_1HZ), now=MIDNIGHT + timedelta(days=2)) as simulator,
        tempfile.TemporaryDirectory() as folder,
    ):
        site = benchmark_site(simulator.url, folder)
        # In another process, as a run that loads pi_timeseries does not list tags first.
        with own_process() as call:
            call(list_tags, site)
        with own_process() as call:
            load: Load = call(load_to_delta, site)
            return load
