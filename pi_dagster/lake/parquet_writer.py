"""Record batches into Parquet files of a Delta table, with bounded memory, before any commit names the files.

pyarrow writes the files instead of delta-rs because delta-rs's partitioned writer buffers without limit when the
store is slower than the producer, and because only so can files that replace a window and the files that
they replace go into one commit.
"""

from __future__ import annotations

import json
import math
import time
import uuid
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from types import MappingProxyType, TracebackType
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from deltalake.transaction import AddAction
from pyarrow.fs import PyFileSystem

from pi_dagster.lake.location import STORAGE_ERRORS, Lake, TableFolder

ROW_GROUP_ROWS = 262_144
ROW_GROUP_BYTES = 64 << 20
"""A row group is cut at the first of the two, so that long strings do not fill the memory. Four times as many rows make
no file smaller and none faster to write, but take 70 MB more, and are encoded only once all of them have been read."""

FILE_BYTES = 128 << 20
"""A file is closed after the row group that takes it past this size."""

READ_ROWS = 65_536
"""Rows read at a time from a file that is copied."""

STREAM_BUFFER_BYTES = 1 << 20

MAX_STATISTICS_TEXT = 128
"""Text bounds longer than this stay out of the Delta log, where each file's statistics are kept for ever."""


@dataclass(frozen=True)
class StagedFile:
    """A complete Parquet file in the table's folder that no commit names yet."""

    path: str
    size: int
    rows: int
    partition_values: Mapping[str, str]
    statistics: Mapping[str, Any]

    def add_action(self) -> AddAction:
        """The file's entry in a Delta commit."""
        return AddAction(
            path=self.path,
            size=self.size,
            partition_values=dict(self.partition_values),
            modification_time=int(time.time() * 1000),
            data_change=True,
            stats=json.dumps(self.statistics, allow_nan=False),
        )


class Staging(TableFolder):
    """The files written for one commit; deleted again when an error ends the `with` block before the commit.

    Args:
        lake: the lake.
        table_name: the table's name.
    """

    def __init__(self, lake: Lake, table_name: str) -> None:
        super().__init__(lake, table_name)
        self._paths: set[str] = set()
        self._unfinished: dict[str, _OpenFile] = {}
        self._a_commit_may_name_them = False

    def __enter__(self) -> Staging:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None and not self._a_commit_may_name_them:
            self._drop(self._paths)

    @contextmanager
    def all_or_nothing(self) -> Iterator[None]:
        """Files that are started within the block are deleted again when an error ends it."""
        before = set(self._paths)
        try:
            yield
        except BaseException:
            self._drop(self._paths - before)
            raise

    def open(self, folder: str, schema: pa.Schema) -> _OpenFile:
        """Start a new file in a folder of the table."""
        path = f"{folder}/part-{uuid.uuid4()}.zstd.parquet" if folder else f"part-{uuid.uuid4()}.zstd.parquet"
        self._paths.add(path)
        file = self._unfinished[path] = _OpenFile(self.filesystem, path, schema)
        return file

    def finish(self, file: _OpenFile, partition_values: Mapping[str, str]) -> StagedFile:
        """Close a file that was started here."""
        staged = file.close(partition_values)
        del self._unfinished[staged.path]
        return staged

    def discard(self, files: Iterable[StagedFile]) -> None:
        """Delete files that the commit will not name after all."""
        self._drop({file.path for file in files})

    def hand_over_to_commit(self) -> None:
        """From here on a commit may name the files, so no error may delete them."""
        self._a_commit_may_name_them = True

    def take_back(self) -> None:
        """The commit that named the files was refused for good; they are deletable again."""
        self._a_commit_may_name_them = False

    def _drop(self, paths: set[str]) -> None:
        for path in paths:
            if path in self._unfinished:
                # Closed first: a file that is closed after it was deleted comes back.
                self._unfinished.pop(path).abandon()
            # A stray file is invisible to readers, and vacuum removes it; the first error matters more.
            with suppress(*STORAGE_ERRORS):
                self.filesystem.delete_file(path)
        self._paths = self._paths - paths


class ParquetWriter:
    """Writes batches into as many files of one partition as their size asks for, keeping the batches' order.

    Args:
        staging: owns the files.
        schema: columns of the files.
        partition_values: the partition's columns and values; none for an unpartitioned table.
    """

    def __init__(self, staging: Staging, schema: pa.Schema, partition_values: Mapping[str, str] | None = None) -> None:
        self.rows = 0
        self._staging = staging
        self._schema = _in_memory_schema(schema)
        self._partition_values = dict(partition_values or {})
        self._folder = "/".join(f"{name}={value}" for name, value in self._partition_values.items())
        self._doing = f"writing a file of {staging.table_uri}"
        self._pending: list[pa.RecordBatch] = []
        self._pending_rows = 0
        self._pending_bytes = 0
        self._file: _OpenFile | None = None
        self._files: list[StagedFile] = []

    def write(self, batch: pa.RecordBatch) -> None:
        """Take a batch; strings may be plain or dictionary-encoded.

        Raises:
            LakeAccessError: the storage failed.
        """
        if not batch.num_rows:
            return
        batch = batch.cast(self._schema)
        if self._pending_rows + batch.num_rows > ROW_GROUP_ROWS or self._pending_bytes + batch.nbytes > ROW_GROUP_BYTES:
            self._write_row_group()
        self._pending.append(batch)
        self._pending_rows += batch.num_rows
        self._pending_bytes += batch.nbytes
        self.rows += batch.num_rows

    def finish(self) -> list[StagedFile]:
        """Close the last file; returns all of them, in order."""
        self._write_row_group()
        self._close_file()
        return self._files

    def _write_row_group(self) -> None:
        if not self._pending:
            return
        # Without one dictionary for all chunks, Parquet falls back to plain strings within a row group.
        rows = pa.Table.from_batches(self._pending, self._schema).unify_dictionaries()
        self._pending, self._pending_rows, self._pending_bytes = [], 0, 0
        with self._staging.lake.explaining(self._doing):
            if self._file is None:
                self._file = self._staging.open(self._folder, self._schema)
            self._file.write_row_group(rows)
        if self._file.size >= FILE_BYTES:
            self._close_file()

    def _close_file(self) -> None:
        if self._file is None:
            return
        with self._staging.lake.explaining(self._doing):
            self._files.append(self._staging.finish(self._file, self._partition_values))
        self._file = None


class _OpenFile:
    """One Parquet file being written, and what its Delta statistics need beyond the file's own."""

    def __init__(self, filesystem: PyFileSystem, path: str, schema: pa.Schema) -> None:
        self._path = path
        self._stream = filesystem.open_output_stream(path, buffer_size=STREAM_BUFFER_BYTES)
        self._metadata: list[pq.FileMetaData] = []
        self._columns_with_nan: set[str] = set()
        delta_packed = [field.name for field in schema if pa.types.is_timestamp(field.type)]
        numbers = [field.name for field in schema if pa.types.is_floating(field.type)]
        self._numbers = numbers
        self._writer = pq.ParquetWriter(
            self._stream,
            schema,
            compression="zstd",
            compression_level=1,
            use_dictionary=[name for name in schema.names if name not in (*delta_packed, *numbers)],
            column_encoding=dict.fromkeys(delta_packed, "DELTA_BINARY_PACKED"),
            store_schema=False,
            metadata_collector=self._metadata,
        )

    @property
    def size(self) -> int:
        """Bytes written so far."""
        return int(self._stream.tell())

    def write_row_group(self, rows: pa.Table) -> None:
        self._columns_with_nan.update(
            name for name in self._numbers if pc.any(pc.is_nan(rows[name]), min_count=0).as_py()
        )
        self._writer.write_table(rows, row_group_size=ROW_GROUP_ROWS)

    def close(self, partition_values: Mapping[str, str] = MappingProxyType({})) -> StagedFile:
        self._writer.close()
        size = self.size
        self._stream.close()
        (metadata,) = self._metadata
        return StagedFile(
            path=self._path,
            size=size,
            rows=metadata.num_rows,
            partition_values=partition_values,
            statistics=_delta_statistics(metadata, without_bounds=self._columns_with_nan),
        )

    def abandon(self) -> None:
        """Close it, whatever is in it; one whose closing failed, as on a full disk, is closed already."""
        for part in (self._writer, self._stream):
            if not self._stream.closed:
                with suppress(*STORAGE_ERRORS):
                    part.close()


def read_row_groups(
    file: pq.ParquetFile, row_group: int, schema: pa.Schema, *, rows: int = READ_ROWS
) -> Iterator[pa.RecordBatch]:
    """One row group of a file in small batches of `schema`.

    A column that the table got after the file was written is null, as any reader of Delta has it. Asked for several row
    groups at once, pyarrow keeps the decoded ones, and memory grows with the file.
    """
    columns = _in_memory_schema(schema)
    there = set(file.schema_arrow.names)
    absent = [field for field in schema if field.name not in there]
    names = [name for name in schema.names if name in there]
    for batch in file.iter_batches(rows, row_groups=[row_group], columns=names, use_threads=False):
        for field in absent:
            batch = batch.append_column(field, pa.nulls(batch.num_rows, field.type))
        found = batch.select(schema.names)
        # Other writers say that strings are views, which become no dictionaries at one go.
        yield found if found.schema.types == columns.types else found.cast(schema).cast(columns)


def _in_memory_schema(schema: pa.Schema) -> pa.Schema:
    """`schema` with dictionaries for the columns that repeat themselves: tag, name, units."""
    return pa.schema(
        [
            pa.field(field.name, pa.dictionary(pa.int32(), pa.string()) if field.name in REPEATING else field.type)
            for field in schema
        ]
    )


REPEATING = frozenset({"tag_webid", "tag_name", "units"})
"""Columns that are dictionaries in memory, as they are in the files."""


def _delta_statistics(metadata: pq.FileMetaData, *, without_bounds: set[str]) -> dict[str, Any]:
    """Delta's per-file statistics from the Parquet footer.

    A bound that is not certain is left out: a reader then reads the file, where a wrong bound would hide rows.
    """
    lowest: dict[str, Any] = {}
    highest: dict[str, Any] = {}
    nulls: dict[str, int] = {}
    unbounded = set(without_bounds)
    for group in map(metadata.row_group, range(metadata.num_row_groups)):
        for column in map(group.column, range(group.num_columns)):
            name, statistics = column.path_in_schema, column.statistics
            if "." in name:
                # The content of a list or a map, of which Delta keeps no statistics.
                continue
            nulls[name] = nulls.get(name, 0) + statistics.null_count
            if statistics.has_min_max:
                lowest[name] = min(lowest.get(name, statistics.min), statistics.min)
                highest[name] = max(highest.get(name, statistics.max), statistics.max)
            elif statistics.null_count < group.num_rows:
                unbounded.add(name)
    bounded = [
        name
        for name in lowest
        if name not in unbounded and _may_be_a_bound(lowest[name]) and _may_be_a_bound(highest[name])
    ]
    return {
        "numRecords": metadata.num_rows,
        "minValues": {name: _delta_bound(lowest[name]) for name in bounded},
        "maxValues": {name: _delta_bound(highest[name], round_up=True) for name in bounded},
        "nullCount": nulls,
    }


def _may_be_a_bound(value: Any) -> bool:
    if isinstance(value, bool):
        return False
    if isinstance(value, float):
        return math.isfinite(value)
    return not isinstance(value, str) or len(value) <= MAX_STATISTICS_TEXT


def _delta_bound(value: Any, *, round_up: bool = False) -> Any:
    """A bound as JSON; instants are widened to whole milliseconds, as finer ones are cut by other readers."""
    if not isinstance(value, datetime):
        return value.isoformat() if isinstance(value, date) else value
    instant = value + timedelta(microseconds=999) if round_up else value
    return instant.replace(tzinfo=None).isoformat(timespec="milliseconds") + "Z"
