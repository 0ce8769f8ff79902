"""How many events the server itself counts of tags, day by day, without sending one of them.

`Count` is the one summary that tags of every type have, and counts events where each weighs the same
(docs.aveva.com/bundle/pi-web-api-reference/page/help/controllers/stream/actions/getsummary.html and
.../help/topics/summary-type.html). What it counts at the ends of an interval is said only for requests with several
of them, where `EventWeightedExcludeMostRecentEvent` leaves an event at the end to the next interval
(.../help/topics/calculation-basis.html): so a day alone is asked for in two halves. And intervals are given in hours,
as those of days follow the clocks of the server's zone (.../help/topics/summary-duration.html). Whether bad values
are counted is said nowhere.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, time, timedelta, timezone
from functools import partial
from itertools import pairwise
from typing import Any

import msgspec

from pi_dagster.piwebapi.answers import format_instant
from pi_dagster.piwebapi.batches import batch_answers, error_of_answer
from pi_dagster.piwebapi.errors import (
    AnswerTooLargeError,
    BrokenAnswerError,
    PIWebAPIError,
    RequestRefusedError,
    RequestTimeoutError,
    ServerTroubleError,
    StreamMissingError,
)
from pi_dagster.piwebapi.json_body import decoded
from pi_dagster.piwebapi.planning import MAX_WEBID_BYTES
from pi_dagster.piwebapi.refusals import reason_in
from pi_dagster.piwebapi.transport import Parameters, Transport
from pi_dagster.site import ServerSettings
from pi_dagster.webid import WebId

MOST_EVENTS_COUNTED = 1_500_000
"""Events that the server is expected to go through for one request: as many as the Data Archive by default collects for
one call (tuning parameter ArcMaxCollect), so that no request keeps it busy for long."""

_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
_FAILURES_BEFORE_ANY_SUCCESS = 10
_FIELDS = "Items.Type;Items.Value.Timestamp;Items.Value.Value;WebException;Errors"
_SET_FIELDS = (
    "Items.WebId;Items.Items.Type;Items.Items.Value.Timestamp;Items.Items.Value.Value;Items.WebException;Items.Errors;"
    "WebException;Errors"
)


@dataclass(frozen=True)
class ServerCounts:
    """What the server counted over some days that follow one another.

    Args:
        by_day: by WebID, a number for each day; 0 also where the server has a bad value instead of a number, as it
            may have for a day without events.
        failures: why a tag's events were not counted, by WebID.
    """

    by_day: dict[str, Sequence[int]] = field(default_factory=dict)
    failures: dict[str, PIWebAPIError] = field(default_factory=dict)


@dataclass(frozen=True)
class _Request:
    web_ids: Sequence[str]
    first_day: date
    days: int

    @property
    def intervals_a_day(self) -> int:
        return 2 if self.days == 1 else 1

    def query(self) -> Parameters:
        start = (datetime.combine(self.first_day, time(), timezone.utc) - _EPOCH) // timedelta(microseconds=1)
        end = start + timedelta(days=self.days) // timedelta(microseconds=1)
        return [
            ("startTime", format_instant(start)),
            ("endTime", format_instant(end)),
            ("summaryType", "Count"),
            ("calculationBasis", "EventWeightedExcludeMostRecentEvent"),
            ("timeType", "EarliestTime"),
            ("summaryDuration", f"{24 // self.intervals_a_day}h"),
        ]


class _Value(msgspec.Struct, gc=False):
    Timestamp: str = ""
    Value: Any = None


class _Summary(msgspec.Struct, gc=False):
    Value: _Value
    Type: str = "Count"


class _Stream(msgspec.Struct, gc=False):
    Items: list[_Summary] | None = None
    WebId: str = ""
    WebException: dict[str, Any] | None = None
    Errors: list[Any] | None = None


class _StreamSet(msgspec.Struct, gc=False):
    Items: list[_Stream]
    WebException: dict[str, Any] | None = None
    Errors: list[Any] | None = None


_STREAM = msgspec.json.Decoder(_Stream)
_STREAM_SET = msgspec.json.Decoder(_StreamSet)


class EventCounter:
    """Asks one server how many events it has; one request at a time, as nobody waits for the answer.

    Args:
        transport: the connection to the server.
        settings: the server of the site.
    """

    def __init__(self, transport: Transport, settings: ServerSettings) -> None:
        self._transport = transport
        self._settings = settings
        self._has_counted = False

    def count(self, expected: Mapping[str, int], *, first_day: date, days: int) -> ServerCounts:
        """The number of events of each tag on each day; a day ends before midnight, UTC.

        Args:
            expected: about how many events each tag has over all these days, by WebID, so that no request makes the
                server go through too many.
            first_day: the first of the days.
            days: how many.

        Raises:
            PIWebAPIError: the server as a whole does not count.
        """
        counts = ServerCounts()
        for request in self._requests(expected, first_day, days):
            self._count(request, counts)
        for web_id in counts.failures:
            counts.by_day.pop(web_id, None)
        return counts

    def _requests(self, expected: Mapping[str, int], first_day: date, days: int) -> Iterator[_Request]:
        most_streams = min(self._settings.batch_size, self._settings.max_items_per_call // max(2, days))
        together: list[str] = []
        events = url_bytes = 0
        for web_id, count in expected.items():
            size = len(web_id) + len("webId=&")
            if together and (
                len(together) >= max(1, most_streams)
                or events + count > MOST_EVENTS_COUNTED
                or url_bytes + size > MAX_WEBID_BYTES
            ):
                yield from _in_time(together, events, first_day, days)
                together, events, url_bytes = [], 0, 0
            together.append(web_id)
            events += count
            url_bytes += size
        if together:
            yield from _in_time(together, events, first_day, days)

    def _count(self, request: _Request, counts: ServerCounts) -> None:
        """Send a request; one that the server cannot answer is cut in half until it is known which tag is to blame."""
        try:
            found = self._send(request)
        except (
            AnswerTooLargeError,
            BrokenAnswerError,
            RequestRefusedError,
            RequestTimeoutError,
            ServerTroubleError,
        ) as error:
            is_slow = isinstance(error, RequestTimeoutError)
            if isinstance(error, ServerTroubleError) and error.status != 500:
                raise
            if is_slow and not self._transport.is_answering():
                raise
            halves = _halves(request, by_days=is_slow)
            if not halves:
                counts.failures[request.web_ids[0]] = error
                if not self._has_counted and len(counts.failures) >= _FAILURES_BEFORE_ANY_SUCCESS:
                    raise
            for half in halves:
                self._count(half, counts)
            return
        for web_id in request.web_ids:
            stream = found.get(web_id)
            if stream is None:
                counts.failures[web_id] = StreamMissingError(
                    "the server leaves this tag out of its answer: it was deleted, or this login may not read it"
                )
            elif trouble := _trouble_of(stream):
                counts.failures[web_id] = BrokenAnswerError(trouble)
            elif (by_day := _by_day(stream, request)) is None:
                counts.failures[web_id] = BrokenAnswerError("its summary has other intervals than were asked for")
            else:
                self._has_counted = True
                counts.by_day[web_id] = [*counts.by_day.get(web_id, ()), *by_day]

    def _send(self, request: _Request) -> Mapping[str, _Stream]:
        selects = self._settings.select_fields
        if self._settings.read_mode == "batch":
            fields = [("selectedFields", _FIELDS)] if selects else []
            query = [*request.query(), *fields]
            calls = [(web_id, f"streams/{web_id}/summary", query) for web_id in request.web_ids]
            answers = batch_answers(self._transport, calls)
            for web_id in request.web_ids:
                if answers[web_id].Status != 200:
                    raise error_of_answer(self._transport, answers[web_id])
            return {web_id: decoded(answers[web_id].Content, _STREAM) for web_id in request.web_ids}
        fields = [("selectedFields", _SET_FIELDS)] if selects else []
        web_ids = [("webId", web_id) for web_id in request.web_ids]
        parameters = [*web_ids, *request.query(), ("webIdType", "IDOnly"), *fields]
        return self._transport.get("streamsets/summary", parameters, partial(_parse_set, request))


def _in_time(web_ids: Sequence[str], events: int, first_day: date, days: int) -> Iterator[_Request]:
    """Requests for all the days, for fewer each where there are too many events."""
    parts = min(days, max(1, -(-events // MOST_EVENTS_COUNTED)))
    bounds = [days * part // parts for part in range(parts + 1)]
    for begin, end in pairwise(bounds):
        yield _Request(web_ids, first_day + timedelta(days=begin), end - begin)


def _halves(request: _Request, *, by_days: bool) -> Sequence[_Request]:
    """Two smaller requests, for half the days where that is wanted and possible; none for a tag that is alone."""
    days, streams = request.days // 2, len(request.web_ids) // 2
    if by_days and days:
        later = request.first_day + timedelta(days=days)
        return (
            _Request(request.web_ids, request.first_day, days),
            _Request(request.web_ids, later, request.days - days),
        )
    if not streams:
        return ()
    first, second = request.web_ids[:streams], request.web_ids[streams:]
    return _Request(first, request.first_day, request.days), _Request(second, request.first_day, request.days)


def _parse_set(request: _Request, body: bytes) -> Mapping[str, _Stream]:
    answer = decoded(body, _STREAM_SET)
    if trouble := _trouble_of(answer):
        raise BrokenAnswerError(trouble)
    found = {stream.WebId: stream for stream in answer.Items}
    if found.keys() >= set(request.web_ids):
        return found
    return {_identity(web_id): stream for web_id, stream in found.items()}


def _by_day(stream: _Stream, request: _Request) -> Sequence[int] | None:
    """The counts of the days; None when the intervals are not those that were asked for."""
    days = [(request.first_day + timedelta(days=day)).isoformat() for day in range(request.days)]
    events: Counter[str] = Counter()
    intervals: Counter[str] = Counter()
    for summary in stream.Items or ():
        if summary.Type == "Count":
            day, value = summary.Value.Timestamp[:10], summary.Value.Value
            intervals[day] += 1
            events[day] += round(value) if isinstance(value, int | float) else 0
    return [events[day] for day in days] if intervals == dict.fromkeys(days, request.intervals_a_day) else None


def _trouble_of(answer: _Stream | _StreamSet) -> str | None:
    if answer.WebException is not None:
        return f"the server failed while it was counting ({reason_in(answer.WebException)})"
    return f"the server did not count ({reason_in({'Errors': answer.Errors})})" if answer.Errors else None


def _identity(web_id: str) -> str:
    """The IDOnly form, for servers that answer in another form than they were asked for."""
    try:
        return WebId.parse(web_id).identity
    except ValueError:
        return web_id
