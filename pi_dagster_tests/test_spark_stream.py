"""`spark.readStream.format("pi_web_api")` into Delta: each event once, however often it is stopped."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pytest

from pi_dagster.ingest.points import refresh_points
from pi_dagster.ingest.report import WindowReport
from pi_dagster.ingest.timeseries import load_partition
from pi_dagster.lake import Lake, TimeseriesTable
from pi_dagster.piwebapi import PIWebAPISource
from pi_dagster.simulator import Fault, FaultKind, RunningSimulator, Simulator, SimulatorSettings
from pi_dagster.simulator.archive import Archive, MemoryBase
from pi_dagster.simulator.events import Events, to_ticks
from pi_dagster.simulator.points import Point
from pi_dagster.site import LakeSettings, ServerSettings, Site, TagGroup
from pi_dagster_tests.archive_truth import assert_equals_archive, truth
from pi_dagster_tests.conftest import LOCAL_SPARK
from pi_dagster_tests.spark_driver import driver, follow
from pi_dagster_tests.waiting import wait_until

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

pytestmark = pytest.mark.spark

DAY = datetime(2026, 11, 2, tzinfo=timezone.utc)
MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)
POINTS = [Point(id=1, name="BLR01.FLOW"), Point(id=2, name="BLR02.FLOW"), Point(id=3, name="BLR03.FLOW")]


class Clock:
    """The simulated server's clock."""

    def __init__(self, now: datetime) -> None:
        self.now = now

    def __call__(self) -> int:
        return to_ticks(self.now)


def value_each_minute(start: datetime, end: datetime) -> Events:
    ticks = np.arange(to_ticks(start), to_ticks(end), 60 * 10_000_000)
    return Events.of("Float32", ticks, np.arange(len(ticks), dtype=float))


def one_value(instant: datetime, value: float) -> Events:
    return Events.of("Float32", [to_ticks(instant)], [value])


def stream_options(site: Site, *, max_window_minutes: int = 1440) -> dict[str, str]:
    return {
        "site": site.model_dump_json(), "tag_group": "all", "start": DAY.isoformat(), "with_window": "true",
        "tasks": "2", "max_window_minutes": str(max_window_minutes),
    }  # fmt: skip


def site_of(running: RunningSimulator, folder: Path) -> Site:
    """The site of a server, its list of tags loaded."""
    site = Site(
        server=ServerSettings(url=running.url),
        lake=LakeSettings(uri=str(folder)),
        start_date=DAY.date(),
        tag_groups=(TagGroup(name="all", tag_filter="*"),),
    )
    with PIWebAPISource(site.server) as source:
        refresh_points(site, source, Lake(str(folder)), run_id="test")
    return site


def run_stream(spark: SparkSession, site: Site, folder: Path, *, max_window_minutes: int = 1440) -> int:
    """Run the stream up to the server's clock; returns how many micro-batches that took."""
    return follow(
        spark,
        options=stream_options(site, max_window_minutes=max_window_minutes),
        table=f"{site.lake.uri}/pi_timeseries",
        checkpoint=str(folder / "checkpoint"),
    )


def has_windows(spark: SparkSession) -> bool:
    """Before Spark 4.2 each micro-batch brings all there is."""
    return spark.version >= "4.2"


def settle(site: Site) -> WindowReport:
    with PIWebAPISource(site.server) as source:
        lake = Lake(site.lake.uri)
        return load_partition(site, source, lake, day=DAY.date(), tag_group="all", run_id="settle")


def test_a_stream_brings_each_event_once_late_ones_through_the_overlap_and_all_with_the_settle(
    spark: SparkSession, tmp_path: Path
) -> None:
    archive = Archive(MemoryBase(POINTS, {point.id: value_each_minute(DAY, DAY + 30 * HOUR) for point in POINTS}))
    clock = Clock(DAY + 6 * HOUR)
    with Simulator(archive=archive, settings=SimulatorSettings(now=clock)).serve() as running:
        site, lake = site_of(running, tmp_path), Lake(str(tmp_path))

        def table_equals_archive(until: datetime) -> None:
            expected = truth(archive, POINTS, DAY, until - timedelta(seconds=site.lag_seconds))
            assert_equals_archive(TimeseriesTable.open(lake, create=False).to_arrow(), expected)

        assert run_stream(spark, site, tmp_path, max_window_minutes=200) == (2 if has_windows(spark) else 1)
        table_equals_archive(clock.now)

        archive.insert(POINTS[0], one_value(clock.now - 5.5 * MINUTE, -1.0))
        archive.replace(POINTS[1], one_value(clock.now - 7 * MINUTE, -2.0))
        archive.remove(POINTS[2], value_each_minute(clock.now - 8 * MINUTE, clock.now - 7 * MINUTE))
        clock.now += HOUR
        run_stream(spark, site, tmp_path)
        table_equals_archive(clock.now)

        archive.insert(POINTS[0], one_value(DAY + HOUR + MINUTE / 2, -3.0))
        clock.now = DAY + 26 * HOUR
        run_stream(spark, site, tmp_path)
        before = TimeseriesTable.open(lake).to_arrow()
        assert before.num_rows == truth(archive, POINTS, DAY, clock.now - timedelta(seconds=10)).num_rows - 1
        report = settle(site)
        assert report.difference is not None
        assert report.difference.added == 1
        table_equals_archive(clock.now)


def test_a_stream_that_is_killed_goes_on_at_its_checkpoint(spark: SparkSession, tmp_path: Path) -> None:
    archive = Archive(MemoryBase(POINTS, {point.id: value_each_minute(DAY, DAY + 30 * HOUR) for point in POINTS}))
    clock = Clock(DAY + 3 * HOUR)
    with Simulator(archive=archive, settings=SimulatorSettings(now=clock)).serve() as running:
        site = site_of(running, tmp_path)
        table = TimeseriesTable.open(Lake(site.lake.uri))
        log = Path(table.uri) / "_delta_log"
        run_stream(spark, site, tmp_path)
        commits = len(list(log.glob("*.json")))
        clock.now += 3 * HOUR
        running.faults.add(Fault(kind=FaultKind.SLOW, route="*recorded", seconds=1.0))
        with driver("local[2]", LOCAL_SPARK, tmp_path) as application:
            application.send(
                "follow",
                options=stream_options(site, max_window_minutes=30),
                table=table.uri,
                checkpoint=str(tmp_path / "checkpoint"),
            )
            # In the middle of a micro-batch, after others.
            commits += has_windows(spark)
            wait_until(lambda: len(list(log.glob("*.json"))) >= commits and running.requests.in_flight > 0)
            application.kill()
        running.faults.clear()
        kept = table.to_arrow()
        read_until = max(kept["timestamp"].to_pylist())
        assert_equals_archive(kept, truth(archive, POINTS, DAY, read_until + MINUTE / 2))

        # Late events: one that the overlap still reaches, and one that it does not.
        archive.insert(POINTS[0], one_value(read_until - 5.5 * MINUTE, -1.0))
        archive.insert(POINTS[1], one_value(DAY + MINUTE / 2, -2.0))
        clock.now = DAY + 26 * HOUR
        run_stream(spark, site, tmp_path)
        if not has_windows(spark):
            # A query that ends by itself has ended with the micro-batch that was cut off.
            run_stream(spark, site, tmp_path)
        until = clock.now - timedelta(seconds=site.lag_seconds)
        assert table.count() == truth(archive, POINTS, DAY, until).num_rows - 1
        settle(site)
        assert_equals_archive(table.to_arrow(), truth(archive, POINTS, DAY, until))


def test_a_later_start_does_not_skip_what_comes_after_the_checkpoint() -> None:
    pytest.importorskip("pyspark", reason="the extra `spark` is not installed")
    from pi_dagster.spark.options import ReadOptions
    from pi_dagster.spark.stream import TimeseriesStreamReader
    from pi_dagster.spark.tasks import ReadTask

    archive = Archive(MemoryBase(POINTS, {}))
    checkpoint, end = DAY + HOUR, DAY + 3 * HOUR
    with Simulator(archive=archive).serve() as running:

        def first_instant(start: datetime) -> datetime:
            options = ReadOptions.of({"server.url": running.url, "start": start.isoformat(), "tasks": "1"})
            offsets = ({"read_until": instant.isoformat()} for instant in (checkpoint, end))
            [task] = TimeseriesStreamReader(options).partitions(*offsets)
            assert isinstance(task, ReadTask)
            return task.start

        assert first_instant(DAY) == checkpoint - 10 * MINUTE
        assert first_instant(checkpoint - MINUTE) == checkpoint - MINUTE
        assert first_instant(checkpoint + HOUR) == checkpoint


def test_a_micro_batch_that_is_repeated_changes_nothing(spark: SparkSession, tmp_path: Path) -> None:
    from pi_dagster.spark.sink import window_sink

    sink = window_sink(str(tmp_path / "table"))
    sink(a_batch(spark), 0)
    sink(a_batch(spark), 0)
    assert spark.read.format("delta").load(str(tmp_path / "table")).count() == 1


def a_batch(spark: SparkSession) -> DataFrame:
    """A micro-batch of one event."""
    from pi_dagster.spark.columns import arrow_schema
    from pi_dagster.spark.options import ReadOptions

    schema = arrow_schema(ReadOptions.of({"server.url": "https://pi/piwebapi", "with_window": "true"}))
    row = {
        "tag_webid": "A", "timestamp": DAY + HOUR, "value": 1.0, "event_ordinal": 0, "partition_date": DAY.date(),
        "tag_group": "all", "window_start": DAY, "window_end": DAY + 2 * HOUR,
    }  # fmt: skip
    return spark.createDataFrame(pa.Table.from_pylist([row], schema=schema))
