"""Attribute values of event frames: those of a thousand frames in one request.

PI Web API gives all attribute values of one frame, captured or worked out for the frame's own time, by
`streamsets/{webId}/value`; no one call gives them for several frames. So the calls for many frames travel in one batch.
Source: docs.aveva.com/bundle/pi-web-api-reference/page/help/controllers/streamset/actions/getvalues.html.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any

import msgspec

from pi_dagster.piwebapi.errors import (
    AnswerTooLargeError,
    BrokenAnswerError,
    PIWebAPIError,
    RequestRefusedError,
    RequestTimeoutError,
    ServerTroubleError,
    TransientError,
)
from pi_dagster.piwebapi.event_frames import EventFrame
from pi_dagster.piwebapi.json_body import decoded
from pi_dagster.piwebapi.refusals import error_of_status, reason_in, reason_in_body
from pi_dagster.piwebapi.transport import Parameters, Transport

FRAMES_PER_BATCH = 1000
"""Frames whose attribute values one request asks for; a batch of them is a tenth of what a server takes as a body."""

BATCHES_IN_FLIGHT = 2

_ROUNDS = 4
"""How often the frames of a batch are asked for of which the server could not give all values."""


@dataclass(frozen=True)
class FrameAttributes:
    """The attribute values of one frame, by attribute name; `Parent|Child` for an attribute below another."""

    values: dict[str, str | None]
    """As text; None where the server gives no value."""
    units: dict[str, str]
    """Abbreviations, for the attributes that have a unit."""
    unread: tuple[str, ...] = ()
    """Attributes of which the server could not give the value."""


class _Value(msgspec.Struct):
    Value: Any = None
    UnitsAbbreviation: str | None = None
    Errors: list[Any] | None = None


class _Attribute(msgspec.Struct):
    Name: str
    Path: str = ""
    Value: _Value | None = None
    WebException: dict[str, Any] | None = None


class _Attributes(msgspec.Struct):
    Items: list[_Attribute]
    WebException: dict[str, Any] | None = None


class _SubAnswer(msgspec.Struct):
    Status: int
    Content: msgspec.Raw = msgspec.Raw(b"null")


# What reports a failure must be asked for too: selectedFields removes all that it does not list.
_ATTRIBUTE_FIELDS = ";".join(
    [
        "Items.Name",
        "Items.Path",
        *(f"Items.Value.{name}" for name in _Value.__struct_fields__),
        "Items.WebException",
        "WebException",
        "Errors",
    ]
)


_BATCH = msgspec.json.Decoder(dict[str, _SubAnswer])
_ATTRIBUTES = msgspec.json.Decoder(_Attributes)


def read_attributes(
    transport: Transport, frames: Sequence[EventFrame], *, select_fields: bool = True
) -> Iterator[tuple[EventFrame, FrameAttributes | PIWebAPIError]]:
    """The attribute values of frames, hidden attributes too, or why they could not be read.

    Args:
        transport: the connection.
        frames: which frames.
        select_fields: ask only for what is used.

    Raises:
        PIWebAPIError: the server cannot be read from.
    """
    chunks = [frames[first : first + FRAMES_PER_BATCH] for first in range(0, len(frames), FRAMES_PER_BATCH)]
    pool = ThreadPoolExecutor(BATCHES_IN_FLIGHT, thread_name_prefix="event-frame-attributes")
    try:
        waiting: list[Future[list[tuple[EventFrame, FrameAttributes | PIWebAPIError]]]] = []
        for number, chunk in enumerate(chunks):
            waiting.append(pool.submit(_read_chunk, transport, chunk, select_fields))
            if number + 1 >= BATCHES_IN_FLIGHT:
                yield from waiting.pop(0).result()
        for answer in waiting:
            yield from answer.result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _read_chunk(
    transport: Transport, frames: Sequence[EventFrame], select_fields: bool
) -> list[tuple[EventFrame, FrameAttributes | PIWebAPIError]]:
    found: dict[str, FrameAttributes | PIWebAPIError] = {}
    pending = list(frames)
    for _ in range(_ROUNDS):
        try:
            found.update(_read_batch(transport, pending, select_fields))
        except (RequestTimeoutError, AnswerTooLargeError, RequestRefusedError) as error:
            too_large = not isinstance(error, RequestRefusedError) or error.status == 413
            if not too_large or len(pending) == 1:
                raise
            half = len(pending) // 2
            for part in (pending[:half], pending[half:]):
                read = _read_chunk(transport, part, select_fields)
                found.update({frame.event_frame_id: attributes for frame, attributes in read})
            break
        pending = [frame for frame in pending if _may_be_better_next_time(found[frame.event_frame_id])]
        if not pending:
            break
    return [(frame, found[frame.event_frame_id]) for frame in frames]


def _may_be_better_next_time(read: FrameAttributes | PIWebAPIError) -> bool:
    return bool(read.unread) if isinstance(read, FrameAttributes) else isinstance(read, TransientError)


def _read_batch(
    transport: Transport, frames: Sequence[EventFrame], select_fields: bool
) -> dict[str, FrameAttributes | PIWebAPIError]:
    query: Parameters = [
        ("searchFullHierarchy", "true"),
        ("showHidden", "true"),
        ("showExcluded", "false"),
        ("webIdType", "IDOnly"),
        *([("selectedFields", _ATTRIBUTE_FIELDS)] if select_fields else []),
    ]
    resources = [(frame.event_frame_id, f"streamsets/{frame.web_id}/value", query) for frame in frames]
    return transport.batch(resources, partial(_parse_batch, transport.url, frames))


def _parse_batch(url: str, frames: Sequence[EventFrame], body: bytes) -> dict[str, FrameAttributes | PIWebAPIError]:
    answers = decoded(body, _BATCH)
    found: dict[str, FrameAttributes | PIWebAPIError] = {}
    for frame in frames:
        answer = answers.get(frame.event_frame_id)
        if answer is None:
            found[frame.event_frame_id] = BrokenAnswerError("the answer to the batch leaves this event frame out")
        elif answer.Status == 200:
            try:
                found[frame.event_frame_id] = _frame_attributes(frame, answer.Content)
            except BrokenAnswerError as error:
                found[frame.event_frame_id] = error
        else:
            found[frame.event_frame_id] = error_of_status(url, answer.Status, reason_in_body(answer.Content))
    overloaded = [error for error in found.values() if isinstance(error, ServerTroubleError) and error.status != 500]
    if len(overloaded) == len(frames):
        raise overloaded[0]
    return found


def _frame_attributes(frame: EventFrame, content: msgspec.Raw) -> FrameAttributes:
    answer = decoded(content, _ATTRIBUTES)
    if answer.WebException is not None:
        raise BrokenAnswerError(f"the server failed while it was sending the answer ({reason_in(answer.WebException)})")
    values: dict[str, str | None] = {}
    units: dict[str, str] = {}
    unread = []
    for attribute in answer.Items:
        name = _name_in_frame(frame, attribute)
        value = attribute.Value or _Value()
        values[name] = as_text(value.Value)
        if value.UnitsAbbreviation:
            units[name] = value.UnitsAbbreviation
        if value.Errors or attribute.WebException is not None:
            values[name] = None
            unread.append(name)
    return FrameAttributes(values, units, tuple(unread))


def as_text(value: object) -> str | None:
    """A value of PI Web API as text: a state by its name, a list as JSON, None for a value that could not be had.

    Shapes of a value: docs.aveva.com/bundle/pi-web-api-reference/page/help/topics/value-types.html.
    """
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, dict):
        name = value.get("Name")
        return None if name is None else str(name)
    return msgspec.json.encode(value).decode()


def _name_in_frame(frame: EventFrame, attribute: _Attribute) -> str:
    r"""`Name`, or `Parent|Name` for a nested one: what its path `\\AF\DB\EventFrames[FRAME]|Parent|Name` ends in."""
    below = attribute.Path[len(frame.path) + 1 :] if attribute.Path.startswith(f"{frame.path}|") else attribute.Name
    return attribute.Name if below == f"[{attribute.Name}]" else below
