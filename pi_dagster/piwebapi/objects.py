"""What a PI Web API server is and lists: itself, its Data Archives and their points, as typed rows.

Properties and links that are not read here are ignored: servers add some with every version.
Fields: the OpenAPI description that a server serves at `/piwebapi/help/specification`.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta, timezone
from functools import partial
from typing import TypeVar

import msgspec

from pi_dagster.piwebapi.changing_list import PAGES_AHEAD, read_changing_list
from pi_dagster.piwebapi.errors import BrokenAnswerError, NotPIWebAPIError, PermanentError, RequestRefusedError
from pi_dagster.piwebapi.item_lists import rows_of
from pi_dagster.piwebapi.json_body import decoded
from pi_dagster.piwebapi.transport import Transport

Row = TypeVar("Row")

POINTS_PAGE = 10_000
"""Points a request, where the server allows as many: every page costs it a search, so few large ones."""


class DataServerNotFoundError(PermanentError):
    """The Data Archive that the site names is not one that this PI Web API knows."""


class SystemStatus(msgspec.Struct, frozen=True, kw_only=True):
    """`system/status`."""

    server_time: str = msgspec.field(name="ServerTime", default="")
    state: str = msgspec.field(name="State", default="")


class UserInfo(msgspec.Struct, frozen=True, kw_only=True):
    """`system/userinfo`: the identity that the server really uses for this login."""

    name: str | None = msgspec.field(name="Name", default=None)
    identity_type: str | None = msgspec.field(name="IdentityType", default=None)


class DataServer(msgspec.Struct, frozen=True, kw_only=True):
    """A PI Data Archive."""

    web_id: str = msgspec.field(name="WebId")
    name: str = msgspec.field(name="Name")
    is_connected: bool = msgspec.field(name="IsConnected", default=True)
    version: str = msgspec.field(name="ServerVersion", default="")


class Point(msgspec.Struct, frozen=True, kw_only=True):
    """A PI point; its WebID is in the IDOnly form, which survives a rename."""

    web_id: str = msgspec.field(name="WebId")
    name: str = msgspec.field(name="Name")
    path: str = msgspec.field(name="Path", default="")
    descriptor: str | None = msgspec.field(name="Descriptor", default=None)
    point_class: str | None = msgspec.field(name="PointClass", default=None)
    point_type: str | None = msgspec.field(name="PointType", default=None)
    digital_set_name: str | None = msgspec.field(name="DigitalSetName", default=None)
    engineering_units: str | None = msgspec.field(name="EngineeringUnits", default=None)
    span: float | str | None = msgspec.field(name="Span", default=None)
    """Text where it is no finite number."""
    zero: float | str | None = msgspec.field(name="Zero", default=None)
    step: bool | None = msgspec.field(name="Step", default=None)
    future: bool | None = msgspec.field(name="Future", default=None)
    display_digits: int | None = msgspec.field(name="DisplayDigits", default=None)


class _Landing(msgspec.Struct):
    Links: dict[str, object]


_POINT_FIELDS = ";".join(
    [
        *(f"Items.{field.encode_name}" for field in msgspec.structs.fields(Point)),
        "Links.Next",
        "WebException",
        "Errors",
    ]
)


def landing(transport: Transport) -> None:
    """Ask for the landing page, which every version has.

    Raises:
        NotPIWebAPIError: something else answers.
    """
    page = transport.get("", [], _one(_Landing))
    if "DataServers" not in page.Links:
        raise NotPIWebAPIError(f"What answers at {transport.url} is not PI Web API: it lists no DataServers.")


def system_status(transport: Transport) -> SystemStatus:
    """The state and the clock of the server."""
    return transport.get("system/status", [], _one(SystemStatus))


def user_info(transport: Transport) -> UserInfo:
    """Who the server takes this login for."""
    return transport.get("system/userinfo", [], _one(UserInfo))


def system_versions(transport: Transport) -> dict[str, str]:
    """Component name to version; empty where this login may not see it."""
    try:
        answer = transport.get("system/versions", [], _one(dict[str, object]))
    except RequestRefusedError:
        return {}
    return {name: str(version.get("FullVersion", version) if isinstance(version, dict) else version)
            for name, version in answer.items() if name != "Links"}  # fmt: skip


def configured_item_limit(transport: Transport) -> int | None:
    """The server's MaxReturnedItemsPerCall; None where this login may not see the configuration."""
    try:
        answer = transport.get("system/configuration/MaxReturnedItemsPerCall", [], _one(dict[str, object]))
    except RequestRefusedError:
        return None
    value = answer.get("Value")
    return value if isinstance(value, int) else None


def server_time(transport: Transport) -> datetime:
    """The server's clock, in UTC."""
    text = system_status(transport).server_time
    try:
        seconds, _, fraction = text.removesuffix("Z").partition(".")
        instant = datetime.strptime(seconds, "%Y-%m-%dT%H:%M:%S").replace(tzinfo=timezone.utc)
        return instant + timedelta(microseconds=int(fraction[:6].ljust(6, "0")))
    except ValueError as error:
        raise BrokenAnswerError(f"{transport.url} sends a ServerTime that is no instant: {text!r}") from error


def data_servers(transport: Transport) -> list[DataServer]:
    """The Data Archives that this PI Web API knows and this login may see."""
    return transport.get("dataservers", [("webIdType", "IDOnly")], rows_of(DataServer))


def find_data_server(transport: Transport, name: str | None) -> DataServer:
    """The Data Archive called `name`; without a name the only one there is.

    Raises:
        DataServerNotFoundError: there is none of that name, or there are several and none is named.
    """
    servers = data_servers(transport)
    known = ", ".join(server.name for server in servers) or "none"
    if name is None:
        if len(servers) == 1:
            return servers[0]
        raise DataServerNotFoundError(
            f"{transport.url} knows these Data Archives: {known}. Name one of them in `server.data_server`."
            if servers
            else f"{transport.url} shows this login no Data Archive. Give it read access, or use another login."
        )
    for server in servers:
        if server.name.lower() == name.lower():
            return server
    raise DataServerNotFoundError(
        f"{transport.url} knows no Data Archive {name!r} (it knows: {known}). Correct `server.data_server`."
    )


def list_points(
    transport: Transport, data_server: DataServer, name_filter: str | None = None, *, page_size: int = POINTS_PAGE
) -> list[Point]:
    """All points of a Data Archive, each once, although some may come or go while they are listed.

    Args:
        transport: the connection.
        data_server: which Data Archive.
        name_filter: tag name pattern with `*` and `?`.
        page_size: points a request; not more than the server's MaxReturnedItemsPerCall.

    Raises:
        ListKeepsChangingError: points came and went all the time.
        PIWebAPIError: a page could not be read.
    """

    def fetch_page(start: int, count: int) -> list[Point]:
        return some_points(transport, data_server, name_filter, start=start, count=count)

    with ThreadPoolExecutor(PAGES_AHEAD, thread_name_prefix="points") as pool:
        return read_changing_list(
            fetch_page,
            lambda point: point.web_id,
            page_size=page_size,
            pool=pool,
            what=f"The list of points of {data_server.name}",
        )


def some_points(
    transport: Transport, data_server: DataServer, name_filter: str | None = None, *, start: int = 0, count: int
) -> list[Point]:
    """A page of that list.

    Args:
        transport: the connection.
        data_server: which Data Archive.
        name_filter: tag name pattern with `*` and `?`.
        start: where in the list it begins.
        count: the most points it may have.

    Raises:
        PIWebAPIError: it could not be read.
    """
    parameters = [
        *([("nameFilter", name_filter)] if name_filter else []),
        ("startIndex", str(start)),
        ("maxCount", str(count)),
        ("webIdType", "IDOnly"),
        ("selectedFields", _POINT_FIELDS),
    ]
    return transport.get(f"dataservers/{data_server.web_id}/points", parameters, rows_of(Point))


def _one(kind: type[Row]) -> Callable[[bytes], Row]:
    return partial(decoded, decoder=msgspec.json.Decoder(kind))
