"""When Dagster runs what on its own, and what it follows."""

from __future__ import annotations

import re

from pydantic import Field, field_validator

from pi_dagster.settings_model import SettingsModel

_CRON_FIELD = re.compile(r"^[\d*/,\-A-Za-z]+$")


class StreamUpdateSettings(SettingsModel):
    """How late, edited and deleted events are followed by PI Web API's Stream Updates."""

    tag_groups: tuple[str, ...] | None = Field(
        default=None,
        min_length=1,
        description="Tag groups that are followed, by name; default: all. The server sends each of their events twice.",
    )
    sensor_interval_seconds: int = Field(
        default=60, ge=10, le=600, description="Seconds between two looks; a server forgets who does not ask."
    )
    reread_days: int = Field(
        default=3,
        ge=0,
        le=366,
        description=(
            "Days before today that are read whole again where it is not known what has changed, as after a restart of "
            "PI Web API or of Dagster; today always is."
        ),
    )


class ScheduleSettings(SettingsModel):
    """When Dagster runs what, as cron expressions in UTC."""

    timeseries: str = Field(default="*/5 * * * *", description="Today's partitions of pi_timeseries.")
    points: str = Field(default="15 0 * * *", description="The list of tags, pi_points.")
    assets: str = Field(default="5 0 * * *", description="The AF elements and their attributes.")
    event_frames: str = Field(
        default="30 0 * * *", description="All event frames of `event_frames.lookback_days`, read again."
    )
    maintenance: str = Field(default="45 3 * * *", description="Old files of the Delta tables are deleted.")
    quality: str = Field(default="30 4 * * *", description="Yesterday is judged by the site's `quality_rules`.")
    daily: str = Field(
        default="20 * * * *", description="Numbers of closed days, pi_timeseries_daily, where their rows have changed."
    )
    checks: str = Field(default="10,40 * * * *", description="The checks of all tables, see docs/checks.md.")
    report: str = Field(default="0 5 * * *", description="The page about yesterday, pi_quality_report.")

    @field_validator("*")
    @classmethod
    def _is_cron(cls, text: str) -> str:
        if len(text.split()) != 5 or not all(_CRON_FIELD.match(part) for part in text.split()):
            raise ValueError(f"{text!r} is not a cron expression of five fields such as `*/5 * * * *`")
        return text
