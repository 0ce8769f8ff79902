"""Enumeration sets and their values: the digital state sets of the Data Archive, and those of AF databases.

Source: PI Web API reference, controllers `enumerationset` and `enumerationvalue`.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from uuid import UUID

from pi_dagster.simulator.af_lookup import bodies, databases, find_database
from pi_dagster.simulator.af_model import ASSET_SERVER_ID, AssetDatabase, EnumerationSet, EnumerationValue, quoted
from pi_dagster.simulator.af_webids import enumeration_set_id, enumeration_set_path, enumeration_value_id
from pi_dagster.simulator.calls import Call
from pi_dagster.simulator.dataservers import check_data_server
from pi_dagster.simulator.points import SYSTEM_STATES
from pi_dagster.simulator.service import Route, Service
from pi_dagster.webid import WebId, data_server_webid, object_webid


@dataclass(frozen=True)
class _Set:
    """An enumeration set with its ids; `database` is None for one of the Data Archive."""

    content: EnumerationSet
    server_id: UUID
    id: UUID
    path: str
    database: AssetDatabase | None

    @property
    def web_id(self) -> WebId:
        owner = "D" if self.database is None else "R"
        return object_webid("MS", (self.server_id, self.id), self.path, owner)

    def value_id(self, value: EnumerationValue) -> UUID:
        if self.database is not None:
            return enumeration_value_id(self.database, self.content, value)
        return uuid.uuid5(self.id, str(value.value))

    def value_path(self, value: EnumerationValue) -> str:
        return rf"{self.path}\{quoted(value.name)}"

    def value_web_id(self, value: EnumerationValue) -> WebId:
        owner = "D" if self.database is None else "R"
        return object_webid("MV", (self.server_id, self.id, self.value_id(value)), self.value_path(value), owner)


def _archive_sets(service: Service) -> Iterator[_Set]:
    """The archive's digital sets, after the one of the system states."""
    archive = service.archive
    named = [("System", uuid.uuid5(archive.server_id, "System"), list(SYSTEM_STATES.items()))]
    named += [(known.name, known.id, list(enumerate(known.states))) for known in archive.digital_sets]
    for name, set_id, states in named:
        content = EnumerationSet(name, tuple(EnumerationValue(state, offset) for offset, state in states))
        path = rf"\\PIServers[{archive.server_name}]\EnumerationSets[{name}]"
        yield _Set(content, archive.server_id, set_id, path, None)


def _database_sets(database: AssetDatabase) -> Iterator[_Set]:
    for content in database.enumeration_sets:
        set_id, path = enumeration_set_id(database, content), enumeration_set_path(database, content)
        yield _Set(content, ASSET_SERVER_ID, set_id, path, database)


def _all_sets(service: Service, call: Call) -> Iterator[_Set]:
    yield from _archive_sets(service)
    for database in databases(service, call).values():
        yield from _database_sets(database)


def _set_body(service: Service, call: Call, found: _Set) -> dict[str, object]:
    web_id = service.write_web_id(found.web_id, call)
    own = call.link("enumerationsets", web_id)
    if found.database is None:
        archive = service.archive
        server = service.write_web_id(data_server_webid(archive.server_id, archive.server_name), call)
        home = {"DataServer": call.link("dataservers", server)}
    else:
        home = {"Database": call.link("assetdatabases", bodies(service, call).database_web_id(found.database))}
    return {
        "WebId": web_id,
        "Id": str(found.id),
        "Name": found.content.name,
        "Description": found.content.description,
        "Path": found.path,
        "Links": {"Self": own, **home, "Values": f"{own}/enumerationvalues"},
    }


def _value_body(service: Service, call: Call, owner: _Set, value: EnumerationValue) -> dict[str, object]:
    web_id = service.write_web_id(owner.value_web_id(value), call)
    links = {
        "Self": call.link("enumerationvalues", web_id),
        "EnumerationSet": call.link("enumerationsets", service.write_web_id(owner.web_id, call)),
    }
    above = next((other for other in owner.content.values if value.parent and other.name == value.parent), None)
    if above is not None:
        links["Parent"] = call.link("enumerationvalues", service.write_web_id(owner.value_web_id(above), call))
    return {
        "WebId": web_id,
        "Id": str(owner.value_id(value)),
        "Name": value.name,
        "Description": value.description,
        "Value": value.value,
        "Path": owner.value_path(value),
        **({"Parent": value.parent} if value.parent else {}),
        "Links": links,
    }


def _is_named(web_id: WebId, object_id: UUID, path: str) -> bool:
    return object_id in web_id.ids[-1:] or (not web_id.ids and path.lstrip("\\").upper() == web_id.path)


def _find_set(service: Service, call: Call) -> _Set:
    web_id = service.parse_web_id(call.params["webId"], "MS")
    for found in _all_sets(service, call):
        if _is_named(web_id, found.id, found.path):
            return found
    raise service.not_found("enumeration set")


def _list_archive_sets(service: Service, call: Call) -> object:
    """`GET dataservers/{webId}/enumerationsets`."""
    check_data_server(service, call.params["webId"])
    return {"Links": {}, "Items": [_set_body(service, call, found) for found in _archive_sets(service)]}


def _list_database_sets(service: Service, call: Call) -> object:
    """`GET assetdatabases/{webId}/enumerationsets`."""
    database = find_database(service, call, service.parse_web_id(call.params["webId"], "RD"))
    return {"Links": {}, "Items": [_set_body(service, call, found) for found in _database_sets(database)]}


def _set_by_path(service: Service, call: Call) -> object:
    r"""`GET enumerationsets?path=`; the Data Archive is `\\PIServers[NAME]` or `\\NAME`."""
    path = call.query.required("path").upper()
    for found in _all_sets(service, call):
        server = service.archive.server_name
        short = found.path.replace(f"PIServers[{server}]", server)
        if path in (found.path.upper(), short.upper(), rf"\\{server}\{found.content.name}".upper()):
            return _set_body(service, call, found)
    raise service.not_found("enumeration set")


def _get_set(service: Service, call: Call) -> object:
    """`GET enumerationsets/{webId}`."""
    return _set_body(service, call, _find_set(service, call))


def _list_values(service: Service, call: Call) -> object:
    """`GET enumerationsets/{webId}/enumerationvalues`."""
    owner = _find_set(service, call)
    values = sorted(owner.content.values, key=lambda value: value.value)
    return {"Links": {}, "Items": [_value_body(service, call, owner, value) for value in values]}


def _get_value(service: Service, call: Call) -> object:
    """`GET enumerationvalues/{webId}`."""
    web_id = service.parse_web_id(call.params["webId"], "MV")
    for owner in _all_sets(service, call):
        for value in owner.content.values:
            if _is_named(web_id, owner.value_id(value), owner.value_path(value)):
                return _value_body(service, call, owner, value)
    raise service.not_found("enumeration value")


ROUTES = (
    Route("GET", "dataservers/{webId}/enumerationsets", _list_archive_sets),
    Route("GET", "assetdatabases/{webId}/enumerationsets", _list_database_sets),
    Route("GET", "enumerationsets", _set_by_path),
    Route("GET", "enumerationsets/{webId}", _get_set),
    Route("GET", "enumerationsets/{webId}/enumerationvalues", _list_values),
    Route("GET", "enumerationvalues/{webId}", _get_value),
)
