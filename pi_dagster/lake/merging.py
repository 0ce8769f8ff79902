"""Which small files of a partition become one: those of an hour that is over.

A tail leaves a small file every few minutes, so by the evening there would be hundreds in each partition. Once an
hour is over, the next commit to the partition puts its small files together, sorted by tag, so that each row is
copied once at most before the day settles. The hours of different partitions end at different minutes, as otherwise
one commit an hour would do it for all of them.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from datetime import datetime, timedelta

from pi_dagster.lake.live_files import LiveFile
from pi_dagster.lake.parquet_writer import ParquetWriter, StagedFile, Staging
from pi_dagster.lake.partition_window import PartitionWindow
from pi_dagster.lake.schemas import TIMESERIES_FILE_SCHEMA
from pi_dagster.lake.sorted_rows import sorted_rows

SMALL_FILE_BYTES = 32 << 20
"""A file at least this large is left alone: reading it costs no more than reading its part of a larger one."""

_HOUR = timedelta(hours=1)


class Merging:
    """The files before a window that are put together in the commit of the window.

    Args:
        staging: owns the new files.
        window: the window that the commit is for.
        hours_end_at: by how much the hours of this partition end later than on the clock, from 0 to 1 hour.
    """

    def __init__(self, staging: Staging, window: PartitionWindow, *, hours_end_at: timedelta) -> None:
        self.merged: Sequence[LiveFile] = ()
        """The files that go."""
        self.written: Sequence[StagedFile] = ()
        """The files that come instead."""
        self._staging = staging
        self._window = window
        self._hours_end_at = hours_end_at
        self._done: dict[frozenset[str], list[StagedFile]] = {}

    def plan(self, untouched: Sequence[LiveFile]) -> None:
        """Find out what to do when these files of the partition are not the window's; what is done is not done again.

        Raises:
            LakeAccessError: the storage failed.
        """
        hours = {frozenset(file.path for file in files): files for files in self._hours_to_merge(untouched)}
        for paths in self._done.keys() - hours.keys():
            self._staging.discard(self._done.pop(paths))
        for paths in hours.keys() - self._done.keys():
            self._done[paths] = self._merge(hours[paths])
        self.merged = [file for files in hours.values() for file in files]
        self.written = [file for files in self._done.values() for file in files]

    def _hours_to_merge(self, files: Sequence[LiveFile]) -> list[list[LiveFile]]:
        by_hour: dict[datetime, list[LiveFile]] = defaultdict(list)
        for file in files:
            if file.first is not None and file.newest is not None and file.size < SMALL_FILE_BYTES:
                hour_end = self._end_of_hour(file.first)
                if max(hour_end, file.newest) <= self._window.start:
                    by_hour[hour_end].append(file)
        return [of_hour for of_hour in by_hour.values() if len(of_hour) > 1]

    def _end_of_hour(self, instant: datetime) -> datetime:
        moved = instant - self._hours_end_at
        return moved.replace(minute=0, second=0, microsecond=0) + _HOUR + self._hours_end_at

    def _merge(self, files: Sequence[LiveFile]) -> list[StagedFile]:
        writer = ParquetWriter(self._staging, TIMESERIES_FILE_SCHEMA, self._window.partition_values)
        for batch in sorted_rows(self._staging, files):
            writer.write(batch)
        return writer.finish()
