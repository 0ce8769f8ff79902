"""Event frames as the client finds them: every one, each once, whatever the pages; attributes of many at once."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from itertools import chain, pairwise
from pathlib import Path

import pytest

from pi_dagster.ingest.event_frames import event_frame_databases, list_event_frames
from pi_dagster.ingest.source import open_source
from pi_dagster.ingest.window import Window
from pi_dagster.piwebapi import PIWebAPISource, TransientError
from pi_dagster.piwebapi.errors import RequestRefusedError, TooManyEqualTimesError
from pi_dagster.piwebapi.event_frame_attributes import FrameAttributes, as_text, read_attributes
from pi_dagster.piwebapi.event_frames import EventFrame
from pi_dagster.simulator import Fault, FaultKind
from pi_dagster.site import Site
from pi_dagster_tests.framed_plant import TODAY, FramedPlant, at, framed_plant


@pytest.fixture
def plant(tmp_path: Path) -> Iterator[FramedPlant]:
    with framed_plant(tmp_path, history=2000, days=2) as plant:
        yield plant


@pytest.fixture
def empty_plant(tmp_path: Path) -> Iterator[FramedPlant]:
    with framed_plant(tmp_path) as plant:
        yield plant


LAST_DAYS = Window(TODAY - timedelta(days=3), TODAY + timedelta(days=1))


def listed(
    source: PIWebAPISource, site: Site, window: Window = LAST_DAYS, *, only_open: bool = False
) -> list[EventFrame]:
    databases = event_frame_databases(site, source)
    return list(list_event_frames(site, source, databases, [window], only_open=only_open))


def ids(frames: list[EventFrame]) -> list[str]:
    return sorted(frame.event_frame_id for frame in frames)


@pytest.mark.parametrize("page_size", [7, 100, 2000, 150_000])
def test_every_frame_of_a_window_is_found_once_whatever_the_page_size(plant: FramedPlant, page_size: int) -> None:
    site = plant.site(page_size=page_size)
    with open_source(site.server) as source:
        assert ids(listed(source, site)) == sorted(str(frame.id) for frame in plant.frames.all_frames())


def test_a_frame_belongs_to_the_window_that_it_starts_in(plant: FramedPlant) -> None:
    plant.frames.open("at the end", start=at(1, 0), end=at(1, 1))
    plant.frames.open("just before", start=at(1, 0) - 1, end=at(1, 1))
    site = plant.site(page_size=50)
    noon = TODAY - timedelta(hours=36)
    bounds = [TODAY - timedelta(days=3), noon, TODAY - timedelta(days=1), TODAY + timedelta(days=1)]
    with open_source(site.server) as source:
        parts = [listed(source, site, Window(*ends)) for ends in pairwise(bounds)]
    assert sorted(chain.from_iterable(map(ids, parts))) == sorted(str(frame.id) for frame in plant.frames.all_frames())
    assert "just before" in {frame.name for frame in parts[1]}
    assert "at the end" in {frame.name for frame in parts[2]}


def test_children_that_start_on_another_day_than_their_parent_are_found(empty_plant: FramedPlant) -> None:
    frames = empty_plant.frames
    parent = frames.open("Batch", start=at(4), template="Batch")
    child = frames.open("Phase", start=at(1), parent=parent.id)
    site = empty_plant.site()
    with open_source(site.server) as source:
        (found,) = listed(source, site)
    assert (found.event_frame_id, found.parent_id) == (str(child.id), str(parent.id))


def test_a_burst_in_one_microsecond_is_found_whole(empty_plant: FramedPlant) -> None:
    for number in range(100):
        empty_plant.frames.open("Alarm", start=at(1) + number % 10)
    site = empty_plant.site(page_size=7)
    with open_source(site.server) as source:
        assert len(listed(source, site)) == 100


def test_a_burst_that_no_request_may_return_fails_loudly(empty_plant: FramedPlant) -> None:
    for _ in range(30):
        empty_plant.frames.open("Alarm", start=at(1))
    site = empty_plant.site(page_size=7)
    site = site.model_copy(update={"server": site.server.model_copy(update={"max_items_per_call": 20})})
    with open_source(site.server) as source, pytest.raises(TooManyEqualTimesError, match="max_items_per_call"):
        listed(source, site)


def test_only_open_frames_are_found_when_only_those_are_wanted(plant: FramedPlant) -> None:
    old = plant.frames.open("forgotten", start=at(300))
    site = plant.site(page_size=5)
    window = Window(TODAY - timedelta(days=365), TODAY + timedelta(days=1))
    with open_source(site.server) as source:
        found = listed(source, site, window, only_open=True)
    assert ids(found) == sorted(str(frame.id) for frame in plant.frames.all_frames() if frame.end is None)
    assert str(old.id) in ids(found)
    assert all(frame.is_open for frame in found)


def test_only_frames_of_chosen_templates_and_derived_ones_are_found(plant: FramedPlant) -> None:
    site = plant.site(templates=["Downtime", "Unplanned Downtime"])
    with open_source(site.server) as source:
        found = listed(source, site)
    expected = {"Downtime", "Unplanned Downtime"}
    assert {frame.template_name for frame in found} == expected
    assert ids(found) == sorted(str(frame.id) for frame in plant.frames.all_frames() if frame.template_name in expected)


def test_pages_of_a_long_list_are_asked_for_side_by_side(plant: FramedPlant) -> None:
    site = plant.site(page_size=100)
    with open_source(site.server) as source:
        listed(source, site)
        # Two ask for the databases; twenty pages are what it takes, and some more as the days are not all alike.
        assert 20 <= source.traffic.requests - 2 <= 60


def test_a_day_that_fits_a_page_is_one_request(plant: FramedPlant) -> None:
    site = plant.site()
    with open_source(site.server) as source:
        databases = event_frame_databases(site, source)
        before = source.traffic.requests
        assert list(list_event_frames(site, source, databases, [LAST_DAYS]))
        assert source.traffic.requests - before == 1


@pytest.mark.parametrize("count", [10, 100, 1000])
def test_the_attributes_of_a_thousand_frames_are_one_request_as_those_of_ten_are(
    plant: FramedPlant, count: int
) -> None:
    site = plant.site()
    with open_source(site.server) as source:
        frames = listed(source, site)[:count]
        before = source.traffic.requests
        read = {frame.event_frame_id: attributes for frame, attributes in read_attributes(source.transport, frames)}
        assert source.traffic.requests - before == 1
    expected = plant.expected_rows()
    assert {
        frame: (attributes.values, attributes.units)
        for frame, attributes in read.items()
        if isinstance(attributes, FrameAttributes)
    } == {
        frame.event_frame_id: (
            expected[frame.event_frame_id]["event_attributes"],
            expected[frame.event_frame_id]["attribute_units"],
        )
        for frame in frames
    }


def test_a_frame_that_is_gone_when_its_attributes_are_read_leaves_the_others(empty_plant: FramedPlant) -> None:
    there, gone = (empty_plant.frames.open(name, start=at(1), template="Batch") for name in ("there", "gone"))
    site = empty_plant.site()
    with open_source(site.server) as source:
        frames = listed(source, site)
        empty_plant.frames.delete(gone.id)
        read = {frame.event_frame_id: attributes for frame, attributes in read_attributes(source.transport, frames)}
    assert isinstance(read[str(there.id)], FrameAttributes)
    refused = read[str(gone.id)]
    assert isinstance(refused, RequestRefusedError)
    assert refused.status == 404


@pytest.mark.parametrize("kind", [FaultKind.STATUS, FaultKind.WEB_EXCEPTION])
def test_frames_that_the_server_had_trouble_with_are_asked_for_again(plant: FramedPlant, kind: FaultKind) -> None:
    site = plant.site()
    with open_source(site.server) as source:
        frames = listed(source, site)[:20]
        plant.server.faults.add(Fault(kind=kind, status=500, route="streamsets/*/value", count=5))
        read = [attributes for _, attributes in read_attributes(source.transport, frames)]
    assert all(isinstance(attributes, FrameAttributes) and not attributes.unread for attributes in read)


def test_a_server_that_stays_away_is_an_error(plant: FramedPlant) -> None:
    site = plant.site()
    with open_source(site.server) as source:
        frames = listed(source, site)[:20]
        plant.server.faults.add(Fault(kind=FaultKind.DROPPED_CONNECTION, route="batch"))
        with pytest.raises(TransientError):
            list(read_attributes(source.transport, frames))


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (81.33204, "81.33204"),
        (100.0, "100.0"),
        (2**53 + 1, "9007199254740993"),
        (True, "true"),
        ("", ""),
        ("Früh", "Früh"),
        ([1, 2.5], "[1,2.5]"),
        ({"Name": "Mechanical", "Value": 10, "IsSystem": False}, "Mechanical"),
        ({"Name": "No Data", "Value": 248, "IsSystem": True}, "No Data"),
        ({"Errors": ["calc failed"]}, None),
        (None, None),
    ],
)
def test_a_value_of_any_shape_is_text(value: object, text: str | None) -> None:
    assert as_text(value) == text
