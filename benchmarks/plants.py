"""Simulated plants to measure with: tags of one kind, and a clock that stands where a benchmark puts it.

A plant is served by a process of its own. Its archive is generated in blocks of the length that a benchmark reads, so
that nothing is generated in vain.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import date, datetime, time, timedelta, timezone
from functools import partial
from multiprocessing.connection import Connection
from typing import Any

import numpy as np

from pi_dagster.simulator import Simulator, SimulatorSettings
from pi_dagster.simulator.af_model import AssetDatabase
from pi_dagster.simulator.af_plant import PlantDatabase
from pi_dagster.simulator.archive import Archive, ArchiveBase, MemoryBase
from pi_dagster.simulator.event_frame_history import FrameHistory
from pi_dagster.simulator.event_frames import EventFrameStore
from pi_dagster.simulator.events import TICKS_PER_SECOND, Events, Ticks, to_ticks
from pi_dagster.simulator.generator import GeneratedBase
from pi_dagster.simulator.plant import UNIFORM_1HZ, Mix, Sampling
from pi_dagster.simulator.points import Point

MakeBase = Callable[..., ArchiveBase]
"""Makes an archive; called in the process that serves it, with the plant's clock as `now`."""

DAY = date(2026, 11, 2)
MIDNIGHT = datetime.combine(DAY, time(), timezone.utc)
LAG = timedelta(seconds=10)
"""A site's default: today is read up to the server's clock minus this."""

# Created the day before, so that `Pt Created` is not among the events of DAY.
_STEADY = replace(UNIFORM_1HZ, start=MIDNIGHT - timedelta(days=1))
WHOLE_DAY_1HZ = _STEADY
"""A value a second, to be read by the day."""
TEN_MINUTES_1HZ = replace(_STEADY, samplings=((Sampling(period=1, block=600), 1.0),))
"""A value a second, to be read ten minutes at a time."""
EVERY_20_SECONDS = replace(_STEADY, samplings=((Sampling(period=20, block=1200), 1.0),))
"""50 events a second of 1,000 tags."""


@dataclass(frozen=True)
class Plant:
    """A plant while it is served."""

    url: str
    _clock: Any

    def set_clock(self, now: datetime) -> None:
        """Let it be `now` at the server."""
        self._clock.value = to_ticks(now)


def generated(tags: int, mix: Mix) -> MakeBase:
    """A generated archive of that many tags."""
    return partial(GeneratedBase, tags=tags, mix=mix)


def mixed(tags: int, duration: timedelta) -> MakeBase:
    """From DAY on: a tenth of the tags at 10 Hz, four tenths with a value a second, the others one in five minutes."""
    return partial(_mixed_base, tags, duration)


def steady(tags: int, period: int) -> MakeBase:
    """An event of each tag every `period` seconds of DAY, held in memory."""
    return partial(_steady_base, tags, period)


@dataclass(frozen=True, kw_only=True)
class AssetModel:
    """The AF side of a plant.

    Args:
        elements: how many, with eight attributes each.
        event_frames: how many, starting evenly over the last `days` before DAY.
        days: of the event frames.
    """

    elements: int
    event_frames: int = 0
    days: int = 1


@contextmanager
def plant(make_base: MakeBase, *, now: datetime, assets: AssetModel | None = None) -> Iterator[Plant]:
    """Serve a plant in a process of its own while the block lasts.

    Args:
        make_base: the plant's archive.
        now: the clock of its server.
        assets: its AF side; without it has none.
    """
    context = multiprocessing.get_context("spawn")
    clock = context.Value("q", to_ticks(now))
    here, there = context.Pipe()
    server = context.Process(target=_serve, args=(there, clock, make_base, assets), daemon=True)
    server.start()
    there.close()
    try:
        yield Plant(here.recv(), clock)
    finally:
        here.close()
        server.join(timeout=10)
        if server.is_alive():
            server.kill()
            server.join()


def _serve(parent: Connection, clock: Any, make_base: MakeBase, assets: AssetModel | None) -> None:
    def now() -> Ticks:
        return int(clock.value)

    archive = Archive(make_base(now=now))
    databases: list[AssetDatabase] = []
    histories = []
    if assets is not None:
        databases = [PlantDatabase(archive, elements=assets.elements, attributes_per_element=8)]
        start = MIDNIGHT - timedelta(days=assets.days)
        histories = [FrameHistory(databases[0], count=assets.event_frames, start=start, end=MIDNIGHT)]
    simulator = Simulator(
        archive=archive,
        settings=SimulatorSettings(now=now),
        assets=databases,
        event_frames=EventFrameStore(databases, histories),
    )
    with simulator.serve() as running:
        parent.send(running.url)
        with suppress(EOFError):
            parent.recv()


def _steady_base(tags: int, period: int, now: Callable[[], Ticks]) -> ArchiveBase:
    random = np.random.default_rng(1)
    instants = to_ticks(MIDNIGHT) + np.arange(0, 86_400, period, dtype=np.int64) * TICKS_PER_SECOND
    points = [Point(id=number, name=f"STD{number:06d}.PV", engineering_units="bar") for number in range(1, tags + 1)]
    return MemoryBase(
        points,
        {point.id: Events.of("Float32", instants, random.standard_normal(len(instants))) for point in points},
    )


def _mixed_base(tags: int, duration: timedelta, now: Callable[[], Ticks]) -> ArchiveBase:
    random = np.random.default_rng(1)
    start, ticks = to_ticks(MIDNIGHT), int(duration.total_seconds() * TICKS_PER_SECOND)
    points, events = [], {}
    for number in range(1, tags + 1):
        step = TICKS_PER_SECOND * (0.1 if number % 10 == 1 else 1 if number % 10 < 6 else 300)
        instants = start + np.arange(0, ticks, int(step), dtype=np.int64)
        points.append(Point(id=number, name=f"MIX{number:05d}.PV", engineering_units="bar"))
        events[number] = Events.of("Float32", instants, random.standard_normal(len(instants)))
    return MemoryBase(points, events)
