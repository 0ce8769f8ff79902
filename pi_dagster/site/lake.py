"""The settings of the place where the Delta tables are."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

from pydantic import Field, field_validator, model_validator

from pi_dagster.redaction import is_secret_name
from pi_dagster.settings_model import SettingsModel
from pi_dagster.site.secrets import secret_from_environment
from pi_dagster.site.unity_catalog import UnityCatalogSettings

_SCHEME_WITHOUT_SLASHES = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:(?!//)")


class LakeSettings(SettingsModel):
    """Where the Delta tables are: a folder, or a prefix in S3, ADLS or GCS; one folder in it is one table."""

    uri: str = Field(
        min_length=1,
        description=(
            "Folder or URI, such as `/data/pi`, `s3://bucket/pi`, `abfss://container@account.dfs.core.windows.net/pi`. "
            "A relative folder is one of where Dagster is started."
        ),
    )
    storage_options: dict[str, str] = Field(
        default_factory=dict,
        description="Options for the object store, passed through to delta-rs; no secrets here.",
    )
    storage_options_env: dict[str, str] = Field(
        default_factory=dict,
        description="Secret options: option name -> name of the environment variable that holds its value.",
    )

    catalog_schema: str | None = Field(
        default=None,
        pattern=r"^[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+$",
        description=(
            "Catalog and schema in which Spark and Databricks have the tables by name, such as `main.pi` for "
            "`main.pi.pi_timeseries`. The schema has to be there; tables get their names in it. Default: by path."
        ),
    )
    unity_catalog: UnityCatalogSettings | None = Field(
        default=None,
        description="Where `pi-dagster register` makes the tables known, in the schema of `catalog_schema`.",
    )

    @field_validator("uri")
    @classmethod
    def _is_a_folder_or_a_plain_uri(cls, uri: str) -> str:
        # None of these messages repeats what was given, as it may hold a secret.
        if _SCHEME_WITHOUT_SLASHES.match(uri):
            raise ValueError(
                "write `://` after the kind of store, as in s3://bucket/pi; for a folder with a `:` in its name write "
                "its path from / or ./ on"
            )
        if "://" not in uri:
            return uri
        try:
            parts = urlsplit(uri)
            has_password = parts.password is not None
            _ = parts.port
        except ValueError:
            raise ValueError(
                "what follows `://` is no URI; write one like s3://bucket/pi, without a login, which belongs into "
                "`storage_options_env`"
            ) from None
        if has_password:
            raise ValueError(
                "must not hold a login, which would show in the Dagster UI; name the environment variables that hold "
                "it in `storage_options_env`"
            )
        if "?" in uri or "#" in uri:
            raise ValueError(
                "must not have ? or #; options of the store belong into `storage_options`, and secrets, such as a SAS "
                "token, into the environment variables that `storage_options_env` names"
            )
        return uri

    @field_validator("storage_options")
    @classmethod
    def _holds_no_secret(cls, options: dict[str, str]) -> dict[str, str]:
        secret = sorted(name for name in options if is_secret_name(name))
        if secret:
            raise ValueError(
                f"{', '.join(secret)} would show in the Dagster UI; name the environment variable that holds it in "
                "`storage_options_env`"
            )
        return options

    @model_validator(mode="after")
    def _names_have_a_schema(self) -> LakeSettings:
        if self.unity_catalog is not None and self.catalog_schema is None:
            raise ValueError("`unity_catalog` needs `catalog_schema`, such as `main.pi`, where the names are to be")
        return self

    def resolve_storage_options(self) -> dict[str, str]:
        """All storage options, the secret ones read from the environment now.

        Raises:
            SecretMissingError: a named variable is not set.
        """
        secrets = {
            option: secret_from_environment(variable, setting=f"lake.storage_options_env.{option}")
            for option, variable in self.storage_options_env.items()
        }
        return {**self.storage_options, **secrets}
