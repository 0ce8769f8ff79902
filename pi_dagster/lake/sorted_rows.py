"""The rows of several files as one stream in the order of tag, then time, a small piece at a time.

Each file is sorted so already, as PI is read tag by tag. A file of another writer may not be: then the stream has
the same rows in another order.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pi_dagster.lake.live_files import LiveFile, opened
from pi_dagster.lake.parquet_writer import READ_ROWS, Staging, read_row_groups
from pi_dagster.lake.schemas import TIMESERIES_FILE_SCHEMA

_ROWS_OF_ALL_FILES = 8 * READ_ROWS
_FEWEST_ROWS_OF_A_FILE = 2048

_Key = tuple[str, int]
"""WebID, and microseconds since 1970."""


def sorted_rows(staging: Staging, files: Sequence[LiveFile]) -> Iterator[pa.RecordBatch]:
    """All rows of `files` as TIMESERIES_FILE_SCHEMA; memory does not grow with their number.

    Raises:
        LakeAccessError: the storage failed.
    """
    rows_at_a_time = max(_FEWEST_ROWS_OF_A_FILE, _ROWS_OF_ALL_FILES // max(1, len(files)))
    with ExitStack() as stack:
        heads = []
        for file in files:
            parquet = stack.enter_context(opened(staging, file.path))
            heads.append(_Head(_batches(staging, parquet, rows_at_a_time)))
        while heads := [head for head in heads if head.has_rows()]:
            until = min(head.last for head in heads)
            yield from _in_order([head.take(until) for head in heads])


class _Head:
    """The next rows of one file."""

    def __init__(self, batches: Iterator[pa.RecordBatch]) -> None:
        self._batches = batches
        self._rows: pa.RecordBatch | None = None

    def has_rows(self) -> bool:
        while self._rows is None or not self._rows.num_rows:
            self._rows = next(self._batches, None)
            if self._rows is None:
                return False
            self._names = np.array(self._rows.column("tag_webid").dictionary.to_pylist(), object)
            self.last: _Key = self._key_of(self._rows.num_rows - 1)
        return True

    def take(self, until: _Key) -> pa.RecordBatch:
        """The rows up to that key; at least one of the head whose `last` it is, so that there is progress."""
        assert self._rows is not None
        if self.last <= until:
            taken, self._rows = self._rows, None
            return taken
        tag, instant = until
        tags = self._rows.column("tag_webid").indices.to_numpy()
        earlier = (self._names < tag)[tags] | ((self._names == tag)[tags] & (_instants(self._rows) <= instant))
        count = int(np.count_nonzero(earlier))
        taken, self._rows = self._rows.slice(0, count), self._rows.slice(count)
        return taken

    def _key_of(self, row: int) -> _Key:
        assert self._rows is not None
        return self._rows.column("tag_webid")[row].as_py(), int(_instants(self._rows)[row])


def _in_order(pieces: Sequence[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    pieces = [piece for piece in pieces if piece.num_rows]
    if len(pieces) == 1:
        yield pieces[0]
        return
    rows = pa.Table.from_batches(pieces).unify_dictionaries().combine_chunks()
    tags = rows.column("tag_webid").chunk(0)
    ranks = pc.rank(tags.dictionary, tiebreaker="dense").to_numpy()[tags.indices.to_numpy()]
    order = np.lexsort((rows.column("event_ordinal").to_numpy(), rows.column("timestamp").to_numpy(), ranks))
    yield from rows.take(pa.array(order)).combine_chunks().to_batches()


def _instants(rows: pa.RecordBatch) -> np.ndarray:
    instants: np.ndarray = rows.column("timestamp").view(pa.int64()).to_numpy()
    return instants


def _batches(staging: Staging, parquet: pq.ParquetFile, rows: int) -> Iterator[pa.RecordBatch]:
    with staging.lake.explaining(f"reading a file of {staging.table_uri}"):
        for group in range(parquet.num_row_groups):
            yield from read_row_groups(parquet, group, TIMESERIES_FILE_SCHEMA, rows=rows)
