from __future__ import annotations

import json
import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pi_dagster.simulator.encoding import TIMED_VALUE_FIELDS, encode_events
from pi_dagster.simulator.events import MAX_TICKS, Events, iso_timestamp
from pi_dagster.simulator.points import PointType

STATES = ("Stopped", "Läuft", 'Fault "A"')
SECOND = 10_000_000


def decoded(events: Events, **options: object) -> list[dict[str, object]]:
    return json.loads(encode_events(events, **options))  # type: ignore[arg-type]


def float32(value: float) -> float:
    return struct.unpack("f", struct.pack("f", value))[0]


VALUES: dict[PointType, st.SearchStrategy[object]] = {
    "Float16": st.floats(width=16),
    "Float32": st.floats(width=32),
    "Float64": st.floats(),
    "Int16": st.integers(-(2**15), 2**15 - 1),
    "Int32": st.integers(-(2**31), 2**31 - 1),
    "Digital": st.integers(0, len(STATES) - 1),
    "String": st.text(),
    "Timestamp": st.integers(0, MAX_TICKS).map(iso_timestamp),
    "Blob": st.binary(max_size=9),
}


@st.composite
def any_events(draw: st.DrawFn) -> Events:
    point_type = draw(st.sampled_from(sorted(VALUES)))
    state = st.sampled_from([-1, -1, 248, 253, 254])
    instant = st.one_of(st.integers(0, MAX_TICKS), st.integers(0, 100).map(lambda s: s * SECOND))
    rows = draw(st.lists(st.tuples(instant, VALUES[point_type], state, st.integers(0, 15))))
    ticks, values, states, flags = zip(*rows, strict=True) if rows else ((), (), (), ())
    return Events.of(point_type, ticks, values, states=states, flags=flags, digital_states=STATES)


@given(any_events())
def test_a_body_says_exactly_what_each_event_is(events: Events) -> None:
    assert decoded(events, units="°C") == [
        {
            "Timestamp": iso_timestamp(int(events.ticks[i])),
            "Value": events.value_at(i),
            "UnitsAbbreviation": "°C",
            "Good": not events.flags[i] & 1,
            "Questionable": bool(events.flags[i] & 2),
            "Substituted": bool(events.flags[i] & 4),
            "Annotated": bool(events.flags[i] & 8),
        }
        for i in range(len(events))
    ]


@given(any_events(), st.sets(st.sampled_from(TIMED_VALUE_FIELDS)))
def test_selected_fields_are_the_only_ones_printed(events: Events, fields: set[str]) -> None:
    items = decoded(events, fields=fields)
    assert len(items) == len(events)
    assert all(item.keys() == fields for item in items)


def test_the_printed_form_is_the_vendors() -> None:
    events = Events.of("Float32", [15_301_011_140_000_000, 15_301_011_146_360_330], [81.83204, 100])
    assert encode_events(events, units="bar").decode() == (
        '[{"Timestamp":"2018-06-27T12:05:14Z","Value":81.83204,"UnitsAbbreviation":"bar","Good":true,'
        '"Questionable":false,"Substituted":false,"Annotated":false},'
        '{"Timestamp":"2018-06-27T12:05:14.636033Z","Value":100.0,"UnitsAbbreviation":"bar","Good":true,'
        '"Questionable":false,"Substituted":false,"Annotated":false}]'
    )


def test_no_events_are_an_empty_array() -> None:
    assert encode_events(Events.none("Float32")) == b"[]"


@pytest.mark.parametrize("fraction", ["", ".1", ".12", ".123", ".1234", ".12345", ".123456", ".1234567"])
def test_a_timestamp_keeps_its_fraction_digits_without_trailing_zeros(fraction: str) -> None:
    ticks = int(fraction[1:].ljust(7, "0") or 0)
    items = decoded(Events.of("Int32", [ticks, 5 * SECOND], [1, 2]))
    assert items[0]["Timestamp"] == f"1970-01-01T00:00:00{fraction}Z"


@given(st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=1))
def test_a_float32_prints_digits_that_give_back_the_same_float32(values: list[float]) -> None:
    items = decoded(Events.of("Float32", range(len(values)), values))
    assert [float32(float(str(item["Value"]))) for item in items] == values


def test_a_float32_does_not_print_the_digits_of_a_double() -> None:
    assert b'"Value":0.1,' in encode_events(Events.of("Float32", [0], [float32(0.1)]))


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1))
def test_a_float64_comes_back_bit_for_bit(values: list[float]) -> None:
    items = decoded(Events.of("Float64", range(len(values)), values))
    assert [item["Value"] for item in items] == values


@pytest.mark.parametrize("point_type", ["Float16", "Float32", "Float64"])
@pytest.mark.parametrize("value", [0.0, -3.0, 100.0, 2048.0])
def test_a_whole_float_is_printed_as_a_float(point_type: PointType, value: float) -> None:
    assert f'"Value":{value},'.encode() in encode_events(Events.of(point_type, [0], [value]))


def test_an_integer_is_printed_without_a_point() -> None:
    assert b'"Value":-2147483648,' in encode_events(Events.of("Int32", [0], [-(2**31)]))


def test_a_system_state_on_a_numeric_point_is_an_object() -> None:
    events = Events.of("Float32", [0, 1], [None, 1.5], states=[253, -1])
    assert [item["Value"] for item in decoded(events)] == [
        {"Name": "Pt Created", "Value": 253, "IsSystem": True},
        1.5,
    ]


def test_events_read_newest_first_are_printed_newest_first() -> None:
    events = Events.of("Int16", np.arange(3) * SECOND, [1, 2, 3])
    assert [item["Value"] for item in decoded(events.reversed())] == [3, 2, 1]
