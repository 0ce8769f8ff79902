"""pi_timeseries: replace exactly one window of one partition in one Delta commit.

Whoever reads the table, and whenever the writing process is killed, sees the window's old rows or its new rows.
A re-run of the same window replaces the rows again, so nothing needs to be cleaned up and nothing doubles.
"""

from __future__ import annotations

import re
import time
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, datetime, timedelta, timezone

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from deltalake import DeltaTable
from deltalake.transaction import RemoveAction

from pi_dagster.lake.commit import FileChange, commit_change
from pi_dagster.lake.errors import RowsRefusedError
from pi_dagster.lake.parquet_writer import ParquetWriter, StagedFile, Staging, read_row_groups
from pi_dagster.lake.schemas import PI_TIMESERIES, TIMESERIES_FILE_SCHEMA, TIMESERIES_KEY
from pi_dagster.lake.table import LakeTable

_TAG_GROUP = re.compile(r"[A-Za-z0-9_.-]+")

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


class TimeseriesTable(LakeTable):
    """The Delta table pi_timeseries."""

    definition = PI_TIMESERIES

    def replace_window(
        self,
        *,
        partition_date: date,
        tag_group: str,
        start: datetime,
        end: datetime,
        batches: Iterable[pa.RecordBatch],
        keep_tags: Collection[str] = (),
        commit_info: Mapping[str, str],
    ) -> WindowCommit:
        """Replace the rows of one partition with `start <= timestamp < end` by `batches`, in one commit.

        Memory does not grow with the number of rows. Other partitions may be written at the same time; when two
        writers replace the same window, it ends with the rows of one of them.

        Args:
            partition_date: UTC day of the partition.
            tag_group: tag group of the partition.
            start: first instant of the window, aware, UTC, within the day.
            end: first instant after the window, aware, UTC, within the day or its end.
            batches: the window's new rows as TIMESERIES_FILE_SCHEMA, sorted by tag, then time; strings may be
                dictionary-encoded. None at all empties the window. The order is kept.
            keep_tags: WebIDs of tags that could not be read whole: their old rows stay, and rows of theirs among
                `batches` are dropped. Looked at once `batches` has ended, so its producer may add to it.
            commit_info: what to keep in the commit's metadata, such as the run's id.

        Raises:
            RowsRefusedError: a batch has other columns, lacks a key, or has rows outside the window.
            WindowConflictError: other writers kept coming first.
            CommitUncertainError: the storage failed during the commit; old or new rows are in the table.
            LakeAccessError: the storage failed before the commit.
            ForeignTableError: the table was replaced by another one meanwhile.
            ValueError: the window does not lie in the partition's day.
        """
        window = _Window(partition_date, tag_group, start, end)
        with Staging(self.lake, self.definition.name) as staging:
            writer = ParquetWriter(staging, TIMESERIES_FILE_SCHEMA, window.partition_values)
            for batch in batches:
                window.check(batch)
                writer.write(batch)
            replacement = _Replacement(staging, window, writer.finish(), frozenset(keep_tags))
            version = commit_change(staging, snapshot=self.snapshot, plan=replacement.plan, commit_info=commit_info)
        return replacement.result(version)


@dataclass(frozen=True)
class _Window:
    """A window of one partition, known to lie in its day."""

    partition_date: date
    tag_group: str
    start: datetime
    end: datetime

    def __post_init__(self) -> None:
        if not _TAG_GROUP.fullmatch(self.tag_group):
            raise ValueError(f"{self.tag_group!r} cannot be the name of a tag group")
        for bound in (self.start, self.end):
            if bound.utcoffset() != timedelta(0):
                raise ValueError(f"a window's bounds must be in UTC, not {bound!r}")
        day = self.partition_date
        midnight = datetime(day.year, day.month, day.day, tzinfo=timezone.utc)
        if not midnight <= self.start <= self.end <= midnight + timedelta(days=1):
            raise ValueError(f"the window {self.start} to {self.end} does not lie in the day {day}")

    @property
    def partition_values(self) -> dict[str, str]:
        return {"partition_date": self.partition_date.isoformat(), "tag_group": self.tag_group}

    def facts(self) -> dict[str, str]:
        """The window, as the commit's metadata tells it."""
        return {
            **self.partition_values,
            "window_start": self.start.isoformat(),
            "window_end": self.end.isoformat(),
        }

    def check(self, batch: pa.RecordBatch) -> None:
        where = f"for {self.tag_group} on {self.partition_date}"
        if batch.schema.names != TIMESERIES_FILE_SCHEMA.names or any(
            _plain(field.type) != TIMESERIES_FILE_SCHEMA.field(field.name).type for field in batch.schema
        ):
            raise RowsRefusedError(
                f"Rows {where} have other columns than pi_timeseries: {_differing_fields(batch.schema)}. "
                "This is a defect of what reads PI, not of your settings."
            )
        for name in TIMESERIES_KEY:
            if batch.column(name).null_count:
                raise RowsRefusedError(
                    f"Rows {where} lack {name}, which is part of the key. This is a defect of what reads PI."
                )
        if not batch.num_rows:
            return
        first, last = pc.min_max(batch.column("timestamp")).as_py().values()
        if first < self.start or last >= self.end:
            raise RowsRefusedError(
                f"Rows {where} reach from {first} to {last}, which is not within the window "
                f"{self.start} <= timestamp < {self.end} that they should replace. This is a defect of what reads PI."
            )

    def holds(self, first: datetime, last: datetime) -> bool:
        return self.start <= first and last < self.end

    def meets(self, first: datetime, last: datetime) -> bool:
        return first < self.end and last >= self.start

    def mask(self, instants: pa.Array) -> pa.Array:
        """True for each instant inside."""
        kind = instants.type
        return pc.and_(
            pc.greater_equal(instants, pa.scalar(self.start, kind)), pc.less(instants, pa.scalar(self.end, kind))
        )


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


class _Replacement:
    """Turns a snapshot into the change that replaces the window, copying rows that must stay only when needed."""

    def __init__(
        self, staging: Staging, window: _Window, new_files: list[StagedFile], keep_tags: frozenset[str]
    ) -> None:
        self._staging = staging
        self._window = window
        self._keep_tags = pa.array(sorted(keep_tags), pa.string())
        self._new_files = self._without_kept_tags(new_files) if keep_tags else new_files
        self._planned_on: frozenset[str] | None = None
        self._copies: list[_Copy] = []

    def plan(self, snapshot: DeltaTable) -> FileChange:
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
            if self._window.holds(file.first, newest) and file.rows is not None and not len(self._keep_tags):
                return _Copy(file, (), 0, file.rows)
        return self._copy_rows(file)

    def _copy_rows(self, file: _LiveFile) -> _Copy | None:
        writer = ParquetWriter(self._staging, TIMESERIES_FILE_SCHEMA, self._window.partition_values)
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
        span = _instants(parquet, group)
        if span is not None and self._window.holds(*span) and not len(self._keep_tags):
            return
        for batch in self._batches(parquet, group):
            stays = pc.invert(self._window.mask(batch.column("timestamp")))
            if len(self._keep_tags):
                stays = pc.or_(stays, pc.is_in(batch.column("tag_webid"), value_set=self._keep_tags))
            writer.write(batch.filter(stays))

    def _without_kept_tags(self, files: list[StagedFile]) -> list[StagedFile]:
        """The new files without rows of tags that keep their old rows."""
        result: list[StagedFile] = []
        for file in files:
            writer = ParquetWriter(self._staging, TIMESERIES_FILE_SCHEMA, self._window.partition_values)
            with self._open(file.path) as parquet:
                for group in range(parquet.num_row_groups):
                    for batch in self._batches(parquet, group):
                        is_kept = pc.is_in(batch.column("tag_webid"), value_set=self._keep_tags)
                        writer.write(batch.filter(pc.invert(is_kept)))
            filtered = writer.finish()
            superfluous = [file] if writer.rows < file.rows else filtered
            self._staging.discard(superfluous)
            result += filtered if superfluous == [file] else [file]
        return result

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


def _live_files(snapshot: DeltaTable, window: _Window) -> list[_LiveFile]:
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


def _instants(parquet: pq.ParquetFile, group: int) -> tuple[datetime, datetime] | None:
    """First and last timestamp of a row group, exact; None when the file does not say."""
    row_group = parquet.metadata.row_group(group)
    for column in map(row_group.column, range(row_group.num_columns)):
        if column.path_in_schema == "timestamp" and column.is_stats_set and column.statistics.has_min_max:
            return column.statistics.min, column.statistics.max
    return None


def _plain(kind: pa.DataType) -> pa.DataType:
    return kind.value_type if pa.types.is_dictionary(kind) else kind


def _differing_fields(found: pa.Schema) -> str:
    expected = {field.name: field.type for field in TIMESERIES_FILE_SCHEMA}
    actual = {field.name: _plain(field.type) for field in found}
    differences = [
        f"{name} is {actual.get(name, 'missing')}" for name in expected if actual.get(name) != expected[name]
    ]
    differences += [f"{name} is not a column" for name in actual if name not in expected]
    return ", ".join(differences) or "they are in another order"
