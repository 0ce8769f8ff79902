"""A small archive that holds one day of everything that makes recorded values hard to read."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from uuid import UUID

import numpy as np

from pi_dagster.simulator.archive import Archive, MemoryBase
from pi_dagster.simulator.events import (
    ANNOTATED,
    BAD,
    NOT_A_STATE,
    QUESTIONABLE,
    SUBSTITUTED,
    TICKS_PER_SECOND,
    Events,
    to_ticks,
)
from pi_dagster.simulator.points import DigitalSet, Point, PointType

DAY = datetime(2026, 11, 2, tzinfo=timezone.utc)
NEXT_DAY = DAY + timedelta(days=1)
DENSE_TAG_EVENTS = 200_000
SHUTDOWN, POINT_CREATED = 254, 253

VALVE = DigitalSet(UUID("5f5f4b0e-0000-4000-8000-000000000001"), "VALVE", ("Closed", "Moving", "Open"))
TYPES: tuple[PointType, ...] = (
    "Float16", "Float32", "Float64", "Int16", "Int32", "Digital", "String", "Timestamp", "Blob",
)  # fmt: skip


def mixed_archive(*, dense_tag_events: int = DENSE_TAG_EVENTS) -> Archive:
    """Two tags of each type with every flag, state and fraction; and the tags named after what they do."""
    plant = _Plant(seed=7)
    for point_type in TYPES:
        plant.add(f"{point_type}.SPARSE", point_type, plant.instants(40))
        plant.add(f"{point_type}.BUSY", point_type, plant.instants(1200))
    plant.add("EMPTY", "Float32", np.empty(0, np.int64))
    plant.add("EQUAL STAMPS", "Float64", np.repeat(plant.instants(60), 5))
    plant.add("100 NS APART", "Float64", np.sort(np.add.outer(plant.instants(40), np.arange(25)).ravel()))
    plant.add("ONLY SHUTDOWN", "Float32", plant.instants(2500), states=np.full(2500, SHUTDOWN))
    created = np.array([to_ticks(DAY) + 6 * 3600 * TICKS_PER_SECOND])
    plant.add("CREATED TODAY", "Float32", created, states=np.array([POINT_CREATED]))
    bounds = [to_ticks(DAY) - 1, to_ticks(DAY), to_ticks(DAY), to_ticks(NEXT_DAY) - 1, to_ticks(NEXT_DAY)]
    plant.add("AT THE BOUNDS", "Int32", np.array(bounds))
    plant.add("Ünits & $igns / 100 %+#?", "Float64", plant.instants(10))
    plant.add("NOT FINITE", "Float64", plant.instants(30), values=np.resize([np.nan, np.inf, -np.inf, 1.0, 0.5], 30))
    plant.add("FORECAST", "Float32", plant.instants(50), future=True)
    plant.add("DENSE", "Float32", plant.instants(dense_tag_events))
    return Archive(MemoryBase(plant.points, plant.events, [VALVE]))


class _Plant:
    def __init__(self, seed: int) -> None:
        self._rng = np.random.default_rng(seed)
        self.points: list[Point] = []
        self.events: dict[int, Events] = {}

    def instants(self, count: int) -> np.ndarray:
        """Ticks over the day and a minute around it, with 0 to 7 fraction digits."""
        margin = 60 * TICKS_PER_SECOND
        ticks = self._rng.integers(to_ticks(DAY) - margin, to_ticks(NEXT_DAY) + margin, count)
        digits = self._rng.integers(0, 8, count)
        return np.sort(ticks // 10 ** (7 - digits) * 10 ** (7 - digits))

    def add(
        self,
        name: str,
        point_type: PointType,
        ticks: np.ndarray,
        *,
        states: np.ndarray | None = None,
        values: np.ndarray | None = None,
        future: bool = False,
    ) -> None:
        count = len(ticks)
        if states is None:
            states = self._rng.choice([NOT_A_STATE, SHUTDOWN, 246, 248], count, p=[0.94, 0.02, 0.02, 0.02])
        odd = self._rng.choice(
            [0, BAD, QUESTIONABLE, SUBSTITUTED, ANNOTATED, QUESTIONABLE | SUBSTITUTED | ANNOTATED],
            count,
            p=[0.9, 0.02, 0.02, 0.02, 0.02, 0.02],
        )
        flags = np.where(states == NOT_A_STATE, odd, BAD)
        point = Point(
            id=len(self.points) + 1,
            name=name,
            point_type=point_type,
            digital_set_name=VALVE.name if point_type == "Digital" else "",
            engineering_units="bar" if point_type == "Float32" else "",
            future=future,
            created=DAY - timedelta(days=30),
        )
        self.points.append(point)
        self.events[point.id] = Events.of(
            point_type,
            ticks,
            self._values(point_type, count) if values is None else values,
            states=states,
            flags=flags,
            digital_states=VALVE.states if point_type == "Digital" else (),
        )

    def _values(self, point_type: PointType, count: int) -> np.ndarray | list[object]:
        numbers = self._rng.integers(-30_000, 30_000, count)
        if point_type == "Digital":
            return numbers % len(VALVE.states)
        if point_type == "String":
            texts = ["", "12.5", "Läuft", 'say "hi"', "NaN", '},{"Timestamp":"', "line\nbreak", "☃"]
            return [texts[number % len(texts)] for number in numbers]
        if point_type == "Timestamp":
            return [f"2026-11-02T00:{number % 60:02d}:00Z" for number in numbers]
        if point_type == "Blob":
            return [bytes([number % 256] * (number % 4)) for number in numbers]
        return numbers.astype(float) / (1 if point_type.startswith("Int") else 7)
