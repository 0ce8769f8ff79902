"""A day of event frames, loaded: the table equals the server's frames, and no more is read than has to be."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, datetime, timezone
from pathlib import Path

import pytest

from pi_dagster.ingest.errors import FramesFailedError
from pi_dagster.ingest.event_frames import event_frame_databases, load_day
from pi_dagster.ingest.frame_rows import compare, digests_by_day, frame_content
from pi_dagster.ingest.report import FramesReport
from pi_dagster.ingest.source import open_source
from pi_dagster.lake import EventFramesTable, Lake
from pi_dagster.piwebapi.errors import AssetsNotFoundError
from pi_dagster.simulator import Fault, FaultKind
from pi_dagster.site import Site
from pi_dagster_tests.framed_plant import FramedPlant, at, day, framed_plant
from pi_dagster_tests.test_event_frames_watch import a_frame


@pytest.fixture
def plant(tmp_path: Path) -> Iterator[FramedPlant]:
    with framed_plant(tmp_path) as plant:
        yield plant


def load(
    plant: FramedPlant, days_ago: int = 1, *, only_changes: bool = False, site: Site | None = None
) -> FramesReport:
    site = site or plant.site()
    with open_source(site.server) as source:
        return load_day(
            site,
            source,
            Lake(str(plant.lake)),
            databases=event_frame_databases(site, source),
            day=date.fromisoformat(day(days_ago)),
            read_all_attributes=not only_changes,
            run_id="run",
        )


def test_a_loaded_day_equals_the_servers_frames(tmp_path: Path) -> None:
    with framed_plant(tmp_path, history=1000, days=1) as plant:
        plant.frames.open("child", start=at(1), parent=next(plant.frames.all_frames()).id)
        report = load(plant, site=plant.site(page_size=100))
        assert plant.rows() == plant.expected_rows()
    assert report.frames == report.new_frames == 1001


def test_frames_of_other_days_are_not_touched(plant: FramedPlant) -> None:
    plant.frames.open("yesterday", start=at(1))
    older = plant.frames.open("older", start=at(2), template="Batch", attributes={"Yield": 50.0})
    for days_ago in (1, 2):
        load(plant, days_ago)
    plant.frames.edit(older.id, severity="Critical")
    load(plant, 1)
    assert plant.rows()[str(older.id)]["severity"] == "None"


def test_an_open_frame_has_no_end_and_no_duration_until_it_closes(plant: FramedPlant) -> None:
    frame = plant.frames.open("running", start=at(1, 6), template="Batch")
    load(plant)
    row = plant.rows()[str(frame.id)]
    assert (row["end_time"], row["duration_minutes"], row["is_open"]) == (None, None, True)
    plant.frames.close(frame.id, at(1, 7, 30), attributes={"Yield": 99.5})
    load(plant, only_changes=True)
    row = plant.rows()[str(frame.id)]
    assert (row["duration_minutes"], row["is_open"]) == (90.0, False)
    assert row["event_attributes"]["Yield"] == "99.5"


def test_a_day_that_is_as_before_is_not_committed_again(plant: FramedPlant) -> None:
    plant.frames.open("running", start=at(1), template="Batch")
    first = load(plant)
    again = load(plant)
    assert (first.changed, again.changed) == (True, False)
    assert again.table_version == first.table_version
    assert again.frames_digest == first.frames_digest


def test_only_what_may_have_changed_is_read_for_the_sensor(plant: FramedPlant) -> None:
    frames = [plant.frames.open(f"batch {n}", start=at(1), template="Batch") for n in range(10)]
    for frame in frames[2:]:
        plant.frames.close(frame.id, at(1, 8))
    load(plant)
    plant.frames.edit(frames[5].id, severity="Minor")
    report = load(plant, only_changes=True)
    assert report.frames_read == 3, "two open frames and the one that changed"
    assert plant.rows() == plant.expected_rows()


def test_the_nightly_load_finds_attributes_that_changed_alone(plant: FramedPlant) -> None:
    frame = plant.frames.open("batch", start=at(1), template="Batch", attributes={"Yield": 1.5})
    plant.frames.close(frame.id, at(1, 8))
    load(plant)
    plant.frames.edit(frame.id, attributes={"Yield": 2.5})
    assert not load(plant, only_changes=True).changed
    assert load(plant).changed
    assert plant.rows() == plant.expected_rows()


def test_rows_that_stay_the_same_keep_the_instant_of_their_reading(plant: FramedPlant) -> None:
    same = plant.frames.open("same", start=at(1))
    other = plant.frames.open("other", start=at(1))

    def read_at() -> dict[str, datetime]:
        rows = EventFramesTable.open(Lake(str(plant.lake))).to_arrow(["event_frame_id", "ingestion_timestamp"])
        return {row["event_frame_id"]: row["ingestion_timestamp"] for row in rows.to_pylist()}

    load(plant)
    before = read_at()
    plant.frames.edit(other.id, description="later")
    load(plant)
    after = read_at()
    assert after[str(same.id)] == before[str(same.id)]
    assert after[str(other.id)] > before[str(other.id)]


def test_a_frame_that_starts_on_another_day_now_is_there_once(plant: FramedPlant) -> None:
    frame = plant.frames.open("moved", start=at(3, 23), end=at(1))
    plant.frames.open("stays", start=at(3, 22))
    load(plant, 3)
    plant.frames.edit(frame.id, start=at(2, 1))
    report = load(plant, 2)
    assert report.moved_frames == 1
    assert plant.rows() == plant.expected_rows()


def test_attributes_that_cannot_be_read_fail_the_day_and_name_the_frame(plant: FramedPlant) -> None:
    frame = plant.frames.open("good", start=at(1), template="Batch")
    load(plant)
    plant.frames.open("bad", start=at(1), template="Batch")
    plant.server.faults.add(Fault(kind=FaultKind.STATUS, status=500, route="streamsets/*/value"))
    with pytest.raises(FramesFailedError, match="bad"):
        load(plant)
    assert set(plant.rows()) == {str(frame.id)}


def test_a_site_that_allows_it_loads_frames_without_attributes_and_reads_them_later(plant: FramedPlant) -> None:
    frame = plant.frames.open("bad", start=at(1), template="Batch")
    plant.frames.close(frame.id, at(1, 8))
    fault = plant.server.faults.add(Fault(kind=FaultKind.STATUS, status=500, route="streamsets/*/value"))
    site = plant.site().model_copy(update={"on_tag_error": "keep"})
    report = load(plant, site=site)
    assert [failed.event_name for failed in report.failed_frames] == ["bad"]
    plant.server.faults.clear(fault)
    assert not load(plant, only_changes=True).failed_frames
    assert plant.rows() == plant.expected_rows()


def test_a_value_that_the_server_cannot_give_is_null_and_counted(plant: FramedPlant) -> None:
    frame = plant.frames.open("batch", start=at(1), template="Batch", attributes={"Yield": 5.0, "Is Rework": True})
    fault = plant.server.faults.add(Fault(kind=FaultKind.VALUE_ERRORS, route="streamsets/*/value"))
    report = load(plant)
    attributes = plant.rows()[str(frame.id)]["event_attributes"]
    assert attributes == dict.fromkeys(["Yield", "Is Rework", "Released", "Recipe"])
    assert report.unread_attributes == dict.fromkeys(attributes, 1)
    plant.server.faults.clear(fault)
    load(plant)
    assert plant.rows() == plant.expected_rows()


def test_a_database_that_is_hidden_keeps_its_frames(plant: FramedPlant) -> None:
    frame = plant.frames.open("batch", start=at(1), template="Batch")
    load(plant)
    table = EventFramesTable.open(Lake(str(plant.lake)))
    before = table.read_day(date.fromisoformat(day(1)))
    elsewhere = before.rows.to_pylist()[0] | {"event_frame_id": "other", "database_name": "Hidden"}
    rows = type(before.rows).from_pylist([*before.rows.to_pylist(), elsewhere], schema=before.rows.schema)
    table.replace_day(before, rows, commit_info={})
    report = load(plant)
    assert (report.kept_frames, report.lost_databases) == (1, ("Hidden",))
    assert set(plant.rows()) == {str(frame.id), "other"}


def test_a_database_that_the_site_names_and_the_server_hides_is_an_error(plant: FramedPlant) -> None:
    site = Site.model_validate({**plant.site().describe(), "asset_framework": {"databases": ["Gone"]}})
    with pytest.raises(AssetsNotFoundError, match="Gone"):
        load(plant, site=site)


def test_frames_are_compared_by_what_the_list_tells() -> None:
    today = date(2026, 11, 2)
    old = [a_frame(name, today) for name in "abc"]
    now = [a_frame("a", today), a_frame("b", today, severity="Major"), a_frame("d", today)]
    changes = compare([{**frame_content(frame), "ingestion_timestamp": None} for frame in old], now)
    assert [frame.name for frame in changes.unchanged] == ["a"]
    assert [frame.name for frame in changes.changed] == ["b"]
    assert [frame.name for frame in changes.new] == ["d"]
    assert [row["event_name"] for row in changes.gone] == ["c"]


def test_the_digest_of_a_day_depends_on_its_frames_and_not_on_their_order() -> None:
    today = date(2026, 11, 2)
    frames = [a_frame(name, today, is_open=name == "c") for name in "abc"]

    def digest(*listed: object) -> object:
        return digests_by_day(listed)[today].digest()  # type: ignore[arg-type]

    assert digest(*frames) == digest(*frames[::-1])
    assert digest(*frames) != digest(*frames[:2])
    assert digest(*frames) != digest(*frames[:2], a_frame("c", today))
    assert digest(frames[2]).open_frames == digest(*frames).open_frames  # type: ignore[attr-defined]


def test_the_instants_of_a_row_are_those_of_the_server_cut_to_microseconds(plant: FramedPlant) -> None:
    frame = plant.frames.open("batch", start=at(1) + 19, end=at(1, 7) + 9_999_999)
    load(plant)
    row = plant.rows()[str(frame.id)]
    assert row["start_time"].microsecond == 1
    assert row["end_time"].microsecond == 999_999
    assert row["start_time"].tzinfo is not None
    assert row["start_time"].astimezone(timezone.utc).hour == 6
