"""Which tags belong to AF elements of a template or below a path, by the last snapshot of the asset tables."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import pyarrow.compute as pc

from pi_dagster.ingest.errors import AssetsMissingError
from pi_dagster.ingest.wildcards import matcher
from pi_dagster.lake import AssetAttributesTable, AssetHierarchyTable, Lake, TableMissingError
from pi_dagster.site import TagGroup

_MATERIALIZE = (
    "A tag group is chosen by AF elements, and {table} has not been loaded yet: materialize pi_asset_hierarchy first "
    "(it loads pi_asset_attributes too)."
)


@dataclass(frozen=True)
class _TaggedElement:
    """An element whose attributes refer to tags."""

    template_name: str
    paths: tuple[str, ...]
    tag_webids: tuple[str, ...]


class AssetTags:
    """The tags that attributes of AF elements refer to.

    Args:
        elements: what is known of the elements that have such attributes.
    """

    def __init__(self, elements: Iterable[_TaggedElement] = ()) -> None:
        self._elements = tuple(elements)

    @classmethod
    def read(cls, lake: Lake) -> AssetTags:
        """The tags by the tables of the lake.

        Raises:
            AssetsMissingError: a table has not been loaded yet.
            LakeAccessError: the storage failed.
        """
        try:
            attributes = AssetAttributesTable.open(lake, create=False).to_arrow(
                ["element_id", "tag_webid"], where=pc.field("tag_webid").is_valid()
            )
            elements = AssetHierarchyTable.open(lake, create=False).to_arrow(
                ["element_id", "template_name", "all_paths"]
            )
        except TableMissingError:
            raise AssetsMissingError(_MATERIALIZE.format(table="pi_asset_attributes")) from None
        if not elements.num_rows:
            raise AssetsMissingError(_MATERIALIZE.format(table="pi_asset_hierarchy"))
        tags: defaultdict[str, list[str]] = defaultdict(list)
        for row in attributes.to_pylist():
            tags[row["element_id"]].append(row["tag_webid"])
        return cls(
            _TaggedElement(row["template_name"] or "", tuple(row["all_paths"]), tuple(tags[row["element_id"]]))
            for row in elements.to_pylist()
            if row["element_id"] in tags
        )

    def of_group(self, group: TagGroup) -> frozenset[str]:
        """IDOnly WebIDs of the tags of a group that is chosen by AF elements."""
        if group.af_template is not None:
            return self.of_template(group.af_template)
        return self.below(group.element_path or "")

    def of_template(self, name: str) -> frozenset[str]:
        """IDOnly WebIDs of the tags of elements of a template.

        Args:
            name: the template's name; `*` and `?` stand for anything, and case does not count.
        """
        matches = matcher(name)
        return frozenset(self._tags_where(lambda element: matches(element.template_name)))

    def below(self, path: str) -> frozenset[str]:
        """IDOnly WebIDs of the tags of the element at a path and of all below it.

        Args:
            path: such as `/Enterprise/Site1`; `*` and `?` stand for anything, and case does not count.
        """
        at, under = matcher(path), matcher(f"{path.rstrip('/')}/*")
        return frozenset(self._tags_where(lambda element: any(at(one) or under(one) for one in element.paths)))

    def _tags_where(self, wanted: Callable[[_TaggedElement], bool]) -> Iterator[str]:
        for element in self._elements:
            if wanted(element):
                yield from element.tag_webids
