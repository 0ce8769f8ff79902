"""A request sent once more with another login, over the connection that the refusal came by."""

from __future__ import annotations

from typing import Any

import requests

from pi_dagster.piwebapi.errors import AnswerTooLargeError

_REFUSAL_BYTES = 1 << 20


def sent_again(response: requests.Response, authorization: str, how: dict[str, Any]) -> requests.Response:
    """The answer to the request of `response`, sent again with this `Authorization`.

    The refusal is read to its end first, so that its connection can be used again.

    Args:
        response: the refusal.
        authorization: value of the header.
        how: what `requests` hands to its response hooks, to send the request in the same way.

    Raises:
        AnswerTooLargeError: the refusal does not end.
    """
    size = 0
    while piece := response.raw.read1(_REFUSAL_BYTES, decode_content=False):
        size += len(piece)
        if size > _REFUSAL_BYTES:
            response.close()
            raise AnswerTooLargeError(
                f"{response.url.partition('?')[0]} refused the login with a page that has no end."
            )
    response.raw.release_conn()
    request = response.request.copy()
    request.headers["Authorization"] = authorization
    answer: requests.Response = response.connection.send(request, **how)
    return answer
