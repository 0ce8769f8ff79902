"""pi_tag_errors: a small table that several runs at once bring up to date, each with what it knows.

Its rows are read, changed and replaced in one commit. When another run comes between, they are read again, so that no
run takes back what another has written. What changes nothing makes no commit.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import pyarrow as pa
from deltalake import DeltaTable

from pi_dagster.lake.commit import FileChange, commit_change
from pi_dagster.lake.parquet_writer import ParquetWriter, StagedFile, Staging
from pi_dagster.lake.schemas import PI_TAG_ERRORS
from pi_dagster.lake.snapshot import remove_all
from pi_dagster.lake.table import LakeTable


class TagErrorsTable(LakeTable):
    """The Delta table pi_tag_errors."""

    definition = PI_TAG_ERRORS

    def revise(self, change: Callable[[pa.Table], pa.Table], commit_info: Mapping[str, str]) -> int | None:
        """Replace the rows by what `change` makes of the newest ones.

        Args:
            change: takes and returns rows with the columns of the table; called again when another run came first.
            commit_info: what to keep in the commit's metadata, such as the run's id.

        Returns:
            The version that holds the change; None when nothing was to be changed.

        Raises:
            WindowConflictError: other writers kept coming first.
            CommitUncertainError: the storage failed during the commit; old or new rows are in the table.
            LakeAccessError: the storage failed before the commit.
        """
        before = self.to_arrow()
        if change(before).equals(before):
            return None
        with Staging(self.lake, self.definition.name) as staging:
            files: list[StagedFile] = []

            def plan(snapshot: DeltaTable) -> FileChange:
                staging.discard(files)
                writer = ParquetWriter(staging, self.definition.schema)
                for batch in change(self.to_arrow(snapshot=snapshot)).to_batches():
                    writer.write(batch)
                files[:] = writer.finish()
                return FileChange(add=files, remove=remove_all(snapshot), facts={})

            return commit_change(staging, snapshot=self.snapshot, plan=plan, commit_info=commit_info)
