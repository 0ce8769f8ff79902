"""Turning pages of recorded values: what of a page is final, and where to ask again.

PI Web API has no cursor and no sign of truncation: it returns the first `maxCount` events of the range and status
200, so a page that is full may be cut (docs.aveva.com/bundle/pi-web-api-reference/page/help/controllers/stream/
actions/getrecorded.html). Several events may share an instant, and a page may end between them. So the last
microsecond of a full page is never trusted: its events are dropped and asked for again, from that microsecond on,
together with what follows. Every request stands alone then; there is nothing to remember about events already seen.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pi_dagster.piwebapi.errors import TooManyEqualTimesError


@dataclass(frozen=True)
class Page:
    """What one page of one stream means.

    Args:
        final: how many of its first events are inside the window and can be kept.
        resume_us: microsecond (since 1970) to ask again from; None when the window is read to its end.
        page_size: what to ask for then; larger than before when a page held a single microsecond.
    """

    final: int
    resume_us: int | None
    page_size: int


def turn_page(
    times_us: npt.NDArray[np.int64], *, end_us: int, page_size: int, largest_page_size: int, stream: str
) -> Page:
    """Judge a page that was asked for with `boundaryType=Inside`, which includes an event at the end itself.

    Args:
        times_us: the page's instants in ascending order, microseconds since 1970, cut not rounded.
        end_us: end of the half-open window.
        page_size: the `maxCount` that was sent; at least 2.
        largest_page_size: the most that may be sent.
        stream: the stream's name for the error.

    Raises:
        TooManyEqualTimesError: the page holds a single microsecond and cannot grow.
    """
    inside = int(np.searchsorted(times_us, end_us))
    if len(times_us) < page_size or inside < len(times_us):
        return Page(inside, None, page_size)
    last_us = int(times_us[-1])
    final = int(np.searchsorted(times_us, last_us))
    if final > 0:
        return Page(final, last_us, page_size)
    if page_size >= largest_page_size:
        raise TooManyEqualTimesError(
            f"The tag {stream} holds at least {page_size} events in one microsecond "
            f"({np.datetime64(last_us, 'us')}Z), as many as one request may return, so there may be more that cannot "
            "be read. Raise the server's MaxReturnedItemsPerCall and `server.max_items_per_call` above that number."
        )
    return Page(0, last_us, min(2 * page_size, largest_page_size))
