"""The tables' columns in Spark, with the same names, types and comments as in the lake."""

from __future__ import annotations

import pyarrow as pa
from pyspark.sql.pandas.types import from_arrow_type
from pyspark.sql.types import StructField, StructType

from pi_dagster.lake.schemas import (
    ASSET_ATTRIBUTES_SCHEMA,
    ASSET_HIERARCHY_SCHEMA,
    EVENT_FRAMES_SCHEMA,
    POINTS_SCHEMA,
    TIMESERIES_SCHEMA,
)
from pi_dagster.spark.options import ReadOptions, TableName

_INSTANT = pa.timestamp("us", "UTC")

READING_REPORT = "reading_report"
"""What a task tells of its reading, in a row of its own without anything else: the JSON of a `TaskReport`."""

WINDOW_START = "window_start"
WINDOW_END = "window_end"

_SCHEMAS: dict[TableName, pa.Schema] = {
    "timeseries": TIMESERIES_SCHEMA,
    "points": POINTS_SCHEMA,
    "asset_hierarchy": ASSET_HIERARCHY_SCHEMA,
    "asset_attributes": ASSET_ATTRIBUTES_SCHEMA,
    "event_frames": EVENT_FRAMES_SCHEMA,
}


def arrow_schema(options: ReadOptions) -> pa.Schema:
    """The columns that are read."""
    schema = _SCHEMAS[options.table]
    if options.with_report:
        schema = schema.append(pa.field(READING_REPORT, pa.string()))
    if options.with_window:
        schema = schema.append(pa.field(WINDOW_START, _INSTANT)).append(pa.field(WINDOW_END, _INSTANT))
    return schema


def spark_schema(schema: pa.Schema) -> StructType:
    """The same columns as Spark calls them."""
    return StructType(
        [
            StructField(
                field.name,
                from_arrow_type(field.type),
                metadata={"comment": field.metadata[b"comment"].decode()} if field.metadata else None,
            )
            for field in schema
        ]
    )
