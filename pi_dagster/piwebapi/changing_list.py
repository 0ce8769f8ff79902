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
from typing import TypeVar

from pi_dagster.piwebapi.errors import BrokenAnswerError, ListKeepsChangingError

Row = TypeVar("Row")

_MOST_PASSES = 6
_PAGES_AHEAD = 4
"""Pages under way at once. Searching is dear to an AF server, which allows fewer searches than reads a second."""


def read_changing_list(
    fetch_page: Callable[[int, int], Sequence[Row]],
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
        fetch_page: start index and count to the objects of that page.
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
        rows, fits = _read_once(fetch_page, identity, page_size=page_size, pool=pool, what=what)
        if fits or (before is not None and before.keys() == rows.keys()):
            return list(rows.values())
        before = rows
    raise ListKeepsChangingError(
        f"{what} changed each of the {_MOST_PASSES} times it was read. Run again when nobody is changing it."
    )


def _read_once(
    fetch_page: Callable[[int, int], Sequence[Row]],
    identity: Callable[[Row], Hashable],
    *,
    page_size: int,
    pool: Executor,
    what: str,
) -> tuple[dict[Hashable, Row], bool]:
    """One reading: the objects by identity, and whether its pages fit together."""
    page = fetch_page(0, page_size)
    rows = {identity(row): row for row in page}
    if len(page) < page_size:
        return _read_on(rows, fetch_page, identity, start=len(page), page_size=page_size, what=what), True
    fits = True
    step = page_size - 1
    ahead: deque[Future[Sequence[Row]]] = deque()
    start = step
    try:
        while True:
            while len(ahead) < _PAGES_AHEAD:
                ahead.append(pool.submit(fetch_page, start, page_size))
                start += step
            last = identity(page[-1])
            page = ahead.popleft().result()
            fits = fits and bool(page) and identity(page[0]) == last
            rows |= {identity(row): row for row in page}
            if len(page) < page_size:
                return rows, fits
    finally:
        for future in ahead:
            future.cancel()


def _read_on(
    rows: dict[Hashable, Row],
    fetch_page: Callable[[int, int], Sequence[Row]],
    identity: Callable[[Row], Hashable],
    *,
    start: int,
    page_size: int,
    what: str,
) -> dict[Hashable, Row]:
    """What follows a first page that is not full: nothing, unless the server gives less than it is asked for."""
    while start and (page := fetch_page(start, page_size)):
        known = len(rows)
        rows |= {identity(row): row for row in page}
        if len(rows) == known and len(page) == page_size:
            raise BrokenAnswerError(f"{what} has no end: the server sends the same objects for every startIndex.")
        start += len(page)
    return rows
