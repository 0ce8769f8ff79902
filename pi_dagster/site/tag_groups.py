"""Tag groups: which tags are read together, and which partitions they make."""

from __future__ import annotations

from pydantic import Field, field_validator, model_validator

from pi_dagster.settings_model import SettingsModel
from pi_dagster.site.asset_framework import ELEMENT_PATH_PATTERN

NAME_PATTERN = r"^[A-Za-z0-9_.-]+$"
"""What a site or tag group may be called: the name becomes a partition key, a folder name and part of a
predicate, and Dagster cannot show partitions whose key holds `| [ ] ,`."""

MAX_SHARDS = 1000

WAYS_TO_MATCH = ("tag_filter", "tags", "af_template", "element_path")
"""The settings of a tag group that say which tags belong to it; each group has one of them."""

_MOST_NAMED = 5


class TagGroup(SettingsModel):
    """Tags that are read together and share partitions; the first group that matches a tag owns it."""

    name: str = Field(
        pattern=NAME_PATTERN,
        max_length=64,
        description="The group's name; becomes a partition key and a folder name.",
    )
    tag_filter: str | None = Field(
        default=None,
        min_length=1,
        description="Tag name pattern with `*` and `?`, not case-sensitive, such as `BLR*`.",
    )
    tags: tuple[str, ...] | None = Field(default=None, min_length=1, description="The tag names, written out.")
    af_template: str | None = Field(
        default=None,
        min_length=1,
        description="The tags of all AF elements of this template; `*` and `?` as in `tag_filter`, such as `Pump*`.",
    )
    element_path: str | None = Field(
        default=None,
        pattern=ELEMENT_PATH_PATTERN,
        description="The tags of the AF element at this path and of all below it, such as `/Enterprise/Site1/Unit*`.",
    )
    shards: int = Field(
        default=1,
        ge=1,
        le=MAX_SHARDS,
        description="Spread the group's tags by a stable hash over this many partitions.",
    )

    @field_validator("name")
    @classmethod
    def _is_no_path_and_no_range(cls, name: str) -> str:
        if not name.strip(".") or "..." in name:
            raise ValueError("use letters or digits too, and no ..., which means a range of partitions in Dagster")
        return name

    @model_validator(mode="after")
    def _has_one_way_to_match(self) -> TagGroup:
        given = [name for name in WAYS_TO_MATCH if getattr(self, name) is not None]
        if len(given) != 1:
            ways = ", ".join(f"`{name}`" for name in WAYS_TO_MATCH)
            found = " and ".join(f"`{name}`" for name in given) or "none"
            raise ValueError(f"tag group {self.name!r} needs exactly one of {ways}; it has {found}")
        return self

    @property
    def chosen_by(self) -> str:
        """How it matches tags, in the words of the site: `tag_filter: BLR*`."""
        if self.tags is not None:
            more = f" and {len(self.tags) - _MOST_NAMED} more" if len(self.tags) > _MOST_NAMED else ""
            return f"`tags`: {', '.join(self.tags[:_MOST_NAMED])}{more}"
        return next(f"`{name}: {value}`" for name in WAYS_TO_MATCH if (value := getattr(self, name)) is not None)

    @property
    def uses_assets(self) -> bool:
        """True when the group is chosen by AF elements, so that it needs pi_asset_attributes."""
        return self.af_template is not None or self.element_path is not None

    def partition_names(self) -> tuple[str, ...]:
        """The group's partition keys: its name, or `name-00 ... name-(n-1)` when it has shards."""
        if self.shards == 1:
            return (self.name,)
        width = max(2, len(str(self.shards - 1)))
        return tuple(f"{self.name}-{shard:0{width}d}" for shard in range(self.shards))
