"""A day of made-up values with faults of every kind planted in it, and what rules should find of them.

Each kind has tags of its own, so that what a rule finds elsewhere is a false finding and not another rule's fault.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timezone

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from benchmarks.plants import DAY, MIDNIGHT
from pi_dagster.lake import AssetAttributesTable, AssetHierarchyTable, Lake, PointsTable, TimeseriesTable
from pi_dagster.lake.schemas import (
    ASSET_ATTRIBUTES_SCHEMA,
    ASSET_HIERARCHY_SCHEMA,
    POINTS_SCHEMA,
    TIMESERIES_FILE_SCHEMA,
)

GROUP = "all"
FAULTS_A_TAG = 4
_DAY_US = 86_400_000_000
_MIDNIGHT_US = int(MIDNIGHT.timestamp()) * 1_000_000
_MINUTE_US = 60_000_000
_LOW, _HIGH = 20.0, 80.0

Place = tuple[str, str, int]
"""Rule, tag, and about when, microseconds since 1970."""


@dataclass(frozen=True)
class Signal:
    """A tag's day."""

    instant: npt.NDArray[np.int64]
    value: npt.NDArray[np.float64]
    text: npt.NDArray[np.object_]
    units: npt.NDArray[np.object_]


_Plant = Callable[[Signal, int], Signal]


def _with_values(change: Callable[[npt.NDArray[np.float64], int], None]) -> _Plant:
    def plant(signal: Signal, at: int) -> Signal:
        value = signal.value.copy()
        change(value, at)
        return replace(signal, value=value)

    return plant


def _above(value: npt.NDArray[np.float64], at: int) -> None:
    value[at : at + 5] = _HIGH + 15.0


def _jump(value: npt.NDArray[np.float64], at: int) -> None:
    value[at:] += 12.0 if value[at] < 50 else -12.0


def _freeze(value: npt.NDArray[np.float64], at: int) -> None:
    value[at : at + 300] = value[at]


def _spike(value: npt.NDArray[np.float64], at: int) -> None:
    value[at : at + 2] += 9.0


def _fall(value: npt.NDArray[np.float64], at: int) -> None:
    value[at:] -= 500.0


def _drift(value: npt.NDArray[np.float64], at: int) -> None:
    value[at : at + 20] += 8.0


def _silence(signal: Signal, at: int) -> Signal:
    stays = np.ones(len(signal.instant), bool)
    stays[at : at + 300] = False
    return Signal(signal.instant[stays], signal.value[stays], signal.text[stays], signal.units[stays])


def _wrong_state(signal: Signal, at: int) -> Signal:
    text = signal.text.copy()
    text[at : at + 3] = "TRIPPED"
    return replace(signal, text=text)


def _wrong_units(signal: Signal, at: int) -> Signal:
    units = signal.units.copy()
    units[at : at + 10] = "psi"
    return replace(signal, units=units)


RULES = (
    {"name": "range", "kind": "range", "low": 0, "high": 90, "tags": ["RANGE.*"]},
    {"name": "range_of_point", "kind": "range", "tags": ["POINT.*"]},
    {"name": "rate_of_change", "kind": "rate_of_change", "most_per_minute": 60, "tags": ["RATE.*"]},
    {"name": "stuck", "kind": "stuck", "longest_minutes": 20, "tags": ["STUCK.*"]},
    {"name": "gap", "kind": "gap", "longest_minutes": 20, "tags": ["GAP.*"]},
    {"name": "spike", "kind": "spike", "tags": ["SPIKE.*"]},
    {"name": "states", "kind": "states", "allowed": ["RUNNING", "STOPPED"], "tags": ["STATE.*"]},
    {"name": "counter", "kind": "counter", "tags": ["TOTAL.*"]},
    {"name": "units", "kind": "units", "tags": ["UNITS.*"]},
    {
        "name": "difference",
        "kind": "difference",
        "attribute": "Flow",
        "other_attribute": "Flow Setpoint",
        "most": 4,
        "tags": ["DIFF.*"],
    },
)
_PLANTS: Mapping[str, tuple[str, _Plant]] = {
    "range": ("RANGE", _with_values(_above)),
    "range_of_point": ("POINT", _with_values(_above)),
    "rate_of_change": ("RATE", _with_values(_jump)),
    "stuck": ("STUCK", _with_values(_freeze)),
    "gap": ("GAP", _silence),
    "spike": ("SPIKE", _with_values(_spike)),
    "states": ("STATE", _wrong_state),
    "counter": ("TOTAL", _with_values(_fall)),
    "units": ("UNITS", _wrong_units),
    "difference": ("DIFF", _with_values(_drift)),
}


def plant_faults(folder: str, *, tags_a_kind: int, values: int, seed: int = 1) -> list[Place]:
    """Write a day into the tables of a lake.

    Args:
        folder: of the lake.
        tags_a_kind: tags with faults, for each kind of fault.
        values: of each tag, evenly over the day.
        seed: of the random numbers.

    Returns:
        Where the faults are.
    """
    places: list[Place] = []
    lake = Lake(folder)
    TimeseriesTable.open(lake).replace_window(
        partition_date=DAY,
        tag_group=GROUP,
        start=MIDNIGHT,
        end=MIDNIGHT.replace(day=MIDNIGHT.day + 1),
        batches=_rows(tags_a_kind, values, np.random.default_rng(seed), places),
        commit_info={},
    )
    prefixes = [prefix for prefix, _ in _PLANTS.values()]
    names = [f"{prefix}.{number:04d}" for prefix in [*prefixes, "SETPOINT"] for number in range(tags_a_kind)]
    now = datetime.now(timezone.utc)
    listed = {"tag_group": GROUP, "is_active": True, "first_seen": now, "last_seen": now, "engineering_units": "bar"}
    points = [{"tag_webid": name, "tag_name": name, "zero": 0.0, "span": 90.0, **listed} for name in names]
    PointsTable.open(lake).replace(pa.Table.from_pylist(points, POINTS_SCHEMA), {})
    numbers = range(tags_a_kind)
    elements = [{"element_id": f"e{number}", "all_paths": [f"/e{number}"]} for number in numbers]
    attributes = [
        {
            "element_id": f"e{number}",
            "attribute_id": name,
            "attribute_name": name,
            "tag_webid": f"{prefix}.{number:04d}",
        }
        for number in numbers
        for name, prefix in (("Flow", "DIFF"), ("Flow Setpoint", "SETPOINT"))
    ]
    AssetHierarchyTable.open(lake).replace(pa.Table.from_pylist(elements, ASSET_HIERARCHY_SCHEMA), {})
    AssetAttributesTable.open(lake).replace(pa.Table.from_pylist(attributes, ASSET_ATTRIBUTES_SCHEMA), {})
    return places


def _rows(tags: int, values: int, random: np.random.Generator, places: list[Place]) -> Iterator[pa.RecordBatch]:
    # Of two tags that are compared, the setpoint must be known when its follower is made.
    setpoints = [_signal("SETPOINT", values, random) for _ in range(tags)]
    by_name: dict[str, Signal] = {f"SETPOINT.{number:04d}": signal for number, signal in enumerate(setpoints)}
    for rule, (prefix, plant) in _PLANTS.items():
        for number in range(tags):
            signal = _signal(prefix, values, random)
            if prefix == "DIFF":
                noise = random.normal(0, 0.3, values)
                signal = replace(setpoints[number], value=setpoints[number].value + noise)
            # Apart from each other and from the ends of the day.
            free = values // (FAULTS_A_TAG + 1)
            instants = [signal.instant[int(at)] for at in random.integers(400, free - 400, FAULTS_A_TAG)]
            starts = [int(instant) + fault * free * (_DAY_US // values) for fault, instant in enumerate(instants)]
            for start in starts:
                at = int(np.searchsorted(signal.instant, start))
                places.append((rule, f"{prefix}.{number:04d}", int(signal.instant[at])))
                signal = plant(signal, at)
            by_name[f"{prefix}.{number:04d}"] = signal
    for name in sorted(by_name):
        yield signal_rows(name, by_name[name])


def _signal(prefix: str, values: int, random: np.random.Generator) -> Signal:
    instant = _MIDNIGHT_US + np.arange(values, dtype=np.int64) * (_DAY_US // values)
    phase = random.uniform(0, 2 * np.pi)
    swing = (_HIGH - _LOW) / 2 - 5
    value = (_LOW + _HIGH) / 2 + swing * np.sin(np.linspace(0, 4 * np.pi, values) + phase)
    value += random.normal(0, 0.2, values)
    text, units = np.full(values, None, object), np.full(values, "bar", object)
    if prefix == "TOTAL":
        value = np.cumsum(random.uniform(0, 2, values))
    if prefix == "STATE":
        text = np.array(["RUNNING", "STOPPED"], object)[(value > 50).astype(int)]
        value = np.full(values, np.nan)
    return Signal(instant, value, text, units)


def signal_rows(name: str, signal: Signal) -> pa.RecordBatch:
    """The rows of a tag, as TIMESERIES_FILE_SCHEMA."""
    """The rows of a tag, as TIMESERIES_FILE_SCHEMA."""
    count = len(signal.instant)
    false = pa.repeat(pa.scalar(False), count)
    given = {
        "tag_webid": pa.repeat(pa.scalar(name), count),
        "tag_name": pa.repeat(pa.scalar(name), count),
        "timestamp": pa.array(signal.instant).cast(pa.timestamp("us", "UTC")),
        "value": pa.array(signal.value, from_pandas=True),
        "value_string": pa.array(signal.text, pa.string()),
        "units": pa.array(signal.units, pa.string()),
        "quality_good": pa.repeat(pa.scalar(True), count),
        "event_ordinal": pa.repeat(pa.scalar(0, pa.int32()), count),
        "ingestion_timestamp": pa.repeat(pa.scalar(MIDNIGHT, pa.timestamp("us", "UTC")), count),
    }
    columns = [
        given.get(field.name, false if pa.types.is_boolean(field.type) else pa.nulls(count, field.type))
        for field in TIMESERIES_FILE_SCHEMA
    ]
    return pa.RecordBatch.from_arrays(columns, schema=TIMESERIES_FILE_SCHEMA)
