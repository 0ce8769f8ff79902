"""Recorded values as PI Web API prints them: the JSON array of `TimedValue` objects, millions a second.

The simulator must never be what a benchmark measures, so a body is not built event by event: each part of an
event (time of day, fraction, value, flags) is a column of text, and Arrow joins the columns into one buffer
that already is the body.
"""

from __future__ import annotations

import json
from collections.abc import Collection
from functools import lru_cache
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from pi_dagster.simulator.events import ANNOTATED, BAD, NOT_A_STATE, QUESTIONABLE, SUBSTITUTED, TICKS_PER_SECOND, Events
from pi_dagster.simulator.points import FLOAT_TYPES, INTEGER_TYPES, SYSTEM_STATES

TIMED_VALUE_FIELDS = (
    "Timestamp",
    "Value",
    "UnitsAbbreviation",
    "Good",
    "Questionable",
    "Substituted",
    "Annotated",
)
"""The fields of a `TimedValue`, in the order they are printed."""

_FLAG_FIELDS = {"Questionable": QUESTIONABLE, "Substituted": SUBSTITUTED, "Annotated": ANNOTATED}
_TAIL_FIELDS = frozenset(TIMED_VALUE_FIELDS) - {"Timestamp", "Value"}
_SECONDS_PER_DAY = 86_400
_FIRST_EXPONENT = 1e10
"""Arrow prints floats from here on with an exponent, which already marks them as floats."""


def encode_events(events: Events, units: str = "", fields: Collection[str] = TIMED_VALUE_FIELDS) -> bytes:
    """The events as a JSON array of `TimedValue`, UTF-8, in their order.

    `units` is printed as `UnitsAbbreviation`. `fields` are the fields to print, whatever their order
    (`selectedFields`; servers of 2017 and 2018 print no `Annotated`). Numbers carry the digits of their
    width, whole floats end in `.0`, and NaN and infinities are quoted.
    Source: PI Web API reference, topic `value-types`; the vendor's OpenAPI definition `TimedValue`.
    """
    if not len(events):
        return b"[]"
    properties: list[list[Any]] = []
    if "Timestamp" in fields:
        properties.append(['"Timestamp":"', *_timestamp_columns(events.ticks), '"'])
    if "Value" in fields:
        properties.append(['"Value":', _value_column(events)])
    if not _TAIL_FIELDS.isdisjoint(fields):
        properties.append([_tail_column(events.flags, units, fields)])
    columns: list[Any] = ["{"]
    for number, pieces in enumerate(properties):
        columns += [",", *pieces] if number else pieces
    joined = pc.binary_join_element_wise(*_merge_constants([*columns, "},"]), "")
    if isinstance(joined, pa.Scalar):
        joined = pa.array([joined.as_py()] * len(events))
    _, offsets, body = joined.buffers()
    length = int(np.frombuffer(offsets, np.int32, len(events) + 1)[-1])
    return b"".join((b"[", memoryview(body)[: length - 1], b"]"))


def _merge_constants(columns: list[Any]) -> list[Any]:
    """Join neighbouring constant texts, so that every event costs as few copies as possible."""
    merged: list[Any] = []
    for column in columns:
        if isinstance(column, str) and merged and isinstance(merged[-1], str):
            merged[-1] += column
        else:
            merged.append(column)
    return merged


def _timestamp_columns(ticks: NDArray[np.int64]) -> list[Any]:
    seconds, fractions = np.divmod(ticks, TICKS_PER_SECOND)
    days, seconds_of_day = np.divmod(seconds, _SECONDS_PER_DAY)
    date: Any
    if days[0] == days[-1] and days.min() == days.max():
        date = f"{np.datetime64(int(days[0]), 'D')}T"
    else:
        distinct, which = np.unique(days, return_inverse=True)
        date = pa.array([f"{np.datetime64(int(day), 'D')}T" for day in distinct]).take(pa.array(which))
    columns = [date, _times_of_day().take(pa.array(seconds_of_day))]
    if fractions[0] == fractions[-1] and fractions.min() == fractions.max():
        columns.append(f".{int(fractions[0]):07d}".rstrip("0").rstrip("."))
    else:
        digits = pc.ascii_rtrim(pa.array(fractions + TICKS_PER_SECOND).cast(pa.string()), "0")
        dotted = pc.utf8_replace_slice(digits, 0, 1, ".")
        columns.append(pc.if_else(pa.array(fractions == 0), "", dotted))
    return [*columns, "Z"]


@lru_cache(maxsize=1)
def _times_of_day() -> Any:
    return pa.array([f"{s // 3600:02d}:{s // 60 % 60:02d}:{s % 60:02d}" for s in range(_SECONDS_PER_DAY)])


def _value_column(events: Events) -> Any:
    is_state = events.states != NOT_A_STATE
    if not is_state.any():
        return _real_values(events)
    codes, which = np.unique(events.states[is_state], return_inverse=True)
    names = [_json({"Name": SYSTEM_STATES.get(c, ""), "Value": c, "IsSystem": True}) for c in codes.tolist()]
    states = pa.array(names).take(pa.array(which))
    if is_state.all():
        return states
    reals = np.flatnonzero(~is_state)
    place = np.empty(len(events), np.int64)
    place[reals] = np.arange(len(reals))
    place[is_state] = len(reals) + np.arange(len(states))
    return pa.concat_arrays([_real_values(events[reals]), states]).take(pa.array(place))


def _real_values(events: Events) -> Any:
    values = events.values
    if events.point_type in FLOAT_TYPES:
        return _floats(events)
    if events.point_type in INTEGER_TYPES:
        return pa.array(values.astype(np.int64)).cast(pa.string())
    if events.point_type == "Digital":
        states = enumerate(events.digital_states)
        named = [_json({"Name": name, "Value": offset, "IsSystem": False}) for offset, name in states]
        return pa.array(named).take(pa.array(values))
    if events.point_type == "Blob":
        return pa.array([_json(list(value)) for value in values])
    return pa.array([_json(value) for value in values])


def _floats(events: Events) -> Any:
    values = events.values
    if events.point_type == "Float16":
        text = _float16_texts().take(pa.array(values.astype(np.float16).view(np.uint16)))
    else:
        width = np.float32 if events.point_type == "Float32" else np.float64
        text = pa.array(values.astype(width)).cast(pa.string())
        whole = (values == np.floor(values)) & (np.abs(values) < _FIRST_EXPONENT)
        if whole.any():
            text = pc.if_else(pa.array(whole), pc.binary_join_element_wise(text, ".0", ""), text)
    finite = np.isfinite(values)
    if finite.all():
        return text
    names = np.where(np.isnan(values), '"NaN"', np.where(values > 0, '"Infinity"', '"-Infinity"'))
    return pc.if_else(pa.array(finite), text, pa.array(names))


@lru_cache(maxsize=1)
def _float16_texts() -> Any:
    """What each of the 65,536 half-precision numbers prints, by its bits."""
    return pa.array([repr(float(str(value))) for value in np.arange(1 << 16, dtype=np.uint16).view(np.float16)])


def _tail_column(flags: NDArray[np.uint8], units: str, fields: Collection[str]) -> Any:
    """The properties after the value, which only depend on the flags."""
    tails = _tails(units, frozenset(fields))
    if int(flags.min()) == int(flags.max()):
        return tails[int(flags[0])].as_py()
    return tails.take(pa.array(flags))


@lru_cache(maxsize=256)
def _tails(units: str, fields: frozenset[str]) -> Any:
    """The properties after the value, for each combination of the four flags."""
    tails = []
    for flags in range(16):
        tail: dict[str, object] = {"UnitsAbbreviation": units, "Good": not flags & BAD}
        tail.update({name: bool(flags & bit) for name, bit in _FLAG_FIELDS.items()})
        tails.append(_json({name: value for name, value in tail.items() if name in fields})[1:-1])
    return pa.array(tails)


def _json(value: object) -> str:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)
