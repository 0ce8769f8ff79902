"""The PI server as a Dagster resource: a connection opened for each run, from settings that hold no secret."""

from __future__ import annotations

from typing import Any

import dagster as dg
from pydantic import Field

from pi_dagster.ingest.source import open_source
from pi_dagster.piwebapi import PIWebAPISource
from pi_dagster.piwebapi.connection import dangers
from pi_dagster.site import ServerSettings


class PIServerResource(dg.ConfigurableResource[Any]):
    """The PI Web API server of a site."""

    server: dict[str, Any] = Field(
        description="The site's `server` section; a password is in the environment variable that it names."
    )

    @classmethod
    def from_settings(cls, settings: ServerSettings) -> PIServerResource:
        """The resource for these settings."""
        return cls(server=settings.model_dump(mode="json", exclude_none=True))

    def open(self, *, patience_seconds: float | None = None) -> PIWebAPISource:
        """A source with its own connection pool, to be used as a context manager; warns of what the site risks.

        Args:
            patience_seconds: give a request up after so long, where the site would wait longer: for a sensor, which
                Dagster ends after 60 s.

        Raises:
            SecretMissingError: the password's environment variable is not set.
        """
        settings = ServerSettings.model_validate(self.server)
        for danger in dangers(settings):
            dg.get_dagster_logger().warning(danger)
        if patience_seconds is not None:
            waits = ("connect_timeout_seconds", "read_timeout_seconds", "retry_budget_seconds")
            shorter = {name: min(getattr(settings, name), patience_seconds) for name in waits}
            settings = settings.model_copy(update=shorter)
        return open_source(settings)
