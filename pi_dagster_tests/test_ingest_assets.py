"""pi_asset_hierarchy and pi_asset_attributes hold exactly what AF holds, of hostile trees too."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from pi_dagster.ingest.asset_tags import AssetTags
from pi_dagster.ingest.assets import refresh_assets
from pi_dagster.ingest.errors import AssetsLostError, AssetsMissingError, NoElementsError
from pi_dagster.ingest.report import AssetsReport
from pi_dagster.ingest.source import open_source
from pi_dagster.lake import AssetAttributesTable, AssetHierarchyTable, Lake
from pi_dagster.piwebapi.errors import AssetsNotFoundError
from pi_dagster.simulator import RunningSimulator, Simulator
from pi_dagster.simulator.af_model import (
    ASSET_SERVER_ID,
    FORMULA,
    PI_POINT,
    AttributeTemplate,
    ElementTemplate,
    EnumerationSet,
    EnumerationValue,
)
from pi_dagster.simulator.af_plant import PlantDatabase
from pi_dagster.simulator.af_tree import TreeDatabase
from pi_dagster.simulator.archive import Archive, MemoryBase
from pi_dagster.simulator.faults import Fault, FaultKind
from pi_dagster.simulator.generator import GeneratedBase
from pi_dagster.simulator.points import Point
from pi_dagster.site import AssetFrameworkSettings, LakeSettings, ServerSettings, Site, TagGroup
from pi_dagster.webid import WebId, WebIdType, object_webid
from pi_dagster_tests.asset_truth import expected_attributes, expected_elements

TAGS = ("PMP01.FLOW", "PMP01.SPEED", "PMP02.FLOW", "Näme & so/100%")
MODES = EnumerationSet("Modes", (EnumerationValue("Off", 0), EnumerationValue("Auto", 1)))
EQUIPMENT = ElementTemplate(
    name="Equipment",
    attributes=(
        AttributeTemplate(name="Maker", value_type="String", value="Müller & Söhne"),
        AttributeTemplate(
            name="Weight", value=12.5, units="kilogram", units_abbreviation="kg", category_names=("Data",)
        ),
        AttributeTemplate(name="Serial", value_type="Int32", value=4711, is_hidden=True),
        AttributeTemplate(name="Old", value_type="Int32", value=1, is_excluded=True),
        AttributeTemplate(name="Running", value_type="Boolean", value=True),
    ),
)
PUMP = ElementTemplate(
    name="Pump",
    base="Equipment",
    attributes=(
        AttributeTemplate(
            name="Flow",
            data_reference=PI_POINT,
            units="cubic meter per hour",
            units_abbreviation="m3/h",
            children=(
                AttributeTemplate(
                    name="High",
                    value=90.0,
                    trait="LimitHi",
                    children=(AttributeTemplate(name="Reason", value_type="String", value="hot"),),
                ),
            ),
        ),
        AttributeTemplate(name="Speed", data_reference=PI_POINT),
        AttributeTemplate(name="Ratio", data_reference=FORMULA, config_string="A=Flow;[A*2]", value=1.0),
        AttributeTemplate(name="Mode", value_type="EnumerationValue", type_qualifier="Modes", value=1),
        AttributeTemplate(name="a|b [c]", value_type="", value="quoted"),
    ),
)


@dataclass
class Plant:
    """A served plant with a tree that tests change, and the tables that it is loaded into."""

    running: RunningSimulator
    tree: Any
    archive: Archive
    site: Site

    def refresh(self, **settings: Any) -> AssetsReport:
        site = self.site.model_copy(update={"asset_framework": AssetFrameworkSettings(**settings)})
        with open_source(site.server) as source:
            return refresh_assets(site, source, Lake(site.lake.uri), run_id="test")

    def elements(self) -> dict[str, dict[str, Any]]:
        rows = AssetHierarchyTable.open(Lake(self.site.lake.uri)).read().drop_columns(["ingestion_timestamp"])
        found = {row["element_id"]: row for row in rows.to_pylist()}
        assert len(found) == rows.num_rows
        return found

    def attributes(self) -> dict[tuple[str, str], dict[str, Any]]:
        rows = AssetAttributesTable.open(Lake(self.site.lake.uri)).read().drop_columns(["config_string"])
        found = {(row["element_id"], row["attribute_id"]): row for row in rows.to_pylist()}
        assert len(found) == rows.num_rows
        return found

    def assert_equal(self) -> None:
        assert self.elements() == expected_elements(self.tree)
        assert self.attributes() == expected_attributes(self.tree, self.archive)

    def names(self) -> set[str]:
        return {row["element_name"] for row in self.elements().values()}


def planted() -> tuple[TreeDatabase, Archive]:
    """A small plant: two sites, pumps from a template, a pump that two units share, odd names."""
    tree = TreeDatabase(
        "Plant",
        element_templates=[EQUIPMENT, PUMP],
        enumeration_sets=[MODES],
        element_categories=["Rotating", "Critical"],
        attribute_categories=["Data"],
    )
    north = tree.add("North")
    unit1, unit2 = tree.add("Unit 1", parent=north), tree.add("Unit 2", parent=north)
    shared = tree.add(
        "P-101",
        parent=unit1,
        template="Pump",
        tags={"Flow": "PMP01.FLOW", "Speed": "PMP01.SPEED"},
        category_names=("Rotating", "Critical"),
        description="Feed pump",
    )
    tree.add_reference(shared, unit2)
    tree.add(
        "P-102", parent=unit2, template="Pump", tags={"Flow": "PMP02.FLOW", "Speed": "NO SUCH TAG"}, values={"Mode": 0}
    )
    tree.add("Tank", parent=unit2, template="Equipment", values={"Maker": ""}, category_names=("Critical",))
    odd = tree.add("Süd|West 日本", parent=None)
    tree.add(
        "a/b & c%20+d",
        parent=odd,
        attributes=(AttributeTemplate(name="Tag", data_reference=PI_POINT),),
        tags={"Tag": TAGS[3]},
    )
    tree.add("Flow meter", parent=odd, element_type="Measurement")
    points = [Point(id=number, name=name) for number, name in enumerate(TAGS, 1)]
    return tree, Archive(MemoryBase(points))


def site_of(running: RunningSimulator, lake: Path, **server: Any) -> Site:
    return Site(
        server=ServerSettings(url=running.url, **server),
        lake=LakeSettings(uri=str(lake)),
        start_date=datetime(2026, 1, 1, tzinfo=timezone.utc).date(),
        tag_groups=(TagGroup(name="all", tag_filter="*"),),
    )


@pytest.fixture
def plant(tmp_path: Path) -> Iterator[Plant]:
    tree, archive = planted()
    with Simulator(archive=archive, assets=[tree]).serve() as running:
        yield Plant(running, tree, archive, site_of(running, tmp_path))


def test_the_tables_equal_af_row_by_row(plant: Plant) -> None:
    report = plant.refresh()
    plant.assert_equal()
    assert (report.elements, report.levels) == (9, 3)
    assert report.elements_with_several_parents == 1
    assert report.tags == 4
    assert report.changes == {"added": 9, "removed": 0, "renamed": 0, "moved": 0}
    assert report.unread_values == ()


def test_a_generated_plant_is_read_element_by_element(tmp_path: Path) -> None:
    """Shared equipment, a cycle, names that need quotes, hidden and excluded attributes, tags that are gone."""
    archive = Archive(GeneratedBase(tags=300))
    tree = PlantDatabase(archive, elements=1200)
    with Simulator(archive=archive, assets=[tree]).serve() as running:
        plant = Plant(running, tree, archive, site_of(running, tmp_path))
        report = plant.refresh(page_size=500)
        plant.assert_equal()
    assert report.elements == 1200
    assert report.elements_with_several_parents > 10
    assert any(row["all_paths"][1:] for row in plant.elements().values())


@pytest.mark.parametrize(
    "settings", [{"page_size": 10}, {"elements_per_batch": 1}, {"elements_per_batch": 4, "page_size": 11}]
)
def test_the_tables_are_equal_whatever_the_size_of_pages_and_batches(plant: Plant, settings: dict[str, Any]) -> None:
    for number in range(40):
        plant.tree.add(f"Extra {number % 7}", template="Pump", tags={"Flow": "PMP01.FLOW"})
    plant.refresh(**settings)
    plant.assert_equal()


def test_the_tables_are_equal_where_every_field_is_sent_and_webids_are_full(tmp_path: Path) -> None:
    tree, archive = planted()
    with Simulator(archive=archive, assets=[tree]).serve() as running:
        plant = Plant(running, tree, archive, site_of(running, tmp_path, select_fields=False))
        plant.refresh()
        plant.assert_equal()


def test_unchanged_content_makes_no_new_version(plant: Plant) -> None:
    first, second = plant.refresh(), plant.refresh()
    assert first.hierarchy_changed
    assert first.attributes_changed
    assert (second.hierarchy_changed, second.attributes_changed) == (False, False)
    assert second.hierarchy_version == first.hierarchy_version == 1
    assert second.attributes_version == first.attributes_version == 1
    assert (second.hierarchy_content, second.attributes_content) == (first.hierarchy_content, first.attributes_content)
    assert sum(second.changes.values()) == 0


def test_a_changed_attribute_leaves_the_hierarchy_as_it_is(plant: Plant) -> None:
    first = plant.refresh()
    tank = next(one for one, row in plant.elements().items() if row["element_name"] == "Tank")
    plant.tree.set_value(UUID(tank), "Maker", "Schmidt")
    second = plant.refresh()
    assert (second.hierarchy_changed, second.attributes_changed) == (False, True)
    assert second.attributes_content != first.attributes_content
    plant.assert_equal()


def raise_keyboard_interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def test_a_run_that_ends_between_the_two_commits_is_made_up_for_by_the_next(
    plant: Plant, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The hierarchy comes last, so that tag groups see either nothing or elements that have their attributes."""
    with monkeypatch.context() as killed:
        killed.setattr(AssetHierarchyTable, "replace", raise_keyboard_interrupt)
        with pytest.raises(KeyboardInterrupt):
            plant.refresh()
    with pytest.raises(AssetsMissingError):
        AssetTags.read(Lake(plant.site.lake.uri))
    report = plant.refresh()
    assert (report.hierarchy_changed, report.attributes_changed) == (True, False)
    plant.assert_equal()


def test_an_element_that_is_renamed_and_moved_stays_the_same_element(plant: Plant) -> None:
    plant.refresh()
    by_name = {row["element_name"]: UUID(one) for one, row in plant.elements().items()}
    plant.tree.rename(by_name["P-102"], "P-202")
    plant.tree.move(by_name["P-102"], by_name["Unit 1"])
    report = plant.refresh()
    plant.assert_equal()
    assert report.changes == {"added": 0, "removed": 0, "renamed": 1, "moved": 1}
    assert {(one.change, one.element, one.before) for one in report.changed_elements} == {
        ("renamed", "/North/Unit 1/P-202", "P-102"),
        ("moved", "/North/Unit 1/P-202", "/North/Unit 2/P-102"),
    }


def test_a_deleted_element_is_gone_from_both_tables(plant: Plant) -> None:
    plant.refresh()
    by_name = {row["element_name"]: UUID(one) for one, row in plant.elements().items()}
    plant.tree.delete(by_name["Tank"])
    report = plant.refresh()
    plant.assert_equal()
    assert report.changes["removed"] == 1
    assert report.unreadable_elements == ()


def test_a_branch_that_may_no_longer_be_read_keeps_its_rows(plant: Plant) -> None:
    """Its parent still has children, and shows none."""
    hidden = plant.tree.add("Cabin", parent=plant.tree.add("Building"), template="Equipment")
    plant.refresh()
    elements, attributes = plant.elements(), plant.attributes()
    plant.running.assets.forbid(hidden)
    report = plant.refresh()
    assert report.unreadable_elements == ("/Building/Cabin",)
    assert report.changes["removed"] == 0
    assert plant.elements() == elements
    assert plant.attributes() == attributes
    plant.running.assets.allow(hidden)
    assert plant.refresh().unreadable_elements == ()
    plant.assert_equal()


def test_an_element_that_answers_403_keeps_its_rows_and_those_below_it(plant: Plant) -> None:
    plant.refresh(max_lost_share=0.5)
    elements, attributes = plant.elements(), plant.attributes()
    unit = next(row for row in elements.values() if row["element_name"] == "Unit 2")
    plant.running.assets.forbid(UUID(unit["element_id"]))
    plant.running.faults.add(Fault(kind=FaultKind.STATUS, route="elements/*", web_id=unit["element_webid"], status=403))
    report = plant.refresh(max_lost_share=0.5)
    assert set(report.unreadable_elements) == {"/North/Unit 2", "/North/Unit 2/P-102", "/North/Unit 2/Tank"}
    assert plant.elements().keys() == elements.keys()
    assert plant.attributes() == attributes


def test_every_missing_element_is_asked_for_however_many_they_are(plant: Plant) -> None:
    hidden = [plant.tree.add(f"Cabin {number}") for number in range(1100)]
    plant.refresh()
    elements = plant.elements()
    for element in hidden:
        plant.running.assets.forbid(element)
    one_element = "elements/" + "?" * len(elements[str(hidden[0])]["element_webid"])
    plant.running.faults.add(Fault(kind=FaultKind.STATUS, route=one_element, status=403))
    plant.refresh(max_lost_share=1)
    assert plant.elements() == elements


def test_an_element_whose_attributes_answer_403_keeps_its_rows(plant: Plant) -> None:
    plant.refresh()
    elements, attributes = plant.elements(), plant.attributes()
    pump = next(row for row in elements.values() if row["element_name"] == "P-102")
    fault = Fault(kind=FaultKind.STATUS, route="elements/*/attributes", web_id=pump["element_webid"], status=403)
    plant.running.faults.add(fault)
    report = plant.refresh()
    assert report.unreadable_elements == ("/North/Unit 2/P-102",)
    assert (report.hierarchy_changed, report.attributes_changed) == (False, False)
    assert (plant.elements(), plant.attributes()) == (elements, attributes)


def test_a_great_loss_fails_and_leaves_the_tables(plant: Plant) -> None:
    plant.refresh()
    elements, attributes = plant.elements(), plant.attributes()
    north = next(UUID(one) for one, row in elements.items() if row["element_name"] == "North")
    plant.running.assets.forbid(north)
    with pytest.raises(AssetsLostError, match=r"6 of 9 AF elements are gone.*max_lost_share"):
        plant.refresh()
    assert plant.elements() == elements
    assert plant.attributes() == attributes
    assert plant.refresh(max_lost_share=1).elements == 3


def test_a_database_that_is_no_longer_shown_fails_and_leaves_the_tables(plant: Plant, tmp_path: Path) -> None:
    other = TreeDatabase("Other")
    other.add("Somewhere")
    with Simulator(archive=plant.archive, assets=[plant.tree, other]).serve() as running:
        two = Plant(running, plant.tree, plant.archive, site_of(running, tmp_path / "two"))
        assert two.refresh().databases == ("Other", "Plant")
        running.assets.forbid(other.id)
        with pytest.raises(AssetsLostError, match="no longer shows this login the database Other"):
            two.refresh()
        with pytest.raises(AssetsNotFoundError, match=r"shows this login no database Other \(it shows: Plant\)"):
            two.refresh(databases=("Plant", "Other"))
        assert "Somewhere" in two.names()
        assert two.refresh(databases=("Plant",)).elements == 9
        assert "Somewhere" not in two.names()


def test_filters_choose_by_root_template_and_category(plant: Plant) -> None:
    def names(**settings: Any) -> set[str]:
        plant.refresh(**settings)
        return plant.names()

    assert names(root_path="/North/Unit 2") == {"Unit 2", "P-101", "P-102", "Tank"}
    assert names(templates=("Equipment",)) == {"P-101", "P-102", "Tank"}
    assert names(templates=("Pump",), categories=("Critical",)) == {"P-101"}
    assert names(categories=("Rotating", "Critical")) == {"P-101", "Tank"}
    assert names(root_path="/North/Unit 2", categories=("Critical",)) == {"P-101", "Tank"}
    assert len(names()) == 9


@pytest.mark.parametrize(
    "settings", [{"root_path": "/South"}, {"templates": ("Pumpe",)}, {"categories": ("Rotating", "Kritisch")}]
)
def test_a_filter_that_no_database_knows_is_refused(plant: Plant, settings: dict[str, Any]) -> None:
    with pytest.raises(NoElementsError, match=r"None of the AF databases Plant has what .*(South|Pumpe|Kritisch)"):
        plant.refresh(**settings)


def test_a_server_without_elements_says_what_to_do(tmp_path: Path) -> None:
    archive = planted()[1]
    with Simulator(archive=archive, assets=[TreeDatabase("Empty")]).serve() as running:
        plant = Plant(running, TreeDatabase("Empty"), archive, site_of(running, tmp_path))
        with pytest.raises(NoElementsError, match="write `asset_framework: null`"):
            plant.refresh()
        with pytest.raises(AssetsNotFoundError, match=r"no AF server 'X' \(it knows: AFSIM\)"):
            plant.refresh(asset_server="X")


@pytest.mark.parametrize("status", [403, 404])
def test_a_server_that_refuses_to_tell_of_af_says_what_to_do(plant: Plant, status: int) -> None:
    plant.running.faults.add(Fault(kind=FaultKind.STATUS, route="assetservers", status=status))
    with pytest.raises(AssetsNotFoundError, match=rf"AF servers .*{status}.* write `asset_framework: null`"):
        plant.refresh()


def test_a_tree_200_levels_deep_is_read_whole(plant: Plant) -> None:
    below = None
    for level in range(200):
        below = plant.tree.add(f"L{level}", parent=below)
    assert plant.refresh().levels == 200
    plant.assert_equal()


def test_ten_thousand_children_below_one_parent_are_all_read(plant: Plant) -> None:
    parent = plant.tree.add("Big")
    for number in range(10_000):
        plant.tree.add(f"Child {number}", parent=parent)
    plant.refresh(page_size=3000, elements_per_batch=1000)
    plant.assert_equal()


def test_a_cycle_through_a_weak_reference_ends_and_shows_in_the_parents(plant: Plant) -> None:
    plant.refresh()
    by_name = {row["element_name"]: UUID(one) for one, row in plant.elements().items()}
    plant.tree.add_reference(by_name["North"], by_name["P-102"])
    plant.refresh()
    plant.assert_equal()
    assert plant.elements()[str(by_name["North"])]["all_parent_ids"] == [str(by_name["P-102"])]


def test_the_same_name_thrice_is_three_elements(plant: Plant) -> None:
    parent = plant.tree.add("Twins")
    same = [plant.tree.add("Same", parent=parent, template="Equipment") for _ in range(3)]
    plant.tree.add("Same", parent=same[1])
    plant.refresh()
    plant.assert_equal()


def refresh_while(plant: Plant, change: Callable[[], None], monkeypatch: pytest.MonkeyPatch) -> AssetsReport:
    """A refresh during which AF changes: after its elements have been listed, before their attributes are read."""
    site = plant.site.model_copy(update={"asset_framework": AssetFrameworkSettings()})
    with open_source(site.server) as source:
        batch, changes = source.transport.batch, [change]

        def change_first(*arguments: Any) -> Any:
            while changes:
                changes.pop()()
            return batch(*arguments)

        monkeypatch.setattr(source.transport, "batch", change_first)
        return refresh_assets(site, source, Lake(site.lake.uri), run_id="test")


def test_elements_added_while_af_is_read_are_found_below_their_parents(
    plant: Plant, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So are those that a search has passed over for whatever reason."""
    plant.refresh()
    unit = next(UUID(one) for one, row in plant.elements().items() if row["element_name"] == "Unit 1")

    def grow() -> None:
        skid = plant.tree.add("Skid", parent=unit)
        plant.tree.add("P-103", parent=skid, template="Pump", tags={"Flow": "PMP01.FLOW"})

    refresh_while(plant, grow, monkeypatch)
    plant.assert_equal()


def test_an_element_deleted_while_af_is_read_is_gone(plant: Plant, monkeypatch: pytest.MonkeyPatch) -> None:
    plant.refresh()
    tank = next(UUID(one) for one, row in plant.elements().items() if row["element_name"] == "Tank")
    report = refresh_while(plant, lambda: plant.tree.delete(tank), monkeypatch)
    plant.assert_equal()
    assert report.changes["removed"] == 1


@pytest.mark.parametrize("form", ["nothing", "PathOnly", "Full"])
def test_tags_are_found_whatever_form_the_link_to_the_point_has(
    plant: Plant, monkeypatch: pytest.MonkeyPatch, form: str
) -> None:
    """Older servers need not write links in the form that was asked for."""
    names = {point.id: point.name for point in plant.archive.points()}

    def rewritten(link: re.Match[bytes]) -> bytes:
        if form == "nothing":
            return b'"Point":""'
        web_id = WebId.parse(link.group(1).decode())
        full = replace(web_id, type=WebIdType.FULL, path=rf"{plant.archive.server_name}\{names[int(web_id.ids[1])]}")
        return b'"Point":"http://pi/piwebapi/points/' + full.as_type(WebIdType(form)).encode().encode() + b'"'

    site = plant.site.model_copy(update={"asset_framework": AssetFrameworkSettings()})
    with open_source(site.server) as source:
        batch = source.transport.batch

        def with_other_links(calls: Any, parse: Callable[[bytes], Any]) -> Any:
            return batch(calls, lambda body: parse(re.sub(rb'"Point":"[^"]*/([^"/]+)"', rewritten, body)))

        monkeypatch.setattr(source.transport, "batch", with_other_links)
        refresh_assets(site, source, Lake(site.lake.uri), run_id="test")
    plant.assert_equal()
    assert sum(row["tag_webid"] is not None for row in plant.attributes().values()) == 4


def test_nested_attributes_are_told_apart_where_names_differ_by_a_sharp_s(plant: Plant) -> None:
    inner = (AttributeTemplate(name="Unit", value="kg", value_type="String"),)
    plant.tree.add("Scale", attributes=[AttributeTemplate(name=name, children=inner) for name in ("Maß", "Mass")])
    plant.refresh()
    plant.assert_equal()


def test_an_element_of_more_attributes_than_a_page_holds_is_read_whole(plant: Plant) -> None:
    many = tuple(AttributeTemplate(name=f"A{number}", value=float(number)) for number in range(2300))
    plant.tree.add("Analyser", attributes=many)
    plant.refresh()
    plant.assert_equal()


def test_a_batch_that_is_too_large_for_the_server_is_cut(plant: Plant) -> None:
    plant.running.faults.add(Fault(kind=FaultKind.STATUS, status=413, route="batch", count=2))
    plant.refresh()
    plant.assert_equal()


def test_trouble_that_passes_changes_nothing(plant: Plant) -> None:
    for fault in (
        Fault(kind=FaultKind.STATUS, status=503, route="assetdatabases/*", count=2),
        Fault(kind=FaultKind.STATUS, status=429, route="elements/*/attributes", count=3),
        Fault(kind=FaultKind.CUT_BODY, route="batch", count=1),
        Fault(kind=FaultKind.WEB_EXCEPTION, route="assetdatabases/*", count=1),
        Fault(kind=FaultKind.WEB_EXCEPTION, route="elements/*/attributes", count=1),
        Fault(kind=FaultKind.WEB_EXCEPTION, route="streamsets/value", count=1),
    ):
        plant.running.faults.add(fault)
    report = plant.refresh()
    plant.assert_equal()
    assert report.traffic.retries > 0


def test_a_static_value_that_cannot_be_read_is_told_and_leaves_the_others(plant: Plant) -> None:
    plant.refresh()
    tank = next(one for one, row in plant.elements().items() if row["element_name"] == "Tank")
    weight = next(
        row for key, row in plant.attributes().items() if key[0] == tank and row["attribute_name"] == "Weight"
    )
    web_id = object_webid("Ab", (ASSET_SERVER_ID, UUID(tank), UUID(weight["attribute_id"])), "x", owner_marker="E")
    for route in ("streams/*/value", "streamsets/value"):
        fault = Fault(kind=FaultKind.STATUS, status=500, route=route, web_id=web_id.identity)
        plant.running.faults.add(fault)
    report = plant.refresh()
    assert report.unread_values == (r"\\AFSIM\Plant\North\Unit 2\Tank|Weight",)
    after = plant.attributes()
    assert after.pop((tank, weight["attribute_id"])) == {**weight, "static_value": None}
    expected = expected_attributes(plant.tree, plant.archive)
    del expected[tank, weight["attribute_id"]]
    assert after == expected
