"""The servers' own ceilings, so that no figure of another benchmark is the server's.

A client that only reads bytes asks for what the pipeline asks for. The simulator makes up its answers; the replay has
them in memory. Where the simulator is not several times as fast as the pipeline, the other benchmarks use the replay.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from http.client import HTTPConnection
from urllib.parse import urlencode, urlsplit

from benchmarks.loads import Load, benchmark_site, read_to_arrow, streams_of
from benchmarks.measuring import cost_of, in_turn, own_process, peak_megabytes
from benchmarks.plants import EVERY_20_SECONDS, MIDNIGHT, TEN_MINUTES_1HZ, WHOLE_DAY_1HZ, generated, plant
from benchmarks.replay import replaying
from benchmarks.results import Figure, Row, Scale, Section, Table, at_least
from pi_dagster.simulator.plant import Mix

CONNECTIONS = 4
ROUNDS = {Scale.SMOKE: 1, Scale.QUICK: 1, Scale.FULL: 3}


@dataclass(frozen=True)
class Kind:
    """A kind of request: tags in all, how often they have a value, the window, and tags a request."""

    name: str
    tags: int
    mix: Mix
    window: timedelta
    together: int


KINDS = (
    Kind("a day of one tag, 86,400 values", 24, WHOLE_DAY_1HZ, timedelta(days=1), 1),
    Kind("10 minutes of 100 tags, 60,000 values", 2_000, TEN_MINUTES_1HZ, timedelta(minutes=10), 100),
    Kind("15 minutes of 100 slow tags, 4,500 values", 5_000, EVERY_20_SECONDS, timedelta(minutes=15), 100),
)


def run(scale: Scale) -> Section:
    """Measure each kind of request on both servers, and the pipeline on the replay."""
    shrink = {Scale.SMOKE: 24, Scale.QUICK: 3, Scale.FULL: 1}[scale]
    kinds = KINDS[:1] if scale is Scale.SMOKE else KINDS
    rows, table_rows, facts = [], [], {}
    for kind in kinds:
        loads = _measure(kind, max(1, kind.tags // shrink), ROUNDS[scale])
        rates = {name: [load.rate for load in rounds] for name, rounds in loads.items()}
        rows.append(
            Row(
                f"{kind.name}: replay / pipeline to Arrow",
                Figure.ratio(rates["replay"], rates["pipeline"]),
                target=at_least(2),
                measured=", ".join(
                    f"{name} {Figure.of(rounds).median / 1e6:.1f} M values/s" for name, rounds in rates.items()
                ),
            )
        )
        rows.append(
            Row(f"{kind.name}: simulator / pipeline to Arrow", Figure.ratio(rates["simulator"], rates["pipeline"]))
        )
        medians = {name: Figure.of(rounds).median for name, rounds in rates.items()}
        table_rows.append([kind.name, *(f"{rate / 1e6:.2f}" for rate in medians.values())])
        facts |= {f"{kind.name}: {name}": rate for name, rate in medians.items()}
    return Section(
        title="The servers' own ceilings",
        rows=rows,
        tables=[Table("M values/s", ["kind of request", "simulator", "replay", "pipeline"], table_rows)],
        notes=[
            f"Bytes only, compressed, {CONNECTIONS} connections, server and client on the same cores; the pipeline "
            "shares them too."
        ],
        facts=facts,
    )


def _measure(kind: Kind, tags: int, rounds: int) -> dict[str, list[Load]]:
    end = MIDNIGHT + kind.window
    with (
        plant(generated(tags, kind.mix), now=end + timedelta(days=1)) as simulator,
        replaying(simulator.url) as replay,
        own_process() as call,
    ):
        site = benchmark_site(replay.url, "unused")
        streams = call(streams_of, site)
        paths = [
            "/streamsets/recorded?"
            + urlencode(
                [
                    *(("webId", stream.web_id) for stream in streams[first : first + kind.together]),
                    ("startTime", f"{MIDNIGHT:%Y-%m-%dT%H:%M:%SZ}"),
                    ("endTime", f"{end:%Y-%m-%dT%H:%M:%SZ}"),
                    ("boundaryType", "Inside"),
                    ("maxCount", "100000"),
                    ("selectedFields", "Items.WebId;Items.Items.Timestamp;Items.Items.Value;Items.Items.Good"),
                ]
            )
            for first in range(0, len(streams), kind.together)
        ]
        pipeline = partial(call, read_to_arrow, site.server, streams, MIDNIGHT, end)
        values = pipeline().rows
        alternatives = {
            "simulator": partial(call, only_bytes, simulator.url, paths, values),
            "replay": partial(call, only_bytes, replay.url, paths, values),
            "pipeline": pipeline,
        }
        alternatives["replay"]()
        return in_turn(alternatives, rounds=rounds)


def only_bytes(url: str, paths: Sequence[str], values: int) -> Load:
    """Read the answers of `paths`, which hold `values` values, and drop them."""
    server = urlsplit(url)

    def read(mine: Sequence[str]) -> int:
        connection = HTTPConnection(server.netloc)
        received = 0
        for path in mine:
            connection.request("GET", server.path + path, headers={"Accept-Encoding": "gzip"})
            response = connection.getresponse()
            if response.status != 200:
                raise RuntimeError(f"{url} answered {response.status}: {response.read()[:200]!r}")
            received += len(response.read())
        return received

    def read_all() -> int:
        with ThreadPoolExecutor(CONNECTIONS) as pool:
            return sum(pool.map(read, [paths[first::CONNECTIONS] for first in range(CONNECTIONS)]))

    received, cost = cost_of(read_all)
    return Load(values, cost, len(paths), received, peak_megabytes())
