"""A Lakeflow declarative pipeline: the recorded values of a site, minutes after they came.

The stream brings the last minutes again with each micro-batch, for events that came late, so rows are merged by their
key and never appended. What is deleted in PI, or comes later than that, is not seen; load the day once more when it is
over, as the job pi_timeseries does.
"""

from pyspark import pipelines as dp
from pyspark.sql import DataFrame, SparkSession

from pi_dagster.spark import register

spark = SparkSession.getActiveSession() or SparkSession.builder.getOrCreate()
register(spark)


@dp.temporary_view()
def pi_events() -> DataFrame:
    """The events as the stream brings them, some of them again and again."""
    return (
        spark.readStream.format("pi_web_api")
        .option("site", spark.conf.get("pi.site"))
        .option("start", "2026-11-02")
        .option("max_window_minutes", "60")
        .load()
    )


dp.create_streaming_table(
    "pi_timeseries_live",
    comment="Recorded values of PI, merged by tag and time as they come.",
    cluster_by=["tag_webid"],
)
dp.create_auto_cdc_flow(
    target="pi_timeseries_live",
    source="pi_events",
    keys=["tag_webid", "timestamp", "event_ordinal"],
    sequence_by="ingestion_timestamp",
    stored_as_scd_type=1,
)
