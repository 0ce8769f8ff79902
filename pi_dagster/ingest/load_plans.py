"""What the load of one partition of pi_timeseries is to read: which tags, and from when to when."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta

from pi_dagster.ingest.tags import PartitionTags, TagList
from pi_dagster.ingest.window import Window
from pi_dagster.piwebapi import PIWebAPISource
from pi_dagster.site import Site

Partition = tuple[date, str]
"""The UTC day and the partition key: a tag group, or a shard of one."""

CLOCKS_DIFFER = timedelta(minutes=5)
"""A day is settled when the clock of Dagster's schedule says so; a server whose clock is a little behind that would
otherwise have it read whole again at each tick until its own clock agrees."""


@dataclass(frozen=True, kw_only=True)
class Progress:
    """How far a partition has been read."""

    watermark: datetime
    """Up to where it is complete, but for the tags that could not be read."""
    unread_since: datetime | None = None
    """From when on some tag may lack events."""
    read_again_from: datetime | None = None
    """From when on such a tag lacks events that can be read again."""

    def next_start(self, overlap: timedelta) -> datetime:
        """Where the next reading begins."""
        return min(self.watermark - overlap, self.read_again_from or self.watermark)


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What one partition's load is to read, or why that cannot be said."""

    day: date
    tag_group: str
    window: Window
    tags: PartitionTags
    progress: Progress
    """How far the partition had been read before the load."""
    again_from: datetime | None = None
    """Where the next load is expected to begin, when the day is not over."""
    settles: bool = False
    """The load reads the whole day, after its time to settle."""
    server_now: datetime
    planned_at: float
    """The monotonic clock at `server_now`."""
    trouble: Exception | None = None


class Planner:
    """Says what to read for a partition.

    Args:
        site: the settings.
        source: the server to ask for its clock: once, and again for a day that was not over then.
        tags: the tags of the partitions.
        server_now: the server's clock, where all windows are to end by the same.
        progress: how far partitions have been read; they are read from there on, less the overlap. Others are read
            from the day's start.
    """

    def __init__(
        self,
        site: Site,
        source: PIWebAPISource,
        tags: TagList,
        *,
        server_now: datetime | None = None,
        progress: Mapping[Partition, Progress] | None = None,
    ) -> None:
        self._site = site
        self._source = source
        self._tags = tags
        self._progress = progress or {}
        self._asks_again = server_now is None
        self._server_now = server_now
        self._asked_at = time.monotonic()

    def plan(self, partition: Partition) -> Plan:
        """What to read of a partition.

        Raises:
            IngestError: its tags are not known.
            LakeError: pi_points cannot be read.
            PIWebAPIError: the server does not tell the time.
        """
        day, tag_group = partition
        tags = self._tags.of(tag_group)
        whole_day = Window.of_day(day)
        now = self._clock(whole_day)
        overlap = timedelta(minutes=self._site.tail_overlap_minutes)
        progress = self._progress.get(partition, Progress(watermark=whole_day.start))
        # A whole second, as the log has instants in milliseconds: so a file that ends or begins there is seen to.
        until = (now - timedelta(seconds=self._site.lag_seconds)).replace(microsecond=0)
        window = whole_day.until(until)
        window = Window(min(window.end, max(window.start, progress.next_start(overlap))), window.end)
        settle_at = whole_day.end + timedelta(hours=self._site.settle_hours)
        return Plan(
            day=day,
            tag_group=tag_group,
            window=window,
            tags=tags,
            progress=progress,
            again_from=None if window.end == whole_day.end else window.end - overlap,
            settles=window == whole_day and now >= settle_at - CLOCKS_DIFFER,
            server_now=now,
            planned_at=self._asked_at,
        )

    def not_planned(self, partition: Partition, trouble: Exception) -> Plan:
        """What stands for a partition that cannot be planned."""
        day, tag_group = partition
        window = Window.of_day(day)
        return Plan(
            day=day,
            tag_group=tag_group,
            window=window,
            tags=PartitionTags((), {}, frozenset()),
            progress=Progress(watermark=window.start),
            server_now=window.start,
            planned_at=0.0,
            trouble=trouble,
        )

    def _clock(self, day: Window) -> datetime:
        lag = timedelta(seconds=self._site.lag_seconds)
        if self._server_now is None or (self._asks_again and self._server_now - lag < day.end):
            self._asked_at = time.monotonic()
            self._server_now = self._source.server_time()
        return self._server_now
