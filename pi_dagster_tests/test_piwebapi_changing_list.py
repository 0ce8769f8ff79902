"""A list read in pages is whole, or it is read again, whatever changes between the pages."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pi_dagster.piwebapi.changing_list import read_changing_list
from pi_dagster.piwebapi.errors import BrokenAnswerError, ListKeepsChangingError


class AtOnce(Executor):
    """Runs what is submitted on the spot, so that pages are fetched in a known order."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        future.set_result(fn(*args, **kwargs))
        return future


class ServedList:
    """A list on a server; `change` is called before each page, with the number of pages given so far."""

    def __init__(self, items: Sequence[int], change: Callable[[list[int], int], None] | None = None) -> None:
        self.items = list(items)
        self.pages = 0
        self._change = change

    def page(self, start: int, count: int) -> list[int]:
        if self._change is not None:
            self._change(self.items, self.pages)
        self.pages += 1
        return self.items[start : start + count]

    def read(self, page_size: int) -> list[int]:
        return read_changing_list(self.page, lambda row: row, page_size=page_size, pool=AtOnce(), what="The list")


@pytest.fixture
def pool() -> Iterator[Executor]:
    with ThreadPoolExecutor(4) as pool:
        yield pool


@given(st.integers(0, 60), st.integers(2, 20))
def test_a_list_that_stands_still_is_read_once_and_whole(length: int, page_size: int) -> None:
    assert ServedList(range(length)).read(page_size) == list(range(length))


@given(st.integers(20, 60), st.integers(2, 20), st.data())
def test_what_stays_in_the_list_is_never_lost(length: int, page_size: int, data: st.DataObject) -> None:
    removals = data.draw(st.dictionaries(st.integers(0, 5), st.integers(0, length - 1), max_size=3))
    additions = data.draw(st.dictionaries(st.integers(0, 5), st.integers(0, length - 1), max_size=3))

    def change(items: list[int], page: int) -> None:
        if page in removals and removals[page] in items:
            items.remove(removals[page])
        if page in additions:
            items.insert(additions[page], 1000 + page)

    served = ServedList(range(length), change)
    stays = set(range(length)) - set(removals.values())
    assert stays <= set(served.read(page_size))


def test_an_element_removed_between_two_pages_hides_no_other() -> None:
    served = ServedList(range(30), lambda items, page: items.remove(0) if page == 1 else None)
    assert served.read(10) == list(range(1, 30))


def test_objects_that_come_several_times_are_read_once() -> None:
    items = [number // 3 for number in range(60)]
    assert ServedList(items).read(7) == list(range(20))


def test_an_order_that_changes_is_accepted_when_the_same_objects_are_found_twice() -> None:
    def swap(items: list[int], page: int) -> None:
        items[9], items[10] = items[10], items[9]

    served = ServedList(range(40), swap)
    assert set(served.read(10)) == set(range(40))
    assert served.pages > 10


def test_a_list_that_never_stands_still_is_refused() -> None:
    served = ServedList(range(40), lambda items, page: items.insert(0, -page))
    with pytest.raises(ListKeepsChangingError, match="The list changed each of the"):
        served.read(10)


def test_a_server_that_gives_less_than_it_is_asked_for_is_read_to_the_end(pool: Executor) -> None:
    items = list(range(95))

    def page(start: int, count: int) -> list[int]:
        return items[start : start + min(count, 10)]

    assert read_changing_list(page, lambda row: row, page_size=50, pool=pool, what="The list") == items


@given(st.integers(5, 60), st.integers(4, 20), st.integers(0, 59))
def test_a_page_that_is_shorter_than_the_others_is_not_taken_for_the_last(
    length: int, page_size: int, hidden: int
) -> None:
    """As from a server that counts what this login may not see, and then leaves it out."""

    def page(start: int, count: int) -> list[int]:
        return [item for item in range(length)[start : start + count] if item != hidden]

    found = read_changing_list(page, lambda row: row, page_size=page_size, pool=AtOnce(), what="The list")
    assert set(found) == set(range(length)) - {hidden}


def test_an_object_removed_between_two_short_pages_hides_no_other() -> None:
    served = ServedList(range(30), lambda items, page: items.remove(0) if page == 1 else None)
    found = read_changing_list(
        lambda start, count: served.page(start, min(count, 10)),
        lambda row: row,
        page_size=50,
        pool=AtOnce(),
        what="The list",
    )
    assert found == list(range(1, 30))


def test_a_server_that_ignores_the_start_index_is_noticed(pool: Executor) -> None:
    with pytest.raises((BrokenAnswerError, ListKeepsChangingError)):
        read_changing_list(lambda start, count: [1, 2, 3], lambda row: row, page_size=5, pool=pool, what="The list")
