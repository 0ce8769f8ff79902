from __future__ import annotations

from datetime import datetime, timezone

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pi_dagster.simulator.archive import Archive, MemoryBase, UpdateOption
from pi_dagster.simulator.events import MAX_TICKS, SUBSTITUTED, Events, iso_timestamp, to_ticks
from pi_dagster.simulator.points import Point

POINT = Point(id=7, name="PMP17:VIB_DE.PV")


def events(*rows: tuple[int, float]) -> Events:
    return Events.of("Float32", [ticks for ticks, _ in rows], [value for _, value in rows])


def archive(*rows: tuple[int, float]) -> Archive:
    return Archive(MemoryBase([POINT], {POINT.id: events(*rows)}))


def rows(found: Events) -> list[tuple[int, float]]:
    return list(zip(found.ticks.tolist(), found.values.tolist(), strict=True))


def held(of: Archive) -> list[tuple[int, float]]:
    return rows(of.events(POINT, 0, MAX_TICKS))


def test_a_range_includes_the_events_at_both_ends() -> None:
    assert rows(archive((1, 1), (2, 2), (3, 3), (4, 4)).events(POINT, 2, 3)) == [(2, 2), (3, 3)]


def test_events_of_one_instant_keep_the_order_they_were_given_in() -> None:
    assert held(archive((5, 3), (2, 9), (5, 1), (5, 2))) == [(2, 9), (5, 3), (5, 1), (5, 2)]


def test_reading_newest_first_mirrors_the_archive_order_and_limits_from_the_end() -> None:
    found = archive((1, 1), (2, 2), (2, 3), (4, 4)).events(POINT, 1, 4, limit=3, descending=True)
    assert rows(found) == [(4, 4), (2, 3), (2, 2)]


def test_neighbours_are_strictly_before_and_after() -> None:
    of = archive((1, 1), (5, 5), (9, 9))
    assert rows(of.event_before(POINT, 5)) == [(1, 1)]
    assert rows(of.event_after(POINT, 5)) == [(9, 9)]
    assert len(of.event_after(POINT, 9)) == 0


def test_the_snapshot_is_the_last_event_not_after_now() -> None:
    of = archive((1, 1), (5, 5), (9, 9))
    assert rows(of.snapshot(POINT, 5)) == [(5, 5)]
    assert len(of.snapshot(POINT, 0)) == 0


@pytest.mark.parametrize(
    ("option", "at_held", "at_free"),
    [
        (UpdateOption.REPLACE, [(1, 1), (2, 9)], [(1, 1), (2, 2), (2, 3), (7, 9)]),
        (UpdateOption.INSERT, [(1, 1), (2, 2), (2, 3), (2, 9)], [(1, 1), (2, 2), (2, 3), (7, 9)]),
        (UpdateOption.INSERT_NO_COMPRESSION, [(1, 1), (2, 2), (2, 3), (2, 9)], [(1, 1), (2, 2), (2, 3), (7, 9)]),
        (UpdateOption.NO_REPLACE, [(1, 1), (2, 2), (2, 3)], [(1, 1), (2, 2), (2, 3), (7, 9)]),
        (UpdateOption.REPLACE_ONLY, [(1, 1), (2, 9)], [(1, 1), (2, 2), (2, 3)]),
        (UpdateOption.REMOVE, [(1, 1)], [(1, 1), (2, 2), (2, 3)]),
    ],
)  # fmt: skip
def test_a_write_meets_what_is_there_as_its_update_option_says(
    option: UpdateOption, at_held: list[tuple[int, float]], at_free: list[tuple[int, float]]
) -> None:
    before = ((1, 1.0), (2, 2.0), (2, 3.0))
    for instant, expected in ((2, at_held), (7, at_free)):
        of = archive(*before)
        applied = of.update(POINT, events((instant, 9)), option)
        assert held(of) == expected
        assert applied == [expected != list(before)]


def test_an_event_written_over_another_is_marked_substituted() -> None:
    of = archive((1, 1))
    of.replace(POINT, events((1, 9), (2, 9)))
    assert of.events(POINT, 0, 9).flags.tolist() == [SUBSTITUTED, 0]


def test_an_edit_leaves_the_base_and_the_events_written_as_they_were() -> None:
    of = archive((1, 1))
    written = events((1, 9))
    of.replace(POINT, written)
    assert rows(of.base.events(POINT, 0, 9)) == [(1, 1)]
    assert written.flags.tolist() == [0]


@pytest.mark.parametrize("descending", [False, True])
def test_a_limited_read_skips_no_event_between_a_removed_one_and_a_late_one(descending: bool) -> None:
    of = archive(*((instant, instant) for instant in range(1, 9)))
    of.remove(POINT, events((1, 0), (8, 0)))
    of.insert(POINT, events((0, 0), (9, 9)))
    found = of.events(POINT, 1, 9, 2) if not descending else of.events(POINT, 0, 8, 2, descending=True)
    assert rows(found) == ([(7, 7), (6, 6)] if descending else [(2, 2), (3, 3)])


@given(
    planted=st.lists(st.integers(0, 30)),
    edits=st.lists(st.tuples(st.sampled_from(UpdateOption), st.integers(0, 30))),
    start=st.integers(0, 30),
    length=st.integers(0, 30),
    limit=st.none() | st.integers(0, 12),
    descending=st.booleans(),
)
def test_any_read_after_any_edits_is_a_cut_of_the_whole(
    planted: list[int],
    edits: list[tuple[UpdateOption, int]],
    start: int,
    length: int,
    limit: int | None,
    descending: bool,
) -> None:
    of = archive(*((instant, float(i)) for i, instant in enumerate(planted)))
    model = held(of)
    for number, (option, instant) in enumerate(edits):
        value = 1000.0 + number
        of.update(POINT, events((instant, value)), option)
        model = _edited(model, option, instant, value)
    assert held(of) == model
    expected = [row for row in model if start <= row[0] <= start + length]
    expected = (expected[::-1] if descending else expected)[:limit]
    assert rows(of.events(POINT, start, start + length, limit, descending)) == expected


def _edited(
    model: list[tuple[int, float]], option: UpdateOption, instant: int, value: float
) -> list[tuple[int, float]]:
    present = any(at == instant for at, _ in model)
    if option is UpdateOption.NO_REPLACE and present:
        return model
    if option is UpdateOption.REPLACE_ONLY and not present:
        return model
    if option not in (UpdateOption.INSERT, UpdateOption.INSERT_NO_COMPRESSION):
        model = [row for row in model if row[0] != instant]
    added = [] if option is UpdateOption.REMOVE else [(instant, value)]
    return sorted([*model, *added], key=lambda row: row[0])


def test_a_name_filter_ignores_case_and_takes_brackets_literally() -> None:
    names = ["PMP01.A", "pmp02.B", "TNK[1]", "TNK1"]
    base = MemoryBase(Point(id=i, name=name) for i, name in enumerate(names, start=1))
    assert [point.name for point in base.points("PMP0?.*")] == ["PMP01.A", "pmp02.B"]
    assert [point.name for point in base.points("tnk[1]")] == ["TNK[1]"]
    assert [point.name for point in base.points(None, start=1, count=2)] == ["pmp02.B", "TNK[1]"]


def test_a_dropped_point_is_gone() -> None:
    of = archive((1, 1))
    assert isinstance(of.base, MemoryBase)
    of.base.drop(POINT.id)
    assert of.point_by_id(POINT.id) is None
    assert of.point_by_name(POINT.name) is None
    assert of.point_count == 0


def test_ticks_and_their_text_agree() -> None:
    instant = datetime(2022, 2, 18, 15, 10, 8, 875762, tzinfo=timezone.utc)
    assert iso_timestamp(to_ticks(instant) + 9) == "2022-02-18T15:10:08.8757629Z"
    assert iso_timestamp(MAX_TICKS) == "9999-12-31T23:59:59.9999999Z"
    assert iso_timestamp(0) == "1970-01-01T00:00:00Z"


@pytest.mark.parametrize(
    ("found", "value"),
    [
        (Events.of("Float32", [0], [np.float32(81.83204)]), 81.83204),
        (Events.of("Float16", [0], [np.float16(0.1)]), 0.1),
        (Events.of("Int32", [0], [-5]), -5),
        (Events.of("Float64", [0], [float("-inf")]), "-Infinity"),
        (Events.of("String", [0], ['say "no"']), 'say "no"'),
        (Events.of("Blob", [0], [b"\x00\xff"]), [0, 255]),
        (
            Events.of("Digital", [0], [1], digital_states=("OFF", "ON")),
            {"Name": "ON", "Value": 1, "IsSystem": False},
        ),
        (Events.of("String", [0], [None], states=[254]), {"Name": "Shutdown", "Value": 254, "IsSystem": True}),
    ],
)
def test_one_value_has_the_form_pi_web_api_gives_it(found: Events, value: object) -> None:
    assert found.value_at(0) == value
