"""The lists that PI Web API gives as `Items`: typed rows, or what says that the list is not whole.

A server that fails when it has begun to send ends a `200 OK` with a WebException, and reports what it could not list as
`Errors` beside what it could.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

import msgspec

from pi_dagster.piwebapi.errors import BrokenAnswerError
from pi_dagster.piwebapi.json_body import decoded
from pi_dagster.piwebapi.refusals import reason_in

Row = TypeVar("Row")


class _Items(msgspec.Struct):
    Items: list[msgspec.Raw]
    WebException: dict[str, Any] | None = None
    Errors: list[Any] | None = None


_ITEMS = msgspec.json.Decoder(_Items)


def rows_of(kind: type[Row]) -> Callable[[bytes | msgspec.Raw], list[Row]]:
    """What makes typed rows of the `Items` of an answer; it raises BrokenAnswerError when they are not all."""
    return partial(_rows, msgspec.json.Decoder(kind))


def check_is_whole(web_exception: object, errors: list[Any] | None) -> None:
    """Refuse a list that ends in an exception, or comes with errors.

    Raises:
        BrokenAnswerError: it is not whole.
    """
    if web_exception is not None:
        raise BrokenAnswerError(f"the server failed while it was sending the answer ({reason_in(web_exception)})")
    if errors:
        raise BrokenAnswerError(f"the server lists only a part of what it has ({reason_in({'Errors': errors})})")


def _rows(decoder: msgspec.json.Decoder[Row], body: bytes | msgspec.Raw) -> list[Row]:
    answer = decoded(body, _ITEMS)
    check_is_whole(answer.WebException, answer.Errors)
    return [decoded(item, decoder) for item in answer.Items]
