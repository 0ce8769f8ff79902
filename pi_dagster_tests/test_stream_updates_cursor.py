"""The cursor of the stream updates sensor: small at any number of tags and partitions, and never less than it was."""

from __future__ import annotations

from datetime import date, timedelta

import pytest

from pi_dagster.automation.updates_cursor import LONGEST_CURSOR, MarkerMemory, UpdatesCursor
from pi_dagster.ingest.stream_updates import Following

GROUPS = [f"a group with a name as long as it may be, which makes keys long {number:03d}"[:64] for number in range(50)]
FIRST = date(2016, 1, 1)


def day(number: int) -> date:
    return FIRST + timedelta(days=number)


def test_a_cursor_is_read_as_it_was_written() -> None:
    pending = {(day(0), "a"), (day(1), "a"), (day(9), "a"), (day(1), "b")}
    cursor = UpdatesCursor("x:1", frozenset(pending), 1_790_000_000)
    assert UpdatesCursor.parse(str(cursor), ["a", "b"]) == cursor
    assert UpdatesCursor.parse(str(cursor), ["b"]).pending == {(day(1), "b")}, "a group that the site no longer has"


@pytest.mark.parametrize("text", [None, "", "{}", "no json", "[]", '{"position": "x:1", "pending": {"a": ["x"]}}'])
def test_a_cursor_that_cannot_be_read_is_one_without_markers(text: str | None) -> None:
    assert UpdatesCursor.parse(text, ["a"]) == UpdatesCursor()


@pytest.mark.parametrize(
    "pending",
    [
        {(day(number), group) for number in range(3650) for group in GROUPS},
        {(day(2 * number), GROUPS[0]) for number in range(1000)},
        {(day(7 * number + index), group) for number in range(300) for index, group in enumerate(GROUPS)},
    ],
    ids=["ten years of everything", "every other day", "scattered"],
)
def test_no_number_of_partitions_makes_it_long_and_none_is_lost(pending: set[tuple[date, str]]) -> None:
    text = str(UpdatesCursor("0123456789ab:1000000", frozenset(pending)))
    assert len(text) <= LONGEST_CURSOR
    assert UpdatesCursor.parse(text, GROUPS).pending >= pending


def test_the_markers_of_100_000_tags_take_a_cursor_of_60_characters() -> None:
    memory = MarkerMemory()
    following = Following({f"I1DP{number:032d}": f"{number:032x}_{number}" for number in range(100_000)})
    cursor = UpdatesCursor(memory.keep(following), saved_at=1_790_000_000)
    assert len(str(cursor)) <= 60
    assert memory.at(UpdatesCursor.parse(str(cursor), []).position) is following


def test_markers_from_before_a_tick_are_kept_until_its_cursor_was_saved() -> None:
    memory = MarkerMemory()
    old, new = Following({"a": "1"}), Following({"a": "2"})
    saved = memory.keep(old)
    lost = memory.keep(new)
    assert memory.at(saved) is old
    assert memory.at(lost) is None, "a tick that went on from the old ones has told its changes again"
    following = memory.keep(new)
    assert memory.at(following) is new
    assert memory.at(saved) is None


def test_another_process_has_none_of_them() -> None:
    position = MarkerMemory().keep(Following({"a": "1"}))
    other = MarkerMemory()
    other.keep(Following())
    assert other.at(position) is None
