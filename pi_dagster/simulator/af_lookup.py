"""Which AF object a request is about: by WebID, whose ids count first and whose path counts where they are gone, or
by path.

Source: PI Web API reference, topics `webid-type` and `path-syntax`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple
from uuid import UUID

from pi_dagster.simulator.af_bodies import Bodies, Owner, element_owner
from pi_dagster.simulator.af_model import ASSET_SERVER_NAME, AssetDatabase, Attribute, PlacedAttribute, path_steps
from pi_dagster.simulator.calls import Call
from pi_dagster.simulator.service import Service
from pi_dagster.webid import WebId


class FoundElement(NamedTuple):
    """An element in its database."""

    database: AssetDatabase
    number: int


class FoundAttribute(NamedTuple):
    """An attribute of an element in its database."""

    database: AssetDatabase
    number: int
    attribute: Attribute

    @property
    def owner(self) -> Owner:
        """The element, as what has the attribute."""
        return element_owner(self.database, self.number)


def bodies(service: Service, call: Call) -> Bodies:
    """What writes the objects of an answer."""
    return Bodies(service.archive, service.settings, call, service.stencils)


def databases(service: Service, call: Call) -> Mapping[UUID, AssetDatabase]:
    """The databases by id, as the user's AF cache has them."""
    return service.assets.seen_by(call.user, max_age=cache_age(call))


def cache_age(call: Call) -> float | None:
    """How many seconds old the AF cache may be for a request, by `Cache-Control`; None leaves it to the server."""
    control = call.headers.get("cache-control", "").lower().replace(" ", "")
    max_age = 0.0 if "no-cache" in control else None
    for directive in control.split(","):
        if directive.startswith("max-age=") and directive[8:].isdigit():
            max_age = float(directive[8:])
    return max_age


def _database_named(service: Service, call: Call, names: Sequence[str]) -> AssetDatabase | None:
    if len(names) < 2 or names[0].upper() != ASSET_SERVER_NAME:
        return None
    known = databases(service, call).values()
    return next((database for database in known if database.name.upper() == names[1].upper()), None)


def find_database(service: Service, call: Call, web_id: WebId) -> AssetDatabase:
    """The database a WebID names.

    Raises:
        RefusedError: 404 where there is none, or none that may be read.
    """
    found = databases(service, call).get(_uuid(web_id, -1)) if web_id.ids else None
    if found is None and web_id.path is not None:
        found = _database_named(service, call, path_steps(web_id.path)[0])
    if found is None:
        raise service.not_found("asset database")
    return found


def database_at(service: Service, call: Call, path: str) -> AssetDatabase:
    r"""The database of a path `\\SERVER\DATABASE`.

    Raises:
        RefusedError: 404 where there is none.
    """
    names, _ = path_steps(path)
    found = _database_named(service, call, names)
    if found is None or len(names) != 2:
        raise service.not_found("asset database")
    return found


def find_element(service: Service, call: Call, web_id: WebId) -> FoundElement:
    """The element a WebID names.

    Raises:
        RefusedError: 404 where there is none, or none that may be read.
    """
    if web_id.ids:
        for database in databases(service, call).values():
            number = database.number_of(_uuid(web_id, -1))
            if number is not None:
                return FoundElement(database, number)
    return element_at(service, call, web_id.path or "")


def element_at(service: Service, call: Call, path: str) -> FoundElement:
    """The element at a path.

    Raises:
        RefusedError: 404 where there is none.
    """
    names, attributes = path_steps(path)
    database = _database_named(service, call, names)
    number = database.element_at(names[2:]) if database and not attributes else None
    if database is None or number is None:
        raise service.not_found("element")
    return FoundElement(database, number)


def find_attribute(service: Service, call: Call, web_id: WebId) -> FoundAttribute:
    """The attribute of an element that a WebID names.

    Raises:
        RefusedError: 404 where there is none, or none that may be read.
    """
    if web_id.ids:
        for database in databases(service, call).values():
            number = database.number_of(_uuid(web_id, -2))
            if number is None:
                continue
            for placed in database.placed_attributes(number):
                if placed.id == web_id.ids[-1]:
                    return FoundAttribute(database, number, database.attribute(number, placed))
    return attribute_at(service, call, web_id.path or "")


def attribute_at(service: Service, call: Call, path: str) -> FoundAttribute:
    r"""The attribute at a path `\\SERVER\DATABASE\ELEMENT|ATTRIBUTE`.

    Raises:
        RefusedError: 404 where there is none.
    """
    names, attributes = path_steps(path)
    database = _database_named(service, call, names)
    number = database.element_at(names[2:]) if database and attributes else None
    if database is not None and number is not None:
        wanted = [name.upper() for name in attributes]
        for placed in database.placed_attributes(number):
            if attribute_names(placed) == wanted:
                return FoundAttribute(database, number, database.attribute(number, placed))
    raise service.not_found("attribute")


def attribute_names(placed: PlacedAttribute) -> list[str]:
    """The upper-case names on the way to an attribute, its own the last."""
    names = [placed.template.name.upper()]
    while placed.parent is not None:
        placed = placed.parent
        names.append(placed.template.name.upper())
    return names[::-1]


def _uuid(web_id: WebId, position: int) -> UUID:
    part = web_id.ids[position]
    assert isinstance(part, UUID)
    return part
