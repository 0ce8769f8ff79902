"""Extraction: events to Arrow and to Delta, against a script and a connector that do without this project.

The answers are the simulator's, replayed from memory (see `replay.py`). They come compressed, as by default.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial

from benchmarks import baselines
from benchmarks.bodies import Shape, body_of
from benchmarks.decode import to_arrow
from benchmarks.loads import Load, benchmark_site, list_tags, load_to_delta, read_to_arrow, streams_of
from benchmarks.measuring import Call, cost_of, in_turn, own_process
from benchmarks.plants import LAG, MIDNIGHT, TEN_MINUTES_1HZ, WHOLE_DAY_1HZ, generated, plant
from benchmarks.replay import Replay, replaying
from benchmarks.results import Figure, Row, Scale, Section, Table, at_least
from pi_dagster.piwebapi import StreamRef
from pi_dagster.site import Site

DAY_SECONDS = 86_400
SLICE = timedelta(minutes=10)
SLICE_SECONDS = 600


@dataclass(frozen=True, kw_only=True)
class Size:
    """How much is measured.

    Args:
        rounds: of everything.
        day_tags: tags of which a whole day is read.
        naive_day_tags: as many of them as the script reads.
        slice_tags: tags of which ten minutes are read at 200 ms.
        naive_slice_tags: as many of them as the script reads.
        sweep_tags: tags of the sweep over latencies and requests in flight.
        in_flight: requests in flight of the sweep.
        latencies: of the sweep, milliseconds.
    """

    rounds: int
    day_tags: int
    naive_day_tags: int
    slice_tags: int
    naive_slice_tags: int
    sweep_tags: int
    in_flight: Sequence[int]
    latencies: Sequence[int]


SIZES = {
    Scale.SMOKE: Size(
        rounds=1,
        day_tags=2,
        naive_day_tags=1,
        slice_tags=20,
        naive_slice_tags=1,
        sweep_tags=20,
        in_flight=(8,),
        latencies=(0,),
    ),
    Scale.QUICK: Size(
        rounds=2,
        day_tags=8,
        naive_day_tags=2,
        slice_tags=1_000,
        naive_slice_tags=4,
        sweep_tags=200,
        in_flight=(1, 8),
        latencies=(0, 200),
    ),
    Scale.FULL: Size(
        rounds=3,
        day_tags=48,
        naive_day_tags=8,
        slice_tags=1_000,
        naive_slice_tags=20,
        sweep_tags=2_000,
        in_flight=(1, 2, 4, 8, 16, 32),
        latencies=(0, 20, 200),
    ),
}


def run(scale: Scale) -> Section:
    """Measure long bodies without latency, short windows with it, and the sweep."""
    size = SIZES[scale]
    with own_process() as ours, own_process(with_pandas=True) as theirs:
        day = _whole_days(size, ours, theirs)
        ten_minutes = _ten_minutes(size, ours, theirs)
        sweep = _sweep(size, ours)
    return Section(
        title="Extraction: PI Web API to Arrow and to Delta",
        rows=[*day.rows, *ten_minutes.rows, *sweep.rows],
        tables=sweep.tables,
        notes=[*day.notes, *ten_minutes.notes, *sweep.notes],
        facts=day.facts | ten_minutes.facts | sweep.facts,
    )


def _whole_days(size: Size, ours: Call, theirs: Call) -> Section:
    """A day at one value a second: bodies as long as they get, no latency."""
    end = MIDNIGHT + timedelta(days=1)
    with (
        plant(generated(size.day_tags, WHOLE_DAY_1HZ), now=end + timedelta(days=1)) as simulator,
        replaying(simulator.url) as replay,
        tempfile.TemporaryDirectory() as folder,
    ):
        site = benchmark_site(replay.url, folder)
        plain = benchmark_site(replay.url, folder, server={"compress": False})
        ours(list_tags, site)
        web_ids = [stream.web_id for stream in ours(streams_of, site)]
        results = _measured(
            {
                "to Delta": partial(ours, load_to_delta, site),
                "to Delta, uncompressed answers": partial(ours, load_to_delta, plain),
                "decode alone": partial(ours, decode_again_and_again, size.day_tags),
                "naive": partial(theirs, baselines.naive, replay.url, web_ids[: size.naive_day_tags], MIDNIGHT, end),
                "batch": partial(theirs, baselines.batch, replay.url, web_ids, MIDNIGHT, end),
            },
            replay,
            rounds=size.rounds,
        )
    rate = {name: [load.rate for load in loads] for name, loads in results.items()}
    delta = results["to Delta"][-1]
    what = f"{size.day_tags} tags x 1 day at 1 s, bodies of {DAY_SECONDS:,} values, 0 ms"
    return Section(
        title="",
        rows=[
            Row(
                f"{what}: to Delta / naive",
                Figure.ratio(rate["to Delta"], rate["naive"]),
                measured=_rates(rate, "to Delta", "naive"),
                target=at_least(4.5),
            ),
            Row(
                f"{what}: to Delta / batch",
                Figure.ratio(rate["to Delta"], rate["batch"]),
                measured=_rates(rate, "to Delta", "batch"),
            ),
            Row(
                f"{what}: to Delta / decode alone, one core",
                Figure.ratio(rate["to Delta"], rate["decode alone"]),
                measured=_rates(rate, "to Delta", "decode alone"),
                target=at_least(0.5),
            ),
            Row(
                f"{what}: compressed / uncompressed answers",
                Figure.ratio(rate["to Delta"], rate["to Delta, uncompressed answers"]),
                measured=_rates(rate, "to Delta", "to Delta, uncompressed answers"),
                target=at_least(0.8),
            ),
        ],
        notes=[f"The script reads {size.naive_day_tags} of the {size.day_tags} days; its rate is of those."],
        facts={
            "day: rows": delta.rows,
            "day: requests": delta.requests,
            "day: bytes a row on the wire": delta.bytes_received / delta.rows,
            "day: CPU seconds a row": Figure.of(
                [load.cost.cpu_seconds / load.rows for load in results["to Delta"]]
            ).median,
            **{f"day: {name}, rows/s": Figure.of(rates).median for name, rates in rate.items()},
        },
    )


def _ten_minutes(size: Size, ours: Call, theirs: Call) -> Section:
    """Ten minutes of today at one value a second, 200 ms a request."""
    end = MIDNIGHT + SLICE
    with (
        plant(generated(size.slice_tags, TEN_MINUTES_1HZ), now=end + LAG) as simulator,
        replaying(simulator.url) as replay,
        tempfile.TemporaryDirectory() as folder,
    ):
        site = benchmark_site(replay.url, folder)
        ours(list_tags, site)
        web_ids = [stream.web_id for stream in ours(streams_of, site)]
        results = _measured(
            {
                "to Delta": partial(ours, load_to_delta, site),
                "naive": partial(theirs, baselines.naive, replay.url, web_ids[: size.naive_slice_tags], MIDNIGHT, end),
                "batch": partial(theirs, baselines.batch, replay.url, web_ids, MIDNIGHT, end),
            },
            replay,
            rounds=size.rounds,
            latency_ms=200,
        )
    scaled = size.slice_tags / size.naive_slice_tags
    seconds = {name: [load.cost.seconds for load in loads] for name, loads in results.items()}
    seconds["naive"] = [scaled * value for value in seconds["naive"]]
    what = f"{size.slice_tags:,} tags x {SLICE_SECONDS} values, 200 ms"
    delta = results["to Delta"][-1]

    def measured(*names: str) -> str:
        return ", ".join(f"{name} {Figure.of(seconds[name]).median:,.2f} s" for name in names)

    return Section(
        title="",
        rows=[
            Row(
                f"{what}: naive / to Delta",
                Figure.ratio(seconds["naive"], seconds["to Delta"]),
                measured=measured("to Delta", "naive"),
                target=at_least(100),
            ),
            Row(
                f"{what}: batch / to Delta",
                Figure.ratio(seconds["batch"], seconds["to Delta"]),
                measured=measured("to Delta", "batch") + f"; {delta.requests} requests",
                target=at_least(10),
            ),
        ],
        notes=[
            f"At 200 ms the script was measured on {size.naive_slice_tags} tags and scaled to {size.slice_tags:,} "
            "tag by tag."
        ],
        facts={f"slice: {name}, s": Figure.of(values).median for name, values in seconds.items()},
    )


def _sweep(size: Size, ours: Call) -> Section:
    """How latency, kind of request and requests in flight work together."""
    end = MIDNIGHT + SLICE
    with (
        plant(generated(size.sweep_tags, TEN_MINUTES_1HZ), now=end + LAG) as simulator,
        replaying(simulator.url) as replay,
        tempfile.TemporaryDirectory() as folder,
    ):
        site = benchmark_site(replay.url, folder)
        ours(list_tags, site)
        streams = ours(streams_of, site)
        cases: dict[tuple[str, int, int], Callable[[], Load]] = {}
        for mode in ("streamset", "batch"):
            for latency in size.latencies:
                for in_flight in size.in_flight:
                    cases[mode, latency, in_flight] = partial(
                        _sweep_case, ours, replay, site, streams, end, mode, latency, in_flight
                    )
        for mode in ("streamset", "batch"):
            cases[mode, 0, size.in_flight[-1]]()
        misses = replay.misses
        names = {" ".join(map(str, case)): work for case, work in cases.items()}
        loads = in_turn(names, rounds=size.rounds)
        missed = replay.misses - misses
    rates = {case: Figure.of([load.rate for load in loads[" ".join(map(str, case))]]).median for case in cases}
    rows_read = loads[next(iter(loads))][-1].rows

    def best(latency: int) -> tuple[float, int]:
        return max((rates["streamset", latency, number], number) for number in size.in_flight)

    top, slow = size.latencies[0], size.latencies[-1]
    return Section(
        title="",
        rows=[
            Row(
                f"{rows_read:,} values to Arrow: rate at {slow} ms / rate at {top} ms, best of the requests in flight",
                Figure.of([best(slow)[0] / best(top)[0]]),
                measured=", ".join(
                    f"{latency} ms: {rate / 1e6:.2f} M values/s with {number} in flight"
                    for latency in size.latencies
                    for rate, number in [best(latency)]
                ),
            )
        ],
        tables=[
            Table(
                f"{size.sweep_tags:,} tags x {SLICE_SECONDS} values to Arrow, M values/s, by requests in flight",
                ["latency", "request", *(str(number) for number in size.in_flight)],
                [
                    [f"{latency} ms", mode, *(f"{rates[mode, latency, n] / 1e6:.2f}" for n in size.in_flight)]
                    for latency in size.latencies
                    for mode in ("streamset", "batch")
                ],
            )
        ],
        notes=[f"{missed} answers were not in the replay's memory."] if missed else [],
        facts={f"sweep: {mode}, {ms} ms, {n} in flight": rate for (mode, ms, n), rate in rates.items()},
    )


def _sweep_case(
    ours: Call,
    replay: Replay,
    site: Site,
    streams: Sequence[StreamRef],
    end: datetime,
    mode: str,
    latency: int,
    in_flight: int,
) -> Load:
    # Requests of 25 tags, so that there are enough of them for 32 in flight.
    changed = {"read_mode": mode, "max_requests_in_flight": in_flight, "batch_size": 25}
    replay.set_latency(latency)
    load: Load = ours(read_to_arrow, site.server.model_copy(update=changed), streams, MIDNIGHT, end)
    return load


def _measured(
    alternatives: dict[str, Callable[[], Load]], replay: Replay, *, rounds: int, latency_ms: float = 0
) -> dict[str, list[Load]]:
    """The rounds, after one that is not counted and fills the replay's memory."""
    in_turn(alternatives, rounds=1)
    misses = replay.misses
    replay.set_latency(latency_ms)
    results = in_turn(alternatives, rounds=rounds)
    if replay.misses > misses:
        raise RuntimeError("the rounds asked for other things than the first one: the simulator was measured too")
    return results


def decode_again_and_again(bodies: int) -> Load:
    """Decode a body as long as a tag's day, as often as there are tags."""
    body = body_of(Shape(name="", streams=1, values=DAY_SECONDS))
    rows, cost = cost_of(lambda: sum(to_arrow(body).num_rows for _ in range(bodies)))
    return Load(rows, cost, 0, 0, 0)


def _rates(rates: dict[str, list[float]], *names: str) -> str:
    return ", ".join(f"{name} {Figure.of(rates[name]).median / 1e6:.2f} M rows/s" for name in names)
