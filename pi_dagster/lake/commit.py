"""One optimistic Delta commit that takes some files of a table out and puts others in.

delta-rs's own conflict check does not suffice: two writers that both fill an empty window remove nothing, so it lets
both commit, and the window holds every event twice. Here a commit is only ever written as the version right
after the snapshot it was planned on. When another writer took that version, the change is planned again.

A failed call does not mean a failed commit: delta-rs also raises when the commit landed but the checkpoint after
it failed, or when the answer of the store was lost. So each commit carries an id, the log is asked who has the
version, and the staged files are deleted only when somebody else has it.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from deltalake import CommitProperties, DeltaTable, PostCommitHookProperties
from deltalake.transaction import AddAction, RemoveAction
from tenacity import RetryError, Retrying, retry_if_exception_type, stop_after_attempt, wait_random_exponential

from pi_dagster.lake.errors import CommitUncertainError, WindowConflictError
from pi_dagster.lake.location import STORAGE_ERRORS
from pi_dagster.lake.parquet_writer import StagedFile, Staging

COMMIT_TRIES = 60
"""Commits to all partitions of a table compete for its next version. Eight processes that did nothing but commit
needed at most 8 tries each, sixteen needed 14; sixty tries take half a minute."""

COMMIT_ID = "pi_dagster.commit_id"

LOG_CLEANUP_EVERY = 100
"""Commits between two looks for log entries that are too old. Left alone, delta-rs looks through the whole log after
each commit; with 20,000 entries in a local folder that took four times as long as the commit."""


@dataclass(frozen=True)
class FileChange:
    """The files that a commit puts in and takes out, and what its metadata says about them."""

    add: Sequence[StagedFile]
    remove: Sequence[RemoveAction]
    facts: Mapping[str, str]


class _VersionTakenError(Exception):
    """Another writer committed the version that this commit was for."""


def commit_change(
    staging: Staging,
    *,
    snapshot: Callable[[], DeltaTable],
    plan: Callable[[DeltaTable], FileChange],
    commit_info: Mapping[str, str],
    keeps_all_versions: bool = False,
) -> int:
    """Commit what `plan` makes of the newest snapshot, again and again until no other writer comes between.

    Args:
        staging: owns the files that are put in.
        snapshot: loads the newest version.
        plan: what to change in a snapshot; called once a try.
        commit_info: names and values to be kept in the commit.
        keeps_all_versions: the log is the table's history, and is never cut.

    Returns:
        The version that holds the change.

    Raises:
        WindowConflictError: other writers came first until the tries were used up.
        CommitUncertainError: the storage failed during the commit.
    """
    tries = Retrying(
        stop=stop_after_attempt(COMMIT_TRIES),
        wait=wait_random_exponential(multiplier=0.05, max=1.0),
        retry=retry_if_exception_type(_VersionTakenError),
    )
    try:
        for attempt in tries:
            with attempt:
                table = snapshot()
                version = table.version() + 1
                cuts_log = version % LOG_CLEANUP_EVERY == 0 and not keeps_all_versions
                return _commit_once(staging, table, plan(table), commit_info, cuts_log=cuts_log)
    except RetryError:
        raise WindowConflictError(
            f"Other writers committed to {staging.table_uri} first, {COMMIT_TRIES} times in a row. "
            "Nothing was committed. Run again, with fewer runs on this table at once."
        ) from None
    raise AssertionError("the loop ends by returning or raising")


def _commit_once(
    staging: Staging, table: DeltaTable, change: FileChange, commit_info: Mapping[str, str], *, cuts_log: bool
) -> int:
    commit_id = uuid.uuid4().hex
    version = table.version() + 1
    actions: list[AddAction | RemoveAction] = [*(file.add_action() for file in change.add), *change.remove]
    properties = CommitProperties(
        custom_metadata={**commit_info, **change.facts, COMMIT_ID: commit_id},
        # Zero makes delta-rs try `version` alone; with more it would skip over commits that we must look at.
        max_commit_retries=0,
    )
    staging.hand_over_to_commit()
    try:
        table.create_write_transaction(
            actions,
            "append",
            table.schema(),
            table.metadata().partition_columns,
            commit_properties=properties,
            post_commithook_properties=PostCommitHookProperties(create_checkpoint=True, cleanup_expired_logs=cuts_log),
        )
    except Exception as error:
        landed = _landed(staging, version, commit_id)
        if landed is None:
            raise CommitUncertainError(
                f"The commit to {staging.table_uri} failed: {staging.lake.plain_text(error)}. If the storage was out "
                "of reach it may still have happened; the table holds either the old rows or the new ones. "
                "Run again once the cause is gone; nothing needs to be cleaned up."
            ) from None
        if not landed:
            staging.take_back()
            raise _VersionTakenError from None
    return version


def _landed(staging: Staging, version: int, commit_id: str) -> bool | None:
    """Whether `version` is the commit with this id; None when that version cannot be read."""
    try:
        with staging.filesystem.open_input_stream(f"_delta_log/{version:020}.json") as entry:
            return commit_id.encode() in entry.read()
    except STORAGE_ERRORS:
        return None
