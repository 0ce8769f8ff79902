"""Quality rules: what judging a day costs beside loading it, and whether planted faults are found and nothing else."""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from functools import partial
from typing import Any

from benchmarks.loads import ALL, benchmark_site, list_tags
from benchmarks.measuring import cost_of, own_process
from benchmarks.planted_faults import FAULTS_A_TAG, GROUP, RULES, Place, plant_faults
from benchmarks.plants import DAY, MIDNIGHT, WHOLE_DAY_1HZ, generated, plant
from benchmarks.replay import replaying
from benchmarks.results import Figure, Row, Scale, Section, Table, at_least, at_most
from pi_dagster.ingest.source import open_source
from pi_dagster.ingest.timeseries import partitions_in_turn
from pi_dagster.lake import Lake
from pi_dagster.quality.partition import judge_partition
from pi_dagster.quality.rule_tags import RuleTags
from pi_dagster.site import Site

LOADED_TAGS = {Scale.SMOKE: 1, Scale.QUICK: 20, Scale.FULL: 58}
LATENCIES_MS = (0, 200)
"""Of the server: none, as if all that it sends were in its memory and beside us, and a slow wire."""

ROUNDS = {Scale.SMOKE: 1, Scale.QUICK: 2, Scale.FULL: 3}
TAGS_A_KIND = {Scale.SMOKE: 2, Scale.QUICK: 50, Scale.FULL: 50}
VALUES = {Scale.SMOKE: 5_000, Scale.QUICK: 10_000, Scale.FULL: 10_000}
_NEAR = timedelta(minutes=1)

ALL_KINDS: Sequence[dict[str, Any]] = (
    {"name": "range", "kind": "range", "low": -1e9, "high": 1e9},
    {"name": "range_of_point", "kind": "range"},
    {"name": "rate_of_change", "kind": "rate_of_change", "most_per_minute": 1e9},
    {"name": "stuck", "kind": "stuck", "longest_minutes": 60},
    {"name": "gap", "kind": "gap", "longest_minutes": 60},
    {"name": "spike", "kind": "spike", "threshold": 20},
    {"name": "states", "kind": "states", "allowed": ["RUNNING"]},
    {"name": "counter", "kind": "counter", "tags": ["*0"]},
    {"name": "units", "kind": "units"},
)
"""Every kind that looks at one tag, about all tags."""


@dataclass(frozen=True)
class _Search:
    """What the rules found of what was planted."""

    planted: Counter[str]
    found: Counter[str]
    false: Counter[str]
    rows: int
    seconds: float


def run(scale: Scale) -> Section:
    """Measure both."""
    end = MIDNIGHT + timedelta(days=1)
    with (
        plant(generated(LOADED_TAGS[scale], WHOLE_DAY_1HZ), now=end + timedelta(days=1)) as simulator,
        replaying(simulator.url) as replay,
        own_process() as call,
    ):
        site = benchmark_site(replay.url, "unused", quality_rules=ALL_KINDS)
        # The first fills the server's memory.
        call(load_and_judge, site)
        rounds: dict[int, list[tuple[float, float, int]]] = {latency: [] for latency in LATENCIES_MS}
        for _ in range(ROUNDS[scale]):
            for latency, of_latency in rounds.items():
                replay.set_latency(latency)
                of_latency.append(call(load_and_judge, site))
        search: _Search = call(search_planted, TAGS_A_KIND[scale], VALUES[scale])
    ratios = {
        latency: Figure.ratio([judging for _, judging, _ in of_latency], [loading for loading, _, _ in of_latency])
        for latency, of_latency in rounds.items()
    }
    planted, found = sum(search.planted.values()), sum(search.found.values())
    return Section(
        title="Quality rules",
        rows=[
            *(
                Row(
                    f"judging {rounds[latency][0][2]:,} rows by {len(ALL_KINDS)} rules / loading them, {latency} ms",
                    ratio,
                    measured=(
                        f"judging {Figure.of([judging for _, judging, _ in rounds[latency]]).median:.2f} s, "
                        f"loading {Figure.of([loading for loading, _, _ in rounds[latency]]).median:.2f} s"
                    ),
                    target=at_most(0.2),
                )
                for latency, ratio in ratios.items()
            ),
            Row(
                f"planted faults of {len(RULES)} kinds in {search.rows:,} rows: found / planted",
                Figure.of([found / planted]),
                measured=f"{found:,} of {planted:,}, and {sum(search.false.values())} false findings",
                target=at_least(1.0),
            ),
        ],
        tables=[
            Table(
                "Planted faults",
                ["rule", "planted", "found", "false findings"],
                [
                    [rule, f"{count}", f"{search.found[rule]}", f"{search.false[rule]}"]
                    for rule, count in search.planted.items()
                ],
            )
        ],
        facts={
            **{f"judging / loading, {latency} ms": ratio.median for latency, ratio in ratios.items()},
            "false findings": sum(search.false.values()),
        },
    )


def load_and_judge(site: Site) -> tuple[float, float, int]:
    """Seconds to load a day into an empty lake, seconds to judge it, and its rows."""
    with tempfile.TemporaryDirectory() as folder:
        site = site.model_copy(update={"lake": site.lake.model_copy(update={"uri": folder})})
        list_tags(site)
        lake = Lake(folder)
        with open_source(site.server) as source:
            loads = partitions_in_turn(site, source, lake, [(DAY, ALL)], run_id="benchmark")
            rows, loading = cost_of(lambda: sum(load.run().rows for load in loads))
        judge = partial(judge_partition, site, lake, RuleTags(site, lake), DAY, ALL, run_id="benchmark")
        _, judging = cost_of(judge)
    return loading.seconds, judging.seconds, rows


def search_planted(tags_a_kind: int, values: int) -> _Search:
    """Plant faults, judge, and compare."""
    with tempfile.TemporaryDirectory() as folder:
        places = plant_faults(folder, tags_a_kind=tags_a_kind, values=values)
        site = benchmark_site("http://localhost/piwebapi", folder, quality_rules=RULES)
        lake = Lake(folder)
        judged, cost = cost_of(lambda: judge_partition(site, lake, RuleTags(site, lake), DAY, GROUP, run_id="x"))
    if judged is None or len(places) != len(RULES) * tags_a_kind * FAULTS_A_TAG:
        raise RuntimeError("the faults were not planted as they should be")
    left = set(places)
    found: Counter[str] = Counter()
    false: Counter[str] = Counter()
    for row in judged.findings.to_pylist():
        hit = _planted_here(left, row["rule"], row["tag_name"], row["finding_start"], row["finding_end"])
        left.discard(hit) if hit else false.update([row["rule"]])
        found.update([row["rule"]] if hit else [])
    planted = Counter(rule for rule, _, _ in places)
    return _Search(planted, found, false, judged.rows, cost.seconds)


def _planted_here(places: set[Place], rule: str, tag: str, start: datetime, end: datetime) -> Place | None:
    """A planted fault of that rule and tag that a finding reaches, or begins just after."""
    epoch = datetime(1970, 1, 1, tzinfo=timezone.utc)
    for place in places:
        if place[:2] == (rule, tag):
            at = epoch + timedelta(microseconds=place[2])
            if start - _NEAR <= at <= end + _NEAR:
                return place
    return None
