"""JSON as servers send it: whatever a body holds, it becomes what was asked for or one of our errors.

msgspec is fast and strict. What it refuses is read once more with patience, because .NET writers emit NaN and
Infinity bare, and Windows texts may hold half a surrogate pair.
"""

from __future__ import annotations

import json
import math
from typing import TypeVar

import msgspec

from pi_dagster.piwebapi.errors import BrokenAnswerError
from pi_dagster.server_text import printable

Answer = TypeVar("Answer")

UNREADABLE = (ValueError, RecursionError)
"""What decoders raise for bodies that are cut, of another kind, no UTF-8, or nested a hundred thousand times."""

_MOST_PARTS = 3_000_000
"""Of a body that is read with patience: 150,000 events have half as many. Empty objects of three bytes take 70 each."""


def decoded(body: bytes | msgspec.Raw, decoder: msgspec.json.Decoder[Answer]) -> Answer:
    """What `decoder` makes of a body.

    Raises:
        BrokenAnswerError: the body is not what the decoder is for.
    """
    try:
        return decoder.decode(body)
    except UNREADABLE as error:
        reason = str(error)
    raw = bytes(body)
    if sum(map(raw.count, (b",", b"{", b"["))) <= _MOST_PARTS:
        try:
            return decoder.decode(_strict_json(raw))
        except UNREADABLE as error:
            reason = str(error)
    raise BrokenAnswerError(
        f"the body is cut off or not what PI Web API sends ({reason}); it starts with: {beginning(raw)}"
    )


def beginning(body: bytes, most: int = 120) -> str:
    """The start of a body as one line of printable text."""
    return printable(body[: 4 * most].decode(errors="replace"), most)


def _strict_json(body: bytes) -> bytes:
    """The same in UTF-8 and by the rules, with numbers that are none and what is out of range as text."""
    tree = json.loads(body.decode("utf-8-sig"), parse_constant=str, parse_float=_finite_or_text)
    return json.dumps(tree, ensure_ascii=False).encode(errors="replace")


def _finite_or_text(digits: str) -> float | str:
    number = float(digits)
    return number if math.isfinite(number) else digits
