"""Bodies of `streamsets/recorded` answers, printed by the simulator's own encoder, of any shape."""

from __future__ import annotations

import json
import uuid
from dataclasses import dataclass

import numpy as np

from benchmarks.plants import MIDNIGHT
from pi_dagster.simulator.encoding import TIMED_VALUE_FIELDS, encode_events
from pi_dagster.simulator.events import NOT_A_STATE, TICKS_PER_SECOND, Events, to_ticks
from pi_dagster.simulator.plant import MESSAGES
from pi_dagster.webid import WebIdType, point_webid

SELECTED_FIELDS = ("Timestamp", "Value", "Good", "Questionable", "Substituted", "Annotated")
_SERVER = uuid.UUID("8d4d1dad-f1d3-4311-ae94-d9a9b3a689a9")
_NO_DATA = 248


@dataclass(frozen=True, kw_only=True)
class Shape:
    """What a body is like.

    Args:
        name: what it is called in the report.
        streams: streams in it.
        values: values of each stream.
        full: all fields and links as PI sends them by default, instead of what `selectedFields` leaves.
        states: share of values that are system states.
        strings: values are texts.
        long_fractions: timestamps of 7 fraction digits and floats of 17 digits, instead of whole seconds and Float32.
    """

    name: str
    streams: int
    values: int
    full: bool = False
    states: float = 0.0
    strings: bool = False
    long_fractions: bool = False


def body_of(shape: Shape) -> bytes:
    """A body of that shape; the same shape is always the same body."""
    streams = []
    for number in range(shape.streams):
        web_id = point_webid(_SERVER, number + 1, "BENCHMARK", f"TAG{number:05d}").as_type(WebIdType.ID_ONLY).encode()
        items = encode_events(_events(shape, number), "bar", TIMED_VALUE_FIELDS if shape.full else SELECTED_FIELDS)
        head = {"WebId": web_id}
        if shape.full:
            head["Name"] = f"TAG{number:05d}"
            head["Path"] = rf"\\BENCHMARK\TAG{number:05d}"
        start = json.dumps(head)[:-1]
        links = f', "Links": {{"Source": "https://pi.example.com/piwebapi/points/{web_id}"}}' if shape.full else ""
        streams.append(start.encode() + links.encode() + b', "Items": ' + items + b', "UnitsAbbreviation": ""}')
    return b'{"Links": {}, "Items": [' + b", ".join(streams) + b"]}"


def _events(shape: Shape, stream: int) -> Events:
    random = np.random.default_rng(stream)
    ticks = to_ticks(MIDNIGHT) + np.arange(shape.values, dtype=np.int64) * TICKS_PER_SECOND
    if shape.long_fractions:
        ticks += random.integers(1, TICKS_PER_SECOND // 10, shape.values) * 10 + 1
    if shape.strings:
        texts = [MESSAGES[n % 3].format(number=n) for n in random.integers(0, 100_000, shape.values).tolist()]
        return Events.of("String", ticks, texts)
    states = np.full(shape.values, NOT_A_STATE, np.int32)
    states[random.random(shape.values) < shape.states] = _NO_DATA
    values = 50 + random.standard_normal(shape.values).cumsum() / 100
    return Events.of("Float64" if shape.long_fractions else "Float32", ticks, values, states=states)
