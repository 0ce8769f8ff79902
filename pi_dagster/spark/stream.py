"""The stream reader: micro-batches by the server's clock, each with the tail's overlap in front of what is new.

PI tells no changes, so a stream of it is a window that moves. An offset is the instant up to which the archive has been
read. A micro-batch brings what lies between two offsets, and the overlap before the first once more, for events that
came late. Whoever takes it has to replace that window, as `window_sink` does; appending it would double the overlap.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import pyarrow as pa
from pyspark.sql.datasource import DataSourceStreamReader, InputPartition

from pi_dagster.ingest.source import open_source
from pi_dagster.spark.columns import arrow_schema
from pi_dagster.spark.options import OptionError, ReadOptions
from pi_dagster.spark.planning import tags_to_read
from pi_dagster.spark.reading import read_rows
from pi_dagster.spark.tasks import ReadTask, Tag, cut_into_tasks

if TYPE_CHECKING:
    from pyspark.sql.streaming.datasource import ReadLimit, SupportsTriggerAvailableNow
else:
    try:
        from pyspark.sql.streaming.datasource import SupportsTriggerAvailableNow
    except ImportError:
        # Before Spark 4.2 a source is not told where a micro-batch begins, so each brings all there is.
        SupportsTriggerAvailableNow = object

_READ_UNTIL = "read_until"


class TimeseriesStreamReader(DataSourceStreamReader, SupportsTriggerAvailableNow):
    """The recorded values as they come.

    The tags are looked up when a query starts; one that is new is read once the query is started again.
    """

    def __init__(self, options: ReadOptions) -> None:
        if options.start is None:
            raise OptionError("The option `start` is missing: the instant from which a new stream reads.")
        self._options = options
        self._start = options.start
        self._schema = arrow_schema(options)
        self._overlap = timedelta(minutes=options.tail_overlap_minutes)
        self._tags: list[Tag] | None = None
        self._target: datetime | None = None

    def initialOffset(self) -> dict[str, str]:  # noqa: N802 - Spark's name
        """Where a stream without a checkpoint begins."""
        return {_READ_UNTIL: self._start.isoformat()}

    def latestOffset(  # noqa: N802 - Spark's name
        self, start: dict[str, str] | None = None, limit: ReadLimit | None = None
    ) -> dict[str, str]:
        """The server's clock less the lag, at most `max_window_minutes` after `start`, where Spark tells that."""
        newest = self._newest() if self._target is None else self._target
        if start is None:
            return {_READ_UNTIL: max(self._start, newest).isoformat()}
        begin = datetime.fromisoformat(start[_READ_UNTIL])
        most = begin + timedelta(minutes=self._options.max_window_minutes)
        return {_READ_UNTIL: max(begin, min(newest, most)).isoformat()}

    def prepareForTriggerAvailableNow(self) -> None:  # noqa: N802 - Spark's name
        """The query ends where the server's clock is now."""
        self._target = self._newest()

    def partitions(self, start: dict[str, str], end: dict[str, str]) -> Sequence[InputPartition]:
        """The tasks of a micro-batch."""
        begin, until = datetime.fromisoformat(start[_READ_UNTIL]), datetime.fromisoformat(end[_READ_UNTIL])
        if until <= begin:
            return []
        if self._tags is None:
            with open_source(self._options.server) as source:
                self._tags = tags_to_read(self._options, source)
        # The option `start` may be another since the checkpoint; it cuts the overlap and nothing that is new.
        first = min(begin, max(self._start, begin - self._overlap))
        return cut_into_tasks(self._tags, first, until, server=self._options.server, tasks=self._options.tasks)

    def read(self, partition: InputPartition) -> Iterator[pa.RecordBatch]:
        """The rows of one task."""
        if isinstance(partition, ReadTask):
            yield from read_rows(partition, self._schema)

    def _newest(self) -> datetime:
        with open_source(self._options.server) as source:
            now = source.server_time()
        newest = now - timedelta(seconds=self._options.lag_seconds)
        return newest if self._options.end is None else min(newest, self._options.end)
