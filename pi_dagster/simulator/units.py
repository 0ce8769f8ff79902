"""The plant's units as AF elements, each with its tags as attributes: as much asset model as streamsets need.

A unit is what a tag's name starts with: `BLR01` of `BLR01.STEAM.FLOW`. Nothing is stored; ids follow from names.
"""

from __future__ import annotations

import re
import uuid
from dataclasses import dataclass
from functools import lru_cache

from pi_dagster.simulator.archive import Archive
from pi_dagster.simulator.points import Point
from pi_dagster.webid import WebId, WebIdType, object_webid

DATABASE_NAME = "Plant"
_UNIT = re.compile(r"[^\W\d_]+\d+|\w+")


@dataclass(frozen=True)
class UnitAttribute:
    """An attribute of a unit that refers to a tag: the name is what of the tag's name follows the unit's."""

    name: str
    path: str
    web_id: WebId
    point: Point


@dataclass(frozen=True)
class Unit:
    """An element."""

    name: str
    path: str
    web_id: WebId
    tags: tuple[str, ...]


class PlantUnits:
    """The elements and attributes that follow from an archive's tags; listed when they are first asked for."""

    def __init__(self, archive: Archive) -> None:
        self._archive = archive
        self._server = uuid.uuid5(archive.server_id, "asset server")
        self._database = rf"{archive.server_name}\{DATABASE_NAME}"
        # The number of tags stands for the catalogue: tests add tags while the server runs.
        self._listed = lru_cache(maxsize=1)(lambda point_count: self._list())

    def all(self) -> list[Unit]:
        """Every unit, in the order of its first tag."""
        return list(self._index()[0].values())

    def unit(self, web_id: WebId) -> Unit | None:
        """The element a WebID names, by its id or else by its path."""
        units, unit_names, _ = self._index()
        if web_id.ids and (name := unit_names.get(web_id.ids[-1])):
            return units[name]
        if web_id.path is None:
            return None
        return next((unit for unit in units.values() if unit.path.lstrip("\\").upper() == web_id.path), None)

    def attribute(self, web_id: WebId) -> UnitAttribute | None:
        """The attribute a WebID names, by its id or else by its path."""
        units, _, tags = self._index()
        if web_id.ids and (tag := tags.get(web_id.ids[-1])):
            return self._attribute(units[unit_name(tag)], tag)
        if web_id.path is None or "|" not in web_id.path:
            return None
        owner = self.unit(WebId(WebIdType.PATH_ONLY, "Em", None, (), web_id.path.split("|")[0]))
        return (
            next((a for a in self.attributes(owner) if a.path.lstrip("\\").upper() == web_id.path), None)
            if owner
            else None
        )

    def attributes(self, unit: Unit) -> list[UnitAttribute]:
        """The attributes of a unit whose tags still exist."""
        found = (self._attribute(unit, tag) for tag in unit.tags)
        return [attribute for attribute in found if attribute is not None]

    def _index(self) -> tuple[dict[str, Unit], dict[object, str], dict[object, str]]:
        return self._listed(self._archive.point_count)

    def _list(self) -> tuple[dict[str, Unit], dict[object, str], dict[object, str]]:
        members: dict[str, list[str]] = {}
        for point in self._archive.points():
            members.setdefault(unit_name(point.name), []).append(point.name)
        units = {name: self._unit(name, tuple(tags)) for name, tags in members.items()}
        names: dict[object, str] = {unit.web_id.ids[-1]: name for name, unit in units.items()}
        tags: dict[object, str] = {self._attribute_id(unit, tag): tag for unit in units.values() for tag in unit.tags}
        return units, names, tags

    def _unit(self, name: str, tags: tuple[str, ...]) -> Unit:
        path = rf"\\{self._database}\{name}"
        element = uuid.uuid5(self._server, name)
        return Unit(name, path, object_webid("Em", (self._server, element), path), tags)

    def _attribute(self, unit: Unit, tag: str) -> UnitAttribute | None:
        point = self._archive.point_by_name(tag)
        if point is None:
            return None
        name = tag[len(unit.name) :].lstrip(" .:_-") or tag
        path = f"{unit.path}|{name}"
        ids = (self._server, uuid.UUID(str(unit.web_id.ids[-1])), self._attribute_id(unit, tag))
        return UnitAttribute(name, path, object_webid("Ab", ids, path, "E"), point)

    def _attribute_id(self, unit: Unit, tag: str) -> uuid.UUID:
        return uuid.uuid5(self._server, f"{unit.name}|{tag}")


def unit_name(tag: str) -> str:
    """The unit a tag belongs to."""
    found = _UNIT.match(tag)
    return found[0] if found else tag
