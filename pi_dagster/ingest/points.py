"""Refreshing pi_points: the tags that the server lists, the partition each falls into, and those that are gone.

A tag that the server no longer lists may be deleted or merely hidden from this login, so its row stays, marked
inactive, and its recorded values stay too. Where many are gone at once a right was lost: were they taken for deleted,
every load would be well without them.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import datetime, timezone
from typing import Any

import pyarrow as pa
from tenacity import Retrying, retry_if_exception_type, stop_after_attempt

from pi_dagster.ingest.asset_tags import AssetTags
from pi_dagster.ingest.errors import LakeOfAnotherServerError, NoTagsError, TagsLostError
from pi_dagster.ingest.groups import TagAssigner
from pi_dagster.ingest.report import PointsReport, Traffic
from pi_dagster.lake import Lake, PointsTable
from pi_dagster.lake.errors import SnapshotReplacedError
from pi_dagster.lake.schemas import POINTS_SCHEMA
from pi_dagster.piwebapi import PIWebAPISource
from pi_dagster.piwebapi.objects import Point
from pi_dagster.site import Site

_SAMPLE_ROWS = 10
_MOST_NAMED = 100
_NOT_CONTENT = ("last_seen",)
_FEW_LOST = 10
"""Tags that may always go at once: a third of a small plant is soon deleted."""

_TRIES = 3
"""A second refresh at the same time is an accident, a third a mistake."""


def refresh_points(site: Site, source: PIWebAPISource, lake: Lake, *, run_id: str) -> PointsReport:
    """List the tags of the site's Data Archive and make them the snapshot of pi_points.

    Args:
        site: says which group a tag falls into.
        source: the server to list.
        lake: where pi_points is.
        run_id: kept in the commit's metadata.

    Raises:
        NoTagsError: the server lists no tag.
        TagsLostError: more tags are gone than are likely to be deleted at once.
        AssetsMissingError: a group is chosen by AF elements, which have not been loaded yet.
        LakeOfAnotherServerError: pi_points holds tags of another Data Archive.
        PIWebAPIError: the server cannot be read from.
        LakeError: the table cannot be written.
    """
    # A list that was begun earlier than another one must not take its place: it may lack what that one found.
    tries = Retrying(
        stop=stop_after_attempt(_TRIES), retry=retry_if_exception_type(SnapshotReplacedError), reraise=True
    )
    return tries(_refresh_once, site, source, lake, run_id=run_id)


def _refresh_once(site: Site, source: PIWebAPISource, lake: Lake, *, run_id: str) -> PointsReport:
    begun = time.monotonic()
    before = source.traffic
    assigner = TagAssigner(site.tag_groups, AssetTags.read(lake) if site.has_groups_by_assets else None)
    table = PointsTable.open(lake)
    snapshot = table.snapshot()
    previous = {row["tag_webid"]: row for row in table.to_arrow(snapshot=snapshot).to_pylist()}
    data_server = source.data_server().name
    others = {row["data_server"] for row in previous.values()} - {data_server}
    if others:
        raise LakeOfAnotherServerError(
            f"The lake {lake.uri} holds the tags of the Data Archive {', '.join(sorted(others))}, and the site's is "
            f"{data_server}. A lake belongs to one Data Archive: give each site a `lake.uri` of its own."
        )
    now = datetime.now(timezone.utc)
    expected = {web_id for web_id, row in previous.items() if row["is_active"]}
    points = source.list_points()
    rows = _rows(points, previous, assigner, data_server=data_server, now=now)
    listed = [row for row in rows if row["is_active"]]
    if not listed:
        raise NoTagsError(
            f"The Data Archive {data_server} at {site.server.url} shows this login no tag. Give it read access to "
            "the points (the point database and each point have their own security), or use another login."
        )
    _check_lost(
        site,
        sorted(row["tag_name"] for row in rows if row["tag_webid"] in expected and not row["is_active"]),
        len(expected),
    )
    changed = _contents(rows) != _contents(previous.values())
    version = table.replace(
        pa.Table.from_pylist(rows, schema=POINTS_SCHEMA),
        {"site": site.name, "run_id": run_id},
        instead_of=snapshot.version(),
    )
    by_partition = Counter(row["tag_group"] for row in listed if row["tag_group"] is not None)
    names = {row["tag_name"].casefold() for row in listed}
    ungrouped = sorted(row["tag_name"] for row in listed if row["tag_group"] is None)
    after = source.traffic
    return PointsReport(
        tags=len(listed),
        new_tags=sum(row["tag_webid"] not in previous for row in listed),
        gone_tags=tuple(row["tag_name"] for row in rows if not row["is_active"]),
        moved_tags=tuple(
            f"{row['tag_name']}: {previous[row['tag_webid']]['tag_group']} -> {row['tag_group']}"
            for row in listed
            if row["tag_webid"] in previous and previous[row["tag_webid"]]["tag_group"] != row["tag_group"]
        ),
        tags_by_partition={name: by_partition[name] for name in site.partition_names()},
        groups_without_tags=tuple(
            group.name for group in site.tag_groups if not any(by_partition[name] for name in group.partition_names())
        ),
        missing_tags=tuple(
            name for group in site.tag_groups for name in group.tags or () if name.casefold() not in names
        )[:_MOST_NAMED],
        tags_in_no_group=tuple(ungrouped[:_MOST_NAMED]),
        tags_in_no_group_count=len(ungrouped),
        traffic=Traffic.between(before, after),
        seconds=time.monotonic() - begun,
        table_version=version,
        changed=changed,
        sample=pa.Table.from_pylist(listed[:_SAMPLE_ROWS], schema=POINTS_SCHEMA),
    )


def _check_lost(site: Site, lost: Sequence[str], listed_before: int) -> None:
    allowed = site.max_lost_tag_share
    if len(lost) > max(_FEW_LOST, allowed * listed_before):
        raise TagsLostError(
            f"{len(lost):,} of {listed_before:,} tags are gone since the last list ({', '.join(lost[:5])} ...), more "
            f"than `max_lost_tag_share` ({allowed:g}) allows. Nothing was committed. To PI, a tag that a login may no "
            f"longer read looks deleted: check the login's rights on the points at {site.server.url}. If they are "
            "deleted, set `max_lost_tag_share: 1` for one run."
        )


def _rows(
    points: Iterable[Point],
    previous: dict[str, dict[str, Any]],
    assigner: TagAssigner,
    *,
    data_server: str,
    now: datetime,
) -> list[dict[str, Any]]:
    """The rows of the new snapshot, by tag name: what is listed now, and what was listed before and is not now."""
    rows = {}
    for point in points:
        known = previous.get(point.web_id, {})
        first_seen = known.get("first_seen") or now
        tag_group = assigner.partition_of(point.name, point.web_id)
        known_since = known.get("tag_group_since") or first_seen
        was_in_another = bool(known) and (known["tag_group"] is not None or known_since > first_seen)
        has_moved = was_in_another and known["tag_group"] != tag_group
        rows[point.web_id] = point_row(
            point,
            data_server=data_server,
            tag_group=tag_group,
            tag_group_since=now if has_moved else known_since,
            first_seen=first_seen,
            last_seen=now,
        )
    gone = [{**row, "is_active": False} for web_id, row in previous.items() if web_id not in rows]
    return sorted([*rows.values(), *gone], key=lambda row: (row["tag_name"], row["tag_webid"]))


def point_row(
    point: Point,
    *,
    data_server: str,
    tag_group: str | None,
    tag_group_since: datetime,
    first_seen: datetime,
    last_seen: datetime,
) -> dict[str, Any]:
    """The row of pi_points for a tag that the server lists."""
    return {
        "tag_webid": point.web_id,
        "tag_name": point.name,
        "path": point.path,
        "descriptor": point.descriptor,
        "point_type": point.point_type,
        "point_class": point.point_class,
        "digital_set_name": point.digital_set_name,
        "engineering_units": point.engineering_units,
        "span": _number(point.span),
        "zero": _number(point.zero),
        "step": point.step,
        "future": point.future,
        "display_digits": point.display_digits,
        "data_server": data_server,
        "tag_group": tag_group,
        "tag_group_since": tag_group_since,
        "first_seen": first_seen,
        "last_seen": last_seen,
        "is_active": True,
    }


def _number(limit: float | str | None) -> float | None:
    return None if isinstance(limit, str) else limit


def _contents(rows: Iterable[dict[str, Any]]) -> Sequence[dict[str, Any]]:
    content = [{name: value for name, value in row.items() if name not in _NOT_CONTENT} for row in rows]
    return sorted(content, key=lambda row: str(row["tag_webid"]))
