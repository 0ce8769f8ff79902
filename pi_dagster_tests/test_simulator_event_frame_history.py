from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
import requests

from pi_dagster.simulator import spawned
from pi_dagster.simulator.af_model import AssetDatabase
from pi_dagster.simulator.af_tree import TreeDatabase
from pi_dagster.simulator.event_frame_history import FrameHistory
from pi_dagster.simulator.event_frame_model import SEVERITIES, EventFrame
from pi_dagster.simulator.event_frame_search import FrameCondition, FrameSearch, TimeLimits
from pi_dagster.simulator.event_frames import EventFrameStore
from pi_dagster.simulator.events import iso_timestamp, to_ticks
from pi_dagster_tests.planted_archive import HOUR, NOON
from pi_dagster_tests.planted_event_frames import DAY, Plant, frame_web_id, planted_frames, small_database
from pi_dagster_tests.planted_event_frames import HISTORY_END as END
from pi_dagster_tests.planted_event_frames import HISTORY_START as START

EVERYTHING = {"startTime": "2024-06-10", "endTime": "*", "searchFullHierarchy": "true"}


def history(database: AssetDatabase, count: int = 400, **options: Any) -> FrameHistory:
    return FrameHistory(database, **{"count": count, "start": START, "end": END, **options})


@pytest.fixture
def plant() -> Iterator[Plant]:
    """The small plant with four hundred computed frames about its two elements."""
    with planted_frames(history=400) as planted:
        yield planted


def test_the_same_arguments_make_the_same_frames() -> None:
    database = small_database()
    database.add("Pump 1")
    first, again, other = (list(frames(database, seed=seed)) for seed in (1, 1, 2))
    assert first == again
    assert first != other
    assert not {frame.id for frame in first} & {frame.id for frame in other}


def frames(database: AssetDatabase, **options: Any) -> Iterator[EventFrame]:
    return EventFrameStore([database], [history(database, **options)]).all_frames()


def test_a_history_is_as_untidy_as_real_ones() -> None:
    database = small_database()
    database.add("Pump 1")
    found = list(frames(database, count=20_000))
    assert len({frame.id for frame in found}) == len(found) == 20_000
    assert {frame.severity for frame in found} == set(SEVERITIES)
    assert {frame.template_name for frame in found} >= {"Downtime", "Unplanned Downtime", "Batch", "Excursion"}
    assert all(to_ticks(START) <= frame.start <= to_ticks(END) for frame in found)
    assert all(frame.end is None or frame.start <= frame.end <= to_ticks(END) for frame in found)
    still_open = [frame for frame in found if frame.end is None]
    assert min(frame.start for frame in still_open) < to_ticks(END - timedelta(days=1))
    assert 5 < len(still_open) < 500
    children = Counter(frame.parent for frame in found if frame.parent is not None)
    assert set(children.values()) == {3}
    assert max(Counter(frame.name for frame in found).values()) > 1000
    assert any(frame.start % 10_000_000 for frame in found)
    for kind in (int, float, bool, str, type(None)):
        assert any(type(value.value) is kind for frame in found for value in frame.values)
    assert any(frame.annotations for frame in found)
    assert any(frame.acknowledged_at is not None for frame in found)


def test_children_lie_within_their_parents() -> None:
    database = small_database()
    by_id = {frame.id: frame for frame in frames(database)}
    for frame in by_id.values():
        if frame.parent is not None:
            parent = by_id[frame.parent]
            assert parent.start <= frame.start <= frame.ends_at <= parent.ends_at


def test_pages_of_a_history_hold_every_frame_once_and_say_what_it_says(plant: Plant) -> None:
    truth = {str(frame.id): frame for frame in plant.frames.all_frames()}
    listed: list[Any] = []
    while page := plant.json(f"{plant.database_path}/eventframes", startIndex=len(listed), maxCount=90, **EVERYTHING)[
        "Items"
    ]:
        listed += page
    assert sorted(item["Id"] for item in listed) == sorted(truth)
    assert [item["Name"].casefold() for item in listed] == sorted(item["Name"].casefold() for item in listed)
    for item in listed:
        frame = truth[item["Id"]]
        assert item["Name"] == frame.name
        assert item["StartTime"] == iso_timestamp(frame.start)
        assert item["EndTime"] == (iso_timestamp(frame.end) if frame.end else "9999-12-31T23:59:59.9999999Z")
        assert item["Severity"] == frame.severity
        assert item["HasChildren"] is bool(plant.frames.view(plant.database.id).children(frame.id))
        assert item["IsAcknowledged"] is (frame.acknowledged_at is not None)
        assert len(item["RefElementWebIds"]) == len(frame.elements)
        assert ("Parent" in item["Links"]) is (frame.parent is not None)


def test_values_of_a_history_say_what_it_says(plant: Plant) -> None:
    for frame in list(plant.frames.all_frames())[:40]:
        items = plant.json(f"streamsets/{frame_web_id(frame.id)}/value", searchFullHierarchy="true", showHidden="true")[
            "Items"
        ]
        shown = {item["Path"].partition("|")[2]: item["Value"] for item in items}
        assert list(shown) == [value.name for value in frame.values]
        for value in frame.values:
            printed = shown[value.name]["Value"]
            assert shown[value.name]["UnitsAbbreviation"] == value.units
            assert (printed["Name"] if isinstance(printed, dict) else printed) == (
                "No Data" if value.value is None else value.value
            )


def test_an_edited_frame_of_a_history_is_found_once_and_in_its_new_place(plant: Plant) -> None:
    path = f"{plant.database_path}/eventframes"
    frame = next(frame for frame in plant.frames.all_frames() if frame.parent is not None)
    plant.frames.edit(frame.id, name="Aaa", start=frame.start - DAY)
    items = [item for item in plant.json(path, **EVERYTHING)["Items"] if item["Id"] == str(frame.id)]
    assert [(item["Name"], item["StartTime"]) for item in items] == [("Aaa", iso_timestamp(frame.start - DAY))]
    siblings = plant.names(f"eventframes/{frame_web_id(frame.parent)}/eventframes", **EVERYTHING)  # type: ignore[arg-type]
    assert len(siblings) == 3
    assert "Aaa" in siblings


def test_a_deleted_batch_of_a_history_takes_its_phases_with_it(plant: Plant) -> None:
    phase = next(frame for frame in plant.frames.all_frames() if frame.parent is not None)
    assert phase.parent is not None
    plant.frames.delete(phase.parent)
    assert len(list(plant.frames.all_frames())) == len(plant.frames.view(plant.database.id)) == 396
    assert len(plant.json(f"{plant.database_path}/eventframes", **EVERYTHING)["Items"]) == 396
    assert plant.get(f"eventframes/{frame_web_id(phase.id)}").status_code == 404
    with pytest.raises(KeyError):
        plant.frames.frame(phase.id)


def test_a_frame_of_a_history_is_found_by_its_path(plant: Plant) -> None:
    listed = plant.json(f"{plant.database_path}/eventframes", **EVERYTHING)["Items"]
    for item in (listed[0], next(item for item in listed if item["Name"] == "React")):
        assert plant.json("eventframes", path=item["Path"].upper())["Path"] == item["Path"]
    assert plant.get("eventframes", path=listed[0]["Path"].replace("2024", "2023")).status_code == 404


def test_searches_of_a_history_agree_with_looking_at_every_frame() -> None:
    database = small_database()
    pump = database.add("Pump 1", template="Pump")
    database.add("Valve 1")
    store = EventFrameStore([database], [history(database, count=3000)])
    store.delete(next(iter(store.all_frames())).id)
    store.open("Late", start=to_ticks(START), end=to_ticks(START) + HOUR, elements=[pump])
    view = store.view(database.id)
    for mode in ("StartInclusive", "EndInclusive", "Inclusive", "Overlapped", "InProgress", "ForwardFromEndTime"):
        for conditions in ((), (FrameCondition("ElementName", ("Pump*",)),)):
            search = FrameSearch(
                times=TimeLimits.of(mode, NOON - 3 * DAY, NOON), conditions=conditions, all_descendants=True
            )
            wanted = sorted(str(frame.id) for frame in store.all_frames() if search.wants(database, frame))
            assert sorted(str(view.at(place).id) for place in view.search(database, search)) == wanted
            assert wanted


def test_a_history_that_cannot_be_is_refused() -> None:
    with pytest.raises(ValueError, match="ends after it starts"):
        history(small_database(), start=END, end=START)


def test_a_plant_without_templates_and_elements_has_frames_without_them() -> None:
    found = list(frames(TreeDatabase("Empty")))
    assert {(frame.template_name, frame.elements, frame.attributes) for frame in found} == {("", (), ())}


def test_a_spawned_simulator_serves_generated_event_frames() -> None:
    with spawned(tags=20, event_frames=2000, event_frame_days=3) as simulator, requests.Session() as session:
        servers = session.get(f"{simulator.url}/assetservers", timeout=10).json()["Items"]
        database = session.get(servers[0]["Links"]["Databases"], timeout=10).json()["Items"][0]
        search = {"startTime": "t-3d", "searchFullHierarchy": "true", "maxCount": "5000"}
        found = session.get(database["Links"]["EventFrames"], params=search, timeout=30).json()["Items"]
    assert len(found) == 2000
    assert all(item["Links"]["PrimaryReferencedElement"] for item in found)
