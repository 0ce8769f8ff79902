"""Hourly means of the boilers' tags, made from the table of values."""

import os

import dagster as dg
import pyarrow as pa
from deltalake import DeltaTable, QueryBuilder, write_deltalake

LAKE = os.environ.get("PI_LAKE", "/data/pi")
DAYS = dg.DailyPartitionsDefinition(start_date="2026-01-01", timezone="UTC", end_offset=1)


@dg.asset(
    partitions_def=DAYS,
    deps=[dg.AssetDep("pi_timeseries", partition_mapping=dg.MultiToSingleDimensionPartitionMapping("date"))],
    kinds={"deltalake"},
)
def boiler_hours(context: dg.AssetExecutionContext) -> dg.MaterializeResult:
    """The mean of the good numbers of each tag of the boilers, by hour."""
    day = context.partition_key
    query = f"""
        SELECT tag_name, date_trunc('hour', timestamp) AS hour, avg(value) AS mean, count(value) AS events,
               partition_date
        FROM recorded
        WHERE partition_date = '{day}' AND tag_group = 'boilers' AND quality_good AND value IS NOT NULL
        GROUP BY tag_name, date_trunc('hour', timestamp), partition_date
        ORDER BY tag_name, hour
    """  # noqa: S608
    values = DeltaTable(f"{LAKE}/pi_timeseries")
    hours = pa.table(QueryBuilder().register("recorded", values).execute(query))
    write_deltalake(
        f"{LAKE}/boiler_hours",
        hours,
        mode="overwrite",
        partition_by=["partition_date"],
        predicate=f"partition_date = '{day}'",
    )
    return dg.MaterializeResult(metadata={"dagster/partition_row_count": hours.num_rows})
