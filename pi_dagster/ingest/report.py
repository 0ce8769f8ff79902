"""What a load did, as numbers: the one thing that ingest tells Dagster, the command line and the demo."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

import pyarrow as pa

from pi_dagster.ingest.window import Window
from pi_dagster.piwebapi.transport import TrafficCount


@dataclass(frozen=True, kw_only=True)
class FailedTag:
    """A tag that could not be read whole, and why."""

    tag_webid: str
    tag_name: str
    error: str


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

    @classmethod
    def between(cls, before: TrafficCount, after: TrafficCount) -> Traffic:
        """What was counted after `before`."""
        return cls(
            requests=after.requests - before.requests,
            retries=after.retries - before.retries,
            bytes_received=after.bytes_received - before.bytes_received,
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
    """The instant up to which the partition is complete, except for its failed tags."""
    complete: bool
    """True when the window reaches the end of its day and every tag was read."""
    rows: int
    tags: int
    tags_with_events: int
    failed_tags: tuple[FailedTag, ...]
    rows_by_type: Mapping[str, int]
    """Rows by what the archive holds: `number`, `digital state`, `system state`, `text`, `none`."""
    rows_by_system_state: Mapping[str, int]
    bad_rows: int
    questionable_rows: int
    substituted_rows: int
    annotated_rows: int
    first_event: datetime | None
    last_event: datetime | None
    traffic: Traffic
    seconds: float
    table_version: int
    files: int
    file_bytes: int
    sample: pa.Table
    """The first rows, at most ten."""

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
    traffic: Traffic
    seconds: float
    table_id: str
    table_version: int
    changed: bool
    """False when the table held all of this already, so that nothing was committed."""
    files: int
    file_bytes: int
    sample: pa.Table
    """The first rows, at most ten."""
