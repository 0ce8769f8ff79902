from __future__ import annotations

from datetime import datetime, timedelta, timezone
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pi_dagster.simulator.events import MAX_TICKS, iso_timestamp, to_ticks
from pi_dagster.simulator.timestrings import Interval, InvalidTimeError, parse_time, time_zone

NOW = to_ticks(datetime(2024, 6, 15, 12, 34, 56, 123_456, tzinfo=timezone.utc))  # a Saturday
UTC = timezone.utc
BERLIN = ZoneInfo("Europe/Berlin")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "2024-06-15T12:34:56.123456Z"),
        ("*", "2024-06-15T12:34:56.123456Z"),
        ("*-1d", "2024-06-14T12:34:56.123456Z"),
        ("*-1.5h", "2024-06-15T11:04:56.123456Z"),
        (" * - 90 s ", "2024-06-15T12:33:26.123456Z"),
        ("*-1d-2h", "2024-06-14T10:34:56.123456Z"),
        ("*+250ms", "2024-06-15T12:34:56.373456Z"),
        ("-1h", "2024-06-15T11:34:56.123456Z"),
        ("*-1mo", "2024-05-15T12:34:56.123456Z"),
        ("*-1y", "2023-06-15T12:34:56.123456Z"),
        ("t", "2024-06-15T00:00:00Z"),
        ("TODAY", "2024-06-15T00:00:00Z"),
        ("t+8h", "2024-06-15T08:00:00Z"),
        ("y", "2024-06-14T00:00:00Z"),
        ("yesterday+30m", "2024-06-14T00:30:00Z"),
        ("saturday", "2024-06-15T00:00:00Z"),
        ("Mon", "2024-06-10T00:00:00Z"),
        ("january", "2024-01-15T00:00:00Z"),
        ("3", "2024-06-03T00:00:00Z"),
        ("2020", "2020-06-15T00:00:00Z"),
        ("2024-06-01", "2024-06-01T00:00:00Z"),
        ("2024-06-01 08:30", "2024-06-01T08:30:00Z"),
        ("2024-06-01T08:30:00.1234567Z", "2024-06-01T08:30:00.1234567Z"),
        ("2024-06-01T08:30:00+02:00", "2024-06-01T06:30:00Z"),
        ("15-Jun-2024 08:00:00", "2024-06-15T08:00:00Z"),
        ("9999-12-31T23:59:59.9999999Z", "9999-12-31T23:59:59.9999999Z"),
    ],
)
def test_a_time_string_means_what_a_pi_user_means(text: str, expected: str) -> None:
    assert iso_timestamp(parse_time(text, now=NOW, zone=UTC)) == expected


@pytest.mark.parametrize(
    "text",
    [
        "soon",
        "*-1fortnight",
        "*-1",
        "2024-13-01",
        "2024-02-30T00:00:00Z",
        "31",
        "1960-01-01T00:00:00Z",
        "*-2000y",
        "\x00",
    ],
)
def test_a_text_that_means_no_instant_is_refused(text: str) -> None:
    with pytest.raises(InvalidTimeError):
        parse_time(text, now=NOW, zone=UTC)


def test_a_day_follows_the_wall_clock_and_24_hours_do_not() -> None:
    now = to_ticks(datetime(2024, 3, 31, 12, tzinfo=BERLIN).astimezone(UTC))
    day = parse_time("*-1d", now=now, zone=BERLIN)
    hours = parse_time("*-24h", now=now, zone=BERLIN)
    assert iso_timestamp(day) == "2024-03-30T11:00:00Z"
    assert iso_timestamp(hours) == "2024-03-30T10:00:00Z"


def test_the_zone_in_a_string_wins_over_the_zone_asked_for() -> None:
    assert parse_time("2024-06-01T00:00:00Z", now=NOW, zone=BERLIN) == parse_time("2024-06-01", now=NOW, zone=UTC)
    assert parse_time("2024-06-01", now=NOW, zone=BERLIN) == parse_time("2024-05-31T22:00:00Z", now=NOW, zone=UTC)


@given(st.integers(0, MAX_TICKS))
def test_every_instant_is_read_back_as_it_is_printed(instant: int) -> None:
    assert parse_time(iso_timestamp(instant), now=NOW, zone=BERLIN) == instant


@given(st.text(max_size=12))
def test_any_text_is_an_instant_or_an_invalid_time(text: str) -> None:
    try:
        instant = parse_time(text, now=NOW, zone=BERLIN)
    except InvalidTimeError:
        return
    assert 0 <= instant <= MAX_TICKS


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1h", timedelta(hours=1)),
        ("1h30m", timedelta(minutes=90)),
        ("1.5d", timedelta(hours=36)),
        ("00:10:30", timedelta(seconds=630)),
        ("10 minutes", timedelta(minutes=10)),
        ("250f", timedelta(milliseconds=250)),
    ],
)
def test_an_interval_is_an_af_time_span(text: str, expected: timedelta) -> None:
    assert Interval.parse(text).after(0, UTC) == expected // timedelta(microseconds=1) * 10


def test_windows_and_iana_zones_are_known_and_iana_can_be_switched_off() -> None:
    assert time_zone("W. Europe Standard Time", server_zone="UTC") == BERLIN
    assert time_zone("Europe/Berlin", server_zone="UTC") == BERLIN
    assert time_zone(None, server_zone="Europe/Berlin") == BERLIN
    with pytest.raises(InvalidTimeError):
        time_zone("Europe/Berlin", server_zone="UTC", iana_names=False)
    with pytest.raises(InvalidTimeError):
        time_zone("../../etc/passwd", server_zone="UTC")
