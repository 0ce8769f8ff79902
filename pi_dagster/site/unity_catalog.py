"""The settings of Unity Catalog, where the lake's tables are to be known by name."""

from __future__ import annotations

from urllib.parse import urlsplit

from pydantic import Field, field_validator

from pi_dagster.settings_model import SettingsModel
from pi_dagster.site.secrets import VariableName, secret_from_environment
from pi_dagster.site.server import is_loopback


class UnityCatalogSettings(SettingsModel):
    """Unity Catalog, of Databricks or the open-source server; `pi-dagster register` tells it of the lake's tables."""

    url: str = Field(description="The workspace or the server, such as `https://adb-1234.5.azuredatabricks.net`.")
    token_env: VariableName | None = Field(
        default=None,
        description="Name of the environment variable with an access token; may be left out where none is asked for.",
    )

    @field_validator("url")
    @classmethod
    def _is_a_server(cls, url: str) -> str:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.path.rstrip("/") or parts.query:
            raise ValueError(f"{url!r} is not the address of a server such as https://adb-1234.5.azuredatabricks.net")
        if parts.username or parts.password:
            raise ValueError("the URL must not hold a login; use `token_env`")
        if parts.scheme == "http" and not is_loopback(parts.hostname):
            raise ValueError(f"{url} is not encrypted, so that everybody on the way can read the token; use https")
        return url.rstrip("/")

    def resolve_token(self) -> str | None:
        """The access token, read from the environment now.

        Raises:
            SecretMissingError: the variable is not set.
        """
        if self.token_env is None:
            return None
        return secret_from_environment(self.token_env, setting="lake.unity_catalog.token_env")
