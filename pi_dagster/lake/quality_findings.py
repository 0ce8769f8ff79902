"""pi_quality_findings: what the rules of the site found, replaced one day of one tag group at a time."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date

import pyarrow as pa
from deltalake import DeltaTable

from pi_dagster.lake.commit import FileChange, commit_change
from pi_dagster.lake.live_files import live_files
from pi_dagster.lake.parquet_writer import ParquetWriter, Staging
from pi_dagster.lake.schemas import PI_QUALITY_FINDINGS, QUALITY_FINDINGS_FILE_SCHEMA
from pi_dagster.lake.table import LakeTable


class QualityFindingsTable(LakeTable):
    """The Delta table pi_quality_findings."""

    definition = PI_QUALITY_FINDINGS

    def replace_partition(self, day: date, tag_group: str, rows: pa.Table, commit_info: Mapping[str, str]) -> int:
        """Make `rows` all findings of a day and tag group, in one commit; none where there were none and are none.

        Args:
            day: the UTC day.
            tag_group: the tag group.
            rows: as QUALITY_FINDINGS_FILE_SCHEMA.
            commit_info: what to keep in the commit's metadata, such as the run's id.

        Returns:
            The table version that holds the findings.

        Raises:
            WindowConflictError: other writers kept coming first.
            CommitUncertainError: the storage failed during the commit; old or new rows are in the table.
            LakeAccessError: the storage failed before the commit.
        """
        partition = day, tag_group
        snapshot = self.snapshot()
        if not rows.num_rows and partition not in live_files(snapshot, {partition}):
            return int(snapshot.version())
        values = {"partition_date": day.isoformat(), "tag_group": tag_group}
        with Staging(self.lake, self.definition.name) as staging:
            writer = ParquetWriter(staging, QUALITY_FINDINGS_FILE_SCHEMA, values)
            for batch in rows.to_batches():
                writer.write(batch)
            files = writer.finish()

            def plan(snapshot: DeltaTable) -> FileChange:
                old = live_files(snapshot, {partition}).get(partition, ())
                return FileChange(add=files, remove=[file.remove_action() for file in old], facts=values)

            return commit_change(staging, snapshot=self.snapshot, plan=plan, commit_info=commit_info)
