"""Bodies to Arrow, compared value by value with a plain loop over stdlib json."""

from __future__ import annotations

import json
import math
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pi_dagster.piwebapi.decode import (
    EVENT_SCHEMA,
    decode_batch,
    decode_stream,
    decode_streamset,
    event_table,
    stream_trouble,
)
from pi_dagster.piwebapi.errors import BrokenAnswerError
from pi_dagster_tests.archive_truth import value_columns

EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)


def expected_row(event: dict[str, Any]) -> dict[str, Any]:
    """What the table must say of one TimedValue, written without a thought for speed."""
    row = value_columns(event.get("Value"))
    seconds, _, fraction = event["Timestamp"].removesuffix("Z").partition(".")
    instant = datetime.strptime(seconds, "%Y-%m-%dT%H:%M:%S").replace(tzinfo=timezone.utc)
    row["timestamp"] = instant + timedelta(microseconds=int(fraction[:6].ljust(6, "0")))
    for column, name in {
        "questionable": "Questionable",
        "substituted": "Substituted",
        "annotated": "Annotated",
    }.items():
        row[f"quality_{column}"] = event.get(name, False)
    row["quality_good"] = event.get("Good", True)
    return row


def rows_of(body: bytes) -> list[dict[str, Any]]:
    table = event_table(decode_streamset(body))
    assert table.schema.equals(EVENT_SCHEMA)
    table.validate(full=True)
    return table.drop_columns(["event_ordinal"]).to_pylist()


def streamset(*streams: list[dict[str, Any]]) -> bytes:
    items = [
        {"WebId": f"W{index}", "Items": events, "UnitsAbbreviation": "", "Links": {"Source": "x"}}
        for index, events in enumerate(streams)
    ]
    return json.dumps({"Links": {}, "Items": items}).encode()


states = st.builds(
    lambda name, code, system: {"Name": name, "Value": code, "IsSystem": system},
    st.sampled_from(["No Data", "Shutdown", "Läuft", ""]),
    st.integers(0, 400),
    st.booleans(),
)
finite = st.floats(allow_nan=False, allow_infinity=False)
values = st.one_of(
    finite,
    st.integers(-(2**31), 2**31),
    st.integers(-(2**70), 2**70),
    states,
    st.text(),
    st.sampled_from(["NaN", "Infinity", '},{"Timestamp":', "12.5"]),
    st.booleans(),
    st.lists(st.integers(0, 255), max_size=5),
    st.just({"Errors": ["The value is not available."]}),
    st.none(),
)
timestamps = st.builds(
    lambda second, fraction: (
        (EPOCH + timedelta(seconds=second)).strftime("%Y-%m-%dT%H:%M:%S")
        + (f".{fraction}".rstrip("0").rstrip(".") if fraction else "")
        + "Z"
    ),
    st.integers(0, 4_000_000_000),
    st.one_of(st.just(""), st.text("0123456789", min_size=1, max_size=7)),
)


def events_of(kind: st.SearchStrategy[Any]) -> st.SearchStrategy[list[dict[str, Any]]]:
    event = st.fixed_dictionaries(
        {"Timestamp": timestamps, "Value": kind},
        optional={name: st.booleans() for name in ("Good", "Questionable", "Substituted", "Annotated")},
    )
    return st.lists(event, max_size=12).map(lambda events: sorted(events, key=lambda e: expected_row(e)["timestamp"]))


@settings(max_examples=300)
@given(st.lists(st.one_of(*map(events_of, (values, finite, st.text(), states))), max_size=4))
def test_every_column_equals_the_plain_loop(streams: list[list[dict[str, Any]]]) -> None:
    assert rows_of(streamset(*streams)) == [expected_row(event) for events in streams for event in events]


def one(value: str, **other: object) -> dict[str, Any]:
    body = f'{{"Items":[{{"Timestamp":"2024-12-31T23:59:59.9999999Z","Value":{value}}}]}}'
    return event_table([decode_stream(body.encode())]).to_pylist()[0] | other


def test_the_last_100_ns_of_a_year_stay_in_their_day() -> None:
    assert one("1.0")["timestamp"] == datetime(2024, 12, 31, 23, 59, 59, 999999, timezone.utc)


@pytest.mark.parametrize("token", ["NaN", "Infinity", "-Infinity", "1e400"])
def test_a_number_that_is_none_is_kept_as_text(token: str) -> None:
    row = one(token)
    assert row["value"] is None
    assert row["value_string"] == token


def test_a_system_state_is_never_a_number() -> None:
    row = one('{"Name":"Shutdown","Value":254,"IsSystem":true}')
    assert (row["value"], row["value_string"], row["digital_state_code"]) == (None, "Shutdown", 254)
    assert row["is_system_state"]


def test_an_integer_beyond_float64_keeps_its_digits_as_text() -> None:
    row = one("9007199254740993")
    assert (row["value"], row["value_string"]) == (None, "9007199254740993")


@pytest.mark.parametrize(
    "instant", ["0001-01-01T00:00:00Z", "1600-06-01T00:00:00.1234567Z", "9999-12-31T23:59:59.9999999Z"]
)
def test_years_that_nanoseconds_do_not_reach_are_exact(instant: str) -> None:
    body = f'{{"Items":[{{"Timestamp":"{instant}","Value":1}}]}}'.encode()
    [row] = event_table([decode_stream(body)]).to_pylist()
    assert row["timestamp"] == expected_row({"Timestamp": instant, "Value": 1})["timestamp"]


def test_events_that_share_a_microsecond_are_numbered_within_their_stream() -> None:
    same = [{"Timestamp": f"2024-01-01T00:00:00.123456{digit}Z", "Value": 1} for digit in "1279"]
    other = [{"Timestamp": "2024-01-01T00:00:00.1234569Z", "Value": 1}]
    later = [{"Timestamp": "2024-01-01T00:00:01Z", "Value": 1}]
    table = event_table(decode_streamset(streamset(same + later, other)))
    assert table.column("event_ordinal").to_pylist() == [0, 1, 2, 3, 0, 0]


BODY = streamset(
    [{"Timestamp": "2024-01-01T00:00:00Z", "Value": 1.5, "Good": True}],
    [{"Timestamp": "2024-01-01T00:00:00Z", "Value": {"Name": "Open", "Value": 1, "IsSystem": False}}],
)


@pytest.mark.parametrize("length", range(len(BODY)))
def test_a_cut_body_is_an_error_and_never_a_short_table(length: int) -> None:
    with pytest.raises(BrokenAnswerError):
        decode_streamset(BODY[:length])


@pytest.mark.parametrize(
    "body",
    [
        b'{"Items":[{"WebId":"a","Items":[]}],"WebException":{"Errors":["boom"],"StatusCode":500}}',
        b'{"Items":[],"Errors":["boom"]}',
    ],
)
def test_a_failure_inside_a_successful_answer_is_an_error(body: bytes) -> None:
    with pytest.raises(BrokenAnswerError, match="boom"):
        decode_streamset(body)


@pytest.mark.parametrize("body", [b"<html>Bad gateway</html>", b"[]", b"null", b"{}", b'{"Items":3}', b""])
def test_what_is_no_streamset_is_an_error_that_shows_its_beginning(body: bytes) -> None:
    with pytest.raises(BrokenAnswerError, match="starts with"):
        decode_streamset(body)


def test_deeply_nested_json_is_an_error_not_a_crash() -> None:
    with pytest.raises(BrokenAnswerError):
        decode_streamset(b"[" * 200_000)


@pytest.mark.parametrize("timestamp", ["2024-02-30T00:00:00Z", "yesterday", "", "2024-01-01T00:00:00+01:00x"])
def test_a_timestamp_that_is_none_is_an_error(timestamp: str) -> None:
    with pytest.raises(BrokenAnswerError, match="timestamp"):
        event_table(decode_streamset(streamset([{"Timestamp": timestamp, "Value": 1}])))


def test_events_out_of_time_order_are_an_error() -> None:
    events = [{"Timestamp": f"2024-01-01T00:00:0{second}Z", "Value": 1} for second in (2, 1)]
    with pytest.raises(BrokenAnswerError, match="order"):
        event_table(decode_streamset(streamset(events)))


def test_values_that_failed_to_stream_are_reported_with_the_first_instant() -> None:
    failed = {"Timestamp": "2024-01-01T00:00:01Z", "Value": None, "Errors": [{"FieldName": "Value", "Message": ["x"]}]}
    fine = {"Timestamp": "2024-01-01T00:00:00Z", "Value": math.pi}
    streams = decode_streamset(streamset([fine, failed], [fine]))
    assert "1 values, the first at 2024-01-01T00:00:01Z" in (stream_trouble(streams[0], look_at_values=True) or "")
    assert stream_trouble(streams[1], look_at_values=True) is None


def test_a_stream_that_failed_in_a_whole_answer_condemns_only_itself() -> None:
    failed = {"WebId": "a", "Items": [], "WebException": {"Errors": ["boom"], "StatusCode": 500}}
    empty, silent = {"WebId": "b", "Items": []}, {"WebId": "c"}
    streams = decode_streamset(json.dumps({"Items": [failed, empty, silent]}).encode())
    troubles = [stream_trouble(stream, look_at_values=False) for stream in streams]
    assert "boom" in (troubles[0] or "")
    assert troubles[1] is None
    assert "without its values" in (troubles[2] or "")


def test_a_batch_with_a_bare_nan_is_read_too() -> None:
    body = b'{"a":{"Status":200,"Headers":{},"Content":{"Items":[{"Timestamp":"2024-01-01T00:00:00Z","Value":NaN}]}}}'
    stream = decode_stream(decode_batch(body)["a"].Content)
    assert event_table([stream]).to_pylist()[0]["value_string"] == "NaN"


def test_no_streams_make_an_empty_table() -> None:
    assert event_table(decode_streamset(streamset())).num_rows == 0
