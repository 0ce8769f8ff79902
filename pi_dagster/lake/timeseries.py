"""pi_timeseries: replace exactly one window of one partition in one Delta commit.

Whoever reads the table, and whenever the writing process is killed, sees the window's old rows or its new rows.
A re-run of the same window replaces the rows again, so nothing needs to be cleaned up and nothing doubles.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from datetime import date, datetime

import pyarrow as pa

from pi_dagster.lake.commit import commit_change
from pi_dagster.lake.parquet_writer import Staging
from pi_dagster.lake.partition_window import PartitionWindow
from pi_dagster.lake.replacement import Replacement, WindowCommit
from pi_dagster.lake.schemas import PI_TIMESERIES
from pi_dagster.lake.table import LakeTable


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
        window = PartitionWindow(partition_date, tag_group, start, end)
        with Staging(self.lake, self.definition.name) as staging:
            replacement = Replacement(staging, window)
            replacement.write(batches, keep_tags)
            version = commit_change(staging, snapshot=self.snapshot, plan=replacement.plan, commit_info=commit_info)
        return replacement.result(version)
