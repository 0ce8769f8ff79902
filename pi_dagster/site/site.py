"""The site itself: one strict model of every setting a plant configures, from the PI server to the Delta tables."""

from __future__ import annotations

import re
from datetime import date, datetime, timezone
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from pi_dagster.quality_rules import RESERVED_RULE_NAMES, AnyRule, DifferenceRule
from pi_dagster.settings_model import SettingsModel
from pi_dagster.site.asset_framework import AssetFrameworkSettings, EventFrameSettings
from pi_dagster.site.automation import ScheduleSettings, StreamUpdateSettings
from pi_dagster.site.checks import CheckSettings
from pi_dagster.site.databricks import DatabricksSettings, ExistingCluster, NewCluster
from pi_dagster.site.engines import SparkSettings
from pi_dagster.site.lake import LakeSettings
from pi_dagster.site.notifications import NotificationSettings
from pi_dagster.site.server import ServerSettings
from pi_dagster.site.tag_groups import NAME_PATTERN, TagGroup


class Site(SettingsModel):
    """One PI system and where its data goes: everything a user configures."""

    name: str = Field(
        default="pi",
        pattern=NAME_PATTERN,
        max_length=64,
        description="The site's name, for people and for commit metadata.",
    )
    asset_key_prefix: tuple[Annotated[str, Field(pattern=r"^[A-Za-z0-9_]+$")], ...] = Field(
        default=(),
        description="Put in front of every asset key, so that one Dagster code location can hold several sites.",
    )
    server: ServerSettings
    lake: LakeSettings
    start_date: date = Field(description="First day (UTC) that can be loaded, such as 2026-01-01.")
    tag_groups: tuple[TagGroup, ...] = Field(
        min_length=1, description="Which tags are read and how they share partitions."
    )
    asset_framework: AssetFrameworkSettings | None = Field(
        default_factory=AssetFrameworkSettings,
        description="Which AF elements are copied; `null` where there is no AF, which switches off event frames too.",
    )
    event_frames: EventFrameSettings = Field(
        default_factory=EventFrameSettings,
        description="Which event frames are copied, from the databases of `asset_framework`.",
    )
    stream_updates: StreamUpdateSettings | None = Field(
        default=None,
        description="Follow late, edited and deleted events by Stream Updates (PI Web API 2019 on); `null` is off.",
    )
    incremental_window_days: int = Field(
        default=30,
        ge=1,
        le=3660,
        description="Closed days that the schedule looks back for on its own when nothing was loaded yet.",
    )
    lag_seconds: float = Field(
        default=10.0,
        ge=0,
        le=3600,
        description="Today is read up to server time minus this: the newest event is provisional.",
    )
    tail_overlap_minutes: float = Field(
        default=10.0,
        ge=0,
        le=1440,
        description="The schedule reads today again from this long before where it ended, for events that came late.",
    )
    settle_hours: float = Field(
        default=2.0,
        ge=0,
        le=24,
        description="Hours after its end that a day is read whole once more, for what came late or was edited.",
    )
    reconcile_days: int = Field(
        default=35,
        ge=0,
        le=3660,
        description="Settled days whose event counts are compared with the server's, each once a day; 0 is none.",
    )
    reconcile_requests_per_run: int = Field(
        default=100,
        ge=1,
        le=100_000,
        description="Requests after which one run of that comparison leaves the rest to the next, half an hour later.",
    )
    retention_days: int = Field(
        default=7,
        ge=7,
        le=3660,
        description="Days that replaced files and the log of pi_timeseries and pi_event_frames are kept.",
    )
    on_tag_error: Literal["fail", "keep"] = Field(
        default="fail",
        description=(
            "When a tag, or an event frame's attributes, cannot be read: `fail` fails the partition; `keep` commits "
            "the others, and what was there of this one stays."
        ),
    )
    max_lost_tag_share: float = Field(
        default=0.3,
        ge=0,
        le=1,
        description=(
            "Share of the listed tags that may be gone at once, ten always; more fails pi_points, as a lost right to "
            "read looks like a deletion."
        ),
    )
    max_partitions_per_run: int = Field(
        default=30, ge=1, le=1000, description="Partitions that one run of a backfill takes."
    )
    engine: Literal["local", "spark", "databricks"] = Field(
        default="local",
        description=(
            "Where whole days of pi_timeseries are read and written: `local` is this machine, with delta-rs; `spark` "
            "is Spark, with delta-spark; `databricks` is a job in a Databricks workspace that does the same. The "
            "schedule's steps through today, and all other tables, stay local."
        ),
    )
    spark: SparkSettings = Field(default_factory=SparkSettings, description="For the engine `spark`.")
    databricks: DatabricksSettings | None = Field(default=None, description="For the engine `databricks`.")
    schedules: ScheduleSettings = Field(default_factory=ScheduleSettings)
    checks: CheckSettings = Field(default_factory=CheckSettings, description="From when on a check is red.")
    notifications: NotificationSettings | None = Field(
        default=None, description="Who is told of failed runs and red checks; `null` is nobody."
    )
    reports_url: str | None = Field(
        default=None,
        description=(
            "Where browsers find the folder `reports` of the lake, such as `https://pi.example.com/reports`, so that "
            "Dagster links to the pages in it; default: their path is told."
        ),
    )
    quality_rules: tuple[AnyRule, ...] = Field(
        default=(), description="Rules that each closed day is judged by; what they find is in pi_quality_findings."
    )

    @field_validator("start_date", mode="after")
    @classmethod
    def _start_is_not_in_the_future(cls, start: date) -> date:
        today = datetime.now(timezone.utc).date()
        if start > today:
            raise ValueError(f"start_date {start} is in the future (today is {today} UTC); it is the first day to load")
        return start

    @field_validator("reports_url", mode="after")
    @classmethod
    def _is_web_address(cls, url: str | None) -> str | None:
        if url is not None and not re.fullmatch(r"https?://[^\s\"'<>@]+", url):
            raise ValueError(f"{url!r} is not an address for browsers such as `https://pi.example.com/reports`")
        return url

    @field_validator("tag_groups", mode="after")
    @classmethod
    def _names_are_unique(cls, groups: tuple[TagGroup, ...]) -> tuple[TagGroup, ...]:
        owner: dict[str, TagGroup] = {}
        names: set[str] = set()
        for group in groups:
            if group.name.lower() in names:
                raise ValueError(
                    f"two tag groups are named {group.name!r} (upper and lower case count as the same); rename one"
                )
            names.add(group.name.lower())
            for partition in group.partition_names():
                # Partitions are folders, and a file system that ignores case must not mix two of them up.
                other = owner.setdefault(partition.lower(), group)
                if other is not group:
                    raise ValueError(
                        f"the tag groups {other.name!r} and {group.name!r} would share the partition {partition!r} "
                        "(upper and lower case count as the same); rename one of them"
                    )
        return groups

    @model_validator(mode="after")
    def _groups_have_what_they_match_by(self) -> Site:
        for group in self.tag_groups:
            if group.uses_assets and self.asset_framework is None:
                raise ValueError(
                    f"tag group {group.name!r} is chosen by AF elements, and `asset_framework` is switched off; "
                    "leave that setting out to have it on"
                )
        return self

    @model_validator(mode="after")
    def _followed_groups_are_there(self) -> Site:
        followed = self.stream_updates.tag_groups or () if self.stream_updates else ()
        unknown = sorted(set(followed) - {group.name for group in self.tag_groups})
        if unknown:
            raise ValueError(
                f"`stream_updates.tag_groups` names {', '.join(unknown)}, which are no tag groups of this site; "
                "names are written as in `tag_groups`, without a shard's number"
            )
        return self

    @model_validator(mode="after")
    def _databricks_has_what_it_needs(self) -> Site:
        if self.engine != "databricks":
            return self
        if self.databricks is None:
            raise ValueError("`engine: databricks` needs the section `databricks`, which says on what compute to run")
        if "://" not in self.lake.uri:
            raise ValueError(
                f"`lake.uri` is {self.lake.uri}, a folder of this machine that Databricks cannot reach; the engine "
                "`databricks` needs an object store, such as abfss://container@account.dfs.core.windows.net/pi"
            )
        compute = self.databricks.compute
        if self.spark.settings and not isinstance(compute, NewCluster):
            raise ValueError(
                f"`spark.settings` cannot be given to the compute `{compute.kind}`; write them in its own configuration"
            )
        missing = sorted(self.variables_of_secrets() - self.databricks.secrets.keys())
        if missing and not isinstance(compute, ExistingCluster):
            raise ValueError(
                f"the job on Databricks will not have the environment variable {missing[0]}, which this site names; "
                f"write `{missing[0]}: scope/key` in `databricks.compute.secrets`"
            )
        return self

    @model_validator(mode="after")
    def _rules_fit_the_site(self) -> Site:
        names = [rule.name.lower() for rule in self.quality_rules]
        groups = [group.name for group in self.tag_groups]
        for rule in self.quality_rules:
            if names.count(rule.name.lower()) > 1:
                raise ValueError(f"two quality rules are named {rule.name!r}; rename one")
            if rule.name.lower() in RESERVED_RULE_NAMES:
                raise ValueError(
                    f"a quality rule is named {rule.name!r}, as a check that the findings have in any case; rename it"
                )
            unknown = sorted(set(rule.tag_groups or ()) - set(groups))
            if unknown:
                raise ValueError(
                    f"quality rule {rule.name!r} names the tag group {unknown[0]!r}, which the site does not have; "
                    f"it has {', '.join(groups)}"
                )
            if self.asset_framework is None and (rule.af_template or isinstance(rule, DifferenceRule)):
                raise ValueError(
                    f"quality rule {rule.name!r} goes by AF elements, and `asset_framework` is switched off; "
                    "leave that setting out to have it on"
                )
        return self

    @property
    def has_groups_by_assets(self) -> bool:
        """True when a tag group is chosen by AF elements."""
        return any(group.uses_assets for group in self.tag_groups)

    def partition_names(self) -> tuple[str, ...]:
        """All keys of the partition dimension `tag_group`, in the order of the site."""
        return tuple(name for group in self.tag_groups for name in group.partition_names())

    def variables_of_secrets(self) -> set[str]:
        """The names of the environment variables that a load reads secrets from."""
        settings = self.server.model_dump()
        nested = [settings, settings["login"]]
        of_server = {value for part in nested for name, value in part.items() if name.endswith("_env") and value}
        return of_server | set(self.lake.storage_options_env.values())

    def describe(self) -> dict[str, Any]:
        """The settings as plain JSON; holds no secret, as the site holds only names of variables."""
        return self.model_dump(mode="json")
