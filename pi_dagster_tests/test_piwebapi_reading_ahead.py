"""Readings in turn: the next one's requests are under way before it is its turn, and each stands alone."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future

import numpy as np
import pytest

from pi_dagster.piwebapi import ReadWindow, RecordedReading
from pi_dagster.piwebapi.answers import Answer
from pi_dagster.piwebapi.errors import LoginRefusedError
from pi_dagster.piwebapi.planning import Request
from pi_dagster_tests.model_server import DAY_US, ModelReader

IN_FLIGHT = 4
DEPTH = IN_FLIGHT + 2
HOURLY = np.arange(24) * (DAY_US // 24)


def reader_of(tags: int, **settings: object) -> ModelReader:
    instants = {f"I1DP{number:028d}": HOURLY for number in range(tags)}
    return ModelReader(instants, max_requests_in_flight=IN_FLIGHT, **settings)


def windows(reader: ModelReader, days: int, looked_at: list[int] | None = None) -> Iterator[ReadWindow]:
    for day in range(days):
        if looked_at is not None:
            looked_at.append(day)
        yield reader.window(day)


def rows(reading: RecordedReading) -> int:
    return sum(table.num_rows for table in reading)


def test_each_reading_brings_its_own_window() -> None:
    reader = reader_of(250)
    assert [rows(reading) for reading in reader.read_in_turn(windows(reader, 20))] == [250 * 24] * 20


def test_the_next_readings_requests_are_sent_while_the_first_is_iterated_and_has_no_more() -> None:
    reader = reader_of(1)
    readings = reader.read_in_turn(windows(reader, 20))
    next(iter(next(readings)))
    assert len({request.start_us for request in reader.requests}) == DEPTH


def test_they_run_on_while_the_caller_does_something_else_between_two_readings() -> None:
    reader = reader_of(1)
    readings = reader.read_in_turn(windows(reader, 20))
    rows(next(readings))
    assert len(reader.requests) == 1 + DEPTH


def test_not_more_runs_ahead_than_within_one_reading_and_no_window_is_looked_at_before() -> None:
    reader = reader_of(1)
    looked_at: list[int] = []
    for done, reading in enumerate(reader.read_in_turn(windows(reader, 20, looked_at)), start=1):
        rows(reading)
        assert len(reader.requests) <= done + DEPTH
        assert len(looked_at) <= done + DEPTH


def test_a_reading_that_has_requests_of_its_own_left_sends_those_first() -> None:
    reader = reader_of(100, batch_size=10)
    readings = reader.read_in_turn(windows(reader, 2))
    next(iter(next(readings)))
    starts = [request.start_us for request in reader.requests]
    assert starts == sorted(starts)
    assert starts.count(starts[0]) == 10


def test_windows_without_events_or_streams_do_not_end_the_sequence() -> None:
    reader = reader_of(1)
    empty = ReadWindow((), reader.window().start, reader.window().end)
    turned_back = ReadWindow(reader.window().streams, reader.window().end, reader.window().start)
    sequence = [empty] * 30 + [reader.window(), turned_back, reader.window(1), empty]
    assert [rows(reading) for reading in reader.read_in_turn(sequence)] == [0] * 30 + [24, 0, 24, 0]


def test_a_reading_given_up_half_way_leaves_the_following_ones_whole() -> None:
    reader = reader_of(100, batch_size=10)
    counts = []
    for number, reading in enumerate(reader.read_in_turn(windows(reader, 4))):
        if number == 1:
            next(iter(reading))
        elif number != 2:
            counts.append(rows(reading))
    assert counts == [2400, 2400]


def test_a_reading_that_fails_leaves_the_following_ones_whole() -> None:
    class Refusing(ModelReader):
        def submit(self, request: Request) -> Future[Answer]:
            if request.start_us < refused_until_us:
                refused: Future[Answer] = Future()
                refused.set_exception(LoginRefusedError("no"))
                return refused
            return super().submit(request)

    reader = Refusing(reader_of(10).instants)
    refused_until_us = int(reader.window(1).start.timestamp() * 1e6)
    readings = reader.read_in_turn(windows(reader, 3))
    with pytest.raises(LoginRefusedError):
        rows(next(readings))
    assert [rows(reading) for reading in readings] == [240, 240]


def test_a_reading_whose_turn_is_over_is_an_error_and_not_an_empty_one() -> None:
    reader = reader_of(1)
    first, _ = reader.read_in_turn(windows(reader, 2))
    with pytest.raises(RuntimeError, match="before the next one"):
        rows(first)


def test_nothing_more_is_sent_for_readings_that_will_not_come() -> None:
    reader = reader_of(1)
    readings = reader.read_in_turn(windows(reader, 20))
    first = next(readings)
    readings.close()
    assert rows(first) == 24
    assert len(reader.requests) == DEPTH


def test_a_reading_is_iterated_once() -> None:
    reading = reader_of(1).read_day()
    assert rows(reading) == 24
    with pytest.raises(RuntimeError, match="once"):
        rows(reading)
