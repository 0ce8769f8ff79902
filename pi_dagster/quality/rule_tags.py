"""Which tags each rule is about, and what the rules need to know of them; read once for all partitions of a run."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import pyarrow.compute as pc

from pi_dagster.ingest.asset_tags import AssetTags
from pi_dagster.ingest.errors import AssetsMissingError, PointsMissingError
from pi_dagster.ingest.wildcards import matcher
from pi_dagster.lake import AssetAttributesTable, Lake, PointsTable, TableMissingError
from pi_dagster.quality.judging import TagFacts
from pi_dagster.quality_rules import DifferenceRule, Rule
from pi_dagster.site import Site


@dataclass(frozen=True)
class JudgedTag:
    """A tag of a partition."""

    web_id: str
    name: str
    facts: TagFacts


@dataclass(frozen=True)
class TagPair:
    """Two tags of one AF element that a `DifferenceRule` compares."""

    first: JudgedTag
    other_web_id: str


class RuleTags:
    """The tags that the rules of a site are about.

    Args:
        site: has the rules.
        lake: where pi_points is, and the asset tables where a rule goes by them.
    """

    def __init__(self, site: Site, lake: Lake) -> None:
        self._site = site
        self._lake = lake
        self._groups = {group.name: group.partition_names() for group in site.tag_groups}

    def of_partition(self, tag_group: str) -> Sequence[JudgedTag]:
        """The tags of a partition that the server lists, by WebID.

        Raises:
            PointsMissingError: pi_points has not been loaded.
            LakeAccessError: the storage failed.
        """
        return self._tags.get(tag_group, ())

    def chosen(self, rule: Rule, tag_group: str) -> frozenset[str]:
        """WebIDs of the tags of a partition that a rule is about.

        Raises:
            AssetsMissingError: the rule goes by AF, and its tables have not been loaded.
            LakeAccessError: the storage failed.
        """
        if rule.tag_groups is not None and not any(tag_group in self._groups[name] for name in rule.tag_groups):
            return frozenset()
        tags: Sequence[JudgedTag] = self.of_partition(tag_group)
        if rule.tags is not None:
            matches = _any_of([matcher(pattern) for pattern in rule.tags])
            tags = [tag for tag in tags if matches(tag.name)]
        if rule.af_template is not None:
            of_template = self._asset_tags.of_template(rule.af_template)
            tags = [tag for tag in tags if tag.web_id in of_template]
        return frozenset(tag.web_id for tag in tags)

    def pairs(self, rule: DifferenceRule, tag_group: str) -> Sequence[TagPair]:
        """The pairs whose first tag is in a partition and chosen by the rule.

        Raises:
            AssetsMissingError: the asset tables have not been loaded.
            LakeAccessError: the storage failed.
        """
        chosen = self.chosen(rule, tag_group)
        tags = {tag.web_id: tag for tag in self.of_partition(tag_group) if tag.web_id in chosen}
        first, other = rule.attribute.casefold(), rule.other_attribute.casefold()
        return [
            TagPair(tags[attributes[first]], attributes[other])
            for attributes in self._attributes.values()
            if attributes.get(first) in tags and other in attributes
        ]

    @cached_property
    def _tags(self) -> Mapping[str, Sequence[JudgedTag]]:
        columns = ["tag_webid", "tag_name", "tag_group", "zero", "span", "engineering_units"]
        try:
            points = PointsTable.open(self._lake, create=False).to_arrow(columns, where=pc.field("is_active"))
        except TableMissingError:
            raise PointsMissingError("There is no list of tags yet: materialize pi_points first.") from None
        found: defaultdict[str, list[JudgedTag]] = defaultdict(list)
        for row in points.sort_by("tag_webid").to_pylist():
            facts = TagFacts(row["zero"], row["span"], row["engineering_units"])
            found[row["tag_group"]].append(JudgedTag(row["tag_webid"], row["tag_name"], facts))
        return found

    @cached_property
    def _asset_tags(self) -> AssetTags:
        return AssetTags.read(self._lake)

    @cached_property
    def _attributes(self) -> Mapping[str, Mapping[str, str]]:
        """The tags of each element, by the name of the attribute at its top level, case folded."""
        try:
            rows = AssetAttributesTable.open(self._lake, create=False).to_arrow(
                ["element_id", "attribute_name", "tag_webid"],
                where=pc.field("tag_webid").is_valid() & pc.field("parent_attribute_id").is_null(),
            )
        except TableMissingError:
            raise AssetsMissingError(
                "A rule compares attributes of AF elements, and pi_asset_attributes has not been loaded yet: "
                "materialize pi_asset_hierarchy first (it loads pi_asset_attributes too)."
            ) from None
        found: defaultdict[str, dict[str, str]] = defaultdict(dict)
        for row in rows.to_pylist():
            found[row["element_id"]][row["attribute_name"].casefold()] = row["tag_webid"]
        return found


def _any_of(matchers: Sequence[Callable[[str], bool]]) -> Callable[[str], bool]:
    return lambda text: any(matches(text) for matches in matchers)
