"""Recorded values of many streams over a window of time, as Arrow tables in the order of tag, then time.

Requests run ahead on threads, answers are used in order. A stream whose page was cut is asked for again from where
its page can no longer be trusted, grouped anew by how dense its stream proved to be. A request that the server
refuses, or cannot answer in time, is cut in half until it is known which tag is to blame, so that one bad tag costs
one tag.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import datetime, timedelta, timezone
from itertools import groupby, islice

import numpy as np
import pyarrow as pa

from pi_dagster.piwebapi.answers import Answer, StreamEvents, fetch
from pi_dagster.piwebapi.decode import EVENT_SCHEMA
from pi_dagster.piwebapi.errors import (
    AnswerTooLargeError,
    BrokenAnswerError,
    PIWebAPIError,
    RequestRefusedError,
    RequestTimeoutError,
    ServerTroubleError,
    StreamMissingError,
    TooManyEqualTimesError,
)
from pi_dagster.piwebapi.paging import Page, turn_page
from pi_dagster.piwebapi.planning import UNKNOWN, Density, Request, RequestLimits, group_streams, plan_requests
from pi_dagster.piwebapi.transport import Transport
from pi_dagster.site import ServerSettings

_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
_MICROSECOND = timedelta(microseconds=1)
_SHORTEST_SLICE_US = 60_000_000
_EVENTS_PER_TABLE = 65_536
"""Small answers are put together to at least this many: what is done with a table costs the same for few events."""
_FAILURES_BEFORE_ANY_SUCCESS = 10
_FAILURES_IN_A_ROW = 100
_TIMEOUTS_IN_A_ROW = 8
"""Failures after which the server, not a tag, is held to be the reason: of single tags before any tag was read and
later, as the tags of one broken interface are neighbours; and of requests of any size that were not answered."""
_MAY_BE_ONE_TAG = (
    AnswerTooLargeError,
    BrokenAnswerError,
    RequestRefusedError,
    RequestTimeoutError,
    ServerTroubleError,
    StreamMissingError,
    TooManyEqualTimesError,
)
"""Failures that one tag can cause for all the tags of its request."""

NAMES = pa.dictionary(pa.int32(), pa.string())

RECORDED_SCHEMA = pa.schema([pa.field("tag_webid", NAMES, nullable=False), *EVENT_SCHEMA, pa.field("units", NAMES)])
"""What a reading yields; timestamps in UTC, microseconds."""


@dataclass(frozen=True)
class StreamRef:
    """A stream to read: its IDOnly WebID, and its name for messages."""

    web_id: str
    name: str


@dataclass(frozen=True)
class ReadWindow:
    """What one reading is to bring: the recorded values of some streams over `[start, end)`.

    Args:
        streams: in the order in which their events are to come; a stream named twice is read once.
        start: first instant, aware.
        end: first instant that no longer belongs, aware.
    """

    streams: Sequence[StreamRef]
    start: datetime
    end: datetime


_Part = tuple[str, list[StreamEvents]]


@dataclass
class _Step:
    """A request on its way, and where its events belong.

    `parts` are the streams to emit with this step, in order, and what is already here of each. The streams of the
    request are among them, the first of the request first; the others are complete.
    """

    request: Request
    parts: list[_Part]
    future: Future[Answer] | None = None


class RecordedReader:
    """Reads recorded values from one server; remembers how dense its streams are.

    Args:
        transport: the connection to the server.
        settings: the server of the site.
    """

    def __init__(self, transport: Transport, settings: ServerSettings) -> None:
        self._transport = transport
        self._settings = settings
        self._limits = RequestLimits.of(settings)
        self._densities: dict[str, Density] = {}
        # Two more than requests in flight: some answers are being decoded while the server works on others.
        self._depth = settings.max_requests_in_flight + 2
        self._executor = ThreadPoolExecutor(self._depth, thread_name_prefix="pi-web-api")
        self._decoder = ThreadPoolExecutor(1, thread_name_prefix="pi-decode")

    def close(self) -> None:
        """Drop what is not yet under way and wait for what is."""
        self._executor.shutdown(cancel_futures=True)
        self._decoder.shutdown()

    def read(self, window: ReadWindow) -> RecordedReading:
        """Begin to read one window."""
        start_us, end_us = (window.start - _EPOCH) // _MICROSECOND, (window.end - _EPOCH) // _MICROSECOND
        return RecordedReading(self, window.streams, start_us, end_us)

    def read_in_turn(self, windows: Iterable[ReadWindow]) -> Iterator[RecordedReading]:
        """One reading after the other, in order."""
        yield from map(self.read, windows)

    def submit(self, request: Request) -> Future[Answer]:
        """Send `request` on a thread of its own."""
        return self._executor.submit(fetch, request, self._transport, self._settings, self._decoder)

    def server_is_answering(self) -> bool:
        """Whether the server answers a trivial request now."""
        return self._transport.is_answering()

    def plan(self, web_ids: Sequence[str], start_us: int, end_us: int) -> list[tuple[str, ...]]:
        """Group `web_ids` for requests over the window by what is known of their density."""
        return group_streams(web_ids, duration_us=end_us - start_us, densities=self._densities, limits=self._limits)

    def requests(self, group: tuple[str, ...], start_us: int, end_us: int) -> list[Request]:
        """The requests for one group, in time order."""
        return plan_requests(group, start_us=start_us, end_us=end_us, densities=self._densities, limits=self._limits)

    def learn(self, web_id: str, density: Density) -> None:
        """Remember how dense the stream is."""
        self._densities[web_id] = density

    @property
    def depth(self) -> int:
        """How many requests run ahead of the one whose answer is being used."""
        return self._depth

    def page_size(self, streams: int) -> int:
        """The `maxCount` of a request for this many streams."""
        return self._limits.page_size(streams)

    @property
    def largest_page_size(self) -> int:
        """What a page may grow to when many events share an instant: the server's limit."""
        return self._limits.events


class RecordedReading:
    """One pass over a window: iterate it once for the events, then look at what could not be read.

    Iteration yields `pa.Table` of RECORDED_SCHEMA. Of a stream in `failures` some events may have been yielded before
    it failed; they must not be kept.
    """

    def __init__(self, reader: RecordedReader, streams: Sequence[StreamRef], start_us: int, end_us: int) -> None:
        self.failures: dict[str, PIWebAPIError] = {}
        """Why a stream could not be read whole, by WebID."""
        self._reader = reader
        self._names = {stream.web_id: stream.name for stream in streams}
        self._densities: dict[str, Density] = {}
        self._failures_in_a_row = 0
        self._timeouts_in_a_row = 0
        self._has_read_something = False
        self._steps: deque[_Step] = deque()
        if end_us > start_us:
            for group in reader.plan(list(self._names), start_us, end_us):
                self._steps += self._steps_for(group, start_us, end_us)

    def __iter__(self) -> Iterator[pa.Table]:
        """Yield the events.

        Raises:
            PIWebAPIError: the server as a whole cannot be read from.
        """
        ready: list[_Part] = []
        count = 0
        try:
            while self._steps:
                self._run_ahead()
                parts = self._advance(self._steps.popleft())
                ready += parts
                count += sum(events.count for _, pieces in parts for events in pieces)
                if count >= _EVENTS_PER_TABLE or not self._steps:
                    yield from self._tables(ready)
                    ready, count = [], 0
        finally:
            for step in self._steps:
                if step.future is not None:
                    step.future.cancel()

    def _run_ahead(self) -> None:
        for step in islice(self._steps, self._reader.depth):
            if step.future is None and not self._has_failed(step):
                step.future = self._reader.submit(step.request)

    def _has_failed(self, step: _Step) -> bool:
        return step.request.web_ids[0] in self.failures

    def _advance(self, step: _Step) -> list[_Part]:
        """Use the answer of `step`, queue what it leaves to ask for, and return what can be emitted."""
        if step.future is not None and not self._has_failed(step):
            try:
                ready = self._use(step, step.future.result())
            except PIWebAPIError as error:
                self._blame(error)
                if follow_up := _cut_in_half(step, error):
                    self._steps.extendleft(reversed(follow_up))
                    return []
                self._fail(step.request.web_ids[0], error)
            else:
                self._failures_in_a_row = self._timeouts_in_a_row = 0
                self._has_read_something = True
                return ready
        return [part for part in step.parts if part[0] not in self.failures]

    def _use(self, step: _Step, answer: Answer) -> list[_Part]:
        continued = self._continued(step.request, answer)
        ready: list[_Part] = []
        follow_up: list[_Step] = []
        parts = ready
        for web_id, pieces in step.parts:
            again = continued.get(web_id)
            if web_id in answer.streams:
                pieces = [*pieces, answer.streams[web_id].before(again.start_us if again else step.request.end_us)]
            if again and again.group[0] == web_id:
                if len(again.group) == 1:
                    # What is here of it precedes all that follows: emitted now, it need not be held.
                    parts.append((web_id, pieces))
                    pieces = []
                follow_up += self._steps_for(again.group, again.start_us, step.request.end_us, again.page_size)
                parts = follow_up[-1].parts
                parts.clear()
            parts.append((web_id, pieces))
        self._steps.extendleft(reversed(follow_up))
        return ready

    def _continued(self, request: Request, answer: Answer) -> dict[str, _Continuation]:
        """For each stream that is not complete: from where to ask again, and together with which others."""
        pages: dict[str, Page] = {}
        for web_id in request.web_ids:
            if web_id in answer.troubles:
                pages[web_id] = Page(0, request.start_us, self._reader.page_size(1))
                continue
            page = turn_page(
                answer.streams[web_id].times_us(),
                end_us=request.end_us,
                page_size=request.page_size,
                largest_page_size=self._reader.largest_page_size,
                stream=self._names[web_id],
            )
            read_until = request.end_us if page.resume_us is None else page.resume_us
            density = self._densities.get(web_id, UNKNOWN).and_then(page.final, read_until - request.start_us)
            self._densities[web_id] = density
            self._reader.learn(web_id, density)
            if page.resume_us is not None:
                pages[web_id] = page
        continued: dict[str, _Continuation] = {}
        for brought_nothing, run in groupby(pages, key=lambda web_id: pages[web_id].final == 0):
            members = tuple(run)
            groups: list[tuple[str, ...]] = [(web_id,) for web_id in members]
            if not brought_nothing:
                groups = self._reader.plan(members, min(_resume(pages, members)), request.end_us)
            for group in groups:
                page_size = pages[group[0]].page_size if brought_nothing else None
                again = _Continuation(group, min(_resume(pages, group)), page_size)
                continued.update(dict.fromkeys(group, again))
        return continued

    def _steps_for(
        self, group: tuple[str, ...], start_us: int, end_us: int, page_size: int | None = None
    ) -> list[_Step]:
        if page_size is None:
            requests = self._reader.requests(group, start_us, end_us)
        else:
            requests = [Request(web_ids=group, start_us=start_us, end_us=end_us, page_size=page_size)]
        return [_Step(request, [(web_id, []) for web_id in group]) for request in requests]

    def _blame(self, error: PIWebAPIError) -> None:
        """Raise `error` when it looks like the server's, not like one tag's."""
        if not isinstance(error, _MAY_BE_ONE_TAG) or (isinstance(error, ServerTroubleError) and error.status != 500):
            raise error
        if isinstance(error, RequestTimeoutError):
            self._timeouts_in_a_row += 1
            if self._timeouts_in_a_row >= _TIMEOUTS_IN_A_ROW or not self._reader.server_is_answering():
                raise error

    def _fail(self, web_id: str, error: PIWebAPIError) -> None:
        self._failures_in_a_row += 1
        most = _FAILURES_IN_A_ROW if self._has_read_something else _FAILURES_BEFORE_ANY_SUCCESS
        if self._failures_in_a_row >= most:
            raise error
        self.failures[web_id] = error

    def _tables(self, parts: list[_Part]) -> Iterator[pa.Table]:
        """One table of all parts but those of failed streams; none when they hold no events."""
        pieces = [
            (web_id, events)
            for web_id, many in parts
            for events in many
            if events.count and web_id not in self.failures
        ]
        if not pieces:
            return
        codes = {web_id: code for code, web_id in enumerate(dict.fromkeys(web_id for web_id, _ in pieces))}
        units = {unit: code for code, unit in enumerate(dict.fromkeys(events.units for _, events in pieces))}
        counts = [events.count for _, events in pieces]
        table = pa.concat_tables(_slices([events for _, events in pieces]))
        yield pa.Table.from_arrays(
            [
                _repeated([codes[web_id] for web_id, _ in pieces], counts, list(codes)),
                *table.columns,
                _repeated([units[events.units] for _, events in pieces], counts, list(units)),
            ],
            schema=RECORDED_SCHEMA,
        )


@dataclass(frozen=True)
class _Continuation:
    """Streams to ask for again, from where, and with which page size if it must be another than usual."""

    group: tuple[str, ...]
    start_us: int
    page_size: int | None


def _resume(pages: dict[str, Page], web_ids: tuple[str, ...]) -> list[int]:
    return [resume_us for web_id in web_ids if (resume_us := pages[web_id].resume_us) is not None]


def _cut_in_half(step: _Step, error: PIWebAPIError) -> list[_Step]:
    """Two smaller steps in place of one that failed; none when it cannot be made smaller."""
    request = step.request
    if len(request.web_ids) > 1:
        half = len(request.web_ids) // 2
        at = next(index for index, (web_id, _) in enumerate(step.parts) if web_id == request.web_ids[half])
        return [
            _Step(replace(request, web_ids=request.web_ids[:half]), step.parts[:at]),
            _Step(replace(request, web_ids=request.web_ids[half:]), step.parts[at:]),
        ]
    duration_us = request.end_us - request.start_us
    if isinstance(error, (RequestTimeoutError, AnswerTooLargeError)) and duration_us >= 2 * _SHORTEST_SLICE_US:
        middle = request.start_us + duration_us // 2
        (web_id, pieces), *others = step.parts
        return [
            _Step(replace(request, end_us=middle), [(web_id, pieces)]),
            _Step(replace(request, start_us=middle), [(web_id, []), *others]),
        ]
    return []


def _slices(pieces: list[StreamEvents]) -> list[pa.Table]:
    """The pieces as slices of their tables, neighbours in one."""
    slices: list[pa.Table] = []
    table, first, last = pieces[0].table, pieces[0].first, pieces[0].first
    for piece in pieces:
        if piece.table is not table or piece.first != last:
            slices.append(table.slice(first, last - first))
            table, first = piece.table, piece.first
        last = piece.first + piece.count
    slices.append(table.slice(first, last - first))
    return slices


def _repeated(codes: list[int], counts: list[int], names: list[str]) -> pa.Array:
    indices = pa.array(np.repeat(np.array(codes, np.int32), counts))
    return pa.DictionaryArray.from_arrays(indices, pa.array(names, pa.string()))
