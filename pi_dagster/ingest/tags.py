"""The tags of each partition, as pi_points has them; that list is read once for all partitions of a run."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import cached_property

import pyarrow as pa
import pyarrow.compute as pc

from pi_dagster.ingest.errors import NoTagsError, PointsMissingError
from pi_dagster.ingest.tag_errors import OpenErrors
from pi_dagster.lake import Lake, PointsTable
from pi_dagster.piwebapi import StreamRef
from pi_dagster.site import Site

_COLUMNS = [
    "tag_webid",
    "tag_name",
    "engineering_units",
    "tag_group",
    "tag_group_since",
    "first_seen",
    "last_seen",
    "is_active",
]


@dataclass(frozen=True)
class PartitionTags:
    """The tags of one partition."""

    streams: tuple[StreamRef, ...]
    """Those that are asked for, in the order of their WebIDs, which is the order of the table."""
    units: Mapping[str, str | None]
    gone: frozenset[str]
    """WebIDs of those that the server no longer lists, or did not know when they were asked for since it did."""
    listed: Mapping[str, str | None] = field(default_factory=dict)
    """The partition of each tag that the server has, by WebID; the same mapping for all partitions."""
    moved_at: Mapping[str, datetime] = field(default_factory=dict)
    """When tags came from another partition into the one that they are in, or into none, by WebID; likewise."""
    asked_again: frozenset[str] = frozenset()
    """WebIDs of those that it did not know once, and lists again."""

    @property
    def digest(self) -> str:
        """Another one when a tag joined or left."""
        return hashlib.sha256("\n".join(stream.web_id for stream in self.streams).encode()).hexdigest()[:16]

    def without(self, web_ids: Collection[str]) -> PartitionTags:
        """The same without some tags that turned out to be gone."""
        return replace(
            self,
            streams=tuple(stream for stream in self.streams if stream.web_id not in web_ids),
            gone=self.gone.union(web_ids),
        )


class TagList:
    """The tags of a site's partitions.

    Args:
        site: says which partitions a tag group has.
        lake: where pi_points and pi_tag_errors are.
    """

    def __init__(self, site: Site, lake: Lake) -> None:
        self._site = site
        self._lake = lake
        self._of_partition: dict[str, PartitionTags] = {}

    def of(self, tag_group: str) -> PartitionTags:
        """The tags of a partition.

        Raises:
            PointsMissingError: pi_points has not been loaded yet.
            NoTagsError: no tag belongs to the group.
            LakeError: pi_points cannot be read.
        """
        if tag_group not in self._of_partition:
            self._of_partition[tag_group] = self._find(tag_group)
        return self._of_partition[tag_group]

    @cached_property
    def errors(self) -> OpenErrors:
        """What tags could not be read until now."""
        return OpenErrors.read(self._lake)

    @cached_property
    def names_of_gone(self) -> Mapping[str, str]:
        """The names of the tags of all partitions, and of none, that are gone, by WebID.

        Raises:
            PointsMissingError: pi_points has not been loaded yet.
            LakeError: pi_points cannot be read.
        """
        rows = self._points.select(["tag_webid", "tag_name"]).to_pylist()
        return {row["tag_webid"]: row["tag_name"] for row in rows if row["tag_webid"] in self._gone}

    @cached_property
    def _asked_in_vain(self) -> Mapping[str, datetime]:
        return self.errors.gone()

    @cached_property
    def _gone(self) -> frozenset[str]:
        points, asked_in_vain = self._points, self._asked_in_vain
        may_be_gone = pc.or_(
            pc.invert(points["is_active"]), pc.is_in(points["tag_webid"], pa.array([*asked_in_vain], pa.string()))
        )
        return frozenset(
            row["tag_webid"]
            for row in points.filter(may_be_gone).to_pylist()
            if not row["is_active"] or row["last_seen"] <= asked_in_vain[row["tag_webid"]]
        )

    @cached_property
    def listed(self) -> Mapping[str, str | None]:
        """The partition of each tag that the server has, by WebID."""
        web_ids, groups = (self._points[name].to_pylist() for name in ("tag_webid", "tag_group"))
        return {web_id: group for web_id, group in zip(web_ids, groups, strict=True) if web_id not in self._gone}

    @cached_property
    def _moved_at(self) -> Mapping[str, datetime]:
        moved = self._points.filter(pc.greater(self._points["tag_group_since"], self._points["first_seen"]))
        return dict(zip(moved["tag_webid"].to_pylist(), moved["tag_group_since"].to_pylist(), strict=True))

    @cached_property
    def _points(self) -> pa.Table:
        points = PointsTable.open(self._lake).to_arrow(_COLUMNS)
        if not points.num_rows:
            raise PointsMissingError("The list of tags is empty: materialize pi_points first, then pi_timeseries.")
        return points

    def _find(self, tag_group: str) -> PartitionTags:
        points = self._points
        group = next(group for group in self._site.tag_groups if tag_group in group.partition_names())
        of_group = points.filter(pc.is_in(points["tag_group"], pa.array(group.partition_names())))
        if not pc.any(of_group["is_active"]).as_py():
            was = f"; the server no longer lists the {of_group.num_rows} that did" if of_group.num_rows else ""
            raise NoTagsError(
                f"No tag belongs to the tag group {group.name!r} ({group.chosen_by}){was}. "
                "Correct the filter or the rights of the login, or move the group up if an earlier one takes its tags, "
                "then materialize pi_points."
            )
        rows = of_group.filter(pc.equal(of_group["tag_group"], tag_group)).sort_by("tag_webid").to_pylist()
        gone = self._gone.intersection(row["tag_webid"] for row in rows)
        streams = tuple(StreamRef(row["tag_webid"], row["tag_name"]) for row in rows if row["tag_webid"] not in gone)
        return PartitionTags(
            streams=streams,
            units={row["tag_webid"]: row["engineering_units"] or None for row in rows},
            gone=gone,
            listed=self.listed,
            moved_at=self._moved_at,
            asked_again=frozenset(stream.web_id for stream in streams if stream.web_id in self._asked_in_vain),
        )
