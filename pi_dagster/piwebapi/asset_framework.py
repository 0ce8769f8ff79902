"""PI Asset Framework (AF): its servers and databases, as typed rows.

Fields: the OpenAPI description that a server serves at `/piwebapi/help/specification`.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import msgspec

from pi_dagster.piwebapi.errors import AssetsNotFoundError, RequestRefusedError
from pi_dagster.piwebapi.item_lists import rows_of
from pi_dagster.piwebapi.transport import Transport
from pi_dagster.webid import WebId


class AssetServer(msgspec.Struct, frozen=True, kw_only=True):
    """An AF server."""

    web_id: str = msgspec.field(name="WebId")
    name: str = msgspec.field(name="Name")


class AssetDatabase(msgspec.Struct, frozen=True, kw_only=True):
    """An AF database."""

    web_id: str = msgspec.field(name="WebId")
    id: str = msgspec.field(name="Id")
    name: str = msgspec.field(name="Name")
    path: str = msgspec.field(name="Path")


def find_asset_server(transport: Transport, name: str | None) -> AssetServer:
    """The AF server called `name`; without a name the only one there is.

    Raises:
        AssetsNotFoundError: there is none of that name, or there are several and none is named.
    """
    try:
        servers = transport.get("assetservers", [("webIdType", "IDOnly")], rows_of(AssetServer))
    except RequestRefusedError as error:
        raise AssetsNotFoundError(
            f"{transport.url} does not tell this login its AF servers ({error}) Give it read access, or write "
            "`asset_framework: null` if there is no AF."
        ) from error
    known = ", ".join(server.name for server in servers) or "none"
    if name is None:
        if len(servers) == 1:
            return servers[0]
        raise AssetsNotFoundError(
            f"{transport.url} knows these AF servers: {known}. Name one of them in `asset_framework.asset_server`."
            if servers
            else f"{transport.url} shows this login no AF server. Give it read access, or write "
            "`asset_framework: null` if there is no AF."
        )
    for server in servers:
        if server.name.lower() == name.lower():
            return server
    raise AssetsNotFoundError(
        f"{transport.url} knows no AF server {name!r} (it knows: {known}). Correct `asset_framework.asset_server`."
    )


def list_databases(
    transport: Transport, server: AssetServer, names: Sequence[str] | None = None
) -> list[AssetDatabase]:
    """The databases of an AF server that this login may see, by name; or those called `names`.

    Raises:
        AssetsNotFoundError: one of `names` is not there, or there is no database at all.
    """
    path = f"assetservers/{server.web_id}/assetdatabases"
    found = transport.get(path, [("webIdType", "IDOnly")], rows_of(AssetDatabase))
    by_name = {database.name.casefold(): database for database in found}
    known = ", ".join(sorted(database.name for database in found)) or "none"
    missing = [name for name in names or () if name.casefold() not in by_name]
    if missing:
        raise AssetsNotFoundError(
            f"The AF server {server.name} shows this login no database {', '.join(missing)} (it shows: {known}). Give "
            "it read access again, or correct `asset_framework.databases`."
        )
    if not found:
        raise AssetsNotFoundError(
            f"The AF server {server.name} shows this login no database. Give it read access, or write "
            "`asset_framework: null` if AF is not wanted."
        )
    wanted = found if names is None else [by_name[name.casefold()] for name in dict.fromkeys(names)]
    return sorted(wanted, key=lambda database: database.name)


def linked_id(link: str | None, marker: str) -> str | None:
    """The GUID of the object that a link leads to; None when it leads nowhere or to another kind of object.

    Args:
        link: a URL that ends in a WebID.
        marker: the kind of object that is expected, as WebIDs mark it, such as `Em`.
    """
    if not link:
        return None
    web_id = link.partition("?")[0].rstrip("/").rpartition("/")[2]
    return _guid(web_id) if web_id[2:4] == marker else None


@lru_cache(maxsize=65_536)
def _guid(web_id: str) -> str | None:
    try:
        ids = WebId.parse(web_id).ids
    except ValueError:
        return None
    return str(ids[-1]) if ids else None
