"""Reconcile: how many planted differences between archive and table are found, and what that asks of the server.

A plant is loaded, and then changed at the server as real ones are: events come late, are written at the instant of
others, or are deleted. What keeps the number of events, such as an edit, is not to be found: counts cannot see it.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import date, datetime, time, timedelta, timezone

import numpy as np

from benchmarks.loads import benchmark_site, list_tags
from benchmarks.measuring import Cost, cost_of
from benchmarks.plants import DAY
from benchmarks.results import Figure, Row, Scale, Section, Table, at_least, at_most
from pi_dagster.ingest.load_plans import Partition
from pi_dagster.ingest.reconcile import Comparison, Reconciler
from pi_dagster.ingest.source import open_source
from pi_dagster.ingest.timeseries import partitions_in_turn
from pi_dagster.lake import Lake
from pi_dagster.simulator import Simulator, SimulatorSettings
from pi_dagster.simulator.archive import Archive
from pi_dagster.simulator.events import TICKS_PER_SECOND, Events, Ticks, to_ticks
from pi_dagster.simulator.generator import GeneratedBase
from pi_dagster.simulator.plant import Mix, Sampling
from pi_dagster.simulator.points import Point
from pi_dagster.site import Site
from pi_dagster.webid import point_webid

REQUESTS_AT_ONCE = 100
TICKS_A_DAY = 86_400 * TICKS_PER_SECOND
_SHUTDOWN = 254
_SAMPLINGS = (
    (Sampling(period=600, block=86_400), 0.80),
    (Sampling(period=1800, block=86_400), 0.17),
    (Sampling(period=60, block=86_400), 0.03),
)
"""A value in ten minutes of most tags, so that 30 days of 2,000 tags are loaded in minutes."""

TagDay = tuple[date, str]


@dataclass(frozen=True, kw_only=True)
class Size:
    """How much is compared, and how many of its tag-days differ."""

    tags: int
    days: int
    planted: int
    shards: int = 4


SIZES = {
    Scale.SMOKE: Size(tags=30, days=3, planted=12, shards=2),
    Scale.QUICK: Size(tags=400, days=10, planted=200),
    Scale.FULL: Size(tags=2_000, days=30, planted=1_000),
}


@dataclass(frozen=True)
class Outcome:
    """What was planted and what was found, before and after the partitions with differences were loaded again."""

    planted: frozenset[TagDay]
    found: frozenset[TagDay]
    comparisons: Sequence[Comparison]
    cost: Cost
    partitions: frozenset[Partition]
    found_after_reload: frozenset[TagDay]

    @property
    def events(self) -> int:
        """Events that the server counted."""
        return sum(comparison.events for comparison in self.comparisons)

    @property
    def requests(self) -> int:
        """All requests of the comparison, those that read suspected tags included."""
        return sum(comparison.requests for comparison in self.comparisons)


def run(scale: Scale) -> Section:
    """Plant differences, and find them."""
    size = SIZES[scale]
    with (
        tempfile.TemporaryDirectory() as folder,
        loaded_plant(folder, size) as (site, archive),
    ):
        counting = compare(site, size)
        planted = plant_differences(archive, size)
        outcome = find(site, size, planted)
    tag_days = sum(comparison.tag_days for comparison in counting[0])
    only_counting = sum(comparison.requests for comparison in counting[0])
    millions = outcome.events / 1e6
    return Section(
        title=f"Reconcile: {size.planted:,} differences planted in {size.tags:,} tags and {size.days} days",
        rows=[
            Row(
                "planted differences that were found",
                Figure.of([len(outcome.found & outcome.planted) / len(outcome.planted)]),
                measured=f"{len(outcome.found & outcome.planted):,} of {len(outcome.planted):,}",
                target=at_least(1),
            ),
            Row(
                "differences that were found and not planted",
                Figure.of([len(outcome.found - outcome.planted)]),
                unit="",
                measured=f"{len(outcome.found - outcome.planted):,} of {tag_days:,} tag-days",
                target=at_most(0),
            ),
            Row(
                "differences left when their partitions were loaded again",
                Figure.of([len(outcome.found_after_reload)]),
                unit="",
                measured=f"{len(outcome.partitions):,} partitions",
                target=at_most(0),
            ),
            Row(
                "requests to count a million events",
                Figure.of([only_counting / millions]),
                unit="",
                measured=f"{only_counting:,} requests, {outcome.events:,} events",
            ),
        ],
        tables=[
            Table(
                "All tags and days",
                ["", "tag-days", "suspected", "read", "requests", "requests a million events", "s", "CPU s"],
                [
                    _cells("nothing differs", *counting),
                    _cells(f"{len(outcome.planted):,} differ", outcome.comparisons, outcome.cost),
                ],
            )
        ],
        notes=[
            "A count that differs is looked at event by event, so a difference costs requests of its own.",
            "Seconds and CPU are of one process that holds the simulator too.",
        ],
        facts={"requests a million events": only_counting / millions, "planted": len(outcome.planted)},
    )


@contextmanager
def loaded_plant(folder: str, size: Size, **settings: object) -> Iterator[tuple[Site, Archive]]:
    """A plant that is served, and was loaded; every day is settled.

    Args:
        folder: the lake.
        size: tags, days and shards.
        settings: of the simulator.
    """
    midnight = datetime.combine(DAY, time(), timezone.utc)
    mix = replace(Mix(), samplings=_SAMPLINGS, start=midnight - timedelta(days=size.days))

    def now() -> Ticks:
        return to_ticks(midnight + timedelta(hours=6))

    archive = Archive(GeneratedBase(tags=size.tags, mix=mix, now=now))
    simulator = Simulator(archive=archive, settings=SimulatorSettings(now=now, rate_limit_requests=None, **settings))  # type: ignore[arg-type]
    with simulator.serve() as running:
        site = benchmark_site(running.url, folder, shards=size.shards, start_date=_days(size)[0])
        list_tags(site)
        load(site, [(day, group) for day in _days(size) for group in site.partition_names()])
        yield site, archive


def load(site: Site, partitions: Sequence[Partition]) -> None:
    """Load whole days."""
    with open_source(site.server) as source:
        for one in partitions_in_turn(site, source, Lake(site.lake.uri), partitions, run_id="benchmark"):
            one.run()


def plant_differences(archive: Archive, size: Size, seed: int = 1) -> frozenset[TagDay]:
    """Change what the server holds of some tag-days, and keep the number of events of as many others."""
    random = np.random.default_rng(seed)
    points = [point for point in archive.points() if not point.future]
    tag_days = [(day, point) for day in _days(size) for point in points]
    chosen = [tag_days[number] for number in random.permutation(len(tag_days))[: 2 * size.planted]]
    planted: set[TagDay] = set()
    for number, (day, point) in enumerate(chosen):
        start = to_ticks(datetime.combine(day, time(), timezone.utc))
        present = archive.events(point, start, start + TICKS_A_DAY - 1)
        within = start + int(random.integers(1, TICKS_A_DAY - 1))
        if number >= size.planted:
            # An edit, or nothing where there is nothing to edit.
            archive.replace(point, present[:1])
            continue
        instants = (start, start + TICKS_A_DAY - 1, within, within, within)
        kind = number % 8
        if kind >= 5 and len(present):
            which = slice(None) if kind == 5 else slice(*[int(random.integers(len(present)))] * 2)
            archive.remove(point, present[which] if kind == 5 else present[which.start : which.start + 1])
        elif kind == 4 and len(present):
            archive.insert(point, present[-1:])
        else:
            archive.insert(point, _event(archive, point, instants[kind % 5], is_bad=kind == 3))
        web_id = point_webid(archive.server_id, point.id, archive.server_name, point.name).identity
        planted.add((day, web_id))
    return frozenset(planted)


def _event(archive: Archive, point: Point, instant: Ticks, *, is_bad: bool) -> Events:
    """A late event of any type of point; numbers are good values unless `is_bad`, other types a system state."""
    is_state = is_bad or point.point_type in ("Digital", "String", "Timestamp", "Blob")
    states = archive.events(point, instant, instant).digital_states
    return Events.of(
        point.point_type,
        [instant],
        [None if is_state else 1],
        states=[_SHUTDOWN] if is_state else None,
        digital_states=states,
    )


def compare(site: Site, size: Size) -> tuple[Sequence[Comparison], Cost]:
    """Compare all days of all groups."""

    def work() -> list[Comparison]:
        with open_source(site.server) as source:
            reconciler = Reconciler(site, source, Lake(site.lake.uri))
            return [
                comparison
                for group in site.partition_names()
                for comparison in reconciler.compare(group, _days(size), requests=REQUESTS_AT_ONCE)
            ]

    return cost_of(work)


def find(site: Site, size: Size, planted: frozenset[TagDay]) -> Outcome:
    """Compare, load the partitions with differences again, and compare once more."""
    comparisons, cost = compare(site, size)
    differences = [difference for comparison in comparisons for difference in comparison.differences]
    partitions = frozenset(partition for difference in differences for partition in difference.partitions)
    load(site, sorted(partitions))
    return Outcome(
        planted=planted,
        found=frozenset((difference.day, difference.tag_webid) for difference in differences),
        comparisons=comparisons,
        cost=cost,
        partitions=partitions,
        found_after_reload=frozenset(
            (difference.day, difference.tag_webid)
            for comparison in compare(site, size)[0]
            for difference in comparison.differences
        ),
    )


def _days(size: Size) -> Sequence[date]:
    return [DAY - timedelta(days=back) for back in range(size.days, 0, -1)]


def _cells(what: str, comparisons: Sequence[Comparison], cost: Cost) -> list[str]:
    requests, events = sum(one.requests for one in comparisons), sum(one.events for one in comparisons)
    return [
        what,
        f"{sum(one.tag_days for one in comparisons):,}",
        f"{sum(one.suspects for one in comparisons):,}",
        f"{sum(one.read for one in comparisons):,}",
        f"{requests:,}",
        f"{requests / events * 1e6:.1f}",
        f"{cost.seconds:.1f}",
        f"{cost.cpu_seconds:.1f}",
    ]
