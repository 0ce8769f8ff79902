from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
import requests

from pi_dagster.simulator import Simulator, spawned
from pi_dagster.simulator.af_model import PI_POINT, path_steps
from pi_dagster.simulator.af_plant import PlantDatabase
from pi_dagster.simulator.af_search import Scope, elements_in
from pi_dagster.simulator.archive import Archive
from pi_dagster.simulator.generator import GeneratedBase
from pi_dagster.simulator.points import Point

ELEMENTS = 3_000


@pytest.fixture(scope="module")
def archive() -> Archive:
    return Archive(GeneratedBase(tags=40))


@pytest.fixture(scope="module")
def plant(archive: Archive) -> PlantDatabase:
    return PlantDatabase(archive, elements=ELEMENTS, fan_out=8)


def test_every_element_is_found_once_from_above(plant: PlantDatabase) -> None:
    assert sorted(elements_in(Scope(plant, None, is_full=True, repeats=False))) == list(range(ELEMENTS))


def test_children_and_parents_say_the_same(plant: PlantDatabase) -> None:
    from_above = Counter((parent, child) for parent in (None, *range(ELEMENTS)) for child in plant.children(parent))
    from_below = Counter((parent, child) for child in range(ELEMENTS) for parent in plant.parents(child))
    assert from_above == from_below
    assert sum(from_above.values()) > ELEMENTS + 10


def test_there_are_elements_below_two_parents_and_a_cycle(plant: PlantDatabase) -> None:
    several = [number for number in range(ELEMENTS) if len(plant.parents(number)) > 1]
    above_itself = [n for n in several if n in elements_in(Scope(plant, n, is_full=True))]
    assert len(several) > 10
    assert len(above_itself) == 1


def test_an_id_is_a_number_and_back(plant: PlantDatabase) -> None:
    ids = [plant.element(number).id for number in range(ELEMENTS)]
    assert [plant.number_of(element_id) for element_id in ids] == list(range(ELEMENTS))
    assert plant.number_of(plant.id) is None
    bigger = PlantDatabase(Archive(GeneratedBase(tags=1)), elements=ELEMENTS + 1)
    assert plant.number_of(bigger.element(ELEMENTS).id) is None


def test_the_same_seed_makes_the_same_plant_and_another_another(archive: Archive) -> None:
    def described(seed: int) -> list[object]:
        plant = PlantDatabase(archive, elements=200, seed=seed)
        return [(plant.element(n), plant.attributes(n), plant.element_paths(n)) for n in range(200)]

    assert described(1) == described(1)
    assert described(1) != described(2)


def test_names_need_quoting_and_paths_still_lead_back(plant: PlantDatabase) -> None:
    names = {plant.element(number).name for number in range(ELEMENTS)}
    for odd in ("|", '"', "'", "\\", "[", "%", ";", "/", "ß", "ポ", "*"):
        assert any(odd in name for name in names), odd
    assert max(Counter(plant.element(n).name for n in range(ELEMENTS)).values()) >= 3
    for number in range(0, ELEMENTS, 7):
        for path in plant.element_paths(number):
            steps, attributes = path_steps(path)
            assert (plant.element_at(steps[2:]), attributes) == (number, [])


@pytest.mark.parametrize("count", [0, 1, 2, 4, 5, 8, 30])
def test_every_element_has_as_many_attributes_as_asked_for(archive: Archive, count: int) -> None:
    plant = PlantDatabase(archive, elements=500, attributes_per_element=count, fan_out=5)
    assert {len(plant.attributes(number)) for number in range(500)} == {count}


def test_attributes_are_of_all_sorts_and_some_of_their_tags_are_gone(plant: PlantDatabase, archive: Archive) -> None:
    attributes = [attribute for number in range(ELEMENTS) for attribute in plant.attributes(number)]
    templates = {attribute.placed.template.name: attribute.placed for attribute in attributes}
    assert {placed.template.data_reference for placed in templates.values()} == {"", "PI Point", "Formula"}
    assert {placed.depth for placed in templates.values()} == {0, 1}
    assert any(placed.template.is_hidden for placed in templates.values())
    assert any(placed.template.is_excluded for placed in templates.values())
    tags = [a.tag for a in attributes if a.placed.template.data_reference == PI_POINT]
    gone = [tag for tag in tags if isinstance(tag, str)]
    assert 0 < len(gone) < len(tags) / 50
    assert all(archive.point_by_name(tag) is None for tag in gone)
    assert {tag.name for tag in tags if isinstance(tag, Point)} == {point.name for point in archive.points()}


def test_kinds_of_equipment_are_derived_from_one_template(plant: PlantDatabase) -> None:
    assert plant.template_line("Pump") == ["Pump", "Equipment", "Asset"]
    names = [placed.template.name for placed in plant.template_attributes("Pump")]
    assert names[:3] == ["Serial Number", "Criticality", "Flow"]


def test_a_plant_that_cannot_be_is_refused(archive: Archive) -> None:
    for wrong in ({"elements": -1}, {"elements": 1_000_001}, {"elements": 1, "attributes_per_element": -1}):
        with pytest.raises(ValueError, match="elements"):
            PlantDatabase(archive, **wrong)


def test_the_pages_of_a_served_plant_are_the_plant(plant: PlantDatabase, archive: Archive) -> None:
    with Simulator(archive=archive, assets=[plant]).serve() as running:
        elements = {item["Id"]: item for item in _all(running.url, "elements")}
        assert len(elements) == ELEMENTS
        for number in range(ELEMENTS):
            element = plant.element(number)
            item = elements[str(element.id)]
            assert (item["Name"], item["Path"]) == (element.name, plant.element_path(number))
            assert item["HasChildren"] is bool(plant.children(number))
        attributes = {item["Path"] for item in _all(running.url, "elementattributes")}
        expected = {
            f"{plant.element_path(number)}|{attribute.placed.path}"
            for number in range(ELEMENTS)
            for attribute in plant.attributes(number)
        }
        assert attributes == expected


def _all(url: str, what: str) -> Iterator[Any]:
    (server,) = requests.get(f"{url}/assetservers", timeout=10).json()["Items"]
    (database,) = requests.get(server["Links"]["Databases"], timeout=10).json()["Items"]
    page: str | None = f"{url}/assetdatabases/{database['WebId']}/{what}?searchFullHierarchy=true&maxCount=5000"
    while page:
        body = requests.get(page, timeout=60).json()
        yield from body["Items"]
        page = body["Links"].get("Next")


def test_a_million_elements_are_served_by_a_process_of_its_own() -> None:
    with spawned(elements=1_000_000, tags=10) as server:
        path = r"\\AFSIM\Plant\Enterprise 1\Site 1\Unit 1"
        unit = requests.get(f"{server.url}/elements", params={"path": path}, timeout=60).json()
        below = requests.get(unit["Links"]["Elements"], timeout=60).json()["Items"]
        assert len(below) == 20
        (attribute, *_) = requests.get(below[0]["Links"]["Attributes"], timeout=60).json()["Items"]
        assert requests.get(attribute["Links"]["Element"], timeout=60).json()["Id"] == below[0]["Id"]
