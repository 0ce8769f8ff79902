"""pi_points: the list of tags, always replaced whole, so that its history is the table's versions."""

from __future__ import annotations

import time
from collections.abc import Mapping

import pyarrow as pa
from deltalake import DeltaTable
from deltalake.transaction import RemoveAction

from pi_dagster.lake.commit import FileChange, commit_change
from pi_dagster.lake.errors import RowsRefusedError
from pi_dagster.lake.parquet_writer import ParquetWriter, Staging
from pi_dagster.lake.schemas import PI_POINTS, POINTS_SCHEMA
from pi_dagster.lake.table import LakeTable


class PointsTable(LakeTable):
    """The Delta table pi_points."""

    definition = PI_POINTS

    def read(self) -> pa.Table:
        """The newest snapshot, as POINTS_SCHEMA; no rows before the first one.

        Raises:
            LakeAccessError: the storage failed.
        """
        return self.to_arrow()

    def replace(self, table: pa.Table, commit_info: Mapping[str, str]) -> int:
        """Make `table` the snapshot, in one commit.

        Args:
            table: all tags, as POINTS_SCHEMA.
            commit_info: what to keep in the commit's metadata, such as the run's id.

        Returns:
            The table version that holds the snapshot.

        Raises:
            RowsRefusedError: `table` has other columns.
            WindowConflictError: other writers kept coming first.
            CommitUncertainError: the storage failed during the commit; the old or the new snapshot is there.
            LakeAccessError: the storage failed before the commit.
        """
        if not table.schema.equals(POINTS_SCHEMA):
            raise RowsRefusedError(f"The tags have other columns than pi_points: {table.schema.names}")
        with Staging(self.lake, self.definition.name) as staging:
            writer = ParquetWriter(staging, POINTS_SCHEMA)
            for batch in table.to_batches():
                writer.write(batch)
            files = writer.finish()
            return commit_change(
                staging,
                snapshot=self.snapshot,
                plan=lambda snapshot: FileChange(add=files, remove=_remove_all(snapshot), facts={}),
                commit_info=commit_info,
            )


def _remove_all(snapshot: DeltaTable) -> list[RemoveAction]:
    now = int(time.time() * 1000)
    return [
        RemoveAction(action["path"], True, now, action["size_bytes"], {})
        for action in pa.table(snapshot.get_add_actions(flatten=True)).to_pylist()
    ]
