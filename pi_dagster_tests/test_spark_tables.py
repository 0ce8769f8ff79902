"""The other tables of the data source: each has the rows that the assets write into the lake."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pytest

from pi_dagster.ingest.assets import refresh_assets
from pi_dagster.ingest.event_frames import event_frame_databases, load_day
from pi_dagster.ingest.points import refresh_points
from pi_dagster.ingest.source import open_source
from pi_dagster.lake import AssetAttributesTable, AssetHierarchyTable, EventFramesTable, Lake, PointsTable
from pi_dagster.simulator import Fault, FaultKind, Simulator
from pi_dagster.site import Site
from pi_dagster_tests.framed_plant import at, day, framed_plant
from pi_dagster_tests.test_ingest_assets import planted, site_of

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

pytestmark = pytest.mark.spark


def read(spark: SparkSession, site: Site, **options: object) -> pa.Table:
    texts = {"site": site.model_dump_json(), **{name: str(value) for name, value in options.items()}}
    return spark.read.format("pi_web_api").options(**texts).load().toArrow()


def assert_same_rows(found: pa.Table, in_lake: pa.Table, *, key: str, but: Sequence[str] = ()) -> None:
    """Fail unless both hold the same rows, in whatever order, but for columns that tell when they were read."""
    assert found.schema.names == in_lake.schema.names
    rows, expected = (table.drop_columns(list(but)).sort_by(key).to_pylist() for table in (found, in_lake))
    assert rows == expected
    assert rows


def test_points_and_af_have_the_rows_that_the_assets_write(spark: SparkSession, tmp_path: Path) -> None:
    tree, archive = planted()
    with Simulator(archive=archive, assets=[tree]).serve() as running:
        site, lake = site_of(running, tmp_path), Lake(str(tmp_path))
        with open_source(site.server) as source:
            refresh_points(site, source, lake, run_id="test")
            refresh_assets(site, source, lake, run_id="test")
        points = read(spark, site, table="points")
        elements = read(spark, site, table="asset_hierarchy")
        attributes = read(spark, site, table="asset_attributes")
    seen = ["tag_group_since", "first_seen", "last_seen"]
    assert_same_rows(points, PointsTable.open(lake).to_arrow(), key="tag_webid", but=seen)
    assert_same_rows(elements, AssetHierarchyTable.open(lake).to_arrow(), key="element_id", but=["ingestion_timestamp"])
    assert_same_rows(attributes, AssetAttributesTable.open(lake).to_arrow(), key="attribute_path")


def test_event_frames_have_the_rows_that_the_asset_writes(spark: SparkSession, tmp_path: Path) -> None:
    with framed_plant(tmp_path, history=200, days=1) as plant:
        plant.frames.open("open", start=at(1), template="Batch", attributes={"Yield": 50.0})
        site, lake = plant.site(), Lake(str(plant.lake))
        with open_source(site.server) as source:
            databases = event_frame_databases(site, source)
            for days_ago in (1, 0):
                of = date.fromisoformat(day(days_ago))
                load_day(site, source, lake, databases=databases, day=of, run_id="test")
        in_lake = EventFramesTable.open(lake).to_arrow()
        frames = read(spark, site, table="event_frames", start=day(1), tasks=3)
        assert_same_rows(frames, in_lake, key="event_frame_id", but=["ingestion_timestamp"])

        plant.server.requests.clear()
        options = {"site": site.model_dump_json(), "table": "event_frames", "start": day(1), "tasks": "1"}
        few = spark.read.format("pi_web_api").options(**options).load()
        assert few.where(f"start_time >= '{day(1)}T06:00:00Z' AND event_name = 'open'").count() == 1
        asked = [one.query_text for one in plant.server.requests.recent if one.path.endswith("/eventframes")]
        assert asked
        # Spark 4.0 shows data sources no filters.
        assert spark.version < "4.1" or all(f"startTime={day(1)}T06" in query for query in asked), asked

        plant.server.faults.add(Fault(kind=FaultKind.STATUS, status=500, route="streamsets/*/value"))
        with pytest.raises(Exception, match="event frames could not be read"):
            read(spark, site, table="event_frames", start=day(1))
