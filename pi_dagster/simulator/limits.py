"""What every request must pass before a route sees it: URL length, login, CSRF header, rate limit.

Source: AVEVA PI Web API user guide, pages on rate limiting, CSRF defence and authentication methods.
"""

from __future__ import annotations

import time
from collections import deque

import msgspec

from pi_dagster.simulator.auth import Admission, LoginMethod, NotAdmittedError
from pi_dagster.simulator.calls import Answer, Call, RefusedError
from pi_dagster.simulator.settings import SimulatorSettings

_WRITING_METHODS = frozenset({"POST", "PUT", "PATCH", "DELETE"})


def url_refusal(settings: SimulatorSettings, raw_path: str, head_bytes: int) -> Answer | None:
    """The HTML page with which HTTP.sys refuses a request that is too long to reach PI Web API at all.

    Args:
        settings: the limits.
        raw_path: the path as it came, percent-encoded.
        head_bytes: length of the request line and headers.
    """
    reason = None
    if head_bytes > settings.max_request_head_bytes:
        reason = "Request Too Long"
    elif any(len(segment) > settings.max_path_segment for segment in raw_path.split("/")):
        reason = "Invalid URL"
    if reason is None:
        return None
    page = (
        f"<html><head><title>Bad Request</title></head><body><h2>Bad Request - {reason}</h2>"
        f"<hr><p>HTTP Error 400. {reason}.</p></body></html>"
    )
    return Answer(400, page.encode(), {"Content-Type": "text/html; charset=us-ascii"})


def admission_of(settings: SimulatorSettings, login: LoginMethod, authorization: str, connection: object) -> Admission:
    """Who sent a request, as far as the server's login method asks.

    Args:
        settings: how a refusal looks.
        login: the server's.
        authorization: the request's header, empty where there is none.
        connection: what the request came by.

    Raises:
        RefusedError: 401, the login is missing or wrong.
    """
    try:
        return login.admit(authorization, connection)
    except NotAdmittedError as error:
        raise RefusedError(
            401,
            "Authorization has been denied for this request.",
            key=settings.denial_key,
            headers={"WWW-Authenticate": error.challenge},
        ) from None


def check_csrf(settings: SimulatorSettings, call: Call) -> None:
    """Refuse a writing method without the header that no foreign web page can send.

    Raises:
        RefusedError: the header is missing.
    """
    if settings.csrf_defense and call.method in _WRITING_METHODS and "x-requested-with" not in call.headers:
        raise RefusedError(
            settings.csrf_status, "The request is missing the required header 'X-Requested-With'.", key="Errors"
        )


class RateLimiter:
    """Requests per client address in a sliding window, searches counted apart."""

    def __init__(self, settings: SimulatorSettings) -> None:
        self._settings = settings
        self._recent: dict[tuple[str, bool], deque[float]] = {}

    def check(self, call: Call, *, is_search: bool) -> None:
        """Count a request, or every request of a batch where the settings say so.

        Raises:
            RefusedError: 429, there were too many.
        """
        settings = self._settings
        limit = settings.rate_limit_searches if is_search else settings.rate_limit_requests
        if limit is None:
            return
        now = time.monotonic()
        recent = self._recent.setdefault((call.client, is_search), deque())
        while recent and recent[0] <= now - settings.rate_limit_seconds:
            recent.popleft()
        weight = self._weight(call)
        if len(recent) + weight > limit:
            headers = {"Retry-After": settings.retry_after} if settings.retry_after is not None else None
            raise RefusedError(429, "Rate limit was reached", key=settings.denial_key, headers=headers)
        recent.extend([now] * weight)

    def _weight(self, call: Call) -> int:
        if not self._settings.batch_counts_each_request or call.path.lower() != "batch":
            return 1
        try:
            return max(1, len(msgspec.json.decode(call.body, type=dict[str, msgspec.Raw])))
        except msgspec.DecodeError:
            return 1
