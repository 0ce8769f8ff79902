"""Loading a partition: which window, which tags, and what a re-run does."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, datetime, timedelta, timezone
from pathlib import Path

import pyarrow.compute as pc
import pytest

from pi_dagster.ingest.errors import NoTagsError, PointsMissingError
from pi_dagster.ingest.points import refresh_points
from pi_dagster.ingest.report import WindowReport
from pi_dagster.ingest.source import open_source
from pi_dagster.ingest.timeseries import load_partition
from pi_dagster.lake import Lake, TimeseriesTable
from pi_dagster.simulator import RunningSimulator, Simulator, SimulatorSettings
from pi_dagster.simulator.archive import Archive, MemoryBase
from pi_dagster.simulator.events import Events, to_ticks
from pi_dagster.simulator.points import Point
from pi_dagster.site import LakeSettings, ServerSettings, Site, TagGroup
from pi_dagster_tests.archive_truth import assert_equals_archive, truth

DAY = datetime(2026, 11, 2, tzinfo=timezone.utc)
FIRST_DAY = DAY.date()
NOON = DAY + timedelta(hours=12)
HOURLY = [DAY + timedelta(hours=hour) for hour in range(-2, 50)]


def events(instants: list[datetime], value: float = 1.0) -> Events:
    return Events.of("Float64", [to_ticks(instant) for instant in instants], [value] * len(instants))


class Clock:
    """The server's clock, set by hand."""

    def __init__(self) -> None:
        self.now = DAY + timedelta(days=30)

    def __call__(self) -> int:
        return to_ticks(self.now)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def base() -> MemoryBase:
    points = [Point(id=n, name=f"TAG{n}", point_type="Float64", created=DAY) for n in (1, 2, 3)]
    return MemoryBase(points, {point.id: events(HOURLY) for point in points})


@pytest.fixture
def simulator(base: MemoryBase, clock: Clock) -> Iterator[RunningSimulator]:
    with Simulator(archive=Archive(base), settings=SimulatorSettings(now=clock)).serve() as running:
        yield running


@pytest.fixture
def site(simulator: RunningSimulator, tmp_path: Path) -> Site:
    return Site(
        server=ServerSettings(url=simulator.url),
        lake=LakeSettings(uri=str(tmp_path)),
        start_date=DAY.date(),
        tag_groups=(TagGroup(name="all", tag_filter="TAG*"), TagGroup(name="none", tag_filter="X*")),
    )


@pytest.fixture
def listed(site: Site) -> Site:
    with open_source(site.server) as source:
        refresh_points(site, source, Lake(site.lake.uri), run_id="test")
    return site


def load(site: Site, day: date = FIRST_DAY, tag_group: str = "all") -> WindowReport:
    with open_source(site.server) as source:
        return load_partition(site, source, Lake(site.lake.uri), day=day, tag_group=tag_group, run_id="test")


def table(site: Site) -> TimeseriesTable:
    return TimeseriesTable.open(Lake(site.lake.uri))


def test_a_closed_day_is_read_whole_and_half_open(listed: Site) -> None:
    report = load(listed)
    assert (report.rows, report.complete) == (3 * 24, True)
    assert report.watermark == DAY + timedelta(days=1)
    assert (report.first_event, report.last_event) == (DAY, DAY + timedelta(hours=23))


def test_two_days_meet_without_gap_or_double(listed: Site, simulator: RunningSimulator) -> None:
    load(listed)
    load(listed, DAY.date() + timedelta(days=1))
    expected = truth(simulator.archive, simulator.archive.points(), DAY, DAY + timedelta(days=2))
    assert_equals_archive(table(listed).to_arrow(), expected)


def test_today_is_read_up_to_the_servers_clock_minus_the_lag(listed: Site, clock: Clock) -> None:
    clock.now = NOON + timedelta(seconds=10)
    report = load(listed)
    assert report.watermark == NOON
    assert not report.complete
    assert report.last_event == NOON - timedelta(hours=1)


def test_today_grows_run_by_run_and_ends_equal(listed: Site, clock: Clock, simulator: RunningSimulator) -> None:
    for hour in (0, 1, 12, 23, 24, 25):
        clock.now = DAY + timedelta(hours=hour, seconds=5)
        load(listed)
    expected = truth(simulator.archive, simulator.archive.points(), DAY, DAY + timedelta(days=1))
    assert_equals_archive(table(listed).to_arrow(), expected)


def test_a_day_that_has_only_begun_is_an_empty_window_not_an_error(listed: Site, clock: Clock) -> None:
    clock.now = DAY + timedelta(seconds=3)
    report = load(listed)
    assert (report.rows, report.watermark, report.complete) == (0, DAY, False)


def test_a_re_run_leaves_the_same_rows(listed: Site) -> None:
    load(listed)
    before = table(listed).to_arrow().drop_columns(["ingestion_timestamp"])
    load(listed)
    assert table(listed).to_arrow().drop_columns(["ingestion_timestamp"]).equals(before)


def test_a_re_run_brings_what_is_late_changed_or_deleted(listed: Site, simulator: RunningSimulator) -> None:
    load(listed)
    archive = simulator.archive
    tag = archive.point_by_name("TAG2")
    assert tag is not None
    archive.insert(tag, events([NOON + timedelta(seconds=1)], 2.0))
    archive.replace(tag, events([NOON], 3.0))
    archive.remove(tag, events([DAY]))
    load(listed)
    expected = truth(archive, archive.points(), DAY, DAY + timedelta(days=1))
    assert_equals_archive(table(listed).to_arrow(), expected)
    assert pc.sum(table(listed).to_arrow()["quality_substituted"]).as_py() == 1


def test_a_tag_that_the_server_no_longer_lists_keeps_its_rows(
    listed: Site, base: MemoryBase, simulator: RunningSimulator
) -> None:
    load(listed)
    before = table(listed).to_arrow()
    base.drop(3)
    with open_source(listed.server) as source:
        refresh_points(listed, source, Lake(listed.lake.uri), run_id="test")
    report = load(listed)
    assert (report.tags, report.rows) == (2, 48)
    assert table(listed).to_arrow().num_rows == before.num_rows


def test_other_partitions_are_not_touched(listed: Site) -> None:
    load(listed, DAY.date() + timedelta(days=1))
    before = table(listed).to_arrow()
    load(listed)
    after = table(listed).to_arrow(partition_date=DAY.date() + timedelta(days=1))
    assert after.sort_by("timestamp").equals(before.sort_by("timestamp"))


def test_without_pi_points_the_error_says_what_to_load_first(site: Site) -> None:
    with pytest.raises(PointsMissingError, match="pi_points first"):
        load(site)


def test_a_group_without_tags_is_an_error_that_names_its_filter(listed: Site) -> None:
    with pytest.raises(NoTagsError, match=r"'none' \(`tag_filter: X\*`\)"):
        load(listed, tag_group="none")


def test_an_empty_shard_of_a_group_with_tags_is_no_error(listed: Site) -> None:
    sharded = listed.model_copy(update={"tag_groups": (TagGroup(name="all", tag_filter="TAG*", shards=50),)})
    with open_source(sharded.server) as source:
        report = refresh_points(sharded, source, Lake(sharded.lake.uri), run_id="test")
    empty = next(name for name, tags in report.tags_by_partition.items() if tags == 0)
    assert load(sharded, tag_group=empty).rows == 0


def test_the_commit_says_which_run_and_window_wrote_it(listed: Site) -> None:
    load(listed)
    entry = table(listed).snapshot().history(1)[0]
    assert entry["run_id"] == "test"
    assert entry["site"] == listed.name
    assert (entry["window_start"], entry["window_end"]) == (
        "2026-11-02T00:00:00+00:00",
        "2026-11-03T00:00:00+00:00",
    )


def test_the_report_counts_what_was_read(listed: Site, simulator: RunningSimulator) -> None:
    tag = simulator.archive.point_by_name("TAG1")
    assert tag is not None
    shutdown = Events.of("Float64", [to_ticks(NOON + timedelta(minutes=1))], [0.0], states=[254])
    simulator.archive.insert(tag, shutdown)
    report = load(listed)
    assert report.rows_by_type == {"number": 72, "system state": 1, "digital state": 0, "text": 0, "none": 0}
    assert report.rows_by_system_state == {"Shutdown": 1}
    assert (report.bad_rows, report.tags, report.tags_with_events) == (1, 3, 3)
    assert report.traffic.requests >= 2
    assert report.sample.num_rows == 10


def test_a_group_whose_tags_are_all_gone_fails_and_keeps_its_rows(listed: Site, base: MemoryBase) -> None:
    """A login that lost its rights looks like this; a green partition without rows would hide it."""
    load(listed)
    base.add(Point(id=4, name="OTHER", point_type="Float64", created=DAY))
    for number in (1, 2, 3):
        base.drop(number)
    with open_source(listed.server) as source:
        refresh_points(listed, source, Lake(listed.lake.uri), run_id="test")
    with pytest.raises(NoTagsError, match="no longer lists the 3 that did"):
        load(listed)
    assert table(listed).count() == 72
