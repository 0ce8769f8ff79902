"""One request for recorded values: how it is written for PI Web API, and what its answer holds for each stream.

Before anything is believed: the status, that the body is JSON, no `WebException`, no value that failed to stream,
and every stream that was asked for. Streams are matched by WebID, as the order of an answer is not documented.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from functools import partial
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pi_dagster.piwebapi.decode import (
    Stream,
    ValuesFailedError,
    decode_batch,
    decode_stream,
    decode_streamset,
    event_table,
    stream_trouble,
)
from pi_dagster.piwebapi.errors import (
    BrokenAnswerError,
    LimitMismatchError,
    PIWebAPIError,
    ServerTroubleError,
    StreamMissingError,
)
from pi_dagster.piwebapi.planning import Request
from pi_dagster.piwebapi.refusals import error_of_status, reason_in_body
from pi_dagster.piwebapi.transport import Parameters, Transport
from pi_dagster.site import ServerSettings
from pi_dagster.webid import WebId

_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
_EVENT_FIELDS = ("Timestamp", "Value", "Good", "Questionable", "Substituted", "Annotated", "Errors")
# What reports a failure must be asked for too: selectedFields removes all that it does not list.
_STREAM_FIELDS = (*(f"Items.{field}" for field in _EVENT_FIELDS), "UnitsAbbreviation", "WebException", "Errors")
_STREAMSET_FIELDS = (
    "Items.WebId",
    *(f"Items.{field}" for field in _STREAM_FIELDS),
    "WebException",
    "Errors",
)


class EventBlock:
    """A table of EVENT_SCHEMA, and its instants at hand."""

    def __init__(self, table: pa.Table) -> None:
        self.table = table
        column = table.column("timestamp").chunk(0) if table.num_rows else None
        self.times_us: npt.NDArray[np.int64] = (
            np.frombuffer(column.buffers()[1], np.int64, table.num_rows) if column else np.empty(0, np.int64)
        )
        """Microseconds since 1970."""


class StreamEvents(NamedTuple):
    """Where the events of one stream are in the table of an answer, and their unit."""

    block: EventBlock
    first: int
    rows: int
    units: str

    def times_us(self) -> npt.NDArray[np.int64]:
        """Instants in microseconds since 1970."""
        return self.block.times_us[self.first : self.first + self.rows]

    def end_us(self) -> int:
        """The first microsecond after the last event; 0 when there is none."""
        return int(self.block.times_us[self.first + self.rows - 1]) + 1 if self.rows else 0

    def before(self, end_us: int) -> StreamEvents:
        """Those of these events that lie before `end_us`, microseconds since 1970."""
        return self._replace(rows=int(np.searchsorted(self.times_us(), end_us)))


@dataclass(frozen=True)
class Answer:
    """What one request brought: events of the streams that were read, and why the others were not."""

    streams: dict[str, StreamEvents]
    troubles: dict[str, PIWebAPIError]


def fetch(request: Request, transport: Transport, settings: ServerSettings, decoder: Executor) -> Answer:
    """Send `request` by streamset GET or by batch, as the site chooses, and decode the answer.

    The troubles of a request for a single stream are raised, so that they are repeated where that can help.

    Args:
        decoder: a single thread that decodes for all; several cannot decode at once anyway, and each would keep
            memory of its own for it.

    Raises:
        PIWebAPIError: see `errors`.
    """
    query = _query(request)
    if settings.read_mode == "streamset":
        fields = [("selectedFields", ";".join(_STREAMSET_FIELDS))] if settings.select_fields else []
        web_ids = [("webId", web_id) for web_id in request.web_ids]
        parameters = [*web_ids, *query, ("webIdType", "IDOnly"), *fields]
        return transport.get("streamsets/recorded", parameters, partial(_decoded, _parse_streamset, request, decoder))
    fields = [("selectedFields", ";".join(_STREAM_FIELDS))] if settings.select_fields else []
    resources = [(web_id, f"streams/{web_id}/recorded", [*query, *fields]) for web_id in request.web_ids]
    return transport.batch(resources, partial(_decoded, partial(_parse_batch, transport.url), request, decoder))


def format_instant(microseconds: int) -> str:
    """An instant as PI writes it: UTC, `Z`, no trailing zeros; `+00:00` is misread by some servers."""
    instant = _EPOCH + timedelta(microseconds=microseconds)
    text = instant.strftime("%Y-%m-%dT%H:%M:%S")
    return f"{text}.{instant.microsecond:06d}".rstrip("0") + "Z" if instant.microsecond else text + "Z"


def _query(request: Request) -> Parameters:
    return [
        ("startTime", format_instant(request.start_us)),
        ("endTime", format_instant(request.end_us)),
        ("boundaryType", "Inside"),
        ("maxCount", str(request.page_size)),
    ]


def _decoded(parse: Callable[[bytes, Request], Answer], request: Request, decoder: Executor, body: bytes) -> Answer:
    return decoder.submit(parse, body, request).result()


def _parse_streamset(body: bytes, request: Request) -> Answer:
    wanted = set(request.web_ids)
    found: dict[str, Stream] = {}
    for stream in decode_streamset(body):
        web_id = stream.WebId if stream.WebId in wanted else _identity(stream.WebId)
        if web_id in found:
            raise BrokenAnswerError(f"the server sent the stream {web_id} twice in one answer")
        if web_id in wanted:
            found[web_id] = stream
    troubles: dict[str, PIWebAPIError] = {
        web_id: StreamMissingError(
            "the server leaves this tag out of its answer: it was deleted, or this login may not read it"
        )
        for web_id in request.web_ids
        if web_id not in found
    }
    return _answer(request, found, troubles)


def _parse_batch(url: str, body: bytes, request: Request) -> Answer:
    answers = decode_batch(body)
    found: dict[str, Stream] = {}
    troubles: dict[str, PIWebAPIError] = {}
    for web_id in request.web_ids:
        sub = answers.get(web_id)
        if sub is None:
            troubles[web_id] = BrokenAnswerError("the answer to the batch leaves this tag out")
        elif sub.Status == 200:
            found[web_id] = decode_stream(sub.Content)
        else:
            troubles[web_id] = error_of_status(url, sub.Status, reason_in_body(sub.Content))
    for error in troubles.values():
        # The server is overloaded or the site's limits are wrong: that concerns every tag alike.
        if isinstance(error, LimitMismatchError) or (isinstance(error, ServerTroubleError) and error.status != 500):
            raise error
    return _answer(request, found, troubles)


def _answer(request: Request, found: dict[str, Stream], troubles: dict[str, PIWebAPIError]) -> Answer:
    _set_aside(found, troubles, look_at_values=False)
    order = [web_id for web_id in request.web_ids if web_id in found]
    try:
        located = _locate(order, found)
    except ValuesFailedError:
        _set_aside(found, troubles, look_at_values=True)
        located = _locate([web_id for web_id in order if web_id in found], found)
    for web_id, events in [*located.items()]:
        if events.rows and events.times_us()[0] < request.start_us:
            # A server that always begins at the same place would be asked for the same page for ever.
            troubles[web_id] = BrokenAnswerError("the server sent events from before the time that it was asked for")
            del located[web_id]
    if len(request.web_ids) == 1 and troubles:
        raise troubles[request.web_ids[0]]
    return Answer(located, troubles)


def _set_aside(found: dict[str, Stream], troubles: dict[str, PIWebAPIError], *, look_at_values: bool) -> None:
    """Move the streams that cannot be believed from `found` to `troubles`."""
    for web_id, stream in list(found.items()):
        if trouble := stream_trouble(stream, look_at_values=look_at_values):
            troubles[web_id] = BrokenAnswerError(trouble)
            del found[web_id]


def _locate(web_ids: Sequence[str], found: Mapping[str, Stream]) -> dict[str, StreamEvents]:
    streams = [found[web_id] for web_id in web_ids]
    block = EventBlock(event_table(streams))
    first = 0
    located = {}
    for web_id, stream in zip(web_ids, streams, strict=True):
        rows = len(stream.Items or ())
        located[web_id] = StreamEvents(block, first, rows, stream.UnitsAbbreviation or "")
        first += rows
    return located


def _identity(web_id: str) -> str:
    """The IDOnly form, for servers that answer in another form than they were asked for."""
    try:
        return WebId.parse(web_id).identity
    except ValueError:
        return web_id
