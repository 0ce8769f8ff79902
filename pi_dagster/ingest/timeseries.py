"""Loading partitions of pi_timeseries: read a window of a tag group from PI and replace it in the table.

Reading runs ahead on the reader's threads while this thread writes, and stops ahead when this thread is slower, so
memory does not depend on how much there is. Nothing is committed before every tag has been read to its end.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Collection, Iterable, Iterator
from datetime import date, datetime, timedelta, timezone
from itertools import chain

import pyarrow as pa

from pi_dagster.ingest.errors import IngestError, TagsFailedError
from pi_dagster.ingest.load_plans import Partition, Plan, Planner
from pi_dagster.ingest.report import EventDifference, Traffic, WindowReport
from pi_dagster.ingest.rows import TableRows
from pi_dagster.ingest.tag_errors import UnreadTags
from pi_dagster.ingest.tags import TagList
from pi_dagster.ingest.window import Window
from pi_dagster.lake import Lake, NewRows, PartitionWindow, TimeseriesTable, WindowCommit
from pi_dagster.lake.difference import EventChanges, comparing
from pi_dagster.lake.errors import LakeError
from pi_dagster.lake.event_counts import counts_elsewhere, event_counts
from pi_dagster.piwebapi import PIWebAPIError, PIWebAPISource, ReadWindow, RecordedReading
from pi_dagster.piwebapi.transport import TrafficCount
from pi_dagster.site import Site

Outcome = tuple[Partition, WindowReport | Exception]
"""A partition that was tried, with what was loaded or why it was not."""


def load_partition(
    site: Site, source: PIWebAPISource, lake: Lake, *, day: date, tag_group: str, run_id: str
) -> WindowReport:
    """Read one day of one partition's tags and replace it: one of `partitions_in_turn`, run at once."""
    loads = partitions_in_turn(site, source, lake, [(day, tag_group)], run_id=run_id)
    return next(loads).run()


def partitions_in_turn(
    site: Site, source: PIWebAPISource, lake: Lake, partitions: Iterable[Partition], *, run_id: str
) -> Iterator[PartitionLoad]:
    """The loads of some partitions, each of its whole day; each is to be run, or left alone, before the next.

    Args:
        site: the settings.
        source: the server to read.
        lake: where pi_points, which is read once for all, and pi_timeseries are.
        partitions: which, in order.
        run_id: kept in the commits' metadata.
    """
    return loads_in_turn(site, source, lake, partitions, Planner(site, source, TagList(site, lake)), run_id=run_id)


def loads_in_turn(
    site: Site, source: PIWebAPISource, lake: Lake, partitions: Iterable[Partition], planner: Planner, *, run_id: str
) -> Iterator[PartitionLoad]:
    """The loads of some partitions, in order; each is to be run, or left alone, before the next is asked for.

    The requests of the next ones are under way while one has no more of its own to send, and while it is committed.

    Args:
        site: the settings.
        source: the server to read.
        lake: where pi_timeseries is.
        partitions: which, in order.
        planner: says what to read of each.
        run_id: kept in the commits' metadata.
    """
    waiting = deque(partitions)
    begun, traffic = time.monotonic(), source.traffic
    while waiting:
        planned: deque[Plan] = deque()
        for reading in source.read_in_turn(_windows(planner, waiting, planned)):
            yield PartitionLoad(site, source, lake, planned.popleft(), reading, run_id, begun, traffic)
            begun, traffic = time.monotonic(), source.traffic
        for plan in planned:
            yield PartitionLoad(site, source, lake, plan, None, run_id, begun, traffic)


def run_in_turn(loads: Iterable[PartitionLoad], *, goes_on_after: tuple[type[Exception], ...]) -> Iterator[Outcome]:
    """Run loads one after the other, each with a commit of its own.

    Args:
        loads: from `partitions_in_turn`.
        goes_on_after: errors of one partition that say nothing about the next one; after any other the rest is left.

    Yields:
        Each partition that was tried, with its report or its error.
    """
    for load in loads:
        outcome = load.outcome()
        yield load.partition, outcome
        if isinstance(outcome, Exception) and not isinstance(outcome, goes_on_after):
            return


class PartitionLoad:
    """One partition whose reading is prepared, and perhaps under way; either `run` it, or commit `new_rows`."""

    def __init__(
        self,
        site: Site,
        source: PIWebAPISource,
        lake: Lake,
        plan: Plan,
        reading: RecordedReading | None,
        run_id: str,
        begun: float,
        traffic_before: TrafficCount,
    ) -> None:
        self._site = site
        self._source = source
        self._lake = lake
        self._plan = plan
        self._reading = reading
        self._commit_info = {"site": site.name, "run_id": run_id}
        self._rows = TableRows(plan.tags, ingestion_timestamp=datetime.now(timezone.utc))
        self._unread = UnreadTags()
        self._keep_tags = set(plan.tags.gone)
        """Tags whose old rows stay; all of them are known once everything was read."""
        self._take_from: dict[str, set[str]] = {}
        """Tags whose rows of the day leave other partitions; known then, too."""
        self._changes: EventChanges | None = None
        self._begun, self._traffic_before = begun, traffic_before
        self._ended, self._traffic_after = begun, traffic_before

    @property
    def partition(self) -> Partition:
        """Which partition is loaded."""
        return self._plan.day, self._plan.tag_group

    def run(self) -> WindowReport:
        """Read to the end and replace the partition's window in one commit.

        Tags that the server no longer has keep the rows that they have.

        Raises:
            PointsMissingError: pi_points has not been loaded yet.
            NoTagsError: no tag belongs to the group.
            TagsFailedError: tags could not be read whole and the site says `on_tag_error: fail`.
            PIWebAPIError: the server cannot be read from.
            LakeError: the table cannot be written.
        """
        if self._plan.trouble is not None:
            raise self._plan.trouble
        new = self.new_rows()
        [commit] = TimeseriesTable.open(self._lake).replace_windows([new], commit_info=self._commit_info).values()
        self.has_been_written()
        return self.report(commit)

    def outcome(self) -> WindowReport | Exception:
        """Like `run`, but with an error that it raises as the answer."""
        try:
            return self.run()
        except (IngestError, LakeError, PIWebAPIError) as error:
            return error

    def new_rows(self) -> NewRows:
        """What the partition's window is to hold, for a commit together with others; read while it is written."""
        plan = self._plan
        return NewRows(
            window=PartitionWindow(plan.day, plan.tag_group, plan.window.start, plan.window.end),
            batches=self._batches(),
            keep_tags=self._keep_tags,
            take_from=self._take_from,
            again_from=plan.again_from,
        )

    def has_been_written(self) -> None:
        """The rows are read and written: the report's time and traffic end here, and the next load's begin."""
        self._ended, self._traffic_after = time.monotonic(), self._source.traffic

    def report(self, commit: WindowCommit) -> WindowReport:
        """What was loaded, once it is committed."""
        plan, unread = self._plan, self._unread
        summary = self._rows.summary
        watermark = max(plan.window.end, plan.progress.watermark)
        unread_since = plan.progress.unread_since
        if unread_since is not None and plan.window.start <= unread_since:
            unread_since = None
        if unread.failed:
            unread_since = min(plan.window.start, unread_since or plan.window.start)
        is_complete = plan.window.end == Window.of_day(plan.day).end and unread_since is None
        gone = {tag.tag_webid for tag in unread.gone}
        server_now = plan.server_now + timedelta(seconds=time.monotonic() - plan.planned_at)
        return WindowReport(
            partition_date=plan.day.isoformat(),
            tag_group=plan.tag_group,
            window=plan.window,
            watermark=watermark,
            unread_since=unread_since,
            complete=is_complete,
            read_to_settle=plan.settles,
            settled=is_complete and plan.settles,
            lag_seconds=(server_now - watermark).total_seconds(),
            rows=commit.rows,
            tags=len(plan.tags.streams),
            tags_digest=plan.tags.without(gone).digest,
            tags_with_events=len(summary.tags),
            failed_tags=unread.failed,
            gone_tags=unread.gone,
            found_again=tuple(sorted(plan.tags.asked_again - {tag.tag_webid for tag in unread.failed} - gone)),
            rows_by_type=summary.by_type,
            rows_by_system_state=dict(summary.by_system_state.most_common()),
            events_by_hour=summary.events_by_hour,
            bad_by_hour=summary.bad_by_hour,
            bad_rows=summary.flagged["bad"],
            questionable_rows=summary.flagged["questionable"],
            substituted_rows=summary.flagged["substituted"],
            annotated_rows=summary.flagged["annotated"],
            first_event=summary.first_event,
            last_event=summary.last_event,
            difference=None if self._changes is None else EventDifference.of(self._changes, self._rows.names),
            traffic=Traffic.between(self._traffic_before, self._traffic_after),
            seconds=self._ended - self._begun,
            table_version=commit.version,
            files=commit.files,
            file_bytes=commit.file_bytes,
            live_files=commit.live_files,
            partition_rows=commit.partition_rows,
            sample=summary.sample,
        )

    def _batches(self) -> Iterator[pa.RecordBatch]:
        plan = self._plan
        if plan.trouble is not None:
            raise plan.trouble
        rows = self._rows_read()
        if plan.window == Window.of_day(plan.day):
            # Not opened once more: whoever asks for these rows writes into the table, and so has opened it.
            old = TimeseriesTable(self._lake).sorted_rows(partition_date=plan.day, tag_group=plan.tag_group)
            if (first := next(old, None)) is not None:
                self._changes = EventChanges()
                old = chain([first], old)
                rows = comparing(old, rows, kept_tags=self._keep_tags, changes=self._changes)
        yield from rows
        if self._changes is not None:
            self._keep_strays(self._changes.removed.keys())

    def _rows_read(self) -> Iterator[pa.RecordBatch]:
        """The rows, and at their end what is to become of the tags that failed, as then all of them are known."""
        plan = self._plan
        assert self._reading is not None
        yield from self._rows.batches(self._reading)
        failures = self._reading.failures
        self._unread = UnreadTags.of(failures, self._rows.names, has_point=self._source.has_point)
        if self._unread.failed and self._site.on_tag_error == "fail":
            partition = f"{plan.tag_group} on {plan.day}"
            raise TagsFailedError(partition, self._unread.failed, window=plan.window, gone_tags=self._unread.gone)
        self._keep_tags.update(failures)
        self._take_over()
        whole_day = Window.of_day(plan.day)
        if plan.window.start > whole_day.start:
            self._keep_tags |= self._moved_since() - self._rows.names.keys()
        elif plan.window.end < whole_day.end:
            # Those of a whole day come to light when its old rows are compared.
            self._keep_strays(event_counts(TimeseriesTable(self._lake), [self.partition])[self.partition])

    def _take_over(self) -> None:
        """Tags that came from other partitions since the day have no rows left there, or they would be there twice.

        A partition that gets a tag is read again from the day's start, so later windows have nothing to take over.
        """
        plan = self._plan
        came = self._moved_since() & self._rows.names.keys() - self._keep_tags
        if came and plan.window.start == Window.of_day(plan.day).start:
            held = counts_elsewhere(TimeseriesTable(self._lake), plan.day, plan.tag_group, came)
            for web_id, tag_groups in held.items():
                for tag_group in tag_groups:
                    self._take_from.setdefault(tag_group, set()).add(web_id)

    def _keep_strays(self, held: Collection[str]) -> None:
        """Rows of tags that are not this partition's stay where no other partition has them.

        Those that the server does not list any more cannot be read a second time. Those of a tag that belongs to
        another partition now, or to none, are all there is of it until the day is loaded there.
        """
        plan, listed = self._plan, self._plan.tags.listed
        strays = set(held) - self._rows.names.keys() - self._keep_tags
        keep = strays - listed.keys()
        if moved := strays - keep:
            elsewhere = counts_elsewhere(TimeseriesTable(self._lake), plan.day, plan.tag_group, moved)
            for web_id in moved:
                others = elsewhere.get(web_id, {})
                # Of two partitions that it does not belong to, and that are loaded at once, just one lets it go.
                if listed[web_id] not in others and min(others, default=plan.tag_group) >= plan.tag_group:
                    keep.add(web_id)
        self._keep_tags |= keep
        if self._changes is not None:
            self._changes.leave_out(keep)

    def _moved_since(self) -> set[str]:
        """Tags that came into their partition, or into none, since the day began."""
        began = Window.of_day(self._plan.day).start
        return {web_id for web_id, at in self._plan.tags.moved_at.items() if at > began}


def _windows(planner: Planner, waiting: deque[Partition], planned: deque[Plan]) -> Iterator[ReadWindow]:
    """What to read for each partition, moved from `waiting` to `planned` when it is asked for.

    Ends after the first partition that nothing can be read for, which its load then tells in its turn: what comes
    after it may not be wanted any more.
    """
    while waiting:
        partition = waiting.popleft()
        try:
            plan = planner.plan(partition)
        except (IngestError, LakeError, PIWebAPIError) as error:
            planned.append(planner.not_planned(partition, error))
            return
        planned.append(plan)
        yield ReadWindow(plan.tags.streams, plan.window.start, plan.window.end)
