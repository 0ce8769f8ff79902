"""The rows of whole tags as columns of numbers, so that a rule is a few operations on columns and no loop over rows."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

CHUNK_ROWS = 1_000_000
"""Rows that are judged at once, if no tag has more; they take about 150 bytes each, and the next are read meanwhile."""

COLUMNS = (
    "tag_webid",
    "timestamp",
    "event_ordinal",
    "value",
    "value_string",
    "quality_good",
    "is_system_state",
    "units",
)
"""The columns of pi_timeseries that rules look at, and its key."""

Booleans = npt.NDArray[np.bool_]
Integers = npt.NDArray[np.int64]
Numbers = npt.NDArray[np.float64]


@dataclass(frozen=True)
class GoodNumbers:
    """The good numbers of some tags, by tag, then time; all columns have the same length."""

    tag: Integers
    """Position of the tag."""
    instant: Integers
    """Microseconds since 1970."""
    value: Numbers

    @cached_property
    def follows(self) -> Booleans:
        """Whether the number before is of the same tag."""
        follows = np.zeros(len(self.tag), bool)
        np.equal(self.tag[1:], self.tag[:-1], out=follows[1:])
        return follows

    @cached_property
    def starts(self) -> Integers:
        """Where the numbers of each tag that has any begin."""
        return np.flatnonzero(~self.follows)

    @cached_property
    def elapsed(self) -> Integers:
        """Microseconds since the number before; means nothing unless it `follows`."""
        return np.diff(self.instant, prepend=0)

    @cached_property
    def change(self) -> Numbers:
        """By how much a number differs from the one before; means nothing unless it `follows`."""
        return np.diff(self.value, prepend=0.0)

    @cached_property
    def size_of_change(self) -> Numbers:
        """The same without its sign."""
        return np.abs(self.change)

    def at(self, rows: npt.NDArray[np.intp]) -> GoodNumbers:
        """Some of them."""
        return GoodNumbers(self.tag[rows], self.instant[rows], self.value[rows])

    def of_tags(self, wanted: Booleans) -> GoodNumbers:
        """Those of some tags."""
        return self if wanted.all() else self.at(np.flatnonzero(wanted[self.tag]))


@dataclass(frozen=True)
class TagRows:
    """Rows of some tags, by tag, then time.

    Args:
        table: with the columns `COLUMNS`.
        web_ids: of the tags, in the order of their rows.
        starts: where the rows of each tag begin.
    """

    table: pa.Table
    web_ids: tuple[str, ...]
    starts: Integers

    @cached_property
    def tag(self) -> Integers:
        """Position in `web_ids`, for each row."""
        return np.repeat(np.arange(len(self.web_ids)), np.diff(self.starts, append=self.table.num_rows))

    @cached_property
    def instant(self) -> Integers:
        """Microseconds since 1970, for each row."""
        return np.asarray(self._column("timestamp").cast(pa.timestamp("us", "UTC")).cast(pa.int64()).to_numpy())

    @cached_property
    def value(self) -> Numbers:
        """The number of each row; NaN where there is none."""
        return np.asarray(self._column("value").to_numpy(zero_copy_only=False))

    @cached_property
    def good_numbers(self) -> GoodNumbers:
        """The rows that hold a number which PI does not call bad."""
        is_good_number = ~np.isnan(self.value) & self.flag("quality_good")
        everything = GoodNumbers(self.tag, self.instant, self.value)
        return everything if is_good_number.all() else everything.at(np.flatnonzero(is_good_number))

    def flag(self, column: str) -> Booleans:
        """A column of truth values; null counts as false."""
        return np.asarray(pc.fill_null(self._column(column), False).to_numpy(zero_copy_only=False))

    def texts(self, column: str) -> tuple[Integers, list[str | None]]:
        """A column of strings as a code for each row, and the text of each code; null has one too."""
        encoded = self.table.column(column).combine_chunks()
        if not pa.types.is_dictionary(encoded.type):
            encoded = encoded.dictionary_encode()
        texts = encoded.dictionary.to_pylist()
        codes = pc.fill_null(encoded.indices, len(texts)).to_numpy()
        return np.asarray(codes, np.int64), [*texts, None]

    def _column(self, name: str) -> pa.Array:
        column = self.table.column(name).combine_chunks()
        return column.cast(column.type.value_type) if pa.types.is_dictionary(column.type) else column


def in_whole_tags(batches: Iterable[pa.RecordBatch], *, rows: int = CHUNK_ROWS) -> Iterator[TagRows]:
    """Sorted batches put together until they have so many rows, and cut where a tag ends."""
    held: list[pa.RecordBatch] = []
    held_rows = 0
    for batch in batches:
        held.append(batch)
        held_rows += batch.num_rows
        if held_rows >= rows:
            found = _by_tag(held)
            last = int(found.starts[-1])
            if last:
                yield TagRows(found.table.slice(0, last), found.web_ids[:-1], found.starts[:-1])
            held = found.table.slice(last).to_batches()
            held_rows = found.table.num_rows - last
    if held_rows:
        yield _by_tag(held)


def read_ahead(chunks: Iterator[TagRows]) -> Iterator[TagRows]:
    """The same, but the next is read while one is judged, as both let go of Python's lock."""
    with ThreadPoolExecutor(1, thread_name_prefix="pi-read-rows") as reader:
        upcoming = reader.submit(next, chunks, None)
        while (rows := upcoming.result()) is not None:
            upcoming = reader.submit(next, chunks, None)
            yield rows


def _by_tag(batches: list[pa.RecordBatch]) -> TagRows:
    table = pa.Table.from_batches(batches).unify_dictionaries().combine_chunks()
    tags = table.column("tag_webid").combine_chunks()
    codes = tags.indices.to_numpy()
    starts = np.concatenate(([0], np.flatnonzero(np.diff(codes)) + 1)).astype(np.int64)
    web_ids = tuple(tags.dictionary.take(pa.array(codes[starts])).to_pylist())
    return TagRows(table, web_ids, starts)
