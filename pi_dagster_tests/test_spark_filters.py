"""What filters of a query spare, of those that Spark shows to a data source; no JVM is needed for that."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import pytest

pytest.importorskip("pyspark", reason="the extra `spark` is not installed")

from pyspark.sql import datasource

from pi_dagster.spark.filters import Narrowing

START = datetime(2026, 11, 2, tzinfo=timezone.utc)
END = START + timedelta(days=1)
MICROSECOND = timedelta(microseconds=1)


def test_filters_narrow_tags_and_time() -> None:
    if not hasattr(datasource, "Filter"):
        pytest.skip("Spark 4.0 shows data sources no filters")
    narrowing = Narrowing.by(
        [
            datasource.In(("tag_name",), ("A", "B")),
            datasource.EqualTo(("tag_name",), "B"),
            datasource.GreaterThan(("timestamp",), START),
            datasource.LessThanOrEqual(("timestamp",), END),
            datasource.IsNotNull(("value",)),
            datasource.EqualTo(("value",), 3.0),
        ]
    )
    assert narrowing == Narrowing(START + MICROSECOND, END + MICROSECOND, frozenset({"B"}))
    assert narrowing.takes("B", "any")
    assert not narrowing.takes("A", "any")
