"""Loading one partition of pi_timeseries: read a day of a tag group from PI and replace it in the table.

Reading runs ahead on the reader's threads while this thread writes, and stops ahead when this thread is slower, so
memory does not depend on how much there is. Nothing is committed before every tag has been read to its end.
"""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta, timezone
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pi_dagster.ingest.errors import IngestError, NoTagsError, PointsMissingError, TagsFailedError
from pi_dagster.ingest.report import FailedTag, Traffic, WindowReport
from pi_dagster.ingest.window import Window
from pi_dagster.lake import Lake, PointsTable, TimeseriesTable
from pi_dagster.lake.errors import LakeError
from pi_dagster.lake.schemas import TIMESERIES_FILE_SCHEMA
from pi_dagster.piwebapi import PIWebAPIError, PIWebAPISource, ReadWindow, RecordedReading, StreamRef
from pi_dagster.piwebapi.transport import TrafficCount
from pi_dagster.site import Site

_SAMPLE_ROWS = 10


def load_partition(
    site: Site, source: PIWebAPISource, lake: Lake, *, day: date, tag_group: str, run_id: str
) -> WindowReport:
    """Read one day of one partition's tags and replace it: one of `partitions_in_turn`, run at once."""
    loads = partitions_in_turn(site, source, lake, [(day, tag_group)], run_id=run_id)
    return next(loads).run()


def partitions_in_turn(
    site: Site, source: PIWebAPISource, lake: Lake, partitions: Iterable[tuple[date, str]], *, run_id: str
) -> Iterator[PartitionLoad]:
    """The loads of some partitions, in order; each is to be run, or left alone, before the next is asked for.

    The requests of the next ones are under way while one has no more of its own to send, and while it is committed.

    Args:
        site: the settings.
        source: the server to read.
        lake: where pi_points, which is read once for all, and pi_timeseries are.
        partitions: the UTC day and the partition key (a tag group, or a shard of one) of each.
        run_id: kept in the commits' metadata.
    """
    planner = _Planner(site, source, lake)
    waiting = deque(partitions)
    begun, traffic = time.monotonic(), source.traffic
    while waiting:
        planned: deque[_Plan] = deque()
        for reading in source.read_in_turn(planner.windows(waiting, planned)):
            yield PartitionLoad(site, source, lake, planned.popleft(), reading, run_id, begun, traffic)
            begun, traffic = time.monotonic(), source.traffic
        for plan in planned:
            yield PartitionLoad(site, source, lake, plan, None, run_id, begun, traffic)


@dataclass(frozen=True)
class PartitionLoad:
    """One partition whose reading is prepared, and perhaps under way."""

    _site: Site
    _source: PIWebAPISource
    _lake: Lake
    _plan: _Plan
    _reading: RecordedReading | None
    _run_id: str
    _begun: float
    _traffic_before: TrafficCount

    def run(self) -> WindowReport:
        """Read to the end and replace the partition's window in one commit.

        Time and traffic of the report are those since the load before it ended; the sums over a run are exact. Tags
        that the server no longer lists keep the rows they have.

        Raises:
            PointsMissingError: pi_points has not been loaded yet.
            NoTagsError: no tag belongs to the group.
            TagsFailedError: tags could not be read whole and the site does not allow partial partitions.
            PIWebAPIError: the server cannot be read from.
            LakeError: the table cannot be written.
        """
        plan = self._plan
        if plan.trouble is not None:
            raise plan.trouble
        assert self._reading is not None
        window = plan.window
        load = _Load(
            self._site,
            plan.tags,
            partition=f"{plan.tag_group} on {plan.day}",
            ingestion_timestamp=datetime.now(timezone.utc),
        )
        commit = TimeseriesTable.open(self._lake).replace_window(
            partition_date=plan.day,
            tag_group=plan.tag_group,
            start=window.start,
            end=window.end,
            batches=load.batches(self._reading),
            keep_tags=load.keep_tags,
            commit_info={"site": self._site.name, "run_id": self._run_id},
        )
        return WindowReport(
            partition_date=plan.day.isoformat(),
            tag_group=plan.tag_group,
            window=window,
            watermark=window.end,
            complete=window == Window.of_day(plan.day) and not load.failed_tags,
            rows=commit.rows,
            tags=len(plan.tags.streams),
            tags_with_events=len(load.summary.tags),
            failed_tags=tuple(load.failed_tags),
            rows_by_type=load.summary.by_type,
            rows_by_system_state=dict(load.summary.by_system_state.most_common()),
            bad_rows=load.summary.flagged["bad"],
            questionable_rows=load.summary.flagged["questionable"],
            substituted_rows=load.summary.flagged["substituted"],
            annotated_rows=load.summary.flagged["annotated"],
            first_event=load.summary.first_event,
            last_event=load.summary.last_event,
            traffic=Traffic.between(self._traffic_before, self._source.traffic),
            seconds=time.monotonic() - self._begun,
            table_version=commit.version,
            files=commit.files,
            file_bytes=commit.file_bytes,
            sample=load.summary.sample,
        )


@dataclass(frozen=True)
class _Plan:
    """What one partition's load is to read, or why that cannot be said."""

    day: date
    tag_group: str
    window: Window
    tags: _Tags
    trouble: Exception | None = None


class _Planner:
    """Says what to read for a partition; reads the list of tags once and asks for the server's clock when needed."""

    def __init__(self, site: Site, source: PIWebAPISource, lake: Lake) -> None:
        self._site = site
        self._source = source
        self._lake = lake
        self._points: pa.Table | None = None
        self._tags: dict[str, _Tags] = {}
        self._settled_until: datetime | None = None

    def windows(self, waiting: deque[tuple[date, str]], planned: deque[_Plan]) -> Iterator[ReadWindow]:
        """What to read for each partition, moved from `waiting` to `planned` when it is asked for.

        Ends after the first partition that nothing can be read for, which `run` then tells in its turn: what
        comes after it may not be wanted any more.
        """
        while waiting:
            day, tag_group = waiting.popleft()
            try:
                plan = _Plan(day, tag_group, tags=self._tags_of(tag_group), window=self._window_of(day))
            except (IngestError, LakeError, PIWebAPIError) as error:
                planned.append(_Plan(day, tag_group, Window.of_day(day), _NO_TAGS, error))
                return
            planned.append(plan)
            yield ReadWindow(plan.tags.streams, plan.window.start, plan.window.end)

    def _tags_of(self, tag_group: str) -> _Tags:
        if self._points is None:
            columns = ["tag_webid", "tag_name", "engineering_units", "tag_group", "is_active"]
            self._points = PointsTable.open(self._lake).to_arrow(columns)
        if tag_group not in self._tags:
            self._tags[tag_group] = _Tags.of_partition(self._site, self._points, tag_group)
        return self._tags[tag_group]

    def _window_of(self, day: date) -> Window:
        whole_day = Window.of_day(day)
        if self._settled_until is None or self._settled_until < whole_day.end:
            self._settled_until = self._source.server_time() - timedelta(seconds=self._site.lag_seconds)
        return whole_day.until(self._settled_until)


@dataclass(frozen=True)
class _Tags:
    """The tags of one partition as pi_points has them."""

    streams: tuple[StreamRef, ...]
    """Those that the server lists, in the order of their WebIDs, which is the order of the table."""
    units: Mapping[str, str | None]
    gone: frozenset[str]
    """WebIDs of those that it no longer lists."""

    @classmethod
    def of_partition(cls, site: Site, points: pa.Table, tag_group: str) -> _Tags:
        if not points.num_rows:
            raise PointsMissingError("The list of tags is empty: materialize pi_points first, then pi_timeseries.")
        group = next(group for group in site.tag_groups if tag_group in group.partition_names())
        of_group = points.filter(pc.is_in(points["tag_group"], pa.array(group.partition_names())))
        if not pc.any(of_group["is_active"]).as_py():
            was = f"; the server no longer lists the {of_group.num_rows} that did" if of_group.num_rows else ""
            raise NoTagsError(
                f"No tag belongs to the tag group {group.name!r} (its filter: {group.tag_filter or group.tags}){was}. "
                "Correct the filter or the rights of the login, or move the group up if an earlier one takes its tags, "
                "then materialize pi_points."
            )
        rows = points.filter(pc.equal(points["tag_group"], tag_group)).sort_by("tag_webid").to_pylist()
        return cls(
            streams=tuple(StreamRef(row["tag_webid"], row["tag_name"]) for row in rows if row["is_active"]),
            units={row["tag_webid"]: row["engineering_units"] or None for row in rows},
            gone=frozenset(row["tag_webid"] for row in rows if not row["is_active"]),
        )


_NO_TAGS = _Tags((), {}, frozenset())


class _Load:
    """Turns what is read into the rows of the table, and decides what a tag that failed means."""

    def __init__(self, site: Site, tags: _Tags, *, partition: str, ingestion_timestamp: datetime) -> None:
        self._site = site
        self._tags = tags
        self._partition = partition
        self._ingestion_timestamp = pa.scalar(ingestion_timestamp, pa.timestamp("us", "UTC"))
        self._names = {stream.web_id: stream.name for stream in tags.streams}
        self.summary = _Summary()
        self.failed_tags: list[FailedTag] = []
        self.keep_tags = set(tags.gone)
        """Tags whose old rows stay; complete once `batches` has ended."""

    def batches(self, reading: RecordedReading) -> Iterator[pa.RecordBatch]:
        """The rows as TIMESERIES_FILE_SCHEMA.

        Raises:
            TagsFailedError: at the end, so that all failed tags are known, and before anything is committed.
        """
        for events in reading:
            rows = self._rows(events)
            self.summary.add(rows)
            yield from rows.to_batches()
        self.failed_tags = [
            FailedTag(tag_webid=web_id, tag_name=self._names[web_id], error=str(error))
            for web_id, error in reading.failures.items()
        ]
        if self.failed_tags and not self._site.allow_partial:
            raise TagsFailedError(self._partition, self.failed_tags)
        self.keep_tags.update(reading.failures)

    def _rows(self, events: pa.Table) -> pa.Table:
        events = events.combine_chunks()
        tags: pa.DictionaryArray = events.column("tag_webid").chunk(0)
        web_ids = tags.dictionary.to_pylist()
        columns = {
            **{name: events.column(name) for name in events.column_names},
            "tag_name": _by_tag(tags, [self._names[web_id] for web_id in web_ids]),
            "units": self._units(events.column("units").chunk(0), tags, web_ids),
            "ingestion_timestamp": pa.repeat(self._ingestion_timestamp, events.num_rows),
        }
        return pa.table({name: columns[name] for name in TIMESERIES_FILE_SCHEMA.names})

    def _units(self, sent: pa.DictionaryArray, tags: pa.DictionaryArray, web_ids: list[str]) -> pa.Array:
        """The unit that came with the values, else the tag's own: for points PI sends an empty one."""
        of_tags = _by_tag(tags, [self._tags.units.get(web_id) for web_id in web_ids])
        if not any(sent.dictionary.to_pylist()):
            return of_tags
        texts = sent.cast(pa.string())
        return pc.if_else(pc.equal(texts, ""), of_tags.cast(pa.string()), texts)


@dataclass
class _Summary:
    """Counts over the rows as they pass."""

    tags: set[str] = field(default_factory=set)
    by_type: Counter[str] = field(default_factory=Counter)
    by_system_state: Counter[str] = field(default_factory=Counter)
    flagged: Counter[str] = field(default_factory=Counter)
    first_event: datetime | None = None
    last_event: datetime | None = None
    sample: pa.Table = field(default_factory=TIMESERIES_FILE_SCHEMA.empty_table)

    def add(self, rows: pa.Table) -> None:
        self.tags.update(rows.column("tag_webid").chunk(0).dictionary.to_pylist())
        numbers = rows.num_rows - rows.column("value").null_count
        states = rows.num_rows - rows.column("digital_state_code").null_count
        system = _count(rows.column("is_system_state"))
        texts = rows.num_rows - rows.column("value_string").null_count
        if texts:
            self._add_texts(rows, numbers, states, system)
        else:
            self.by_type.update({"number": numbers, "none": rows.num_rows - numbers})
        self.flagged.update(
            bad=rows.num_rows - _count(rows.column("quality_good")),
            questionable=_count(rows.column("quality_questionable")),
            substituted=_count(rows.column("quality_substituted")),
            annotated=_count(rows.column("quality_annotated")),
        )
        first, last = pc.min_max(rows.column("timestamp")).as_py().values()
        self.first_event = min(first, self.first_event or first)
        self.last_event = max(last, self.last_event or last)
        if self.sample.num_rows < _SAMPLE_ROWS:
            more = rows.slice(0, _SAMPLE_ROWS - self.sample.num_rows).cast(TIMESERIES_FILE_SCHEMA)
            self.sample = pa.concat_tables([self.sample, more])

    def _add_texts(self, rows: pa.Table, numbers: int, states: int, system: int) -> None:
        is_number = pc.is_valid(rows.column("value"))
        is_state = pc.or_(pc.is_valid(rows.column("digital_state_code")), rows.column("is_system_state"))
        is_text = pc.and_not(pc.and_not(pc.is_valid(rows.column("value_string")), is_number), is_state)
        kinds = {
            "number": numbers,
            "system state": system,
            "digital state": _count(is_state) - system,
            "text": _count(is_text),
        }
        self.by_type.update({**kinds, "none": rows.num_rows - sum(kinds.values())})
        if system:
            names = rows.column("value_string").filter(rows.column("is_system_state"))
            self.by_system_state.update(
                {row["values"] or "": row["counts"] for row in names.value_counts().to_pylist()}
            )


def _by_tag(tags: pa.DictionaryArray, texts: list[Any]) -> pa.DictionaryArray:
    """A column that has one text for each tag."""
    distinct = {text: code for code, text in enumerate(dict.fromkeys(text for text in texts if text is not None))}
    codes = np.array([distinct.get(text, -1) for text in texts], np.int32)[tags.indices.to_numpy()]
    return pa.DictionaryArray.from_arrays(pa.array(codes, mask=codes < 0), pa.array(distinct, pa.string()))


def _count(flags: pa.ChunkedArray) -> int:
    return int(pc.sum(flags).as_py() or 0)
