"""What takes a stream of `pi_web_api` into a Delta table, each event once: a function for `foreachBatch`.

A micro-batch is all there is in its window, so it replaces that window, in one commit. Spark repeats the last
micro-batch after a crash, with the same window, and the overlap of the next one comes again anyway: both replace what
they find.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta, timezone

from pyspark import StorageLevel
from pyspark.sql import DataFrame
from pyspark.sql import functions as F  # noqa: N812 - Spark's own custom

from pi_dagster.lake.schemas import PARTITION_COLUMNS, PI_TIMESERIES, TIMESERIES_KEY
from pi_dagster.spark.columns import WINDOW_END, WINDOW_START
from pi_dagster.spark.delta_tables import TableAddress, ensure_table
from pi_dagster.spark.replacement import replace_where, window_condition

_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)


def window_sink(table: str) -> Callable[[DataFrame, int], None]:
    """Takes the micro-batches of a stream that was read with the option `with_window`.

        stream.writeStream.foreachBatch(window_sink("/data/pi/pi_timeseries")).option("checkpointLocation", ...)

    A micro-batch replaces what its tag groups have in its window. A group without any event there keeps what it has.
    Streams without a site have no tag groups: give each a table of its own. Give the stream as it was read: rows that a
    `where` left out are missing in the micro-batch, so they are deleted.

    Args:
        table: the Delta table, by its path or by its name, such as `main.pi.pi_timeseries`; made when there is none,
            partitioned like that of the assets, so that they can settle its days.
    """
    address = TableAddress.of(table)
    is_there = False

    def take(batch: DataFrame, batch_id: int) -> None:
        nonlocal is_there
        # It is looked at twice, and must not be read from PI twice.
        batch = batch.persist(StorageLevel.DISK_ONLY)
        try:
            [found] = batch.agg(
                F.unix_micros(F.min(WINDOW_START)).alias("start"),
                F.unix_micros(F.max(WINDOW_END)).alias("end"),
                F.collect_set("tag_group").alias("tag_groups"),
                F.max(F.col("tag_group").isNull()).alias("has_rows_without_group"),
            ).collect()
            if found.start is None:
                return
            tag_groups = {*found.tag_groups, *([None] if found.has_rows_without_group else [])}
            if not is_there:
                ensure_table(batch.sparkSession, address, PI_TIMESERIES)
                is_there = True
            replace_where(
                batch.drop(WINDOW_START, WINDOW_END)
                .repartition(*PARTITION_COLUMNS)
                .sortWithinPartitions(*TIMESERIES_KEY),
                address,
                window_condition(_instant(found.start), _instant(found.end), tag_groups=tag_groups),
                {"stream_batch": str(batch_id)},
            )
        finally:
            batch.unpersist()

    return take


def _instant(microseconds: int) -> datetime:
    # A timestamp that Spark hands to Python is in this machine's time zone, and does not say so.
    return _EPOCH + timedelta(microseconds=microseconds)
