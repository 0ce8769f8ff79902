"""The options of the data source `pi_web_api`: the site's settings by the same names, checked on the driver.

Spark's options are texts, so a setting within another is written with a dot, such as `server.batch_size`. They stand in
plans and event logs, so they hold no secrets: a login names the environment variable that holds its password, which is
read on the machine that sends the request. On Databricks that is a variable of the cluster whose value is a reference
to a secret scope.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Mapping
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from pi_dagster.site import AssetFrameworkSettings, EventFrameSettings, ServerSettings, Site
from pi_dagster.site_mistakes import SiteFileError, mistakes_told, read_document, refuse_repeated_settings

TableName = Literal["timeseries", "points", "asset_hierarchy", "asset_attributes", "event_frames"]

_OF_TABLES: Mapping[str, tuple[TableName, ...]] = {
    **dict.fromkeys(("tag_group", "tag_filter", "tags"), ("timeseries", "points")),
    **dict.fromkeys(("start", "end"), ("timeseries", "event_frames")),
    **dict.fromkeys(("with_report", "with_window"), ("timeseries",)),
}
_OF_SITE = ("server", "asset_framework", "event_frames", "lag_seconds", "tail_overlap_minutes")
_LISTS = (
    "tags",
    "asset_framework.databases",
    "asset_framework.templates",
    "asset_framework.categories",
    "event_frames.templates",
)
_LONGEST_WINDOW_MINUTES = 100 * 366 * 1440
"""A hundred years: as good as no limit, and no instant that Python's dates do not reach."""


class OptionError(ValueError):
    """An option of the data source that is missing, unknown or wrong."""


class ReadOptions(BaseModel):
    """What is to be read, from which server, in how many tasks."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    table: TableName = Field(
        default="timeseries",
        description="`timeseries`, `points`, `asset_hierarchy`, `asset_attributes` or `event_frames`.",
    )
    site: Site | None = Field(
        default=None,
        description=(
            "A site: its settings as JSON, or the path of its `defs.yaml`. Gives the server, and the tags of "
            "`tag_group` as the lake's pi_points has them."
        ),
    )
    server: ServerSettings = Field(description="The server of the site, or `server.url` and so on, without a site.")
    asset_framework: AssetFrameworkSettings | None = Field(
        default_factory=AssetFrameworkSettings,
        description="The site's, or without a site which elements and databases of AF: `asset_framework.databases` ...",
    )
    event_frames: EventFrameSettings = Field(
        default_factory=EventFrameSettings,
        description="The site's, or without a site which event frames: `event_frames.templates` ...",
    )
    tag_group: str | None = Field(
        default=None, description="Only this partition of the site: a tag group, or a shard of one."
    )
    tag_filter: str | None = Field(default=None, min_length=1, description="Only tags of this pattern, such as `BLR*`.")
    tags: tuple[str, ...] | None = Field(
        default=None, min_length=1, description='Only these tags, each once, as a JSON list: `["A", "B"]`.'
    )
    start: AwareDatetime | None = Field(default=None, description="First instant, UTC where it does not say otherwise.")
    end: AwareDatetime | None = Field(
        default=None, description="First instant that no longer belongs; default: the server's clock less the lag."
    )
    tasks: int = Field(
        default=4,
        ge=1,
        description=(
            "Spark tasks that read at once; `server.max_requests_in_flight` is divided among them, so that it holds "
            "for the whole job, and there are no more tasks than that."
        ),
    )
    with_report: bool = Field(
        default=False,
        description=(
            "A further column, `reading_report`, and in it, once a task, tags that could not be read and the traffic; "
            "without it such tags fail the job."
        ),
    )
    with_window: bool = Field(
        default=False,
        description="Two further columns, `window_start` and `window_end`: what was asked for. For streams.",
    )
    lag_seconds: float = Field(
        default=10.0, ge=0, le=3600, description="As in the site, and from it where there is one."
    )
    tail_overlap_minutes: float = Field(
        default=10.0, ge=0, le=1440, description="The site's, where there is one. For streams."
    )
    max_window_minutes: float = Field(
        default=1440.0,
        gt=0,
        le=_LONGEST_WINDOW_MINUTES,
        description="A micro-batch of a stream brings at most so much that is new.",
    )

    @field_validator("start", "end", mode="before")
    @classmethod
    def _utc_unless_said(cls, instant: Any) -> Any:
        if not isinstance(instant, str):
            return instant
        try:
            parsed = datetime.fromisoformat(instant.replace("Z", "+00:00"))
        except ValueError:
            raise ValueError("write it like 2026-11-02 or 2026-11-02T06:00:00Z") from None
        return parsed if parsed.tzinfo else parsed.replace(tzinfo=timezone.utc)

    @field_validator("tags")
    @classmethod
    def _each_once(cls, tags: tuple[str, ...] | None) -> tuple[str, ...] | None:
        # PI takes upper and lower case of a name for the same, and a tag that is read twice has its rows twice.
        first: dict[str, str] = {}
        for name in tags or ():
            first.setdefault(name.casefold(), name)
        return tuple(first.values()) or None

    @model_validator(mode="after")
    def _is_consistent(self) -> ReadOptions:
        chosen = [name for name in ("tag_group", "tag_filter", "tags") if getattr(self, name) is not None]
        if len(chosen) > 1:
            raise ValueError(f"give only one of {' and '.join(chosen)}")
        if self.tag_group is not None and self.site is None:
            raise ValueError("`tag_group` is a partition of a site, so it needs the option `site`")
        if self.with_window and self.site is not None and chosen and self.tag_group is None:
            raise ValueError(
                f"`with_window` with a site is for whole tag groups, as `window_sink` would delete the tags of a group "
                f"that `{chosen[0]}` leaves out; choose them by `tag_group`, or leave out `with_window`"
            )
        for name, tables in _OF_TABLES.items():
            if getattr(self, name) not in (None, False) and self.table not in tables:
                raise ValueError(f"`{name}` belongs to the table {' or '.join(tables)}, not to {self.table}")
        if self.table not in ("timeseries", "points") and self.asset_framework is None:
            raise ValueError(f"the site has `asset_framework` switched off, so there is no table {self.table}")
        if self.start is not None and self.end is not None and self.end < self.start:
            raise ValueError(f"the option `end` ({self.end}) is before `start` ({self.start})")
        if self.site is not None and self.tag_group is not None and self.tag_group not in self.site.partition_names():
            raise ValueError(
                f"the site has no partition {self.tag_group!r}; it has {', '.join(self.site.partition_names()[:20])}"
            )
        return self

    @classmethod
    def of(cls, options: Mapping[str, str]) -> ReadOptions:
        """The settings that Spark's options hold.

        Args:
            options: as Spark hands them over; upper and lower case count as the same.

        Raises:
            OptionError: an option is missing, unknown or wrong.
        """
        lower = {name.lower(): text for name, text in options.items()}
        for name in lower:
            _check_name(name)
        settings = _nested(lower)
        try:
            if "site" in settings:
                for name in ("server", "asset_framework", "event_frames"):
                    if name in settings:
                        raise OptionError(f"Give either the option `site` or the options `{name}. ...`, not both.")
                site = settings["site"] = read_site(settings["site"])
                settings = {**{name: getattr(site, name) for name in _OF_SITE}, **settings}
            for path in _LISTS:
                *parents, name = path.split(".")
                place = settings.get(parents[0]) if parents else settings
                if isinstance(place, dict) and name in place:
                    place[name] = _names(path, place[name])
            return cls.model_validate(settings)
        except ValidationError as error:
            raise OptionError(_all_told(error)) from None


def _check_name(option: str) -> None:
    groups: Mapping[str, type[BaseModel]] = {
        "server": ServerSettings,
        "asset_framework": AssetFrameworkSettings,
        "event_frames": EventFrameSettings,
    }
    within = [f"{group}.{name}" for group, model in groups.items() for name in model.model_fields]
    known = [*ReadOptions.model_fields, *within]
    if ".".join(option.split(".")[:2]) in known:
        return
    same = [name for name in within if name.endswith(f".{option}")]
    nearest = same or difflib.get_close_matches(option, known, n=1)
    hint = f"did you mean `{nearest[0]}`?" if nearest else f"known are {', '.join(ReadOptions.model_fields)}."
    raise OptionError(f"The data source pi_web_api has no option `{option}`; {hint}")


def _nested(options: Mapping[str, str]) -> dict[str, Any]:
    """`{"server.login.kind": ...}` as `{"server": {"login": {"kind": ...}}}`."""
    nested: dict[str, Any] = {}
    for name, text in options.items():
        *parents, last = name.split(".")
        place = nested
        for parent in parents:
            place = place.setdefault(parent, {})
            if not isinstance(place, dict):
                raise OptionError(f"The option `{name}` does not go together with `{parent}`.")
        place[last] = text
    return nested


def read_site(text: str) -> Site:
    """A site from its settings as JSON, or from the path of a site file without templates.

    Raises:
        OptionError: the file cannot be read or holds templates, or a setting is missing, unknown or wrong. Of a file it
            tells the line.
    """
    if text.lstrip().startswith("{"):
        try:
            return Site.model_validate_json(text)
        except ValidationError as error:
            raise OptionError(_all_told(error)) from None
    try:
        document, positions = read_document(Path(text))
        refuse_repeated_settings(text)
    except SiteFileError as error:
        raise OptionError(str(error)) from None
    at = ("attributes",) if "attributes" in document else ()
    settings = document["attributes"] if at else document
    if "{{" in json.dumps(settings, default=str):
        raise OptionError(
            f"The site file {text} holds templates, which only Dagster fills in. Give the option `site` the settings "
            "as JSON instead."
        )
    try:
        return Site.model_validate(settings)
    except ValidationError as error:
        raise OptionError(mistakes_told(error, settings, positions, at=at)) from None


def _names(option: str, text: str) -> list[str]:
    try:
        names = json.loads(text) if text.lstrip().startswith("[") else [text]
    except ValueError:
        raise OptionError(f'The option `{option}` is not a JSON list of names; write it like ["A", "B"].') from None
    if not all(isinstance(name, str) and name.strip() for name in names):
        raise OptionError(f'The option `{option}` holds something else than names; write it like ["A", "B"].')
    return list(names)


def _all_told(error: ValidationError) -> str:
    return " ".join(_told(problem) for problem in error.errors(include_url=False))


def _told(problem: Any) -> str:
    parts = [str(part) for part in problem["loc"]]
    if "login" in parts[:-2]:
        # Settings of a login are found below its kind, which is no part of their names.
        del parts[parts.index("login") + 1]
    name = ".".join(parts)
    kind = problem["type"]
    if kind == "missing":
        return f"The option `{'server.url' if name == 'server' else name}` is missing."
    if kind == "union_tag_not_found":
        return f"The option `{name}.kind` is missing."
    if kind == "union_tag_invalid":
        return f"Option `{name}.kind`: {problem['ctx']['tag']!r} is none of {problem['ctx']['expected_tags']}."
    if kind == "extra_forbidden":
        return f"There is no setting `{name}`."
    told = str(problem["msg"]).removeprefix("Value error, ").rstrip(".")
    return f"Option `{name}`: {told}." if name else f"{told[0].upper()}{told[1:]}."
