"""The asset models that follow from an archive's tags."""

from __future__ import annotations

import pytest

from pi_dagster.simulator import Simulator
from pi_dagster.simulator.af_tags import database_of
from pi_dagster.simulator.archive import Archive, MemoryBase
from pi_dagster.simulator.files import SENSORS, SkabBase
from pi_dagster.simulator.generator import GeneratedBase
from pi_dagster.simulator.points import Point
from pi_dagster_tests.conftest import SHARED
from pi_dagster_tests.planted_archive import planted


def test_units_stand_below_their_area_with_a_tag_an_attribute() -> None:
    with planted() as pi:
        (server,) = pi.json("assetservers")["Items"]
        (database,) = pi.session.get(server["Links"]["Databases"], timeout=10).json()["Items"]
        body = pi.session.get(database["Links"]["Elements"], params={"searchFullHierarchy": "true"}, timeout=10).json()
        paths = {item["Path"]: item["TemplateName"] for item in body["Items"]}
        assert paths[r"\\AFSIM\Plant\Boilers\BLR01"] == "Boiler"
        flow = pi.json("attributes", path=r"\\AFSIM\Plant\Boilers\BLR01|FLOW")
        assert (flow["Type"], flow["DefaultUnitsNameAbbreviation"], flow["Description"]) == (
            "Single",
            "t/h",
            "Live steam",
        )


def test_every_tag_of_a_generated_plant_is_an_attribute_of_one_element() -> None:
    archive = Archive(GeneratedBase(tags=300))
    database = database_of(archive).snapshot()
    numbers = [n for area in database.children(None) for n in (area, *database.children(area))]
    tags = [attribute.tag for number in numbers for attribute in database.attributes(number)]
    assert sorted(map(str, tags)) == sorted(point.name for point in archive.points())


def test_tags_that_come_later_get_their_place_and_elements_keep_their_ids() -> None:
    base = MemoryBase([Point(id=1, name="PMP01.SPEED")])
    database = database_of(Archive(base))
    before = database.snapshot()
    assert database.snapshot() is before
    pump = before.element_at(["Pumps", "PMP01"])
    assert pump is not None
    base.add(Point(id=2, name="PMP01.FLOW"), None)
    base.add(Point(id=3, name="TNK07.LEVEL"), None)
    after = database.snapshot()
    assert after.number_of(before.element(pump).id) == pump
    assert [a.placed.template.name for a in after.attributes(pump)] == ["SPEED", "FLOW"]
    assert after.element_at(["Tanks", "TNK07"]) is not None
    assert before.element_at(["Tanks", "TNK07"]) is None


@pytest.mark.skipif(not (SHARED / "data" / "skab").exists(), reason="the SKAB data is not in ../shared/data")
def test_skab_is_one_pump_loop_with_eight_sensors() -> None:
    archive = Archive(SkabBase(SHARED / "data" / "skab"))
    with Simulator(archive=archive).serve() as running:
        (database,) = running.assets.readable()
        (loop,) = database.children(None)
        assert database.element_path(loop) == r"\\AFSIM\SKAB\Pump Loop"
        assert [a.placed.template.name for a in database.attributes(loop)] == list(SENSORS)
        assert {a.tag for a in database.attributes(loop)} == set(SENSORS)
