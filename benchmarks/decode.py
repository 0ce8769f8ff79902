"""Decoding: the bytes of an answer to Arrow, against parsers that only make Python objects of them.

`orjson.loads` and `json.loads` have only begun where they end: their objects still have to become columns.
"""

from __future__ import annotations

import json
from collections.abc import Callable

import orjson
import pyarrow as pa

from benchmarks.bodies import Shape, body_of
from benchmarks.measuring import cost_of, in_turn, own_process
from benchmarks.results import Figure, Row, Scale, Section, Table, at_least, at_most
from pi_dagster.piwebapi.decode import decode_streamset, event_table

ROUNDS = {Scale.SMOKE: 1, Scale.QUICK: 3, Scale.FULL: 9}
VALUES = {Scale.SMOKE: 2_000, Scale.QUICK: 100_000, Scale.FULL: 100_000}
NUMERIC_TARGET = at_least(1.15)
ODD_TARGET = at_least(0.9)


def shapes(values: int) -> list[Shape]:
    """All shapes, of `values` values each."""
    many, few = {"streams": values // 1_000, "values": 1_000}, {"streams": max(1, values // 10_000), "values": 10_000}
    if values < 10_000:
        few["values"] = values
    return [
        Shape(name="floats, selected fields, 1,000 a stream", **many),
        Shape(name="floats, selected fields, 10,000 a stream", **few),
        Shape(name="floats, full fields, 1,000 a stream", full=True, **many),
        Shape(name="floats, full fields, 10,000 a stream", full=True, **few),
        Shape(name="17-digit floats, 7-digit times, selected", long_fractions=True, **many),
        Shape(name="17-digit floats, 7-digit times, full", long_fractions=True, full=True, **many),
        Shape(name="1 % states, selected", states=0.01, **many),
        Shape(name="10 % states, selected", states=0.1, **many),
        Shape(name="10 % states, full", states=0.1, full=True, **many),
        Shape(name="strings, selected", strings=True, **many),
        Shape(name="strings, full", strings=True, full=True, **many),
    ]


def run(scale: Scale) -> Section:
    """Measure every shape."""
    rows, table_rows, facts = [], [], {}
    with own_process() as call:
        for shape in shapes(VALUES[scale]):
            size, times = call(measure, shape, ROUNDS[scale])
            values = shape.streams * shape.values
            to_orjson = Figure.ratio(times["orjson"], times["arrow"])
            rows.append(
                Row(
                    f"{shape.name}: time of `orjson.loads` / to Arrow",
                    to_orjson,
                    measured=", ".join(_rate(name, values, times[name]) for name in ("arrow", "orjson")),
                    target=ODD_TARGET if shape.strings or shape.states > 0.05 else NUMERIC_TARGET,
                )
            )
            nanoseconds = {name: Figure.of(rounds).median / values * 1e9 for name, rounds in times.items()}
            table_rows.append([shape.name, f"{size / values:.0f}", *(f"{ns:.0f}" for ns in nanoseconds.values())])
            facts |= {f"{shape.name}: {name}": ns for name, ns in nanoseconds.items()}
            if len(rows) == 1:
                rows.append(
                    Row(
                        f"{shape.name}: to Arrow / typed parse alone",
                        Figure.ratio(times["arrow"], times["parse only"]),
                        measured=_rate("parse only", values, times["parse only"]),
                        target=at_most(2.9),
                    )
                )
    return Section(
        title="Decoding: bytes to Arrow, one core",
        rows=rows,
        tables=[
            Table(
                "CPU time, ns a value",
                ["shape", "bytes a value", "to Arrow", "msgspec parse only", "orjson.loads", "json.loads"],
                table_rows,
            )
        ],
        notes=[
            "To Arrow is all ten columns of an event, flags, states and ordinals included; the parsers end with Python "
            "objects."
        ],
        facts=facts,
    )


def to_arrow(body: bytes) -> pa.Table:
    """What the pipeline does with the body of an answer."""
    return event_table(decode_streamset(body))


def measure(shape: Shape, rounds: int) -> tuple[int, dict[str, list[float]]]:
    """Bytes of the body, and CPU seconds of each alternative in each round."""
    body = body_of(shape)

    def cpu_seconds(decode: Callable[[bytes], object]) -> float:
        return cost_of(lambda: decode(body))[1].cpu_seconds

    alternatives = {
        "arrow": lambda: cpu_seconds(to_arrow),
        "parse only": lambda: cpu_seconds(decode_streamset),
        "orjson": lambda: cpu_seconds(orjson.loads),
        "json": lambda: cpu_seconds(json.loads),
    }
    in_turn(alternatives, rounds=1)
    return len(body), in_turn(alternatives, rounds=rounds)


def _rate(name: str, values: int, rounds: list[float]) -> str:
    return f"{name} {values / Figure.of(rounds).median / 1e6:.2f} M values/s"
