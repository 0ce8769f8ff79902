r"""The asset model that the simulator serves: AF databases with their elements, attributes, templates and sets.

Whatever holds the content (a plant computed from numbers, a tree that tests change, a plant made from the archive's
tags) is read through `AssetDatabase`. There an element is a number, so that a million of them need no memory.

An attribute that comes from a template has the id of the attribute template, the same on every element: the vendor's
WebIDs of attributes hold the owner's id for that reason. Only (owner, attribute) is unique.
Source: PI Web API reference, controllers `assetdatabase`, `element`, `attribute`, `elementtemplate`, topics
`path-syntax` and `webid-type`.
"""

from __future__ import annotations

import re
import uuid
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple
from uuid import UUID

from pi_dagster.simulator.points import Point

ASSET_SERVER_NAME = "AFSIM"
ASSET_SERVER_ID = UUID("e2f22b33-1f36-4c54-af80-688b54b998bc")

PI_POINT = "PI Point"
FORMULA = "Formula"

_RESERVED = re.compile(r"""[*?;{}\[\]|\\"'`]""")
_STEP = re.compile(r"""([\\|]|^)(?:\[((?:[^\]]|\](?![\\|]|$))*)\]|([^\\|]*))""")


@dataclass(frozen=True)
class EnumerationValue:
    """One name of a set; `parent` is the name of the value it lies below in a hierarchical set."""

    name: str
    value: int
    description: str = ""
    parent: str = ""


@dataclass(frozen=True)
class EnumerationSet:
    """A set of names for whole numbers, which attributes of type `EnumerationValue` refer to."""

    name: str
    values: tuple[EnumerationValue, ...]
    description: str = ""


@dataclass(frozen=True, kw_only=True)
class AttributeTemplate:
    """An attribute as its template, or the element that has it without a template, defines it.

    Args:
        name: its name; may hold any character.
        value_type: the vendor's name of the type; empty is untyped.
        type_qualifier: name of the enumeration set of an `EnumerationValue`.
        units: name of the unit of measure.
        units_abbreviation: what is printed beside values.
        data_reference: name of the plug-in (`PI Point`, `Formula` ...); empty is static.
        config_string: configuration of the plug-in; for a PI point that of the template, the element's own follows
            from its tag.
        value: what a static attribute holds, and a formula results in.
        id: given where it must outlive a change of name; else it follows from the owner and the name.
        children: nested attributes.
    """

    name: str
    description: str = ""
    value_type: str = "Double"
    type_qualifier: str = ""
    units: str = ""
    units_abbreviation: str = ""
    data_reference: str = ""
    config_string: str = ""
    value: object = None
    display_digits: int = -5
    step: bool = False
    zero: float = 0.0
    span: float = 100.0
    trait: str = ""
    category_names: tuple[str, ...] = ()
    is_configuration_item: bool = False
    is_excluded: bool = False
    is_hidden: bool = False
    is_manual_data_entry: bool = False
    id: UUID | None = None
    children: tuple[AttributeTemplate, ...] = ()


@dataclass(frozen=True, kw_only=True)
class ElementTemplate:
    """A template of elements or of event frames; `base` is the name of the one it is derived from."""

    name: str
    description: str = ""
    base: str = ""
    instance_type: Literal["Element", "EventFrame"] = "Element"
    attributes: tuple[AttributeTemplate, ...] = ()
    category_names: tuple[str, ...] = ()
    naming_pattern: str = ""
    severity: str = "None"
    can_be_acknowledged: bool = False
    allow_element_to_extend: bool = False

    @property
    def id(self) -> UUID:
        """Its id, which follows from its name."""
        return uuid.uuid5(ASSET_SERVER_ID, f"template {self.name}")


class PlacedAttribute(NamedTuple):
    """An attribute template in its place: `path` is `Name` or `Parent|Name` with names quoted, `depth` 0 at the top."""

    template: AttributeTemplate
    id: UUID
    path: str
    depth: int
    parent: PlacedAttribute | None
    element_template: ElementTemplate | None
    """The element template that defines it; None for an attribute of a single element."""


class Element(NamedTuple):
    """What an element is, apart from its place."""

    id: UUID
    name: str
    description: str = ""
    template_name: str = ""
    category_names: tuple[str, ...] = ()
    element_type: str = "Element"


class Attribute(NamedTuple):
    """An attribute of one element or event frame.

    Args:
        placed: what it is.
        tag: the tag that a PI Point attribute refers to: the point, or a name to look up, which may be no tag at all.
        value: what it holds if it is static.
    """

    placed: PlacedAttribute
    tag: Point | str | None
    value: object


def place_attributes(
    owner_id: UUID, templates: Sequence[AttributeTemplate], element_template: ElementTemplate | None = None
) -> tuple[PlacedAttribute, ...]:
    """Attributes with those nested in them, each parent before its children.

    Args:
        owner_id: id of the template, or of the element, that defines them; the attributes' ids follow from it.
        templates: the attributes at the top.
        element_template: the template that defines them, if one does.
    """
    placed: list[PlacedAttribute] = []

    def place(template: AttributeTemplate, parent: PlacedAttribute | None) -> None:
        path = f"{parent.path}|{quoted(template.name)}" if parent else quoted(template.name)
        attribute_id = template.id or uuid.uuid5(owner_id, path)
        depth = parent.depth + 1 if parent else 0
        own = PlacedAttribute(template, attribute_id, path, depth, parent, element_template)
        placed.append(own)
        for child in template.children:
            place(child, own)

    for template in templates:
        place(template, None)
    return tuple(placed)


def quoted(name: str) -> str:
    """A name as it stands in a path: in brackets where it holds a character that means something there."""
    return f"[{name}]" if _RESERVED.search(name) else name


def path_steps(path: str) -> tuple[list[str], list[str]]:
    r"""The names of a path `\\SERVER\DB\ELEMENT|ATTRIBUTE`, brackets taken off: those of objects, then of attributes.

    A bracketed name may carry an id, `[Name;GUID]`; it stays in.
    """
    names: list[str] = []
    attributes: list[str] = []
    for separator, bracketed, plain in _STEP.findall(path.lstrip("\\")):
        name = bracketed or plain
        if name:
            (attributes if separator == "|" else names).append(name)
    return names, attributes


class AssetDatabase(ABC):
    """An AF database, as requests read it. Elements are numbers; those of deleted elements are not used again.

    `element_templates` are all templates by name, those of event frames as well.
    """

    def __init__(
        self,
        name: str,
        *,
        description: str = "",
        element_templates: Iterable[ElementTemplate] = (),
        enumeration_sets: Iterable[EnumerationSet] = (),
        element_categories: Iterable[str] = (),
        attribute_categories: Iterable[str] = (),
    ) -> None:
        self.name = name
        self.id = uuid.uuid5(ASSET_SERVER_ID, name)
        self.description = description
        self.element_templates = {template.name: template for template in element_templates}
        self.enumeration_sets = tuple(enumeration_sets)
        self.element_categories = tuple(element_categories)
        self.attribute_categories = tuple(attribute_categories)
        self._template_attributes: dict[str, tuple[PlacedAttribute, ...]] = {"": ()}

    @property
    def path(self) -> str:
        r"""`\\SERVER\DATABASE`."""
        return rf"\\{ASSET_SERVER_NAME}\{quoted(self.name)}"

    @abstractmethod
    def children(self, number: int | None) -> Sequence[int]:
        """The elements below one, whatever kind of reference holds them there; None asks for the database's own."""

    @abstractmethod
    def parents(self, number: int) -> Sequence[int | None]:
        """The elements that hold one, the primary parent first; None is the database."""

    @abstractmethod
    def element(self, number: int) -> Element:
        """What an element is."""

    @abstractmethod
    def number_of(self, element_id: UUID) -> int | None:
        """The element with that id."""

    @abstractmethod
    def placed_attributes(self, number: int) -> tuple[PlacedAttribute, ...]:
        """The attributes that an element has, nested ones too. Elements alike share one tuple."""

    @abstractmethod
    def attribute(self, number: int, placed: PlacedAttribute) -> Attribute:
        """One of an element's attributes with what it refers to or holds."""

    def snapshot(self) -> AssetDatabase:
        """The database as it is now, which no change reaches; the same object until there is a change."""
        return self

    def attributes(self, number: int) -> list[Attribute]:
        """All attributes of an element, nested and hidden ones too."""
        return [self.attribute(number, placed) for placed in self.placed_attributes(number)]

    def has_children(self, number: int) -> bool:
        """Whether there are elements below one."""
        return bool(self.children(number))

    def template_attributes(self, template_name: str) -> tuple[PlacedAttribute, ...]:
        """The attributes a template gives to its elements or event frames: inherited ones first, nested ones too."""
        placed = self._template_attributes.get(template_name)
        if placed is None:
            template = self.element_templates[template_name]
            inherited = self.template_attributes(template.base)
            placed = (*inherited, *place_attributes(template.id, template.attributes, template))
            self._template_attributes[template_name] = placed
        return placed

    def is_from_template(self, template_name: str, wanted: str) -> bool:
        """Whether a template is the wanted one or derived from it, whatever the case of its name."""
        return wanted.upper() in map(str.upper, self.template_line(template_name))

    def template_line(self, template_name: str) -> list[str]:
        """The names of a template and of those it is derived from, the nearest first."""
        line = []
        while template := self.element_templates.get(template_name):
            line.append(template.name)
            template_name = template.base
        return line

    def element_path(self, number: int) -> str:
        r"""The primary path, `\\SERVER\DATABASE\PARENT\ELEMENT`."""
        names = []
        at: int | None = number
        while at is not None:
            names.append(quoted(self.element(at).name))
            at = self.parents(at)[0]
        return "\\".join((self.path, *reversed(names)))

    def element_paths(self, number: int) -> list[str]:
        """Every path that passes through no element twice, the primary one first."""
        return ["\\".join((self.path, *names)) for names in self._chains(number)]

    def _chains(self, number: int) -> Iterator[tuple[str, ...]]:
        open_ends: list[tuple[int | None, tuple[int, ...], tuple[str, ...]]] = [(number, (), ())]
        while open_ends:
            at, passed, names = open_ends.pop()
            if at is None:
                yield names
            elif at not in passed:
                names = (quoted(self.element(at).name), *names)
                open_ends += [(parent, (*passed, at), names) for parent in reversed(self.parents(at))]

    def element_at(self, names: Sequence[str]) -> int | None:
        """The element at the end of a way down from the database, by names of any case, or `Name;GUID`."""
        at: int | None = None
        for step in names:
            name, _, element_id = step.partition(";") if _ends_in_id(step) else (step, "", "")
            for child in self.children(at):
                element = self.element(child)
                if element_id and str(element.id) != element_id.lower():
                    continue
                if element.name.upper() == name.upper():
                    at = child
                    break
            else:
                return None
        return at


def _ends_in_id(step: str) -> bool:
    try:
        UUID(step.rpartition(";")[2])
    except ValueError:
        return False
    return ";" in step
