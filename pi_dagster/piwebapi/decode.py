"""Recorded values: the bytes of an answer to Arrow columns, without a Python object a value where it pays.

msgspec decodes into compact structs faster than other parsers build dicts; columns are then made a list at a time.
Timestamps stay text until Arrow parses them, because rounding a PI timestamp of 7 digits to microseconds can move
an event into the next day: they are cut, not rounded.
Shapes of a value: docs.aveva.com/bundle/pi-web-api-reference/page/help/topics/value-types.html.
"""

from __future__ import annotations

import array
import math
from collections.abc import Sequence
from datetime import datetime, timedelta, timezone
from itertools import chain
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pi_dagster.piwebapi.errors import BrokenAnswerError
from pi_dagster.piwebapi.json_body import decoded
from pi_dagster.piwebapi.refusals import reason_in

_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
_MICROSECOND = timedelta(microseconds=1)
_EXACT_INTEGERS = 2**53
"""From here on an integer may be rounded to a float64, so its digits are kept as text as well."""

_CHUNK = 2048
"""Events that are looked at again while they are still in the processor's cache."""

TIMESTAMP = pa.timestamp("us", "UTC")

EVENT_SCHEMA = pa.schema(
    [
        pa.field("timestamp", TIMESTAMP, nullable=False),
        pa.field("value", pa.float64()),
        pa.field("quality_good", pa.bool_(), nullable=False),
        pa.field("quality_questionable", pa.bool_(), nullable=False),
        pa.field("value_string", pa.string()),
        pa.field("digital_state_code", pa.int32()),
        pa.field("is_system_state", pa.bool_(), nullable=False),
        pa.field("quality_substituted", pa.bool_(), nullable=False),
        pa.field("quality_annotated", pa.bool_(), nullable=False),
        pa.field("event_ordinal", pa.int32(), nullable=False),
    ]
)
"""One row an event, the tag apart: a whole stream has the same."""


class ValuesFailedError(BrokenAnswerError):
    """Single values of an answer failed while the server sent it."""


class State(msgspec.Struct, gc=False):
    """A digital or system state, or the `{"Errors": [...]}` that stands for a bad value."""

    Name: str | None = None
    Value: int | float | str | None = None
    IsSystem: bool = False
    Errors: list[Any] | None = None

    def __float__(self) -> float:
        """NaN, so that a list of numbers with some states becomes an array in one C loop."""
        return math.nan


class Event(msgspec.Struct, gc=False):
    """A TimedValue."""

    Timestamp: str
    Value: int | float | State | str | bool | list[Any] | None = None
    Good: bool = True
    Questionable: bool = False
    Substituted: bool = False
    Annotated: bool = False
    Errors: list[Any] | None = None


class Stream(msgspec.Struct, gc=False):
    """The recorded values of one stream; `WebId` is empty where the request named only one, `Items` is None when it
    holds none at all, which is not the same as an empty list."""

    Items: list[Event] | None = None
    WebId: str = ""
    UnitsAbbreviation: str | None = None
    WebException: dict[str, Any] | None = None
    Errors: list[Any] | None = None


class StreamSet(msgspec.Struct, gc=False):
    """The answer to `streamsets/recorded`."""

    Items: list[Stream]
    WebException: dict[str, Any] | None = None
    Errors: list[Any] | None = None


class SubAnswer(msgspec.Struct, gc=False):
    """One answer inside the answer to `POST /batch`; its content waits until the status has been looked at."""

    Status: int
    Content: msgspec.Raw = msgspec.Raw(b"null")


_STREAM_SET = msgspec.json.Decoder(StreamSet)
_STREAM = msgspec.json.Decoder(Stream)
_BATCH = msgspec.json.Decoder(dict[str, SubAnswer])


def decode_streamset(body: bytes) -> list[Stream]:
    """The streams of a `streamsets/recorded` answer.

    Raises:
        BrokenAnswerError: unreadable, or a failure on the server while it was writing the answer.
    """
    answer = decoded(body, _STREAM_SET)
    if failure := _failure_in(answer):
        raise BrokenAnswerError(failure)
    return answer.Items


def decode_stream(body: bytes | msgspec.Raw) -> Stream:
    """The answer to `streams/{webId}/recorded`.

    Raises:
        BrokenAnswerError: unreadable.
    """
    return decoded(body, _STREAM)


def decode_batch(body: bytes) -> dict[str, SubAnswer]:
    """The sub-answers of a batch by their ids; raises BrokenAnswerError where it cannot be read."""
    return decoded(body, _BATCH)


def stream_trouble(stream: Stream, *, look_at_values: bool) -> str | None:
    """Why what came of `stream` cannot be believed; None when it is whole.

    Args:
        look_at_values: also look for values that failed while they were sent, which `event_table` refuses.
    """
    if failure := _failure_in(stream):
        return failure
    if stream.Items is None:
        return "the server sent this tag without its values"
    failed = [event for event in stream.Items if event.Errors] if look_at_values else []
    if not failed:
        return None
    return f"the server could not send {len(failed)} values, the first at {failed[0].Timestamp}: {failed[0].Errors}"


def event_table(streams: Sequence[Stream]) -> pa.Table:
    """The events of all streams one after the other, as EVENT_SCHEMA.

    `event_ordinal` counts the events of one stream that share a microsecond, from 0.

    Raises:
        ValuesFailedError: a value failed while it was sent; `stream_trouble` tells of which stream.
        BrokenAnswerError: a timestamp that is none, or events of a stream that are not in time order.
    """
    items = [stream.Items or [] for stream in streams]
    events = [*chain.from_iterable(items)]
    count = len(events)
    timestamps: list[str] = []
    values: list[Any] = []
    odd: list[int] = []
    for first in range(0, count, _CHUNK):
        chunk = events[first : first + _CHUNK]
        timestamps += [event.Timestamp for event in chunk]
        values += [event.Value for event in chunk]
        odd += [
            index
            for index, event in enumerate(chunk, first)
            if not event.Good or event.Questionable or event.Substituted or event.Annotated or event.Errors
        ]
    odd_events = [events[index] for index in odd]
    if any(event.Errors for event in odd_events):
        raise ValuesFailedError("the server could not send all values")
    times = _microseconds(timestamps)
    value, text, code, is_system = _values(values)
    starts_stream = np.zeros(count + 1, bool)
    starts_stream[np.cumsum([0, *map(len, items)])] = True
    return pa.Table.from_arrays(
        [
            pa.Array.from_buffers(TIMESTAMP, count, [None, pa.py_buffer(times)]),
            value,
            _flags(count, odd, [event.Good for event in odd_events], default=True),
            _flags(count, odd, [event.Questionable for event in odd_events]),
            text,
            code,
            is_system,
            _flags(count, odd, [event.Substituted for event in odd_events]),
            _flags(count, odd, [event.Annotated for event in odd_events]),
            pa.array(_ordinals(times, starts_stream[:count])),
        ],
        schema=EVENT_SCHEMA,
    )


def _failure_in(answer: Stream | StreamSet) -> str | None:
    if answer.WebException is not None:
        return f"the server failed while it was sending the answer ({reason_in(answer.WebException)})"
    return f"the server reports errors in a successful answer ({answer.Errors})" if answer.Errors else None


def _microseconds(timestamps: list[str]) -> npt.NDArray[np.int64]:
    """Microseconds since 1970 in UTC, further digits cut off."""
    try:
        nanoseconds = pa.array(timestamps, pa.string()).cast(pa.timestamp("ns", "UTC"))
        return np.frombuffer(nanoseconds.buffers()[1], np.int64, len(timestamps)) // 1000
    except pa.ArrowInvalid:
        pass
    try:
        return np.array([(_parse_instant(text) - _EPOCH) // _MICROSECOND for text in timestamps], np.int64)
    except ValueError as error:
        raise BrokenAnswerError(f"the server sent a timestamp that is none ({error})") from error


def _parse_instant(text: str) -> datetime:
    """An instant outside the years that nanoseconds reach (1677 to 2262)."""
    seconds, _, fraction = text.removesuffix("Z").partition(".")
    if not text.endswith("Z") or not (fraction or "0").isdigit():
        raise ValueError(f"{text!r} is not an instant in UTC")
    instant = datetime.strptime(seconds, "%Y-%m-%dT%H:%M:%S").replace(tzinfo=timezone.utc)
    return instant.replace(microsecond=int(fraction[:6].ljust(6, "0") or 0))


def _values(values: list[Any]) -> tuple[pa.Array, pa.Array, pa.Array, pa.Array]:
    """Values to the columns value, value_string, digital_state_code and is_system_state."""
    count = len(values)
    if count and type(values[0]) is str and (texts := _all_texts(values)) is not None:
        return pa.nulls(count, pa.float64()), texts, _no_codes(count), _none_true(count)
    kinds = set(map(type, values))
    if kinds <= {float, int, State}:
        numbers = _numbers(values)
        is_odd = np.isnan(numbers)
        if int in kinds:
            is_odd |= np.abs(numbers) >= _EXACT_INTEGERS
        odd = np.flatnonzero(is_odd)
    else:
        odd = np.array([i for i, value in enumerate(values) if type(value) not in (float, int)], np.int64)
        numbers = _numbers([value if type(value) in (float, int) else math.nan for value in values])
        big = np.flatnonzero(np.abs(numbers) >= _EXACT_INTEGERS)
        odd = np.union1d(odd, big)
    if not len(odd):
        return pa.array(numbers), pa.nulls(count, pa.string()), _no_codes(count), _none_true(count)
    return _with_odd_values(values, numbers, odd)


def _all_texts(values: list[Any]) -> pa.Array | None:
    """The values as strings; None when not each of them is one."""
    try:
        texts = pa.array(values, pa.string())
    except (pa.ArrowInvalid, pa.ArrowTypeError):
        return None
    return texts if not texts.null_count else None


def _numbers(values: list[Any]) -> npt.NDArray[np.float64]:
    try:
        return np.frombuffer(array.array("d", values))
    except OverflowError:
        return np.array([_float_or_nan(value) for value in values])


def _float_or_nan(value: Any) -> float:
    try:
        return float(value)
    except OverflowError:
        return math.nan


def _with_odd_values(
    values: list[Any], numbers: npt.NDArray[np.float64], odd: npt.NDArray[np.int64]
) -> tuple[pa.Array, pa.Array, pa.Array, pa.Array]:
    """The four columns when the values at the indices `odd` are not plain numbers."""
    count = len(values)
    is_null = np.zeros(count, bool)
    is_null[odd] = True
    is_system = np.zeros(count, bool)
    texts: list[str | None] = []
    codes: list[int | None] = []
    for index in odd.tolist():
        value = values[index]
        code = None
        if isinstance(value, State):
            text = value.Name if value.Errors is None else "; ".join(map(str, value.Errors))
            # An offset that is no int32 is no state of any set; its text stays.
            code = int(value.Value) if isinstance(value.Value, (int, float)) and abs(value.Value) < 2**31 else None
            is_system[index] = value.IsSystem
        elif isinstance(value, (float, int)) and not isinstance(value, bool):
            # A float is here only for its size and is exact as it is; an integer's digits may not be.
            text = None if isinstance(value, float) else str(value)
            is_null[index] = isinstance(value, int) and (math.isnan(numbers[index]) or int(numbers[index]) != value)
        else:
            text = value if isinstance(value, str) or value is None else msgspec.json.encode(value).decode()
        texts.append(text)
        codes.append(code)
    position = np.zeros(count, np.int32)
    position[odd] = np.arange(len(odd), dtype=np.int32)
    is_plain = np.ones(count, bool)
    is_plain[odd] = False
    at = pa.array(position, mask=is_plain)
    return (
        pa.array(numbers, mask=is_null),
        pa.array(texts, pa.string()).take(at),
        pa.array(codes, pa.int32()).take(at),
        pa.array(is_system),
    )


def _no_codes(count: int) -> pa.Array:
    return pa.nulls(count, pa.int32())


def _none_true(count: int) -> pa.Array:
    return pa.array(np.zeros(count, bool))


def _flags(count: int, odd: list[int], at_odd: list[bool], *, default: bool = False) -> pa.Array:
    flags = np.full(count, default)
    if odd:
        flags[odd] = at_odd
    return pa.array(flags)


def _ordinals(times: npt.NDArray[np.int64], starts_stream: npt.NDArray[np.bool_]) -> npt.NDArray[np.int32]:
    """For each event how many of its stream before it share its microsecond."""
    step = np.diff(times, prepend=times[:1])
    goes_on = ~starts_stream
    if bool(np.any((step < 0) & goes_on)):
        raise BrokenAnswerError("the server sent the events of a tag out of time order")
    is_equal = (step == 0) & goes_on
    if not is_equal.any():
        return np.zeros(len(times), np.int32)
    index = np.arange(len(times), dtype=np.int32)
    first_of_run = np.maximum.accumulate(np.where(is_equal, 0, index))
    ordinals: npt.NDArray[np.int32] = index - first_of_run
    return ordinals
