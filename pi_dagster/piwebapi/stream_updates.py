"""Stream Updates: which events of which tags were added, edited or deleted, told by the server instead of found.

A tag is registered once and gets a marker; asking with it tells the changes since then and the next marker. The marker
that was used may be used again, so a caller loses nothing that keeps it until it has dealt with the changes. All is in
the memory of one server process: a marker can be lost at any time, and what changed before the tag is registered again
is never told (docs.aveva.com/bundle/pi-web-api-reference/page/help/topics/stream-updates.html).

Registering is a POST without a body that signs this login up and changes no PI data, so a client that only reads may
send it; it is the only one beside batches of reads.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import Any, TypeVar

import msgspec
import pyarrow as pa
import pyarrow.compute as pc

from pi_dagster.piwebapi.decode import TIMESTAMP
from pi_dagster.piwebapi.errors import (
    AnswerTooLargeError,
    BrokenAnswerError,
    RequestRefusedError,
    StreamUpdatesMissingError,
)
from pi_dagster.piwebapi.json_body import decoded
from pi_dagster.piwebapi.refusals import reason_in
from pi_dagster.piwebapi.transport import Transport
from pi_dagster.webid import WebId

Chunk = TypeVar("Chunk")
Result = TypeVar("Result")

TAGS_A_REQUEST = 80
"""Makes URLs of less than 4 KB, with WebIDs as with markers, which every proxy lets through."""

REFRESH = "Refresh"
"""The action that names no event: the server lost count of a tag's changes."""

CHANGES_SCHEMA = pa.schema(
    [
        pa.field("tag_webid", pa.string(), nullable=False),
        pa.field("timestamp", TIMESTAMP, nullable=False),
        pa.field("action", pa.string(), nullable=False),
    ]
)
"""One row a change: the tag, the instant of the event that was changed, and `Add`, `Update`, `Delete` or `Refresh`."""

_INSTANT_CHARACTERS = len("2014-07-22T14:00:00.123456")


@dataclass(frozen=True)
class Registration:
    """What became of some tags that were to be registered.

    Args:
        markers: by WebID, where to begin.
        refused: by WebID, why the server follows no changes of it.
    """

    markers: Mapping[str, str]
    refused: Mapping[str, str]


@dataclass(frozen=True)
class Updates:
    """What has changed of some tags.

    Args:
        changes: as CHANGES_SCHEMA.
        markers: by WebID, where to go on.
        lost: by WebID, why its marker leads nowhere any more; what has changed since is not known.
    """

    changes: pa.Table
    markers: Mapping[str, str]
    lost: Mapping[str, str]


class _Registered(msgspec.Struct, gc=False):
    Source: str = ""
    LatestMarker: str | None = None
    Status: str = ""
    Exception: Any = None


class _Registrations(msgspec.Struct):
    Items: list[_Registered]
    WebException: Any = None
    Errors: list[Any] | None = None


class _Event(msgspec.Struct, gc=False):
    Timestamp: str
    Action: str = ""


class _Update(msgspec.Struct, gc=False):
    RequestedMarker: str = ""
    LatestMarker: str | None = None
    Events: list[_Event] | None = None
    Exception: Any = None


class _Updates(msgspec.Struct):
    Items: list[_Update]
    WebException: Any = None
    Errors: list[Any] | None = None


_REGISTRATIONS = msgspec.json.Decoder(_Registrations)
_UPDATES = msgspec.json.Decoder(_Updates)
_UPDATE_FIELDS = ";".join(
    [
        *(f"Items.{field}" for field in ("RequestedMarker", "LatestMarker", "Status", "Exception")),
        *(f"Items.Events.{field}" for field in _Event.__struct_fields__),
        "WebException",
        "Errors",
    ]
)


def register(
    transport: Transport, web_ids: Sequence[str], *, in_flight: int, goes_on: Callable[[], bool]
) -> Iterator[Registration]:
    """Register tags for updates, some in each request; a tag that is registered already gets its newest marker.

    Ends after the first tags when the server refuses all of them, as it then would refuse the others too.

    Args:
        transport: the connection.
        web_ids: the tags, in order.
        in_flight: requests at once.
        goes_on: asked before each request; where it says no, the tags that are left are not registered.

    Raises:
        StreamUpdatesMissingError: the server has no Stream Updates.
        PIWebAPIError: the server cannot be asked; see `errors`.
    """
    first, *others = _chunks(web_ids) or [[]]
    if not first or not goes_on():
        return
    ask = partial(_register, transport, goes_on)
    registration = ask(first)
    yield registration
    if registration.markers:
        yield from _in_parallel(others, ask, in_flight=in_flight, goes_on=goes_on)


def updates_since(
    transport: Transport,
    markers: Mapping[str, str],
    *,
    in_flight: int,
    goes_on: Callable[[], bool],
    select_fields: bool = True,
) -> Iterator[Updates]:
    """What has changed since the markers, some tags at a time; not in the order of the markers.

    Args:
        transport: the connection.
        markers: by WebID, in order.
        in_flight: requests at once.
        goes_on: asked before each request; where it says no, the markers that are left are not asked for.
        select_fields: ask only for what is used, which leaves out the values: half of the bytes.

    Raises:
        PIWebAPIError: the server cannot be asked; see `errors`.
    """
    ask = partial(_updates, transport, select_fields, goes_on)
    yield from _in_parallel(_chunks(markers.items()), ask, in_flight=in_flight, goes_on=goes_on)


def _chunks(items: Iterable[Chunk]) -> list[list[Chunk]]:
    rest = iter(items)
    return [*iter(lambda: [*islice(rest, TAGS_A_REQUEST)], [])]


def _in_parallel(
    chunks: Sequence[Chunk], ask: Callable[[Chunk], Result], *, in_flight: int, goes_on: Callable[[], bool]
) -> Iterator[Result]:
    waiting = deque(chunks)
    under_way: set[Future[Result]] = set()
    pool = ThreadPoolExecutor(in_flight, thread_name_prefix="stream-updates")
    try:
        while True:
            while waiting and len(under_way) < in_flight and goes_on():
                under_way.add(pool.submit(ask, waiting.popleft()))
            if not under_way:
                return
            done, under_way = wait(under_way, return_when=FIRST_COMPLETED)
            for answer in done:
                yield answer.result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _register(transport: Transport, goes_on: Callable[[], bool], web_ids: Sequence[str]) -> Registration:
    """Register tags in one request, or, as one that cannot be registered may fail all, in ever smaller ones."""
    try:
        return transport.register_for_updates(web_ids, partial(_parse_registrations, transport.url, web_ids))
    except RequestRefusedError as error:
        if error.status in (405, 501) or "No HTTP resource" in str(error):
            raise StreamUpdatesMissingError(_missing(transport.url, str(error))) from error
        if len(web_ids) == 1:
            return Registration({}, {web_ids[0]: str(error)})
    middle = len(web_ids) // 2
    # Eighty that cannot be registered are 159 requests.
    halves = [_register(transport, goes_on, half) for half in (web_ids[:middle], web_ids[middle:]) if goes_on()]
    return Registration(
        {web_id: marker for half in halves for web_id, marker in half.markers.items()},
        {web_id: reason for half in halves for web_id, reason in half.refused.items()},
    )


def _parse_registrations(url: str, web_ids: Sequence[str], body: bytes) -> Registration:
    if not body.strip():
        raise StreamUpdatesMissingError(_missing(url, "it answers a registration with nothing"))
    answer = decoded(body, _REGISTRATIONS)
    _check_is_whole(answer)
    items = {_identity(item.Source, web_ids): item for item in answer.Items}
    markers: dict[str, str] = {}
    refused: dict[str, str] = {}
    for web_id in web_ids:
        item = items.get(web_id, _Registered(Exception="the server leaves this tag out of its answer"))
        if item.Exception or not item.LatestMarker:
            refused[web_id] = reason_in(item.Exception or f"no marker, status {item.Status!r}")
        else:
            markers[web_id] = item.LatestMarker
    return Registration(markers, refused)


def _updates(
    transport: Transport, select_fields: bool, goes_on: Callable[[], bool], markers: Sequence[tuple[str, str]]
) -> Updates:
    fields = [("selectedFields", _UPDATE_FIELDS)] if select_fields else []
    query = [*(("marker", marker) for _, marker in markers), ("webIdType", "IDOnly"), *fields]
    try:
        return transport.get("streamsets/updates", query, partial(_parse_updates, markers))
    except RequestRefusedError as error:
        if error.status == 403:
            raise
        # One marker that is not known fails all, and it is the server's memory that was lost, so they all are.
        return Updates(CHANGES_SCHEMA.empty_table(), {}, {web_id: str(error) for web_id, _ in markers})
    except AnswerTooLargeError as error:
        if len(markers) == 1:
            return Updates(CHANGES_SCHEMA.empty_table(), {}, {markers[0][0]: str(error)})
    middle = len(markers) // 2
    halves = [
        _updates(transport, select_fields, goes_on, half) for half in (markers[:middle], markers[middle:]) if goes_on()
    ]
    return Updates(
        pa.concat_tables([CHANGES_SCHEMA.empty_table(), *(half.changes for half in halves)]),
        {web_id: marker for half in halves for web_id, marker in half.markers.items()},
        {web_id: reason for half in halves for web_id, reason in half.lost.items()},
    )


def _parse_updates(markers: Sequence[tuple[str, str]], body: bytes) -> Updates:
    answer = decoded(body, _UPDATES)
    _check_is_whole(answer)
    items = {item.RequestedMarker: item for item in answer.Items}
    newest: dict[str, str] = {}
    lost: dict[str, str] = {}
    tags: list[str] = []
    events: list[_Event] = []
    for web_id, marker in markers:
        item = items.get(marker, _Update(Exception="the server leaves this marker out of its answer"))
        if item.Exception or not item.LatestMarker:
            # The server ends the registration of a tag that it could not tell the changes of.
            lost[web_id] = reason_in(item.Exception or "no marker to go on with")
            continue
        newest[web_id] = item.LatestMarker
        tags += [web_id] * len(item.Events or ())
        events += item.Events or ()
    table = pa.Table.from_arrays(
        [pa.array(tags, pa.string()), _instants(events), pa.array([event.Action for event in events], pa.string())],
        schema=CHANGES_SCHEMA,
    )
    return Updates(table, newest, lost)


def _instants(events: Sequence[_Event]) -> pa.Array:
    """In microseconds, further digits cut off; an instant of the year 9999 is one too."""
    texts = pa.array([event.Timestamp for event in events], pa.string())
    cut = pc.utf8_slice_codeunits(pc.utf8_rtrim(texts, characters="Z"), 0, _INSTANT_CHARACTERS)
    try:
        return cut.cast(pa.timestamp("us")).cast(TIMESTAMP)
    except pa.ArrowInvalid as error:
        raise BrokenAnswerError(f"the server sent a timestamp that is none ({error})") from error


def _check_is_whole(answer: _Registrations | _Updates) -> None:
    if answer.WebException is not None:
        raise BrokenAnswerError(f"the server failed while it was sending the answer ({reason_in(answer.WebException)})")
    if answer.Errors:
        raise BrokenAnswerError(f"the server reports errors in a successful answer ({answer.Errors})")


def _identity(web_id: str, wanted: Sequence[str]) -> str:
    """The IDOnly form, for servers that answer in another form than they were asked for."""
    if web_id in wanted:
        return web_id
    try:
        return WebId.parse(web_id).identity
    except ValueError:
        return web_id


def _missing(url: str, reason: str) -> str:
    return (
        f"{url} has no Stream Updates ({reason}). They came with PI Web API 2018 SP1 as a preview and with 2019 for "
        "good. Write `stream_updates: null` in the site, and leave late and edited events to the settling of a day and "
        "to reconciliation; or update PI Web API."
    )
