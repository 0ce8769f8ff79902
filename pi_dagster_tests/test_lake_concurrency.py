"""Several processes on one table, and processes killed while they write."""

from __future__ import annotations

import multiprocessing
import random
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import pytest
from deltalake import DeltaTable

from pi_dagster.lake import CommitUncertainError, Lake, TimeseriesTable, WindowConflictError
from pi_dagster_tests.lake_scenarios import (
    CallingBeforeCommit,
    Event,
    events_in,
    generation,
    hour,
    peak_memory_of_a_replacement,
    replace,
    replace_again_and_again,
    replace_for_ever,
    replace_when_all_are_about_to_commit,
    stop_among_the_batches,
    stop_before_the_commit,
)

SPAWN = multiprocessing.get_context("spawn")


@pytest.fixture
def table(tmp_path: Path) -> TimeseriesTable:
    return TimeseriesTable.open(Lake(str(tmp_path / "lake")))


def run_together(target: Any, arguments: list[tuple[Any, ...]]) -> None:
    together = SPAWN.Barrier(len(arguments))
    processes = [SPAWN.Process(target=target, args=(*args, together)) for args in arguments]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0] * len(processes)


@contextmanager
def started(target: Any, *arguments: Any) -> Iterator[tuple[BaseProcess, Connection]]:
    ours, theirs = SPAWN.Pipe()
    process = SPAWN.Process(target=target, args=(*arguments, theirs))
    process.start()
    theirs.close()
    try:
        yield process, ours
    finally:
        process.kill()
        process.join()


def live_files(table: TimeseriesTable) -> list[str]:
    return DeltaTable(table.uri).file_uris()


def data_files(table: TimeseriesTable) -> list[Path]:
    return list(Path(table.uri).rglob("part-*"))


@pytest.mark.parametrize("window_before", ["empty", "filled"])
def test_two_processes_on_one_window_leave_the_rows_of_one(table: TimeseriesTable, window_before: str) -> None:
    if window_before == "filled":
        replace(table, generation(0.0))
    first = table.version
    run_together(replace_when_all_are_about_to_commit, [(table.lake.uri, value, "boilers") for value in (1.0, 2.0)])
    assert table.version == first + 2
    assert events_in(table) in (sorted(generation(1.0)), sorted(generation(2.0)))


def test_processes_on_different_partitions_all_commit(table: TimeseriesTable) -> None:
    groups = [f"group-{number}" for number in range(8)]
    run_together(replace_again_and_again, [(table.lake.uri, group, 5) for group in groups])
    assert table.version == 40
    for group in groups:
        assert events_in(table, group) == sorted(generation(4.0))


def test_a_commit_to_the_window_in_between_is_replaced_too(table: TimeseriesTable) -> None:
    replace(table, [Event("a", hour(1)), Event("a", hour(5))])

    def another_writer() -> None:
        replace(table, [Event("a", hour(2), value=7.0), Event("a", hour(6), value=7.0)])

    replace(
        table,
        [Event("a", hour(2), value=8.0)],
        start=hour(0),
        end=hour(4),
        commit_info=CallingBeforeCommit(another_writer),
    )
    assert events_in(table) == [Event("a", hour(2), value=8.0), Event("a", hour(6), value=7.0)]


def test_a_commit_elsewhere_in_between_does_not_copy_the_kept_rows_again(table: TimeseriesTable) -> None:
    replace(table, [Event("a", hour(1)), Event("a", hour(5))])
    names: list[set[Path]] = []

    def another_writer() -> None:
        names.append(set(data_files(table)))
        replace(table, generation(7.0), group="pumps")

    replace(table, [], start=hour(4), end=hour(6), commit_info=CallingBeforeCommit(another_writer))
    assert {path for path in data_files(table) if "boilers" in str(path)} == names[0]
    assert events_in(table) == [Event("a", hour(1))]


def test_a_table_that_never_rests_is_given_up_and_no_file_is_left(
    table: TimeseriesTable, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pi_dagster.lake.commit.COMMIT_TRIES", 3)

    class NeverRests(CallingBeforeCommit):
        def __iter__(self) -> Iterator[str]:
            replace(table, batches=[], group="pumps")
            return iter(())

    with pytest.raises(WindowConflictError, match="Run again"):
        replace(table, generation(1.0), commit_info=NeverRests(lambda: None))
    assert data_files(table) == []


def test_an_interrupt_before_the_commit_leaves_no_file(table: TimeseriesTable) -> None:
    def interrupt() -> None:
        assert data_files(table)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        replace(table, generation(1.0), commit_info=CallingBeforeCommit(interrupt))
    assert data_files(table) == []
    assert table.count() == 0


def test_a_process_killed_among_the_batches_leaves_the_old_rows(table: TimeseriesTable) -> None:
    replace(table, generation(1.0))
    with started(stop_among_the_batches, table.lake.uri) as (process, child):
        child.recv()
        process.kill()
        process.join()
    assert len(data_files(table)) > len(live_files(table))
    assert events_in(table) == sorted(generation(1.0))
    replace(table, generation(2.0))
    assert events_in(table) == sorted(generation(2.0))


def test_a_process_killed_between_files_and_commit_leaves_the_old_rows(table: TimeseriesTable) -> None:
    replace(table, generation(1.0))
    with started(stop_before_the_commit, table.lake.uri) as (process, child):
        child.recv()
        process.kill()
        process.join()
    assert len(data_files(table)) == len(live_files(table)) + 2
    assert events_in(table) == sorted(generation(1.0))
    replace(table, generation(2.0))
    assert events_in(table) == sorted(generation(2.0))


def test_a_process_killed_at_any_moment_leaves_the_old_rows_or_the_new_ones(table: TimeseriesTable) -> None:
    moments = random.Random(7)
    committed = 0
    for _ in range(8):
        with started(replace_for_ever, table.lake.uri, committed + 1) as (process, child):
            committed = child.recv()
            process.join(timeout=moments.uniform(0, 0.12))
            process.kill()
            process.join()
            with suppress(EOFError):
                while child.poll():
                    committed = child.recv()
        rows = events_in(table)
        (found,) = {event.value for event in rows}
        assert found in (committed, committed + 1)
        assert rows == sorted(generation(float(found or 0)))
        committed = int(found or 0)


def test_stray_files_of_killed_processes_go_with_a_full_vacuum(table: TimeseriesTable) -> None:
    with started(stop_before_the_commit, table.lake.uri) as (process, child):
        child.recv()
        process.kill()
        process.join()
    assert data_files(table)
    DeltaTable(table.uri).vacuum(retention_hours=0, enforce_retention_duration=False, dry_run=False, full=True)
    assert data_files(table) == []


def test_a_commit_that_landed_counts_although_its_checkpoint_failed(table: TimeseriesTable) -> None:
    DeltaTable(table.uri).alter.set_table_properties({"delta.checkpointInterval": "1"})
    in_the_way = Path(table.uri) / "_delta_log" / "_last_checkpoint"
    in_the_way.unlink()
    in_the_way.mkdir()
    commit = replace(table, generation(1.0))
    assert commit.version == table.version
    assert events_in(table) == sorted(generation(1.0))


def test_a_commit_of_unknown_fate_keeps_its_files_for_the_case_that_it_landed(table: TimeseriesTable) -> None:
    in_the_way = Path(table.uri) / "_delta_log" / f"{table.version + 1:020}.json"
    in_the_way.mkdir()
    with pytest.raises(CommitUncertainError, match="Run again"):
        replace(table, generation(1.0))
    assert len(data_files(table)) == 1
    in_the_way.rmdir()
    replace(table, generation(1.0))
    assert events_in(table) == sorted(generation(1.0))


def test_memory_does_not_grow_with_the_rows(tmp_path: Path) -> None:
    peaks = []
    for row_groups in (1, 20):
        with started(peak_memory_of_a_replacement, str(tmp_path / str(row_groups)), row_groups) as (_, child):
            (loaded, after_loading), (replaced, after_copying) = child.recv(), child.recv()
        assert loaded.rows == row_groups * 1_000_000
        assert 0 < replaced.replaced_rows < loaded.rows
        assert replaced.kept_rows == loaded.rows - replaced.replaced_rows
        peaks.append((after_loading, after_copying))
    (small_load, small_copy), (large_load, large_copy) = peaks
    # Twenty million rows take 1,000 MiB in memory; the rest is what the allocators keep.
    assert large_load < 1.4 * small_load
    assert large_copy < 1.5 * small_copy
