"""The rows that pi_asset_hierarchy and pi_asset_attributes must hold, straight from the simulator's asset model."""

from __future__ import annotations

from typing import Any

from pi_dagster.simulator.af_model import (
    ASSET_SERVER_ID,
    ASSET_SERVER_NAME,
    PI_POINT,
    AssetDatabase,
    Attribute,
    PlacedAttribute,
)
from pi_dagster.simulator.archive import Archive
from pi_dagster.simulator.points import Point
from pi_dagster.webid import WebIdType, object_webid, point_webid

Row = dict[str, Any]


def all_numbers(database: AssetDatabase) -> list[int]:
    """Every element of a database, each once."""
    found: dict[int, None] = {}
    open_ends = list(database.children(None))
    while open_ends:
        number = open_ends.pop()
        if number not in found:
            found[number] = None
            open_ends += database.children(number)
    return list(found)


def paths_to(database: AssetDatabase, number: int) -> list[str]:
    """Every way down to an element that passes through none twice, as the tables write it; the primary one first."""
    found: list[str] = []
    open_ends: list[tuple[int | None, tuple[int, ...]]] = [(number, ())]
    while open_ends:
        at, below = open_ends.pop()
        if at is None:
            found.append("/" + "/".join(database.element(one).name for one in below))
        elif at not in below:
            open_ends += [(parent, (at, *below)) for parent in reversed(database.parents(at))]
    return found


def depth_of(database: AssetDatabase, number: int) -> int:
    """Steps down from the database by primary parents."""
    depth = 1
    while (parent := database.parents(number)[0]) is not None:
        number, depth = parent, depth + 1
    return depth


def expected_elements(database: AssetDatabase) -> dict[str, Row]:
    """Rows of pi_asset_hierarchy by element id, but for when they were read."""
    rows = {}
    for number in all_numbers(database):
        element = database.element(number)
        parents = [str(database.element(one).id) for one in database.parents(number) if one is not None]
        primary = database.parents(number)[0]
        paths = paths_to(database, number)
        rows[str(element.id)] = {
            "element_id": str(element.id),
            "element_name": element.name,
            "element_path": paths[0],
            "parent_id": parents[0] if primary is not None else None,
            "template_name": element.template_name or None,
            "element_type": "None" if element.element_type in ("Element", "None") else element.element_type,
            "description": element.description,
            "element_webid": object_webid("Em", (ASSET_SERVER_ID, element.id), "x").as_type(WebIdType.ID_ONLY).encode(),
            "database_name": database.name,
            "asset_server": ASSET_SERVER_NAME,
            "depth": depth_of(database, number),
            "has_children": database.has_children(number),
            "category_names": sorted(element.category_names),
            "all_paths": [paths[0], *sorted(set(paths[1:]) - {paths[0]})],
            "all_parent_ids": parents[:1] + sorted(parents[1:]) if primary is not None else sorted(parents),
        }
    return rows


def expected_attributes(database: AssetDatabase, archive: Archive) -> dict[tuple[str, str], Row]:
    """Rows of pi_asset_attributes by element and attribute id."""
    rows = {}
    for number in all_numbers(database):
        element_id = str(database.element(number).id)
        path = paths_to(database, number)[0]
        for attribute in database.attributes(number):
            placed, template = attribute.placed, attribute.placed.template
            rows[element_id, str(placed.id)] = {
                "attribute_id": str(placed.id),
                "element_id": element_id,
                "attribute_name": template.name,
                "attribute_path": "|".join((path, *_names(placed))),
                "parent_attribute_id": str(placed.parent.id) if placed.parent else None,
                "data_reference": template.data_reference or None,
                "tag_webid": _tag(attribute, archive),
                "value_type": template.value_type or None,
                "units": template.units_abbreviation or template.units,
                "is_hidden": template.is_hidden,
                "is_excluded": template.is_excluded,
                "static_value": _static_value(database, attribute),
                "categories": sorted(template.category_names),
                "trait": template.trait or None,
            }
    return rows


def _names(placed: PlacedAttribute) -> list[str]:
    return [*(_names(placed.parent) if placed.parent else ()), placed.template.name]


def _tag(attribute: Attribute, archive: Archive) -> str | None:
    if attribute.placed.template.data_reference != PI_POINT or not attribute.tag:
        return None
    name = attribute.tag.name if isinstance(attribute.tag, Point) else attribute.tag
    point = archive.point_by_name(name)
    if point is None:
        return None
    return point_webid(archive.server_id, point.id, archive.server_name, point.name).identity


def _static_value(database: AssetDatabase, attribute: Attribute) -> str | None:
    template = attribute.placed.template
    if template.data_reference or template.is_excluded or attribute.value is None:
        return None
    if template.type_qualifier:
        known = next(one for one in database.enumeration_sets if one.name == template.type_qualifier)
        return next(one.name for one in known.values if attribute.value in (one.value, one.name))
    if isinstance(attribute.value, bool):
        return "true" if attribute.value else "false"
    return attribute.value if isinstance(attribute.value, str) else str(attribute.value)
