"""Tags that cannot be read: what the others lose by it, what pi_tag_errors tells, and what heals by itself."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import date, datetime, timezone
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from pi_dagster.ingest.errors import TagsFailedError
from pi_dagster.ingest.load_plans import Partition
from pi_dagster.ingest.report import FailedTag, TagErrorKind, WindowReport
from pi_dagster.ingest.tag_errors import OpenErrors, UnreadTags, record_tag_errors, rows_after
from pi_dagster.ingest.window import Window
from pi_dagster.lake import ForeignTableError, Lake, PointsTable, TagErrorsTable
from pi_dagster.lake.schemas import TAG_ERRORS_SCHEMA
from pi_dagster.piwebapi.errors import PIWebAPIError, RequestRefusedError, ServerTroubleError, StreamMissingError
from pi_dagster_tests.archive_truth import assert_equals_archive, truth
from pi_dagster_tests.tailed_plant import A_DAY, DAY, HOUR, LAG, MINUTE, NOON, TailedPlant, tailed_plant, windows

TODAY = DAY.date()
PUMPS = (TODAY, "pumps")


@pytest.fixture
def plant(tmp_path: Path) -> Iterator[TailedPlant]:
    with tailed_plant(tmp_path) as plant:
        yield plant


def report_of(outcomes: Mapping[Partition, WindowReport | Exception], partition: Partition = PUMPS) -> WindowReport:
    report = outcomes[partition]
    assert isinstance(report, WindowReport)
    return report


def test_a_tag_that_keeps_failing_does_not_hold_the_watermark_of_the_others(plant: TailedPlant) -> None:
    plant.keep_on_tag_errors()
    plant.tail(NOON + LAG)
    plant.forbid("PUMPS.2")
    for minutes in (5, 10, 15, 20):
        outcomes = plant.tail(NOON + minutes * MINUTE + LAG)
    assert windows(outcomes)["25|pumps"] == Window(NOON + 5 * MINUTE, NOON + 20 * MINUTE)
    report = report_of(outcomes)
    assert (report.watermark, report.unread_since) == (NOON + 20 * MINUTE, NOON - 10 * MINUTE)
    assert plant.errors() == [("PUMPS.2", "refused", Window(NOON - 10 * MINUTE, NOON + 20 * MINUTE))]
    rows = plant.table.to_arrow(where=pc.field("tag_name") == "PUMPS.1")
    [point] = [point for point in plant.archive.points() if point.name == "PUMPS.1"]
    assert_equals_archive(rows, truth(plant.archive, [point], DAY, NOON + 20 * MINUTE))


def test_what_a_tag_lacked_is_read_once_it_can_be_read_again(plant: TailedPlant) -> None:
    plant.keep_on_tag_errors()
    plant.tail(NOON + LAG)
    plant.forbid("PUMPS.2")
    for minutes in range(5, 65, 5):
        plant.tail(NOON + minutes * MINUTE + LAG)
    plant.faults.clear()
    first, second, third = (plant.tail(NOON + minutes * MINUTE + LAG) for minutes in (65, 70, 75))
    assert report_of(first).unread_since == NOON - 10 * MINUTE, "its last minutes are there, those before are not"
    assert windows(second)["25|pumps"] == Window(NOON - 10 * MINUTE, NOON + 70 * MINUTE)
    assert report_of(second).unread_since is None
    assert windows(third)["25|pumps"].start == NOON + 60 * MINUTE
    assert plant.errors() == []
    plant.assert_table_equals_archive(DAY, NOON + 75 * MINUTE)


def test_a_tag_that_can_be_read_again_does_not_wait_for_one_that_cannot(plant: TailedPlant) -> None:
    plant.keep_on_tag_errors()
    plant.tail(NOON + LAG)
    plant.forbid("PUMPS.2")
    plant.tail(NOON + 30 * MINUTE + LAG)
    fault = plant.forbid("PUMPS.1")
    plant.tail(NOON + 60 * MINUTE + LAG)
    plant.faults.clear(fault)
    plant.tail(NOON + 65 * MINUTE + LAG)
    outcomes = plant.tail(NOON + 70 * MINUTE + LAG)
    assert windows(outcomes)["25|pumps"].start == NOON + 20 * MINUTE
    assert [tag for tag, _, _ in plant.errors()] == ["PUMPS.2"]
    assert report_of(outcomes).unread_since == NOON - 10 * MINUTE
    assert windows(plant.tail(NOON + 75 * MINUTE + LAG))["25|pumps"].start == NOON + 60 * MINUTE
    plant.faults.clear()
    for minutes in (80, 85):
        plant.tail(NOON + minutes * MINUTE + LAG)
    plant.assert_table_equals_archive(DAY, NOON + 85 * MINUTE)


def test_without_the_table_of_errors_what_a_tag_lacks_is_read_all_the_same(plant: TailedPlant) -> None:
    plant.keep_on_tag_errors()
    plant.records_errors = False
    plant.tail(NOON + LAG)
    plant.forbid("PUMPS.2")
    plant.tail(NOON + 30 * MINUTE + LAG)
    plant.tail(NOON + 60 * MINUTE + LAG)
    plant.faults.clear()
    plant.tail(NOON + 65 * MINUTE + LAG)
    plant.assert_table_equals_archive(DAY, NOON + 65 * MINUTE)


def test_a_day_with_a_tag_that_fails_at_midnight_is_not_complete_until_it_is_read(plant: TailedPlant) -> None:
    plant.keep_on_tag_errors()
    midnight = DAY + A_DAY
    plant.tail(midnight - 5 * MINUTE + LAG)
    plant.forbid("PUMPS.2")
    outcomes = plant.tail(midnight + 5 * MINUTE + LAG)
    assert (report_of(outcomes).watermark, report_of(outcomes).complete) == (midnight, False)
    plant.faults.clear()
    plant.tail(midnight + 10 * MINUTE + LAG)
    assert report_of(plant.tail(midnight + 15 * MINUTE + LAG)).complete
    assert plant.errors() == []
    plant.assert_table_equals_archive(DAY, midnight + 15 * MINUTE)


def test_where_tag_errors_fail_a_partition_the_tag_is_named_until_it_is_loaded(plant: TailedPlant) -> None:
    plant.tail(NOON + LAG)
    plant.forbid("PUMPS.2")
    for minutes in (5, 10):
        assert isinstance(plant.tail(NOON + minutes * MINUTE + LAG)[PUMPS], TagsFailedError)
    assert plant.errors() == [("PUMPS.2", "refused", Window(NOON - 10 * MINUTE, NOON + 10 * MINUTE))]
    plant.faults.clear()
    plant.tail(NOON + 15 * MINUTE + LAG)
    assert plant.errors() == []
    plant.assert_table_equals_archive(DAY, NOON + 15 * MINUTE)


def test_a_whole_day_that_fails_is_told_until_the_tail_has_read_on(plant: TailedPlant) -> None:
    plant.tail(NOON + LAG)
    plant.forbid("PUMPS.2")
    with pytest.raises(TagsFailedError):
        plant.load_day(TODAY, "pumps")
    assert plant.errors() == [("PUMPS.2", "refused", Window(DAY, NOON))]
    assert isinstance(plant.tail(NOON + 5 * MINUTE + LAG)[PUMPS], TagsFailedError)
    assert plant.errors() == [("PUMPS.2", "refused", Window(DAY, NOON + 5 * MINUTE))]
    plant.faults.clear()
    plant.tail(NOON + 10 * MINUTE + LAG)
    assert plant.errors() == []
    plant.assert_table_equals_archive(DAY, NOON + 10 * MINUTE)


def test_since_when_stays_and_the_last_try_moves_on(plant: TailedPlant) -> None:
    plant.keep_on_tag_errors()
    plant.forbid("PUMPS.2")
    plant.tail(NOON + LAG)
    [first] = OpenErrors.read(plant.lake).rows.to_pylist()
    plant.tail(NOON + 5 * MINUTE + LAG)
    [second] = OpenErrors.read(plant.lake).rows.to_pylist()
    assert first["first_seen"] == first["last_seen"] == second["first_seen"] < second["last_seen"]
    assert (second["tag_group"], second["partition_date"]) == ("pumps", DAY.date())
    assert "403" in second["error"]


def test_loads_without_trouble_make_no_commit_to_the_table_of_errors(plant: TailedPlant) -> None:
    plant.tail(NOON + LAG)
    created = TagErrorsTable.open(plant.lake).version
    plant.tail(NOON + 5 * MINUTE + LAG)
    plant.load_day((DAY - A_DAY).date(), "boilers")
    assert TagErrorsTable.open(plant.lake).version == created == 0


@pytest.mark.parametrize("on_tag_error", ["fail", "keep"])
def test_a_deleted_tag_fails_nothing_and_its_rows_stay(plant: TailedPlant, on_tag_error: str) -> None:
    plant.site = plant.site.model_copy(update={"on_tag_error": on_tag_error})
    plant.tail(NOON + LAG)
    expected = truth(plant.archive, plant.archive.points(), DAY, NOON)
    deleted = plant.tag("PUMPS.2")
    plant.base.drop(deleted.id)
    report = report_of(plant.tail(NOON + 5 * MINUTE + LAG))
    assert ([tag.tag_name for tag in report.gone_tags], report.failed_tags, report.unread_since) == (
        ["PUMPS.2"],
        (),
        None,
    )
    assert plant.errors() == [("PUMPS.2", "gone", Window(NOON - 10 * MINUTE, NOON + 5 * MINUTE))]
    of_deleted = pc.equal(expected["tag_name"], "PUMPS.2")
    others = truth(plant.archive, plant.archive.points(), DAY, NOON + 5 * MINUTE)
    assert_equals_archive(plant.table.to_arrow(where=pc.field("tag_name") == "PUMPS.2"), expected.filter(of_deleted))
    assert_equals_archive(plant.table.to_arrow(where=pc.field("tag_name") != "PUMPS.2"), others)


def test_a_deleted_tag_is_not_asked_for_again_and_costs_no_whole_day(plant: TailedPlant) -> None:
    plant.tail(NOON + LAG)
    web_id = plant.web_id("PUMPS.2")
    plant.hide("PUMPS.2")
    plant.tail(NOON + 5 * MINUTE + LAG)
    requests = plant.requests_for(web_id)
    later = plant.tail(NOON + 10 * MINUTE + LAG)
    assert windows(later)["25|pumps"].start == NOON - 5 * MINUTE
    assert plant.requests_for(web_id) == requests > 0


def test_a_whole_day_that_is_loaded_again_keeps_the_rows_of_a_deleted_tag(plant: TailedPlant) -> None:
    yesterday = DAY - A_DAY
    plant.load_day(yesterday.date(), "pumps")
    before = plant.table.to_arrow()
    plant.base.drop(plant.tag("PUMPS.2").id)
    for _ in range(2):
        report = plant.load_day(yesterday.date(), "pumps")
        assert report.complete
        assert report.difference is not None
        assert (report.difference.removed, report.difference.added) == (0, 0)
    assert plant.table.to_arrow().num_rows == before.num_rows


def test_a_tag_that_was_deleted_after_it_had_moved_keeps_its_rows_in_its_old_group(plant: TailedPlant) -> None:
    yesterday = (DAY - A_DAY).date()
    plant.load_day(yesterday, "pumps")
    before = plant.table.to_arrow()
    boilers, pumps, tanks = plant.site.tag_groups
    moved = (boilers, pumps.model_copy(update={"tag_filter": "PUMPS.1"}), tanks.model_copy(update={"tag_filter": "*"}))
    plant.site = plant.site.model_copy(update={"tag_groups": moved})
    plant.list_tags()
    plant.base.drop(plant.tag("PUMPS.2").id)
    plant.list_tags()
    report = plant.load_day(yesterday, "pumps")
    assert plant.table.to_arrow().num_rows == before.num_rows
    assert report.difference is not None
    assert report.difference.removed == 0


def test_a_tag_that_the_list_shows_again_is_read_again_from_the_days_start(plant: TailedPlant) -> None:
    plant.tail(NOON + LAG)
    fault = plant.hide("PUMPS.2")
    plant.tail(NOON + 60 * MINUTE + LAG)
    plant.faults.clear(fault)
    plant.tail(NOON + 65 * MINUTE + LAG)
    assert [kind for _, kind, _ in plant.errors()] == ["gone"]
    plant.list_tags()
    plant.tail(NOON + 70 * MINUTE + LAG)
    assert plant.errors() == []
    plant.assert_table_equals_archive(DAY, NOON + 70 * MINUTE)


def test_a_tag_that_the_list_shows_but_that_is_still_not_there_is_asked_for_once_a_list(plant: TailedPlant) -> None:
    plant.tail(NOON + LAG)
    web_id = plant.web_id("PUMPS.2")
    plant.hide("PUMPS.2")
    plant.tail(NOON + 5 * MINUTE + LAG)
    plant.list_tags()
    plant.tail(NOON + 10 * MINUTE + LAG)
    assert [kind for _, kind, _ in plant.errors()] == ["gone"]
    requests = plant.requests_for(web_id)
    plant.tail(NOON + 15 * MINUTE + LAG)
    assert plant.requests_for(web_id) == requests
    active = PointsTable.open(plant.lake).read().filter(pc.field("is_active")).num_rows
    assert active == 6, "the list itself still shows it"


def test_the_last_error_of_a_day_goes_although_its_tag_was_deleted_meanwhile(plant: TailedPlant) -> None:
    plant.keep_on_tag_errors()
    plant.forbid("PUMPS.2")
    plant.load_day((DAY - A_DAY).date(), "pumps")
    plant.faults.clear()
    plant.base.drop(plant.tag("PUMPS.2").id)
    plant.load_day((DAY - A_DAY).date(), "pumps")
    assert [kind for _, kind, _ in plant.errors()] == ["gone"]


NAMES = {f"I1DP{number}": f"TAG.{number}" for number in range(40)}


@pytest.mark.parametrize(
    ("error", "has_point", "kind"),
    [
        (RequestRefusedError("404", status=404), False, TagErrorKind.GONE),
        (RequestRefusedError("410", status=410), False, TagErrorKind.GONE),
        (RequestRefusedError("Unknown or invalid WebID format: 'x'.", status=400), False, TagErrorKind.GONE),
        (StreamMissingError("left out"), False, TagErrorKind.GONE),
        (RequestRefusedError("404", status=404), True, TagErrorKind.REFUSED),
        (StreamMissingError("left out"), True, TagErrorKind.REFUSED),
        (RequestRefusedError("403", status=403), False, TagErrorKind.REFUSED),
        (ServerTroubleError("500", status=500), False, TagErrorKind.BROKEN),
    ],
    ids=lambda value: f"{type(value).__name__} {value}",
)
def test_only_a_tag_whose_point_is_not_there_either_is_gone(
    error: PIWebAPIError, has_point: bool, kind: TagErrorKind
) -> None:
    unread = UnreadTags.of({"I1DP1": error}, NAMES, has_point=lambda web_id: has_point)
    assert [tag.kind for tag in (*unread.gone, *unread.failed)] == [kind]
    assert bool(unread.gone) is (kind is TagErrorKind.GONE)


def test_many_tags_gone_at_once_are_a_lost_right_and_not_deletions() -> None:
    failures = {web_id: RequestRefusedError("404", status=404) for web_id in list(NAMES)[:14]}
    unread = UnreadTags.of(failures, NAMES, has_point=lambda web_id: pytest.fail("one request for each"))
    assert (len(unread.failed), unread.gone) == (14, ())


def test_a_server_that_does_not_say_whether_a_tag_is_there_is_not_believed_that_it_is_gone() -> None:
    def is_down(web_id: str) -> bool:
        raise ServerTroubleError("503", status=503)

    unread = UnreadTags.of({"I1DP1": RequestRefusedError("404", status=404)}, NAMES, has_point=is_down)
    assert [tag.kind for tag in unread.failed] == [TagErrorKind.REFUSED]


def failed(
    tag: str, start: datetime, end: datetime, day: date = TODAY, group: str = "pumps"
) -> tuple[Partition, TagsFailedError]:
    told = FailedTag(tag_webid=f"I1DP.{tag}", tag_name=tag, error="403", kind=TagErrorKind.REFUSED)
    return (day, group), TagsFailedError(f"{group} on {day}", [told], window=Window(start, end))


def test_an_error_of_one_partition_says_nothing_of_another() -> None:
    now = datetime.now(timezone.utc)
    loads = [
        failed("A", DAY, NOON),
        failed("A", DAY - A_DAY, DAY, (DAY - A_DAY).date()),
        failed("B", DAY, NOON, group="tanks"),
    ]
    rows = rows_after(TAG_ERRORS_SCHEMA.empty_table(), loads, now)
    assert rows.num_rows == 3
    assert rows_after(rows, [loads[0]], now + HOUR).sort_by("last_seen")["last_seen"].to_pylist() == [
        now,
        now,
        now + HOUR,
    ]


def test_two_runs_that_tell_of_errors_at_once_lose_none(tmp_path: Path) -> None:
    lake = Lake(str(tmp_path))
    now = datetime.now(timezone.utc)
    table = TagErrorsTable.open(lake)
    interrupted = False

    def change(rows: pa.Table) -> pa.Table:
        nonlocal interrupted
        if rows.num_rows == 0 and not interrupted:
            interrupted = True
            record_tag_errors(lake, [failed("B", DAY, NOON)], now=now, commit_info={})
        return rows_after(rows, [failed("A", DAY, NOON)], now)

    table.revise(change, {})
    assert sorted(OpenErrors.read(lake).rows["tag_name"].to_pylist()) == ["A", "B"]
    assert table.version == 2
    assert len(table.snapshot().file_uris()) == 1
    assert len(list((tmp_path / "pi_tag_errors").glob("*.parquet"))) == 2, "what was overtaken leaves no file behind"


def test_a_table_of_errors_that_is_not_ours_is_told(tmp_path: Path) -> None:
    from deltalake import write_deltalake

    write_deltalake(str(tmp_path / "pi_tag_errors"), pa.table({"a": [1]}))
    errors = OpenErrors.read(Lake(str(tmp_path)))
    assert isinstance(errors.trouble, ForeignTableError)
    assert errors.gone() == {}
