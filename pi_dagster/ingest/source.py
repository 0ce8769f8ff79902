"""Opening the historian that a site names; the one place that will choose between kinds of historian."""

from __future__ import annotations

from pi_dagster.piwebapi import PIWebAPISource
from pi_dagster.piwebapi.retrying import RetryPolicy
from pi_dagster.site import ServerSettings


def open_source(server: ServerSettings, *, retry: RetryPolicy | None = None) -> PIWebAPISource:
    """A connection to `server`; use it as a context manager.

    Args:
        server: the server of the site.
        retry: when to repeat a request; by default as the site says.

    Raises:
        SecretMissingError: the environment variable that the login names is not set.
    """
    return PIWebAPISource(server, retry=retry)
