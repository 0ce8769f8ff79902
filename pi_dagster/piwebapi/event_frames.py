"""Event frames of an AF database: those that start within a window.

A server gives a page of a search and does not promise that the next one goes on where it ended: frames come and go
between the two. So pages are not counted; the next one begins at the last instant of a full one, as for recorded
values. Search modes and defaults: docs.aveva.com/bundle/pi-web-api-reference/page/help/topics/search-mode.html and
.../controllers/assetdatabase/actions/geteventframes.html.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, replace
from datetime import datetime, timedelta, timezone
from functools import partial
from itertools import pairwise
from typing import Any

import msgspec

from pi_dagster.piwebapi.answers import format_instant
from pi_dagster.piwebapi.asset_framework import AssetDatabase, linked_id
from pi_dagster.piwebapi.errors import (
    BrokenAnswerError,
    TooManyEqualTimesError,
)
from pi_dagster.piwebapi.item_lists import check_is_whole
from pi_dagster.piwebapi.json_body import decoded
from pi_dagster.piwebapi.transport import Transport

SEARCHES_IN_FLIGHT = 4
"""Pages asked for at once. Searching is dear to an AF server, which allows fewer searches than reads a second."""

_MOST_SLICES = 16
_OPEN_YEAR = "9999"
"""The year in which a frame ends that has not ended."""

_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
_MICROSECOND = timedelta(microseconds=1)


class EventFrame(msgspec.Struct, frozen=True, kw_only=True):
    """An event frame as the server lists it; elements and frames by their GUIDs."""

    event_frame_id: str
    web_id: str
    name: str
    path: str
    description: str
    template_name: str
    database_name: str
    start: datetime
    end: datetime | None
    """None while it is open."""
    severity: str
    category_names: tuple[str, ...]
    primary_element_id: str | None
    referenced_element_ids: tuple[str, ...]
    parent_id: str | None
    is_acknowledged: bool
    acknowledged_by: str | None
    acknowledged_at: datetime | None
    values_captured: bool
    """True when the server has stored the attribute values with the frame."""

    @property
    def is_open(self) -> bool:
        """True while it has not ended."""
        return self.end is None


@dataclass(frozen=True, kw_only=True)
class FrameSearch:
    """The frames of one database that start in `[start, end)`, children of other frames too.

    Args:
        database: where to look.
        start: first instant inside, aware, UTC.
        end: first instant after, aware, UTC.
        template: only frames of this template or of one derived from it.
        only_open: only frames that have not ended.
    """

    database: AssetDatabase
    start: datetime
    end: datetime
    template: str | None = None
    only_open: bool = False


class _Links(msgspec.Struct):
    Parent: str = ""
    PrimaryReferencedElement: str = ""


class _Frame(msgspec.Struct):
    WebId: str
    Id: str
    Name: str
    StartTime: str
    EndTime: str
    Path: str = ""
    Description: str | None = None
    TemplateName: str | None = None
    Severity: str | None = None
    CategoryNames: list[str] | None = None
    RefElementWebIds: list[str] | None = None
    IsAcknowledged: bool = False
    AcknowledgedBy: str | None = None
    AcknowledgedDate: str | None = None
    AreValuesCaptured: bool = False
    Links: _Links = msgspec.field(default_factory=_Links)


class _Page(msgspec.Struct):
    Items: list[_Frame]
    WebException: dict[str, Any] | None = None
    Errors: list[Any] | None = None


# What reports a failure must be asked for too: selectedFields removes all that it does not list.
_FRAME_FIELDS = ";".join(
    [
        *(f"Items.{name}" for name in _Frame.__struct_fields__ if name != "Links"),
        *(f"Items.Links.{name}" for name in _Links.__struct_fields__),
        "WebException",
        "Errors",
    ]
)


@dataclass(frozen=True)
class _Slice:
    """A part of a search that one page is asked for, microseconds since 1970."""

    search: FrameSearch
    start_us: int
    end_us: int
    page_size: int

    def after(self, page: Sequence[EventFrame], largest_page: int) -> tuple[list[EventFrame], list[_Slice]]:
        """What of a page counts, and what is to be asked for next.

        The last microsecond of a full page may be cut, so its frames are left to the next page, which begins there.

        Raises:
            TooManyEqualTimesError: more frames start in one microsecond than one request may return.
        """
        inside = [frame for frame in page if self.start_us <= _microseconds(frame.start) < self.end_us]
        if len(page) < self.page_size:
            return inside, []
        last_us = _microseconds(page[-1].start)
        kept = [frame for frame in inside if _microseconds(frame.start) < last_us]
        if last_us > self.start_us:
            return kept, self._rest(last_us, len(kept)) if last_us < self.end_us else []
        if self.page_size >= largest_page:
            raise TooManyEqualTimesError(
                f"More than {self.page_size:,} event frames of {self.search.database.name} start at "
                f"{format_instant(self.start_us)}, which is more than one request may return. Raise "
                "`server.max_items_per_call` if the server allows more."
            )
        return [], [replace(self, page_size=min(2 * self.page_size, largest_page))]

    def _rest(self, from_us: int, frames_before: int) -> list[_Slice]:
        """What is left from `from_us` on, in as many slices as pages are to be expected."""
        expected = frames_before * (self.end_us - from_us) / (from_us - self.start_us)
        count = max(1, min(_MOST_SLICES, int(1.2 * expected / self.page_size) + 1, self.end_us - from_us))
        bounds = [from_us + (self.end_us - from_us) * number // count for number in range(count + 1)]
        return [replace(self, start_us=first, end_us=last) for first, last in pairwise(bounds)]


def find_event_frames(
    transport: Transport,
    searches: Sequence[FrameSearch],
    *,
    page_size: int,
    largest_page: int,
    select_fields: bool = True,
    before_page: Callable[[], None] = lambda: None,
) -> Iterator[EventFrame]:
    """The frames that any of the searches finds, each once, in no particular order.

    A search that fits one page is one request. Of a longer one, several pages are under way at once.

    Args:
        transport: the connection.
        searches: what to look for.
        page_size: frames a request.
        largest_page: the server's MaxReturnedItemsPerCall, up to which a page grows when all of its frames start in
            one microsecond.
        select_fields: ask only for what is used.
        before_page: called before pages are asked for; what it raises ends the search.

    Raises:
        PIWebAPIError: a search failed; see `errors`.
    """
    seen: set[str] = set()
    first_page = min(page_size, largest_page)
    todo = [_Slice(one, _microseconds(one.start), _microseconds(one.end), first_page) for one in searches]

    def read(part: _Slice) -> tuple[list[EventFrame], list[_Slice]]:
        return part.after(_read_page(transport, part, select_fields=select_fields), largest_page)

    pool = ThreadPoolExecutor(SEARCHES_IN_FLIGHT, thread_name_prefix="event-frames")
    under_way: set[Future[tuple[list[EventFrame], list[_Slice]]]] = set()
    try:
        while todo or under_way:
            if todo:
                before_page()
            free = SEARCHES_IN_FLIGHT - len(under_way)
            under_way |= {pool.submit(read, todo.pop()) for _ in range(min(len(todo), free))}
            done, under_way = wait(under_way, return_when=FIRST_COMPLETED)
            for page in done:
                frames, more = page.result()
                todo += more
                for frame in frames:
                    if frame.event_frame_id not in seen:
                        seen.add(frame.event_frame_id)
                        yield frame
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _read_page(transport: Transport, part: _Slice, *, select_fields: bool) -> list[EventFrame]:
    search = part.search
    parameters = [
        ("startTime", format_instant(part.start_us)),
        ("endTime", format_instant(part.end_us)),
        ("searchMode", "InProgress" if search.only_open else "StartInclusive"),
        ("searchFullHierarchy", "true"),
        ("sortField", "StartTime"),
        ("sortOrder", "Ascending"),
        ("startIndex", "0"),
        ("maxCount", str(part.page_size)),
        ("webIdType", "IDOnly"),
        *([("templateName", search.template)] if search.template else []),
        *([("selectedFields", _FRAME_FIELDS)] if select_fields else []),
    ]
    path = f"assetdatabases/{search.database.web_id}/eventframes"
    return transport.get(path, parameters, partial(_parse_page, search))


def _parse_page(search: FrameSearch, body: bytes) -> list[EventFrame]:
    page = decoded(body, _PAGE)
    check_is_whole(page.WebException, page.Errors)
    try:
        frames = [_event_frame(frame, search.database.name) for frame in page.Items]
    except ValueError as error:
        raise BrokenAnswerError(f"an event frame is not as documented: {error}") from error
    if any(later.start < earlier.start for earlier, later in pairwise(frames)):
        raise BrokenAnswerError("the event frames are not in the order of their start, which was asked for")
    return frames


def _event_frame(frame: _Frame, database_name: str) -> EventFrame:
    links = (linked_id(web_id, "Em") for web_id in frame.RefElementWebIds or ())
    elements = sorted({element for element in links if element is not None})
    primary = linked_id(frame.Links.PrimaryReferencedElement, "Em")
    return EventFrame(
        event_frame_id=frame.Id.lower(),
        web_id=frame.WebId,
        name=frame.Name,
        path=frame.Path,
        description=frame.Description or "",
        template_name=frame.TemplateName or "",
        database_name=database_name,
        start=_instant(frame.StartTime),
        end=None if frame.EndTime.startswith(_OPEN_YEAR) else _instant(frame.EndTime),
        severity=frame.Severity or "None",
        category_names=tuple(sorted(frame.CategoryNames or ())),
        # A frame about one element only need not say which of them is the primary one.
        primary_element_id=primary or (elements[0] if len(elements) == 1 else None),
        referenced_element_ids=tuple(elements),
        parent_id=linked_id(frame.Links.Parent, "Fm"),
        is_acknowledged=frame.IsAcknowledged,
        # What stands there while nobody has acknowledged is not documented, so it does not count.
        acknowledged_by=(frame.AcknowledgedBy or None) if frame.IsAcknowledged else None,
        acknowledged_at=_instant(frame.AcknowledgedDate) if frame.IsAcknowledged and frame.AcknowledgedDate else None,
        values_captured=frame.AreValuesCaptured,
    )


_PAGE = msgspec.json.Decoder(_Page)


def _instant(text: str) -> datetime:
    """A PI timestamp with up to seven digits, cut to microseconds.

    Raises:
        ValueError: the text is none.
    """
    seconds, _, fraction = text.removesuffix("Z").partition(".")
    return datetime.fromisoformat(f"{seconds}.{fraction[:6]:0<6}").replace(tzinfo=timezone.utc)


def _microseconds(instant: datetime) -> int:
    return (instant - _EPOCH) // _MICROSECOND
