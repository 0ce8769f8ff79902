"""Asset models that change while they are served, that show less than there is, and that are hard to walk."""

from __future__ import annotations

from uuid import UUID

import requests

from pi_dagster.simulator.af_model import PI_POINT, AttributeTemplate
from pi_dagster.simulator.af_tree import TreeDatabase
from pi_dagster.simulator.events import TICKS_PER_SECOND
from pi_dagster.webid import WebIdType
from pi_dagster_tests.planted_archive import FLOW, NOON, TIES
from pi_dagster_tests.planted_assets import Assets, element_web_id, planted_assets


def path_of(plant: Assets, element: UUID) -> str:
    return str(plant.json(f"elements/{element_web_id(element)}")["Path"])


def test_a_renamed_element_keeps_its_id_and_changes_the_paths_below_it() -> None:
    with planted_assets() as plant:
        plant.tree.rename(plant.unit_a, "Unit \\ Z")
        assert path_of(plant, plant.unit_a) == r"\\AFSIM\Plant\Site 1\[Unit \ Z]"
        assert path_of(plant, plant.valve) == r"\\AFSIM\Plant\Site 1\[Unit \ Z]\Valve"
        assert plant.json("elements", path=path_of(plant, plant.valve))["Id"] == str(plant.valve)
        assert plant.get("elements", path=r"\\AFSIM\Plant\Site 1\Unit A").status_code == 404


def test_a_moved_element_keeps_its_id_and_its_other_parents() -> None:
    with planted_assets() as plant:
        plant.tree.move(plant.pump, plant.cold_store)
        assert plant.json(f"elements/{element_web_id(plant.pump)}/paths")["Items"] == [
            r"\\AFSIM\Plant\[Kühlhaus ß \"x\"]\[Pump | 1]".replace('\\"', '"'),
            r"\\AFSIM\Plant\Site 1\Unit B\[Pump | 1]",
            r"\\AFSIM\Plant\Unit B\[Pump | 1]",
        ]
        plant.tree.move(plant.pump, plant.unit_b)
        assert path_of(plant, plant.pump) == r"\\AFSIM\Plant\Site 1\Unit B\[Pump | 1]"
        assert plant.names(f"elements/{element_web_id(plant.cold_store)}/elements") == []


def test_a_deleted_element_takes_along_what_is_below_it() -> None:
    with planted_assets() as plant:
        plant.tree.delete(plant.unit_a)
        assert sorted(set(plant.elements())) == ['Kühlhaus ß "x"', "Site 1", "Unit B"]
        assert plant.get(f"elements/{element_web_id(plant.pump)}").status_code == 404
        assert plant.names(f"elements/{element_web_id(plant.unit_b)}/elements") == []


def test_a_full_webid_of_what_was_deleted_finds_what_now_has_its_path() -> None:
    with planted_assets() as plant:
        old = plant.json(f"elements/{element_web_id(plant.valve)}", webIdType="Full")["WebId"]
        plant.tree.delete(plant.valve)
        again = plant.tree.add("Valve", parent=plant.unit_a)
        found = plant.json(f"elements/{old}", webIdType="Full")
        assert (found["Id"], found["WebId"] != old) == (str(again), True)
        assert plant.get(f"elements/{element_web_id(plant.valve)}").status_code == 404


def test_attributes_come_go_and_change_their_tag_and_value() -> None:
    with planted_assets() as plant:
        door_template = AttributeTemplate(name="Door", data_reference=PI_POINT)
        plant.tree.add_attribute(plant.cold_store, door_template, tag=FLOW.name)
        door = plant.json("attributes", path=r'\\AFSIM\Plant\[Kühlhaus ß "x"]|Door')
        assert FLOW.name in door["ConfigString"]
        plant.tree.set_tag(plant.cold_store, "Door", TIES.name)
        assert TIES.name in plant.json(f"attributes/{door['WebId']}")["ConfigString"]
        plant.tree.set_value(plant.pump, "Serial Number", "P-7")
        values = plant.json(f"streamsets/{element_web_id(plant.pump)}/value", nameFilter="Serial*")["Items"]
        assert [item["Value"]["Value"] for item in values] == ["P-7"]
        plant.tree.delete_attribute(plant.cold_store, "Door")
        assert plant.attributes(plant.cold_store) == []
        plant.tree.edit(plant.cold_store, template_name="Asset")
        assert plant.attributes(plant.cold_store) == ["Serial Number"]


def test_a_change_between_two_pages_shifts_them() -> None:
    with planted_assets(repeats_multi_parent=False) as plant:
        first = plant.elements(maxCount=2)
        plant.tree.add("A new first one")
        assert plant.elements(maxCount=2, startIndex=2)[0] == first[1]


def test_a_forbidden_branch_is_as_if_it_were_not_there() -> None:
    with planted_assets(repeats_multi_parent=False) as plant:
        plant.running.assets.forbid(plant.unit_a)
        assert plant.elements() == ['Kühlhaus ß "x"', "Site 1", "Unit B"]
        for gone in (plant.unit_a, plant.pump, plant.valve):
            assert plant.get(f"elements/{element_web_id(gone)}").status_code == 404
        assert plant.get("elements", path=r"\\AFSIM\Plant\Unit B\[Pump | 1]").status_code == 404
        assert set(plant.names(f"{plant.database}/elementattributes", searchFullHierarchy=True)) == {"Serial Number"}
        (unit_b,) = plant.json(f"{plant.database}/elements", nameFilter="Unit B")["Items"]
        assert unit_b["HasChildren"] is True
        plant.running.assets.allow(plant.unit_a)
        assert len(plant.elements()) == 6


def test_a_forbidden_database_is_as_if_it_were_not_there() -> None:
    other = TreeDatabase("Other")
    other.add("There")
    with planted_assets(beside=[other]) as plant:
        databases = f"assetservers/{plant.json('assetservers')['Items'][0]['WebId']}/assetdatabases"
        assert plant.names(databases) == ["Other", "Plant"]
        plant.running.assets.forbid(plant.tree.id)
        assert plant.names(databases) == ["Other"]
        assert plant.get(f"{plant.database}/elements").status_code == 404
        assert plant.get(f"elements/{element_web_id(plant.site)}").status_code == 404


def test_a_stale_cache_shows_a_change_after_its_time_or_to_who_wants_no_cache() -> None:
    now = [NOON]
    with planted_assets(af_cache_seconds=300, now=lambda: now[0], repeats_multi_parent=False) as plant:
        assert len(plant.elements()) == 6
        plant.tree.rename(plant.site, "Site 2")
        plant.tree.delete(plant.valve)
        now[0] += 299 * TICKS_PER_SECOND
        assert "Site 1" in plant.elements()
        assert plant.json(f"elements/{element_web_id(plant.valve)}")["Name"] == "Valve"
        now[0] += TICKS_PER_SECOND
        assert "Site 2" in plant.elements()
        plant.tree.rename(plant.site, "Site 3")
        url = f"{plant.running.url}/elements/{element_web_id(plant.site)}"
        for control, name in (("max-age=60", "Site 2"), ("no-cache", "Site 3")):
            assert requests.get(url, headers={"Cache-Control": control}, timeout=10).json()["Name"] == name
        assert "Site 3" in plant.elements()


def test_a_tree_two_hundred_deep_is_found_whole_and_its_full_webids_are_too_long_for_a_url() -> None:
    tree = TreeDatabase("Deep")
    deepest: UUID | None = None
    for level in range(200):
        deepest = tree.add(f"Level {level}", parent=deepest)
    assert deepest is not None
    with planted_assets(beside=[tree]) as plant:
        root = plant.json("elements", path=r"\\AFSIM\Deep\Level 0", webIdType="IDOnly")["WebId"]
        assert len(plant.names(f"elements/{root}/elements", searchFullHierarchy=True)) == 199
        last = plant.json(f"elements/{element_web_id(deepest)}", webIdType="Full")
        assert last["Path"].count("\\") == 203
        assert plant.get(f"elements/{last['WebId']}").status_code == 400
        assert plant.json("elements", path=last["Path"])["Id"] == str(deepest)


def test_ten_thousand_children_come_from_below_one_parent() -> None:
    tree = TreeDatabase("Wide")
    parent = tree.add("Parent")
    for number in range(10_000):
        tree.add(f"Child {number % 5_000}", parent=parent)
    with planted_assets(beside=[tree]) as plant:
        path = f"elements/{element_web_id(parent, WebIdType.ID_ONLY)}/elements"
        pages = [plant.json(path, maxCount=3_000, startIndex=start)["Items"] for start in range(0, 12_000, 3_000)]
        assert [len(page) for page in pages] == [3_000, 3_000, 3_000, 1_000]
        assert len({item["Id"] for page in pages for item in page}) == 10_000


def test_siblings_may_have_the_same_name_and_are_told_apart_by_their_ids() -> None:
    tree = TreeDatabase("Same")
    same = [tree.add("Same") for _ in range(3)]
    with planted_assets(beside=[tree]) as plant:
        assert {plant.json(f"elements/{element_web_id(one)}")["Id"] for one in same} == {str(one) for one in same}
        assert plant.json("elements", path=rf"\\AFSIM\Same\[Same;{same[2]}]")["Id"] == str(same[2])
        assert plant.json("elements", path=r"\\AFSIM\Same\Same")["Id"] == str(same[0])
