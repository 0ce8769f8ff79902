"""The proof that pi_timeseries equals the archive: both are read over the same days and compared event by event.

Nothing is believed that a load has told: not its counts, not its watermark. Both sides come in the order of the key and
are compared as they pass, so memory does not grow with their number. The server is asked for as much as by loading
those days again.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timezone

import pyarrow as pa
import pyarrow.compute as pc

from pi_dagster.ingest.load_plans import Partition
from pi_dagster.ingest.report import EventDifference, FailedTag
from pi_dagster.ingest.rows import table_rows
from pi_dagster.ingest.tag_errors import UnreadTags
from pi_dagster.ingest.tags import PartitionTags, TagList
from pi_dagster.ingest.wildcards import matcher
from pi_dagster.ingest.window import Window
from pi_dagster.lake import Lake, TimeseriesTable
from pi_dagster.lake.difference import ChangedEvent, EventChanges, comparing
from pi_dagster.lake.event_counts import event_counts
from pi_dagster.lake.live_files import live_partitions
from pi_dagster.piwebapi import PIWebAPISource, ReadWindow, RecordedReading
from pi_dagster.site import Site


@dataclass(frozen=True, kw_only=True)
class PartitionAudit:
    """What the archive and the table hold of a day of a tag group."""

    day: date
    tag_group: str
    archive_events: int
    table_rows: int
    """Of tags that the server has."""
    difference: EventDifference
    """`added` are missing in the table, `removed` are not in the archive."""
    examples: Sequence[tuple[str, ChangedEvent]]
    """Some of them with the names of their tags; `before` is the table, `after` the archive."""
    unread_tags: Sequence[FailedTag]
    """Tags that could not be read, so that nothing can be said of them."""
    rows_of_gone_tags: int
    """Rows of tags that the server does not have any more, and that therefore stay as they are."""

    @property
    def is_equal(self) -> bool:
        """True when the table has exactly the archive's events, and all of them could be read."""
        differing = self.difference.added + self.difference.changed + self.difference.removed
        return not differing and not self.unread_tags


_NO_TAGS = PartitionTags((), {}, frozenset())


def left_partitions(site: Site, lake: Lake, days: Collection[date]) -> Sequence[Partition]:
    """Partitions of these days that the table has and the site has not: their tag group has another name or shards now.

    Raises:
        LakeError: the table cannot be read, or is not there.
    """
    table = TimeseriesTable.open(lake, create=False)
    names = site.partition_names()
    return sorted(
        (day, group) for day, group in live_partitions(table.snapshot()) if day in days and group not in names
    )


def unmatched_patterns(
    site: Site, lake: Lake, partitions: Collection[Partition], patterns: Sequence[str]
) -> Sequence[str]:
    """Those of `patterns` that no tag of the partitions has a name for.

    Such tags are those that the server has, and those that are gone and have left rows there.

    Args:
        site: the settings.
        lake: where pi_points and pi_timeseries are.
        partitions: those to look at, of groups that the site has.
        patterns: with `*` and `?`.

    Raises:
        IngestError: the tags are not known.
        LakeError: the tables cannot be read, or are not there.
    """
    tag_list = TagList(site, lake)
    groups = {group for _, group in partitions}
    of_server = [stream.name for group in groups for stream in tag_list.of(group).streams]
    unmatched = [pattern for pattern in patterns if not any(map(matcher(pattern), of_server))]
    if not unmatched:
        return ()
    held = event_counts(TimeseriesTable.open(lake, create=False), partitions)
    with_rows = {web_id for counts in held.values() for web_id in counts}
    gone = [name for web_id, name in tag_list.names_of_gone.items() if web_id in with_rows]
    return [pattern for pattern in unmatched if not any(map(matcher(pattern), gone))]


def audit(
    site: Site,
    source: PIWebAPISource,
    lake: Lake,
    partitions: Iterable[Partition],
    *,
    is_wanted: Callable[[str], bool] | None = None,
    most_examples: int = 0,
) -> Iterator[PartitionAudit]:
    """Compare partitions of days that are over with the server.

    In a partition that the site does not have, rows of tags of the site are not in the archive: they belong elsewhere.

    Args:
        site: the settings.
        source: the server to read.
        lake: where pi_points and pi_timeseries are.
        partitions: which, in order; each is compared when it is asked for.
        is_wanted: tells by its name whether a tag is compared; default: all, and what the table holds of other tags.
        most_examples: differing events to name, for each partition.

    Raises:
        IngestError: the tags are not known.
        LakeError: the tables cannot be read, or are not there.
        PIWebAPIError: the server cannot be read from.
    """
    table = TimeseriesTable.open(lake, create=False)
    tag_list = TagList(site, lake)
    groups = site.partition_names()
    listed = pa.array(sorted(tag_list.listed), pa.string())
    wanted_gone = [web_id for web_id, name in tag_list.names_of_gone.items() if is_wanted is None or is_wanted(name)]
    planned: list[tuple[Partition, PartitionTags]] = []

    def windows() -> Iterator[ReadWindow]:
        for day, tag_group in partitions:
            tags = tag_list.of(tag_group) if tag_group in groups else _NO_TAGS
            if is_wanted is not None:
                tags = tags.without([stream.web_id for stream in tags.streams if not is_wanted(stream.name)])
            planned.append(((day, tag_group), tags))
            whole_day = Window.of_day(day)
            yield ReadWindow(tags.streams, whole_day.start, whole_day.end)

    for reading in source.read_in_turn(windows()):
        (day, tag_group), tags = planned.pop(0)
        is_of_site = tag_group in groups
        names = {
            stream.web_id: stream.name
            for group in ([tag_group] if is_of_site else groups)
            for stream in tag_list.of(group).streams
            if is_wanted is None or is_wanted(stream.name)
        }
        rows = _RowsOfTable(
            table.sorted_rows(partition_date=day, tag_group=tag_group),
            listed=listed,
            only=None if is_of_site and is_wanted is None else [*names, *(wanted_gone if is_of_site else ())],
        )
        yield _compare(source, day, tag_group, tags, names, rows, reading, most_examples)


def _compare(
    source: PIWebAPISource,
    day: date,
    tag_group: str,
    tags: PartitionTags,
    names: Mapping[str, str],
    rows: _RowsOfTable,
    reading: RecordedReading,
    most_examples: int,
) -> PartitionAudit:
    changes = EventChanges(most_examples=most_examples)
    events = _rows_of_archive(reading, tags, names)
    archive_events = sum(
        batch.num_rows for batch in comparing(iter(rows), events, kept_tags=reading.failures, changes=changes)
    )
    unread = UnreadTags.of(reading.failures, names, has_point=source.has_point)
    return PartitionAudit(
        day=day,
        tag_group=tag_group,
        archive_events=archive_events,
        table_rows=rows.count,
        difference=EventDifference.of(changes, names),
        examples=[(names.get(event.tag_webid, event.tag_webid), event) for event in changes.examples],
        unread_tags=[*unread.failed, *unread.gone],
        rows_of_gone_tags=rows.count_of_gone,
    )


def _rows_of_archive(
    reading: RecordedReading, tags: PartitionTags, names: Mapping[str, str]
) -> Iterator[pa.RecordBatch]:
    now = pa.scalar(datetime.now(timezone.utc), pa.timestamp("us", "UTC"))
    for events in reading:
        yield from table_rows(events, names=names, units=tags.units, ingestion_timestamp=now).to_batches()


class _RowsOfTable:
    """The rows of a partition that are to be compared, counted as they pass; those of tags that are gone are not."""

    def __init__(self, batches: Iterable[pa.RecordBatch], *, listed: pa.Array, only: Sequence[str] | None) -> None:
        self._batches = batches
        self._listed = listed
        self._only = None if only is None else pa.array(only, pa.string())
        self.count = 0
        self.count_of_gone = 0

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        for batch in self._batches:
            if self._only is not None:
                batch = batch.filter(pc.is_in(batch.column("tag_webid"), self._only))
            kept = batch.filter(pc.is_in(batch.column("tag_webid"), self._listed))
            self.count += kept.num_rows
            self.count_of_gone += batch.num_rows - kept.num_rows
            if kept.num_rows:
                yield kept
