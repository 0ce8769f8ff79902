"""Many GETs in one `POST /batch`: what each of them answered, where those that a repeat can clear fail the whole.

docs.aveva.com/bundle/pi-web-api-reference/page/help/controllers/batch/actions/execute.html
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, TypeVar

import msgspec

from pi_dagster.piwebapi.decode import SubAnswer, decode_batch
from pi_dagster.piwebapi.errors import (
    AnswerTooLargeError,
    BrokenAnswerError,
    RequestRefusedError,
    RequestTimeoutError,
    TransientError,
)
from pi_dagster.piwebapi.json_body import decoded
from pi_dagster.piwebapi.refusals import error_of_status, reason_in, reason_in_body
from pi_dagster.piwebapi.transport import Parameters, Transport

Call = tuple[str, str, Parameters]
"""A name of ours, the path below the base URL, and the query parameters."""

Item = TypeVar("Item")
Answer = TypeVar("Answer")

_TOO_LARGE = 413


class _Ending(msgspec.Struct):
    """What a 200 says at its end when the server failed while it was sending."""

    WebException: dict[str, Any] | None = None


_ENDING = msgspec.json.Decoder(_Ending)


def batch_answers(
    transport: Transport, calls: Sequence[Call], *, final: Collection[int] = ()
) -> Mapping[str, SubAnswer]:
    """The answers to several GETs by the calls' names, sent in one request.

    The request is repeated while an answer is one that a repeat can clear.

    Args:
        transport: the connection.
        calls: what to get.
        final: HTTP statuses that are an answer here although a repeat could clear them.

    Raises:
        PIWebAPIError: the batch failed, or one of its answers is trouble that repeats did not clear.
    """

    def parse(body: bytes) -> dict[str, SubAnswer]:
        answers = decode_batch(body)
        for name, path, _ in calls:
            answer = answers.get(name)
            if answer is None:
                raise BrokenAnswerError(f"the answer to the batch leaves {path} out")
            if answer.Status == 200:
                _check_is_whole(answer.Content, path)
            elif answer.Status not in final:
                error = error_of_answer(transport, answer)
                if isinstance(error, TransientError):
                    raise error
        return answers

    return transport.batch(calls, parse)


def _check_is_whole(content: msgspec.Raw, path: str) -> None:
    failure = decoded(content, _ENDING).WebException
    if failure is not None:
        raise BrokenAnswerError(f"the server failed while it was sending {path} ({reason_in(failure)})")


def error_of_answer(transport: Transport, answer: SubAnswer) -> Exception:
    """The error that an answer without success stands for."""
    return error_of_status(transport.url, answer.Status, reason_in_body(answer.Content))


def in_smaller_parts(items: Sequence[Item], read: Callable[[Sequence[Item]], Sequence[Answer]]) -> list[Answer]:
    """What `read` gives for `items`, halved again and again where it is too much for one request.

    Raises:
        PIWebAPIError: a part failed for another reason, or one item alone is too much.
    """
    try:
        return list(read(items))
    except (RequestTimeoutError, AnswerTooLargeError, RequestRefusedError) as error:
        too_much = not isinstance(error, RequestRefusedError) or error.status == _TOO_LARGE
        if not too_much or len(items) == 1:
            raise
    half = len(items) // 2
    return [*in_smaller_parts(items[:half], read), *in_smaller_parts(items[half:], read)]
