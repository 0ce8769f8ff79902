"""Keeping a table quick: files that no recent version needs are deleted, the log is cut to the recent past.

Every load replaces files. The replaced ones stay for readers of older versions, and so do those of killed runs, until
they are older than the retention; a run that is under way has written its files more recently than that. Without a
log that is cut, opening the table and each commit to it would take longer from month to month.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from pi_dagster.lake.schemas import log_properties
from pi_dagster.lake.table import LakeTable

SHORTEST_RETENTION_DAYS = 7
"""Less is what delta-rs holds to be unsafe: longer than any run or reader lasts."""


@dataclass(frozen=True, kw_only=True)
class MaintenanceReport:
    """What was done to a table."""

    deleted_files: int
    live_files: int
    table_version: int


def maintain(table: LakeTable, *, retention_days: int) -> MaintenanceReport:
    """Delete what no version of the last days needs, write a checkpoint, and delete older log entries.

    Other processes may read and write the table meanwhile.

    Args:
        table: the table.
        retention_days: how many days can be travelled back to; at least 7.

    Raises:
        ValueError: fewer days.
        LakeAccessError: the storage failed; what was deleted until then is gone, and the rest is for the next time.
    """
    if retention_days < SHORTEST_RETENTION_DAYS:
        raise ValueError(f"files are kept for at least {SHORTEST_RETENTION_DAYS} days, not {retention_days}")
    with table.lake.explaining(f"deleting old files of {table.uri}"):
        snapshot = table.snapshot()
        wanted = log_properties(retention_days)
        if not wanted.items() <= snapshot.metadata().configuration.items():
            snapshot.alter.set_table_properties(dict(wanted))
            snapshot = table.snapshot()
        deleted = snapshot.vacuum(
            retention_hours=timedelta(days=retention_days) // timedelta(hours=1), dry_run=False, full=True
        )
        snapshot = table.snapshot()
        snapshot.create_checkpoint()
        snapshot.cleanup_metadata()
        return MaintenanceReport(
            deleted_files=len(deleted), live_files=len(snapshot.file_uris()), table_version=snapshot.version()
        )
