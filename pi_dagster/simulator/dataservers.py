"""Data servers.

Source: PI Web API reference, controller `dataserver`.
"""

from __future__ import annotations

import re

from pi_dagster.simulator.calls import Call
from pi_dagster.simulator.events import iso_timestamp
from pi_dagster.simulator.service import Route, Service
from pi_dagster.webid import data_server_webid

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


ROUTES = (
    Route("GET", "dataservers", list_servers),
    Route("GET", "dataservers/{webId}", get_server),
)
