"""The tables that are replaced whole by each new snapshot, so that their history is the table's versions.

That history is theirs to keep: neither their old files nor their log is ever cut.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import pyarrow as pa
from deltalake import DeltaTable
from deltalake.transaction import RemoveAction

from pi_dagster.lake.commit import FileChange, commit_change
from pi_dagster.lake.errors import RowsRefusedError, SnapshotReplacedError
from pi_dagster.lake.parquet_writer import ParquetWriter, Staging
from pi_dagster.lake.schemas import PI_ASSET_ATTRIBUTES, PI_ASSET_HIERARCHY, PI_POINTS
from pi_dagster.lake.table import LakeTable

_UNCHANGING_OPERATIONS = frozenset({"OPTIMIZE", "VACUUM START", "VACUUM END"})
_COMMITS_LOOKED_AT = 100


class SnapshotTable(LakeTable):
    """A Delta table that always holds one snapshot."""

    def read(self) -> pa.Table:
        """The newest snapshot; no rows before the first one.

        Raises:
            LakeAccessError: the storage failed.
        """
        return self.to_arrow()

    def replace(self, table: pa.Table, commit_info: Mapping[str, str], *, instead_of: int | None = None) -> int:
        """Make `table` the snapshot, in one commit.

        Args:
            table: all rows, with the columns of the table.
            commit_info: what to keep in the commit's metadata, such as the run's id.
            instead_of: the version that the rows were made from, where only that one may be replaced.

        Returns:
            The table version that holds the snapshot.

        Raises:
            RowsRefusedError: `table` has other columns.
            WindowConflictError: other writers kept coming first.
            SnapshotReplacedError: the table has another version than `instead_of` by now.
            CommitUncertainError: the storage failed during the commit; the old or the new snapshot is there.
            LakeAccessError: the storage failed before the commit.
        """
        with self.next_snapshot() as snapshot:
            for batch in table.to_batches() or [pa.RecordBatch.from_pylist([], table.schema)]:
                snapshot.write(batch)
            return snapshot.commit(commit_info, instead_of=instead_of)

    @contextmanager
    def next_snapshot(self) -> Iterator[NextSnapshot]:
        """A snapshot to be written batch by batch; nothing of it stays unless it is committed within the block."""
        with Staging(self.lake, self.definition.name) as staging:
            snapshot = NextSnapshot(self, staging)
            yield snapshot
            snapshot.discard()

    def commit_info(self, name: str) -> str | None:
        """What the present snapshot's commit keeps under `name`.

        None where it keeps nothing, or where somebody else has changed the table since.
        """
        with self.lake.explaining(f"reading the history of {self.uri}"):
            for commit in self.snapshot().history(_COMMITS_LOOKED_AT):
                if name in commit:
                    return str(commit[name])
                if commit.get("operation") not in _UNCHANGING_OPERATIONS:
                    return None
        return None


class NextSnapshot:
    """The rows of a snapshot on their way into the table, in files that no commit names yet.

    Args:
        table: the table.
        staging: owns the files.
    """

    def __init__(self, table: SnapshotTable, staging: Staging) -> None:
        self._table = table
        self._staging = staging
        self._writer = ParquetWriter(staging, table.definition.schema)
        self._is_committed = False

    @property
    def rows(self) -> int:
        """Rows written so far."""
        return self._writer.rows

    def write(self, batch: pa.RecordBatch) -> None:
        """Take a batch.

        Raises:
            RowsRefusedError: it has other columns than the table.
            LakeAccessError: the storage failed.
        """
        if not batch.schema.equals(self._table.definition.schema):
            raise RowsRefusedError(f"Rows with other columns than {self._table.definition.name}: {batch.schema.names}")
        self._writer.write(batch)

    def commit(self, commit_info: Mapping[str, str], *, instead_of: int | None = None) -> int:
        """Make what was written the snapshot; returns the table version that holds it.

        Args:
            commit_info: what to keep in the commit's metadata.
            instead_of: see `SnapshotTable.replace`.

        Raises:
            WindowConflictError: other writers kept coming first.
            SnapshotReplacedError: the table has another version than `instead_of` by now.
            CommitUncertainError: the storage failed during the commit; the old or the new snapshot is there.
            LakeAccessError: the storage failed before the commit.
        """
        files = self._writer.finish()
        self._is_committed = True

        def plan(snapshot: DeltaTable) -> FileChange:
            if instead_of not in (None, snapshot.version()):
                raise SnapshotReplacedError(
                    f"Another run replaced {self._table.uri} (version {snapshot.version()}) while this one made a new "
                    f"snapshot of version {instead_of}. Nothing was committed. Run again, one such run at a time."
                )
            return FileChange(add=files, remove=remove_all(snapshot), facts={})

        return commit_change(
            self._staging,
            snapshot=self._table.snapshot,
            plan=plan,
            commit_info=commit_info,
            keeps_all_versions=True,
        )

    def discard(self) -> None:
        """Delete what was written, unless it was committed."""
        if not self._is_committed:
            self._staging.discard(self._writer.finish())


def remove_all(snapshot: DeltaTable) -> list[RemoveAction]:
    """The entries of a commit that take all files out of an unpartitioned table."""
    now = int(time.time() * 1000)
    return [
        RemoveAction(action["path"], True, now, action["size_bytes"], {})
        for action in pa.table(snapshot.get_add_actions(flatten=True)).to_pylist()
    ]


class PointsTable(SnapshotTable):
    """The Delta table pi_points: the tags."""

    definition = PI_POINTS


class AssetHierarchyTable(SnapshotTable):
    """The Delta table pi_asset_hierarchy: the elements of AF."""

    definition = PI_ASSET_HIERARCHY


class AssetAttributesTable(SnapshotTable):
    """The Delta table pi_asset_attributes: the attributes of those elements."""

    definition = PI_ASSET_ATTRIBUTES
