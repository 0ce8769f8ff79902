"""The plant of the chaos test: tags of all kinds, a clock set by hand, and changes behind the client's back."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import Any
from uuid import UUID

import numpy as np
import pyarrow as pa

from pi_dagster.simulator import RunningSimulator, Simulator, SimulatorSettings
from pi_dagster.simulator.archive import Archive, MemoryBase, UpdateOption
from pi_dagster.simulator.events import Events, to_ticks
from pi_dagster.simulator.points import DigitalSet, Point, PointType
from pi_dagster.webid import point_webid
from pi_dagster_tests.archive_truth import truth

GROUPS = ("boilers", "pumps", "tanks")
KINDS: tuple[PointType, ...] = ("Float64", "Int32", "String", "Digital")
TAGS = [f"{group.upper()}.{kind}" for group in GROUPS for kind in KINDS]
VALVE = DigitalSet(UUID(int=1), "VALVE", ("Closed", "Moving", "Open"))
MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)

SETTLE_HOURS = 2
"""The site's: a day is changed until so long after its end, as later changes are for others to find than the settle."""

DAYS_BEFORE = 4
"""Closed days that the schedule finds when it begins."""

LATENCY_SECONDS = 0.03
"""Of an answer, so that reading takes a part of a run's life that can be hit."""


@dataclass(frozen=True)
class Change:
    """One change of the archive behind the client's back, at a place of the time that is not settled yet.

    Or with `very late` at a place of the days that are: those changes only counting can find, so they only add events.
    """

    kind: str
    tag: str
    place: float
    """From 0, the beginning of that time, to 1, the plant's now."""
    value: int


class Plant:
    """Three groups of four tags of all kinds, with an event in a minute or in five, and a clock set by hand."""

    def __init__(self, begins: datetime, ends: datetime) -> None:
        self.begins = begins
        self.now = begins + DAYS_BEFORE * DAY + 20 * HOUR
        self.skew = timedelta()
        points, events = [], {}
        for number, name in enumerate(TAGS, 1):
            kind = KINDS[(number - 1) % len(KINDS)]
            point = Point(
                id=number,
                name=name,
                point_type=kind,
                digital_set_name=VALVE.name if kind == "Digital" else "",
                engineering_units="bar" if kind == "Float64" else "",
                created=begins - DAY,
            )
            step = MINUTE if kind == "Float64" else 5 * MINUTE
            ticks = np.arange(to_ticks(begins), to_ticks(ends), step // timedelta(microseconds=1) * 10) + number
            points.append(point)
            events[number] = _events(point, ticks, np.arange(len(ticks)))
        self.archive = Archive(MemoryBase(points, events, [VALVE]))
        self.changes = 0

    @contextmanager
    def served(self) -> Iterator[RunningSimulator]:
        """The plant on a socket."""
        settings = SimulatorSettings(now=lambda: to_ticks(self.now + self.skew), latency_seconds=LATENCY_SECONDS)
        with Simulator(archive=self.archive, settings=settings).serve() as running:
            yield running

    def web_id(self, tag: str) -> str:
        """As the client knows the tag."""
        return str(point_webid(self.archive.server_id, self._point(tag).id, self.archive.server_name, tag).identity)

    def change(self, change: Change) -> None:
        """Change the archive, up to a minute before now."""
        margin = SETTLE_HOURS * HOUR - MINUTE
        unsettled = datetime.combine((self.now - margin).date(), datetime.min.time(), timezone.utc)
        is_very_late = change.kind == "very late"
        first, last = (self.begins, unsettled - HOUR) if is_very_late else (unsettled, self.now - MINUTE)
        instant = to_ticks(first + change.place * (last - first))
        point = self._point(change.tag)
        if change.kind not in ("late", "very late"):
            before = self.archive.events(point, to_ticks(first), instant, limit=1, descending=True)
            if not len(before):
                return
            instant = int(before.ticks[0])
        option = {"edited": UpdateOption.REPLACE, "deleted": UpdateOption.REMOVE}.get(change.kind, UpdateOption.INSERT)
        [done] = self.archive.update(point, _events(point, np.array([instant]), np.array([change.value])), option)
        self.changes += done

    def truth(self, until: datetime) -> pa.Table:
        """What the table must hold."""
        return truth(self.archive, self.archive.points(), self.begins, until)

    def _point(self, tag: str) -> Point:
        point = self.archive.point_by_name(tag)
        assert point is not None
        return point


def _events(point: Point, ticks: np.ndarray, values: np.ndarray) -> Events:
    held: Any = values.astype(float)
    if point.point_type == "Digital":
        held = values % len(VALVE.states)
    elif point.point_type == "String":
        held = [f"batch {value}" for value in values]
    states = VALVE.states if point.point_type == "Digital" else ()
    return Events.of(point.point_type, ticks, held, digital_states=states)
