"""Simulated plants to measure with: tags of one kind, and a clock that stands where a benchmark puts it.

A plant is served by a process of its own. Its archive is generated in blocks of the length that a benchmark reads, so
that nothing is generated in vain.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import date, datetime, time, timedelta, timezone
from multiprocessing.connection import Connection
from typing import Any

from pi_dagster.simulator import Simulator, SimulatorSettings
from pi_dagster.simulator.archive import Archive, Ticks, to_ticks
from pi_dagster.simulator.generator import GeneratedBase
from pi_dagster.simulator.plant import UNIFORM_1HZ, Mix, Sampling

DAY = date(2026, 11, 2)
MIDNIGHT = datetime.combine(DAY, time(), timezone.utc)

# Created the day before, so that `Pt Created` is not among the events of DAY.
_STEADY = replace(UNIFORM_1HZ, start=MIDNIGHT - timedelta(days=1))
WHOLE_DAY_1HZ = _STEADY
"""A value a second, to be read by the day."""
TEN_MINUTES_1HZ = replace(_STEADY, samplings=((Sampling(period=1, block=600), 1.0),))
"""A value a second, to be read ten minutes at a time."""
EVERY_20_SECONDS = replace(_STEADY, samplings=((Sampling(period=20, block=1200), 1.0),))
"""50 events a second for 1,000 tags."""
SILENT_YEAR = replace(_STEADY, start=datetime(2026, 1, 1, tzinfo=timezone.utc))
"""Tags without an event before 2026, for what an empty partition costs."""


@dataclass(frozen=True)
class Plant:
    """A plant while it is served."""

    url: str
    _clock: Any

    def set_clock(self, now: datetime) -> None:
        """Let it be `now` at the server."""
        self._clock.value = to_ticks(now)


@contextmanager
def plant(*, tags: int, mix: Mix, now: datetime) -> Iterator[Plant]:
    """Serve a plant in a process of its own while the block lasts."""
    context = multiprocessing.get_context("spawn")
    clock = context.Value("q", to_ticks(now))
    here, there = context.Pipe()
    server = context.Process(target=_serve, args=(there, clock, tags, mix), daemon=True)
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


def _serve(parent: Connection, clock: Any, tags: int, mix: Mix) -> None:
    def now() -> Ticks:
        return int(clock.value)

    base = GeneratedBase(tags=tags, mix=mix, now=now)
    with Simulator(archive=Archive(base), settings=SimulatorSettings(now=now)).serve() as running:
        parent.send(running.url)
        try:
            parent.recv()
        except EOFError:
            pass
