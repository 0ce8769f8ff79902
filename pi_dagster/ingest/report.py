"""What a load did, as numbers: the one thing that ingest tells Dagster, the command line and the demo."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import Enum

import pyarrow as pa

from pi_dagster.ingest.asset_changes import ElementChange
from pi_dagster.ingest.window import Window
from pi_dagster.lake.difference import EventChanges
from pi_dagster.piwebapi.transport import TrafficCount

_MOST_TAGS_NAMED = 100


class TagErrorKind(str, Enum):
    """Why a tag could not be read."""

    GONE = "gone"
    """The server shows no such tag: it was deleted, or hidden from this login."""
    REFUSED = "refused"
    """This login may not read it, or its request was refused for another reason."""
    BROKEN = "broken"
    """The server could not send its values."""


@dataclass(frozen=True, kw_only=True)
class FailedTag:
    """A tag that could not be read whole, and why."""

    tag_webid: str
    tag_name: str
    error: str
    kind: TagErrorKind = TagErrorKind.BROKEN


@dataclass(frozen=True, kw_only=True)
class FailedFrame:
    """An event frame whose attributes could not be read, and why."""

    event_frame_id: str
    event_name: str
    error: str
    may_be_deleted: bool
    """True when the server says that there is no such frame, which is how a deletion looks."""


@dataclass(frozen=True, kw_only=True)
class Traffic:
    """What went over the wire."""

    requests: int
    retries: int
    bytes_received: int
    """Bytes of the bodies as sent, so compressed where compression is on."""
    refusals: int
    """Requests that the server refused or did not answer in time because it had too much to do."""
    seconds_held_back: float
    """During which fewer requests were in flight than the site allows, because of refusals or slow answers."""

    @classmethod
    def between(cls, before: TrafficCount, after: TrafficCount) -> Traffic:
        """What was counted after `before`."""
        return cls(
            requests=after.requests - before.requests,
            retries=after.retries - before.retries,
            bytes_received=after.bytes_received - before.bytes_received,
            refusals=after.refusals - before.refusals,
            seconds_held_back=after.seconds_held_back - before.seconds_held_back,
        )


@dataclass(frozen=True, kw_only=True)
class TagDifference:
    """Events of one tag that a new reading found changed."""

    tag_name: str
    added: int
    changed: int
    removed: int


@dataclass(frozen=True, kw_only=True)
class EventDifference:
    """Events that a new reading of a partition added to it, changed in it or removed from it."""

    added: int
    changed: int
    removed: int
    tags: tuple[TagDifference, ...]
    """The tags with most changes, at most a hundred."""

    @classmethod
    def of(cls, changes: EventChanges, names: Mapping[str, str]) -> EventDifference:
        """The changes, with the names of tags by WebID."""
        kinds = (changes.added, changes.changed, changes.removed)
        most = sum(kinds, Counter()).most_common(_MOST_TAGS_NAMED)
        return cls(
            added=changes.added.total(),
            changed=changes.changed.total(),
            removed=changes.removed.total(),
            tags=tuple(
                TagDifference(
                    tag_name=names.get(web_id, web_id),
                    added=changes.added[web_id],
                    changed=changes.changed[web_id],
                    removed=changes.removed[web_id],
                )
                for web_id, _ in most
            ),
        )


@dataclass(frozen=True, kw_only=True)
class WindowReport:
    """One window of one partition of pi_timeseries, committed.

    `rows` were committed; the other counts are of what was read, which is more where a tag failed half-way.
    """

    partition_date: str
    tag_group: str
    window: Window
    watermark: datetime
    """The instant up to which the partition is complete, but for the tags that could not be read."""
    unread_since: datetime | None
    """From when on a tag that could not be read may lack events; None when every tag was read whole."""
    complete: bool
    """True when the watermark is the end of the day and no tag lacks anything."""
    read_to_settle: bool
    """True when the day was read whole after its time to settle."""
    settled: bool
    """True when the day is complete too."""
    lag_seconds: float
    """How far the watermark is behind the server's clock."""
    rows: int
    tags: int
    tags_digest: str
    """Another one when a tag joined the partition or left it."""
    tags_with_events: int
    failed_tags: tuple[FailedTag, ...]
    """Tags that could not be read whole; what was there of them stays."""
    gone_tags: tuple[FailedTag, ...]
    """Tags that the server turned out not to have any more; what was there of them stays, for ever."""
    found_again: tuple[str, ...]
    """WebIDs of tags that were gone before and could be read now."""
    rows_by_type: Mapping[str, int]
    """Rows by what the archive holds: `number`, `digital state`, `system state`, `text`, `none`."""
    rows_by_system_state: Mapping[str, int]
    events_by_hour: Sequence[int]
    """Rows of each of the day's 24 hours."""
    bad_by_hour: Sequence[int]
    bad_rows: int
    questionable_rows: int
    substituted_rows: int
    annotated_rows: int
    first_event: datetime | None
    last_event: datetime | None
    difference: EventDifference | None
    """What a day read whole changed in what the partition had; None when it had nothing, or for part of a day."""
    traffic: Traffic
    seconds: float
    table_version: int
    files: int
    file_bytes: int
    live_files: int
    """Files of the partition after the commit."""
    partition_rows: int | None
    """Rows of the partition after the commit; None when the table's log does not say."""
    sample: pa.Table
    """The first rows, at most ten."""
    job_page: str | None = None
    """Where a browser shows the job that loaded it, where another machine did."""

    @property
    def events_per_second(self) -> float:
        """Rows committed for each second of wall time."""
        return self.rows / self.seconds if self.seconds > 0 else 0.0


@dataclass(frozen=True, kw_only=True)
class PointsReport:
    """One refresh of pi_points."""

    tags: int
    new_tags: int
    gone_tags: tuple[str, ...]
    """Names of tags of the previous snapshot that the server no longer lists; kept with `is_active` false."""
    moved_tags: tuple[str, ...]
    """Tags that fall into another partition than before, as `name: old -> new`. What was loaded of them stays in the
    old partition until that is loaded again, and their past comes into the new one when that is."""
    tags_by_partition: Mapping[str, int]
    """Active tags by partition name; every partition of the site is a key."""
    groups_without_tags: tuple[str, ...]
    missing_tags: tuple[str, ...]
    """Tags that the site names one by one and the server does not list; at most 100 of them."""
    tags_in_no_group: tuple[str, ...]
    """Names of active tags that no group matches; at most 100 of them."""
    tags_in_no_group_count: int
    traffic: Traffic
    seconds: float
    table_version: int
    changed: bool
    """False when the snapshot equals the previous one, but for when the tags were last seen."""
    sample: pa.Table


@dataclass(frozen=True, kw_only=True)
class FramesReport:
    """One day of pi_event_frames, by start."""

    start_date: str
    frames: int
    """Rows of the day."""
    new_frames: int
    changed_frames: int
    """Frames that the list tells other things of than the row before; attributes do not count."""
    gone_frames: int
    """Frames that were deleted, or start on another day now."""
    moved_frames: int
    """Frames that came from another day and were taken out there."""
    open_frames: int
    frames_by_template: Mapping[str, int]
    frames_by_severity: Mapping[str, int]
    frames_read: int
    """Frames whose attributes were read."""
    unread_attributes: Mapping[str, int]
    """Attributes whose value the server could not give, and for how many frames; null in their maps."""
    failed_frames: tuple[FailedFrame, ...]
    """Frames whose attributes could not be read; their maps are as before, or null."""
    kept_frames: int
    """Frames that stay although they are not listed, because their database is not."""
    lost_databases: tuple[str, ...]
    """The databases of those."""
    frames_digest: str
    """Digest of the list of frames that was loaded; equal to that of another list when the lists are equal."""
    open_frames_digest: str
    """The same of the frames that are open."""
    day_files: str
    """Digest of the names of the files that hold the day."""
    traffic: Traffic
    seconds: float
    table_version: int
    changed: bool
    """False when the table held all of this already, so that nothing was committed."""
    files: int
    file_bytes: int
    sample: pa.Table
    """Rows of the day, at most ten."""


@dataclass(frozen=True, kw_only=True)
class AssetsReport:
    """One refresh of pi_asset_hierarchy and pi_asset_attributes."""

    asset_server: str
    databases: tuple[str, ...]
    elements: int
    attributes: int
    tags: int
    """Different tags that attributes refer to."""
    levels: int
    """Depth of the deepest element."""
    elements_with_several_parents: int
    changes: Mapping[str, int]
    """Elements `added`, `removed`, `renamed` and `moved` since the last snapshot."""
    changed_elements: tuple[ElementChange, ...]
    """At most 100 of them."""
    unreadable_elements: tuple[str, ...]
    """Paths of elements that this login may no longer read; their old rows stay."""
    unread_values: tuple[str, ...]
    """Static attributes whose value the server could not give; at most 100 of them."""
    unread_value_count: int
    traffic: Traffic
    seconds: float
    hierarchy_version: int
    hierarchy_content: str
    """A hash of all rows of pi_asset_hierarchy, but for when they were read."""
    hierarchy_changed: bool
    """False when the snapshot equals the previous one, so that no new table version was made."""
    attributes_version: int
    attributes_content: str
    attributes_changed: bool
    tree: str
    """The upper levels of the tree as indented lines."""
    hierarchy_sample: pa.Table
    attributes_sample: pa.Table
    """The first rows, at most ten."""
