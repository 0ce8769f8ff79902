"""PI in Spark: the data source `pi_web_api`, and Spark as the engine of the assets; an extra.

    import pi_dagster.spark

    pi_dagster.spark.register(spark)
    spark.read.format("pi_web_api").option("server.url", "https://pi.example.com/piwebapi") \\
        .option("tag_filter", "BLR*").option("start", "2026-11-02").option("end", "2026-11-03").load()

Reading is done by `piwebapi`, the same as without Spark, on the executors; pi_dagster has to be installed there.
"""

from pi_dagster.spark.data_source import PIWebAPIDataSource, register
from pi_dagster.spark.options import OptionError

__all__ = ["OptionError", "PIWebAPIDataSource", "register"]
