"""pi_timeseries: replace exactly one window of a partition, or one of each of several, in one Delta commit.

Whoever reads the table, and whenever the writing process is killed, sees the windows' old rows or their new rows.
A re-run of the same window replaces the rows again, so nothing needs to be cleaned up and nothing doubles.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import date, datetime, timedelta
from typing import Any

import pyarrow as pa
from deltalake import DeltaTable

from pi_dagster.lake.commit import COMMIT_ID, FileChange, commit_change
from pi_dagster.lake.live_files import live_files
from pi_dagster.lake.location import TableFolder
from pi_dagster.lake.parquet_writer import Staging
from pi_dagster.lake.partition_window import PartitionWindow
from pi_dagster.lake.replacement import NewRows, Replacement, WindowCommit
from pi_dagster.lake.schemas import PI_TIMESERIES, TIMESERIES_FILE_SCHEMA
from pi_dagster.lake.sorted_rows import sorted_rows
from pi_dagster.lake.table import LakeTable

_GOLDEN_RATIO = 0.6180339887

_LONGEST_LOOK_BACK = 300
"""Commits of the log that are looked at, each a file: more than are made between two runs of a schedule."""

_LEAVES_ROWS_AS_THEY_ARE = frozenset({"CREATE TABLE", "OPTIMIZE", "SET TBLPROPERTIES", "VACUUM START", "VACUUM END"})


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
        new = NewRows(window=window, batches=batches, keep_tags=keep_tags)
        return self.replace_windows([new], commit_info=commit_info)[window]

    def replace_windows(
        self,
        windows: Iterable[NewRows],
        *,
        commit_info: Mapping[str, str],
        leave_out: Callable[[PartitionWindow, Exception], bool] = lambda window, error: False,
    ) -> Mapping[PartitionWindow, WindowCommit]:
        """Replace windows of different partitions by their new rows, all in one commit.

        They are written one after the other, so memory does not grow with their number. Small files of hours before a
        window are put together on the way, at another minute in each tag group; so name the groups in the same order
        every time.

        Args:
            windows: the windows and their rows; asked for one at a time.
            commit_info: what to keep in the commit's metadata, such as the run's id.
            leave_out: asked what to do when the rows of a window cannot be produced or written: true leaves the
                window as it is and goes on with the others; false raises the error, and nothing is committed.

        Returns:
            What was committed, by window; nothing for windows that were left out. Without any there is no commit.

        Raises:
            As `replace_window`, and whatever producing the rows raises.
            ValueError: two windows of one partition, or rows of another window are taken from a partition that has one.
        """
        with Staging(self.lake, self.definition.name) as staging:
            replacements: dict[PartitionWindow, Replacement] = {}
            taken: dict[PartitionWindow, set[str]] = defaultdict(set)
            positions: dict[str, int] = {}
            for new in windows:
                if any(new.window.partition == window.partition for window in replacements):
                    raise ValueError(f"{new.window.tag_group} on {new.window.partition_date} was given two windows")
                position = positions.setdefault(new.window.tag_group, len(positions))
                replacement = Replacement(staging, new.window, hours_end_at=_spread_over_an_hour(position))
                try:
                    with staging.all_or_nothing():
                        replacement.write(new)
                except Exception as error:
                    if not leave_out(new.window, error):
                        raise
                else:
                    replacements[new.window] = replacement
                    for tag_group, tags in new.take_from.items():
                        taken[replace(new.window, tag_group=tag_group)].update(tags)
            if not replacements:
                return {}
            takings = _takings(staging, taken, replacements)
            version = commit_change(
                staging,
                snapshot=self.snapshot,
                plan=lambda snapshot: _plan(snapshot, replacements, takings),
                commit_info=commit_info,
            )
        return {window: replacement.result(version) for window, replacement in replacements.items()}

    def sorted_rows(
        self, *, partition_date: date, tag_group: str, columns: Sequence[str] = TIMESERIES_FILE_SCHEMA.names
    ) -> Iterator[pa.RecordBatch]:
        """The partition's rows in the newest version, by tag, then time.

        Memory does not grow with their number.

        Args:
            partition_date: UTC day of the partition.
            tag_group: tag group of the partition.
            columns: of TIMESERIES_FILE_SCHEMA; `tag_webid`, `timestamp` and `event_ordinal` must be among them.

        Raises:
            LakeAccessError: the storage failed.
        """
        partition = partition_date, tag_group
        files = live_files(self.snapshot(), {partition}).get(partition, ())
        schema = pa.schema([field for field in TIMESERIES_FILE_SCHEMA if field.name in columns])
        yield from sorted_rows(TableFolder(self.lake, self.definition.name), files, schema=schema)

    def own_commits_since(self, version: int) -> Mapping[int, Mapping[str, Any]]:
        """The commits from `version` to the newest, back to the first one that others may have changed rows with.

        A version that is not among them may have been cleaned up, or the table may have been made anew, restored or
        changed since, so that rows committed then need not be in it.

        Returns:
            The metadata of each commit, by version.

        Raises:
            LakeAccessError: the storage failed.
        """
        snapshot = self.snapshot()
        commits: dict[int, Mapping[str, Any]] = {}
        since = max(version, snapshot.version() - _LONGEST_LOOK_BACK)
        if since <= snapshot.version():
            with self.lake.explaining(f"reading the log of {self.uri}"):
                history = snapshot.history(snapshot.version() - since + 1)
            for commit in map(_with_user_metadata, sorted(history, key=lambda one: int(one["version"]), reverse=True)):
                if COMMIT_ID not in commit and commit.get("operation") not in _LEAVES_ROWS_AS_THEY_ARE:
                    break
                commits[int(commit["version"])] = commit
        return commits


def _with_user_metadata(commit: Mapping[str, Any]) -> Mapping[str, Any]:
    """The commit with what delta-spark keeps in one text of it, which delta-rs has beside the rest."""
    try:
        told = json.loads(commit.get("userMetadata") or "{}")
    except ValueError:
        return commit
    return {**commit, **told} if isinstance(told, dict) else commit


def _takings(
    staging: Staging,
    taken: Mapping[PartitionWindow, Collection[str]],
    replacements: Mapping[PartitionWindow, Replacement],
) -> Mapping[PartitionWindow, Replacement]:
    """What takes rows out of partitions that have no window in this commit; the others are told to let them go."""
    windows = {window.partition: window for window in replacements}
    takings: dict[PartitionWindow, Replacement] = {}
    for window, tags in taken.items():
        own = windows.get(window.partition)
        if own is None:
            takings[window] = Replacement(staging, window, only_tags=tags)
        elif (own.start, own.end) == (window.start, window.end):
            replacements[own].let_go(tags)
        else:
            raise ValueError(f"rows of {window} cannot be taken from {own.tag_group}, which gets another window")
    return takings


def _plan(
    snapshot: DeltaTable,
    replacements: Mapping[PartitionWindow, Replacement],
    takings: Mapping[PartitionWindow, Replacement],
) -> FileChange:
    every = {**replacements, **takings}
    live = live_files(snapshot, {window.partition for window in every})
    changes = [replacement.plan(live.get(window.partition, ())) for window, replacement in every.items()]
    return FileChange(
        add=[file for change in changes for file in change.add],
        remove=[file for change in changes for file in change.remove],
        facts=_facts(list(replacements)),
    )


def _facts(windows: Sequence[PartitionWindow]) -> Mapping[str, str]:
    """What the commit's metadata tells of its windows; of many it does not name each, as the log is kept long."""
    if len(windows) == 1:
        return windows[0].facts()
    return {
        "partitions": str(len(windows)),
        "window_start": min(window.start for window in windows).isoformat(),
        "window_end": max(window.end for window in windows).isoformat(),
    }


def _spread_over_an_hour(position: int) -> timedelta:
    """Multiples of the golden ratio, cut to one: any number of them is spread evenly over an hour."""
    return timedelta(hours=position * _GOLDEN_RATIO % 1)
