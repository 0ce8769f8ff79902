"""The lake as a Dagster resource: where the Delta tables are, from settings that hold no secret."""

from __future__ import annotations

from typing import Any

import dagster as dg
from pydantic import Field

from pi_dagster.lake.location import Lake
from pi_dagster.site import LakeSettings


class LakeResource(dg.ConfigurableResource[Any]):
    """The folder or object store prefix that holds a site's Delta tables."""

    uri: str = Field(description="Folder or URI of the lake.")
    storage_options: dict[str, str] = Field(default={}, description="Options for the object store.")
    storage_options_env: dict[str, str] = Field(
        default={}, description="Secret options: option name -> name of the environment variable that holds it."
    )

    @classmethod
    def from_settings(cls, settings: LakeSettings) -> LakeResource:
        """The resource for these settings."""
        return cls(**settings.model_dump(include={"uri", "storage_options", "storage_options_env"}))

    def open(self) -> Lake:
        """The lake, with its secrets read from the environment now.

        Raises:
            SecretMissingError: an environment variable that the settings name is not set.
        """
        settings = LakeSettings(
            uri=self.uri, storage_options=self.storage_options, storage_options_env=self.storage_options_env
        )
        return Lake(uri=settings.uri, storage_options=settings.resolve_storage_options())
