"""What a task does on an executor: read its tags with `piwebapi` and give Spark their rows as Arrow.

Requests run ahead on threads while Spark takes the rows, and stop ahead when it is slower, so that an executor's memory
does not grow with the window.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timezone

import msgspec
import pyarrow as pa

from pi_dagster.ingest.report import FailedTag, Traffic
from pi_dagster.ingest.rows import table_rows
from pi_dagster.ingest.source import open_source
from pi_dagster.ingest.tag_errors import UnreadTags
from pi_dagster.spark.columns import READING_REPORT, WINDOW_END, WINDOW_START
from pi_dagster.spark.tasks import ReadTask

_ROWS_A_BATCH = 65_536
_MOST_NAMED = 5
_INSTANT = pa.timestamp("us", "UTC")


class TagsUnreadError(Exception):
    """Tags that could not be read whole, so that the rows of this task are not all there are."""

    def __init__(self, tags: list[FailedTag]) -> None:
        named = "; ".join(f"{tag.tag_name}: {tag.error}" for tag in tags[:_MOST_NAMED])
        more = f"; and {len(tags) - _MOST_NAMED} more" if len(tags) > _MOST_NAMED else ""
        super().__init__(f"{len(tags)} tags could not be read whole: {named}{more}")


class TaskReport(msgspec.Struct, frozen=True):
    """What a task tells of its reading."""

    failed: list[FailedTag]
    """Tags that could not be read whole; some of their rows may be there."""
    gone: list[FailedTag]
    """Tags that the server turned out not to have."""
    traffic: Traffic


def read_rows(task: ReadTask, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    """The rows of a task, by tag, then time.

    Args:
        task: what to read.
        schema: the columns that are wanted.

    Raises:
        TagsUnreadError: tags could not be read whole and `schema` has no column for that.
        PIWebAPIError: the server cannot be read from.
    """
    names = {tag.stream.web_id: tag.stream.name for tag in task.tags}
    units = {tag.stream.web_id: tag.units for tag in task.tags}
    groups = {tag.stream.web_id: tag.tag_group for tag in task.tags}
    now = pa.scalar(datetime.now(timezone.utc), _INSTANT)
    constant = {
        WINDOW_START: pa.scalar(task.window[0], _INSTANT),
        WINDOW_END: pa.scalar(task.window[1], _INSTANT),
        READING_REPORT: pa.scalar(None, pa.string()),
    }
    with open_source(task.server) as source:
        before = source.traffic
        reading = source.read([tag.stream for tag in task.tags], task.start, task.end)
        for events in reading:
            rows = table_rows(events, names=names, units=units, ingestion_timestamp=now)
            web_ids = rows.column("tag_webid").chunk(0)
            of_tags = pa.array([groups[web_id] for web_id in web_ids.dictionary.to_pylist()], pa.string())
            columns = {
                **{name: rows.column(name) for name in rows.column_names},
                "partition_date": rows.column("timestamp").cast(pa.date32()),
                "tag_group": of_tags.take(web_ids.indices),
                **{name: pa.repeat(value, rows.num_rows) for name, value in constant.items()},
            }
            table = pa.table({name: columns[name] for name in schema.names}).cast(schema)
            yield from table.to_batches(max_chunksize=_ROWS_A_BATCH)
        unread = UnreadTags.of(reading.failures, names, has_point=source.has_point)
        report = TaskReport([*unread.failed], [*unread.gone], Traffic.between(before, source.traffic))
    if READING_REPORT in schema.names:
        row = dict.fromkeys(schema.names) | {READING_REPORT: msgspec.json.encode(report).decode()}
        yield pa.RecordBatch.from_pylist([row], schema=schema)
    elif report.failed or report.gone:
        raise TagsUnreadError([*report.failed, *report.gone])
