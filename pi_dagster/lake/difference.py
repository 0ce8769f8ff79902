"""What a new reading of a partition changes in it: events added, changed and removed, tag by tag.

Old and new rows both come in the order of the key, so they are compared as they pass, and memory does not grow with
their number. All that PI says of an event is compared; not when it was read, and not the tag's name and units. A file
that another writer has put into another order may make rows count as removed and added. A row that is there twice
counts twice.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import reduce
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pi_dagster.lake.schemas import TIMESERIES_FILE_SCHEMA, TIMESERIES_KEY
from pi_dagster.lake.sorted_rows import SortedRun

_NOT_COMPARED = frozenset({"ingestion_timestamp", "tag_name", "units"})
CONTENT = [name for name in TIMESERIES_FILE_SCHEMA.names if name not in {*_NOT_COMPARED, *TIMESERIES_KEY}]
"""The columns that are compared, besides the key."""


_COPY = "copy"


@dataclass(frozen=True)
class ChangedEvent:
    """One event that differs; `before` and `after` hold its CONTENT, and are None where it is not there."""

    tag_webid: str
    timestamp: datetime
    event_ordinal: int
    before: Mapping[str, Any] | None
    after: Mapping[str, Any] | None


@dataclass(frozen=True)
class EventChanges:
    """Events by the WebID of their tag.

    Args:
        most_examples: how many of them to keep one by one.
    """

    added: Counter[str] = field(default_factory=Counter)
    changed: Counter[str] = field(default_factory=Counter)
    removed: Counter[str] = field(default_factory=Counter)
    most_examples: int = 0
    examples: list[ChangedEvent] = field(default_factory=list)

    def leave_out(self, tags: Collection[str]) -> None:
        """Forget what was found of some tags."""
        for counts in (self.added, self.changed, self.removed):
            for tag in tags:
                counts.pop(tag, None)
        self.examples[:] = [example for example in self.examples if example.tag_webid not in tags]

    def _keep(self, rows: pa.Table, *, before: Sequence[str] = (), after: Sequence[str] = ()) -> None:
        """Keep the first rows as examples, whose CONTENT before and after is in the columns of these names."""
        for row in rows.slice(0, self.most_examples - len(self.examples)).to_pylist():
            key = [row[name] for name in TIMESERIES_KEY]
            sides = [
                {name: row[column] for name, column in zip(CONTENT, columns, strict=True)} if columns else None
                for columns in (before, after)
            ]
            self.examples.append(ChangedEvent(*key, *sides))


def comparing(
    old: Iterator[pa.RecordBatch], new: Iterable[pa.RecordBatch], *, kept_tags: Collection[str], changes: EventChanges
) -> Iterator[pa.RecordBatch]:
    """Pass `new` on, and count how it differs from `old`.

    Args:
        old: the partition's rows, in the order of the key.
        new: its new rows, likewise.
        kept_tags: WebIDs of tags whose old rows stay; looked at when `new` has ended.
        changes: what is found; complete when the iteration has ended.
    """
    before = SortedRun(old)
    for batch in new:
        after = SortedRun(iter([_with_encoded_tags(batch)]))
        while after.has_rows():
            until = min(before.last, after.last) if before.has_rows() else after.last
            _compare(before.take(until) if before.has_rows() else None, after.take(until), changes)
        yield batch
    while before.has_rows():
        gone = before.take(before.last)
        changes.removed.update(_tag_counts(gone.column("tag_webid")))
        changes._keep(pa.Table.from_batches([gone]), before=CONTENT)
    changes.leave_out(kept_tags)


def _with_encoded_tags(batch: pa.RecordBatch) -> pa.RecordBatch:
    at = batch.schema.get_field_index("tag_webid")
    tags = batch.column(at)
    return batch if pa.types.is_dictionary(tags.type) else batch.set_column(at, "tag_webid", tags.dictionary_encode())


def _compare(before: pa.RecordBatch | None, after: pa.RecordBatch, changes: EventChanges) -> None:
    if before is None or not before.num_rows:
        changes.added.update(_tag_counts(after.column("tag_webid")))
        changes._keep(pa.Table.from_batches([after]), after=CONTENT)
        return
    old, new = _comparable(before), _comparable(after)
    if old.equals(new):
        return
    both = old.append_column("is_old", pa.repeat(True, old.num_rows)).join(
        new.append_column("is_new", pa.repeat(True, new.num_rows)),
        keys=[*TIMESERIES_KEY, _COPY],
        join_type="full outer",
        right_suffix=" after",
        use_threads=False,
    )
    is_old, is_new = pc.is_valid(both["is_old"]), pc.is_valid(both["is_new"])
    differs = pa.repeat(False, both.num_rows)
    for name in CONTENT:
        differs = pc.or_(differs, _differ(both[name], both[f"{name} after"]))
    contents_after = [f"{name} after" for name in CONTENT]
    for counts, which, columns in (
        (changes.added, pc.invert(is_old), {"after": contents_after}),
        (changes.removed, pc.invert(is_new), {"before": CONTENT}),
        (changes.changed, pc.and_(pc.and_(is_old, is_new), differs), {"before": CONTENT, "after": contents_after}),
    ):
        rows = both.filter(which)
        counts.update(_tag_counts(rows["tag_webid"]))
        if len(changes.examples) < changes.most_examples:
            changes._keep(_with_numbers(rows).sort_by([(name, "ascending") for name in TIMESERIES_KEY]), **columns)


def _comparable(rows: pa.RecordBatch) -> pa.Table:
    """The columns that are compared; numbers by their bits, as NaN does not equal itself."""
    columns = {name: rows.column(name) for name in (*TIMESERIES_KEY, *CONTENT)}
    columns["tag_webid"] = columns["tag_webid"].cast(pa.string())
    columns["value"] = columns["value"].view(pa.int64())
    columns[_COPY] = _copies([columns[name] for name in TIMESERIES_KEY])
    return pa.table(columns)


def _copies(keys: Sequence[pa.Array]) -> pa.Array:
    """How many rows directly before each have the same key: 0, unless something has gone wrong."""
    rows = len(keys[0])
    if rows < 2:
        return pa.array([0] * rows, pa.int64())
    same = reduce(pc.and_, (pc.equal(key.slice(1), key.slice(0, rows - 1)) for key in keys))
    positions = np.arange(rows)
    is_first = np.concatenate(([True], ~same.to_numpy(zero_copy_only=False)))
    return pa.array(positions - np.maximum.accumulate(np.where(is_first, positions, 0)))


def _with_numbers(rows: pa.Table) -> pa.Table:
    """What `_comparable` has made bits of, as numbers."""
    for name in ("value", "value after"):
        numbers = rows[name].combine_chunks().view(pa.float64())
        rows = rows.set_column(rows.schema.get_field_index(name), name, numbers)
    return rows


def _differ(left: pa.ChunkedArray, right: pa.ChunkedArray) -> pa.ChunkedArray:
    one_is_null = pc.xor(pc.is_null(left), pc.is_null(right))
    return pc.or_(one_is_null, pc.fill_null(pc.not_equal(left, right), False))


def _tag_counts(tags: pa.Array | pa.ChunkedArray) -> dict[str, int]:
    return {row["values"]: row["counts"] for row in tags.value_counts().to_pylist()}
