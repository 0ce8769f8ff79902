"""pi_event_frames: a day's frames, by start, replaced whole in one Delta commit.

A frame whose start was moved to another day leaves the old one in the commit that brings it into the new one, so that
no reader ever sees it twice. A day is only ever replaced on top of the rows that the new ones were compared with: of
two writers the slower one is refused, and does not put older frames over newer ones.
"""

from __future__ import annotations

import hashlib
import time
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta, timezone

import pyarrow as pa
import pyarrow.compute as pc
from deltalake import DeltaTable
from deltalake.transaction import RemoveAction

from pi_dagster.lake.commit import FileChange, commit_change
from pi_dagster.lake.errors import RowsRefusedError, WindowConflictError
from pi_dagster.lake.live_files import opened
from pi_dagster.lake.parquet_writer import ParquetWriter, StagedFile, Staging, read_row_groups
from pi_dagster.lake.schemas import EVENT_FRAMES_FILE_SCHEMA, EVENT_FRAMES_SCHEMA, PI_EVENT_FRAMES
from pi_dagster.lake.table import LakeTable


class DayChangedError(WindowConflictError):
    """Another writer replaced the day since it was read; nothing was committed."""


@dataclass(frozen=True)
class DayOfFrames:
    """The frames of one day as a version of the table holds them."""

    day: date
    rows: pa.Table
    """As EVENT_FRAMES_FILE_SCHEMA."""
    paths: frozenset[str]
    """The files that hold them."""
    version: int

    @property
    def files(self) -> str:
        """Their digest, see `EventFramesTable.files_by_day`."""
        return _files_digest(self.paths)


@dataclass(frozen=True, kw_only=True)
class DayCommit:
    """A day that was replaced."""

    version: int
    """The table version that holds the new rows."""
    day_files: str
    """Digest of the files of the day, see `EventFramesTable.files_by_day`."""
    files: int
    """Files the commit added."""
    file_bytes: int
    """Their size in bytes."""
    moved_rows: int
    """Rows that left other days because their frames start in this one now."""


class EventFramesTable(LakeTable):
    """The Delta table pi_event_frames."""

    definition = PI_EVENT_FRAMES

    def read_day(self, day: date) -> DayOfFrames:
        """The frames that start on a UTC day.

        Raises:
            LakeAccessError: the storage failed.
        """
        snapshot = self.snapshot()
        with self.lake.explaining(f"reading the Delta table {self.uri}"):
            rows = snapshot.to_pyarrow_dataset(schema=EVENT_FRAMES_SCHEMA).to_table(
                columns=EVENT_FRAMES_FILE_SCHEMA.names,
                filter=pc.field("start_date") == day,
                # As in LakeTable.to_arrow.
                use_threads=False,
            )
        paths = frozenset(file.path for file in _files(snapshot, {day}))
        return DayOfFrames(day, rows.cast(EVENT_FRAMES_FILE_SCHEMA), paths, snapshot.version())

    def files_by_day(self) -> Mapping[date, str]:
        """A digest of the names of the files of each day that has any, empty for the others.

        No file is ever changed and no name comes twice. So a day with the digest that it had has the rows that it had,
        whatever was done to the table: put back, lost, or changed by others.

        Raises:
            TableMissingError: there is no table.
            LakeAccessError: the storage failed.
        """
        paths: dict[date, list[str]] = defaultdict(list)
        for file in _files(self.snapshot()):
            paths[file.day].append(file.path)
        return {day: _files_digest(of_day) for day, of_day in paths.items()}

    def replace_day(
        self,
        before: DayOfFrames,
        rows: pa.Table,
        *,
        moved_from: Collection[date] = (),
        commit_info: Mapping[str, str],
    ) -> DayCommit:
        """Replace the frames of a day by `rows`, in one commit.

        Args:
            before: the day as it was when `rows` were compared with it.
            rows: all frames of the day, as EVENT_FRAMES_FILE_SCHEMA; none at all empties the day.
            moved_from: days that frames may have come from which the day did not hold before; such frames are taken
                out there.
            commit_info: what to keep in the commit's metadata, such as the run's id.

        Raises:
            RowsRefusedError: other columns, a frame twice or without id, or one that starts on another day.
            DayChangedError: another writer replaced the day since `before` was read.
            WindowConflictError: other writers kept coming first.
            CommitUncertainError: the storage failed during the commit; old or new rows are in the table.
            LakeAccessError: the storage failed before the commit.
        """
        _check(rows, before.day)
        with Staging(self.lake, self.definition.name) as staging:
            replacement = _DayReplacement(staging, before, rows, moved_from)
            version = commit_change(staging, snapshot=self.snapshot, plan=replacement.plan, commit_info=commit_info)
        return replacement.result(version)


@dataclass(frozen=True)
class _File:
    """A file of the table, as the Delta log describes it."""

    path: str
    size: int
    day: date

    def remove_action(self) -> RemoveAction:
        return RemoveAction(self.path, True, int(time.time() * 1000), self.size, {"start_date": self.day.isoformat()})


class _DayReplacement:
    """Turns a snapshot into the change that replaces the day."""

    def __init__(self, staging: Staging, before: DayOfFrames, rows: pa.Table, moved_from: Collection[date]) -> None:
        self._staging = staging
        self._before = before
        self._other_days = set(moved_from) - {before.day}
        old_ids = before.rows["event_frame_id"]
        new_ids = rows["event_frame_id"]
        self._come_in = new_ids.filter(pc.invert(pc.is_in(new_ids, value_set=old_ids.combine_chunks())))
        self._new_files = self._written(before.day, rows)
        self._copies: list[StagedFile] = []
        self._moved_rows = 0

    def plan(self, snapshot: DeltaTable) -> FileChange:
        files = _files(snapshot, {self._before.day, *(self._other_days if len(self._come_in) else ())})
        of_day = [file for file in files if file.day == self._before.day]
        if {file.path for file in of_day} != self._before.paths:
            raise DayChangedError(
                f"Another run replaced the event frames of {self._before.day} while they were read. Nothing was "
                "committed. Run again."
            )
        self._staging.discard(self._copies)
        self._copies, self._moved_rows = [], 0
        others = [file for file in files if file.day != self._before.day]
        removed = [*of_day, *(file for file in others if self._take_out(file))]
        return FileChange(
            add=[*self._new_files, *self._copies],
            remove=[file.remove_action() for file in removed],
            facts={"start_date": self._before.day.isoformat()},
        )

    def result(self, version: int) -> DayCommit:
        added = [*self._new_files, *self._copies]
        return DayCommit(
            version=version,
            day_files=_files_digest(file.path for file in self._new_files),
            files=len(added),
            file_bytes=sum(file.size for file in added),
            moved_rows=self._moved_rows,
        )

    def _take_out(self, file: _File) -> bool:
        """Copy a file of another day without the frames that start in this day now; False when it holds none."""
        doing = f"reading a file of {self._staging.table_uri}"
        with self._staging.lake.explaining(doing), opened(self._staging, file.path) as parquet:
            ids = parquet.read(columns=["event_frame_id"], use_threads=False)["event_frame_id"]
            is_moved = pc.is_in(ids, value_set=self._come_in.combine_chunks())
            if not pc.any(is_moved, min_count=0).as_py():
                return False
            groups = range(parquet.num_row_groups)
            batches = [batch for group in groups for batch in read_row_groups(parquet, group, EVENT_FRAMES_FILE_SCHEMA)]
        rows = pa.Table.from_batches(batches)
        staying = rows.filter(pc.invert(is_moved)).cast(EVENT_FRAMES_FILE_SCHEMA)
        self._copies += self._written(file.day, staying)
        self._moved_rows += rows.num_rows - staying.num_rows
        return True

    def _written(self, day: date, rows: pa.Table) -> Sequence[StagedFile]:
        writer = ParquetWriter(self._staging, EVENT_FRAMES_FILE_SCHEMA, {"start_date": day.isoformat()})
        for batch in rows.to_batches():
            writer.write(batch)
        return writer.finish()


def _files(snapshot: DeltaTable, days: Collection[date] | None = None) -> list[_File]:
    """The files of some days, or of all."""
    actions = pa.table(snapshot.get_add_actions(flatten=True))
    if not actions.num_rows:
        return []
    actions = actions.select(["path", "size_bytes", "partition.start_date"])
    if days is not None:
        of_days = pc.is_in(actions["partition.start_date"].cast(pa.date32()), value_set=pa.array(days, pa.date32()))
        actions = actions.filter(of_days)
    return [
        _File(action["path"], action["size_bytes"], action["partition.start_date"]) for action in actions.to_pylist()
    ]


def _files_digest(paths: Iterable[str]) -> str:
    names = "\n".join(sorted(paths))
    return hashlib.blake2b(names.encode(), digest_size=12).hexdigest() if names else ""


def _check(rows: pa.Table, day: date) -> None:
    where = f"of {day}"
    if not rows.schema.equals(EVENT_FRAMES_FILE_SCHEMA):
        raise RowsRefusedError(f"The event frames {where} have other columns than pi_event_frames: {rows.schema.names}")
    if not rows.num_rows:
        return
    ids = rows["event_frame_id"]
    if ids.null_count or pc.count_distinct(ids).as_py() != rows.num_rows:
        raise RowsRefusedError(f"Some event frames {where} have no id, or the same. This is a defect of what reads PI.")
    first, last = pc.min_max(rows["start_time"]).as_py().values()
    midnight = datetime(day.year, day.month, day.day, tzinfo=timezone.utc)
    if rows["start_time"].null_count or first < midnight or last >= midnight + timedelta(days=1):
        raise RowsRefusedError(
            f"The event frames {where} start between {first} and {last}. This is a defect of what reads PI."
        )
