"""What is counted of rows on their way into the table."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import pyarrow as pa
import pytest

from pi_dagster.ingest.rows import RowSummary
from pi_dagster.lake.schemas import TIMESERIES_FILE_SCHEMA

MIDNIGHT = datetime(2026, 11, 2, tzinfo=timezone.utc)


def rows_at(*minutes: float, bad: bool = False) -> pa.Table:
    """A row of one tag at each of these minutes of the day, as `TableRows` makes them."""
    tag = pa.array(["F1DP1"] * len(minutes)).dictionary_encode()
    return pa.table(
        {
            field.name: tag
            if field.name == "tag_webid"
            else pa.array([MIDNIGHT + timedelta(minutes=minute) for minute in minutes], field.type)
            if field.name == "timestamp"
            else pa.array([not bad if field.name == "quality_good" else False] * len(minutes), pa.bool_())
            if field.type == pa.bool_()
            else pa.nulls(len(minutes), field.type)
            for field in TIMESERIES_FILE_SCHEMA
        }
    )


@pytest.mark.parametrize("bad", [False, True])
def test_rows_are_counted_by_the_hour_whether_they_come_together_or_one_by_one(bad: bool) -> None:
    minutes = [0, 59.99, 60, 61, 125, 23 * 60, 24 * 60 - 0.001]
    together, one_by_one = RowSummary(), RowSummary()
    together.add(rows_at(*minutes, bad=bad))
    for minute in minutes:
        one_by_one.add(rows_at(minute, bad=bad))
    expected = [2, 2, 1, *[0] * 20, 2]
    for summary in (together, one_by_one):
        assert summary.events_by_hour == expected
        assert summary.bad_by_hour == (expected if bad else [0] * 24)
