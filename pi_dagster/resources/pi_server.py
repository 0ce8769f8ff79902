"""The PI server as a Dagster resource: a connection opened for each run, from settings that hold no secret."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import dagster as dg
from pydantic import Field

from pi_dagster.ingest.source import Source, open_source
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

    @contextmanager
    def open(self) -> Iterator[Source]:
        """A logged-in source with its connection pool, closed at the end.

        Raises:
            SecretMissingError: the password's environment variable is not set.
        """
        with open_source(ServerSettings.model_validate(self.server)) as source:
            yield source
