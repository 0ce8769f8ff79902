"""Ids, paths and WebIDs of AF objects; each follows from the object's owner and name.

Source: PI Web API reference, topics `webid-type`, `webid-encoding` and `path-syntax`.
"""

from __future__ import annotations

import base64
import struct
import uuid
from collections.abc import Iterable
from functools import lru_cache
from uuid import UUID

from pi_dagster.simulator.af_model import (
    AssetDatabase,
    ElementTemplate,
    EnumerationSet,
    EnumerationValue,
    PlacedAttribute,
)
from pi_dagster.webid import WebIdType


def template_path(database: AssetDatabase, template: ElementTemplate) -> str:
    r"""`\\SERVER\DB\ElementTemplates[NAME]`."""
    return rf"{database.path}\ElementTemplates[{template.name}]"


def attribute_template_path(database: AssetDatabase, placed: PlacedAttribute) -> str:
    r"""`\\SERVER\DB\ElementTemplates[NAME]|ATTRIBUTE`."""
    assert placed.element_template is not None
    return f"{template_path(database, placed.element_template)}|{placed.path}"


def enumeration_set_path(database: AssetDatabase, enumeration_set: EnumerationSet) -> str:
    r"""`\\SERVER\DB\EnumerationSets[NAME]`."""
    return rf"{database.path}\EnumerationSets[{enumeration_set.name}]"


def enumeration_set_id(database: AssetDatabase, enumeration_set: EnumerationSet) -> UUID:
    """The id of an AF enumeration set."""
    return uuid.uuid5(database.id, f"enumeration set {enumeration_set.name}")


def enumeration_value_id(database: AssetDatabase, enumeration_set: EnumerationSet, value: EnumerationValue) -> UUID:
    """The id of a value of an AF enumeration set."""
    return uuid.uuid5(enumeration_set_id(database, enumeration_set), f"{value.value} {value.name}")


def category_path(database: AssetDatabase, name: str, *, of_attributes: bool) -> str:
    r"""`\\SERVER\DB\ElementCategories[NAME]` or `\\SERVER\DB\AttributeCategories[NAME]`."""
    return rf"{database.path}\{'Attribute' if of_attributes else 'Element'}Categories[{name}]"


def category_id_of(database: AssetDatabase, name: str, *, of_attributes: bool) -> UUID:
    """The id of a category."""
    return uuid.uuid5(database.id, f"{'attribute' if of_attributes else 'element'} category {name}")


def enumeration_value(database: AssetDatabase, set_name: str, value: object) -> object:
    """A value as it is printed: a number of an enumeration set with its name, anything else as it is."""
    for enumeration_set in database.enumeration_sets:
        if set_name and enumeration_set.name == set_name:
            for known in enumeration_set.values:
                if value in (known.value, known.name):
                    return {"Name": known.name, "Value": known.value, "IsSystem": False}
    return value


def write_web_id(form: WebIdType, marker: str, ids: Iterable[UUID | int], path: str) -> str:
    r"""What `WebId.encode` writes, at a tenth of its cost: pages hold thousands.

    Args:
        form: the form to write.
        marker: the kind of object, with the kind of its owner where it has one.
        ids: its ids, the server's first.
        path: its path, with the leading `\\`.
    """
    if form is WebIdType.ID_ONLY:
        return f"I1{marker}{''.join([_id_text(part) for part in ids])}"
    if form is WebIdType.FULL:
        return f"F1{marker}{''.join([_id_text(part) for part in ids])}{_base64(path[2:].upper().encode())}"
    if form is WebIdType.PATH_ONLY:
        return f"P1{marker}{_base64(path[2:].upper().encode())}"
    letter, server = ("L", _id_text(0)) if form is WebIdType.LOCAL_ID_ONLY else ("D", "")
    return f"{letter}1{marker}{server}{''.join([_id_text(part) for part in [*ids][1:]])}"


@lru_cache(maxsize=65_536)
def _id_text(part: UUID | int) -> str:
    return _base64(part.bytes_le if isinstance(part, UUID) else struct.pack("<i", part))


def _base64(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()
