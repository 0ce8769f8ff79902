"""What has to change in a partition so that a window of it holds new rows, and nothing else is different.

Of the partition's files, those outside the window stay, those within it go, and those that reach over its bounds are
copied without the window's rows, a small batch at a time.
"""

from __future__ import annotations

import time
from bisect import bisect_left, bisect_right
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from deltalake import DeltaTable
from deltalake.transaction import RemoveAction

from pi_dagster.lake.commit import FileChange
from pi_dagster.lake.parquet_writer import ParquetWriter, StagedFile, Staging, read_row_groups
from pi_dagster.lake.partition_window import PartitionWindow
from pi_dagster.lake.schemas import TIMESERIES_FILE_SCHEMA

STATISTICS_SLACK = timedelta(milliseconds=1)
"""Spark cuts the timestamps in a file's statistics to milliseconds, so the newest row may be this much newer."""


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


@dataclass(frozen=True)
class _LiveFile:
    """A file of the partition in a snapshot, as the Delta log describes it."""

    path: str
    size: int
    partition_values: Mapping[str, str]
    rows: int | None
    first: datetime | None
    last: datetime | None

    def remove_action(self) -> RemoveAction:
        return RemoveAction(self.path, True, int(time.time() * 1000), self.size, dict(self.partition_values))


@dataclass(frozen=True)
class _Copy:
    """What is left of a live file when the window is taken out of it."""

    file: _LiveFile
    kept: tuple[StagedFile, ...]
    kept_rows: int
    replaced_rows: int


class Replacement:
    """Turns a snapshot into the change that replaces the window, copying rows that must stay only when needed."""

    def __init__(self, staging: Staging, window: PartitionWindow) -> None:
        self._staging = staging
        self._window = window
        self._new_files: list[StagedFile] = []
        self._keep_tags: list[str] = []
        self._planned_on: frozenset[str] | None = None
        self._copies: list[_Copy] = []

    def write(self, batches: Iterable[pa.RecordBatch], keep_tags: Collection[str]) -> None:
        """Write the new rows; `keep_tags` is looked at when `batches` has ended."""
        writer = self._new_writer()
        written_tags: set[str] = set()
        for batch in batches:
            self._window.check(batch)
            writer.write(batch)
            written_tags.update(batch.column("tag_webid").unique().to_pylist())
        self._new_files = writer.finish()
        self._keep_tags = sorted(keep_tags)
        if not written_tags.isdisjoint(keep_tags):
            self._new_files = [kept for file in self._new_files for kept in self._without_kept_tags(file)]

    def plan(self, snapshot: DeltaTable) -> FileChange:
        """The change for a snapshot; copies rows only when the partition's files differ from the last plan's."""
        live = _live_files(snapshot, self._window)
        paths = frozenset(file.path for file in live)
        if paths != self._planned_on:
            self._staging.discard(file for copy in self._copies for file in copy.kept)
            self._copies, self._planned_on = [], None
            for file in live:
                copy = self._copy(file)
                if copy is not None:
                    self._copies.append(copy)
            self._planned_on = paths
        return FileChange(
            add=self._added(),
            remove=[copy.file.remove_action() for copy in self._copies],
            facts=self._window.facts(),
        )

    def result(self, version: int) -> WindowCommit:
        """What the change did, once `version` holds it."""
        added = self._added()
        return WindowCommit(
            version=version,
            files=len(added),
            file_bytes=sum(file.size for file in added),
            rows=sum(file.rows for file in self._new_files),
            kept_rows=sum(copy.kept_rows for copy in self._copies),
            replaced_rows=sum(copy.replaced_rows for copy in self._copies),
        )

    def _added(self) -> list[StagedFile]:
        return [*self._new_files, *(file for copy in self._copies for file in copy.kept)]

    def _copy(self, file: _LiveFile) -> _Copy | None:
        """What to do with a live file; None when no row of it is replaced."""
        if file.first is not None and file.last is not None:
            newest = file.last + STATISTICS_SLACK
            if not self._window.meets(file.first, newest):
                return None
            if self._window.holds(file.first, newest) and file.rows is not None and not self._keep_tags:
                return _Copy(file, (), 0, file.rows)
        return self._copy_rows(file)

    def _copy_rows(self, file: _LiveFile) -> _Copy | None:
        writer = self._new_writer()
        with self._open(file.path) as parquet:
            rows = parquet.metadata.num_rows
            for group in range(parquet.num_row_groups):
                self._copy_row_group(parquet, group, writer)
        kept = writer.finish()
        if writer.rows == rows:
            self._staging.discard(kept)
            return None
        return _Copy(file, tuple(kept), writer.rows, rows - writer.rows)

    def _copy_row_group(self, parquet: pq.ParquetFile, group: int, writer: ParquetWriter) -> None:
        span = _bounds(parquet, group, "timestamp")
        if span is not None and self._window.holds(*span) and not self._may_hold_kept_tags(parquet, group):
            return
        for batch in self._batches(parquet, group):
            outside = pc.invert(self._window.mask(batch.column("timestamp")))
            writer.write(batch.filter(pc.or_(outside, self._of_kept_tags(batch))))

    def _without_kept_tags(self, file: StagedFile) -> list[StagedFile]:
        """A new file without rows of tags that keep their old rows."""
        writer = self._new_writer()
        with self._open(file.path) as parquet:
            for group in range(parquet.num_row_groups):
                for batch in self._batches(parquet, group):
                    writer.write(batch.filter(pc.invert(self._of_kept_tags(batch))))
        self._staging.discard([file])
        return writer.finish()

    def _of_kept_tags(self, batch: pa.RecordBatch) -> pa.Array:
        return pc.is_in(batch.column("tag_webid"), value_set=pa.array(self._keep_tags, pa.string()))

    def _may_hold_kept_tags(self, parquet: pq.ParquetFile, group: int) -> bool:
        bounds = _bounds(parquet, group, "tag_webid")
        if bounds is None:
            return bool(self._keep_tags)
        first, last = bounds
        return bisect_left(self._keep_tags, first) < bisect_right(self._keep_tags, last)

    def _new_writer(self) -> ParquetWriter:
        return ParquetWriter(self._staging, TIMESERIES_FILE_SCHEMA, self._window.partition_values)

    @contextmanager
    def _open(self, path: str) -> Iterator[pq.ParquetFile]:
        with self._staging.lake.explaining(f"opening the file {path} of {self._staging.table_uri}"):
            source = self._staging.filesystem.open_input_file(path)
            parquet = pq.ParquetFile(source)
        with source, parquet:
            yield parquet

    def _batches(self, parquet: pq.ParquetFile, group: int) -> Iterator[pa.RecordBatch]:
        with self._staging.lake.explaining(f"reading a file of {self._staging.table_uri}"):
            yield from read_row_groups(parquet, group, TIMESERIES_FILE_SCHEMA)


def _live_files(snapshot: DeltaTable, window: PartitionWindow) -> list[_LiveFile]:
    actions = pa.table(snapshot.get_add_actions(flatten=True))
    if not actions.num_rows:
        return []
    in_partition = actions.filter(
        (pc.field("partition.partition_date") == window.partition_date)
        & (pc.field("partition.tag_group") == window.tag_group)
    )
    return [
        _LiveFile(
            path=action["path"],
            size=action["size_bytes"],
            partition_values=window.partition_values,
            rows=action.get("num_records"),
            first=action.get("min.timestamp"),
            last=action.get("max.timestamp"),
        )
        for action in in_partition.to_pylist()
    ]


def _bounds(parquet: pq.ParquetFile, group: int, name: str) -> tuple[Any, Any] | None:
    """Values that no value of a column in a row group lies outside of; None when the file does not say."""
    row_group = parquet.metadata.row_group(group)
    for column in map(row_group.column, range(row_group.num_columns)):
        if column.path_in_schema == name and column.is_stats_set and column.statistics.has_min_max:
            return column.statistics.min, column.statistics.max
    return None
