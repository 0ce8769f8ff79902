"""Rows, and processes that write them, for the tests of the lake."""

from __future__ import annotations

import resource
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta, timezone
from multiprocessing.connection import Connection
from multiprocessing.synchronize import Barrier

import numpy as np
import pyarrow as pa

from pi_dagster.lake import TIMESERIES_FILE_SCHEMA, Lake, TimeseriesTable, WindowCommit

DAY = date(2026, 1, 1)
MIDNIGHT = datetime(2026, 1, 1, tzinfo=timezone.utc)
NEXT_MIDNIGHT = MIDNIGHT + timedelta(days=1)


@dataclass(frozen=True, order=True)
class Event:
    """One row, as far as tests tell rows apart."""

    tag: str
    instant: datetime
    ordinal: int = 0
    value: float | None = 1.0


def hour(hours: float) -> datetime:
    return MIDNIGHT + timedelta(hours=hours)


def batch_of(events: Sequence[Event]) -> pa.RecordBatch:
    tags = pa.array([event.tag for event in events], pa.string()).dictionary_encode()
    instants = pa.array([event.instant for event in events], pa.timestamp("us", "UTC"))
    values = pa.array([event.value for event in events], pa.float64())
    return _batch(tags, instants, values, pa.array([event.ordinal for event in events], pa.int32()))


def dense_batch(*, rows: int, tags: int, seed: int) -> pa.RecordBatch:
    """Random values spread over the day, sorted by tag, then time."""
    random = np.random.default_rng(seed)
    per_tag = rows // tags
    names = pa.array([f"tag-{seed:04}-{number:04}" for number in range(tags)])
    codes = pa.array(np.repeat(np.arange(tags, dtype=np.int32), per_tag))
    offsets = np.tile(np.linspace(0, 86_399_999_999, per_tag).astype(np.int64), tags)
    start = int(MIDNIGHT.timestamp()) * 1_000_000
    return _batch(
        pa.DictionaryArray.from_arrays(codes, names),
        pa.array(start + offsets, pa.timestamp("us", "UTC")),
        pa.array(random.random(per_tag * tags)),
        pa.array(np.zeros(per_tag * tags, np.int32)),
    )


def _batch(tags: pa.Array, instants: pa.Array, values: pa.Array, ordinals: pa.Array) -> pa.RecordBatch:
    rows = len(tags)
    yes, no = pa.repeat(True, rows), pa.repeat(False, rows)
    columns = {
        "tag_webid": tags,
        "timestamp": instants,
        "value": values,
        "quality_good": yes,
        "quality_questionable": no,
        "units": pa.repeat("degC", rows).dictionary_encode(),
        "ingestion_timestamp": pa.repeat(pa.scalar(NEXT_MIDNIGHT, pa.timestamp("us", "UTC")), rows),
        "tag_name": tags,
        "value_string": pa.nulls(rows, pa.string()),
        "digital_state_code": pa.nulls(rows, pa.int32()),
        "is_system_state": no,
        "quality_substituted": no,
        "quality_annotated": no,
        "event_ordinal": ordinals,
    }
    names = TIMESERIES_FILE_SCHEMA.names
    return pa.RecordBatch.from_arrays([columns[name] for name in names], names=names)


def replace(
    table: TimeseriesTable,
    events: Sequence[Event] = (),
    *,
    batches: Iterable[pa.RecordBatch] | None = None,
    start: datetime = MIDNIGHT,
    end: datetime = NEXT_MIDNIGHT,
    group: str = "boilers",
    keep_tags: Collection[str] = (),
    commit_info: Mapping[str, str] | None = None,
) -> WindowCommit:
    """Replace a window of the test day, by default all of it."""
    return table.replace_window(
        partition_date=DAY,
        tag_group=group,
        start=start,
        end=end,
        batches=[batch_of(events)] if batches is None else batches,
        keep_tags=keep_tags,
        commit_info={} if commit_info is None else commit_info,
    )


def events_in(table: TimeseriesTable, group: str = "boilers") -> list[Event]:
    """The partition's rows, sorted."""
    rows = table.to_arrow(["tag_webid", "timestamp", "event_ordinal", "value"], partition_date=DAY, tag_group=group)
    return sorted(Event(*row.values()) for row in rows.to_pylist())


def generation(value: float, size: int = 500) -> list[Event]:
    """A full window of rows that all hold `value`, so that a mixture shows."""
    return [Event(f"tag-{number % 5}", hour(number * 24 / size), value=value) for number in range(size)]


class CallingBeforeCommit(Mapping[str, str]):
    """Commit info that calls back when it is first read: the files are written, the commit is next."""

    def __init__(self, callback: Callable[[], object]) -> None:
        self._callback: Callable[[], object] | None = callback

    def __iter__(self) -> Iterator[str]:
        callback, self._callback = self._callback, None
        if callback is not None:
            callback()
        return iter(())

    def __len__(self) -> int:
        return 0

    def __getitem__(self, key: str) -> str:
        raise KeyError(key)


def create_table(uri: str, together: Barrier) -> None:
    together.wait()
    TimeseriesTable.open(Lake(uri))


def replace_when_all_are_about_to_commit(uri: str, value: float, group: str, together: Barrier) -> None:
    table = TimeseriesTable.open(Lake(uri))
    replace(table, generation(value), group=group, commit_info=CallingBeforeCommit(together.wait))


def replace_again_and_again(uri: str, group: str, times: int, together: Barrier) -> None:
    table = TimeseriesTable.open(Lake(uri))
    together.wait()
    for number in range(times):
        replace(table, generation(float(number)), group=group)


def stop_among_the_batches(uri: str, parent: Connection) -> None:
    def batches() -> Iterator[pa.RecordBatch]:
        yield dense_batch(rows=1_000_000, tags=100, seed=1)
        yield dense_batch(rows=1_000_000, tags=100, seed=2)
        parent.send("a row group is written")
        parent.recv()

    replace(TimeseriesTable.open(Lake(uri)), batches=batches())


def stop_before_the_commit(uri: str, parent: Connection) -> None:
    def stop() -> None:
        parent.send("the files are written")
        parent.recv()

    replace(
        TimeseriesTable.open(Lake(uri)),
        [Event("tag-0", hour(5), value=2.0)],
        start=hour(4),
        end=hour(6),
        commit_info=CallingBeforeCommit(stop),
    )


def replace_for_ever(uri: str, first: int, parent: Connection) -> None:
    table = TimeseriesTable.open(Lake(uri))
    number = first
    while True:
        replace(table, generation(float(number)))
        parent.send(number)
        number += 1


def peak_memory_of_a_replacement(uri: str, row_groups: int, parent: Connection) -> None:
    """Load a day, then replace an hour of it, which copies the rest; report the peak RSS in MiB after each."""
    table = TimeseriesTable.open(Lake(uri))
    for start, end in ((MIDNIGHT, NEXT_MIDNIGHT), (hour(5), hour(6))):
        wanted = range(row_groups * 10 if start == MIDNIGHT else 0)
        batches = (dense_batch(rows=100_000, tags=100, seed=number) for number in wanted)
        commit = replace(table, batches=batches, start=start, end=end)
        parent.send((commit, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024))


def read_everything(uri: str) -> None:
    assert TimeseriesTable.open(Lake(uri), create=False).to_arrow().num_rows
