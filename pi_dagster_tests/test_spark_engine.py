"""Spark as the engine of pi_timeseries: the same table, the same report, the same invariants as without it."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import dagster as dg
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from pi_dagster.factory import build_pi_definitions
from pi_dagster.ingest.errors import IngestError, TagsFailedError
from pi_dagster.ingest.points import refresh_points
from pi_dagster.ingest.report import WindowReport
from pi_dagster.ingest.timeseries import load_partition
from pi_dagster.lake import TIMESERIES_SCHEMA, Lake, TimeseriesTable, column_descriptions
from pi_dagster.piwebapi import PIWebAPISource
from pi_dagster.simulator import Fault, FaultKind, RunningSimulator, Simulator, SimulatorSettings
from pi_dagster.simulator.events import Events, to_ticks
from pi_dagster.site import LakeSettings, ServerSettings, Site, SparkSettings, TagGroup
from pi_dagster.webid import point_webid
from pi_dagster_tests.archive_truth import assert_equals_archive, truth
from pi_dagster_tests.mixed_plant import DAY, NEXT_DAY, mixed_archive

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

pytestmark = pytest.mark.spark


@pytest.fixture
def running() -> Iterator[RunningSimulator]:
    archive = mixed_archive(dense_tag_events=5_000)
    with Simulator(archive=archive, settings=SimulatorSettings(rate_limit_requests=None)).serve() as running:
        yield running


@pytest.fixture
def site(running: RunningSimulator, tmp_path: Path) -> Site:
    return listed_site(running, tmp_path)


def listed_site(running: RunningSimulator, tmp_path: Path) -> Site:
    """The site of the running server, its list of tags loaded."""
    site = Site(
        server=ServerSettings(url=running.url, max_requests_per_second=1000, retry_budget_seconds=1),
        lake=LakeSettings(uri=str(tmp_path)),
        start_date=DAY.date(),
        tag_groups=(TagGroup(name="all", tag_filter="*"),),
        engine="spark",
        spark=SparkSettings(tasks=3),
    )
    with PIWebAPISource(site.server) as source:
        refresh_points(site, source, Lake(site.lake.uri), run_id="points")
    return site


def load_with_spark(spark: SparkSession, site: Site, group: str = "all") -> WindowReport:
    from pi_dagster.spark.engine import partitions_in_spark

    with PIWebAPISource(site.server) as source:
        partitions = [(DAY.date(), group)]
        [load] = partitions_in_spark(site, source, Lake(site.lake.uri), spark, partitions, run_id="by spark")
        return load.run()


def load_locally(site: Site) -> WindowReport:
    with PIWebAPISource(site.server) as source:
        return load_partition(
            site, source, Lake(site.lake.uri), day=DAY.date(), tag_group="all", run_id="by this machine"
        )


def expected(running: RunningSimulator) -> pa.Table:
    return truth(running.archive, running.archive.points(), DAY, NEXT_DAY)


def table(site: Site) -> TimeseriesTable:
    return TimeseriesTable.open(Lake(site.lake.uri), create=False)


@pytest.mark.parametrize(
    "server", [{}, {"read_mode": "batch", "max_count_per_request": 200, "max_requests_in_flight": 3}], ids=str
)
def test_the_table_equals_the_archive_for_delta_rs_and_for_spark(
    spark: SparkSession, running: RunningSimulator, site: Site, server: dict[str, object]
) -> None:
    running.faults.add(Fault(kind=FaultKind.WEB_EXCEPTION, route="*recorded", count=1))
    report = load_with_spark(spark, site.model_copy(update={"server": site.server.model_copy(update=server)}))
    assert report.complete
    assert report.rows == expected(running).num_rows
    assert_equals_archive(table(site).to_arrow(), expected(running))
    assert_equals_archive(spark.read.format("delta").load(table(site).uri).toArrow(), expected(running))


def test_a_day_that_has_only_just_begun_has_no_rows_yet(spark: SparkSession, tmp_path: Path) -> None:
    settings = SimulatorSettings(now=lambda: to_ticks(DAY + timedelta(seconds=5)))
    with Simulator(archive=mixed_archive(dense_tag_events=10), settings=settings).serve() as running:
        site = listed_site(running, tmp_path)
        report = load_with_spark(spark, site)
        assert (report.rows, report.watermark, report.complete) == (0, DAY, False)
        assert table(site).to_arrow().num_rows == 0


def test_a_tag_that_moved_is_there_once_whichever_group_is_loaded(
    spark: SparkSession, running: RunningSimulator, site: Site
) -> None:
    load_with_spark(spark, site)
    first, *others = sorted(point.name for point in running.archive.points())
    groups = (TagGroup(name="new", tags=(first,)), TagGroup(name="all", tags=tuple(others)))
    site = site.model_copy(update={"tag_groups": groups})
    with PIWebAPISource(site.server) as source:
        refresh_points(site, source, Lake(site.lake.uri), run_id="points")
    load_with_spark(spark, site)
    assert_equals_archive(table(site).to_arrow(), expected(running))
    load_with_spark(spark, site, "new")
    assert_equals_archive(table(site).to_arrow(), expected(running))
    assert set(table(site).to_arrow(tag_group="new")["tag_name"].to_pylist()) == {first}


def test_each_file_holds_the_tags_between_two_webids(
    spark: SparkSession, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pi_dagster.spark.engine.ROWS_A_FILE", 2_000)
    assert load_with_spark(spark, site).files > 5
    files = pa.table(table(site).snapshot().get_add_actions(flatten=True)).sort_by("min.tag_webid")
    pairs = pairwise(zip(files["min.tag_webid"].to_pylist(), files["max.tag_webid"].to_pylist(), strict=True))
    assert all(before[1] <= after[0] for before, after in pairs)


def test_a_schema_of_a_catalog_has_the_table_by_name_with_the_meaning_of_its_columns(
    spark: SparkSession, running: RunningSimulator, site: Site, tmp_path: Path
) -> None:
    from pi_dagster.spark.engine import SparkJobError

    schema = f"named_{tmp_path.name.replace('-', '_')}"
    named = site.model_copy(update={"lake": site.lake.model_copy(update={"catalog_schema": f"spark_catalog.{schema}"})})
    load_locally(site)
    with pytest.raises(SparkJobError, match=f"SCHEMA_NOT_FOUND.*{schema}"):
        load_with_spark(spark, named)
    spark.sql(f"CREATE SCHEMA {schema}")
    assert load_with_spark(spark, named).complete
    load_locally(named)
    again = load_with_spark(spark, named)
    assert again.difference is not None
    assert again.difference.added == again.difference.removed == again.difference.changed == 0
    name = f"spark_catalog.{schema}.pi_timeseries"
    assert_equals_archive(spark.read.table(name).toArrow(), expected(running))
    assert_equals_archive(table(site).to_arrow(), expected(running))
    comments = {row["col_name"]: row["comment"] for row in spark.sql(f"DESCRIBE TABLE {name}").collect()}
    told = column_descriptions(TIMESERIES_SCHEMA)
    assert {column: comments[column] for column in told} == told

    elsewhere = named.model_copy(update={"lake": named.lake.model_copy(update={"uri": str(tmp_path / "other")})})
    with PIWebAPISource(site.server) as source:
        refresh_points(elsewhere, source, Lake(elsewhere.lake.uri), run_id="points")
    with pytest.raises(IngestError, match="belongs to a table at"):
        load_with_spark(spark, elsewhere)


def test_the_report_is_the_same_as_without_spark_but_for_cost(
    spark: SparkSession, running: RunningSimulator, site: Site
) -> None:
    by_spark, here = load_with_spark(spark, site), load_locally(site)
    for name in (
        "rows", "window", "watermark", "complete", "settled", "tags", "tags_digest", "tags_with_events", "failed_tags",
        "rows_by_type", "rows_by_system_state", "bad_rows", "questionable_rows", "substituted_rows", "annotated_rows",
        "first_event", "last_event", "partition_rows", "live_files",
    ):  # fmt: skip
        assert getattr(by_spark, name) == getattr(here, name), name
    assert by_spark.traffic.requests >= here.traffic.requests
    assert by_spark.sample.schema == here.sample.schema


def test_a_table_written_by_one_engine_is_continued_by_the_other(
    spark: SparkSession, running: RunningSimulator, site: Site
) -> None:
    archive = running.archive
    load_locally(site)
    flow, busy = archive.point_by_name("Float64.BUSY"), archive.point_by_name("Int32.BUSY")
    assert flow is not None
    assert busy is not None
    archive.insert(flow, Events.of("Float64", [to_ticks(DAY) + 77], [7.5]))
    archive.remove(busy, archive.events(busy, to_ticks(DAY), to_ticks(DAY) + 3600 * 10_000_000))
    by_spark = load_with_spark(spark, site)
    assert by_spark.difference is not None
    assert (by_spark.difference.added, by_spark.difference.changed) == (1, 0)
    assert by_spark.difference.removed > 0
    assert_equals_archive(table(site).to_arrow(), expected(running))
    told = table(site).own_commits_since(by_spark.table_version)
    assert told[by_spark.table_version]["run_id"] == "by spark"

    archive.replace(flow, Events.of("Float64", [to_ticks(DAY) + 77], [8.5]))
    here = load_locally(site)
    assert here.difference is not None
    assert (here.difference.added, here.difference.changed, here.difference.removed) == (0, 1, 0)
    assert_equals_archive(spark.read.format("delta").load(table(site).uri).toArrow(), expected(running))


def test_a_tag_that_cannot_be_read_fails_its_partition_or_keeps_its_old_rows(
    spark: SparkSession, running: RunningSimulator, site: Site
) -> None:
    load_locally(site)
    archive = running.archive
    flow, busy = archive.point_by_name("Float64.BUSY"), archive.point_by_name("Int32.BUSY")
    assert flow is not None
    assert busy is not None
    old = expected(running)
    archive.insert(flow, Events.of("Float64", [to_ticks(DAY) + 77], [7.5]))
    archive.insert(busy, Events.of("Int32", [to_ticks(DAY) + 77], [7]))
    web_id = point_webid(archive.server_id, busy.id, archive.server_name, busy.name).identity
    running.faults.add(Fault(kind=FaultKind.STATUS, status=403, web_id=web_id))
    with pytest.raises(TagsFailedError, match=r"Int32\.BUSY"):
        load_with_spark(spark, site)
    assert_equals_archive(table(site).to_arrow(), old)

    report = load_with_spark(spark, site.model_copy(update={"on_tag_error": "keep"}))
    assert [tag.tag_name for tag in report.failed_tags] == ["Int32.BUSY"]
    assert not report.complete
    assert_equals_archive(table(site).to_arrow(), truth_but(running, busy.name, old))


def test_a_tag_that_fails_only_when_lost_rows_are_read_again_fails_the_job(spark: SparkSession) -> None:
    from pi_dagster.spark.engine import rows_to_commit

    told = '{"failed":[{"tag_webid":"B","tag_name":"b","error":"away"}],"gone":[],"traffic":{}}'
    read = spark.createDataFrame([("A", None), ("B", None), (None, told)], "tag_webid string, reading_report string")
    assert [row.tag_webid for row in rows_to_commit(read, keep_tags={"B"}).collect()] == ["A"]
    with pytest.raises(Exception, match="could not be read when they were read again"):
        rows_to_commit(read, keep_tags=set()).collect()


def test_a_commit_is_found_behind_many_that_came_after_it(
    spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pi_dagster.spark.delta_tables import TableAddress
    from pi_dagster.spark.replacement import commit_of, replace_where

    address, rows = TableAddress.of(str(tmp_path / "table")), spark.range(3)
    rows.write.format("delta").save(str(address.path))
    ours, *_ = [replace_where(rows, address, "id < 3", {}) for _ in range(3)]
    monkeypatch.setattr("pi_dagster.spark.replacement._NEWEST_VERSIONS", 2)
    commit = commit_of(spark, address, ours)
    assert (commit.version, commit.metrics["numOutputRows"]) == (1, "3")


def test_dagster_materializes_a_partition_with_the_engine_of_the_site(
    spark: SparkSession, running: RunningSimulator, site: Site
) -> None:
    job = build_pi_definitions(site).get_repository_def().get_job("load_pi_timeseries")
    with dg.instance_for_test() as instance:
        result = job.execute_in_process(partition_key=f"{DAY.date()}|all", instance=instance)
    assert result.success
    newest = table(site).own_commits_since(table(site).version)[table(site).version]
    assert "Apache-Spark" in newest["engineInfo"]
    assert newest["run_id"] == result.run_id
    assert_equals_archive(table(site).to_arrow(), expected(running))


def truth_but(running: RunningSimulator, name: str, old: pa.Table) -> pa.Table:
    """What the archive holds, but of one tag what `old` has."""
    others = [point for point in running.archive.points() if point.name != name]
    of_tag = old.filter(pc.equal(old["tag_name"], name))
    both = pa.concat_tables([truth(running.archive, others, DAY, NEXT_DAY), of_tag])
    return both.sort_by([("tag_webid", "ascending"), ("timestamp", "ascending"), ("event_ordinal", "ascending")])
