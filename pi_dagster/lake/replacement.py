"""What has to change in a partition so that a window of it holds new rows, and nothing else is different.

Of the partition's files, those outside the window stay, those within it go, and those that reach over its bounds are
copied without the window's rows, a small batch at a time. So are files of another partition that holds rows of tags
which are this one's now.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pi_dagster.lake.commit import FileChange
from pi_dagster.lake.live_files import LiveFile, opened
from pi_dagster.lake.merging import Merging
from pi_dagster.lake.parquet_writer import ParquetWriter, StagedFile, Staging, read_row_groups
from pi_dagster.lake.partition_window import PartitionWindow
from pi_dagster.lake.schemas import TIMESERIES_FILE_SCHEMA


@dataclass(frozen=True, kw_only=True)
class NewRows:
    """The rows that a window is to hold."""

    window: PartitionWindow
    batches: Iterable[pa.RecordBatch]
    """As TIMESERIES_FILE_SCHEMA, sorted by tag, then time; strings may be dictionary-encoded. None at all empties the
    window. The order is kept."""
    keep_tags: Collection[str] = ()
    """WebIDs of tags that could not be read whole: their old rows stay, and rows of theirs among `batches` are dropped.
    Looked at once `batches` has ended, so its producer may add to it."""
    take_from: Mapping[str, Collection[str]] = field(default_factory=dict)
    """WebIDs of tags by another partition of the day, whose rows in the window leave that one with this commit, also
    where that one wants to keep them. Looked at once `batches` has ended."""
    again_from: datetime | None = None
    """Where the next window is expected to begin. Rows from there on go to files of their own, so that they can be
    replaced without copying the others."""


@dataclass(frozen=True, kw_only=True)
class WindowCommit:
    """A window that was replaced."""

    version: int
    """The table version that holds the new rows."""
    files: int
    """Files the commit added."""
    file_bytes: int
    """Their size in bytes."""
    rows: int
    """New rows in the window."""
    kept_rows: int
    """Rows outside the window, or of tags to keep, that had to be copied because they shared a file with it."""
    replaced_rows: int
    """Old rows that the new ones replaced."""
    merged_rows: int
    """Rows before the window that were copied so that the many small files of an hour became one."""
    live_files: int
    """Files of the partition after the commit."""
    partition_rows: int | None
    """Rows of the partition after the commit; None when the log does not say."""


@dataclass(frozen=True)
class _Copy:
    """What is left of a live file when the window is taken out of it."""

    file: LiveFile
    kept: tuple[StagedFile, ...]
    kept_rows: int
    replaced_rows: int


class Replacement:
    """Turns a snapshot into the change that replaces the window, copying rows that must stay only when needed.

    Args:
        staging: owns the new files.
        window: the window.
        hours_end_at: see `Merging`.
        only_tags: WebIDs of the tags whose rows are replaced; None is all.
    """

    def __init__(
        self,
        staging: Staging,
        window: PartitionWindow,
        *,
        hours_end_at: timedelta = timedelta(),
        only_tags: Collection[str] | None = None,
    ) -> None:
        self._staging = staging
        self._window = window
        self._only_tags = None if only_tags is None else sorted(only_tags)
        self._merging = Merging(staging, window, hours_end_at=hours_end_at)
        self._live_files = 0
        self._rows_that_stay: int | None = 0
        self._new_files: list[StagedFile] = []
        self._keep_tags: list[str] = []
        self._planned_on: frozenset[str] | None = None
        self._copies: list[_Copy] = []

    def write(self, new: NewRows) -> None:
        """Write the window's new rows."""
        writer, writer_of_later = self._new_writer(), self._new_writer()
        written_tags: set[str] = set()
        for batch in new.batches:
            self._window.check(batch)
            if new.again_from is None:
                writer.write(batch)
            else:
                instants = batch.column("timestamp")
                is_later = pc.greater_equal(instants, pa.scalar(new.again_from, instants.type))
                writer.write(batch.filter(pc.invert(is_later)))
                writer_of_later.write(batch.filter(is_later))
            written_tags.update(batch.column("tag_webid").unique().to_pylist())
        self._new_files = [*writer.finish(), *writer_of_later.finish()]
        self._keep_tags = sorted(new.keep_tags)
        if not written_tags.isdisjoint(self._keep_tags):
            self._new_files = [kept for file in self._new_files for kept in self._without_kept_tags(file)]

    def let_go(self, tags: Collection[str]) -> None:
        """Do not keep the old rows of some tags after all; to be called before the first plan."""
        self._keep_tags = [tag for tag in self._keep_tags if tag not in tags]

    def plan(self, live: Sequence[LiveFile]) -> FileChange:
        """The change for a partition of these files; copies rows only when the files differ from the last plan's."""
        paths = frozenset(file.path for file in live)
        if paths != self._planned_on:
            self._staging.discard(file for copy in self._copies for file in copy.kept)
            self._copies, self._planned_on = [], None
            for file in live:
                copy = self._copy(file)
                if copy is not None:
                    self._copies.append(copy)
            self._planned_on = paths
        taken = {copy.file.path for copy in self._copies}
        self._merging.plan([file for file in live if file.path not in taken])
        added = self._added()
        removed = [*(copy.file for copy in self._copies), *self._merging.merged]
        gone = {file.path for file in removed}
        stay = [file.rows for file in live if file.path not in gone]
        self._live_files = len(stay) + len(added)
        self._rows_that_stay = None if None in stay else sum(rows for rows in stay if rows is not None)
        return FileChange(add=added, remove=[file.remove_action() for file in removed], facts=self._window.facts())

    def result(self, version: int) -> WindowCommit:
        """What the change of the last plan did, now that it is committed."""
        added = self._added()
        return WindowCommit(
            version=version,
            files=len(added),
            file_bytes=sum(file.size for file in added),
            live_files=self._live_files,
            partition_rows=self._plus_rows_that_stay(added),
            rows=sum(file.rows for file in self._new_files),
            kept_rows=sum(copy.kept_rows for copy in self._copies),
            merged_rows=sum(file.rows for file in self._merging.written),
            replaced_rows=sum(copy.replaced_rows for copy in self._copies),
        )

    def _plus_rows_that_stay(self, added: Iterable[StagedFile]) -> int | None:
        return None if self._rows_that_stay is None else self._rows_that_stay + sum(file.rows for file in added)

    def _added(self) -> list[StagedFile]:
        return [*self._new_files, *(file for copy in self._copies for file in copy.kept), *self._merging.written]

    def _copy(self, file: LiveFile) -> _Copy | None:
        """What to do with a live file; None when no row of it is replaced."""
        if file.first is not None and file.newest is not None:
            if not self._window.meets(file.first, file.newest):
                return None
            is_all = not self._keep_tags and self._only_tags is None
            if self._window.holds(file.first, file.newest) and file.rows is not None and is_all:
                return _Copy(file, (), 0, file.rows)
        return self._copy_rows(file)

    def _copy_rows(self, file: LiveFile) -> _Copy | None:
        writer = self._new_writer()
        with opened(self._staging, file.path) as parquet:
            if not any(self._may_meet_window(parquet, group) for group in range(parquet.num_row_groups)):
                return None
            rows = parquet.metadata.num_rows
            for group in range(parquet.num_row_groups):
                self._copy_row_group(parquet, group, writer)
        kept = writer.finish()
        if writer.rows == rows:
            self._staging.discard(kept)
            return None
        return _Copy(file, tuple(kept), writer.rows, rows - writer.rows)

    def _may_meet_window(self, parquet: pq.ParquetFile, group: int) -> bool:
        """By the file's own statistics, which are exact where the log's are rounded."""
        span = _bounds(parquet, group, "timestamp")
        return span is None or self._window.meets(*span)

    def _copy_row_group(self, parquet: pq.ParquetFile, group: int, writer: ParquetWriter) -> None:
        span = _bounds(parquet, group, "timestamp")
        if span is not None and self._window.holds(*span) and not self._may_hold_rows_to_keep(parquet, group):
            return
        for batch in self._batches(parquet, group):
            outside = pc.invert(self._window.mask(batch.column("timestamp")))
            writer.write(batch.filter(pc.or_(outside, self._to_keep(batch))))

    def _without_kept_tags(self, file: StagedFile) -> list[StagedFile]:
        """A new file without rows of tags that keep their old rows."""
        writer = self._new_writer()
        with opened(self._staging, file.path) as parquet:
            for group in range(parquet.num_row_groups):
                for batch in self._batches(parquet, group):
                    writer.write(batch.filter(pc.invert(self._of_kept_tags(batch))))
        self._staging.discard([file])
        return writer.finish()

    def _to_keep(self, batch: pa.RecordBatch) -> pa.Array:
        """Which rows stay though they are in the window."""
        if self._only_tags is None:
            return self._of_kept_tags(batch)
        return pc.invert(pc.is_in(batch.column("tag_webid"), value_set=pa.array(self._only_tags, pa.string())))

    def _of_kept_tags(self, batch: pa.RecordBatch) -> pa.Array:
        return pc.is_in(batch.column("tag_webid"), value_set=pa.array(self._keep_tags, pa.string()))

    def _may_hold_rows_to_keep(self, parquet: pq.ParquetFile, group: int) -> bool:
        if self._only_tags is not None:
            return True
        bounds = _bounds(parquet, group, "tag_webid")
        if bounds is None:
            return bool(self._keep_tags)
        first, last = bounds
        return bisect_left(self._keep_tags, first) < bisect_right(self._keep_tags, last)

    def _new_writer(self) -> ParquetWriter:
        return ParquetWriter(self._staging, TIMESERIES_FILE_SCHEMA, self._window.partition_values)

    def _batches(self, parquet: pq.ParquetFile, group: int) -> Iterator[pa.RecordBatch]:
        with self._staging.lake.explaining(f"reading a file of {self._staging.table_uri}"):
            yield from read_row_groups(parquet, group, TIMESERIES_FILE_SCHEMA)


def _bounds(parquet: pq.ParquetFile, group: int, name: str) -> tuple[Any, Any] | None:
    """Values that no value of a column in a row group lies outside of; None when the file does not say."""
    row_group = parquet.metadata.row_group(group)
    for column in map(row_group.column, range(row_group.num_columns)):
        if column.path_in_schema == name and column.is_stats_set and column.statistics.has_min_max:
            return column.statistics.min, column.statistics.max
    return None
