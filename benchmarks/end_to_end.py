"""End to end: ten minutes of 30,000 tags at one value a second through the real assets, 200 ms a request.

One run of Dagster in one process, on a real instance, against what the same pipeline does without Dagster, borders and
latency: its own steady rate.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from pathlib import Path

from benchmarks.dagster_runs import Dagster, Run
from benchmarks.loads import Load, benchmark_site, list_tags, load_to_delta
from benchmarks.measuring import Call, in_turn, own_process, peak_megabytes
from benchmarks.plants import DAY, LAG, MIDNIGHT, TEN_MINUTES_1HZ, generated, plant
from benchmarks.replay import Replay, replaying
from benchmarks.results import Figure, Row, Scale, Section, Table, at_least, at_most
from pi_dagster.automation.partitions import partition_key
from pi_dagster.site import Site

LATENCY_MS = 200
SHARDS = {Scale.SMOKE: 2, Scale.QUICK: 16, Scale.FULL: 16}
TAGS = {Scale.SMOKE: 40, Scale.QUICK: 2_000, Scale.FULL: 30_000}
ROUNDS = {Scale.SMOKE: 1, Scale.QUICK: 1, Scale.FULL: 3}


def run(scale: Scale) -> Section:
    """Measure assets and pipeline in turn."""
    tags, window = TAGS[scale], timedelta(minutes=10)
    with (
        plant(generated(tags, TEN_MINUTES_1HZ), now=MIDNIGHT + window + LAG) as simulator,
        replaying(simulator.url) as replay,
        tempfile.TemporaryDirectory() as folder,
        own_process() as plain,
    ):
        site = benchmark_site(replay.url, f"{folder}/lake", shards=SHARDS[scale])
        plain(list_tags, site)
        steady = partial(_with_latency, replay, 0, plain, load_to_delta, site, tag_groups=site.partition_names())
        steady()
        misses = replay.misses
        results = in_turn(
            {"assets": partial(_assets_in_own_process, replay, site), "steady": steady}, rounds=ROUNDS[scale]
        )
        missed = replay.misses - misses
    points: list[Run] = [points for points, _, _ in results["assets"]]
    timeseries: list[Run] = [timeseries for _, timeseries, _ in results["assets"]]
    loads: list[Load] = results["steady"]
    rates = [done.rows / done.seconds for done in timeseries]
    steady_rate = Figure.of([load.rate for load in loads])
    peak = Figure.of([megabytes for _, _, megabytes in results["assets"]])
    what = f"{tags:,} tags x 10 min at 1 s, {timeseries[0].rows:,} events, {LATENCY_MS} ms"
    seconds = Figure.of([done.seconds for done in timeseries])
    return Section(
        title="End to end: the real assets in one process",
        rows=[
            Row(
                f"{what}: rate of the run / the pipeline's steady rate at 0 ms without Dagster",
                Figure.ratio(rates, [load.rate for load in loads]),
                measured=f"run of {SHARDS[scale]} partitions {seconds.median:.1f} s, "
                f"{Figure.of(rates).median / 1e6:.2f} M rows/s; steady {steady_rate.median / 1e6:.2f} M rows/s",
                # Of less, the start of the run is too large a part.
                target=at_least(0.6) if scale is Scale.FULL else None,
            ),
            Row(f"{what}: peak RSS with Dagster", peak, unit="MB", target=at_most(700)),
        ],
        tables=[
            Table(
                "Wall time, s",
                ["", "median", "fastest", "slowest"],
                [
                    [name, f"{figure.median:.1f}", f"{figure.low:.1f}", f"{figure.high:.1f}"]
                    for name, figure in (
                        ("pi_points", Figure.of([done.seconds for done in points])),
                        ("pi_timeseries", seconds),
                        ("the pipeline alone, 0 ms", Figure.of([load.cost.seconds for load in loads])),
                    )
                ],
            )
        ],
        notes=[f"{missed} answers were not in the replay's memory."] if missed else [],
        facts={
            "seconds": seconds.median,
            "seconds an event": Figure.of(
                [done.seconds_a_partition * len(done.committed) / done.rows for done in timeseries]
            ).median,
            "rows": timeseries[0].rows,
            "CPU seconds a row": Figure.of([done.cpu_seconds / done.rows for done in timeseries]).median,
            "requests": loads[0].requests,
            "bytes a row on the wire": loads[0].bytes_received / loads[0].rows,
        },
    )


def _with_latency(replay: Replay, milliseconds: float, call: Call, work: Callable[..., Load], *args, **kwargs) -> Load:
    replay.set_latency(milliseconds)
    load: Load = call(work, *args, **kwargs)
    return load


def _assets_in_own_process(replay: Replay, site: Site) -> tuple[Run, Run, float]:
    replay.set_latency(LATENCY_MS)
    with own_process() as call:
        result: tuple[Run, Run, float] = call(materialize_all, site)
        return result


def materialize_all(site: Site) -> tuple[Run, Run, float]:
    """Materialize pi_points and the day's partitions of pi_timeseries into a new lake; also the peak in MB."""
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder) / "home"
        home.mkdir()
        lake = site.lake.model_copy(update={"uri": f"{folder}/lake"})
        dagster = Dagster(site.model_copy(update={"lake": lake}), home)
        points = dagster.run_points()
        timeseries = dagster.run_timeseries([str(partition_key(DAY, group)) for group in site.partition_names()])
        return points, timeseries, peak_megabytes()
