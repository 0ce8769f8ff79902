"""Paging decisions alone, against a model of how a server cuts pages."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pi_dagster.piwebapi.errors import TooManyEqualTimesError
from pi_dagster.piwebapi.paging import turn_page


def read_in_pages(ticks: list[int], *, start_us: int, end_us: int, page_size: int, largest: int) -> list[int]:
    """All events of [start, end) as the indices that were kept, from a server that holds `ticks` of 100 ns."""
    kept: list[int] = []
    size = page_size
    while True:
        # Inside is inclusive at both ends, and the server stops at maxCount without a word.
        answer = [index for index, tick in enumerate(ticks) if start_us * 10 <= tick <= end_us * 10][:size]
        times = np.array([ticks[index] // 10 for index in answer], np.int64)
        page = turn_page(times, end_us=end_us, page_size=size, largest_page_size=largest, stream="T")
        kept += answer[: page.final]
        if page.resume_us is None:
            return kept
        assert page.resume_us > start_us or page.page_size > size, "a page must bring something or grow"
        start_us, size = page.resume_us, page.page_size


instants = st.lists(st.integers(0, 400), max_size=80).map(sorted)


def largest_tie(ticks: list[int]) -> int:
    return max((sum(other // 10 == tick // 10 for other in ticks) for tick in ticks), default=0)


@given(instants, st.integers(0, 40), st.integers(0, 40), st.integers(2, 100))
def test_every_event_comes_exactly_once_when_a_page_can_hold_the_largest_tie(
    ticks: list[int], first: int, length: int, page_size: int
) -> None:
    end = first + length
    largest = max(page_size, largest_tie(ticks) + 1)
    kept = read_in_pages(ticks, start_us=first, end_us=end, page_size=page_size, largest=largest)
    assert kept == [index for index, tick in enumerate(ticks) if first * 10 <= tick < end * 10]


@given(st.integers(2, 20), st.integers(0, 20), st.integers(0, 30))
def test_a_tie_that_fills_the_largest_page_is_an_error_and_never_a_gap(size: int, more: int, before: int) -> None:
    ticks = [*range(0, before * 10, 10), *[1000] * (size + more), 2000]
    with pytest.raises(TooManyEqualTimesError, match="max_items_per_call"):
        read_in_pages(ticks, start_us=0, end_us=1000, page_size=2, largest=size)


def test_an_event_at_the_end_of_the_window_belongs_to_the_next_window() -> None:
    assert read_in_pages([0, 100, 200], start_us=0, end_us=20, page_size=10, largest=10) == [0, 1]


def test_events_100_ns_apart_that_a_page_cuts_are_all_read() -> None:
    ticks = [1000, 1001, 1002, 1003, 2000]
    assert read_in_pages(ticks, start_us=0, end_us=300, page_size=3, largest=8) == [0, 1, 2, 3, 4]


def test_a_full_page_that_reaches_the_end_needs_no_second_one() -> None:
    times = np.array([1, 2, 30], np.int64)
    assert turn_page(times, end_us=30, page_size=3, largest_page_size=3, stream="T").resume_us is None
