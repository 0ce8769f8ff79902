"""Tags that change their group: whatever is loaded then, and in whatever order, their rows are there once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import pytest

from pi_dagster.lake import PointsTable
from pi_dagster.site import TagGroup
from pi_dagster_tests.tailed_plant import A_DAY, DAY, GROUPS, HOUR, LAG, MINUTE, NOON, TailedPlant, tailed_plant

YESTERDAY = DAY - A_DAY
MINUTES_OF_A_DAY = 1440


@pytest.fixture
def plant(tmp_path: Path) -> Iterator[TailedPlant]:
    """Yesterday is loaded; it is noon."""
    with tailed_plant(tmp_path) as plant:
        for group in GROUPS:
            plant.load_day(YESTERDAY.date(), group)
        yield plant


def regroup(plant: TailedPlant, **tags: tuple[str, ...]) -> None:
    """The site has these groups, with these tags."""
    groups = tuple(TagGroup(name=name, tags=named) for name, named in tags.items())
    plant.site = plant.site.model_copy(update={"tag_groups": groups})
    plant.list_tags()


def move_boilers_2(plant: TailedPlant) -> None:
    regroup(plant, boilers=("BOILERS.1",), pumps=("PUMPS.1", "PUMPS.2", "BOILERS.2"), tanks=("TANKS.1", "TANKS.2"))


def held(plant: TailedPlant, tag: str, day: datetime = YESTERDAY) -> dict[str, int]:
    """How many rows of the tag the partitions of a day hold."""
    rows = plant.table.to_arrow(["tag_name", "tag_group"], partition_date=day.date()).to_pylist()
    return dict(Counter(row["tag_group"] for row in rows if row["tag_name"] == tag))


def forget_moves(plant: TailedPlant) -> None:
    """The list of tags is lost."""
    points = PointsTable.open(plant.lake)
    points.replace(points.read().slice(0, 0), {})


def test_the_list_tells_since_when_a_tag_is_in_its_group(plant: TailedPlant) -> None:
    def since() -> dict[str, object]:
        rows = PointsTable.open(plant.lake).read().to_pylist()
        return {row["tag_name"]: row["tag_group_since"] for row in rows if row["tag_group_since"] > row["first_seen"]}

    assert since() == {}
    move_boilers_2(plant)
    moved = since()
    assert moved.keys() == {"BOILERS.2"}
    plant.list_tags()
    assert since() == moved


def test_a_load_of_the_old_group_leaves_the_rows_that_nobody_else_has(plant: TailedPlant) -> None:
    move_boilers_2(plant)
    report = plant.load_day(YESTERDAY.date(), "boilers")
    assert held(plant, "BOILERS.2") == {"boilers": MINUTES_OF_A_DAY}
    assert report.difference is not None
    assert report.difference.removed == 0


def test_a_load_of_the_new_group_takes_the_rows_out_of_the_old_one(plant: TailedPlant) -> None:
    move_boilers_2(plant)
    version = plant.table.version
    plant.load_day(YESTERDAY.date(), "pumps")
    assert held(plant, "BOILERS.2") == {"pumps": MINUTES_OF_A_DAY}
    assert plant.table.version == version + 1
    plant.assert_table_equals_archive(YESTERDAY, DAY)


@pytest.mark.parametrize("order", [("boilers", "pumps"), ("pumps", "boilers"), ("boilers", "pumps", "boilers")])
def test_both_groups_are_loaded_in_any_order(plant: TailedPlant, order: tuple[str, ...]) -> None:
    move_boilers_2(plant)
    for group in order:
        plant.load_day(YESTERDAY.date(), group)
    assert held(plant, "BOILERS.2") == {"pumps": MINUTES_OF_A_DAY}
    plant.assert_table_equals_archive(YESTERDAY, DAY)


def test_a_tag_that_cannot_be_read_keeps_its_rows_in_the_old_group(plant: TailedPlant) -> None:
    plant.keep_on_tag_errors()
    move_boilers_2(plant)
    plant.forbid("BOILERS.2")
    plant.load_day(YESTERDAY.date(), "pumps")
    assert held(plant, "BOILERS.2") == {"boilers": MINUTES_OF_A_DAY}


def test_a_renamed_group_takes_the_old_ones_rows_over(plant: TailedPlant) -> None:
    regroup(plant, kettles=("BOILERS.1", "BOILERS.2"), pumps=("PUMPS.1", "PUMPS.2"), tanks=("TANKS.1", "TANKS.2"))
    plant.load_day(YESTERDAY.date(), "kettles")
    assert held(plant, "BOILERS.1") == held(plant, "BOILERS.2") == {"kettles": MINUTES_OF_A_DAY}
    plant.assert_table_equals_archive(YESTERDAY, DAY)


def test_today_is_there_once_after_a_move(plant: TailedPlant) -> None:
    plant.tail(NOON + LAG)
    move_boilers_2(plant)
    plant.tail(NOON + HOUR + LAG)
    plant.tail(NOON + HOUR + 5 * MINUTE + LAG)
    plant.assert_table_equals_archive(YESTERDAY, NOON + HOUR + 5 * MINUTE)


def test_a_list_that_was_made_anew_costs_no_rows_of_deleted_tags(plant: TailedPlant) -> None:
    plant.base.drop(plant.tag("BOILERS.2").id)
    forget_moves(plant)
    plant.list_tags()
    report = plant.load_day(YESTERDAY.date(), "boilers")
    assert held(plant, "BOILERS.2") == {"boilers": MINUTES_OF_A_DAY}
    assert report.difference is not None
    assert report.difference.removed == 0


NOBODYS = {"boilers": ("BOILERS.1",), "pumps": ("PUMPS.1", "PUMPS.2"), "tanks": ("TANKS.1", "TANKS.2")}
"""Groups without BOILERS.2."""


def test_what_today_has_of_a_tag_that_leaves_all_groups_stays(plant: TailedPlant) -> None:
    plant.tail(NOON + LAG)
    regroup(plant, **NOBODYS)
    plant.tail(NOON + 5 * MINUTE + LAG)
    plant.tail(NOON + 10 * MINUTE + LAG)
    assert held(plant, "BOILERS.2", DAY) == {"boilers": 720}
    plant.clock.now = DAY + A_DAY + 3 * HOUR
    assert plant.load_day(DAY.date(), "boilers").settled
    assert held(plant, "BOILERS.2", DAY) == {"boilers": 720}


def test_what_today_has_of_a_tag_stays_when_its_new_group_may_not_read_it(plant: TailedPlant) -> None:
    plant.keep_on_tag_errors()
    plant.tail(NOON + LAG)
    move_boilers_2(plant)
    plant.forbid("BOILERS.2")
    plant.tail(NOON + 5 * MINUTE + LAG)
    plant.tail(NOON + 10 * MINUTE + LAG)
    assert held(plant, "BOILERS.2", DAY) == {"boilers": 720}


def test_what_today_has_of_a_tag_stays_until_its_new_group_can_be_loaded(plant: TailedPlant) -> None:
    plant.tail(NOON + LAG)
    move_boilers_2(plant)
    fault = plant.forbid("PUMPS.1")
    plant.tail(NOON + 5 * MINUTE + LAG)
    assert held(plant, "BOILERS.2", DAY) == {"boilers": 720}
    plant.faults.clear(fault)
    plant.tail(NOON + 10 * MINUTE + LAG)
    assert held(plant, "BOILERS.2", DAY) == {"pumps": 730}
    plant.assert_table_equals_archive(YESTERDAY, NOON + 10 * MINUTE)


def test_a_tag_that_moves_soon_after_midnight_is_there_once(plant: TailedPlant) -> None:
    """All partitions are committed together then."""
    plant.tail(DAY + 30 * MINUTE + LAG)
    move_boilers_2(plant)
    version = plant.table.version
    plant.tail(DAY + 35 * MINUTE + LAG)
    assert plant.table.version == version + 1
    plant.assert_table_equals_archive(YESTERDAY, DAY + 35 * MINUTE)


def test_a_tag_that_comes_from_no_group_has_not_moved(plant: TailedPlant) -> None:
    forget_moves(plant)
    regroup(plant, **NOBODYS)
    move_boilers_2(plant)
    rows = PointsTable.open(plant.lake).read().to_pylist()
    assert [row["tag_name"] for row in rows if row["tag_group_since"] > row["first_seen"]] == []


@pytest.mark.parametrize("order", [("boilers", "pumps"), ("pumps", "boilers")])
def test_a_tag_that_is_there_twice_and_in_no_group_keeps_one_of_both(
    plant: TailedPlant, order: tuple[str, ...]
) -> None:
    """Whichever partition is loaded: were both to let it go, loads at the same time would leave nothing."""
    forget_moves(plant)
    move_boilers_2(plant)
    plant.load_day(YESTERDAY.date(), "pumps")
    assert held(plant, "BOILERS.2") == {"boilers": MINUTES_OF_A_DAY, "pumps": MINUTES_OF_A_DAY}
    regroup(plant, **NOBODYS)
    for group in order:
        plant.load_day(YESTERDAY.date(), group)
    assert held(plant, "BOILERS.2") == {"boilers": MINUTES_OF_A_DAY}
