"""Data servers and their enumeration sets, the digital state sets of PI.

Source: PI Web API reference, controllers `dataserver`, `enumerationset` and `enumerationvalue`.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Mapping
from dataclasses import dataclass

from pi_dagster.simulator.archive import iso_timestamp
from pi_dagster.simulator.calls import Call
from pi_dagster.simulator.points import SYSTEM_STATES
from pi_dagster.simulator.service import Route, Service
from pi_dagster.webid import WebId, data_server_webid, object_webid

SERVER_VERSION = "3.4.440.477"


def server_name_in(path: str) -> str:
    r"""The server a path such as `\\NAME` or `\\PIServers[NAME]` names; the rest of the path is ignored."""
    first = path.lstrip("\\").split("\\")[0]
    bracketed = re.fullmatch(r"PIServers\[(.*)\]", first, re.IGNORECASE)
    return bracketed[1] if bracketed else first


def data_server(service: Service, call: Call) -> dict[str, object]:
    """The one Data Archive as the vendor's `DataServer`."""
    archive = service.archive
    web_id = service.write_web_id(data_server_webid(archive.server_id, archive.server_name), call)
    link = call.link("dataservers", web_id)
    return {
        "WebId": web_id,
        "Id": str(archive.server_id),
        "Name": archive.server_name,
        "Path": rf"\\PIServers[{archive.server_name}]",
        "IsConnected": True,
        "ServerVersion": SERVER_VERSION,
        "ServerTime": iso_timestamp(service.settings.now()),
        "Links": {"Self": link, "Points": f"{link}/points", "EnumerationSets": f"{link}/enumerationsets"},
    }


def check_data_server(service: Service, text: str) -> None:
    """Refuse a WebID that does not name this Data Archive.

    Raises:
        RefusedError: 400 for what is no WebID, 404 for another server's.
    """
    web_id = service.parse_web_id(text, "DS")
    archive = service.archive
    by_id = bool(web_id.ids) and web_id.ids[0] in (archive.server_id, 0)
    if not by_id and (web_id.path or "").upper() != archive.server_name.upper():
        raise service.not_found("data server")


def list_servers(service: Service, call: Call) -> object:
    """`GET /dataservers`, and one server by `name` or `path`."""
    wanted = call.query.text("name") or server_name_in(call.query.text("path") or "")
    if not wanted:
        return {"Links": {}, "Items": [data_server(service, call)]}
    if wanted.upper() != service.archive.server_name.upper():
        raise service.not_found("data server")
    return data_server(service, call)


def get_server(service: Service, call: Call) -> object:
    """`GET /dataservers/{webId}`."""
    check_data_server(service, call.params["webId"])
    return data_server(service, call)


@dataclass(frozen=True)
class _EnumerationSet:
    id: uuid.UUID
    name: str
    states: Mapping[int, str]
    path: str
    web_id: WebId


def _enumeration_sets(service: Service) -> list[_EnumerationSet]:
    """The archive's digital sets, and the one of the system states."""
    archive = service.archive
    sets = [(s.id, s.name, dict(enumerate(s.states))) for s in archive.digital_sets]
    sets.insert(0, (uuid.uuid5(archive.server_id, "System"), "System", dict(SYSTEM_STATES)))
    found = []
    for set_id, name, states in sets:
        path = rf"\\PIServers[{archive.server_name}]\EnumerationSets[{name}]"
        web_id = object_webid("MS", (archive.server_id, set_id), path, "D")
        found.append(_EnumerationSet(set_id, name, states, path, web_id))
    return found


def _find_set(service: Service, web_id: WebId) -> _EnumerationSet:
    for candidate in _enumeration_sets(service):
        if candidate.id in web_id.ids or (not web_id.ids and candidate.web_id.path == web_id.path):
            return candidate
    raise service.not_found("enumeration set")


def _set_body(service: Service, call: Call, found: _EnumerationSet) -> dict[str, object]:
    web_id = service.write_web_id(found.web_id, call)
    link = call.link("enumerationsets", web_id)
    server = data_server_webid(service.archive.server_id, service.archive.server_name)
    return {
        "WebId": web_id,
        "Id": str(found.id),
        "Name": found.name,
        "Description": "",
        "Path": found.path,
        "Links": {
            "Self": link,
            "DataServer": call.link("dataservers", service.write_web_id(server, call)),
            "Values": f"{link}/enumerationvalues",
        },
    }


def _value_body(service: Service, call: Call, owner: _EnumerationSet, offset: int) -> dict[str, object]:
    value_id = uuid.uuid5(owner.id, str(offset))
    name = owner.states[offset]
    path = rf"{owner.path}\{name}"
    web_id = service.write_web_id(object_webid("MV", (service.archive.server_id, owner.id, value_id), path, "D"), call)
    return {
        "WebId": web_id,
        "Id": str(value_id),
        "Name": name,
        "Description": "",
        "Value": offset,
        "Path": path,
        "Links": {
            "Self": call.link("enumerationvalues", web_id),
            "EnumerationSet": call.link("enumerationsets", service.write_web_id(owner.web_id, call)),
        },
    }


def list_sets(service: Service, call: Call) -> object:
    """`GET /dataservers/{webId}/enumerationsets`."""
    check_data_server(service, call.params["webId"])
    return {"Links": {}, "Items": [_set_body(service, call, found) for found in _enumeration_sets(service)]}


def set_by_path(service: Service, call: Call) -> object:
    """`GET /enumerationsets?path=`."""
    path = call.query.required("path")
    name = re.search(r"(?:EnumerationSets\[([^\]]*)\]|\\([^\\]*))$", path, re.IGNORECASE)
    wanted = (name[1] or name[2] or "").lower() if name else ""
    for found in _enumeration_sets(service):
        if found.name.lower() == wanted and server_name_in(path).upper() == service.archive.server_name.upper():
            return _set_body(service, call, found)
    raise service.not_found("enumeration set")


def get_set(service: Service, call: Call) -> object:
    """`GET /enumerationsets/{webId}`."""
    return _set_body(service, call, _find_set(service, service.parse_web_id(call.params["webId"], "MS")))


def list_values(service: Service, call: Call) -> object:
    """`GET /enumerationsets/{webId}/enumerationvalues`."""
    owner = _find_set(service, service.parse_web_id(call.params["webId"], "MS"))
    return {"Links": {}, "Items": [_value_body(service, call, owner, offset) for offset in sorted(owner.states)]}


def get_value(service: Service, call: Call) -> object:
    """`GET /enumerationvalues/{webId}`."""
    web_id = service.parse_web_id(call.params["webId"], "MV")
    for owner in _enumeration_sets(service):
        for offset, name in owner.states.items():
            path = rf"{owner.path}\{name}".lstrip("\\").upper()
            if uuid.uuid5(owner.id, str(offset)) in web_id.ids or (not web_id.ids and path == web_id.path):
                return _value_body(service, call, owner, offset)
    raise service.not_found("enumeration value")


ROUTES = (
    Route("GET", "dataservers", list_servers),
    Route("GET", "dataservers/{webId}", get_server),
    Route("GET", "dataservers/{webId}/enumerationsets", list_sets),
    Route("GET", "enumerationsets", set_by_path),
    Route("GET", "enumerationsets/{webId}", get_set),
    Route("GET", "enumerationsets/{webId}/enumerationvalues", list_values),
    Route("GET", "enumerationvalues/{webId}", get_value),
)
