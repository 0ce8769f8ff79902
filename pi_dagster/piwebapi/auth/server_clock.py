"""The clock of whoever answered, by the `Date` of the answer."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from email.utils import parsedate_to_datetime

import requests


def server_time(response: requests.Response) -> datetime:
    """The time at the server; ours where it does not tell."""
    try:
        return parsedate_to_datetime(response.headers["Date"]).astimezone(timezone.utc)
    except (KeyError, TypeError, ValueError, OverflowError):
        return datetime.now(timezone.utc)


def clock_ahead_of_ours(response: requests.Response) -> timedelta:
    """How far the server's clock is ahead of ours."""
    return server_time(response) - datetime.now(timezone.utc)
