"""The settings of the engines other than `local`."""

from __future__ import annotations

from pydantic import Field

from pi_dagster.settings_model import SettingsModel


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
