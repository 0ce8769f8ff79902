"""The days of pi_event_frames, and what each holds as its last materialization tells."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta

import dagster as dg

from pi_dagster.automation.partitions import RANGE_END_TAG, RANGE_START_TAG
from pi_dagster.ingest.frame_rows import NO_FRAMES, DayDigest

FRAMES_DIGEST = "pi/frames_digest"
"""Metadata of a materialization: the digest of the list of frames that it loaded."""

OPEN_FRAMES_DIGEST = "pi/open_frames_digest"
"""Metadata of a materialization: the same of the frames that were open."""

FRAMES = "dagster/partition_row_count"
"""Metadata of a materialization: how many frames the day has."""

FAILED_FRAMES = "pi/failed_frames"
"""Metadata of a materialization: how many frames' attributes could not be read."""

FRAMES_FILES = "lake/day_files"
"""Metadata of a materialization: the digest of the names of the files that held the day after it."""

_ALL_DAYS_SECONDS = 3600.0


def day_range_tags(first: date, last: date) -> dict[str, str]:
    """Run tags that select the days from `first` to `last`."""
    return {RANGE_START_TAG: first.isoformat(), RANGE_END_TAG: last.isoformat()}


def days_of_run(run: dg.DagsterRun) -> Sequence[date]:
    """The days that a run with range tags is for; none for other runs."""
    if RANGE_START_TAG not in run.tags:
        return ()
    first, last = date.fromisoformat(run.tags[RANGE_START_TAG]), date.fromisoformat(run.tags[RANGE_END_TAG])
    return days_between(first, last)


def days_between(first: date, last: date) -> list[date]:
    """All days from `first` to `last`; none when it is earlier."""
    return [first + timedelta(days=offset) for offset in range((last - first).days + 1)]


def stretches(days: Collection[date], *, longest: int) -> Iterator[tuple[date, date]]:
    """First and last of each run of days without a gap, cut to `longest` days; the newest first."""
    stretch: list[date] = []
    for day in sorted(days, reverse=True):
        if stretch and (stretch[-1] - day > timedelta(days=1) or len(stretch) == longest):
            yield stretch[-1], stretch[0]
            stretch = []
        stretch.append(day)
    if stretch:
        yield stretch[-1], stretch[0]


@dataclass(frozen=True)
class LoadedDay:
    """A day as it was last materialized.

    Args:
        digest: of the frames it holds; None when nothing tells, or the table holds others now.
        frames: how many.
        at: when, in seconds since 1970.
        failed_frames: how many were loaded with old attributes or none, because those could not be read.
    """

    digest: DayDigest | None
    frames: int
    at: float
    failed_frames: int = 0


@dataclass(frozen=True)
class _Materialization:
    loaded: LoadedDay
    files: object

    def in_table(self, files: str) -> LoadedDay | None:
        """The day as the table, which has these files of it, holds it; None when it holds nothing of it.

        Other files than those of the load hold other rows: the table was put back, or a frame was taken out of the day
        because it started on another one for a while.
        """
        if self.files == files:
            return self.loaded
        return replace(self.loaded, digest=None) if files else None


class LoadedDays:
    """What Dagster's record tells of the days of pi_event_frames.

    A materialization never changes, so each is read once. What is kept from one tick to the next only saves reading:
    it is looked up again after a restart.

    Args:
        asset: the key of pi_event_frames.
    """

    def __init__(self, asset: dg.AssetKey) -> None:
        self._asset = asset
        self._by_event: dict[int, _Materialization] = {}
        self._latest: dict[date, int] = {}
        self._asked: set[date] = set()
        """Days that were asked for once: a frame that is open on a day may close before the day is loaded."""
        self._looked_at_all: float | None = None

    def read(
        self, instance: dg.DagsterInstance, days: Collection[date], *, files: Mapping[date, str]
    ) -> Mapping[date, LoadedDay]:
        """The days that are loaded: those of `days`, and all with open frames.

        Args:
            instance: Dagster's record.
            days: the days to look up.
            files: of each day that the present table has files of, the digest of their names.
        """
        now = time.monotonic()
        look_at_all = self._looked_at_all is None or now - self._looked_at_all > _ALL_DAYS_SECONDS
        # A day whose files are not those that are known of it may have been loaded since by others.
        others = (day for day, known in self._known() if known.files != files.get(day, ""))
        self._asked.update(days, self._days_with_open_frames(), others)
        wanted = None if look_at_all else {day.isoformat() for day in self._asked}
        latest = instance.get_latest_storage_id_by_partition(
            self._asset, dg.DagsterEventType.ASSET_MATERIALIZATION, partitions=wanted
        )
        if look_at_all:
            self._looked_at_all = now
            self._latest.clear()
        for key in wanted or ():
            self._latest.pop(date.fromisoformat(key), None)
        self._latest.update({date.fromisoformat(key): event for key, event in latest.items()})
        self._learn(instance)
        held = {day: known.in_table(files.get(day, "")) for day, known in self._known()}
        return {day: loaded for day, loaded in held.items() if loaded is not None}

    def _known(self) -> Iterator[tuple[date, _Materialization]]:
        for day, event in self._latest.items():
            if event in self._by_event:
                yield day, self._by_event[event]

    def _days_with_open_frames(self) -> set[date]:
        return {day for day, known in self._known() if known.loaded.digest and known.loaded.digest.open_frames}

    def _learn(self, instance: dg.DagsterInstance) -> None:
        latest = set(self._latest.values())
        for event in self._by_event.keys() - latest:
            del self._by_event[event]
        unknown = sorted(latest - self._by_event.keys())
        if not unknown:
            return
        wanted = dg.AssetRecordsFilter(self._asset, storage_ids=unknown)
        for record in instance.fetch_materializations(wanted, limit=len(unknown)).records:
            materialization = record.asset_materialization
            told = {name: value.value for name, value in materialization.metadata.items()} if materialization else {}
            digest = (
                DayDigest(str(told[FRAMES_DIGEST]), str(told[OPEN_FRAMES_DIGEST]))
                if FRAMES_DIGEST in told and OPEN_FRAMES_DIGEST in told
                else None
            )
            frames, failed_frames = (
                count if isinstance(count, int) else 0 for count in (told.get(FRAMES), told.get(FAILED_FRAMES))
            )
            self._by_event[record.storage_id] = _Materialization(
                LoadedDay(digest, frames, record.timestamp, failed_frames), told.get(FRAMES_FILES)
            )


def differs(listed: DayDigest, loaded: LoadedDay | None) -> bool:
    """True when a day of the table does not hold the frames that the server lists."""
    return listed != (loaded.digest if loaded else NO_FRAMES)


def open_frames_differ(listed: str, loaded: LoadedDay | None) -> bool:
    """The same of the open frames only, `listed` being their digest."""
    if loaded is None:
        return listed != NO_FRAMES.open_frames
    return loaded.digest is None or listed != loaded.digest.open_frames
