"""Loading one day of pi_event_frames: list the frames that start on it, read their attributes, replace the day.

The list is cheap and is always read whole; attributes are dear. So a load for the sensor, which comes every minute,
reads only the attributes that may differ from those in the table; the others, above all the nightly one, read all.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta, timezone
from typing import Protocol

import pyarrow as pa

from pi_dagster.ingest.errors import FramesFailedError
from pi_dagster.ingest.frame_rows import (
    DayDigester,
    FrameChanges,
    Row,
    compare,
    frame_row,
    frame_table,
    has_settled,
)
from pi_dagster.ingest.report import FailedFrame, FramesReport, Traffic
from pi_dagster.ingest.window import Window
from pi_dagster.lake import EventFramesTable, Lake
from pi_dagster.lake.event_frames import DayChangedError, DayCommit, DayOfFrames
from pi_dagster.piwebapi import PIWebAPISource
from pi_dagster.piwebapi.asset_framework import AssetDatabase, find_asset_server, list_databases
from pi_dagster.piwebapi.errors import PIWebAPIError, RequestRefusedError
from pi_dagster.piwebapi.event_frame_attributes import FrameAttributes, read_attributes
from pi_dagster.piwebapi.event_frames import EventFrame, FrameSearch, find_event_frames
from pi_dagster.site import AssetFrameworkSettings, EventFrameSettings, ServerSettings, Site

_TRIES = 3
"""Loads of one day that may be overtaken by another run before this one gives up."""

_NOT_FOUND = 404
_SAMPLE_ROWS = 10
_MOST_NAMED = 100


class FrameSettings(Protocol):
    """What of a site tells which event frames are wanted."""

    @property
    def server(self) -> ServerSettings:
        """The server."""

    @property
    def asset_framework(self) -> AssetFrameworkSettings | None:
        """Which databases."""

    @property
    def event_frames(self) -> EventFrameSettings:
        """Which templates."""


def event_frame_databases(site: FrameSettings, source: PIWebAPISource) -> list[AssetDatabase]:
    """The databases whose event frames are copied.

    Raises:
        AssetsNotFoundError: the site names a database that this login is not shown, or it is shown none.
        PIWebAPIError: the server cannot be read from.
    """
    settings = site.asset_framework
    assert settings is not None, "a site without asset_framework has no event frames"
    server = find_asset_server(source.transport, settings.asset_server)
    return list_databases(source.transport, server, settings.databases)


def list_event_frames(
    site: FrameSettings,
    source: PIWebAPISource,
    databases: Sequence[AssetDatabase],
    windows: Sequence[Window],
    *,
    only_open: bool = False,
    before_page: Callable[[], None] = lambda: None,
) -> Iterator[EventFrame]:
    """The site's event frames that start in one of the windows, each once, in no particular order.

    What `before_page` raises, which is called before pages are asked for, ends the search.

    Raises:
        PIWebAPIError: the server cannot be read from.
    """
    searches = [
        FrameSearch(database=database, start=window.start, end=window.end, template=template, only_open=only_open)
        for database in databases
        for template in site.event_frames.templates or (None,)
        for window in windows
    ]
    return find_event_frames(
        source.transport,
        searches,
        page_size=site.event_frames.page_size,
        largest_page=site.server.max_items_per_call,
        select_fields=site.server.select_fields,
        before_page=before_page,
    )


def load_day(
    site: Site,
    source: PIWebAPISource,
    lake: Lake,
    *,
    databases: Sequence[AssetDatabase],
    day: date,
    read_all_attributes: bool = True,
    run_id: str,
) -> FramesReport:
    """Make a day of pi_event_frames what the server lists for it, in one commit; without a change in none.

    Args:
        site: the settings.
        source: the server to read.
        lake: where pi_event_frames is.
        databases: where the frames are, as `event_frame_databases` found them a short while ago. Rows of others stay.
        day: the UTC day that the frames start on.
        read_all_attributes: also read the attributes of frames that are over and that the list shows as they are in
            the table: their values may have changed when they are not captured, or were captured again.
        run_id: kept in the commit's metadata.

    Raises:
        FramesFailedError: attributes could not be read and the site says `on_tag_error: fail`.
        WindowConflictError: other runs kept replacing the day.
        PIWebAPIError: the server cannot be read from.
        LakeError: the table cannot be written.
    """
    begun = time.monotonic()
    traffic = source.traffic
    table = EventFramesTable.open(lake)
    for tries_left in reversed(range(_TRIES)):
        before = table.read_day(day)
        try:
            listing = _read_day(site, source, databases, before, read_all_attributes=read_all_attributes)
            rows = frame_table([*listing.rows, *listing.kept])
            commit = None if listing.is_in_table else _replace(site, table, before, rows, run_id=run_id)
            break
        except (DayChangedError, FramesFailedError) as error:
            # A frame that was deleted after it was listed fails too; it is in the next list no more.
            if not tries_left or (isinstance(error, FramesFailedError) and not error.may_be_deleted):
                raise
    digest = listing.digester.digest()
    changes = listing.changes
    return FramesReport(
        start_date=day.isoformat(),
        frames=rows.num_rows,
        new_frames=len(changes.new),
        changed_frames=len(changes.changed),
        gone_frames=len(changes.gone) - len(listing.kept),
        moved_frames=commit.moved_rows if commit else 0,
        open_frames=sum(frame.is_open for frame in changes.listed),
        frames_by_template=dict(Counter(frame.template_name or "none" for frame in changes.listed).most_common()),
        frames_by_severity=dict(Counter(frame.severity for frame in changes.listed).most_common()),
        frames_read=listing.frames_read,
        unread_attributes=dict(listing.unread.most_common(_MOST_NAMED)),
        failed_frames=tuple(listing.failed),
        kept_frames=len(listing.kept),
        lost_databases=tuple(sorted({row["database_name"] for row in listing.kept})),
        frames_digest=digest.frames,
        open_frames_digest=digest.open_frames,
        traffic=Traffic.between(traffic, source.traffic),
        seconds=time.monotonic() - begun,
        day_files=commit.day_files if commit else before.files,
        table_version=commit.version if commit else before.version,
        changed=commit is not None,
        files=commit.files if commit else 0,
        file_bytes=commit.file_bytes if commit else 0,
        sample=rows.slice(0, _SAMPLE_ROWS),
    )


@dataclass(frozen=True)
class _Listing:
    """What was read of a day."""

    changes: FrameChanges
    digester: DayDigester
    rows: Sequence[Row]
    kept: Sequence[Row]
    """Rows of databases that the server does not show any more: that may be a lost right, so they stay."""
    is_in_table: bool
    """True when the table holds the very same rows."""
    frames_read: int
    unread: Counter[str]
    failed: Sequence[FailedFrame]


def _read_day(
    site: Site,
    source: PIWebAPISource,
    databases: Sequence[AssetDatabase],
    before: DayOfFrames,
    *,
    read_all_attributes: bool,
) -> _Listing:
    frames = list(list_event_frames(site, source, databases, [Window.of_day(before.day)]))
    old_rows: dict[str, Row] = {row["event_frame_id"]: row for row in before.rows.to_pylist()}
    changes = compare(old_rows.values(), frames)
    to_read = [
        frame for frame in frames if read_all_attributes or not has_settled(frame, old_rows.get(frame.event_frame_id))
    ]
    attributes, failed = _attributes(site, source, to_read, day=before.day)
    read_at = datetime.now(timezone.utc)
    digester = DayDigester()
    for frame in frames:
        digester.add(frame)
    rows = [
        frame_row(frame, attributes.get(frame.event_frame_id), old_rows.get(frame.event_frame_id), read_at=read_at)
        for frame in frames
    ]
    shown = {database.name for database in databases}
    kept = [row for row in changes.gone if row["database_name"] not in shown]
    return _Listing(
        changes=changes,
        digester=digester,
        rows=rows,
        kept=kept,
        is_in_table=len(kept) == len(changes.gone) and all(old_rows.get(row["event_frame_id"]) is row for row in rows),
        frames_read=len(to_read),
        unread=Counter(name for read in attributes.values() for name in read.unread),
        failed=failed,
    )


def _attributes(
    site: Site, source: PIWebAPISource, frames: Sequence[EventFrame], *, day: date
) -> tuple[Mapping[str, FrameAttributes], Sequence[FailedFrame]]:
    found: dict[str, FrameAttributes] = {}
    failed = []
    for frame, read in read_attributes(source.transport, frames, select_fields=site.server.select_fields):
        if isinstance(read, PIWebAPIError):
            failed.append(
                FailedFrame(
                    event_frame_id=frame.event_frame_id,
                    event_name=frame.name,
                    error=str(read),
                    may_be_deleted=isinstance(read, RequestRefusedError) and read.status == _NOT_FOUND,
                )
            )
        else:
            found[frame.event_frame_id] = read
    if failed and site.on_tag_error == "fail":
        raise FramesFailedError(day, failed)
    return found, failed


def _replace(site: Site, table: EventFramesTable, before: DayOfFrames, rows: pa.Table, *, run_id: str) -> DayCommit:
    reach = site.event_frames.lookback_days
    return table.replace_day(
        before,
        rows,
        moved_from=[before.day + timedelta(days=offset) for offset in range(-reach, reach + 1)],
        commit_info={"site": site.name, "run_id": run_id},
    )
