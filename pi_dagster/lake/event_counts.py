"""How many events of each tag a partition of pi_timeseries holds, without its values.

Two columns are read, which take a few bits a row, and not even those of a row group that holds one tag and good values
only, as its statistics tell: a file is sorted by tag, so those of dense tags are such.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping
from datetime import date
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pi_dagster.lake.live_files import Partition, live_files, live_partitions
from pi_dagster.lake.location import TableFolder
from pi_dagster.lake.parquet_writer import READ_ROWS
from pi_dagster.lake.timeseries import TimeseriesTable


class EventCount(NamedTuple):
    """Events of a tag, and how many of them are good values."""

    events: int = 0
    good: int = 0

    def plus(self, events: int, good: int) -> EventCount:
        """The count with more of them."""
        return EventCount(self.events + events, self.good + good)

    def minus(self, other: EventCount) -> EventCount:
        """The difference to another count."""
        return EventCount(self.events - other.events, self.good - other.good)


NOTHING = EventCount()


def event_counts(
    table: TimeseriesTable, partitions: Collection[Partition]
) -> Mapping[Partition, Mapping[str, EventCount]]:
    """The events of each tag in some partitions of the newest version, by WebID; memory does not grow with the rows.

    Raises:
        LakeAccessError: the storage failed.
    """
    folder = TableFolder(table.lake, table.definition.name)
    files = live_files(table.snapshot(), partitions)
    found: dict[Partition, Mapping[str, EventCount]] = {}
    for partition in partitions:
        counts: dict[str, EventCount] = defaultdict(EventCount)
        for file in files.get(partition, ()):
            with folder.lake.explaining(f"counting the rows of the file {file.path} of {folder.table_uri}"):
                _count_file(folder, file.path, counts)
        found[partition] = dict(counts)
    return found


def counts_elsewhere(
    table: TimeseriesTable, day: date, tag_group: str, web_ids: Collection[str]
) -> Mapping[str, Mapping[str, EventCount]]:
    """What the other partitions of a day hold of some tags, in the newest version; memory does not grow with the rows.

    Args:
        table: the table.
        day: the UTC day.
        tag_group: the partition that is not looked at.
        web_ids: WebIDs of the tags.

    Returns:
        By WebID, then partition; nothing for tags that no other partition has rows of.

    Raises:
        LakeAccessError: the storage failed.
    """
    others = {one for one in live_partitions(table.snapshot()) if one[0] == day and one[1] != tag_group}
    wanted = set(web_ids)
    found: dict[str, dict[str, EventCount]] = {}
    for (_, other), counts in event_counts(table, others).items():
        for web_id in wanted & counts.keys():
            found.setdefault(web_id, {})[other] = counts[web_id]
    return found


def _count_file(folder: TableFolder, path: str, counts: dict[str, EventCount]) -> None:
    with (
        folder.filesystem.open_input_file(path) as source,
        pq.ParquetFile(source, read_dictionary=["tag_webid"]) as parquet,
    ):
        for number in range(parquet.num_row_groups):
            group = parquet.metadata.row_group(number)
            if only := _only_tag(group):
                counts[only] = counts[only].plus(group.num_rows, group.num_rows)
                continue
            columns = ["tag_webid", "quality_good"]
            for batch in parquet.iter_batches(READ_ROWS, row_groups=[number], columns=columns, use_threads=False):
                count_rows(batch, counts)


def _only_tag(group: pq.RowGroupMetaData) -> str | None:
    """The tag of a row group that holds no other and only good values; None when its statistics do not tell."""
    statistics = {column.path_in_schema: column.statistics for column in map(group.column, range(group.num_columns))}
    tag, good = statistics["tag_webid"], statistics["quality_good"]
    if tag is None or good is None or not (tag.has_min_max and good.has_min_max):
        return None
    is_only = tag.min == tag.max and tag.null_count == 0 and good.min is True and good.null_count == 0
    return str(tag.min) if is_only else None


def count_rows(batch: pa.RecordBatch, counts: dict[str, EventCount]) -> None:
    """Add rows to the counts of their tags.

    Args:
        batch: has `tag_webid`, as a dictionary, and `quality_good`.
        counts: by WebID, with a default.
    """
    tags = batch.column("tag_webid")
    codes = tags.indices.to_numpy()
    is_good = batch.column("quality_good").fill_null(False).to_numpy(zero_copy_only=False)
    names = tags.dictionary.to_pylist()
    events = np.bincount(codes, minlength=len(names)).tolist()
    good = np.bincount(codes[is_good], minlength=len(names)).tolist()
    for name, of_events, of_good in zip(names, events, good, strict=True):
        if of_events:
            counts[name] = counts[name].plus(of_events, of_good)
