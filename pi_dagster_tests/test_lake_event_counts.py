"""Counting a partition's rows by tag, whatever files hold them."""

from __future__ import annotations

from collections import Counter
from datetime import date, datetime, timedelta, timezone
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from benchmarks.commits import rows_of
from pi_dagster.lake import Lake, TimeseriesTable
from pi_dagster.lake.event_counts import EventCount, event_counts

DAY = date(2026, 11, 2)
MIDNIGHT = datetime(2026, 11, 2, tzinfo=timezone.utc)


def replace(table: TimeseriesTable, rows: pa.Table, start: timedelta, end: timedelta, group: str = "all") -> None:
    table.replace_window(
        partition_date=DAY,
        tag_group=group,
        start=MIDNIGHT + start,
        end=MIDNIGHT + end,
        batches=rows.to_batches(),
        commit_info={"run_id": "test"},
    )


def test_the_rows_of_all_files_are_counted_by_tag_and_quality(tmp_path: Path) -> None:
    table = TimeseriesTable.open(Lake(str(tmp_path)))
    hour = timedelta(hours=1)
    for number, tags in enumerate((1, 7, 3)):
        rows = rows_of(MIDNIGHT + number * hour, hour, 210, tags=tags)
        if number:
            bad = pc.not_equal(pc.bit_wise_and(pa.array(range(rows.num_rows)), 3), 0)
            rows = rows.set_column(rows.schema.get_field_index("quality_good"), "quality_good", bad)
        replace(table, rows, number * hour, (number + 1) * hour)
    replace(table, rows_of(MIDNIGHT, hour, 10, tags=1), timedelta(), hour, group="other")
    held = table.to_arrow(partition_date=DAY, tag_group="all").to_pylist()
    events = Counter(row["tag_webid"] for row in held)
    good = Counter(row["tag_webid"] for row in held if row["quality_good"])
    found = event_counts(table, [(DAY, "all"), (DAY, "none")])
    assert found == {
        (DAY, "all"): {tag: EventCount(events[tag], good[tag]) for tag in events},
        (DAY, "none"): {},
    }
    assert len(events) == 7
