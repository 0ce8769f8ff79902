from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from pi_dagster.webid import WebId, WebIdType
from pi_dagster_tests.planted_archive import FLOW, READ_ALL, web_id
from pi_dagster_tests.planted_assets import Assets, element_web_id, planted_assets

PUMP = r"\\AFSIM\Plant\Site 1\Unit A\[Pump | 1]"
VALVE = r"\\AFSIM\Plant\Site 1\Unit A\Valve"
SHOWN = ["Efficiency", "Flow", "Mode", "Position", "Serial Number"]


@pytest.fixture(scope="module")
def plant() -> Iterator[Assets]:
    with planted_assets() as planted:
        yield planted


def attribute(plant: Assets, path: str, **params: Any) -> Any:
    return plant.json("attributes", path=path, **params)


def test_hidden_excluded_and_nested_attributes_come_only_when_asked_for(plant: Assets) -> None:
    assert plant.attributes(plant.pump) == SHOWN
    assert plant.attributes(plant.pump, showHidden=True) == sorted([*SHOWN, "Secret"])
    assert plant.attributes(plant.pump, showExcluded=True) == sorted([*SHOWN, "Old"])
    assert plant.attributes(plant.pump, searchFullHierarchy=True) == sorted([*SHOWN, "High Limit"])


def test_attributes_of_the_template_above_are_inherited(plant: Assets) -> None:
    serial = attribute(plant, f"{PUMP}|Serial Number")
    template = plant.session.get(serial["Links"]["Template"], timeout=10).json()
    assert template["Path"] == r"\\AFSIM\Plant\ElementTemplates[Asset]|Serial Number"


def test_an_attribute_of_a_template_has_one_id_on_all_elements_and_so_needs_its_owners(plant: Assets) -> None:
    found = [attribute(plant, f"{path}|Serial Number") for path in (PUMP, r"\\AFSIM\Plant\Unit B")]
    assert found[0]["Id"] == found[1]["Id"]
    assert found[0]["WebId"] != found[1]["WebId"]
    assert [plant.json(f"attributes/{item['WebId']}")["Path"] for item in found] == [item["Path"] for item in found]


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        ({"nameFilter": "*o*"}, ["Flow", "Mode", "Position"]),
        ({"categoryName": "Nameplate"}, ["Serial Number"]),
        ({"templateName": "Asset"}, ["Serial Number"]),
        ({"valueType": "Single"}, ["Flow"]),
        ({"trait": "LimitHi", "searchFullHierarchy": True}, ["High Limit"]),
        ({"traitCategory": "Limit", "searchFullHierarchy": True}, ["High Limit"]),
        ({"traitCategory": "Forecast", "searchFullHierarchy": True}, []),
        ({"sortOrder": "Descending", "maxCount": 2}, ["Serial Number", "Position"]),
        ({"startIndex": 4}, ["Serial Number"]),
    ],
)
def test_attributes_are_filtered_sorted_and_paged(plant: Assets, filters: dict[str, Any], expected: list[str]) -> None:
    assert plant.attributes(plant.pump, **filters) == expected


def test_a_pi_point_attribute_leads_to_its_tag(plant: Assets) -> None:
    flow = attribute(plant, f"{PUMP}|Flow", associations="DataReference", webIdType="IDOnly")
    assert (flow["DataReferencePlugIn"], flow["Type"]) == ("PI Point", "Single")
    assert flow["Links"]["Point"].rpartition("/")[2] == web_id(FLOW)
    assert plant.session.get(flow["Links"]["Point"], timeout=10).json()["Name"] == FLOW.name
    assert flow["DataReference"]["PIPoint"]["WebId"] == web_id(FLOW)
    assert flow["ConfigString"] == rf"\\PISIM?{plant.running.archive.server_id}\{FLOW.name}?{FLOW.id}"
    with planted_assets(config_string_ids=False) as other:
        assert attribute(other, f"{PUMP}|Flow")["ConfigString"] == rf"\\PISIM\{FLOW.name}"


def test_an_attribute_whose_tag_is_gone_has_no_point(plant: Assets) -> None:
    gone = attribute(plant, f"{VALVE}|Gone")
    assert gone["ConfigString"] == r"\\PISIM\NO.SUCH.TAG"
    assert "Point" not in gone["Links"]
    value = plant.session.get(gone["Links"]["Value"], timeout=10).json()
    assert value["Good"] is False
    assert "NO.SUCH.TAG" in value["Value"]["Errors"][0]


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        (f"{PUMP}|Mode", {"Name": "On", "Value": 1, "IsSystem": False}),
        (f"{PUMP}|Flow|High Limit", 90.0),
        (r"\\AFSIM\Plant\Site 1\Unit A|Serial Number", "A-1"),
        (r"\\AFSIM\Plant\Site 1\Unit B|Serial Number", "?"),
        (f"{VALVE}|Any", [1, 2]),
    ],
)
def test_a_static_attribute_has_a_value_but_no_recorded_ones(plant: Assets, path: str, expected: object) -> None:
    found = attribute(plant, path)
    for url in (f"attributes/{found['WebId']}/value", f"streams/{found['WebId']}/value"):
        value = plant.json(url)
        assert (value["Timestamp"], value["Value"], value["Good"]) == ("1970-01-01T00:00:00Z", expected, True)
    assert plant.get(f"streams/{found['WebId']}/recorded").status_code == 409
    assert "RecordedData" not in found["Links"]


def test_a_formula_has_a_value_of_now_and_its_text_as_configuration(plant: Assets) -> None:
    found = attribute(plant, f"{PUMP}|Efficiency")
    assert found["ConfigString"] == "A=Flow;[A/2]"
    assert plant.json(f"streams/{found['WebId']}/value")["Timestamp"] == "2024-06-15T12:00:00Z"
    assert plant.get(f"streams/{found['WebId']}/recorded").status_code == 409


def test_a_tag_is_read_through_its_attribute(plant: Assets) -> None:
    found = attribute(plant, f"{PUMP}|Flow")
    through = plant.json(f"streams/{found['WebId']}/recorded", **READ_ALL)["Items"]
    assert through == plant.recorded(FLOW)
    assert len(through) == 120


def test_a_streamset_has_values_of_all_attributes_but_recorded_ones_of_tags_only(plant: Assets) -> None:
    path = f"streamsets/{element_web_id(plant.pump)}"
    assert sorted(plant.names(f"{path}/value")) == SHOWN
    assert sorted(plant.names(f"{path}/value", searchFullHierarchy=True)) == sorted([*SHOWN, "High Limit"])
    assert plant.names(f"{path}/recorded", **READ_ALL) == ["Flow", "Position"]
    mode = attribute(plant, f"{PUMP}|Mode")["WebId"]
    assert plant.get("streamsets/recorded", webId=[mode]).status_code == 409
    (value,) = plant.json("streamsets/value", webId=[mode])["Items"]
    assert value["Value"]["Value"]["Name"] == "On"


def test_nested_attributes_lie_below_theirs(plant: Assets) -> None:
    flow = attribute(plant, f"{PUMP}|Flow")
    assert flow["HasChildren"] is True
    (limit,) = plant.json(f"attributes/{flow['WebId']}/attributes")["Items"]
    assert limit["Path"] == f"{PUMP}|Flow|High Limit"
    assert plant.session.get(limit["Links"]["Parent"], timeout=10).json()["Name"] == "Flow"
    assert plant.names(f"streamsets/{flow['WebId']}/value") == ["High Limit"]


def test_a_search_of_elements_attributes_finds_those_of_the_whole_hierarchy(plant: Assets) -> None:
    path = f"{plant.database}/elementattributes"
    everything = plant.names(path, searchFullHierarchy=True)
    assert everything == sorted(everything, key=str.upper)
    pump, units = [*SHOWN, "High Limit", "Secret", "Old"], ["Serial Number"] * 3
    # The pump is below two units, and Unit B below the site and the database.
    assert sorted(everything) == sorted([*pump, *pump, *units, "Any", "Gone", "Lift"])
    assert plant.names(path) == ["Serial Number"]


def test_a_search_of_elements_attributes_is_filtered_by_both(plant: Assets) -> None:
    path = f"elements/{element_web_id(plant.unit_a)}/elementattributes"
    assert plant.names(path, elementTemplate="Pump", attributeType="Single") == ["Flow"]
    assert plant.names(path, attributeNameFilter="High*") == []
    assert plant.names(path, attributeNameFilter="High*", searchFullHierarchy=True) == ["High Limit", "High Limit"]
    assert plant.names(path, elementNameFilter="V*", attributeNameFilter="G*") == ["Gone"]
    assert plant.names(path, elementCategory="Rotating", attributeCategory="Nameplate") == ["Serial Number"]
    assert plant.get(path, attributeCategory="Nope").status_code == 400


def test_whether_the_root_is_searched_and_hidden_attributes_are_found_is_switchable() -> None:
    with planted_assets(searches_root_attributes=True, searches_excluded=False) as plant:
        path = f"elements/{element_web_id(plant.unit_a)}/elementattributes"
        assert plant.names(path, attributeNameFilter="S*") == ["Serial Number", "Serial Number"]
        assert plant.names(path, attributeNameFilter="Old") == []


@pytest.mark.parametrize("form", list(WebIdType))
@pytest.mark.parametrize("association", ["", "Paths", "DataReference", "Paths;DataReference"])
def test_a_search_writes_an_attribute_as_the_attribute_writes_itself(
    plant: Assets, form: WebIdType, association: str
) -> None:
    params = {"webIdType": form.value, "associations": association}
    for item in plant.json(f"{plant.database}/elementattributes", searchFullHierarchy=True, **params)["Items"]:
        assert WebId.parse(item["WebId"]).type is form
        assert plant.json(f"attributes/{item['WebId']}", **params) == item


def test_only_the_selected_fields_of_attributes_come(plant: Assets) -> None:
    (item,) = plant.json(
        f"{plant.database}/elementattributes",
        searchFullHierarchy=True,
        attributeNameFilter="Lift",
        associations="DataReference;Paths",
        selectedFields="Items.Name;Items.DataReference.PIPoint.Id;Items.Links.Point",
    )["Items"]
    assert item["DataReference"] == {"PIPoint": {"Id": 7}}
    assert (set(item), set(item["Links"])) == ({"Name", "DataReference", "Links"}, {"Point"})


def test_every_path_of_an_attribute_is_told(plant: Assets) -> None:
    flow = attribute(plant, f"{PUMP}|Flow", associations="Paths")
    assert flow["Paths"] == [
        f"{path}|Flow" for path in plant.json(f"elements/{element_web_id(plant.pump)}/paths")["Items"]
    ]
    assert flow["Paths"][0] == flow["Path"]


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("Element:{ Name:='Pump*' } Type:=Single", ["Flow"]),
        (r"Element:{Root:'Site 1\Unit A' Name:='Valve'}", ["Any", "Gone", "Lift"]),
        ('Element:{Template:Pump} Category:"Nameplate"', ["Serial Number"]),
        ("Name:='Flow' PlugIn:='PI Point'", ["Flow"]),
        ("PlugIn:=Formula", ["Efficiency"]),
        ("Trait:LimitHi", ["High Limit"]),
    ],
)
def test_a_query_for_attributes_finds(plant: Assets, query: str, expected: list[str]) -> None:
    database = plant.database.partition("/")[2]
    assert plant.names("attributes/search", databaseWebId=database, query=query) == expected


def test_many_attributes_at_once_are_207_when_one_is_missing(plant: Assets) -> None:
    flow = attribute(plant, f"{PUMP}|Flow")["WebId"]
    answer = plant.get("attributes/multiple", webId=[flow], path=[f"{VALVE}|Lift", f"{VALVE}|Nope"])
    assert answer.status_code == 207
    assert ["Object" in item for item in answer.json()["Items"]] == [True, True, False]


def test_values_are_not_written_to_an_attribute_without_a_tag(plant: Assets) -> None:
    mode = attribute(plant, f"{PUMP}|Mode")["WebId"]
    assert plant.post(f"streams/{mode}/value", {"Timestamp": "2024-06-15T11:59:30Z", "Value": 1}).status_code == 409


def test_a_set_is_told_with_its_values_and_their_hierarchy(plant: Assets) -> None:
    mode = attribute(plant, f"{PUMP}|Mode")
    assert (mode["Type"], mode["TypeQualifier"]) == ("EnumerationValue", "Mode")
    values = plant.session.get(mode["Links"]["EnumerationValues"], timeout=10).json()["Items"]
    assert [(value["Name"], value["Value"], value.get("Parent")) for value in values] == [
        ("Off", 0, None), ("On", 1, None), ("Test", 2, "On"),
    ]  # fmt: skip


def test_templates_are_those_of_elements_and_of_event_frames(plant: Assets) -> None:
    templates = plant.json(f"{plant.database}/elementtemplates")["Items"]
    assert [(t["Name"], t["InstanceType"], t["BaseTemplate"]) for t in templates] == [
        ("Asset", "Element", ""), ("Downtime", "EventFrame", ""), ("Pump", "Element", "Asset"),
    ]  # fmt: skip
    assert plant.names(f"{plant.database}/elementtemplates", field="Name", query="P*") == ["Pump"]
    pump = templates[2]["Links"]
    own = [item["Name"] for item in plant.session.get(pump["AttributeTemplates"], timeout=10).json()["Items"]]
    assert own == ["Flow", "Position", "Mode", "Efficiency", "Secret", "Old"]
    every = plant.names(
        f"elementtemplates/{templates[2]['WebId']}/attributetemplates",
        showInherited=True,
        showDescendants=True,
        depthFirstTraverse=True,
    )
    assert every == ["Serial Number", "Flow", "High Limit", *own[1:]]
    assert plant.names(f"elementtemplates/{templates[0]['WebId']}/derivedelementtemplates") == ["Pump"]
    assert plant.names(f"elementtemplates/{templates[2]['WebId']}/baseelementtemplates") == ["Asset"]
