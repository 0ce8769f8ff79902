"""Recorded values as PI Web API prints them: the JSON array of `TimedValue` objects, many at a time."""

from __future__ import annotations

import json
from collections.abc import Collection

from pi_dagster.simulator.archive import (
    ANNOTATED,
    BAD,
    QUESTIONABLE,
    SUBSTITUTED,
    Events,
    iso_timestamp,
)

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


def encode_events(events: Events, units: str = "", fields: Collection[str] = TIMED_VALUE_FIELDS) -> bytes:
    """The events as a JSON array of `TimedValue`, UTF-8, in their order.

    `units` is printed as `UnitsAbbreviation`. `fields` are the fields to print (`selectedFields`; servers of
    2017 and 2018 print no `Annotated`).
    Source: PI Web API reference, topics `value-types` and `time-strings`; definition `TimedValue`.
    """
    items = []
    for i, (ticks, flags) in enumerate(zip(events.ticks, events.flags, strict=True)):
        item = {
            "Timestamp": iso_timestamp(ticks),
            "Value": events.value_at(i),
            "UnitsAbbreviation": units,
            "Good": not flags & BAD,
            "Questionable": bool(flags & QUESTIONABLE),
            "Substituted": bool(flags & SUBSTITUTED),
            "Annotated": bool(flags & ANNOTATED),
        }
        items.append({name: item[name] for name in TIMED_VALUE_FIELDS if name in fields})
    return json.dumps(items, separators=(",", ":"), ensure_ascii=False).encode()
