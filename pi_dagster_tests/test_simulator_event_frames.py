from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest
import requests

from pi_dagster.simulator import Simulator
from pi_dagster.simulator.af_tree import TreeDatabase
from pi_dagster.simulator.event_frames import EventFrameStore
from pi_dagster.simulator.events import iso_timestamp
from pi_dagster.webid import WebIdType
from pi_dagster_tests.planted_archive import FLOW, HOUR, MINUTE, NOON, Client, planted_archive
from pi_dagster_tests.planted_event_frames import DAY, Plant, frame_web_id, planted_frames

MORNING = NOON - 4 * HOUR
TWO_TO_FOUR = {"startTime": "2024-06-15T08:00:00Z", "endTime": "2024-06-15T10:00:00Z"}


@pytest.fixture
def plant() -> Iterator[Plant]:
    with planted_frames() as planted:
        yield planted


@pytest.fixture(scope="module")
def timeline() -> Iterator[Plant]:
    """Frames that lie around 08:00 to 10:00 in every way, named by their hours, `-` for still open."""
    with planted_frames() as planted:
        for hours in (
            "06-07",
            "07-08",
            "07-09",
            "08-10",
            "08-09",
            "09-10",
            "09-11",
            "10-11",
            "11-12",
            "07-",
            "09-",
            "11-",
        ):
            start, _, end = hours.partition("-")
            planted.frames.open(hours, start=at(start), end=at(end) if end else None)
        yield planted


def at(hour: str) -> int:
    return NOON + (int(hour) - 12) * HOUR


@pytest.mark.parametrize(
    ("mode", "expected"),
    [
        ("StartInclusive", ["08-09", "08-10", "09-", "09-10", "09-11", "10-11"]),
        ("EndInclusive", ["07-08", "07-09", "08-09", "08-10", "09-10"]),
        ("Inclusive", ["08-09", "08-10", "09-10"]),
        ("Overlapped", ["07-", "07-08", "07-09", "08-09", "08-10", "09-", "09-10", "09-11", "10-11"]),
        ("InProgress", ["09-"]),
    ],
)
def test_a_search_mode_is_about_starts_ends_or_both_limits_included(
    timeline: Plant, mode: str, expected: list[str]
) -> None:
    assert timeline.found(searchMode=mode, **TWO_TO_FOUR) == expected


@pytest.mark.parametrize(
    ("mode", "expected"),
    [
        ("BackwardFromStartTime", ["09-10", "09-11", "09-", "08-10", "08-09", "07-08", "07-09", "07-", "06-07"]),
        ("ForwardFromStartTime", ["09-10", "09-11", "09-", "10-11", "11-12", "11-"]),
        ("BackwardFromEndTime", ["07-09", "08-09", "07-08", "06-07"]),
        (
            "ForwardFromEndTime",
            ["07-09", "08-09", "08-10", "09-10", "09-11", "10-11", "11-12", "07-", "09-", "11-"],
        ),
        ("BackwardInProgress", ["09-", "07-"]),
        ("ForwardInProgress", ["09-", "11-"]),
    ],
)
def test_a_walking_mode_goes_from_its_start_in_the_order_of_time(
    timeline: Plant, mode: str, expected: list[str]
) -> None:
    assert timeline.found(searchMode=mode, startTime="2024-06-15T09:00:00Z") == expected


@pytest.mark.parametrize("parameter", [{"endTime": "*"}, {"sortField": "Name"}, {"sortOrder": "Ascending"}])
def test_a_walking_mode_takes_neither_end_nor_order(timeline: Plant, parameter: dict[str, str]) -> None:
    path = f"{timeline.database_path}/eventframes"
    answer = timeline.get(path, searchMode="ForwardFromStartTime", startTime="*-1d", **parameter)
    assert answer.status_code == 400
    assert next(iter(parameter)) in answer.json()["Errors"][0]


def test_a_search_is_about_the_last_eight_hours_in_the_order_of_names(plant: Plant) -> None:
    plant.frames.open("early", start=NOON - 10 * HOUR, end=NOON - 8 * HOUR - 1)
    plant.frames.open("b", start=NOON - 10 * HOUR, end=NOON - 8 * HOUR)
    plant.frames.open("A", start=NOON - HOUR)
    plant.frames.open("future", start=NOON + 1)
    assert plant.found() == ["A", "b"]
    assert plant.found(sortField="StartTime", sortOrder="Descending") == ["A", "b"]
    assert plant.found(sortField="starttime") == ["b", "A"]
    assert plant.get(f"{plant.database_path}/eventframes", sortField="Severity").status_code == 400


def test_a_start_after_the_end_is_refused(plant: Plant) -> None:
    answer = plant.get(f"{plant.database_path}/eventframes", startTime="*", endTime="*-1h")
    assert answer.status_code == 400


def test_children_are_left_out_unless_the_full_hierarchy_is_searched(plant: Plant) -> None:
    batch = plant.frames.open("Batch", start=MORNING)
    phase = plant.frames.open("Phase", start=MORNING, parent=batch.id)
    plant.frames.open("Step", start=MORNING, parent=phase.id)
    assert plant.found() == ["Batch"]
    assert plant.found(searchFullHierarchy="true") == ["Batch", "Phase", "Step"]
    below = f"eventframes/{frame_web_id(batch.id)}/eventframes"
    assert plant.names(below) == ["Phase"]
    assert plant.names(below, searchFullHierarchy="true") == ["Phase", "Step"]
    body = plant.json(f"eventframes/{frame_web_id(phase.id)}")
    assert body["HasChildren"] is True
    assert body["Path"] == r"\\AFSIM\Plant\EventFrames[Batch]\Phase"
    assert plant.session.get(body["Links"]["Parent"], timeout=10).json()["Name"] == "Batch"


def test_a_page_holds_a_thousand_frames_unless_told_otherwise(plant: Plant) -> None:
    for number in range(1002):
        plant.frames.open(f"{number:04d}", start=MORNING)
    body = plant.json(f"{plant.database_path}/eventframes")
    assert len(body["Items"]) == 1000
    following = plant.session.get(body["Links"]["Next"], timeout=10).json()
    assert [item["Name"] for item in following["Items"]] == ["1000", "1001"]
    assert "Next" not in following["Links"]
    assert plant.get(f"{plant.database_path}/eventframes", maxCount=150_001).status_code == 400


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        ({"nameFilter": "?rip*"}, ["Trip"]),
        ({"templateName": "downtime"}, ["Stop", "Trip"]),
        ({"templateName": "Unplanned Downtime"}, ["Trip"]),
        ({"categoryName": "Production"}, ["Batch"]),
        ({"severity": ["Major", "none"]}, ["Batch", "Trip"]),
        ({"canBeAcknowledged": "true", "isAcknowledged": "false"}, ["Trip"]),
        ({"isAcknowledged": "true"}, ["Stop"]),
        ({"referencedElementNameFilter": "Pump*"}, ["Batch", "Trip"]),
        ({"referencedElementTemplateName": "Machine"}, ["Batch", "Trip"]),
        ({"nameFilter": "*", "severity": "Major", "referencedElementNameFilter": "Valve*"}, []),
    ],
)
def test_frames_are_filtered(filtered: Plant, filters: dict[str, Any], expected: list[str]) -> None:
    assert filtered.found(**filters) == expected


@pytest.fixture(scope="module")
def filtered() -> Iterator[Plant]:
    with planted_frames() as planted:
        frames = planted.frames
        frames.open(
            "Trip", start=MORNING, template="Unplanned Downtime", elements=[planted.pump], attributes={"Trips": 3}
        )
        stop = frames.open("Stop", start=MORNING, end=NOON, template="Downtime", elements=[planted.valve])
        frames.acknowledge(stop.id, at=NOON)
        frames.open(
            "Batch", start=MORNING, end=MORNING + HOUR, template="Batch", elements=[planted.valve, planted.pump]
        )
        yield planted


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("", ["Batch", "Stop", "Trip"]),
        ("Tr*", ["Trip"]),
        ("Name:=Trip Template:=Downtime", ["Trip"]),
        ("Category:='Production'", ["Batch"]),
        ("Severity:>=Warning", ["Stop", "Trip"]),
        ("Severity:IN(Major;None)", ["Batch", "Trip"]),
        ("InProgress:True", ["Trip"]),
        ("Start:>'2024-06-15T08:00:00Z'", []),
        ("Start:>=2024-06-15T08:00:00Z End:<'*'", ["Batch"]),
        ("Duration:>1h", ["Stop"]),
        ("IsAcknowledged:True CanBeAcknowledged:True", ["Stop"]),
        (r"Element:'\\AFSIM\Plant\Pump 1'", ["Batch", "Trip"]),
        ("ElementName:Valve*", ["Batch", "Stop"]),
        ("ElementReferenceTemplate:Machine", ["Batch", "Trip"]),
        ("|Trips:>2", ["Trip"]),
        ('"|Lost Production":>0', []),
        ("SortField:StartTime SortOrder:Descending", ["Trip", "Stop", "Batch"]),
    ],
)
def test_frames_are_searched_by_query(filtered: Plant, query: str, expected: list[str]) -> None:
    database = filtered.database_path.split("/")[1]
    assert filtered.names("eventframes/search", databaseWebId=database, query=query) == expected


@pytest.mark.parametrize("query", ["Colour:Red", "Name:<A", "Severity:Terrible", "Duration:<>1h", "Name:'"])
def test_a_query_that_means_nothing_is_refused(filtered: Plant, query: str) -> None:
    database = filtered.database_path.split("/")[1]
    assert filtered.get("eventframes/search", databaseWebId=database, query=query).status_code == 409


@pytest.mark.parametrize(
    "filters", [{"categoryName": "Nope"}, {"templateName": "Nope"}, {"severity": "Nope"}, {"searchMode": "None"}]
)
def test_a_filter_for_what_does_not_exist_is_refused(filtered: Plant, filters: dict[str, str]) -> None:
    assert filtered.get(f"{filtered.database_path}/eventframes", **filters).status_code == 400


def test_the_frames_of_an_element_are_those_that_refer_to_it_children_too(plant: Plant) -> None:
    batch = plant.frames.open("Batch", start=MORNING, elements=[plant.valve])
    plant.frames.open("Phase", start=MORNING, parent=batch.id, elements=[plant.valve, plant.pump])
    pump = plant.json("elements", path=r"\\AFSIM\Plant\Pump 1")["Links"]["EventFrames"]
    assert [frame["Name"] for frame in plant.session.get(pump, timeout=10).json()["Items"]] == ["Phase"]
    valve = plant.json("elements", path=r"\\AFSIM\Plant\Valve 1")["WebId"]
    assert plant.names(f"elements/{valve}/eventframes") == ["Batch", "Phase"]


def test_referenced_elements_have_the_primary_one_first(plant: Plant) -> None:
    frame = plant.frames.open("Leak", start=MORNING, elements=[plant.valve, plant.pump])
    body = plant.json(f"eventframes/{frame_web_id(frame.id)}")
    elements = plant.session.get(body["Links"]["ReferencedElements"], timeout=10).json()["Items"]
    assert [element["Name"] for element in elements] == ["Valve 1", "Pump 1"]
    assert body["RefElementWebIds"] == [element["WebId"] for element in elements]
    assert body["Links"]["PrimaryReferencedElement"] == elements[0]["Links"]["Self"]


def test_an_open_frame_ends_in_the_year_9999_until_it_is_closed(plant: Plant) -> None:
    frame = plant.frames.open("Stop", start=MORNING + 1234567)
    path = f"eventframes/{frame_web_id(frame.id)}"
    body = plant.json(path)
    assert (body["StartTime"], body["EndTime"]) == ("2024-06-15T08:00:00.1234567Z", "9999-12-31T23:59:59.9999999Z")
    plant.frames.close(frame.id, NOON)
    body = plant.json(path)
    assert (body["EndTime"], body["AreValuesCaptured"]) == ("2024-06-15T12:00:00Z", True)


def test_the_end_of_open_frames_and_the_date_of_no_acknowledgement_can_be_chosen() -> None:
    with planted_frames(open_end_time="9999-12-31T00:00:00Z", unacknowledged_date=None) as plant:
        frame = plant.frames.open("Stop", start=MORNING)
        body = plant.json(f"eventframes/{frame_web_id(frame.id)}")
    assert body["EndTime"] == "9999-12-31T00:00:00Z"
    assert not {"AcknowledgedBy", "AcknowledgedDate"} & set(body)


def test_an_edited_frame_keeps_its_id_and_moves_to_another_day(plant: Plant) -> None:
    frame = plant.frames.open("Stop", start=MORNING, end=NOON, template="Downtime", attributes={"Comment": "dry"})
    plant.frames.edit(
        frame.id, name="Pause", severity="Critical", start=MORNING - DAY, attributes={"Comment": "wet", "Shift": "Spät"}
    )
    assert plant.found(searchMode="StartInclusive", startTime="2024-06-15T00:00:00Z") == []
    found = plant.json(f"{plant.database_path}/eventframes", searchMode="StartInclusive", startTime="*-2d")["Items"]
    assert [(item["Id"], item["Name"], item["Severity"]) for item in found] == [(str(frame.id), "Pause", "Critical")]
    values = {item["Name"]: item["Value"]["Value"] for item in values_of(plant, frame.id)}
    assert values["Comment"] == "wet"
    assert values["Shift"] == {"Name": "Spät", "Value": 1, "IsSystem": False}


def test_what_cannot_be_is_refused_by_the_store(plant: Plant) -> None:
    frame = plant.frames.open("Stop", start=MORNING, template="Batch")
    for changes in ({"end": MORNING - 1}, {"severity": "Terrible"}, {"attributes": {"Shift": "Spät"}}):
        with pytest.raises(ValueError, match=r"before it starts|no severity|no attribute"):
            plant.frames.edit(frame.id, **changes)
    with pytest.raises(ValueError, match="cannot be acknowledged"):
        plant.frames.acknowledge(frame.id, at=NOON)
    with pytest.raises(ValueError, match="no state"):
        plant.frames.open("Stop", start=MORNING, template="Downtime", attributes={"Shift": "Mittag"})
    assert plant.frames.frame(frame.id) == frame


def test_a_deleted_frame_and_its_children_are_gone(plant: Plant) -> None:
    batch = plant.frames.open("Batch", start=MORNING)
    phase = plant.frames.open("Phase", start=MORNING, parent=batch.id)
    plant.frames.delete(batch.id)
    assert plant.found(searchFullHierarchy="true") == []
    assert plant.get(f"eventframes/{frame_web_id(phase.id)}").status_code == 404
    assert list(plant.frames.all_frames()) == []


def test_a_full_webid_of_a_deleted_frame_finds_the_one_that_took_its_name(plant: Plant) -> None:
    old = plant.frames.open("Stop", start=MORNING)
    web_id = plant.json(f"eventframes/{frame_web_id(old.id)}")["WebId"]
    plant.frames.delete(old.id)
    assert plant.get(f"eventframes/{web_id}").status_code == 404
    new = plant.frames.open("Stop", start=MORNING + HOUR)
    assert plant.json(f"eventframes/{web_id}")["Id"] == str(new.id) != str(old.id)


def test_frames_of_one_name_are_all_found_and_a_path_means_the_first(plant: Plant) -> None:
    first, second = (plant.frames.open("Stop", start=MORNING + hours * HOUR) for hours in (0, 1))
    assert plant.found() == ["Stop", "Stop"]
    assert plant.json("eventframes", path=r"\\afsim\plant\eventframes[stop]")["Id"] == str(first.id)
    assert plant.json(f"eventframes/{frame_web_id(second.id)}")["Id"] == str(second.id)


@pytest.mark.parametrize("name", ["A|B", "Umlaut Ü/%&+#?", "Quote \"q\" 'p'", "[x]", "back\\slash"])
def test_a_frame_is_found_by_its_path_whatever_its_name(plant: Plant, name: str) -> None:
    frame = plant.frames.open(name, start=MORNING, template="Batch")
    body = plant.json(f"eventframes/{frame_web_id(frame.id)}")
    assert body["Name"] == name
    assert plant.json("eventframes", path=body["Path"])["Id"] == str(frame.id)
    source = values_of(plant, frame.id)[0]["Links"]["Source"]
    assert plant.session.get(source, timeout=10).json()["Links"]["EventFrame"] == body["Links"]["Self"]


@pytest.mark.parametrize("form", list(WebIdType))
def test_every_form_of_webid_names_the_frame(plant: Plant, form: WebIdType) -> None:
    frame = plant.frames.open("Stop", start=MORNING)
    web_id = plant.json(f"eventframes/{frame_web_id(frame.id)}", webIdType=form.value)["WebId"]
    assert plant.json(f"eventframes/{web_id}")["Id"] == str(frame.id)


def test_multiple_is_207_when_one_frame_is_gone(plant: Plant) -> None:
    frame, gone = plant.frames.open("Here", start=MORNING), plant.frames.open("Gone", start=MORNING)
    plant.frames.delete(gone.id)
    asked = {"webId": [frame_web_id(frame.id), frame_web_id(gone.id)]}
    answer = plant.get("eventframes/multiple", **asked)
    assert answer.status_code == 207
    assert ["Object" in item for item in answer.json()["Items"]] == [True, False]
    assert plant.get("eventframes/multiple", webId=asked["webId"][:1]).status_code == 200


def test_a_frame_is_acknowledged_once_it_can_be(plant: Plant) -> None:
    frame = plant.frames.open("Stop", start=MORNING, template="Downtime")
    assert patch(plant, f"eventframes/{frame_web_id(frame.id)}/acknowledge").status_code == 204
    body = plant.json(f"eventframes/{frame_web_id(frame.id)}")
    acknowledged = (body["IsAcknowledged"], body["AcknowledgedBy"], body["AcknowledgedDate"])
    assert acknowledged == (True, r"PLANT\anonymous", "2024-06-15T12:00:00Z")
    batch = plant.frames.open("Batch", start=MORNING, template="Batch")
    assert patch(plant, f"eventframes/{frame_web_id(batch.id)}/acknowledge").status_code == 409


def test_annotations_are_written_and_read(plant: Plant) -> None:
    frame = plant.frames.open("Stop", start=MORNING)
    path = f"eventframes/{frame_web_id(frame.id)}"
    assert plant.json(path)["IsAnnotated"] is False
    written = plant.post(f"{path}/annotations", {"Name": "Shift", "Value": "Dichtung prüfen"})
    assert written.status_code == 201
    plant.frames.annotate(frame.id, "done", at=NOON)
    assert plant.json(path)["IsAnnotated"] is True
    notes = plant.json(f"{path}/annotations")["Items"]
    assert [(note["Name"], note["Value"]) for note in notes] == [("Shift", "Dichtung prüfen"), ("Note", "done")]
    assert plant.session.get(written.headers["Location"], timeout=10).json()["Id"] == notes[0]["Id"]


def test_hidden_and_nested_attributes_need_asking_for(plant: Plant) -> None:
    batch = plant.frames.open("Batch", start=MORNING, template="Batch")
    excursion = plant.frames.open("High", start=MORNING, template="Excursion")
    attributes = f"eventframes/{frame_web_id(batch.id)}/attributes"
    assert "Recipe" not in plant.names(attributes)
    assert "Recipe" in plant.names(attributes, showHidden="true")
    assert [item["Name"] for item in values_of(plant, excursion.id)] == ["Peak"]
    assert [item["Path"].partition("|")[2] for item in values_of(plant, excursion.id, searchFullHierarchy="true")] == [
        "Peak",
        "Peak|At",
    ]


def test_the_attributes_of_many_frames_are_found_at_once(plant: Plant) -> None:
    for hour in range(3):
        plant.frames.open(
            f"Trip {hour}", start=MORNING + hour * HOUR, template="Unplanned Downtime", elements=[plant.pump]
        )
    plant.frames.open("Batch", start=MORNING, template="Batch")
    path = f"{plant.database_path}/eventframeattributes"
    found = plant.json(path, attributeNameFilter="S*", eventFrameTemplate="Downtime", maxCount=2)
    assert [item["Path"] for item in found["Items"]] == [
        rf"\\AFSIM\Plant\EventFrames[Trip {hour}]|Shift" for hour in range(2)
    ]
    assert len(plant.session.get(found["Links"]["Next"], timeout=10).json()["Items"]) == 1
    assert plant.names(path, eventFrameNameFilter="Batch", attributeType="DateTime") == ["Released"]


def test_a_value_that_was_never_captured_is_the_state_no_data(plant: Plant) -> None:
    frame = plant.frames.open("Stop", start=MORNING, template="Batch", attributes={"Yield": 98.5, "Is Rework": False})
    plant.frames.close(frame.id, NOON - HOUR, attributes={"Released": "2024-06-15T10:59:00Z"})
    values = {item["Name"]: item["Value"] for item in values_of(plant, frame.id, showHidden="true")}
    assert [values[name]["Value"] for name in ("Yield", "Is Rework", "Released")] == [
        98.5,
        False,
        "2024-06-15T10:59:00Z",
    ]
    assert values["Yield"]["UnitsAbbreviation"] == "%"
    assert values["Yield"]["Timestamp"] == "2024-06-15T11:00:00Z"
    assert values["Recipe"]["Value"] == {"Name": "No Data", "Value": 248, "IsSystem": True}
    assert [values[name]["Good"] for name in ("Yield", "Recipe")] == [True, False]


def test_values_are_the_same_whether_asked_for_all_at_once_sorted_or_one_by_one(plant: Plant) -> None:
    frame = plant.frames.open(
        "Trip", start=MORNING, template="Unplanned Downtime", attributes={"Shift": "Nacht", "Trips": 1}
    )
    for params in (
        {},
        {"selectedFields": "Items.Name;Items.Value.Value"},
        {"nameFilter": "S*"},
        {"webIdType": "IDOnly"},
    ):
        items = values_of(plant, frame.id, **params)
        ordered = values_of(plant, frame.id, sortField="Name", **params)
        assert sorted(items, key=lambda item: item["Name"]) == ordered
    listed = values_of(plant, frame.id)
    alone = [plant.json(f"streams/{item['WebId']}/value") for item in listed]
    assert alone == [item["Value"] for item in listed]
    assert plant.json("streamsets/value", webId=[item["WebId"] for item in listed])["Items"] == listed


def test_a_tag_is_read_over_the_time_of_the_frame(plant: Plant) -> None:
    frame = plant.frames.open(
        "Run",
        start=NOON - 2 * HOUR,
        end=NOON - 2 * HOUR + 3 * MINUTE,
        template="With Tag",
        attributes={"Flow": FLOW.name},
    )
    recorded = plant.json(f"streamsets/{frame_web_id(frame.id)}/recorded")["Items"]
    assert [value["Value"] for value in recorded[0]["Items"]] == [0, 1, 2, 3]
    assert [value["Value"] for value in plant.json(f"streams/{recorded[0]['WebId']}/recorded")["Items"]] == [0, 1, 2, 3]
    at_end = values_of(plant, frame.id)[0]["Value"]
    assert (at_end["Timestamp"], at_end["Value"]) == (iso_timestamp(frame.ends_at), 3)
    plant.frames.edit(frame.id, end=None)
    assert len(plant.json(f"streamsets/{frame_web_id(frame.id)}/recorded")["Items"][0]["Items"]) == 120


def test_the_values_of_many_frames_travel_in_one_batch(plant: Plant) -> None:
    frames = [
        plant.frames.open(f"{n}", start=MORNING, template="Unplanned Downtime", attributes={"Trips": n})
        for n in range(50)
    ]
    search = f"{plant.running.url}/{plant.database_path}/eventframes?selectedFields=Items.Links.Value"
    batch = {
        "frames": {"Method": "GET", "Resource": search},
        "values": {
            "Method": "GET",
            "RequestTemplate": {"Resource": "{0}?nameFilter=Trips"},
            "Parameters": ["$.frames.Content.Items[*].Links.Value"],
            "ParentIds": ["frames"],
        },
    }
    answers = plant.post("batch", batch).json()["values"]["Content"]["Items"]
    trips = sorted(answer["Content"]["Items"][0]["Value"]["Value"] for answer in answers)
    assert trips == list(range(len(frames)))
    assert plant.running.requests.total == 1


def test_the_af_cache_shows_old_frames_until_it_is_refreshed() -> None:
    clock = [NOON]
    with planted_frames(now=lambda: clock[0], af_cache_seconds=300) as plant:
        frame = plant.frames.open("Stop", start=MORNING, end=NOON)
        assert plant.found() == ["Stop"]
        plant.frames.edit(frame.id, name="Pause")
        late = plant.frames.open("Late", start=MORNING - DAY, end=NOON)
        assert plant.found() == ["Stop"]
        assert plant.get(f"eventframes/{frame_web_id(late.id)}").status_code == 404
        path = f"{plant.running.url}/{plant.database_path}/eventframes"
        fresh = requests.get(path, headers={"Cache-Control": "no-cache"}, timeout=10).json()["Items"]
        assert [item["Name"] for item in fresh] == ["Late", "Pause"]
        plant.frames.delete(frame.id)
        assert plant.found() == ["Late", "Pause"]
        clock[0] += 300 * 10_000_000
        assert plant.found() == ["Late"]


def test_frames_about_elements_that_may_not_be_read_do_not_name_them(plant: Plant) -> None:
    frame = plant.frames.open("Leak", start=MORNING, elements=[plant.valve, plant.pump])
    plant.running.assets.forbid(plant.valve)
    body = plant.json(f"eventframes/{frame_web_id(frame.id)}")
    assert [plant.json(f"elements/{web_id}")["Name"] for web_id in body["RefElementWebIds"]] == ["Pump 1"]


def test_each_database_has_its_own_frames() -> None:
    first, second, third = (TreeDatabase(name) for name in ("First", "Second", "Third"))
    frames = EventFrameStore([first, second])
    here = frames.open("Here", start=MORNING)
    there = frames.open("There", start=MORNING, database="Second")
    simulator = Simulator(archive=planted_archive(), assets=[first, second, third], event_frames=frames)
    with simulator.serve() as running, requests.Session() as session:
        pi = Client(running, session)
        found = {}
        for name in ("First", "Second", "Third"):
            database = pi.json("assetdatabases", path=rf"\\AFSIM\{name}")["WebId"]
            search = pi.json(f"assetdatabases/{database}/eventframes", startTime="2024-06-15", endTime="2024-06-16")
            found[name] = [item["Name"] for item in search["Items"]]
        assert found == {"First": ["Here"], "Second": ["There"], "Third": []}
        assert pi.json(f"eventframes/{frame_web_id(there.id)}")["Path"] == r"\\AFSIM\Second\EventFrames[There]"
    assert [frame.name for frame in frames.all_frames("Second")] == ["There"]
    with pytest.raises(ValueError, match="database of its parent"):
        frames.open("Child", start=MORNING, parent=here.id, database="Second")


def test_edits_while_pages_are_read_leave_every_answer_whole(plant: Plant) -> None:
    stay = {plant.frames.open(f"Stay {n}", start=MORNING).name for n in range(50)}
    stop = threading.Event()

    def edit() -> None:
        while not stop.is_set():
            batch = plant.frames.open("Batch", start=MORNING)
            plant.frames.open("Phase", start=MORNING, parent=batch.id)
            plant.frames.edit(batch.id, start=MORNING - HOUR)
            plant.frames.delete(batch.id)

    editing = threading.Thread(target=edit)
    editing.start()
    try:
        answers = [set(plant.found(searchFullHierarchy="true")) for _ in range(50)]
    finally:
        stop.set()
        editing.join()
    assert all(stay <= answer <= stay | {"Batch", "Phase"} for answer in answers)
    assert plant.found() == sorted(stay)


def values_of(plant: Plant, frame_id: Any, **params: Any) -> list[Any]:
    found = plant.json(f"streamsets/{frame_web_id(frame_id)}/value", **params)["Items"]
    assert isinstance(found, list)
    return found


def patch(plant: Plant, path: str) -> requests.Response:
    return requests.patch(f"{plant.running.url}/{path}", headers={"X-Requested-With": "test"}, timeout=10)
