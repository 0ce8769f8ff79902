"""An asset database of any size, computed from numbers: sites, units and equipment of a plant, none of it stored.

Elements are numbered level by level, so that the parent and the children of one are a division away. Everything else
(names, tags, values) follows from the seed and the number. What makes real plants hard to read is there on purpose:
elements below two parents, a cycle through a weak reference, the same names everywhere, names that need quoting,
hidden, excluded and nested attributes, references to tags that are gone.
"""

from __future__ import annotations

import itertools
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any
from uuid import UUID

from pi_dagster.simulator.af_model import (
    FORMULA,
    PI_POINT,
    AssetDatabase,
    Attribute,
    AttributeTemplate,
    Element,
    ElementTemplate,
    EnumerationSet,
    EnumerationValue,
    PlacedAttribute,
    quoted,
)
from pi_dagster.simulator.archive import Archive
from pi_dagster.simulator.event_frame_templates import EVENT_FRAME_CATEGORIES, EVENT_FRAME_SETS, EVENT_FRAME_TEMPLATES
from pi_dagster.simulator.points import Point

EQUIPMENT = ("Pump", "Valve", "Tank", "Heat Exchanger", "Compressor")
"""Kinds of equipment; each is a template derived from `Equipment`."""

CRITICALITY = EnumerationSet(
    "Criticality",
    (EnumerationValue("Low", 0), EnumerationValue("Medium", 10, parent="Low"), EnumerationValue("Hoch", 20)),
)

_ODD_NAMES = (
    "{} | B",
    '{} "old"',
    "{} 'spare'",
    "{} \\ left",
    "{} [out of use]",
    "{} 50% & more",
    "{}; A/B",
    "Kühlwasser-{} ß",
    "ポンプ {}",
    "{} {{1}}*?",
)
_ODD_EVERY = 41
_SHARED_EVERY = 53
_GONE_EVERY = 97
_MASK = (1 << 64) - 1
_NUMBER_BITS = 48
_ELEMENTS_KEPT = _PATHS_KEPT = _TAGS_KEPT = 65_536


class PlantDatabase(AssetDatabase):
    """A generated AF database.

    Args:
        archive: whose tags the PI Point attributes refer to.
        elements: how many there are.
        attributes_per_element: how many each has, nested, hidden and excluded ones counted.
        seed: the same seed gives the same plant.
        name: name of the database.
        fan_out: how many elements stand below one.

    Raises:
        ValueError: a number is too small, or there are more than a million elements.
    """

    def __init__(
        self,
        archive: Archive,
        *,
        elements: int,
        attributes_per_element: int = 8,
        seed: int = 1,
        name: str = "Plant",
        fan_out: int = 20,
    ) -> None:
        if not 0 <= elements <= 1_000_000 or attributes_per_element < 0 or fan_out < 2:
            raise ValueError("a plant has 0 to 1,000,000 elements, no negative attributes, and at least 2 below one")
        super().__init__(
            name,
            description=f"A made-up plant of {elements} elements",
            element_templates=[*_templates(attributes_per_element), *EVENT_FRAME_TEMPLATES],
            enumeration_sets=[CRITICALITY, *EVENT_FRAME_SETS],
            element_categories=["Rotating", "Static", *EVENT_FRAME_CATEGORIES],
            attribute_categories=["Measurement", "Configuration"],
        )
        self.count = elements
        self._archive = archive
        self._seed = seed
        self._fan_out = fan_out
        self._id_head = _mix(seed, 0x5EED) << 64 | 0x8000 << _NUMBER_BITS
        self._level_starts = [0]
        while self._level_starts[-1] < elements:
            self._level_starts.append(self._level_starts[-1] * fan_out + 1)
        last = elements - 1
        self._cycle = (self._ancestor(last, 1), last) if elements and self._level(last) > 1 else None
        self._tag_places = _tag_places(self)
        self._element = lru_cache(maxsize=_ELEMENTS_KEPT)(self._make_element)
        self._path_above = lru_cache(maxsize=_PATHS_KEPT)(self.element_path)
        self._point = lru_cache(maxsize=_TAGS_KEPT)(self._find_point)

    def children(self, number: int | None) -> Sequence[int]:
        """The elements below one: its own, those of the neighbour that it shares, and an ancestor of the last one."""
        if number is None:
            return range(min(1, self.count))
        held: Sequence[int] = self._own_children(number)
        if number and self._shares(number - 1) and (shared := self._shared_children(number - 1)):
            held = [*held, *shared]
        if self._cycle is not None and self._cycle[1] == number:
            held = [*held, self._cycle[0]]
        return held

    def parents(self, number: int) -> Sequence[int | None]:
        """The elements that hold one, the primary parent first."""
        if number == 0:
            return (None,)
        parent = (number - 1) // self._fan_out
        if number % _SHARED_EVERY == 0 and self._shares(parent):
            return (parent, parent + 1)
        if self._cycle is not None and self._cycle[0] == number:
            return (parent, self._cycle[1])
        return (parent,)

    def element(self, number: int) -> Element:
        """What an element is; those asked for last are kept for a while."""
        return self._element(number)

    def _make_element(self, number: int) -> Element:
        level = self._level(number)
        chance = _mix(self._seed, number)
        if level == 0:
            kind, name, template = "Enterprise", f"Enterprise {self._seed}", "Enterprise"
        elif level < 3:
            kind = template = ("Site", "Unit")[level - 1]
            name = f"{kind} {(number - 1) % self._fan_out + 1}"
        else:
            kind = template = EQUIPMENT[chance % len(EQUIPMENT)]
            name = f"{kind} {101 + (number - 1) % self._fan_out}"
        if number % _SHARED_EVERY == 0 and level:
            name = f"{name} shared no. {number}"  # AF wants siblings to have different names
        if chance % _ODD_EVERY == 0 and level:
            name = _ODD_NAMES[chance // _ODD_EVERY % len(_ODD_NAMES)].format(name)
        categories = ("Rotating",) if kind in ("Pump", "Compressor") else ("Static",) if level > 2 else ()
        element_id = UUID(int=self._id_head | number)
        return Element(element_id, name, f"{kind} no. {number}", template, categories)

    def number_of(self, element_id: UUID) -> int | None:
        """The element with that id, read from the id."""
        number = element_id.int & ((1 << _NUMBER_BITS) - 1)
        return number if element_id.int ^ number == self._id_head and number < self.count else None

    def placed_attributes(self, number: int) -> tuple[PlacedAttribute, ...]:
        """The attributes of the element's template."""
        return self.template_attributes(self.element(number).template_name)

    def attribute(self, number: int, placed: PlacedAttribute) -> Attribute:
        """One of an element's attributes: the tag and the value follow from the number and the attribute's place."""
        template = placed.template
        if template.data_reference != PI_POINT:
            value = f"{template.value}{number:07d}" if isinstance(template.value, str) else template.value
            return Attribute(placed, None, value)
        place = self._tag_places[placed.path]
        chance = _mix(self._seed + place + 1, number)
        if chance % _GONE_EVERY == 0 or not self._archive.point_count:
            return Attribute(placed, f"GONE.{number}.{place}", None)
        position = (number * len(self._tag_places) + place) % self._archive.point_count
        return Attribute(placed, self._point(self._archive.point_count, position), None)

    def element_path(self, number: int) -> str:
        """The primary path; those of parents are kept for a while."""
        parent = self.parents(number)[0]
        above = self.path if parent is None else self._path_above(parent)
        return f"{above}\\{quoted(self.element(number).name)}"

    def _level(self, number: int) -> int:
        return bisect_right(self._level_starts, number) - 1

    def _ancestor(self, number: int, level: int) -> int:
        while self._level(number) > level:
            number = (number - 1) // self._fan_out
        return number

    def _own_children(self, number: int) -> range:
        first = number * self._fan_out + 1
        return range(min(first, self.count), min(first + self._fan_out, self.count))

    def _shares(self, number: int) -> bool:
        """Whether an element shares some of its children with the next one."""
        return number > 0 and number + 1 < self.count and self._level(number) == self._level(number + 1)

    def _shared_children(self, number: int) -> range:
        own = self._own_children(number)
        return range(own.start + -own.start % _SHARED_EVERY, own.stop, _SHARED_EVERY)

    def _find_point(self, point_count: int, position: int) -> Point:
        return self._archive.points(None, position, 1)[0]


def _tag_places(database: AssetDatabase) -> dict[str, int]:
    """A number for each PI Point attribute that elements have, by its path in them."""
    paths = [
        placed.path
        for name in database.element_templates
        for placed in database.template_attributes(name)
        if placed.template.data_reference == PI_POINT
    ]
    return {path: place for place, path in enumerate(dict.fromkeys(paths))}


def _templates(attributes: int) -> list[ElementTemplate]:
    """The templates of a plant's elements, each with that many attributes, inherited and nested ones counted."""
    series = _attributes(attributes)
    common, rest = series[:2], series[2:]
    asset = ElementTemplate(name="Asset", description="What every element has", attributes=tuple(common))
    places = [
        ElementTemplate(name=name, base="Asset", attributes=tuple(rest)) for name in ("Enterprise", "Site", "Unit")
    ]
    equipment = ElementTemplate(name="Equipment", base="Asset", attributes=tuple(rest[:1]))
    kinds = [
        ElementTemplate(name=name, base="Equipment", attributes=tuple(rest[1:]), naming_pattern=f"{name} ###")
        for name in EQUIPMENT
    ]
    return [asset, *places, equipment, *kinds]


def _attributes(count: int) -> list[AttributeTemplate]:
    """As many attributes as asked for, nested ones counted: one of each sort, then further measurements."""
    kinds = itertools.chain(_SORTS, (_measurement(f"Signal {number:03d}") for number in itertools.count(1)))
    found = []
    while count > 0:
        attribute = next(kinds)
        if len(attribute.children) >= count:
            attribute = replace(attribute, children=attribute.children[: count - 1])
        found.append(attribute)
        count -= 1 + len(attribute.children)
    return found


def _measurement(name: str, **fields: Any) -> AttributeTemplate:
    return AttributeTemplate(
        name=name,
        value_type="Single",
        data_reference=PI_POINT,
        config_string=rf"\\%Server%\%Element%.{name}",
        category_names=("Measurement",),
        **fields,
    )


_SORTS = (
    AttributeTemplate(
        name="Serial Number",
        value_type="String",
        value="SN-",
        is_configuration_item=True,
        category_names=("Configuration",),
    ),
    AttributeTemplate(name="Criticality", value_type="EnumerationValue", type_qualifier=CRITICALITY.name, value=10),
    _measurement("Flow", units="cubic meter per hour", units_abbreviation="m3/h"),
    _measurement(
        "Temperature",
        units="degree Celsius",
        units_abbreviation="°C",
        children=(AttributeTemplate(name="High | Limit", value=85.5, units_abbreviation="°C", trait="LimitHi"),),
    ),
    AttributeTemplate(
        name="Efficiency", data_reference=FORMULA, config_string="A=Flow;B=Temperature;[A/(B+273.15)]", value=0.75
    ),
    AttributeTemplate(name="Internal Code", value_type="String", value="#", is_hidden=True),
    _measurement("Old Signal", is_excluded=True),
)
"""One of each sort of attribute: static, of an enumeration, a tag's, with a nested one, computed, hidden, excluded."""


def _mix(seed: int, number: int) -> int:
    """A number of 64 bits that looks drawn by lot, always the same for the same two (the mixing step of SplitMix64)."""
    mixed = (seed * 0x9E3779B97F4A7C15 + (number + 1) * 0xBF58476D1CE4E5B9) & _MASK
    mixed = ((mixed ^ mixed >> 30) * 0xBF58476D1CE4E5B9) & _MASK
    mixed = ((mixed ^ mixed >> 27) * 0x94D049BB133111EB) & _MASK
    return mixed ^ mixed >> 31
