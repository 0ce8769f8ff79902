"""AF elements and attributes as rows of their tables: paths, parents and tags worked out from what the server told."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from hashlib import blake2b
from typing import Any

import msgspec
import pyarrow as pa

from pi_dagster.lake.schemas import ASSET_ATTRIBUTES_SCHEMA, ASSET_HIERARCHY_SCHEMA
from pi_dagster.piwebapi.af_paths import element_path, parent_path, split_path
from pi_dagster.piwebapi.asset_framework import AssetDatabase
from pi_dagster.piwebapi.element_details import Attribute, ElementDetails
from pi_dagster.piwebapi.elements import ORDINARY_TYPE, Element

Row = dict[str, Any]

_NOT_CONTENT = ("ingestion_timestamp",)


class Fingerprint:
    """A hash of a set of rows, the same in whatever order they come, so that equal content is seen as equal."""

    def __init__(self) -> None:
        self._sum = 0

    def add(self, rows: Iterable[Row]) -> None:
        """Take rows in; when they were read does not count."""
        for row in rows:
            content = [value for name, value in row.items() if name not in _NOT_CONTENT]
            self._sum += int.from_bytes(blake2b(msgspec.json.encode(content), digest_size=16).digest(), "big")

    def hexdigest(self) -> str:
        """The hash so far."""
        return f"{self._sum % (1 << 128):032x}"


@dataclass
class FoundTree:
    """The elements of a run, and which element holds which.

    Args:
        asset_server: name of the AF server.
    """

    asset_server: str
    elements: dict[str, Element] = field(default_factory=dict)
    databases: dict[str, AssetDatabase] = field(default_factory=dict)
    """Element's id to its database."""
    types: dict[str, str] = field(default_factory=dict)
    """Types of the elements that are not of the ordinary one."""
    _parents: dict[str, set[str]] = field(default_factory=dict)

    def add(self, elements: Iterable[Element], database: AssetDatabase) -> None:
        """Take elements of a database in."""
        for element in elements:
            self.elements[element.id] = element
            self.databases[element.id] = database

    def drop(self, element_id: str) -> None:
        """Take an element out that turned out to be gone."""
        del self.elements[element_id], self.databases[element_id]

    def hold(self, parent_id: str, children: Collection[str]) -> None:
        """Note the elements that one holds."""
        for child in children:
            self._parents.setdefault(child, set()).add(parent_id)

    def ids_by_path(self) -> list[str]:
        """All elements, in the order of database and path."""
        return sorted(
            self.elements, key=lambda one: (self.databases[one].name, split_path(self.elements[one].path)[0], one)
        )

    def rows(self, now: datetime) -> Iterator[Row]:
        """The rows of pi_asset_hierarchy, in the order of database and path."""
        id_at = {path: one.id for one in self.elements.values() for path in (*(one.paths or ()), one.path)}
        for element_id in self.ids_by_path():
            yield self._row(self.elements[element_id], id_at, now)

    def _row(self, element: Element, id_at: Mapping[str, str], now: datetime) -> Row:
        path = element_path(element.path)
        depth = len(split_path(element.path)[0])
        parent_id = element.linked_parent_id
        if parent_id is None and depth > 1:
            parent_id = id_at.get(parent_path(element.path))
        others = sorted(one for one in self._parents.get(element.id, ()) if one in self.elements and one != parent_id)
        return {
            "element_id": element.id,
            "element_name": element.name,
            "element_path": path,
            "parent_id": parent_id,
            "template_name": element.template_name or None,
            "element_type": self.types.get(element.id, ORDINARY_TYPE),
            "description": element.description or "",
            "element_webid": element.web_id,
            "database_name": self.databases[element.id].name,
            "asset_server": self.asset_server,
            "depth": depth,
            "has_children": element.has_children,
            "category_names": sorted(element.category_names or ()),
            "all_paths": [path, *sorted({element_path(other) for other in element.paths or ()} - {path})],
            "all_parent_ids": [*([parent_id] if parent_id is not None else []), *others],
            "ingestion_timestamp": now,
        }


def attribute_rows(details: ElementDetails) -> list[Row]:
    """The rows of pi_asset_attributes for one element, parents before what is nested in them."""
    path_of_element = element_path(details.element.path)
    names = {attribute.web_id: _names(attribute) for attribute in details.attributes}
    id_at = {names[one.web_id]: one.id for one in details.attributes}
    return [
        {
            "attribute_id": one.id,
            "element_id": details.element.id,
            "attribute_name": one.name,
            "attribute_path": "|".join((path_of_element, *names[one.web_id])),
            "parent_attribute_id": id_at.get(names[one.web_id][:-1]),
            "data_reference": one.data_reference or None,
            "config_string": one.config_string or None,
            "tag_webid": details.tag_webids.get(one.web_id),
            "value_type": one.value_type or None,
            "units": one.units_abbreviation or one.units_name or "",
            "is_hidden": one.is_hidden,
            "is_excluded": one.is_excluded,
            "static_value": details.static_values.get(one.web_id),
            "categories": sorted(one.category_names or ()),
            "trait": one.trait or None,
        }
        for one in sorted(details.attributes, key=lambda one: (names[one.web_id], one.id))
    ]


def _names(attribute: Attribute) -> tuple[str, ...]:
    """The attribute's name, after those of the attributes it is nested in."""
    return split_path(attribute.path)[1] or (attribute.name,)


def hierarchy_batch(rows: Sequence[Row]) -> pa.RecordBatch:
    """Rows of pi_asset_hierarchy as Arrow."""
    return pa.RecordBatch.from_pylist(rows, schema=ASSET_HIERARCHY_SCHEMA)


def attributes_batch(rows: Sequence[Row]) -> pa.RecordBatch:
    """Rows of pi_asset_attributes as Arrow."""
    return pa.RecordBatch.from_pylist(rows, schema=ASSET_ATTRIBUTES_SCHEMA)
