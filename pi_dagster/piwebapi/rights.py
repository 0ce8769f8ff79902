"""What a login could change, as far as PI Web API tells by reads: it needs none of it, so any of it is too much.

AF tells the rights of a user (docs.aveva.com/bundle/pi-web-api-reference/page/help/controllers/assetdatabase/actions/
getsecurity.html). Of the Data Archive nothing is told by user; but the access list of a tag shows whether everybody,
PIWorld, may write its data.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import msgspec

from pi_dagster.piwebapi.asset_framework import AssetDatabase
from pi_dagster.piwebapi.errors import BrokenAnswerError, RequestRefusedError
from pi_dagster.piwebapi.item_lists import rows_of
from pi_dagster.piwebapi.objects import Point
from pi_dagster.piwebapi.transport import Transport

_ITEMS = ("Default", "Element", "EventFrame")
_WORLD_WRITES = re.compile(r"PIWorld:\s*A\([^)]*w", re.IGNORECASE)
"""In an access list such as `piadmins: A(r,w) | PIWorld: A(r)`."""

_READ_ONLY = frozenset({"None", "Read", "ReadData", "Subscribe"})


class _Rights(msgspec.Struct):
    Rights: list[str] = []


class _PointAttribute(msgspec.Struct):
    Name: str
    Value: object = None


def rights_beyond_reading(transport: Transport, database: AssetDatabase, user: str) -> list[str]:
    """The rights that `user` has in an AF database, its elements and event frames, besides reading.

    Args:
        transport: the connection.
        database: where.
        user: as the server calls it.

    Returns:
        Names of rights such as `Write`; empty also where the server does not tell.
    """
    parameters = [*(("securityItem", item) for item in _ITEMS), ("userIdentity", user)]
    try:
        told = transport.get(f"assetdatabases/{database.web_id}/security", parameters, rows_of(_Rights))
    except (RequestRefusedError, BrokenAnswerError):
        return []
    return sorted({right for one in told for right in one.Rights} - _READ_ONLY)


def tags_that_everybody_may_change(transport: Transport, points: Sequence[Point]) -> list[str]:
    """Names of those of `points` whose data or definition PIWorld may write; asks once for each."""
    return [point.name for point in points if _world_may_write(transport, point)]


def _world_may_write(transport: Transport, point: Point) -> bool:
    parameters = [("name", "datasecurity"), ("name", "ptsecurity")]
    try:
        lists = transport.get(f"points/{point.web_id}/attributes", parameters, rows_of(_PointAttribute))
    except (RequestRefusedError, BrokenAnswerError):
        return False
    return any(_WORLD_WRITES.search(str(one.Value)) for one in lists)
