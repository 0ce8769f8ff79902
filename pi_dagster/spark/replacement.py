"""Replacing windows of pi_timeseries with delta-spark: in one commit, told in the log like those of delta-rs.

An overwrite by condition (`replaceWhere`) takes the rows that it names out of the table and puts new ones in. When the
condition is whole partitions Delta drops their files unread; otherwise it copies what shares a file with the window.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta, timezone

from delta.exceptions import (
    ConcurrentAppendException,
    ConcurrentDeleteDeleteException,
    ConcurrentDeleteReadException,
    ConcurrentWriteException,
    MetadataChangedException,
)
from pyspark.sql import DataFrame, Row, SparkSession
from pyspark.sql import functions as F  # noqa: N812 - Spark's own custom
from tenacity import RetryError, Retrying, retry_if_exception_type, stop_after_attempt, wait_random_exponential

from pi_dagster.lake.commit import COMMIT_ID, COMMIT_TRIES
from pi_dagster.lake.errors import LakeError, WindowConflictError
from pi_dagster.lake.partition_window import PartitionWindow
from pi_dagster.spark.delta_tables import TableAddress, sql_text

_NEWEST_VERSIONS = 100
_OTHERS_CAME_FIRST = (
    ConcurrentAppendException,
    ConcurrentDeleteDeleteException,
    ConcurrentDeleteReadException,
    ConcurrentWriteException,
    MetadataChangedException,
)
_WRITE_SETTINGS = {
    # Spark's default, INT96, has no statistics that a reader could skip row groups by.
    "spark.sql.parquet.outputTimestampType": "TIMESTAMP_MICROS",
    "spark.sql.parquet.compression.codec": "zstd",
}


@dataclass(frozen=True)
class Commit:
    """A version of the table that replaced something, and what Delta counted in it."""

    version: int
    metrics: Mapping[str, str]


def replace_where(rows: DataFrame, table: TableAddress, condition: str, commit_info: Mapping[str, str]) -> str:
    """Put `rows` in the place of those that `condition` names, in one commit.

    Args:
        rows: with the table's columns; each has to fulfil the condition. Read again when another writer came first,
            so persist what is dear to compute.
        table: which; it has to be there.
        condition: in SQL, such as `window_condition` makes.
        commit_info: kept in the commit's metadata.

    Returns:
        The commit's id, for `commit_of`.

    Raises:
        WindowConflictError: other writers came first until the tries were used up.
    """
    spark = rows.sparkSession
    commit_id = uuid.uuid4().hex
    for name, value in _WRITE_SETTINGS.items():
        # Serverless compute of Databricks lets nobody set them, and writes its own way.
        if spark.conf.isModifiable(name):
            spark.conf.set(name, value)
    writer = rows.writeTo(table.identifier).option("userMetadata", json.dumps({**commit_info, COMMIT_ID: commit_id}))
    tries = Retrying(
        stop=stop_after_attempt(COMMIT_TRIES),
        wait=wait_random_exponential(multiplier=0.05, max=1.0),
        retry=retry_if_exception_type(_OTHERS_CAME_FIRST),
    )
    try:
        tries(writer.overwrite, F.expr(condition))
    except RetryError:
        raise WindowConflictError(
            f"Other writers committed to {table.path or table.name} first, {COMMIT_TRIES} times in a row. Nothing was "
            "committed. Run again, with fewer runs on this table at once."
        ) from None
    return commit_id


def commit_of(spark: SparkSession, table: TableAddress, commit_id: str) -> Commit:
    """The commit that `replace_where` made, however many came after it.

    Raises:
        LakeError: the table's history has lost it.
    """
    # Not `DeltaTable.forName`, which forgets the catalog in a name.
    history = f"DESCRIBE HISTORY {table.identifier}"
    # It is nearly always among the newest, and a history is long.
    row = _in_history(spark, f"{history} LIMIT {_NEWEST_VERSIONS}", commit_id) or _in_history(spark, history, commit_id)
    if row is None:
        raise LakeError(
            f"The rows are committed to {table.path or table.name}, but its history does not tell of the commit "
            f"{commit_id}, so they are not reported. Load again; that replaces them by the same."
        )
    return Commit(int(row.version), dict(row.operationMetrics))


def window_condition(
    start: datetime, end: datetime, *, tag_groups: Collection[str | None], without_tags: Collection[str] = ()
) -> str:
    """The rows of some tag groups with `start <= timestamp < end`, in SQL.

    Args:
        start: first instant, aware.
        end: first instant that no longer belongs, aware; after `start`.
        tag_groups: None stands for rows without a group.
        without_tags: WebIDs of tags whose rows stay.
    """
    days = _days(start, end)
    conditions = [
        f"partition_date IN ({', '.join(_date(day) for day in days)})",
        " OR ".join(
            "tag_group IS NULL" if group is None else f"tag_group = {sql_text(group)}"
            for group in sorted(tag_groups, key=lambda group: group or "")
        ),
    ]
    if start > _midnight(days[0]):
        conditions.append(f"timestamp >= {_instant(start)}")
    if end < _midnight(days[-1]) + timedelta(days=1):
        conditions.append(f"timestamp < {_instant(end)}")
    if without_tags:
        conditions.append(f"tag_webid NOT IN ({', '.join(sql_text(tag) for tag in sorted(without_tags))})")
    return " AND ".join(f"({condition})" for condition in conditions)


def rows_to_replace(
    window: PartitionWindow, *, keep_tags: Collection[str], take_from: Mapping[str, Collection[str]]
) -> str:
    """The rows that a load replaces, in SQL.

    Args:
        window: of its partition.
        keep_tags: WebIDs of tags whose rows stay.
        take_from: WebIDs of tags by another partition of the day, whose rows leave that one.
    """
    own = window_condition(window.start, window.end, tag_groups=[window.tag_group], without_tags=keep_tags)
    others = [
        f"{window_condition(window.start, window.end, tag_groups=[tag_group])} AND "
        f"tag_webid IN ({', '.join(sql_text(tag) for tag in sorted(tags))})"
        for tag_group, tags in sorted(take_from.items())
    ]
    return " OR ".join(f"({condition})" for condition in [own, *others])


def _in_history(spark: SparkSession, history: str, commit_id: str) -> Row | None:
    versions = spark.sql(history)
    return versions.where(versions.userMetadata.contains(commit_id)).select("version", "operationMetrics").first()


def _days(start: datetime, end: datetime) -> list[date]:
    first, last = (
        start.astimezone(timezone.utc).date(),
        (end - timedelta(microseconds=1)).astimezone(timezone.utc).date(),
    )
    return [first + timedelta(days=number) for number in range((last - first).days + 1)]


def _midnight(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=timezone.utc)


def _date(day: date) -> str:
    return f"DATE '{day.isoformat()}'"


def _instant(instant: datetime) -> str:
    return f"TIMESTAMP '{instant.astimezone(timezone.utc).isoformat()}'"
