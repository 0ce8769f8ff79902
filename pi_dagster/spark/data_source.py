"""The data source `pi_web_api` of Spark: what `spark.read` and `spark.readStream` of a PI system do."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timezone
from typing import TYPE_CHECKING

import pyarrow as pa
from pyspark.sql import SparkSession
from pyspark.sql.datasource import DataSource, DataSourceReader, DataSourceStreamReader, InputPartition
from pyspark.sql.types import StructType

from pi_dagster.ingest.asset_tags import AssetTags
from pi_dagster.ingest.groups import TagAssigner
from pi_dagster.ingest.points import point_row
from pi_dagster.ingest.source import open_source
from pi_dagster.lake import Lake
from pi_dagster.lake.schemas import POINTS_SCHEMA
from pi_dagster.spark.asset_framework import AssetsReader, EventFramesReader
from pi_dagster.spark.columns import arrow_schema, spark_schema
from pi_dagster.spark.filters import NOTHING_LEFT_OUT, Narrowing
from pi_dagster.spark.options import OptionError, ReadOptions, TableName
from pi_dagster.spark.planning import listed_points, tags_to_read, window_to_read
from pi_dagster.spark.reading import read_rows
from pi_dagster.spark.stream import TimeseriesStreamReader
from pi_dagster.spark.tasks import ReadTask, cut_into_tasks

if TYPE_CHECKING:
    # Not in Spark 4.0.
    from pyspark.sql.datasource import Filter

FILTERS_SETTING = "spark.sql.python.filterPushdown.enabled"
"""Off by default in Spark, which then refuses data sources that look at filters."""


def register(spark: SparkSession, *, variables: Mapping[str, str] | None = None) -> None:
    """Make the data source known to a session, and let it see the filters of queries.

    Args:
        spark: the session.
        variables: for serverless compute of Databricks, where neither executors have environment variables of their own
            nor a session may see filters: those with secrets. They travel with the code of the data source, which no
            plan, page or event log shows.
    """
    if variables is not None:
        spark.dataSource.register(_with_variables(variables))
        return
    spark.conf.set(FILTERS_SETTING, "true")
    spark.dataSource.register(PIWebAPIDataSource)


class PIWebAPIDataSource(DataSource):
    """A PI system as tables; its options are those of `ReadOptions`."""

    @classmethod
    def name(cls) -> str:
        """What stands in `format(...)`."""
        return "pi_web_api"

    def schema(self) -> StructType:
        """The columns of the table that the options name.

        Raises:
            OptionError: an option is missing, unknown or wrong.
        """
        return spark_schema(arrow_schema(ReadOptions.of(self.options)))

    def reader(self, schema: StructType) -> DataSourceReader:
        """Reads a table once."""
        options = ReadOptions.of(self.options)
        return _READERS[options.table](options)

    def streamReader(self, schema: StructType) -> DataSourceStreamReader:  # noqa: N802 - Spark's name
        """Follows the recorded values.

        Raises:
            OptionError: `table` names another table.
        """
        options = ReadOptions.of(self.options)
        if options.table != "timeseries":
            raise OptionError(f"Only `timeseries` can be read as a stream, not `{options.table}`.")
        return TimeseriesStreamReader(options)


def _with_variables(variables: Mapping[str, str]) -> type[DataSource]:
    """The data source, which sets environment variables in each process of Spark that it comes to."""
    told = dict(variables)

    def set_variables() -> None:
        os.environ.update(told)

    class WithVariables(PIWebAPIDataSource):
        def reader(self, schema: StructType) -> DataSourceReader:
            set_variables()
            return _SettingVariables(super().reader(schema), set_variables)

    return WithVariables


class _SettingVariables(DataSourceReader):
    """A reader that sets environment variables before each of its steps; it leaves filters to Spark."""

    def __init__(self, reader: DataSourceReader, set_variables: Callable[[], None]) -> None:
        self._reader = reader
        self._set_variables = set_variables

    def partitions(self) -> Sequence[InputPartition]:
        """The tasks of the reader."""
        self._set_variables()
        return self._reader.partitions()

    def read(self, partition: InputPartition) -> Iterator[pa.RecordBatch]:
        """The rows of a task of the reader."""
        self._set_variables()
        yield from self._reader.read(partition)


class TimeseriesReader(DataSourceReader):
    """The recorded values of a window, tags and time cut into tasks."""

    def __init__(self, options: ReadOptions) -> None:
        self._options = options
        self._schema = arrow_schema(options)
        self._narrowing = NOTHING_LEFT_OUT

    def pushFilters(self, filters: list[Filter]) -> Iterable[Filter]:  # noqa: N802 - Spark's name
        """Note what filters leave out; Spark still applies all of them."""
        self._narrowing = Narrowing.by(filters)
        return filters

    def partitions(self) -> Sequence[InputPartition]:
        """The tasks; one without anything to do when there is nothing to read."""
        with open_source(self._options.server) as source:
            start, end = window_to_read(self._options, source, self._narrowing)
            tags = tags_to_read(self._options, source, self._narrowing)
        return cut_into_tasks(tags, start, end, server=self._options.server, tasks=self._options.tasks)

    def read(self, partition: InputPartition) -> Iterator[pa.RecordBatch]:
        """The rows of one task."""
        # Spark makes a partition of its own when there is none.
        if isinstance(partition, ReadTask):
            yield from read_rows(partition, self._schema)


class PointsReader(DataSourceReader):
    """The tags that the server lists, in one task."""

    def __init__(self, options: ReadOptions) -> None:
        self._options = options

    def read(self, partition: InputPartition) -> Iterator[pa.RecordBatch]:
        """The rows of pi_points, without a memory of when a tag was first seen."""
        options, site = self._options, self._options.site
        asset_tags = None
        if site is not None and site.has_groups_by_assets:
            asset_tags = AssetTags.read(Lake(site.lake.uri, site.lake.resolve_storage_options()))
        assigner = TagAssigner(site.tag_groups if site else (), asset_tags)
        now = datetime.now(timezone.utc)
        with open_source(options.server) as source:
            data_server = source.data_server().name
            listed = [
                point_row(
                    point,
                    data_server=data_server,
                    tag_group=assigner.partition_of(point.name, point.web_id),
                    tag_group_since=now,
                    first_seen=now,
                    last_seen=now,
                )
                for point in listed_points(options, source)
            ]
        rows = [row for row in listed if options.tag_group in (None, row["tag_group"])]
        yield from pa.Table.from_pylist(rows, schema=POINTS_SCHEMA).to_batches()


_READERS: dict[TableName, Callable[[ReadOptions], DataSourceReader]] = {
    "timeseries": TimeseriesReader,
    "points": PointsReader,
    "asset_hierarchy": AssetsReader,
    "asset_attributes": AssetsReader,
    "event_frames": EventFramesReader,
}
