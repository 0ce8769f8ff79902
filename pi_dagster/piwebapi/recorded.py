"""Recorded values of many streams over a window of time, as Arrow tables in the order of tag, then time.

Requests run ahead on threads, in the order in which their events are needed, and go on into the next reading when
one has no more to send. A stream whose page was cut is asked for again from where its page can no longer be trusted.
A request that the server refuses, or cannot answer in time, is cut in half until it is known which tag is to blame,
so that one bad tag costs one tag.
"""

from __future__ import annotations

from bisect import insort
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from itertools import takewhile

import pyarrow as pa

from pi_dagster.piwebapi.answers import Answer, StreamEvents, fetch
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
from pi_dagster.piwebapi.event_tables import EventsInOrder
from pi_dagster.piwebapi.freed_memory import give_large_blocks_back
from pi_dagster.piwebapi.paging import turn_page
from pi_dagster.piwebapi.planning import Density, Request, RequestLimits, plan_requests
from pi_dagster.piwebapi.transport import Transport
from pi_dagster.site import ServerSettings

_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
_MICROSECOND = timedelta(microseconds=1)
_SHORTEST_SLICE_US = 60_000_000
_LOOKED_BACK = 4
_FAILURES_BEFORE_ANY_SUCCESS = 10
_FAILURES_IN_A_ROW = 100
_TIMEOUTS_IN_A_ROW = 8
"""Failures after which the server, not a tag, is held to be the reason: of single tags before any tag was read and
later, as the tags of one broken interface are neighbours; and of requests of any size that were not answered, where
those of one tag count once: after as many of its own, the tag is the reason."""
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


class RecordedReader:
    """Reads recorded values from one server; remembers how dense its streams are.

    Args:
        transport: the connection to the server.
        settings: the server of the site.
    """

    def __init__(self, transport: Transport, settings: ServerSettings) -> None:
        give_large_blocks_back()
        self._transport = transport
        self._settings = settings
        self.limits = RequestLimits.of(settings)
        """What a request may ask for."""
        self.densities: dict[str, Density] = {}
        """How dense each stream was in the last reading of it, by WebID."""
        # Two more than requests in flight: some answers are being decoded while the server works on others.
        self.depth = settings.max_requests_in_flight + 2
        """How many requests run ahead of the one whose answer is being used, that one included."""
        self._executor = ThreadPoolExecutor(self.depth, thread_name_prefix="pi-web-api")
        self._decoder = ThreadPoolExecutor(1, thread_name_prefix="pi-decode")

    def close(self) -> None:
        """Drop what is not yet under way and wait for what is."""
        self._executor.shutdown(cancel_futures=True)
        self._decoder.shutdown()

    def read(self, window: ReadWindow) -> RecordedReading:
        """One reading on its own."""
        return RecordedReading(self, window, run_ahead=lambda free: None)

    def read_in_turn(self, windows: Iterable[ReadWindow]) -> Iterator[RecordedReading]:
        """One reading after the other, in order; asking for the next gives up what is left of the one before."""
        remaining = iter(windows)
        prepared: deque[RecordedReading] = deque()

        def run_ahead(free: int) -> None:
            for reading in prepared:
                free -= reading.send(max(0, free))
            while free > 0 and len(prepared) < self.depth and (window := next(remaining, None)) is not None:
                prepared.append(RecordedReading(self, window, run_ahead))
                free -= prepared[-1].send(free)

        try:
            while True:
                if not prepared:
                    run_ahead(self.depth)
                if not prepared:
                    return
                reading = prepared.popleft()
                yield reading
                reading.give_up()
        finally:
            remaining = iter(())
            for reading in prepared:
                reading.give_up()

    def submit(self, request: Request) -> Future[Answer]:
        """Send `request` on a thread of its own."""
        return self._executor.submit(fetch, request, self._transport, self._settings, self._decoder)

    def server_is_answering(self) -> bool:
        """Whether the server answers a trivial request now."""
        return self._transport.is_answering()


class RecordedReading:
    """One pass over a window: iterate it once for the events, then look at what could not be read.

    Iteration yields `pa.Table` of RECORDED_SCHEMA. Of a stream in `failures` some events may have been yielded before
    it failed; they must not be kept.
    """

    def __init__(self, reader: RecordedReader, window: ReadWindow, run_ahead: Callable[[int], None]) -> None:
        self.failures: dict[str, PIWebAPIError] = {}
        """Why a stream could not be read whole, by WebID."""
        self._reader = reader
        self._run_ahead = run_ahead
        self._names = {stream.web_id: stream.name for stream in window.streams}
        self._positions = {web_id: position for position, web_id in enumerate(self._names)}
        self._densities: dict[str, Density] = {}
        self._since_burst: dict[str, Density] = {}
        self._failures_in_a_row = 0
        self._timeouts_in_a_row = 0
        self._timeouts_alone: Counter[str] = Counter()
        self._has_read_something = False
        self._is_given_up = False
        self._steps: list[_Step] = []
        start_us, end_us = (window.start - _EPOCH) // _MICROSECOND, (window.end - _EPOCH) // _MICROSECOND
        if end_us > start_us:
            self._plan(dict.fromkeys(self._names, start_us), end_us, reader.densities)

    def send(self, most: int) -> int:
        """Send those of the first `most` requests that are not on their way yet; returns how many answers are held.

        Requests for what was cut push others back whose answers are here already. Fewer are sent then, so that not
        too much is held, but never none of this reading's, or it would wait for itself.
        """
        pushed_back = sum(step.future is not None for step in self._steps[most : _LOOKED_BACK * most])
        first = self._steps[: max(min(1, most), most - pushed_back // 2)]
        for step in first:
            if step.future is None and step.pieces is None:
                wanted = tuple(web_id for web_id in step.request.web_ids if web_id not in self.failures)
                if wanted:
                    step.request = step.request._replace(web_ids=wanted)
                    step.future = self._reader.submit(step.request)
                else:
                    step.pieces = {}
        return len(first) + pushed_back

    def give_up(self) -> None:
        """Send nothing any more; what is left cannot be iterated."""
        self._is_given_up = True
        for step in self._steps:
            if step.future is not None:
                step.future.cancel()
        self._steps.clear()

    def __iter__(self) -> Iterator[pa.Table]:
        """Yield the events.

        Raises:
            PIWebAPIError: the server as a whole cannot be read from.
            RuntimeError: the next reading was asked for before this one was at its end.
        """
        events = EventsInOrder(self._names, self.failures)
        depth = self._reader.depth
        try:
            while self._steps or self._is_given_up:
                if self._is_given_up:
                    raise RuntimeError("a reading is iterated once, and before the next one is asked for")
                self._run_ahead(depth - self.send(depth))
                self._use_answers()
                used = list(takewhile(lambda step: step.pieces is not None, self._steps))
                for step in used:
                    events.hold(step.request.start_us, step.pieces or {})
                del self._steps[: len(used)]
                yield from events.release(self._steps[0].key if self._steps else None)
            self._run_ahead(depth)
        finally:
            self.give_up()

    def _plan(self, starts_us: Mapping[str, int], end_us: int, densities: Mapping[str, Density]) -> dict[str, int]:
        """Queue the requests that read each stream from its start on, or from earlier; returns from when they do."""
        planned = {}
        for group in plan_requests(starts_us, end_us=end_us, densities=densities, limits=self._reader.limits):
            planned.update(dict.fromkeys(group[0].web_ids, group[0].start_us))
            for request in group:
                self._queue(request)
        return planned

    def _queue(self, request: Request) -> None:
        insort(self._steps, _Step(request, (self._positions[request.web_ids[0]], request.start_us)), key=_key)

    def _use_answers(self) -> None:
        """Wait until there is an answer, and use all there are: what was cut is asked for the sooner."""
        under_way = [
            (step, step.future)
            for step in self._steps[: self._reader.depth]
            if step.pieces is None and step.future is not None
        ]
        if self._steps[0].pieces is None:
            wait([future for _, future in under_way], return_when=FIRST_COMPLETED)
        for step, future in under_way:
            if future.done():
                self._use(step, future)

    def _use(self, step: _Step, future: Future[Answer]) -> None:
        request = step.request
        if self.failures.keys() >= set(request.web_ids):
            step.pieces = {}
            return
        try:
            step.pieces = self._pieces(request, future.result())
        except PIWebAPIError as error:
            self._blame(request, error)
            is_alone = len(request.web_ids) == 1
            is_to_blame = is_alone and self._timeouts_alone[request.web_ids[0]] >= _TIMEOUTS_IN_A_ROW
            if not is_to_blame and (smaller := _cut_in_half(request, error)):
                self._steps.remove(step)
                for half in smaller:
                    self._queue(half)
            else:
                self._fail(request.web_ids[0], error)
                step.pieces = {}
        else:
            self._failures_in_a_row = self._timeouts_in_a_row = 0
            self._timeouts_alone.pop(request.web_ids[0], None)
            self._has_read_something = True

    def _pieces(self, request: Request, answer: Answer) -> dict[str, StreamEvents]:
        """The events of `answer` that can be kept, by WebID; what it lacks is queued."""
        pieces: dict[str, StreamEvents] = {}
        cut: dict[str, Density] = {}
        resume_us: dict[str, int] = {}
        for web_id in request.web_ids:
            events = answer.streams.get(web_id)
            if events is None:
                # Asked for alone, a stream tells what its trouble is.
                self._queue(request._replace(web_ids=(web_id,), page_size=self._reader.limits.page_size(1)))
                continue
            if events.rows < request.page_size and events.end_us() <= request.end_us:
                pieces[web_id] = events
                self._learn(web_id, Density.of(events.rows, request.end_us - request.start_us))
                continue
            page = turn_page(
                events.times_us(),
                end_us=request.end_us,
                page_size=request.page_size,
                largest_page_size=self._reader.limits.events,
                stream=self._names[web_id],
            )
            pieces[web_id] = events._replace(rows=page.final)
            read_until = request.end_us if page.resume_us is None else page.resume_us
            density = Density.of(page.final, read_until - request.start_us)
            known = self._learn(web_id, density)
            if page.resume_us is not None and page.final:
                cut[web_id], resume_us[web_id] = density.backed_by(known), page.resume_us
            elif page.resume_us is not None:
                self._queue(Request((web_id,), page.resume_us, request.end_us, page.page_size))
        for web_id, start_us in self._plan(resume_us, request.end_us, cut).items():
            if start_us < resume_us[web_id]:
                pieces[web_id] = pieces[web_id].before(start_us)
        return pieces

    def _learn(self, web_id: str, density: Density) -> Density:
        """Remember how dense the stream was over a further stretch, and return what backs its present rate."""
        known = self._densities.get(web_id)
        self._densities[web_id] = self._reader.densities[web_id] = known.joined(density) if known else density
        before, page_size = self._since_burst.get(web_id), self._reader.limits.page_size(1)
        backing = self._since_burst[web_id] = before.followed_by(density, page_size) if before else density
        return backing

    def _blame(self, request: Request, error: PIWebAPIError) -> None:
        """Raise `error` when it looks like the server's, not like one tag's."""
        if not isinstance(error, _MAY_BE_ONE_TAG) or (isinstance(error, ServerTroubleError) and error.status != 500):
            raise error
        if isinstance(error, RequestTimeoutError):
            if len(request.web_ids) == 1:
                self._timeouts_alone[request.web_ids[0]] += 1
            if self._timeouts_alone[request.web_ids[0]] <= 1:
                # What follows of a tag that is suspected already says nothing more about the server.
                self._timeouts_in_a_row += 1
            if self._timeouts_in_a_row >= _TIMEOUTS_IN_A_ROW or not self._reader.server_is_answering():
                raise error

    def _fail(self, web_id: str, error: PIWebAPIError) -> None:
        self._failures_in_a_row += 1
        most = _FAILURES_IN_A_ROW if self._has_read_something else _FAILURES_BEFORE_ANY_SUCCESS
        if self._failures_in_a_row >= most:
            raise error
        # The frames of an error hold the bodies that it is about, and failures are kept to the end of the reading.
        error.__cause__ = error.__context__ = None
        self.failures[web_id] = error.with_traceback(None)


@dataclass(eq=False)
class _Step:
    """A request of a reading, and what came of it.

    `key` tells when its events are needed: the position of its first stream, and its start. `pieces` are the events
    that can be kept; None until its answer was used.
    """

    request: Request
    key: tuple[int, int]
    future: Future[Answer] | None = None
    pieces: dict[str, StreamEvents] | None = None


def _key(step: _Step) -> tuple[int, int]:
    return step.key


def _cut_in_half(request: Request, error: PIWebAPIError) -> list[Request]:
    """Two smaller requests in place of one that failed; none when it cannot be made smaller."""
    if len(request.web_ids) > 1:
        half = len(request.web_ids) // 2
        return [request._replace(web_ids=request.web_ids[:half]), request._replace(web_ids=request.web_ids[half:])]
    duration_us = request.end_us - request.start_us
    if isinstance(error, (RequestTimeoutError, AnswerTooLargeError)) and duration_us >= 2 * _SHORTEST_SLICE_US:
        middle = request.start_us + duration_us // 2
        return [request._replace(end_us=middle), request._replace(start_us=middle)]
    return []
