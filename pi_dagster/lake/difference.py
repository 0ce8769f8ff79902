"""What a new reading of a partition changes in it: events added, changed and removed, tag by tag.

Old and new rows both come in the order of the key, so they are compared as they pass, and memory does not grow with
their number. All that PI says of an event is compared; not when it was read, and not the tag's name and units. A file
that another writer has put into another order may make rows count as removed and added.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field

import pyarrow as pa
import pyarrow.compute as pc

from pi_dagster.lake.schemas import TIMESERIES_FILE_SCHEMA, TIMESERIES_KEY
from pi_dagster.lake.sorted_rows import SortedRun

_NOT_COMPARED = frozenset({"ingestion_timestamp", "tag_name", "units"})
CONTENT = [name for name in TIMESERIES_FILE_SCHEMA.names if name not in {*_NOT_COMPARED, *TIMESERIES_KEY}]
"""The columns that are compared, besides the key."""


@dataclass(frozen=True)
class EventChanges:
    """Events by the WebID of their tag."""

    added: Counter[str] = field(default_factory=Counter)
    changed: Counter[str] = field(default_factory=Counter)
    removed: Counter[str] = field(default_factory=Counter)


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
        changes.removed.update(_tag_counts(before.take(before.last).column("tag_webid")))
    for counts in (changes.added, changes.changed, changes.removed):
        for tag in kept_tags:
            counts.pop(tag, None)


def _with_encoded_tags(batch: pa.RecordBatch) -> pa.RecordBatch:
    at = batch.schema.get_field_index("tag_webid")
    tags = batch.column(at)
    return batch if pa.types.is_dictionary(tags.type) else batch.set_column(at, "tag_webid", tags.dictionary_encode())


def _compare(before: pa.RecordBatch | None, after: pa.RecordBatch, changes: EventChanges) -> None:
    if before is None or not before.num_rows:
        changes.added.update(_tag_counts(after.column("tag_webid")))
        return
    old, new = _comparable(before), _comparable(after)
    if old.equals(new):
        return
    both = old.append_column("is_old", pa.repeat(True, old.num_rows)).join(
        new.append_column("is_new", pa.repeat(True, new.num_rows)),
        keys=list(TIMESERIES_KEY),
        join_type="full outer",
        right_suffix=" after",
        use_threads=False,
    )
    is_old, is_new = pc.is_valid(both["is_old"]), pc.is_valid(both["is_new"])
    differs = pa.repeat(False, both.num_rows)
    for name in CONTENT:
        differs = pc.or_(differs, _differ(both[name], both[f"{name} after"]))
    for counts, rows in (
        (changes.added, pc.invert(is_old)),
        (changes.removed, pc.invert(is_new)),
        (changes.changed, pc.and_(pc.and_(is_old, is_new), differs)),
    ):
        counts.update(_tag_counts(both["tag_webid"].filter(rows)))


def _comparable(rows: pa.RecordBatch) -> pa.Table:
    """The columns that are compared; numbers by their bits, as NaN does not equal itself."""
    columns = {name: rows.column(name) for name in (*TIMESERIES_KEY, *CONTENT)}
    columns["tag_webid"] = columns["tag_webid"].cast(pa.string())
    columns["value"] = columns["value"].view(pa.int64())
    return pa.table(columns)


def _differ(left: pa.ChunkedArray, right: pa.ChunkedArray) -> pa.ChunkedArray:
    one_is_null = pc.xor(pc.is_null(left), pc.is_null(right))
    return pc.or_(one_is_null, pc.fill_null(pc.not_equal(left, right), False))


def _tag_counts(tags: pa.Array | pa.ChunkedArray) -> dict[str, int]:
    return {row["values"]: row["counts"] for row in tags.value_counts().to_pylist()}
