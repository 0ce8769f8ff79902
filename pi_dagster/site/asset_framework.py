"""Which AF elements and event frames are copied."""

from __future__ import annotations

from pydantic import Field

from pi_dagster.settings_model import SettingsModel

ELEMENT_PATH_PATTERN = r"^/[^/].*$"
"""Element paths begin at the database's first level: `/Enterprise/Site1`."""


class AssetFrameworkSettings(SettingsModel):
    """Which AF elements are copied, with all of their attributes; without filters all that the login may see."""

    asset_server: str | None = Field(
        default=None, description="Name of the AF server; may be left out where PI Web API knows just one."
    )
    databases: tuple[str, ...] | None = Field(
        default=None, min_length=1, description="AF databases by name; default: all that the login may see."
    )
    root_path: str | None = Field(
        default=None,
        pattern=ELEMENT_PATH_PATTERN,
        description="Only this element of each database and those below it, such as `/Enterprise/Site1`.",
    )
    templates: tuple[str, ...] | None = Field(
        default=None, min_length=1, description="Only elements of these templates or of ones derived from them."
    )
    categories: tuple[str, ...] | None = Field(
        default=None, min_length=1, description="Only elements that have one of these categories."
    )
    page_size: int = Field(default=10_000, ge=10, le=150_000, description="Elements asked for in one request.")
    elements_per_batch: int = Field(
        default=100, ge=1, le=1000, description="Elements whose attributes are asked for in one request."
    )
    max_lost_share: float = Field(
        default=0.3,
        ge=0,
        le=1,
        description=(
            "Share of the elements that may be gone at once; more fails the run, as a lost right to read looks like "
            "a deletion."
        ),
    )


class EventFrameSettings(SettingsModel):
    """Which event frames are copied, and how the sensor looks for changes of them."""

    templates: tuple[str, ...] | None = Field(
        default=None,
        min_length=1,
        description="Only event frames of these templates or of ones derived from them; default: all.",
    )
    lookback_days: int = Field(
        default=7,
        ge=1,
        le=366,
        description=(
            "Days before today, by start, in which frames are looked for that were created late, changed or deleted; "
            "open frames are followed however old they are."
        ),
    )
    sensor_interval_seconds: int = Field(
        default=60, ge=10, le=86_400, description="Seconds between two looks at the server for changes."
    )
    page_size: int = Field(default=10_000, ge=2, le=150_000, description="Event frames asked for in one request.")
