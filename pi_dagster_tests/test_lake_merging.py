"""Several windows in one commit, and the files that a tail leaves."""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterator, Sequence
from datetime import date, datetime, timedelta
from multiprocessing.connection import Connection
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable

from pi_dagster.lake import Lake, NewRows, PartitionWindow, TimeseriesTable, WindowCommit
from pi_dagster_tests.lake_scenarios import (
    DAY,
    MIDNIGHT,
    NEXT_MIDNIGHT,
    CallingBeforeCommit,
    Event,
    batch_of,
    events_in,
    hour,
    replace,
)

GROUPS = ["boilers", "pumps", "tanks"]
MINUTE = timedelta(minutes=1)


@pytest.fixture
def table(tmp_path: Path) -> TimeseriesTable:
    return TimeseriesTable.open(Lake(str(tmp_path / "lake")))


def new_rows(
    group: str, events: Sequence[Event], *, start: datetime = MIDNIGHT, end: datetime = NEXT_MIDNIGHT, **more: object
) -> NewRows:
    return NewRows(window=PartitionWindow(DAY, group, start, end), batches=[batch_of(events)], **more)  # type: ignore[arg-type]


def failing_rows(group: str, error: Exception) -> NewRows:
    def batches() -> Iterator[pa.RecordBatch]:
        yield batch_of([Event("x", hour(1))])
        raise error

    return NewRows(window=PartitionWindow(DAY, group, hour(0), hour(24)), batches=batches())


def files_on_disk(table: TimeseriesTable) -> list[Path]:
    return list(Path(table.uri).rglob("part-*"))


def test_windows_of_several_partitions_are_one_commit(table: TimeseriesTable) -> None:
    commits = table.replace_windows([new_rows(group, [Event(group, hour(1))]) for group in GROUPS], commit_info={})
    assert table.version == 1
    assert [(window.tag_group, commit.rows) for window, commit in commits.items()] == [(group, 1) for group in GROUPS]
    assert [events_in(table, group) for group in GROUPS] == [[Event(group, hour(1))] for group in GROUPS]


def test_a_window_whose_rows_cannot_be_produced_is_left_out_and_the_others_commit(table: TimeseriesTable) -> None:
    for group in GROUPS:
        replace(table, [Event("old", hour(2))], group=group)
    trouble = ValueError("no rows")
    asked: list[tuple[str, Exception]] = []

    def leave_out(window: PartitionWindow, error: Exception) -> bool:
        asked.append((window.tag_group, error))
        return True

    windows = [
        new_rows("boilers", [Event("a", hour(1))]),
        failing_rows("pumps", trouble),
        new_rows("tanks", [Event("c", hour(1))]),
    ]
    commits = table.replace_windows(windows, commit_info={}, leave_out=leave_out)
    assert asked == [("pumps", trouble)]
    assert [window.tag_group for window in commits] == ["boilers", "tanks"]
    assert [events_in(table, group)[0].tag for group in GROUPS] == ["a", "old", "c"]
    assert len(files_on_disk(table)) == 3 + 2


def test_without_leave_to_leave_out_nothing_is_committed_and_no_file_stays(table: TimeseriesTable) -> None:
    windows = [new_rows("boilers", [Event("a", hour(1))]), failing_rows("pumps", ValueError("no rows"))]
    with pytest.raises(ValueError, match="no rows"):
        table.replace_windows(windows, commit_info={})
    assert (table.version, files_on_disk(table)) == (0, [])


def test_when_all_windows_are_left_out_there_is_no_commit(table: TimeseriesTable) -> None:
    left_out = table.replace_windows(
        [failing_rows("pumps", ValueError("no rows"))], commit_info={}, leave_out=lambda window, error: True
    )
    assert (left_out, table.version) == ({}, 0)


def test_two_windows_of_one_partition_are_refused(table: TimeseriesTable) -> None:
    with pytest.raises(ValueError, match="two windows"):
        table.replace_windows([new_rows("pumps", []), new_rows("pumps", [])], commit_info={})


def stop_before_the_commit_of_all(uri: str, parent: Connection) -> None:
    def stop() -> None:
        parent.send("the files are written")
        parent.recv()

    windows = [new_rows(group, [Event("new", hour(1))]) for group in GROUPS]
    TimeseriesTable.open(Lake(uri)).replace_windows(windows, commit_info=CallingBeforeCommit(stop))


def test_a_process_killed_between_files_and_commit_leaves_the_old_rows_of_all_partitions(
    table: TimeseriesTable,
) -> None:
    for group in GROUPS:
        replace(table, [Event("old", hour(2))], group=group)
    spawn = multiprocessing.get_context("spawn")
    ours, theirs = spawn.Pipe()
    process = spawn.Process(target=stop_before_the_commit_of_all, args=(table.lake.uri, theirs))
    process.start()
    ours.recv()
    process.kill()
    process.join()
    assert len(files_on_disk(table)) == 6
    assert [events_in(table, group) for group in GROUPS] == [[Event("old", hour(2))]] * 3


def test_a_commit_to_one_of_the_partitions_in_between_is_replaced_too(table: TimeseriesTable) -> None:
    windows = [new_rows(group, [Event("ours", hour(1))]) for group in GROUPS]

    def another_writer() -> None:
        replace(table, [Event("theirs", hour(1))], group="pumps")

    table.replace_windows(windows, commit_info=CallingBeforeCommit(another_writer))
    assert [events_in(table, group) for group in GROUPS] == [[Event("ours", hour(1))]] * 3


def tail(table: TimeseriesTable, minutes: int, *, before: Sequence[NewRows] = ()) -> dict[str, WindowCommit]:
    """One run of a tail, every five minutes with an overlap of ten; two tags with an event a minute each."""
    begun, end = max(0, minutes - 15), minutes
    events = [Event(tag, hour(0) + minute * MINUTE, value=minute) for tag in "ab" for minute in range(begun, end)]
    rows = [
        new_rows(
            group,
            events,
            start=hour(0) + begun * MINUTE,
            end=hour(0) + end * MINUTE,
            again_from=hour(0) + (end - 10) * MINUTE,
        )
        for group in GROUPS
    ]
    commits = table.replace_windows([*before, *rows], commit_info={})
    return {window.tag_group: commit for window, commit in commits.items() if window.partition_date == DAY}


def test_a_tail_copies_no_row_but_once_when_an_hour_is_over(table: TimeseriesTable) -> None:
    commits = [tail(table, minutes) for minutes in range(5, 241, 5)]
    assert all(commit.kept_rows == 0 for run in commits for commit in run.values())
    merged = [sum(run[group].merged_rows for run in commits) for group in GROUPS]
    assert all(0 < rows <= 2 * 240 for rows in merged)
    runs_with_merges = [number for number, run in enumerate(commits) if any(c.merged_rows for c in run.values())]
    assert len(runs_with_merges) > 6, "the partitions are merged in different runs"
    expected = sorted(Event(tag, hour(0) + minute * MINUTE, value=minute) for tag in "ab" for minute in range(240))
    assert [events_in(table, group) for group in GROUPS] == [expected] * 3


def test_the_run_around_midnight_merges_no_more_than_any_other(table: TimeseriesTable, tmp_path: Path) -> None:
    """It names two days of each tag group, whose hours must still end when they ended before."""
    without_tomorrow = TimeseriesTable.open(Lake(str(tmp_path / "other lake")))
    for minutes in range(5, 205, 5):
        tail(table, minutes)
        tail(without_tomorrow, minutes)
    tomorrow = [
        NewRows(window=PartitionWindow(date(2026, 1, 2), group, NEXT_MIDNIGHT, NEXT_MIDNIGHT), batches=[])
        for group in GROUPS
    ]
    merged = {group: commit.merged_rows for group, commit in tail(table, 205, before=tomorrow).items()}
    assert merged == {group: commit.merged_rows for group, commit in tail(without_tomorrow, 205).items()}


def test_after_a_day_of_tails_a_partition_has_few_files_each_sorted_by_tag_then_time(table: TimeseriesTable) -> None:
    for minutes in range(5, 241, 5):
        commits = tail(table, minutes)
    files = [path for path in DeltaTable(table.uri).file_uris() if "boilers" in path]
    assert len(files) == commits["boilers"].live_files <= 4 + 12 + 2
    for file in files:
        rows = pq.read_table(file, columns=["tag_webid", "timestamp"], partitioning=None)
        assert rows.equals(rows.sort_by([("tag_webid", "ascending"), ("timestamp", "ascending")]))


def test_many_files_come_as_one_stream_in_the_order_of_the_key_however_few_rows_are_held(
    table: TimeseriesTable, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pi_dagster.lake.sorted_rows._ROWS_OF_ALL_FILES", 15)
    monkeypatch.setattr("pi_dagster.lake.sorted_rows._FEWEST_ROWS_OF_A_FILE", 3)
    expected = []
    for at in range(5):
        events = [
            Event(tag, hour(at) + minute * MINUTE, ordinal)
            for tag in "abcde"[: 5 - at % 3]
            for minute in range(0, 60, 7 + at)
            for ordinal in range(1 + (minute == 0))
        ]
        replace(table, events, start=hour(at), end=hour(at + 1))
        expected += events
    names = ["tag_webid", "timestamp", "event_ordinal", "value"]
    rows = [
        Event(*row.values())
        for batch in table.sorted_rows(partition_date=DAY, tag_group="boilers")
        for row in batch.select(names).to_pylist()
    ]
    assert rows == sorted(expected, key=lambda event: (event.tag, event.instant, event.ordinal))
