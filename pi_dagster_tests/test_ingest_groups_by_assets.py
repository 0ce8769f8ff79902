"""Tag groups chosen by AF elements: by template, by path, and what is said when AF has not been loaded."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from pathlib import Path

import pytest

from pi_dagster.ingest.asset_tags import AssetTags
from pi_dagster.ingest.assets import refresh_assets
from pi_dagster.ingest.errors import AssetsMissingError
from pi_dagster.ingest.points import refresh_points
from pi_dagster.ingest.report import PointsReport
from pi_dagster.ingest.source import open_source
from pi_dagster.lake import Lake, PointsTable
from pi_dagster.simulator import Simulator
from pi_dagster.simulator.af_model import PI_POINT, AttributeTemplate, ElementTemplate
from pi_dagster.simulator.af_tree import TreeDatabase
from pi_dagster.simulator.archive import Archive, MemoryBase
from pi_dagster.simulator.points import Point
from pi_dagster.site import LakeSettings, ServerSettings, Site, TagGroup

TAGS = ("F1", "F2", "T1", "NOBODY")
VALUE = AttributeTemplate(name="Value", data_reference=PI_POINT)


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    """Two pumps, one of them shared by two units, and a tank."""
    tree = TreeDatabase(
        "Plant",
        element_templates=[
            ElementTemplate(name="Pump", attributes=(VALUE,)),
            ElementTemplate(name="Pump big", attributes=(VALUE,)),
            ElementTemplate(name="Tank", attributes=(VALUE,)),
        ],
    )
    unit1, unit2 = tree.add("Unit1"), tree.add("Unit2")
    shared = tree.add("P1", parent=unit1, template="Pump", tags={"Value": "F1"})
    tree.add_reference(shared, unit2)
    tree.add("P2", parent=unit2, template="Pump big", tags={"Value": "F2"})
    tree.add("T1", parent=tree.add("Unit10"), template="Tank", tags={"Value": "T1"})
    archive = Archive(MemoryBase([Point(id=number, name=name) for number, name in enumerate(TAGS, 1)]))
    with Simulator(archive=archive, assets=[tree]).serve() as running:
        yield Site(
            server=ServerSettings(url=running.url),
            lake=LakeSettings(uri=str(tmp_path)),
            start_date=date(2026, 1, 1),
            tag_groups=(TagGroup(name="x", tag_filter="*"),),
        )


def groups_of(site: Site, *groups: TagGroup) -> dict[str, str | None]:
    """Tag name to group, after AF and the tags have been read."""
    lake = Lake(site.lake.uri)
    with open_source(site.server) as source:
        refresh_assets(site, source, lake, run_id="test")
        refresh_points(site.model_copy(update={"tag_groups": groups}), source, lake, run_id="test")
    return {row["tag_name"]: row["tag_group"] for row in PointsTable.open(lake).read().to_pylist()}


def test_a_template_chooses_the_tags_of_its_elements(site: Site) -> None:
    rest = TagGroup(name="rest", tag_filter="*")
    assert groups_of(site, TagGroup(name="pumps", af_template="pump"), rest) == {
        "F1": "pumps",
        "F2": "rest",
        "T1": "rest",
        "NOBODY": "rest",
    }
    assert groups_of(site, TagGroup(name="pumps", af_template="Pump*"), rest)["F2"] == "pumps"


def test_a_path_chooses_the_tags_of_the_element_and_of_all_below_it(site: Site) -> None:
    groups = groups_of(site, TagGroup(name="unit", element_path="/unit1"), TagGroup(name="tank", element_path="/*/T1"))
    assert groups == {"F1": "unit", "F2": None, "T1": "tank", "NOBODY": None}


def test_an_element_is_found_by_every_path_that_leads_to_it(site: Site) -> None:
    groups = groups_of(site, TagGroup(name="unit2", element_path="/Unit2"))
    assert groups == {"F1": "unit2", "F2": "unit2", "T1": None, "NOBODY": None}


def test_groups_by_assets_need_the_assets_first(site: Site) -> None:
    by_template = site.model_copy(update={"tag_groups": (TagGroup(name="pumps", af_template="Pump"),)})

    def refresh() -> PointsReport:
        with open_source(site.server) as source:
            return refresh_points(by_template, source, Lake(site.lake.uri), run_id="test")

    with pytest.raises(AssetsMissingError, match="materialize pi_asset_hierarchy first"):
        refresh()
    with open_source(site.server) as source:
        refresh_assets(site, source, Lake(site.lake.uri), run_id="test")
    assert refresh().tags_by_partition == {"pumps": 1}


def test_no_tag_belongs_to_unknown_assets(site: Site) -> None:
    groups_of(site, TagGroup(name="x", tag_filter="*"))
    known = AssetTags.read(Lake(site.lake.uri))
    assert known.of_template("Compressor") == known.below("/Unit3") == known.below("/Unit1/P") == frozenset()
