"""The asset model that follows from an archive's tags, where nobody gives another: units with an attribute a tag.

A unit is what a tag's name starts with, `BLR01` of `BLR01.STEAM.FLOW`; those of the generated plant stand below their
area. The tags of SKAB are the sensors of one pump loop.
"""

from __future__ import annotations

import re
import uuid

from pi_dagster.simulator.af_model import (
    PI_POINT,
    AssetDatabase,
    AttributeTemplate,
    ElementTemplate,
    EnumerationSet,
    EnumerationValue,
)
from pi_dagster.simulator.af_tree import TreeDatabase
from pi_dagster.simulator.archive import Archive
from pi_dagster.simulator.event_frame_templates import (
    EVENT_FRAME_CATEGORIES,
    EVENT_FRAME_SETS,
    EVENT_FRAME_TEMPLATES,
    experiment_templates,
)
from pi_dagster.simulator.files import SkabBase
from pi_dagster.simulator.points import DigitalSet, Point, PointType

AREAS = {
    "BLR": ("Boilers", "Boiler"),
    "PMP": ("Pumps", "Pump"),
    "TNK": ("Tanks", "Tank"),
    "UTL": ("Utilities", "Utility"),
}
"""What tags of the generated plant start with, to the name of the area and the template of its units."""

_UNIT = re.compile(r"([^\W\d_]+)\d+|\w+")
_VALUE_TYPES: dict[PointType, str] = {
    "Float16": "Single",
    "Float32": "Single",
    "Float64": "Double",
    "Int16": "Int16",
    "Int32": "Int32",
    "Digital": "EnumerationValue",
    "String": "String",
    "Timestamp": "DateTime",
    "Blob": "Byte[]",
}


class TagDatabase(TreeDatabase):
    """The database `Plant` of an archive's units. Tags that come to the archive later come to it when it is read."""

    def __init__(self, archive: Archive) -> None:
        templates = [ElementTemplate(name=name, allow_element_to_extend=True) for _, name in AREAS.values()]
        super().__init__(
            "Plant",
            description="Units and their tags",
            element_templates=[*templates, *EVENT_FRAME_TEMPLATES],
            enumeration_sets=[*map(enumeration_set_of, archive.digital_sets), *EVENT_FRAME_SETS],
            element_categories=EVENT_FRAME_CATEGORIES,
        )
        self._archive = archive
        self._listed = 0

    def snapshot(self) -> TreeDatabase:
        """The units of the tags that there are now."""
        with self._lock:
            new = self._archive.points(None, self._listed)
            self._listed += len(new)
            units: dict[str, list[Point]] = {}
            for point in new:
                units.setdefault(_unit_name(point.name), []).append(point)
            for name, points in units.items():
                self._add_unit(name, points)
        return super().snapshot()

    def _add_unit(self, name: str, points: list[Point]) -> None:
        attributes = {_attribute_name(name, point): point for point in points}
        unit = uuid.uuid5(self.id, name)
        if self.number_of(unit) is not None:
            for attribute, point in attributes.items():
                self.add_attribute(unit, attribute_of(point, attribute), tag=point.name)
            return
        prefix = _UNIT.match(name)
        area_name, template = AREAS.get(prefix[1] if prefix and prefix[1] else "", ("", ""))
        area = uuid.uuid5(self.id, f"area {area_name}") if area_name else None
        if area is not None and self.number_of(area) is None:
            self.add(area_name, id=area)
        own = [attribute_of(point, attribute) for attribute, point in attributes.items()]
        tags = {attribute: point.name for attribute, point in attributes.items()}
        self.add(name, parent=area, template=template, attributes=own, tags=tags, id=unit)


def skab_database(archive: Archive, base: SkabBase) -> TreeDatabase:
    """The database `SKAB`: one pump loop with an attribute for each sensor, and the templates of its experiments."""
    sensors = tuple(attribute_of(point, point.name) for point in archive.points())
    database = TreeDatabase(
        "SKAB",
        description="Skoltech Anomaly Benchmark: a water loop with a pump",
        element_templates=[
            ElementTemplate(name="Pump Loop", attributes=sensors),
            *experiment_templates(base.experiments),
        ],
    )
    database.add("Pump Loop", template="Pump Loop", tags={point.name: point.name for point in archive.points()})
    return database


def database_of(archive: Archive) -> AssetDatabase:
    """The database that follows from what is in an archive."""
    base = archive.base
    return skab_database(archive, base) if isinstance(base, SkabBase) else TagDatabase(archive)


def attribute_of(point: Point, name: str) -> AttributeTemplate:
    """An attribute that shows a tag."""
    return AttributeTemplate(
        name=name,
        description=point.descriptor,
        value_type=_VALUE_TYPES[point.point_type],
        type_qualifier=point.digital_set_name,
        units_abbreviation=point.engineering_units,
        units=point.engineering_units,
        data_reference=PI_POINT,
        config_string=rf"\\%Server%\%Element%.{name}",
        display_digits=point.display_digits,
        step=point.step,
        zero=point.zero,
        span=point.span,
    )


def enumeration_set_of(digital_set: DigitalSet) -> EnumerationSet:
    """A digital state set as AF shows it."""
    return EnumerationSet(
        digital_set.name, tuple(EnumerationValue(state, offset) for offset, state in enumerate(digital_set.states))
    )


def _unit_name(tag: str) -> str:
    found = _UNIT.match(tag)
    return found[0] if found else tag


def _attribute_name(unit: str, point: Point) -> str:
    return point.name[len(unit) :].lstrip(" .:_-") or point.name
