"""The files that make up a version of pi_timeseries, by partition, as the Delta log describes them."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, datetime, timedelta

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from deltalake import DeltaTable
from deltalake.transaction import RemoveAction

from pi_dagster.lake.location import TableFolder

STATISTICS_SLACK = timedelta(milliseconds=1)
"""Spark cuts the timestamps in a file's statistics to milliseconds, so the newest row may be this much newer."""

Partition = tuple[date, str]
"""The UTC day and the tag group."""


@dataclass(frozen=True)
class LiveFile:
    """A file of a partition in a version of the table."""

    path: str
    size: int
    partition_values: Mapping[str, str]
    rows: int | None
    first: datetime | None
    """No row is older; None when the log does not say."""
    last: datetime | None
    """No row is newer, but for `STATISTICS_SLACK`."""

    @property
    def newest(self) -> datetime | None:
        """No row is newer."""
        return None if self.last is None else self.last + STATISTICS_SLACK

    def remove_action(self) -> RemoveAction:
        """The entry of a commit that takes the file out of the table."""
        return RemoveAction(self.path, True, int(time.time() * 1000), self.size, dict(self.partition_values))


def live_files(snapshot: DeltaTable, partitions: Collection[Partition]) -> Mapping[Partition, Sequence[LiveFile]]:
    """The files of some partitions; the log is looked through once for all of them."""
    found: dict[Partition, list[LiveFile]] = defaultdict(list)
    actions = pa.table(snapshot.get_add_actions(flatten=True))
    if not actions.num_rows:
        return found
    days = pa.array({day for day, _ in partitions}, pa.date32())
    groups = pa.array({group for _, group in partitions}, pa.string())
    near = actions.filter(
        pc.and_(
            pc.is_in(actions["partition.partition_date"].cast(pa.date32()), days),
            pc.is_in(actions["partition.tag_group"].cast(pa.string()), groups),
        )
    )
    for action in near.to_pylist():
        day, group = action["partition.partition_date"], action["partition.tag_group"]
        if (day, group) in partitions:
            found[day, group].append(
                LiveFile(
                    path=action["path"],
                    size=action["size_bytes"],
                    partition_values={"partition_date": day.isoformat(), "tag_group": group},
                    rows=action.get("num_records"),
                    first=action.get("min.timestamp"),
                    last=action.get("max.timestamp"),
                )
            )
    return found


def live_partitions(snapshot: DeltaTable) -> set[Partition]:
    """The partitions that have files."""
    actions = pa.table(snapshot.get_add_actions(flatten=True))
    if not actions.num_rows:
        return set()
    days = actions["partition.partition_date"].cast(pa.date32()).to_pylist()
    return set(zip(days, actions["partition.tag_group"].cast(pa.string()).to_pylist(), strict=True))


@contextmanager
def opened(folder: TableFolder, path: str, *, dictionaries: Collection[str] = ()) -> Iterator[pq.ParquetFile]:
    """A file of the table, open for reading.

    Args:
        folder: of the table.
        path: of the file in it.
        dictionaries: columns to read as the dictionaries that they are, and not to spell out; the file need not have
            them.

    Raises:
        LakeAccessError: it cannot be opened.
    """
    with folder.lake.explaining(f"opening the file {path} of {folder.table_uri}"):
        source = folder.filesystem.open_input_file(path)
        metadata = pq.read_metadata(source)
        there = set(metadata.schema.names)
        parquet = pq.ParquetFile(source, metadata=metadata, read_dictionary=sorted(there.intersection(dictionaries)))
    with source, parquet:
        yield parquet
