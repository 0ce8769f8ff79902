"""A list that PI Web API gives in pages by `startIndex`, read whole although it may change meanwhile.

An object that is deleted between two pages moves those behind it up, and one of them is passed over. So each page
begins with the last object of the one before; where that does not fit, the list has moved and is read again.
The server searches anew for each page:
docs.aveva.com/bundle/pi-web-api-reference/page/help/controllers/assetdatabase/actions/findelements.html.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import Executor, Future
from typing import Generic, TypeVar

from pi_dagster.piwebapi.errors import BrokenAnswerError, ListKeepsChangingError

Row = TypeVar("Row")
FetchPage = Callable[[int, int], Sequence[Row]]
"""Start index and count to the objects of that page."""

_MOST_PASSES = 6
PAGES_AHEAD = 4
"""Pages under way at once. Searching is dear to an AF server, which allows fewer searches than reads a second."""

_PAGES_THAT_MOVED_UP = 3
"""In a row, at the end of a list; an object that is in a list several times may fill one."""

_MOST_PAGES_WITHOUT_NEWS = 100
"""Pages in a row of objects that are known already; a server that ignores `startIndex` sends such for ever."""


def read_changing_list(
    fetch_page: FetchPage[Row],
    identity: Callable[[Row], Hashable],
    *,
    page_size: int,
    pool: Executor,
    what: str,
) -> list[Row]:
    """All objects of a list, each once, in the list's order.

    The list counts as whole when all pages fit together, or when two readings in a row find the same objects (a
    server need not keep the order of objects with equal names).

    Args:
        fetch_page: gives a page.
        identity: what tells an object from others; one may be in the list several times.
        page_size: objects a page, at least 2.
        pool: where pages are fetched; `fetch_page` must not use it.
        what: the list's name, for messages.

    Raises:
        ListKeepsChangingError: no reading was whole.
        PIWebAPIError: a page could not be read.
    """
    before: dict[Hashable, Row] | None = None
    for _ in range(_MOST_PASSES):
        pages = _Pages(identity, what)
        _read_once(fetch_page, pages, page_size=page_size, pool=pool)
        if pages.fit or (before is not None and before.keys() == pages.rows.keys()):
            return list(pages.rows.values())
        before = pages.rows
    raise ListKeepsChangingError(
        f"{what} changed each of the {_MOST_PASSES} times it was read. Run again when nobody is changing it."
    )


class _Pages(Generic[Row]):
    """What the pages of one reading hold, by identity, and whether they fit together."""

    def __init__(self, identity: Callable[[Row], Hashable], what: str) -> None:
        self.rows: dict[Hashable, Row] = {}
        self.fit = True
        self._identity = identity
        self._what = what
        self._last: Hashable = None
        self._last_of_first: Hashable = None
        self._without_news = 0

    @property
    def has_moved_up(self) -> bool:
        """True when the last pages held only what was known, as objects come in before them all the time."""
        return self._without_news > _PAGES_THAT_MOVED_UP and self._last != self._last_of_first

    def add(self, page: Sequence[Row], *, overlaps: bool) -> None:
        """Take the next page; one that overlaps begins with the last object of the page before."""
        if overlaps and (not page or self._identity(page[0]) != self._last):
            self.fit = False
        known = len(self.rows)
        self.rows |= {self._identity(row): row for row in page}
        self._without_news = 0 if len(self.rows) > known else self._without_news + 1
        if self._without_news > _MOST_PAGES_WITHOUT_NEWS:
            raise BrokenAnswerError(f"{self._what} has no end: the server sends the same objects for every startIndex.")
        if page:
            self._last = self._identity(page[-1])
            self._last_of_first = self._last if self._last_of_first is None else self._last_of_first


def _read_once(fetch_page: FetchPage[Row], pages: _Pages[Row], *, page_size: int, pool: Executor) -> None:
    page, start = fetch_page(0, page_size), 0
    pages.add(page, overlaps=False)
    ahead: deque[tuple[int, Future[Sequence[Row]]]] = deque()
    try:
        next_start = page_size - 1
        while len(page) == page_size:
            while len(ahead) < PAGES_AHEAD:
                ahead.append((next_start, pool.submit(fetch_page, next_start, page_size)))
                next_start += page_size - 1
            start, answer = ahead.popleft()
            page = answer.result()
            pages.add(page, overlaps=True)
    finally:
        for _, answer in ahead:
            answer.cancel()
    # Nothing follows a short page, unless the server gives less than it is asked for.
    while len(page) > 1 and not pages.has_moved_up:
        start += len(page) - 1
        page = fetch_page(start, page_size)
        pages.add(page, overlaps=True)
