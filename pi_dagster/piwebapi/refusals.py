"""What an answer that is no success means, as one of our errors, and what the server says about it.

PI Web API writes `Errors` or `Message` into JSON; proxies and HTTP.sys send HTML or nothing
(docs.aveva.com/bundle/pi-web-api-reference/page/help/topics/error-handling.html).
"""

from __future__ import annotations

import re
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime

import msgspec
import requests

from pi_dagster.piwebapi.auth import Authentication, refused_login
from pi_dagster.piwebapi.errors import (
    LimitMismatchError,
    NotPIWebAPIError,
    PIWebAPIError,
    RequestRefusedError,
    ServerTroubleError,
)
from pi_dagster.piwebapi.json_body import UNREADABLE, beginning
from pi_dagster.server_text import printable

_TRANSIENT_STATUSES = frozenset({408, 429, 500, 502, 503, 504})
_MOST_REASONS = 10
_SECONDS = re.compile(r"[0-9]+")
_LONGEST_PAUSE_SECONDS = 86_400.0
"""What a server may ask for beyond that is no clock's to wait for."""

_ABOVE_LIMIT = "is greater than the maximum allowed"
"""In every wording of the refusal of a `maxCount` above MaxReturnedItemsPerCall."""


def error_of_response(url: str, login: Authentication, response: requests.Response, body: bytes) -> PIWebAPIError:
    """The error for an answer whose status is no success.

    Args:
        url: base URL of the server, for the message.
        login: what the request was sent with.
        response: status and headers.
        body: decompressed.
    """
    status = response.status_code
    said = error_text(body)
    if status == 401:
        return refused_login(url, login, response, said)
    if 300 <= status < 400:
        target = printable(response.headers.get("Location", "another address"))
        return RequestRefusedError(
            f"{url} redirects to {target}. Redirects are not followed: set `server.url` to the right place.",
            status=status,
        )
    if status in (404, 405) and not _looks_like_json(body):
        return NotPIWebAPIError(
            f"What answers at {url} is not PI Web API (status {status}: {said}). Check `server.url`."
        )
    return error_of_status(url, status, said, _retry_after(response.headers.get("Retry-After")))


def error_of_status(url: str, status: int, reason: str, retry_after_seconds: float | None = None) -> PIWebAPIError:
    """The error for an answer, or a sub-answer of a batch, that is no success."""
    if status in _TRANSIENT_STATUSES:
        return ServerTroubleError(
            f"{url} answered {status} ({reason}). {_trouble_of(status)}",
            status=status,
            retry_after_seconds=retry_after_seconds,
        )
    if _ABOVE_LIMIT in reason:
        return LimitMismatchError(
            f"{url} allows fewer events a call than the site asks for ({reason}). Set `server.max_items_per_call` to "
            "the server's limit."
        )
    hint = " The object does not exist, or this login may not read it." if status in (403, 404) else ""
    return RequestRefusedError(f"{url} refused the request ({status}: {reason}).{hint}", status=status)


def _trouble_of(status: int) -> str:
    if status in (429, 503):
        return (
            "It has too much to do, or is being restarted: try again later, or lower `server.max_requests_in_flight`."
        )
    return (
        "It, or a proxy before it, is in trouble: try again later; where it stays, its administrator has to look why."
    )


def error_text(body: bytes) -> str:
    """What the server says went wrong: its `Errors` or `Message`, or the start of whatever it sent."""
    try:
        return reason_in(msgspec.json.decode(body))
    except UNREADABLE:
        return beginning(body, 200) or "no reason given"


def reason_in_body(content: msgspec.Raw) -> str:
    """The same for the content of a batch's sub-answer."""
    return error_text(bytes(content))


def reason_in(answer: object) -> str:
    """The same for a parsed body."""
    if isinstance(answer, dict):
        errors = answer.get("Errors")
        if isinstance(errors, list) and errors:
            return printable("; ".join(str(item) for item in errors[:_MOST_REASONS]))
        if answer.get("Message"):
            return printable(str(answer["Message"]))
    return printable(str(answer), 200) if answer else "no reason given"


def _looks_like_json(body: bytes) -> bool:
    return body.lstrip()[:1] in (b"{", b"[", b'"')


def _retry_after(header: str | None) -> float | None:
    """Seconds from a `Retry-After` header, which is a number of seconds or a date (RFC 9110, 10.2.3)."""
    if not header:
        return None
    try:
        if _SECONDS.fullmatch(header.strip()):
            seconds = float(header)
        else:
            seconds = (parsedate_to_datetime(header) - datetime.now(timezone.utc)).total_seconds()
    except (ValueError, TypeError, OverflowError):
        return None
    return min(max(0.0, seconds), _LONGEST_PAUSE_SECONDS)
