"""pi_event_frames in the lake: days replaced whole, and frames that move from one day to another."""

from __future__ import annotations

from datetime import date, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from pi_dagster.lake import EventFramesTable, Lake, RowsRefusedError
from pi_dagster.lake.event_frames import DayChangedError
from pi_dagster.lake.schemas import EVENT_FRAMES_FILE_SCHEMA

DAY = date(2026, 11, 2)
NEXT = DAY + timedelta(days=1)


@pytest.fixture
def table(tmp_path: Path) -> EventFramesTable:
    return EventFramesTable.open(Lake(str(tmp_path / "lake")))


def frame(name: str, day: date = DAY, hour: int = 6, **columns: Any) -> dict[str, Any]:
    start = datetime(day.year, day.month, day.day, hour, tzinfo=timezone.utc)
    return {
        "event_frame_id": name,
        "event_name": name,
        "start_time": start,
        "event_attributes": [("Product", "Ünit|1"), ("Empty", None)],
        "attribute_units": [("Flow", "t/h")],
        "category_names": ["a", "b"],
        "referenced_element_ids": [],
        **columns,
    }


def rows(*frames: dict[str, Any]) -> pa.Table:
    return pa.Table.from_pylist(list(frames), schema=EVENT_FRAMES_FILE_SCHEMA)


def load(table: EventFramesTable, day: date, *frames: dict[str, Any], moved_from: tuple[date, ...] = ()) -> int:
    commit = table.replace_day(table.read_day(day), rows(*frames), moved_from=moved_from, commit_info={"run_id": "r"})
    return commit.moved_rows


def ids(table: EventFramesTable) -> list[tuple[str, date]]:
    found = table.to_arrow(["event_frame_id", "start_date"]).to_pylist()
    return sorted((row["event_frame_id"], row["start_date"]) for row in found)


def test_a_day_holds_its_frames_as_they_were_written(table: EventFramesTable) -> None:
    written = rows(
        frame("a", is_open=True, severity="Major"), frame("b", end_time=datetime(2026, 11, 3, tzinfo=timezone.utc))
    )
    table.replace_day(table.read_day(DAY), written, commit_info={})
    assert table.read_day(DAY).rows.sort_by("event_frame_id").to_pylist() == written.to_pylist()


def test_a_day_is_replaced_whole_and_no_other(table: EventFramesTable) -> None:
    load(table, DAY, frame("a"), frame("b"))
    load(table, NEXT, frame("c", NEXT))
    load(table, DAY, frame("b"), frame("d"))
    assert ids(table) == [("b", DAY), ("c", NEXT), ("d", DAY)]


def test_a_day_without_frames_is_emptied(table: EventFramesTable) -> None:
    load(table, DAY, frame("a"))
    load(table, DAY)
    assert ids(table) == []


def test_a_frame_that_moved_leaves_its_old_day_in_the_same_commit(table: EventFramesTable) -> None:
    load(table, DAY, frame("a"), frame("b"))
    version = table.version
    assert load(table, NEXT, frame("a", NEXT), moved_from=(DAY,)) == 1
    assert ids(table) == [("a", NEXT), ("b", DAY)]
    assert table.version == version + 1
    assert table.read_day(DAY).rows.to_pylist() == rows(frame("b")).to_pylist()


def test_a_day_that_another_writer_replaced_meanwhile_is_not_replaced(table: EventFramesTable) -> None:
    before = table.read_day(DAY)
    load(table, DAY, frame("newer"))
    with pytest.raises(DayChangedError):
        table.replace_day(before, rows(frame("older")), commit_info={})
    assert ids(table) == [("newer", DAY)]


def test_another_day_may_be_replaced_meanwhile(table: EventFramesTable) -> None:
    before = table.read_day(DAY)
    load(table, NEXT, frame("b", NEXT))
    table.replace_day(before, rows(frame("a")), commit_info={})
    assert ids(table) == [("a", DAY), ("b", NEXT)]


@pytest.mark.parametrize(
    "wrong",
    [[frame("a"), frame("a")], [frame("a", NEXT)], [{"start_time": datetime(2026, 11, 2, tzinfo=timezone.utc)}]],
    ids=["twice", "of another day", "without id"],
)
def test_rows_that_would_break_the_table_are_refused(table: EventFramesTable, wrong: list[dict[str, Any]]) -> None:
    load(table, DAY, frame("good"))
    with pytest.raises(RowsRefusedError):
        table.replace_day(table.read_day(DAY), rows(*wrong), commit_info={})
    assert ids(table) == [("good", DAY)]
