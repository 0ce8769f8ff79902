"""`spark.read.format("pi_web_api")` on real Spark: what it reads is what the archive holds."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from pi_dagster.lake.schemas import POINTS_SCHEMA, TIMESERIES_SCHEMA
from pi_dagster.simulator import Fault, FaultKind, RunningSimulator, Simulator, SimulatorSettings
from pi_dagster.webid import point_webid
from pi_dagster_tests.archive_truth import assert_equals_archive, truth
from pi_dagster_tests.mixed_plant import DAY, NEXT_DAY, mixed_archive

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

pytestmark = pytest.mark.spark

ARCHIVE = mixed_archive(dense_tag_events=5_000)


@pytest.fixture(scope="module")
def expected() -> pa.Table:
    return truth(ARCHIVE, ARCHIVE.points(), DAY, NEXT_DAY)


@pytest.fixture
def running() -> Iterator[RunningSimulator]:
    with Simulator(archive=ARCHIVE, settings=SimulatorSettings(rate_limit_requests=None)).serve() as running:
        yield running


def web_id_of(name: str) -> str:
    [point] = [point for point in ARCHIVE.points() if point.name == name]
    return point_webid(ARCHIVE.server_id, point.id, ARCHIVE.server_name, point.name).identity


def read(spark: SparkSession, running: RunningSimulator, **options: object) -> DataFrame:
    texts = {"server.url": running.url}
    if "table" not in options:
        texts |= {"start": DAY.isoformat(), "end": NEXT_DAY.isoformat()}
    texts |= {name.replace("__", "."): str(value) for name, value in options.items()}
    return spark.read.format("pi_web_api").options(**texts).load()


@pytest.mark.parametrize("tasks", [1, 3])
def test_the_rows_equal_the_archive(
    spark: SparkSession, running: RunningSimulator, expected: pa.Table, tasks: int
) -> None:
    rows = read(spark, running, tasks=tasks, server__max_count_per_request=1000).toArrow()
    assert rows.schema.names == TIMESERIES_SCHEMA.names
    assert_equals_archive(rows, expected)


def test_time_slices_of_one_tag_join_without_a_seam(
    spark: SparkSession, running: RunningSimulator, expected: pa.Table
) -> None:
    read_alone = read(spark, running, tags="EQUAL STAMPS", tasks=7)
    assert read_alone.rdd.getNumPartitions() == 7
    of_tag = expected.filter(pc.equal(expected["tag_name"], "EQUAL STAMPS"))
    assert_equals_archive(read_alone.toArrow(), of_tag)


@pytest.mark.parametrize("condition", ["tag_name = '{name}'", "tag_webid IN ('{web_id}', 'NONE')"])
def test_tags_and_times_that_filters_leave_out_are_not_read(
    spark: SparkSession, running: RunningSimulator, expected: pa.Table, condition: str
) -> None:
    if spark.version < "4.1":
        pytest.skip("Spark 4.0 shows data sources no filters")
    tag = condition.format(name="Float32.BUSY", web_id=web_id_of("Float32.BUSY"))
    wanted = read(spark, running, tasks=1).where(
        f"timestamp >= '2026-11-02T06:00:00Z' AND timestamp < '2026-11-02T07:00:00Z' AND {tag}"
    )
    from_six = pc.and_(
        pc.equal(expected["tag_name"], "Float32.BUSY"),
        pc.equal(pc.hour(expected["timestamp"]), 6),
    )
    for name in ("DENSE", "String.BUSY", "EMPTY"):
        running.faults.add(Fault(kind=FaultKind.STATUS, status=403, web_id=web_id_of(name)))
    running.requests.clear()
    assert_equals_archive(wanted.toArrow(), expected.filter(from_six))
    asked = [request.query_text for request in running.requests.recent if request.path.endswith("/recorded")]
    assert asked
    assert all("startTime=2026-11-02T06" in query and "endTime=2026-11-02T0" in query for query in asked), asked


def test_the_points_are_those_that_the_server_lists(spark: SparkSession, running: RunningSimulator) -> None:
    points = read(spark, running, table="points").toArrow()
    assert points.schema.names == POINTS_SCHEMA.names
    assert sorted(points["tag_name"].to_pylist()) == sorted(point.name for point in ARCHIVE.points())
    assert read(spark, running, table="points", tags='["EMPTY", "DENSE"]').count() == 2


def test_a_tag_that_cannot_be_read_fails_the_job_by_name(spark: SparkSession, running: RunningSimulator) -> None:
    running.faults.add(Fault(kind=FaultKind.STATUS, status=404, route="*recorded"))
    with pytest.raises(Exception, match=r"could not be read whole: .*Int16\.BUSY"):
        read(spark, running, tags="Int16.BUSY").count()


def test_the_plan_shows_no_secret(
    spark: SparkSession, running: RunningSimulator, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PI_PASSWORD", "opensesame")
    rows = read(
        spark,
        running,
        server__login__kind="basic",
        server__login__username="reader",
        server__login__password_env="PI_PASSWORD",
    )
    rows.explain(extended=True)
    assert "opensesame" not in capsys.readouterr().out
