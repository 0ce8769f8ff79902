"""Spark on several processes: the limit on requests holds for all of them, and any of them may be killed."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from pi_dagster.ingest.points import refresh_points
from pi_dagster.ingest.source import open_source
from pi_dagster.lake import Lake, TimeseriesTable
from pi_dagster.simulator import Fault, FaultKind, Simulator, SimulatorSettings
from pi_dagster.simulator.auth import BasicMethod
from pi_dagster.simulator.events import Events, to_ticks
from pi_dagster.site import BasicLogin, LakeSettings, ServerSettings, Site, SparkSettings, TagGroup
from pi_dagster_tests.archive_truth import assert_equals_archive, truth
from pi_dagster_tests.mixed_plant import DAY, NEXT_DAY, mixed_archive
from pi_dagster_tests.spark_cluster import cluster
from pi_dagster_tests.spark_driver import driver
from pi_dagster_tests.waiting import wait_until

pytestmark = pytest.mark.spark

WORKERS, CORES = 2, 4
LIMIT = 8
SLOW = Fault(kind=FaultKind.SLOW, route="*recorded", seconds=1.0)
PASSWORD = "correct-horse-42"


def test_a_cluster_keeps_to_the_limit_and_outlives_an_executor_and_its_driver(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One test for all, as each process costs seconds to start."""
    monkeypatch.setenv("PI_TEST_PASSWORD", PASSWORD)
    archive = mixed_archive(dense_tag_events=2_000)
    settings = SimulatorSettings(rate_limit_requests=None, login=BasicMethod("reader", PASSWORD))
    with (
        Simulator(archive=archive, settings=settings).serve() as running,
        cluster(tmp_path / "cluster", workers=WORKERS, cores=CORES) as machines,
    ):
        site = Site(
            server=ServerSettings(
                url=running.url,
                login=BasicLogin(kind="basic", username="reader", password_env="PI_TEST_PASSWORD"),
                max_requests_in_flight=LIMIT,
                batch_size=1,
                max_count_per_request=400,
            ),
            lake=LakeSettings(uri=str(tmp_path / "lake")),
            start_date=DAY.date(),
            tag_groups=(TagGroup(name="all", tag_filter="*"),),
            spark=SparkSettings(tasks=WORKERS * CORES),
        )
        expected = truth(archive, archive.points(), DAY, NEXT_DAY)
        table = TimeseriesTable.open(Lake(site.lake.uri))
        with open_source(site.server) as source:
            refresh_points(site, source, Lake(site.lake.uri), run_id="points")
        (tmp_path / "events").mkdir()
        of_application = {
            "spark.ui.enabled": "false",
            "spark.driver.host": "127.0.0.1",
            "spark.executor.memory": "512m",
            "spark.sql.shuffle.partitions": "2",
            "spark.eventLog.enabled": "true",
            "spark.eventLog.dir": f"file://{tmp_path}/events",
            "spark.eventLog.compress": "false",
        }
        with driver(machines.url, of_application, tmp_path) as application:
            running.faults.add(SLOW)
            running.requests.clear()
            assert application.load(site, DAY.date()) == expected.num_rows
            assert CORES < running.requests.max_in_flight <= LIMIT
            assert_equals_archive(table.to_arrow(), expected)
            assert_equals_archive(application.read(table.uri, tmp_path), expected)

            point = archive.point_by_name("Float64.BUSY")
            assert point is not None
            archive.insert(point, Events.of("Float64", [to_ticks(DAY) + 77], [1.0]))
            expected = truth(archive, archive.points(), DAY, NEXT_DAY)
            running.requests.clear()
            application.send("load", site=site.model_dump_json(), day=DAY.date().isoformat())
            wait_until(lambda: running.requests.in_flight > CORES)
            os.kill(machines.executors()[0], signal.SIGKILL)
            assert application.answer() == expected.num_rows
            assert_equals_archive(table.to_arrow(), expected)

            archive.insert(point, Events.of("Float64", [to_ticks(DAY) + 78], [2.0]))
            application.send("load", site=site.model_dump_json(), day=DAY.date().isoformat())
            wait_until(lambda: running.requests.in_flight > CORES)
            application.kill()
        assert_equals_archive(table.to_arrow(), expected)

        running.faults.clear()
        with driver(machines.url, of_application, tmp_path) as application:
            assert application.load(site, DAY.date()) == expected.num_rows + 1
        assert_equals_archive(table.to_arrow(), truth(archive, archive.points(), DAY, NEXT_DAY))

    logs = [file for file in tmp_path.rglob("*") if file.is_file() and file.suffix not in (".jar", ".parquet")]
    assert any(b"pi_web_api" in file.read_bytes() for file in logs)
    assert [file for file in logs if PASSWORD.encode() in file.read_bytes()] == []
