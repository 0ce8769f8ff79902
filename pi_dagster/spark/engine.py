"""Spark as the engine of pi_timeseries: partitions read by the data source on executors, committed by delta-spark.

What is read, what is committed together and what is reported is decided as without Spark; `PartitionLoad` does it, and
only its reading and its commit are others here. What tags of a partition came to is known once all were read, so the
rows wait on the executors' disks until then, and the commit sorts them into few files by tag: what OPTIMIZE with ZORDER
BY (tag_webid) would make of them afterwards.
"""

from __future__ import annotations

import math
import shutil
import time
import uuid
from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime, timedelta, timezone

import msgspec
import pyarrow as pa
from pyspark import StorageLevel
from pyspark.errors import PySparkException
from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F  # noqa: N812 - Spark's own custom

from pi_dagster.ingest.errors import IngestError, TagsFailedError
from pi_dagster.ingest.load_plans import Partition, Plan, Planner
from pi_dagster.ingest.report import WindowReport
from pi_dagster.ingest.rows import RowSummary
from pi_dagster.ingest.tag_errors import UnreadTags
from pi_dagster.ingest.tags import TagList
from pi_dagster.ingest.timeseries import PartitionLoad
from pi_dagster.ingest.window import Window
from pi_dagster.lake import Lake, NewRows, PartitionWindow, TimeseriesTable, WindowCommit
from pi_dagster.lake.difference import CONTENT, EventChanges
from pi_dagster.lake.errors import LakeError
from pi_dagster.lake.event_counts import event_counts
from pi_dagster.lake.live_files import live_files
from pi_dagster.lake.schemas import PI_TIMESERIES, TIMESERIES_FILE_SCHEMA, TIMESERIES_KEY
from pi_dagster.piwebapi import PIWebAPIError, PIWebAPISource
from pi_dagster.site import Site
from pi_dagster.spark.columns import READING_REPORT
from pi_dagster.spark.delta_tables import TableAddress, ensure_table
from pi_dagster.spark.reading import TaskReport
from pi_dagster.spark.replacement import commit_of, replace_where, rows_to_replace, window_condition

ROWS_A_FILE = 5_000_000
"""Some 50 MB; fewer and larger files would leave the last stage of a load to one core."""

_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
_SAMPLE_ROWS = 10


class SparkJobError(IngestError):
    """A Spark job that read or wrote a partition failed; nothing was committed unless its message says so."""


def partitions_in_spark(
    site: Site,
    source: PIWebAPISource,
    lake: Lake,
    spark: SparkSession,
    partitions: Iterable[Partition],
    *,
    run_id: str,
    staging: str | None = None,
) -> Iterator[PartitionLoad]:
    """The loads of some partitions, each of its whole day, as `ingest.timeseries.partitions_in_turn` gives them.

    Args:
        site: the settings.
        source: the server, asked for its clock; executors have connections of their own.
        lake: where pi_points and pi_timeseries are; Spark must be able to reach it by the same address.
        spark: the session, which knows the data source.
        partitions: which, in order.
        run_id: kept in the commits' metadata.
        staging: a folder where rows wait for their commit, where executors cannot keep them.
    """
    planner = Planner(site, source, TagList(site, lake))
    for partition in partitions:
        try:
            plan = planner.plan(partition)
        except (IngestError, LakeError, PIWebAPIError) as error:
            plan = planner.not_planned(partition, error)
        yield SparkPartitionLoad(site, source, lake, plan, spark, run_id, staging)


class SparkPartitionLoad(PartitionLoad):
    """One partition that is read and committed by Spark."""

    def __init__(
        self,
        site: Site,
        source: PIWebAPISource,
        lake: Lake,
        plan: Plan,
        spark: SparkSession,
        run_id: str,
        staging: str | None,
    ) -> None:
        super().__init__(site, source, lake, plan, None, run_id, time.monotonic(), source.traffic)
        self._spark = spark
        self._address = TableAddress.in_lake(site.lake, PI_TIMESERIES.name)
        self._staging = staging

    def run(self) -> WindowReport:
        """Read to the end and replace the partition's window in one commit.

        Raises:
            SparkJobError: a Spark job failed; its message tells what on the executors did.
            As `PartitionLoad.run` otherwise.
        """
        if self._plan.trouble is not None:
            raise self._plan.trouble
        table = TimeseriesTable.open(self._lake)
        if self._plan.window.start == self._plan.window.end:
            # A day that has only just begun: a condition that names no rows is none to Spark.
            return self.report(self._commit_nothing(table))
        try:
            ensure_table(self._spark, self._address, PI_TIMESERIES)
            with self._rows_kept() as read:
                self._take_reports(read)
                rows = rows_to_commit(read, keep_tags=self._keep_tags)
                count = self._summarize(rows)
                self._compare(rows)
                commit = self._commit(table, rows, count)
        except PySparkException as error:
            raise SparkJobError(
                f"{self._plan.tag_group} on {self._plan.day}: a Spark job failed: {_told(error)}"
            ) from None
        self._ended = time.monotonic()
        return self.report(commit)

    @contextmanager
    def _rows_kept(self) -> Iterator[DataFrame]:
        """What is read, kept for several looks at it: on the executors' disks, or in the folder for that."""
        if self._staging is None:
            kept = self._read().persist(StorageLevel.DISK_ONLY)
            try:
                yield kept
            finally:
                kept.unpersist()
            return
        folder = f"{self._staging}/{uuid.uuid4().hex}"
        try:
            self._read().write.parquet(folder)
            yield self._spark.read.parquet(folder)
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def _read(self) -> DataFrame:
        plan = self._plan
        return (
            self._spark.read.format("pi_web_api")
            .options(
                site=self._site.model_dump_json(),
                tag_group=plan.tag_group,
                start=plan.window.start.isoformat(),
                end=plan.window.end.isoformat(),
                tasks=self._site.spark.tasks,
                with_report=True,
            )
            .load()
        )

    def _take_reports(self, read: DataFrame) -> None:
        """What the tasks tell; with this everything has been read."""
        told = read.where(F.col(READING_REPORT).isNotNull()).select(READING_REPORT).collect()
        reports = [msgspec.json.decode(row[READING_REPORT], type=TaskReport) for row in told]
        traffic = [report.traffic for report in reports]
        before = self._source.traffic
        self._traffic_after = replace(
            before,
            requests=before.requests + sum(one.requests for one in traffic),
            retries=before.retries + sum(one.retries for one in traffic),
            bytes_received=before.bytes_received + sum(one.bytes_received for one in traffic),
            refusals=before.refusals + sum(one.refusals for one in traffic),
            seconds_held_back=max((one.seconds_held_back for one in traffic), default=0.0),
        )
        # A tag whose day was cut into several tasks fails in each of them.
        failed = {tag.tag_webid: tag for report in reports for tag in report.failed}
        gone = {tag.tag_webid: tag for report in reports for tag in report.gone if tag.tag_webid not in failed}
        self._unread = UnreadTags(tuple(failed.values()), tuple(gone.values()))
        if failed and self._site.on_tag_error == "fail":
            raise TagsFailedError(
                f"{self._plan.tag_group} on {self._plan.day}",
                self._unread.failed,
                window=self._plan.window,
                gone_tags=self._unread.gone,
            )
        self._keep_tags.update(failed, gone)
        self._take_over()
        self._keep_strays(event_counts(TimeseriesTable(self._lake), [self.partition])[self.partition])

    def _summarize(self, rows: DataFrame) -> int:
        """Count what is about to be committed; returns the number of rows."""
        is_number, has_text = F.col("value").isNotNull(), F.col("value_string").isNotNull()
        is_state = F.col("digital_state_code").isNotNull() | F.col("is_system_state")
        [found] = rows.agg(
            F.count("*").alias("rows"),
            F.count_if(is_number).alias("numbers"),
            F.count_if(is_state).alias("states"),
            F.count_if("is_system_state").alias("system"),
            F.count_if(has_text & ~is_number & ~is_state).alias("texts"),
            F.count_if(~F.col("quality_good")).alias("bad"),
            F.count_if("quality_questionable").alias("questionable"),
            F.count_if("quality_substituted").alias("substituted"),
            F.count_if("quality_annotated").alias("annotated"),
            F.collect_set("tag_webid").alias("tags"),
            F.unix_micros(F.min("timestamp")).alias("first"),
            F.unix_micros(F.max("timestamp")).alias("last"),
        ).collect()
        kinds = {
            "number": found.numbers,
            "system state": found.system,
            "digital state": found.states - found.system,
            "text": found.texts,
        }
        hour_of_day = F.pmod(F.floor(F.unix_micros("timestamp") / 3_600_000_000), F.lit(24))
        hours = (
            rows.groupBy(hour_of_day.alias("hour"))
            .agg(F.count("*").alias("rows"), F.count_if(~F.col("quality_good")).alias("bad"))
            .collect()
        )
        by_hour = {row["hour"]: row for row in hours}
        states = rows.where("is_system_state").groupBy("value_string").count().collect() if found.system else []
        self._rows.summary = RowSummary(
            tags=set(found.tags),
            by_type=Counter({**kinds, "none": found.rows - sum(kinds.values())}),
            by_system_state=Counter({row["value_string"] or "": row["count"] for row in states}),
            events_by_hour=[by_hour[hour]["rows"] if hour in by_hour else 0 for hour in range(24)],
            bad_by_hour=[by_hour[hour]["bad"] if hour in by_hour else 0 for hour in range(24)],
            flagged=Counter({name: found[name] for name in ("bad", "questionable", "substituted", "annotated")}),
            first_event=_instant(found.first),
            last_event=_instant(found.last),
            sample=_sample(rows),
        )
        return int(found.rows)

    def _compare(self, rows: DataFrame) -> None:
        """Count how a whole day differs from what the table has of it."""
        plan = self._plan
        if plan.window != Window.of_day(plan.day):
            return
        old = self._spark.read.table(self._address.identifier).where(
            window_condition(plan.window.start, plan.window.end, tag_groups=[plan.tag_group])
        )
        if old.isEmpty():
            return
        before = old.select(*TIMESERIES_KEY, F.struct(*CONTENT).alias("before"))
        after = rows.select(*TIMESERIES_KEY, F.struct(*CONTENT).alias("after"))
        both = before.join(after, list(TIMESERIES_KEY), "full_outer")
        kind = (
            F.when(F.col("before").isNull(), "added")
            .when(F.col("after").isNull(), "removed")
            .when(~F.col("before").eqNullSafe(F.col("after")), "changed")
        )
        differing = both.select("tag_webid", kind.alias("kind")).where("kind IS NOT NULL")
        self._changes = EventChanges()
        for row in differing.groupBy("tag_webid", "kind").count().collect():
            if row["tag_webid"] not in self._keep_tags:
                getattr(self._changes, row["kind"])[row["tag_webid"]] = row["count"]

    def _commit_nothing(self, table: TimeseriesTable) -> WindowCommit:
        plan = self._plan
        window = PartitionWindow(plan.day, plan.tag_group, plan.window.start, plan.window.end)
        return table.replace_windows([NewRows(window=window, batches=())], commit_info=self._commit_info)[window]

    def _commit(self, table: TimeseriesTable, rows: DataFrame, count: int) -> WindowCommit:
        plan = self._plan
        window = PartitionWindow(plan.day, plan.tag_group, plan.window.start, plan.window.end)
        files = max(1, math.ceil(count / ROWS_A_FILE))
        commit_id = replace_where(
            rows.repartitionByRange(files, *TIMESERIES_KEY).sortWithinPartitions(*TIMESERIES_KEY),
            self._address,
            rows_to_replace(window, keep_tags=self._keep_tags, take_from=self._take_from),
            {**self._commit_info, **window.facts()},
        )
        commit = commit_of(self._spark, self._address, commit_id)
        live = live_files(table.snapshot(), {window.partition}).get(window.partition, ())
        live_rows = [file.rows for file in live]
        return WindowCommit(
            version=commit.version,
            files=int(commit.metrics.get("numFiles", 0)),
            file_bytes=int(commit.metrics.get("numOutputBytes", 0)),
            rows=count,
            kept_rows=int(commit.metrics.get("numCopiedRows", 0)),
            replaced_rows=int(commit.metrics.get("numDeletedRows", 0)),
            merged_rows=0,
            live_files=len(live),
            partition_rows=None if None in live_rows else sum(rows for rows in live_rows if rows is not None),
        )


def rows_to_commit(read: DataFrame, *, keep_tags: Collection[str]) -> DataFrame:
    """The rows of the table among those that tasks gave.

    Spark reads once more what it loses with an executor. What fails only then must not be missed in silence, so the
    job fails on it.

    Args:
        read: with the column `reading_report`.
        keep_tags: WebIDs of tags whose old rows stay; theirs are left out.
    """
    kept = sorted(keep_tags)
    report = F.col(READING_REPORT)
    unread = F.concat(*(_web_ids(report, name) for name in ("failed", "gone")))
    is_row = (
        F.when(report.isNull(), ~F.col("tag_webid").isin(kept))
        .when(F.forall(unread, lambda web_id: web_id.isin(kept)), F.lit(False))
        .otherwise(F.raise_error(F.concat(F.lit("tags could not be read when they were read again: "), report)))
    )
    return read.where(is_row).drop(READING_REPORT)


def _web_ids(report: Column, name: str) -> Column:
    return F.from_json(F.get_json_object(report, f"$.{name}"), "array<struct<tag_webid: string>>")["tag_webid"]


def _sample(rows: DataFrame) -> pa.Table:
    return rows.select(*TIMESERIES_FILE_SCHEMA.names).limit(_SAMPLE_ROWS).toArrow().cast(TIMESERIES_FILE_SCHEMA)


def _instant(microseconds: int | None) -> datetime | None:
    # A timestamp that Spark hands to Python is in this machine's time zone, and does not say so.
    return None if microseconds is None else _EPOCH + timedelta(microseconds=microseconds)


def _told(error: PySparkException) -> str:
    """The last line of what an executor's Python told, else Spark's own words."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    of_python = [line for line in lines if line.startswith("pi_dagster.")]
    return (of_python or lines or [type(error).__name__])[0]
