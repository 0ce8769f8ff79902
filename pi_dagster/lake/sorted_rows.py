"""The rows of several files as one stream in the order of the key, a small piece at a time.

Each file is sorted so already, as PI is read tag by tag. A file of another writer may not be: then the stream has
the same rows in another order.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pi_dagster.lake.live_files import LiveFile, opened
from pi_dagster.lake.location import TableFolder
from pi_dagster.lake.parquet_writer import READ_ROWS, REPEATING, read_row_groups
from pi_dagster.lake.schemas import TIMESERIES_FILE_SCHEMA

_ROWS_OF_ALL_FILES = 4 * READ_ROWS
_FEWEST_ROWS_OF_A_FILE = 2048

Key = tuple[str, int, int]
"""WebID, microseconds since 1970, event ordinal."""


def sorted_rows(
    folder: TableFolder, files: Sequence[LiveFile], *, schema: pa.Schema = TIMESERIES_FILE_SCHEMA
) -> Iterator[pa.RecordBatch]:
    """All rows of `files`; memory does not grow with their number.

    Args:
        folder: of the table.
        files: some of its files.
        schema: the columns to read, of TIMESERIES_FILE_SCHEMA; the key must be among them.

    Raises:
        LakeAccessError: the storage failed.
    """
    rows_at_a_time = min(READ_ROWS, max(_FEWEST_ROWS_OF_A_FILE, _ROWS_OF_ALL_FILES // max(1, len(files))))
    with ExitStack() as stack:
        repeating = REPEATING & set(schema.names)
        parquets = [stack.enter_context(opened(folder, file.path, dictionaries=repeating)) for file in files]
        runs = [SortedRun(_batches(folder, parquet, schema, rows_at_a_time)) for parquet in parquets]
        while runs := [run for run in runs if run.has_rows()]:
            until = min(run.last for run in runs)
            yield from _in_order([run.take(until) for run in runs])


class SortedRun:
    """Sorted batches that are taken up to a key at a time.

    Args:
        batches: with `tag_webid` dictionary-encoded.
    """

    def __init__(self, batches: Iterator[pa.RecordBatch]) -> None:
        self._batches = batches
        self._rows: pa.RecordBatch | None = None

    def has_rows(self) -> bool:
        """Whether anything is left; looks into the next batch when this one is used up."""
        while self._rows is None or not self._rows.num_rows:
            self._rows = next(self._batches, None)
            if self._rows is None:
                return False
        tags, instants, ordinals = _keys(self._rows)
        names = self._rows.column("tag_webid").dictionary
        self.last: Key = names[int(tags[-1])].as_py(), int(instants[-1]), int(ordinals[-1])
        return True

    def take(self, until: Key) -> pa.RecordBatch:
        """The rows of the present batch up to that key; all of them when it is `last`."""
        assert self._rows is not None
        if self.last <= until:
            taken, self._rows = self._rows, None
            return taken
        tag, instant, ordinal = until
        tags, instants, ordinals = _keys(self._rows)
        names = np.array(self._rows.column("tag_webid").dictionary.to_pylist(), object)
        not_later = (instants < instant) | ((instants == instant) & (ordinals <= ordinal))
        count = int(np.count_nonzero((names < tag)[tags] | ((names == tag)[tags] & not_later)))
        taken, self._rows = self._rows.slice(0, count), self._rows.slice(count)
        return taken


def _in_order(pieces: Sequence[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    pieces = [piece for piece in pieces if piece.num_rows]
    if len(pieces) == 1:
        yield pieces[0]
        return
    rows = pa.Table.from_batches(pieces).unify_dictionaries().combine_chunks().to_batches()[0]
    tags, instants, ordinals = _keys(rows)
    ranks = pc.rank(rows.column("tag_webid").dictionary, tiebreaker="dense").to_numpy()[tags]
    yield rows.take(pa.array(np.lexsort((ordinals, instants, ranks))))


def _keys(rows: pa.RecordBatch) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int64], npt.NDArray[np.int32]]:
    """Codes of the tags, microseconds since 1970, ordinals."""
    instants = rows.column("timestamp").cast(pa.timestamp("us", "UTC")).view(pa.int64())
    return rows.column("tag_webid").indices.to_numpy(), instants.to_numpy(), rows.column("event_ordinal").to_numpy()


def _batches(folder: TableFolder, parquet: pq.ParquetFile, schema: pa.Schema, rows: int) -> Iterator[pa.RecordBatch]:
    with folder.lake.explaining(f"reading a file of {folder.table_uri}"):
        for group in range(parquet.num_row_groups):
            yield from read_row_groups(parquet, group, schema, rows=rows)
