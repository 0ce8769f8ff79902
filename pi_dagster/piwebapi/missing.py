"""Whether a tag that cannot be read is there at all, so that a deleted one is told from one that is in trouble.

PI Web API answers 404 for what does not exist and for what the login may not see alike, and streamsets leave out such
streams (docs.aveva.com/bundle/pi-web-api-reference/page/help/topics/error-handling.html). So a reading alone proves
nothing: the point itself is asked for.
"""

from __future__ import annotations

from pi_dagster.piwebapi.errors import PIWebAPIError, RequestRefusedError, StreamMissingError
from pi_dagster.piwebapi.transport import Transport

_NOT_THERE = frozenset({404, 410})
_UNKNOWN_WEB_ID = "unknown or invalid webid"


def may_be_missing(error: PIWebAPIError) -> bool:
    """Whether `error`, with which a stream was refused, is what a deleted tag would cause."""
    return isinstance(error, StreamMissingError) or (isinstance(error, RequestRefusedError) and _says_so(error))


def has_point(transport: Transport, web_id: str) -> bool:
    """Whether the server shows this login the point with that WebID.

    Raises:
        PIWebAPIError: the server does not say.
    """
    try:
        transport.get(f"points/{web_id}", [("selectedFields", "WebId")], bytes)
    except RequestRefusedError as error:
        if not _says_so(error):
            raise
        return False
    return True


def _says_so(error: RequestRefusedError) -> bool:
    return error.status in _NOT_THERE or _UNKNOWN_WEB_ID in str(error).lower()
