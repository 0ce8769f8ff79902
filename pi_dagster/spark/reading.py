"""What a task does on an executor: read its tags with `piwebapi` and give Spark their rows as Arrow.

Requests run ahead on threads while Spark takes the rows, and stop ahead when it is slower, so that an executor's memory
does not grow with the window.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime, timezone

import pyarrow as pa

from pi_dagster.ingest.rows import table_rows
from pi_dagster.ingest.source import open_source
from pi_dagster.spark.columns import READ_ERROR, WINDOW_END, WINDOW_START
from pi_dagster.spark.tasks import ReadTask

_ROWS_A_BATCH = 65_536
_MOST_NAMED = 5
_INSTANT = pa.timestamp("us", "UTC")


class TagsUnreadError(Exception):
    """Tags that could not be read whole, so that the rows of this task are not all there are."""

    def __init__(self, told: Sequence[str]) -> None:
        more = f"; and {len(told) - _MOST_NAMED} more" if len(told) > _MOST_NAMED else ""
        super().__init__(f"{len(told)} tags could not be read whole: {'; '.join(told[:_MOST_NAMED])}{more}")


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
        READ_ERROR: pa.scalar(None, pa.string()),
    }
    with open_source(task.server) as source:
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
            yield from _batches(columns, schema)
        failures = {web_id: str(error) for web_id, error in reading.failures.items()}
    if not failures:
        return
    if READ_ERROR not in schema.names:
        raise TagsUnreadError([f"{names[web_id]}: {error}" for web_id, error in failures.items()])
    columns = {field.name: pa.nulls(len(failures), field.type) for field in schema}
    columns |= {name: pa.repeat(value, len(failures)) for name, value in constant.items()}
    columns["tag_webid"] = pa.array(failures)
    columns["tag_name"] = pa.array([names[web_id] for web_id in failures])
    columns[READ_ERROR] = pa.array(failures.values())
    yield from _batches(columns, schema)


def _batches(columns: dict[str, pa.Array | pa.ChunkedArray], schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    table = pa.table({name: columns[name] for name in schema.names}).cast(schema)
    yield from table.to_batches(max_chunksize=_ROWS_A_BATCH)
