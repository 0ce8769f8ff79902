from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterator
from datetime import date, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from deltalake import DeltaTable, QueryBuilder, write_deltalake
from hypothesis import given, settings
from hypothesis import strategies as st

from pi_dagster.lake import TIMESERIES_SCHEMA, Lake, RowsRefusedError, TimeseriesTable
from pi_dagster_tests.lake_scenarios import (
    DAY,
    MIDNIGHT,
    NEXT_MIDNIGHT,
    Event,
    batch_of,
    events_in,
    generation,
    hour,
    replace,
)


@pytest.fixture
def table(tmp_path: Path) -> TimeseriesTable:
    return TimeseriesTable.open(Lake(str(tmp_path / "lake")))


TAGS = ["a", "b", "c"]
# Instants on, just before and just after bounds and milliseconds, where windows and rounded statistics meet.
OFFSETS = [0, 1, 999, 1000, 1001, 1999, 2000, 60_000_000, 60_000_999, 60_001_000, 86_399_999_000, 86_399_999_999]
INSTANTS = [MIDNIGHT + timedelta(microseconds=offset) for offset in OFFSETS]
BOUNDS = [*INSTANTS, NEXT_MIDNIGHT]


@st.composite
def replacements(draw: st.DrawFn) -> tuple[datetime, datetime, list[Event], list[str]]:
    start, end = sorted((draw(st.sampled_from(BOUNDS)), draw(st.sampled_from(BOUNDS))))
    inside = [instant for instant in INSTANTS if start <= instant < end]
    one_event = st.builds(
        Event,
        st.sampled_from(TAGS),
        st.sampled_from(inside or [start]),
        st.integers(0, 2),
        st.none() | st.floats(-5, 5, allow_nan=False),
    )
    events = draw(st.lists(one_event, max_size=6 if inside else 0))
    return (
        start,
        end,
        sorted(events, key=lambda event: (event.tag, event.instant)),
        draw(st.lists(st.sampled_from(TAGS), unique=True, max_size=2)),
    )


def sorted_rows(events: list[Event]) -> list[tuple[object, ...]]:
    return sorted((event.tag, event.instant, event.ordinal, str(event.value)) for event in events)


@settings(max_examples=40)
@given(st.lists(replacements(), min_size=1, max_size=6), st.sampled_from(BOUNDS))
def test_any_sequence_of_replacements_leaves_what_a_plain_list_would_hold(
    steps: list[tuple[datetime, datetime, list[Event], list[str]]], bound: datetime
) -> None:
    folder = tempfile.mkdtemp()
    try:
        table = TimeseriesTable.open(Lake(folder))
        model: list[Event] = []
        for start, end, events, keep_tags in steps:
            commit = replace(table, events, start=start, end=end, keep_tags=keep_tags)
            stays = [row for row in model if not start <= row.instant < end or row.tag in keep_tags]
            new = [row for row in events if row.tag not in keep_tags]
            assert (commit.rows, commit.replaced_rows) == (len(new), len(model) - len(stays))
            model = stays + new
            rows = table.to_arrow(["tag_webid", "timestamp", "event_ordinal", "value"]).to_pylist()
            assert sorted_rows([Event(*row.values()) for row in rows]) == sorted_rows(model)
        # A reader that skips files by their statistics must not miss a row.
        query = f"SELECT count(*) AS rows FROM t WHERE timestamp >= '{bound.isoformat()}'"
        counted = pa.table(QueryBuilder().register("t", DeltaTable(table.uri)).execute(query).read_all())
        assert counted["rows"].to_pylist() == [sum(row.instant >= bound for row in model)]
    finally:
        shutil.rmtree(folder)


def test_a_second_run_of_a_window_leaves_the_same_rows(table: TimeseriesTable) -> None:
    replace(table, generation(1.0))
    first = events_in(table)
    commit = replace(table, generation(1.0))
    assert events_in(table) == first
    assert (commit.rows, commit.replaced_rows, commit.kept_rows) == (500, 500, 0)


def test_events_of_one_instant_survive_a_second_run(table: TimeseriesTable) -> None:
    events = [Event("a", hour(1), ordinal, value) for ordinal, value in enumerate([1.0, 1.0, 2.0])]
    for _ in range(3):
        replace(table, events)
    assert events_in(table) == events


def test_only_the_window_of_the_partition_is_replaced(table: TimeseriesTable) -> None:
    replace(table, [Event("a", hour(at)) for at in range(6)])
    commit = replace(table, [Event("a", hour(2), value=9.0)], start=hour(2), end=hour(4))
    assert events_in(table) == [Event("a", hour(at), value=9.0 if at == 2 else 1.0) for at in (0, 1, 2, 4, 5)]
    assert (commit.rows, commit.replaced_rows, commit.kept_rows) == (1, 2, 4)


def test_other_partitions_keep_their_files(table: TimeseriesTable) -> None:
    replace(table, generation(1.0), group="pumps")
    before = DeltaTable(table.uri).file_uris()
    replace(table, generation(2.0), group="boilers")
    replace(table, generation(3.0), group="boilers")
    assert set(before) <= set(DeltaTable(table.uri).file_uris())
    assert events_in(table, "pumps") == sorted(generation(1.0))


def test_files_of_the_partition_outside_the_window_are_not_rewritten(table: TimeseriesTable) -> None:
    replace(table, [Event("a", hour(1) - timedelta(microseconds=1))], start=hour(0), end=hour(1))
    before = DeltaTable(table.uri).file_uris()
    commit = replace(table, [Event("a", hour(1))], start=hour(1), end=hour(2))
    assert set(before) < set(DeltaTable(table.uri).file_uris())
    assert commit.kept_rows == 0


def test_no_batches_empty_the_window_in_a_commit(table: TimeseriesTable) -> None:
    replace(table, generation(1.0))
    commit = replace(table, batches=[])
    assert (commit.version, commit.rows, commit.files, commit.replaced_rows) == (2, 0, 0, 500)
    assert table.count() == 0


def test_an_empty_window_of_an_empty_table_is_still_a_commit(table: TimeseriesTable) -> None:
    assert replace(table, batches=[], commit_info={"run_id": "7"}).version == table.version == 1


def test_tags_to_keep_may_become_known_while_the_batches_come(table: TimeseriesTable) -> None:
    replace(table, [Event("a", hour(1)), Event("b", hour(1))])
    failed: set[str] = set()

    def batches() -> Iterator[pa.RecordBatch]:
        yield batch_of([Event("a", hour(2), value=2.0), Event("b", hour(2), value=2.0)])
        failed.add("b")

    commit = replace(table, batches=batches(), keep_tags=failed)
    assert events_in(table) == [Event("a", hour(2), value=2.0), Event("b", hour(1))]
    assert (commit.rows, commit.kept_rows, commit.replaced_rows) == (1, 1, 1)


def test_batches_with_plain_and_with_encoded_strings_may_be_mixed(table: TimeseriesTable) -> None:
    encoded = batch_of([Event("a", hour(1))])
    at = encoded.schema.get_field_index("tag_webid")
    plain = batch_of([Event("b", hour(1))])
    replace(table, batches=[encoded, plain.set_column(at, "tag_webid", plain.column(at).dictionary_decode())])
    assert [event.tag for event in events_in(table)] == ["a", "b"]


@pytest.mark.parametrize("instant", [hour(1), hour(3)])
def test_a_row_outside_the_window_is_refused_and_nothing_changes(table: TimeseriesTable, instant: datetime) -> None:
    replace(table, [Event("a", hour(5))])
    with pytest.raises(RowsRefusedError, match="not within the window"):
        replace(table, [Event("a", hour(2)), Event("a", instant)], start=hour(1.5), end=hour(3))
    assert events_in(table) == [Event("a", hour(5))]
    assert table.version == 1
    assert len(list(Path(table.uri).rglob("*.parquet"))) == 1


def test_a_row_without_its_key_is_refused(table: TimeseriesTable) -> None:
    rows = batch_of([Event("a", hour(1))])
    at = rows.schema.get_field_index("event_ordinal")
    with pytest.raises(RowsRefusedError, match="lack event_ordinal"):
        replace(table, batches=[rows.set_column(at, "event_ordinal", pa.nulls(1, pa.int32()))])


def test_a_batch_with_other_columns_is_refused_with_their_names(table: TimeseriesTable) -> None:
    rows = batch_of([Event("a", hour(1))])
    at = rows.schema.get_field_index("value")
    with pytest.raises(RowsRefusedError, match="value is string"):
        replace(table, batches=[rows.set_column(at, "value", pa.array(["1"]))])


def test_a_window_outside_its_day_is_refused(table: TimeseriesTable) -> None:
    with pytest.raises(ValueError, match="does not lie in the day"):
        replace(table, [], end=NEXT_MIDNIGHT + timedelta(microseconds=1))
    with pytest.raises(ValueError, match="must be in UTC"):
        replace(table, [], start=datetime(2026, 1, 1))  # noqa: DTZ001
    with pytest.raises(ValueError, match="tag group"):
        replace(table, [], group="a/../b")


def test_the_commit_says_which_window_and_run_wrote_it(table: TimeseriesTable) -> None:
    replace(table, generation(1.0), end=hour(24), commit_info={"run_id": "4711", "site": "north"})
    (latest,) = DeltaTable(table.uri).history(1)
    expected = {
        "run_id": "4711",
        "site": "north",
        "partition_date": "2026-01-01",
        "tag_group": "boilers",
        "window_start": "2026-01-01T00:00:00+00:00",
        "window_end": "2026-01-02T00:00:00+00:00",
    }
    assert latest.items() >= expected.items()


def test_a_file_that_another_writer_compacted_is_replaced_like_our_own(table: TimeseriesTable) -> None:
    for at in range(6):
        replace(table, [Event("a", hour(at))], start=hour(at), end=hour(at + 1))
    DeltaTable(table.uri).optimize.compact()
    replace(table, [Event("a", hour(3), value=5.0)], start=hour(2), end=hour(4))
    assert [event.instant.hour for event in events_in(table)] == [0, 1, 3, 4, 5]


def test_a_file_that_another_writer_edited_is_copied_like_our_own(table: TimeseriesTable) -> None:
    """delta-rs writes its strings as views."""
    replace(table, [Event("a", hour(at), value=1.0) for at in range(6)])
    DeltaTable(table.uri).update(updates={"value": "2.0"}, predicate="tag_webid = 'a'")
    replace(table, [Event("a", hour(3), value=5.0)], start=hour(2), end=hour(4))
    assert [(event.instant.hour, event.value) for event in events_in(table)] == [
        (0, 2.0),
        (1, 2.0),
        (3, 5.0),
        (4, 2.0),
        (5, 2.0),
    ]


def test_a_file_without_statistics_is_read_to_find_its_rows(table: TimeseriesTable) -> None:
    replace(table, [Event("a", hour(at)) for at in range(6)])
    rows = table.to_arrow()
    DeltaTable(table.uri).alter.set_table_properties({"delta.dataSkippingNumIndexedCols": "0"})
    write_deltalake(table.uri, rows, mode="overwrite")
    log = Path(table.uri) / "_delta_log" / f"{table.version:020}.json"
    added = [json.loads(line)["add"] for line in log.read_text().splitlines() if '"add"' in line]
    assert all("timestamp" not in json.loads(add["stats"])["minValues"] for add in added)
    replace(table, [], start=hour(2), end=hour(4))
    assert [event.instant.hour for event in events_in(table)] == [0, 1, 4, 5]


def test_bounds_that_another_writer_cut_to_milliseconds_hide_no_row(table: TimeseriesTable) -> None:
    late = hour(1) + timedelta(microseconds=123_999)
    replace(table, [Event("a", hour(0.5)), Event("a", late)])
    log = Path(table.uri) / "_delta_log" / f"{table.version:020}.json"
    log.write_text(log.read_text().replace("01:00:00.124Z", "01:00:00.123Z"))
    replace(table, [], start=hour(1) + timedelta(microseconds=123_500), end=hour(2))
    assert events_in(table) == [Event("a", hour(0.5))]


def test_rows_can_be_read_by_column_and_condition(table: TimeseriesTable) -> None:
    replace(table, [Event("a", hour(at), value=float(at)) for at in range(5)])
    rows = table.to_arrow(["value"], partition_date=DAY, where=pc.field("value") > 2)
    assert sorted(rows["value"].to_pylist()) == [3.0, 4.0]
    assert table.to_arrow(partition_date=date(2026, 1, 2)).num_rows == 0
    assert table.to_arrow().schema.equals(TIMESERIES_SCHEMA)
