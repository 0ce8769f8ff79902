"""pi_timeseries_daily: the numbers of each tag's day, a day replaced whole in one Delta commit.

Each row tells which files of pi_timeseries it was computed from, so what has to be computed again can be told from the
two tables' logs alone: by whomever a day was loaded, and also after a table was put back or lost.
"""

from __future__ import annotations

import hashlib
import time
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from datetime import date

import pyarrow as pa
import pyarrow.compute as pc
from deltalake import DeltaTable
from deltalake.transaction import RemoveAction

from pi_dagster.lake.commit import FileChange, commit_change
from pi_dagster.lake.parquet_writer import ParquetWriter, Staging
from pi_dagster.lake.schemas import PI_TIMESERIES_DAILY, TIMESERIES_DAILY_FILE_SCHEMA
from pi_dagster.lake.table import LakeTable


class TimeseriesDailyTable(LakeTable):
    """The Delta table pi_timeseries_daily."""

    definition = PI_TIMESERIES_DAILY

    def source_files(self) -> Mapping[date, str]:
        """Of each day that has rows, the digest of the files that it was computed from; empty where the log is mute.

        Raises:
            LakeAccessError: the storage failed.
        """
        actions = pa.table(self.snapshot().get_add_actions(flatten=True))
        names = {"partition.partition_date", "min.source_files", "max.source_files"}
        if not names <= set(actions.column_names):
            return {}
        found: defaultdict[date, set[str]] = defaultdict(set)
        for action in actions.select(sorted(names)).to_pylist():
            for bound in ("min", "max"):
                found[action["partition.partition_date"]].add(action[f"{bound}.source_files"] or "")
        return {day: digests.pop() if len(digests) == 1 else "" for day, digests in found.items()}

    def replace_day(self, day: date, rows: pa.Table, commit_info: Mapping[str, str]) -> int:
        """Make `rows` all rows of a day, in one commit; none where there were none and are none.

        Args:
            day: the UTC day.
            rows: as TIMESERIES_DAILY_FILE_SCHEMA.
            commit_info: what to keep in the commit's metadata, such as the run's id.

        Returns:
            The table version that holds the rows.

        Raises:
            WindowConflictError: other writers kept coming first.
            CommitUncertainError: the storage failed during the commit; old or new rows are in the table.
            LakeAccessError: the storage failed before the commit.
        """
        snapshot = self.snapshot()
        if not rows.num_rows and not _remove_day(snapshot, day):
            return int(snapshot.version())
        values = {"partition_date": day.isoformat()}
        with Staging(self.lake, self.definition.name) as staging:
            writer = ParquetWriter(staging, TIMESERIES_DAILY_FILE_SCHEMA, values)
            for batch in rows.to_batches():
                writer.write(batch)
            files = writer.finish()
            return commit_change(
                staging,
                snapshot=self.snapshot,
                plan=lambda snapshot: FileChange(add=files, remove=_remove_day(snapshot, day), facts=values),
                commit_info=commit_info,
            )


def files_by_day(snapshot: DeltaTable, tag_groups: Collection[str]) -> Mapping[date, str]:
    """Of a version of pi_timeseries: the digest of the files of each day that has any in these tag groups."""
    actions = pa.table(snapshot.get_add_actions(flatten=True))
    if not actions.num_rows:
        return {}
    groups = actions["partition.tag_group"].cast(pa.string())
    actions = actions.filter(pc.is_in(groups, pa.array(sorted(tag_groups), pa.string())))
    days = actions["partition.partition_date"].cast(pa.date32()).to_pylist()
    paths: defaultdict[date, list[str]] = defaultdict(list)
    for day, path in zip(days, actions["path"].to_pylist(), strict=True):
        paths[day].append(path)
    return {day: files_digest(of_day) for day, of_day in paths.items()}


def files_digest(paths: Iterable[str]) -> str:
    """The digest of some files' names: no file is ever changed and no name comes twice."""
    return hashlib.blake2b("\n".join(sorted(paths)).encode(), digest_size=12).hexdigest()


def _remove_day(snapshot: DeltaTable, day: date) -> list[RemoveAction]:
    actions = pa.table(snapshot.get_add_actions(flatten=True))
    now = int(time.time() * 1000)
    return (
        [
            RemoveAction(action["path"], True, now, action["size_bytes"], {"partition_date": day.isoformat()})
            for action in actions.select(["path", "size_bytes", "partition.partition_date"]).to_pylist()
            if action["partition.partition_date"] == day
        ]
        if actions.num_rows
        else []
    )
