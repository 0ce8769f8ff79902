"""The tables of AF in the data source: elements and attributes as they are now, and the event frames of a window.

A tree is one piece of work: an element's row needs its parents, which other elements tell. So elements and attributes
are read in one task, with all the requests that the server allows; event frames are cut by time.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime, timezone
from itertools import islice
from typing import TYPE_CHECKING

import pyarrow as pa
from pyspark.sql.datasource import DataSourceReader, InputPartition

from pi_dagster.ingest.asset_reading import ROWS_AT_ONCE, reading_assets
from pi_dagster.ingest.asset_rows import attributes_batch, hierarchy_batch
from pi_dagster.ingest.event_frames import event_frame_databases, list_event_frames
from pi_dagster.ingest.frame_rows import frame_row
from pi_dagster.ingest.source import open_source
from pi_dagster.ingest.window import Window
from pi_dagster.lake.schemas import EVENT_FRAMES_SCHEMA
from pi_dagster.piwebapi import PIWebAPIError, PIWebAPISource
from pi_dagster.piwebapi.asset_framework import AssetDatabase
from pi_dagster.piwebapi.event_frame_attributes import FRAMES_PER_BATCH, read_attributes
from pi_dagster.piwebapi.event_frames import EventFrame
from pi_dagster.spark.filters import NOTHING_LEFT_OUT, Narrowing
from pi_dagster.spark.options import ReadOptions
from pi_dagster.spark.planning import window_to_read
from pi_dagster.spark.tasks import FramesTask, cut_time

if TYPE_CHECKING:
    from pyspark.sql.datasource import Filter

_FRAMES_AT_ONCE = 10 * FRAMES_PER_BATCH
_MOST_NAMED = 5


class FramesUnreadError(Exception):
    """Event frames whose attributes could not be read, so that the rows of this task are not all there are."""

    def __init__(self, unread: Sequence[tuple[EventFrame, PIWebAPIError]]) -> None:
        named = "; ".join(f"{frame.name}: {error}" for frame, error in unread[:_MOST_NAMED])
        more = f"; and {len(unread) - _MOST_NAMED} more" if len(unread) > _MOST_NAMED else ""
        super().__init__(f"The attributes of {len(unread)} event frames could not be read: {named}{more}")


class AssetsReader(DataSourceReader):
    """The elements of AF, or their attributes, in one task."""

    def __init__(self, options: ReadOptions) -> None:
        self._options = options

    def read(self, partition: InputPartition) -> Iterator[pa.RecordBatch]:
        """The rows of pi_asset_hierarchy or pi_asset_attributes, as the server has them now."""
        settings, server = self._options.asset_framework, self._options.server
        assert settings is not None, "the options refuse the tables of AF without AF"
        now = datetime.now(timezone.utc)
        with open_source(server) as source, reading_assets(settings, server, source.transport) as reading:
            tree = reading.find(*reading.databases())
            for attributes in reading.attributes(tree):
                if self._options.table == "asset_attributes":
                    yield attributes_batch(attributes)
            if self._options.table == "asset_hierarchy":
                elements = reading.elements(tree, now)
                while some := list(islice(elements, ROWS_AT_ONCE)):
                    yield hierarchy_batch(some)


class EventFramesReader(DataSourceReader):
    """The event frames that start in a window, the time cut into tasks."""

    def __init__(self, options: ReadOptions) -> None:
        self._options = options
        self._narrowing = NOTHING_LEFT_OUT

    def pushFilters(self, filters: list[Filter]) -> Iterable[Filter]:  # noqa: N802 - Spark's name
        """Note what filters on `start_time` leave out; Spark still applies all of them."""
        self._narrowing = Narrowing.by(filters, instant="start_time")
        return filters

    def partitions(self) -> Sequence[InputPartition]:
        """The tasks; none when there is no time to read."""
        options = self._options
        with open_source(options.server) as source:
            start, end = window_to_read(options, source, self._narrowing, instant="start_time")
            databases = event_frame_databases(options, source)
        return cut_time(start, end, databases, server=options.server, tasks=options.tasks)

    def read(self, partition: InputPartition) -> Iterator[pa.RecordBatch]:
        """The rows of one task."""
        # Spark makes a partition of its own when there is none.
        if isinstance(partition, FramesTask):
            with open_source(partition.server) as source:
                yield from self._rows(source, partition.databases, Window(partition.start, partition.end))

    def _rows(
        self, source: PIWebAPISource, databases: Sequence[AssetDatabase], window: Window
    ) -> Iterator[pa.RecordBatch]:
        unread: list[tuple[EventFrame, PIWebAPIError]] = []
        listed = list_event_frames(self._options, source, databases, [window])
        while frames := list(islice(listed, _FRAMES_AT_ONCE)):
            read_at = datetime.now(timezone.utc)
            rows = []
            for frame, read in read_attributes(
                source.transport, frames, select_fields=self._options.server.select_fields
            ):
                if isinstance(read, PIWebAPIError):
                    unread.append((frame, read))
                    continue
                row = frame_row(frame, read, None, read_at=read_at)
                rows.append({**row, "start_date": frame.start.date()})
            yield pa.RecordBatch.from_pylist(rows, schema=EVENT_FRAMES_SCHEMA)
        if unread:
            # A frame that was deleted after it was listed cannot be read either; it is listed no more.
            still_listed = {
                frame.event_frame_id for frame in list_event_frames(self._options, source, databases, [window])
            }
            unread = [one for one in unread if one[0].event_frame_id in still_listed]
        if unread:
            raise FramesUnreadError(unread)
