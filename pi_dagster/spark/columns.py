"""The tables' columns in Spark, with the same names, types and comments as in the lake."""

from __future__ import annotations

import pyarrow as pa
from pyspark.sql.pandas.types import from_arrow_type
from pyspark.sql.types import StructField, StructType

from pi_dagster.lake.schemas import POINTS_SCHEMA, TIMESERIES_SCHEMA
from pi_dagster.spark.options import ReadOptions

_INSTANT = pa.timestamp("us", "UTC")

READ_ERROR = "read_error"
WINDOW_START = "window_start"
WINDOW_END = "window_end"


def arrow_schema(options: ReadOptions) -> pa.Schema:
    """The columns that are read."""
    if options.table == "points":
        return POINTS_SCHEMA
    schema = TIMESERIES_SCHEMA
    if options.read_errors:
        schema = schema.append(pa.field(READ_ERROR, pa.string()))
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
