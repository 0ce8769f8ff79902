"""The lake's errors: one tree, so that a caller catches all of it or exactly the case it can do something about.

LakeError
├── LakeNotWritableError   the folder or bucket cannot be written
├── LakeAccessError        the storage failed while a table was read or written
├── TableMissingError      the table has not been created yet
├── ForeignTableError      a table is there, but it is not ours
├── RowsRefusedError       rows that do not belong into the window that they should replace
├── WindowConflictError    other writers kept committing first
├── SnapshotReplacedError  a newer snapshot came before this one
└── CommitUncertainError   the storage failed during the commit, which may or may not have happened
"""

from __future__ import annotations


class LakeError(Exception):
    """Root of all errors of the lake."""


class LakeNotWritableError(LakeError):
    """The lake's folder or object store cannot be written with the site's settings.

    Args:
        reason: what does not work, and where.
        remedy: what to do about it in the site; left away for users who have no site to change.
    """

    def __init__(self, reason: str, remedy: str) -> None:
        super().__init__(reason, remedy)
        self.reason = reason
        self.remedy = remedy

    def __str__(self) -> str:
        return f"{self.reason} {self.remedy}"


class LakeAccessError(LakeError):
    """The storage failed while a table was read or written; nothing was committed."""


class TableMissingError(LakeError):
    """The table has not been created yet."""


class ForeignTableError(LakeError):
    """The table's columns, partitioning or Delta features are not those that pi_dagster writes."""


class RowsRefusedError(LakeError):
    """Rows that would break the table: outside the window, without a key, or with other columns."""


class WindowConflictError(LakeError):
    """Other writers kept committing first, until the tries were used up; nothing was committed."""


class SnapshotReplacedError(LakeError):
    """A snapshot was made from one that is not the newest any more; nothing was committed."""


class CommitUncertainError(LakeError):
    """The storage failed during the commit, so old or new rows may be in the table; a re-run settles it."""
