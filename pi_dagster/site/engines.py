"""The settings of the engines other than `local`."""

from __future__ import annotations

from pydantic import Field, field_validator

from pi_dagster.redaction import is_secret_name
from pi_dagster.settings_model import SettingsModel

_OF_HADOOP = "spark.hadoop."
"""What the settings of the stores begin with; a catalog's token, beside them, may have to be there and mean nothing."""

_REFERENCE_ON_DATABRICKS = "{{secrets/"


class SparkSettings(SettingsModel):
    """How Spark is started, and how a partition is cut, where the site's engine is `spark`."""

    master: str = Field(
        default="local[*]",
        min_length=1,
        description="Where Spark runs, such as `spark://host:7077`; not looked at where there is a session already.",
    )
    tasks: int = Field(
        default=4,
        ge=1,
        le=128,
        description="Tasks that read a partition at once; they share `server.max_requests_in_flight`.",
    )
    settings: dict[str, str] = Field(
        default_factory=dict,
        description="Settings of Spark itself, such as `spark.driver.memory: 4g`; no secrets here.",
    )

    @field_validator("settings")
    @classmethod
    def _holds_no_secret(cls, settings: dict[str, str]) -> dict[str, str]:
        secret = sorted(
            name
            for name, value in settings.items()
            if _is_secret_of_a_store(name) and not value.startswith(_REFERENCE_ON_DATABRICKS)
        )
        if secret:
            raise ValueError(
                f"{', '.join(secret)}: a secret has no place in a site; give it to Spark by its own "
                "spark-defaults.conf, or by the environment, such as AWS_SECRET_ACCESS_KEY"
            )
        return settings


def _is_secret_of_a_store(name: str) -> bool:
    # A provider is a class that knows where credentials are; the names of Azure's keys end in that of the account.
    if not name.startswith(_OF_HADOOP) or "provider" in name:
        return False
    return is_secret_name(name.replace(".", "_")) or ".account.key." in name
