"""Who is told when a load fails or a check turns red."""

from __future__ import annotations

import re
from typing import Literal

from pydantic import Field, field_validator

from pi_dagster.settings_model import SettingsModel
from pi_dagster.site.secrets import VariableName


class NotificationSettings(SettingsModel):
    """Where messages about failed runs and red checks go (docs/notifications.md); needs the extra `notifications`."""

    targets_env: tuple[VariableName, ...] = Field(
        min_length=1,
        description=(
            "Environment variables, as addresses hold tokens and passwords. Each holds one: the URL of a Microsoft "
            "Teams or Slack webhook, `jsons://...` for a webhook of your own, `mailtos://...` for mail."
        ),
    )
    dagster_url: str | None = Field(
        default=None,
        description="Where people open Dagster's UI, such as `https://dagster.example.com`, for links in the messages.",
    )
    quiet_minutes: float = Field(
        default=15.0,
        ge=0,
        le=1440,
        description="After a message an address gets none for so long; what happens meanwhile is in the next one.",
    )
    sensor_interval_seconds: int = Field(default=60, ge=10, le=600, description="Seconds between two looks.")
    least_severity: Literal["warn", "error"] = Field(
        default="error", description="Checks that are told of: `error` only those, `warn` all."
    )

    @field_validator("targets_env")
    @classmethod
    def _are_different(cls, variables: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(variables)) < len(variables):
            raise ValueError("names a variable twice")
        return variables

    @field_validator("dagster_url")
    @classmethod
    def _is_web_address(cls, url: str | None) -> str | None:
        if url is not None and not re.fullmatch(r"https?://[^\s\"'<>@]+", url):
            raise ValueError(f"{url!r} is not an address for browsers such as `https://dagster.example.com`")
        return url.rstrip("/") if url is not None else None
