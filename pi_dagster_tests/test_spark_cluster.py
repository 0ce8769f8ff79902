"""Spark on several processes: the limit on requests holds for all of them, and any of them may be killed."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pi_dagster.ingest.points import refresh_points
from pi_dagster.lake import Lake, TimeseriesTable
from pi_dagster.piwebapi import PIWebAPISource
from pi_dagster.simulator import Fault, FaultKind, Simulator, SimulatorSettings
from pi_dagster.simulator.archive import Events, to_ticks
from pi_dagster.site import LakeSettings, ServerSettings, Site, SparkSettings, TagGroup
from pi_dagster_tests.archive_truth import assert_equals_archive, truth
from pi_dagster_tests.mixed_plant import DAY, NEXT_DAY, mixed_archive

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

pytestmark = pytest.mark.spark

CORES = 4
SLOW = Fault(kind=FaultKind.SLOW, route="*recorded", seconds=1.0)


def test_a_cluster_keeps_to_the_limit_and_outlives_an_executor_and_its_driver(
    spark: SparkSession, tmp_path: Path
) -> None:
    """One test for all, as each process costs seconds to start."""
    from pi_dagster.spark.engine import partitions_in_spark
    from pi_dagster_tests.spark_cluster import cluster, driver, kill

    archive = mixed_archive(dense_tag_events=5_000)
    settings = SimulatorSettings(rate_limit_requests=None)
    with (
        Simulator(archive=archive, settings=settings).serve() as running,
        cluster(tmp_path / "cluster", workers=2, cores=CORES) as machines,
    ):
        site = Site(
            server=ServerSettings(url=running.url, max_requests_in_flight=8, batch_size=1, max_count_per_request=200),
            lake=LakeSettings(uri=str(tmp_path / "lake")),
            start_date=DAY.date(),
            tag_groups=(TagGroup(name="all", tag_filter="*"),),
            spark=SparkSettings(
                master=machines.url,
                tasks=8,
                settings={
                    "spark.ui.enabled": "false",
                    "spark.driver.host": "127.0.0.1",
                    "spark.executor.memory": "512m",
                    "spark.sql.shuffle.partitions": "2",
                },
            ),
        )
        expected = truth(archive, archive.points(), DAY, NEXT_DAY)
        table = partial(TimeseriesTable.open, Lake(site.lake.uri))
        with PIWebAPISource(site.server) as source:
            refresh_points(site, source, Lake(site.lake.uri), run_id="points")

        with driver(site, tmp_path) as process:
            assert answer(process) == "ready"
            running.faults.add(SLOW)
            running.requests.clear()
            load(process)
            wait_until(lambda: running.requests.in_flight > CORES)
            assert running.requests.max_in_flight <= 8
            os.kill(machines.executors()[0], signal.SIGKILL)
            running.faults.clear()
            assert int(answer(process)) == expected.num_rows
            assert_equals_archive(table().to_arrow(), expected)

            point = archive.point_by_name("Float64.BUSY")
            assert point is not None
            archive.insert(point, Events.of("Float64", [to_ticks(DAY) + 77], [1.0]))
            running.faults.add(SLOW)
            load(process)
            wait_until(lambda: running.requests.in_flight > CORES)
            kill(process)
        assert_equals_archive(table().to_arrow(), expected)

        running.faults.clear()
        site = site.model_copy(update={"server": ServerSettings(url=running.url)})
        with PIWebAPISource(site.server) as source:
            partitions = [(DAY.date(), "all")]
            [again] = partitions_in_spark(site, source, Lake(site.lake.uri), spark, partitions, run_id="again")
            assert again.run().rows == expected.num_rows + 1
        assert_equals_archive(table().to_arrow(), truth(archive, archive.points(), DAY, NEXT_DAY))


def load(driver: subprocess.Popen[str]) -> None:
    assert driver.stdin is not None
    driver.stdin.write(f"{DAY.date()}\n")
    driver.stdin.flush()


def answer(driver: subprocess.Popen[str]) -> str:
    assert driver.stdout is not None
    return driver.stdout.readline().strip()


def wait_until(happens: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 120
    while not happens():
        assert time.monotonic() < deadline
        time.sleep(0.01)
