"""From when on a check of what was loaded is red."""

from __future__ import annotations

from pydantic import Field

from pi_dagster.settings_model import SettingsModel


class CheckSettings(SettingsModel):
    """The limits of the checks, see docs/checks.md."""

    freshness_minutes: float = Field(
        default=30.0, gt=0, le=1440, description="How far today may be behind in a tag group, in minutes."
    )
    failed_partition_hours: float = Field(
        default=3.0, ge=0, le=720, description="How long a partition may stay failed, in hours; it is tried again."
    )
    bad_percent: float = Field(
        default=10.0,
        ge=0,
        le=100,
        description="Bad values that a day of a tag group may have, in percent of its events.",
    )
    system_state_percent: float = Field(
        default=20.0,
        ge=0,
        le=100,
        description="Events with a state of the PI system, such as `Shutdown`, that such a day may have, in percent.",
    )
    silent_factor: float = Field(
        default=3.0,
        ge=1,
        le=1000,
        description="A tag is silent when it pauses for so many times its longest pause of `habit_days`.",
    )
    silent_minutes: float = Field(
        default=60.0, gt=0, le=43_200, description="No tag is called silent for less than so many minutes."
    )
    habit_days: int = Field(
        default=14,
        ge=1,
        le=90,
        description="Days before today that tell a tag's habit: yesterday, and those of pi_timeseries_daily.",
    )
    clock_skew_seconds: float = Field(
        default=60.0,
        gt=0,
        le=3600,
        description="By how much the server's clock and this machine's may differ, in seconds.",
    )
    open_frame_hours: float = Field(
        default=72.0, gt=0, le=87_600, description="How long an event frame may be open, in hours."
    )
    unknown_tags: int = Field(
        default=0,
        ge=0,
        le=10_000_000,
        description="AF attributes that may refer to a tag which pi_points does not have; more are a finding.",
    )
