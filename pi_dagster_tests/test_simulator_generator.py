from __future__ import annotations

from collections import Counter
from datetime import timedelta
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pi_dagster.simulator.events import ANNOTATED, BAD, NOT_A_STATE, QUESTIONABLE, SUBSTITUTED, Events, to_ticks
from pi_dagster.simulator.generator import GeneratedBase
from pi_dagster.simulator.plant import PLANT, UNIFORM_1HZ, Mix
from pi_dagster.simulator.points import Point

START = PLANT.start
NOW = to_ticks(START + timedelta(days=20))
SECOND = 10_000_000
DAY = 86_400 * SECOND
DAY_5 = to_ticks(START + timedelta(days=5))


def plant(tags: int = 200, *, seed: int = 1, mix: Mix = PLANT, now: int = NOW) -> GeneratedBase:
    return GeneratedBase(tags=tags, seed=seed, mix=mix, now=lambda: now)


def rows(events: Events) -> list[tuple[object, ...]]:
    return list(
        zip(
            events.ticks.tolist(),
            events.values.tolist(),
            events.states.tolist(),
            events.flags.tolist(),
            strict=True,
        )
    )


@pytest.fixture(scope="module")
def a_day() -> list[tuple[Point, Events]]:
    base = plant()
    return [(point, base.events(point, DAY_5, DAY_5 + DAY - 1)) for point in base.points()]


def any_instant() -> st.SearchStrategy[int]:
    return st.integers(to_ticks(START) - DAY, NOW + 5 * DAY) | st.integers(-20, 20).map(
        lambda quarters: DAY_5 + quarters * DAY // 4
    )


@settings(max_examples=60)
@given(
    tag=st.integers(1, 200),
    cuts=st.lists(any_instant(), min_size=2, max_size=5).map(sorted),
    limit=st.integers(1, 3000),
    descending=st.booleans(),
)
def test_what_a_tag_holds_does_not_depend_on_the_windows_asked(
    tag: int, cuts: list[int], limit: int, descending: bool
) -> None:
    whole_base, base = plant(), plant()
    point = base.points()[tag - 1]
    whole = rows(whole_base.events(point, cuts[0], cuts[-1] - 1))
    windows = reversed(list(pairwise(cuts)))
    pieces = [rows(base.events(point, start, end - 1)) for start, end in windows]
    assert [row for piece in reversed(pieces) for row in piece] == whole
    cut = rows(plant().events(point, cuts[0], cuts[-1] - 1, limit, descending))
    assert cut == (whole[::-1] if descending else whole)[:limit]


def test_more_tags_leave_the_events_of_the_first_ones_as_they_were() -> None:
    few, many = plant(50), plant(5000)
    for point in few.points():
        assert many.point_by_id(point.id) == point
        assert rows(many.events(point, DAY_5, DAY_5 + DAY)) == rows(few.events(point, DAY_5, DAY_5 + DAY))


def test_a_later_clock_only_adds_events() -> None:
    early, late = plant(now=DAY_5 + DAY // 2), plant(now=DAY_5 + DAY)
    for point in early.points(count=60):
        first = rows(early.events(point, DAY_5, DAY_5 + 9 * DAY))
        assert rows(late.events(point, DAY_5, DAY_5 + 9 * DAY))[: len(first)] == first


def test_another_seed_gives_other_values() -> None:
    point = plant().points()[0]
    assert rows(plant(seed=1).events(point, 0, NOW)) != rows(plant(seed=2).events(point, 0, NOW))


def test_pt_created_is_the_first_event_of_every_tag() -> None:
    base = plant()
    for point in base.points():
        first = base.events(point, 0, NOW, limit=1)
        assert first.states.tolist() == [253]
        assert first.ticks.tolist() == [to_ticks(point.created)]


def test_only_future_tags_hold_events_after_now() -> None:
    base = plant()
    ahead = {point.name: len(base.events(point, NOW + 1, NOW + 30 * DAY)) for point in base.points()}
    assert {name for name, count in ahead.items() if count} <= {p.name for p in base.points() if p.future}
    assert any(ahead.values())


def test_the_instants_of_a_tag_never_go_back(a_day: list[tuple[Point, Events]]) -> None:
    assert all((np.diff(events.ticks) >= 0).all() for _, events in a_day)


def test_every_point_type_is_there_and_three_quarters_are_numeric(a_day: list[tuple[Point, Events]]) -> None:
    types = Counter(point.point_type for point, _ in a_day)
    assert types.keys() == {
        "Float16", "Float32", "Float64", "Int16", "Int32", "Digital", "String", "Timestamp", "Blob",
    }  # fmt: skip
    numeric = sum(count for kind, count in types.items() if kind.startswith(("Float", "Int")))
    assert 0.7 <= numeric / len(a_day) <= 0.8


def test_the_median_tag_has_a_value_about_every_minute_and_a_few_one_every_second(
    a_day: list[tuple[Point, Events]],
) -> None:
    counts = [len(events) for _, events in a_day]
    assert 1_000 <= float(np.median(counts)) <= 1_600
    assert 1 <= sum(count > 80_000 for count in counts) <= 8
    assert 0 in counts


def test_a_day_holds_all_that_makes_real_data_hard(a_day: list[tuple[Point, Events]]) -> None:
    states = {int(state) for _, events in a_day for state in np.unique(events.states)}
    assert {NOT_A_STATE, 246, 248, 254, 255} <= states
    for bit in (BAD, QUESTIONABLE, SUBSTITUTED, ANNOTATED):
        assert any(((events.flags & bit != 0) & (events.states == NOT_A_STATE)).any() for _, events in a_day)
    gaps = [np.diff(events.ticks) for _, events in a_day]
    assert any((gap == 0).any() for gap in gaps), "several events at one instant"
    assert any((gap == 1).any() for gap in gaps), "events 100 ns apart"


def test_stamps_have_from_0_to_7_fraction_digits(a_day: list[tuple[Point, Events]]) -> None:
    digits = set()
    for _, events in a_day:
        fractions = (events.ticks % SECOND).tolist()
        digits |= {len(f"{fraction:07d}".rstrip("0")) for fraction in fractions}
    assert digits == set(range(8))


def test_measurements_lie_in_the_range_of_their_tag(a_day: list[tuple[Point, Events]]) -> None:
    for point, events in a_day:
        if point.point_type.startswith(("Float", "Int")):
            values = events.values[events.states == NOT_A_STATE]
            assert ((values >= point.zero - 0.1) & (values <= point.zero + point.span + 0.1)).all()


def test_a_uniform_tag_has_one_good_value_at_each_whole_second() -> None:
    base = plant(3, mix=UNIFORM_1HZ)
    for point in base.points():
        events = base.events(point, DAY_5, DAY_5 + DAY - 1)
        assert events.ticks.tolist() == list(range(DAY_5, DAY_5 + DAY, SECOND))
        assert not events.flags.any()
        assert (events.states == NOT_A_STATE).all()


def test_a_hundred_thousand_tags_are_found_by_id_name_and_filter() -> None:
    base = plant(100_000)
    assert base.point_count == 100_000
    names = [point.name for point in base.points("pmp*:VIB_DE*")]
    assert len(names) == 2_500
    assert [point.name for point in base.points("pmp*:VIB_DE*", start=1000, count=3)] == names[1000:1003]
    for point_id in (1, 41, 99_999, 100_000):
        point = base.point_by_id(point_id)
        assert point is not None
        assert base.point_by_name(point.name.lower()) == point


def test_names_are_unique() -> None:
    names = [point.name.casefold() for point in plant(20_000).points()]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("name", ["BLR1.O2", "BLR00.O2", "BLR99.O2", "NOPE", "", "BLR01", "PMP01.O2"])
def test_a_name_no_tag_has_finds_nothing(name: str) -> None:
    assert plant(40).point_by_name(name) is None


@pytest.mark.parametrize("point_id", [0, -1, 201])
def test_an_id_no_tag_has_finds_nothing(point_id: int) -> None:
    assert plant(200).point_by_id(point_id) is None
