from __future__ import annotations

from collections.abc import Iterator

import pytest

from pi_dagster.simulator.af_tree import TreeDatabase
from pi_dagster.webid import WebId, WebIdType
from pi_dagster_tests.planted_assets import Assets, element_web_id, planted_assets

COLD_STORE = 'Kühlhaus ß "x"'


@pytest.fixture(scope="module")
def plant() -> Iterator[Assets]:
    with planted_assets() as planted:
        yield planted


def test_the_landing_page_leads_to_the_databases(plant: Assets) -> None:
    (server,) = plant.session.get(plant.json("")["Links"]["AssetServers"], timeout=10).json()["Items"]
    (database,) = plant.session.get(server["Links"]["Databases"], timeout=10).json()["Items"]
    assert (server["Name"], database["Name"], database["Path"]) == ("AFSIM", "Plant", r"\\AFSIM\Plant")
    elements = plant.session.get(database["Links"]["Elements"], timeout=10).json()["Items"]
    assert [element["Name"] for element in elements] == [COLD_STORE, "Site 1", "Unit B"]


def test_without_the_full_hierarchy_only_children_come(plant: Assets) -> None:
    assert plant.names(f"elements/{element_web_id(plant.site)}/elements") == ["Unit A", "Unit B"]
    assert plant.names(f"elements/{element_web_id(plant.cold_store)}/elements") == []


def test_a_weak_reference_is_a_child_too_and_its_cycle_ends(plant: Assets) -> None:
    below = f"elements/{element_web_id(plant.valve)}/elements"
    assert plant.names(below) == ["Site 1"]
    assert sorted(plant.names(below, searchFullHierarchy=True)) == [
        "Pump | 1", "Pump | 1", "Site 1", "Unit A", "Unit B", "Valve",
    ]  # fmt: skip


def test_the_full_hierarchy_lists_an_element_once_for_each_parent_or_once_as_the_switch_says(plant: Assets) -> None:
    every = sorted(["Site 1", "Unit A", "Unit B", "Pump | 1", "Valve", COLD_STORE])
    assert sorted(plant.elements()) == sorted([*every, "Pump | 1", "Site 1", "Unit B"])
    with planted_assets(repeats_multi_parent=False) as once:
        assert sorted(once.elements()) == every


def test_every_path_of_an_element_is_told_the_primary_one_first(plant: Assets) -> None:
    prefix = r"\\AFSIM\Plant"
    expected = [
        rf"{prefix}\Site 1\Unit A\[Pump | 1]",
        rf"{prefix}\Site 1\Unit B\[Pump | 1]",
        rf"{prefix}\Unit B\[Pump | 1]",
    ]
    pump = element_web_id(plant.pump)
    assert plant.json(f"elements/{pump}/paths")["Items"] == expected
    assert plant.json(f"elements/{pump}", associations="Paths")["Paths"] == expected
    assert plant.json(f"elements/{pump}")["Path"] == expected[0]
    assert "Paths" not in plant.json(f"elements/{pump}")


def test_paths_are_relative_to_a_parent_and_null_where_the_primary_one_does_not_lead_through_it(plant: Assets) -> None:
    path = f"elements/{element_web_id(plant.pump)}/paths"
    assert plant.json(path, relativePath=r"\\AFSIM\Plant\Site 1")["Items"] == [
        r"Unit A\[Pump | 1]",
        r"Unit B\[Pump | 1]",
    ]
    assert plant.json(path, relativePath=r"\\AFSIM\Plant\Unit B")["Items"] == [None, "[Pump | 1]"]


def test_referenced_elements_are_those_whose_primary_parent_is_elsewhere(plant: Assets) -> None:
    assert plant.names(f"elements/{element_web_id(plant.unit_b)}/referencedelements") == ["Pump | 1"]
    assert plant.names(f"elements/{element_web_id(plant.unit_a)}/referencedelements") == []
    assert plant.names(f"{plant.database}/referencedelements") == ["Unit B"]


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        ({"nameFilter": "unit ?"}, ["Unit A", "Unit B"]),
        ({"descriptionFilter": "where*"}, ["Site 1"]),
        ({"categoryName": "rotating"}, ["Pump | 1"]),
        ({"templateName": "Pump"}, ["Pump | 1"]),
        ({"templateName": "Asset"}, ["Pump | 1", "Unit A", "Unit B"]),
        ({"elementType": "Flow"}, ["Valve"]),
        ({"elementType": "Any", "nameFilter": "V*"}, ["Valve"]),
        ({"nameFilter": "Unit*", "templateName": "Pump"}, []),
    ],
)
def test_elements_are_filtered(filters: dict[str, str], expected: list[str]) -> None:
    with planted_assets(repeats_multi_parent=False) as plant:
        assert plant.elements(**filters) == expected


def test_an_unknown_template_or_category_is_refused_by_its_name(plant: Assets) -> None:
    for filters in ({"templateName": "Nope"}, {"categoryName": "Nope"}):
        refusal = plant.get(f"{plant.database}/elements", **filters)
        assert refusal.status_code == 400
        assert "was not found in the specified Asset Database" in refusal.json()["Errors"][0]


def test_elements_come_by_name_unless_asked_otherwise(plant: Assets) -> None:
    names = plant.elements()
    assert names == sorted(names, key=str.upper)
    assert plant.elements(sortOrder="Descending") == sorted(names, key=str.upper, reverse=True)
    by_id = plant.json(f"{plant.database}/elements", searchFullHierarchy=True, sortField="ID")["Items"]
    assert [item["Id"] for item in by_id] == sorted(item["Id"] for item in by_id)
    assert plant.get(f"{plant.database}/elements", sortField="Colour").status_code == 400


@pytest.mark.parametrize("count", [2, 3])
def test_pages_together_are_the_whole_and_the_last_has_no_next(plant: Assets, count: int) -> None:
    url: str | None = f"{plant.running.url}/{plant.database}/elements?searchFullHierarchy=true&maxCount={count}"
    pages = []
    while url:
        body = plant.session.get(url, timeout=10).json()
        pages.append([item["Name"] for item in body["Items"]])
        url = body["Links"].get("Next")
    assert [name for page in pages for name in page] == plant.elements()
    assert all(pages)
    assert plant.elements(startIndex=100) == []


def test_a_page_is_a_thousand_unless_asked_for_more_and_never_above_the_limit() -> None:
    tree = TreeDatabase("Wide")
    parent = tree.add("Parent")
    for number in range(1_200):
        tree.add(f"Child {number}", parent=parent)
    with planted_assets(beside=[tree], max_returned_items=1_100) as plant:
        path = f"elements/{element_web_id(parent)}/elements"
        assert len(plant.names(path)) == 1_000
        assert len(plant.names(path, maxCount=1_100)) == 1_100
        assert plant.get(path, maxCount=1_101).status_code == 400
    with planted_assets(beside=[tree]) as plant:
        assert len(plant.names(path, maxCount=1_200)) == 1_200


@pytest.mark.parametrize("form", list(WebIdType))
def test_an_element_is_found_by_every_form_of_its_webid(plant: Assets, form: WebIdType) -> None:
    for name in ("Pump | 1", COLD_STORE):
        (found,) = plant.json(f"{plant.database}/elements", **{
            "searchFullHierarchy": True, "nameFilter": name, "webIdType": form.value, "maxCount": 1,
        })["Items"]  # fmt: skip
        assert WebId.parse(found["WebId"]).type is form
        assert plant.json(f"elements/{found['WebId']}", webIdType=form.value) == found


@pytest.mark.parametrize("name", ["pump", "valve", "cold_store", "unit_b"])
def test_an_element_is_found_by_each_of_its_paths_in_any_case(plant: Assets, name: str) -> None:
    element = getattr(plant, name)
    for path in plant.json(f"elements/{element_web_id(element)}/paths")["Items"]:
        assert plant.json("elements", path=path.upper())["Id"] == str(element)


def test_a_step_of_a_path_may_name_the_id(plant: Assets) -> None:
    path = rf"\\AFSIM\Plant\Site 1\[Unit A;{plant.unit_a}]"
    assert plant.json("elements", path=path)["Id"] == str(plant.unit_a)
    assert plant.get("elements", path=rf"\\AFSIM\Plant\Site 1\[Unit A;{plant.unit_b}]").status_code == 404


def test_what_does_not_exist_is_not_found_and_what_is_no_webid_is_refused(plant: Assets) -> None:
    assert plant.get("elements", path=r"\\AFSIM\Plant\Nope").status_code == 404
    assert plant.get("elements", path=r"\\OTHER\Plant\Site 1").status_code == 404
    assert plant.get(f"elements/{element_web_id(plant.tree.id)}").status_code == 404
    assert plant.get("elements/F1Embogus").status_code == 400
    assert plant.get(f"assetdatabases/{element_web_id(plant.site)}").status_code == 400


def test_a_link_to_the_parent_and_the_template_leads_there(plant: Assets) -> None:
    pump = plant.json(f"elements/{element_web_id(plant.pump)}")
    assert plant.session.get(pump["Links"]["Parent"], timeout=10).json()["Name"] == "Unit A"
    assert plant.session.get(pump["Links"]["Template"], timeout=10).json()["Name"] == "Pump"
    assert "Parent" not in plant.json(f"elements/{element_web_id(plant.site)}")["Links"]
    assert "Template" not in plant.json(f"elements/{element_web_id(plant.site)}")["Links"]


def test_many_elements_at_once_are_207_when_one_is_missing(plant: Assets) -> None:
    asked = {"webId": [element_web_id(plant.pump)], "path": [r"\\AFSIM\Plant\Site 1", r"\\AFSIM\Plant\Nope"]}
    answer = plant.get("elements/multiple", **asked)
    assert answer.status_code == 207
    items = answer.json()["Items"]
    assert [item.get("Object", {}).get("Name") for item in items] == ["Pump | 1", "Site 1", None]
    assert items[2]["Exception"]["Errors"]
    assert plant.get("elements/multiple", webId=asked["webId"]).status_code == 200


def test_selected_fields_are_all_that_comes(plant: Assets) -> None:
    fields = "Items.Name;Items.Links.Self;Items.Paths"
    body = plant.json(f"{plant.database}/elements", selectedFields=fields, associations="Paths", nameFilter="Site*")
    (site,) = body["Items"]
    assert set(body) == {"Items"}
    assert (set(site), set(site["Links"])) == ({"Name", "Links", "Paths"}, {"Self"})
    assert site["Paths"] == [r"\\AFSIM\Plant\Site 1"]
    assert plant.json(f"{plant.database}/elements", selectedFields="Links.First").keys() == {"Links"}


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("", [COLD_STORE, "Pump | 1", "Site 1", "Unit A", "Unit B", "Valve"]),
        ("Name:='Unit*'", ["Unit A", "Unit B"]),
        ("Unit*", ["Unit A", "Unit B"]),
        ('"Unit A"', ["Unit A"]),
        ("Name:<>'Unit*' Template:=Asset", ["Pump | 1"]),
        ("Category:Places", ["Site 1"]),
        ("ElementType:=Flow", ["Valve"]),
        ("Name:IN('Site 1'; 'Valve')", ["Site 1", "Valve"]),
        (r"Root:'Site 1\Unit A'", ["Pump | 1", "Site 1", "Unit B", "Valve"]),
        (r"Root:'\\AFSIM\Plant\Site 1' AllDescendants:false", ["Unit A", "Unit B"]),
        ("Name:Unit* SortOrder:Descending", ["Unit B", "Unit A"]),
    ],
)
def test_a_query_finds(plant: Assets, query: str, expected: list[str]) -> None:
    database = plant.database.partition("/")[2]
    assert plant.names("elements/search", databaseWebId=database, query=query) == expected


@pytest.mark.parametrize("query", ["|Level:>5", "Name:='open", "Colour:=red"])
def test_a_query_that_is_not_understood_is_refused(plant: Assets, query: str) -> None:
    database = plant.database.partition("/")[2]
    assert plant.get("elements/search", databaseWebId=database, query=query).status_code == 409
