"""What the newest days of pi_timeseries tell of each tag: how many events, how good, how far apart, any key twice.

One pass over five narrow columns, in the order of the key. So events that are there twice follow each other, and the
longest gap of a tag is the largest difference of two rows; memory grows with the tags and not with their events.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from datetime import date

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pi_dagster.lake.live_files import Partition, live_files, live_partitions
from pi_dagster.lake.location import TableFolder
from pi_dagster.lake.schemas import TIMESERIES_FILE_SCHEMA, TIMESERIES_KEY
from pi_dagster.lake.sorted_rows import sorted_rows
from pi_dagster.lake.timeseries import TimeseriesTable

_COLUMNS = (*TIMESERIES_KEY, "quality_good", "is_system_state")
_READ_SCHEMA = pa.schema([field for field in TIMESERIES_FILE_SCHEMA if field.name in _COLUMNS])

_MERGED = {
    "events": "sum",
    "bad": "sum",
    "system_states": "sum",
    "repeated": "sum",
    "pieces": "sum",
    "first_us": "min",
    "last_us": "max",
    "longest_gap_us": "max",
}
"""The columns of a tag's day, and how those of its pieces become one."""

TAG_DAYS_SCHEMA = pa.schema(
    [
        ("tag_webid", pa.string()),
        *((name, pa.int64()) for name in _MERGED),
        ("partition_date", pa.date32()),
        ("tag_group", pa.string()),
    ]
)
"""One row a tag and partition. `bad` values are no `system_states`; `repeated` counts rows with the key of the row
before; `pieces` is 1 where the tag's rows are in the order of the key, as in files of ours, and more where others wrote
some, so that `repeated` may be too low; instants are microseconds since 1970; the gap is between two events of the
partition, 0 for a single one."""


def tag_days(table: TimeseriesTable, days: Collection[date]) -> pa.Table:
    """The tags of all partitions of some days, those of tag groups that the site no longer has included.

    Memory does not grow with the rows.

    Args:
        table: the table; its newest version is read.
        days: UTC days.

    Returns:
        As TAG_DAYS_SCHEMA, in the order of partition and WebID.

    Raises:
        LakeAccessError: the storage failed.
    """
    snapshot = table.snapshot()
    partitions = sorted(partition for partition in live_partitions(snapshot) if partition[0] in days)
    files = live_files(snapshot, partitions)
    folder = TableFolder(table.lake, table.definition.name)
    found = [
        _of_partition(sorted_rows(folder, files[partition], schema=_READ_SCHEMA), partition) for partition in partitions
    ]
    return pa.concat_tables([TAG_DAYS_SCHEMA.empty_table(), *found])


def repeated_keys(table: TimeseriesTable, day: date, tag_webids: Collection[str]) -> pa.Table:
    """The rows of some tags on a day whose key other rows have too, whatever their partition and order.

    All rows of these tags are held in memory.

    Returns:
        `tag_webid` and `repeated`, how many rows are too many.

    Raises:
        LakeAccessError: the storage failed.
    """
    rows = table.to_arrow(
        list(TIMESERIES_KEY), partition_date=day, where=pc.field("tag_webid").isin(sorted(tag_webids))
    )
    keys = rows.group_by(list(TIMESERIES_KEY)).aggregate([([], "count_all")])
    keys = keys.append_column("repeated", pc.subtract(keys["count_all"], 1))
    by_tag = keys.group_by("tag_webid").aggregate([("repeated", "sum")])
    return by_tag.filter(pc.greater(by_tag["repeated_sum"], 0)).rename_columns(["tag_webid", "repeated"])


def _of_partition(batches: Iterator[pa.RecordBatch], partition: Partition) -> pa.Table:
    pieces: list[pa.Table] = []
    before: tuple[str, int, int] | None = None
    for batch in batches:
        if batch.num_rows:
            piece, before = _of_batch(batch, before)
            pieces.append(piece)
    if not pieces:
        return TAG_DAYS_SCHEMA.empty_table()
    # A tag whose rows reach from one batch into the next has a piece in each.
    merged = pa.concat_tables(pieces).group_by("tag_webid", use_threads=False).aggregate(list(_MERGED.items()))
    day, tag_group = partition
    columns = {
        "tag_webid": merged["tag_webid"],
        **{name: merged[f"{name}_{how}"] for name, how in _MERGED.items()},
        "partition_date": pa.repeat(pa.scalar(day, pa.date32()), merged.num_rows),
        "tag_group": pa.repeat(pa.scalar(tag_group), merged.num_rows),
    }
    return pa.table(columns, TAG_DAYS_SCHEMA).sort_by("tag_webid")


def _of_batch(
    batch: pa.RecordBatch, before: tuple[str, int, int] | None
) -> tuple[pa.Table, tuple[str, int, int] | None]:
    """The tags of a batch, and its last key.

    Args:
        batch: at least one row.
        before: the key of the row before it: WebID, microseconds since 1970, event ordinal.
    """
    tags = batch.column("tag_webid")
    codes = tags.indices.to_numpy()
    instants = np.asarray(batch.column("timestamp").cast(pa.timestamp("us", "UTC")).view(pa.int64()))
    ordinals = np.asarray(batch.column("event_ordinal"))
    begins = np.concatenate(([True], codes[1:] != codes[:-1]))
    starts = np.flatnonzero(begins)
    names = tags.dictionary.take(pa.array(codes[starts]))
    gaps = np.diff(instants, prepend=instants[0])
    steps = np.diff(ordinals, prepend=ordinals[0])
    goes_on = before is not None and before[0] == names[0].as_py()
    if before is not None and goes_on:
        gaps[0], steps[0] = instants[0] - before[1], ordinals[0] - before[2]
    is_first = begins.copy()
    is_first[0] = not goes_on
    gaps[is_first] = 0
    is_repeated = (gaps == 0) & (steps == 0) & ~is_first
    is_piece = is_first | (gaps < 0) | ((gaps == 0) & (steps < 0))
    is_state = _flag(batch, "is_system_state")
    is_bad = ~_flag(batch, "quality_good") & ~is_state
    ends = np.append(starts[1:], len(codes))
    piece = pa.table(
        {
            "tag_webid": names,
            "events": ends - starts,
            "bad": _sums(is_bad, starts),
            "system_states": _sums(is_state, starts),
            "repeated": _sums(is_repeated, starts),
            "pieces": _sums(is_piece, starts),
            "first_us": np.minimum.reduceat(instants, starts),
            "last_us": np.maximum.reduceat(instants, starts),
            "longest_gap_us": np.maximum.reduceat(gaps, starts),
        }
    )
    return piece, (names[len(names) - 1].as_py(), int(instants[-1]), int(ordinals[-1]))


def _flag(batch: pa.RecordBatch, column: str) -> np.ndarray:
    return np.asarray(pc.fill_null(batch.column(column), False).to_numpy(zero_copy_only=False))


def _sums(is_so: np.ndarray, starts: np.ndarray) -> np.ndarray:
    return np.add.reduceat(is_so, starts, dtype=np.int64)
