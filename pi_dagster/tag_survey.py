"""Which partition each tag of a server falls into, and the tag groups that get none: what a site's filters really do.

Filters are where sites go wrong: a group that matches nothing, or whose tags an earlier group takes, loads nothing and
says so only when its partition runs. A survey says it before.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from pi_dagster.ingest.asset_tags import AssetTags
from pi_dagster.ingest.groups import TagAssigner
from pi_dagster.piwebapi.objects import Point
from pi_dagster.site import Site, TagGroup

_MOST_NAMED = 5


@dataclass(frozen=True)
class SurveyedTag:
    """A tag that the server lists, and its partition; None when no group matches it."""

    point: Point
    partition: str | None


class TagSurvey:
    """The tags of a server, assigned to the partitions of a site.

    Args:
        site: its tag groups.
        points: the tags that the server lists.
        asset_tags: what groups chosen by AF elements go by; None where the lake does not know, so that nothing can be
            said of those groups.
    """

    def __init__(self, site: Site, points: Sequence[Point], asset_tags: AssetTags | None = None) -> None:
        self._site = site
        self._asset_tags = asset_tags
        assigner = TagAssigner(site.tag_groups, asset_tags)
        self.tags = tuple(
            SurveyedTag(point, assigner.partition_of(point.name, point.web_id))
            for point in sorted(points, key=lambda point: (point.name, point.web_id))
        )
        counts = Counter(tag.partition for tag in self.tags)
        self.tags_in_no_group = counts[None]
        self.tags_by_partition = {name: counts[name] for name in site.partition_names()}

    def count_of(self, group: TagGroup) -> int:
        """How many tags the group owns."""
        return sum(self.tags_by_partition[name] for name in group.partition_names())

    def empty_groups(self) -> tuple[TagGroup, ...]:
        """The groups that own no tag, as far as is known."""
        return tuple(
            group
            for group in self._site.tag_groups
            if not self.count_of(group) and not (group.uses_assets and self._asset_tags is None)
        )

    def problems(self) -> list[str]:
        """What is wrong, a paragraph each, for a list of tags that is complete."""
        names = {tag.point.name.casefold() for tag in self.tags}
        problems = [self._why_empty(group) for group in self.empty_groups()]
        for group in self._site.tag_groups:
            unknown = [name for name in group.tags or () if name.casefold() not in names]
            if unknown and self.count_of(group):
                problems.append(
                    f"The tag group {group.name!r} names tags that the server does not list: {_some(unknown)}. Correct "
                    "the names in `tags`, or give the login read access to those tags."
                )
        return problems

    def _why_empty(self, group: TagGroup) -> str:
        alone = TagAssigner([group], self._asset_tags)
        taken = [tag for tag in self.tags if tag.partition and alone.partition_of(tag.point.name, tag.point.web_id)]
        if taken:
            takers = [other.name for other in self._site.tag_groups if _owns_one_of(other, taken)]
            return (
                f"The tag group {group.name!r} gets no tag: all {len(taken)} that it matches belong to groups before "
                f"it ({_some(takers)}). Move it up in the site, or narrow the filters of those groups."
            )
        return (
            f"The tag group {group.name!r} ({group.chosen_by}) matches no tag that this login may see. Correct it, "
            "or give the login read access to those tags; `pi-dagster tags` lists the tags that there are."
        )


def _owns_one_of(group: TagGroup, tags: Sequence[SurveyedTag]) -> bool:
    partitions = frozenset(group.partition_names())
    return any(tag.partition in partitions for tag in tags)


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else ""
    return f"{', '.join(names[:_MOST_NAMED])}{more}"
