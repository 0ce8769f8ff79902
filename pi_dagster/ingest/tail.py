"""The tail: bring days that are under way forward, from each partition's watermark instead of from midnight.

A watermark is only trusted while the table still holds the commit it tells of, and the partition has the same tags;
otherwise the whole day is read. The windows of one run end at one instant and are committed together, so that a run
makes one commit however many partitions there are. Windows of more than an hour, after an outage or without a
watermark, are committed one by one after the others, so that a run that is stopped has not read them for nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from pi_dagster.ingest.errors import IngestError
from pi_dagster.ingest.load_plans import Partition, Planner, Progress
from pi_dagster.ingest.report import WindowReport
from pi_dagster.ingest.tags import TagList
from pi_dagster.ingest.timeseries import Outcome, PartitionLoad, loads_in_turn, run_in_turn
from pi_dagster.ingest.window import Window
from pi_dagster.lake import Lake, NewRows, PartitionWindow, TimeseriesTable
from pi_dagster.lake.errors import LakeError
from pi_dagster.piwebapi import PIWebAPIError, PIWebAPISource
from pi_dagster.site import Site

_COMMITTED_ALONE = timedelta(hours=1)


@dataclass(frozen=True, kw_only=True)
class Watermark:
    """Up to where a partition was complete at its last load, and what must still hold for that to be trusted."""

    instant: datetime
    unread_since: datetime | None
    """From when on a tag may lack events that could not be read."""
    failing: bool
    """A tag could not be read by that load either."""
    complete: bool
    """The partition holds its day to the end."""
    table_version: int
    """The commit of that load,"""
    run_id: str
    """and the run that made it."""
    tags_digest: str
    """Another one when a tag joined the partition or left it."""

    @classmethod
    def of(cls, report: WindowReport, run_id: str) -> Watermark:
        """The watermark that a load leaves."""
        return cls(
            instant=report.watermark,
            unread_since=report.unread_since,
            failing=bool(report.failed_tags),
            complete=report.complete,
            table_version=report.table_version,
            run_id=run_id,
            tags_digest=report.tags_digest,
        )


def load_tail(
    site: Site,
    source: PIWebAPISource,
    lake: Lake,
    partitions: Sequence[Partition],
    *,
    watermarks: Mapping[Partition, Watermark],
    run_id: str,
    goes_on_after: tuple[type[Exception], ...],
) -> Iterator[Outcome]:
    """Bring partitions forward to the server's clock minus the lag, and finish those of the day before.

    Partitions of the day before are read to their end when a tail had begun them and the day does not settle yet.
    Those that reach to the end of their day already are left alone.

    Args:
        site: the settings.
        source: the server to read.
        lake: where pi_points and pi_timeseries are.
        partitions: of the day that is under way, in the same order every time.
        watermarks: what their last loads, and those of the day before, left.
        run_id: kept in the commits' metadata.
        goes_on_after: errors of one partition that say nothing about the next one; after any other the rest is left,
            and what has been read by then is committed.

    Yields:
        Each partition that was tried, with its report, once committed, or its error.
    """
    tags = TagList(site, lake)
    settle = timedelta(hours=site.settle_hours)
    try:
        server_now = source.server_time()
        begun_yesterday = [
            (day - timedelta(days=1), group)
            for day, group in partitions
            if not _is_complete(watermarks.get((day - timedelta(days=1), group)))
            and server_now < Window.of_day(day).start + settle
        ]
        table = TimeseriesTable.open(lake)
        # Only of what may be read: the older the oldest watermark is, the more of the log has to be looked at.
        concerned = {
            partition: watermarks[partition] for partition in (*partitions, *begun_yesterday) if partition in watermarks
        }
        trusted = {
            partition: _progress(watermarks[partition], tags.errors.gaps(*partition))
            for partition in _trusted(concerned, table, tags, server_now)
        }
    except (LakeError, PIWebAPIError) as error:
        yield partitions[0], error
        return
    wanted = [
        *(partition for partition in partitions if partition not in trusted or not watermarks[partition].complete),
        *(partition for partition in begun_yesterday if partition in trusted),
    ]
    planner = Planner(site, source, tags, server_now=server_now, progress=trusted)
    alone = {
        (day, group)
        for day, group in wanted
        if server_now - trusted.get((day, group), Progress(watermark=Window.of_day(day).start)).next_start(timedelta())
        > _COMMITTED_ALONE
    }
    together = [partition for partition in wanted if partition not in alone]
    for partition, outcome in _run_together(
        table,
        loads_in_turn(site, source, lake, together, planner, run_id=run_id),
        commit_info={"site": site.name, "run_id": run_id},
        goes_on_after=goes_on_after,
    ):
        yield partition, outcome
        if isinstance(outcome, Exception) and not isinstance(outcome, goes_on_after):
            return
    yield from run_in_turn(
        loads_in_turn(site, source, lake, sorted(alone), planner, run_id=run_id), goes_on_after=goes_on_after
    )


def _trusted(
    watermarks: Mapping[Partition, Watermark], table: TimeseriesTable, tags: TagList, server_now: datetime
) -> set[Partition]:
    """Those whose watermarks still hold; none that lies ahead of the server's clock, as it was set by a wrong one."""
    if not watermarks:
        return set()
    commits = table.own_commits_since(min(watermark.table_version for watermark in watermarks.values()))
    trusted: set[Partition] = set()
    for partition, watermark in watermarks.items():
        commit = commits.get(watermark.table_version, {})
        later = [commits[version] for version in commits if version > watermark.table_version]
        if (
            watermark.instant <= server_now
            and commit.get("run_id") == watermark.run_id
            and not any(_may_undo(commit, partition, watermark) for commit in later)
            and _digest(tags, partition[1]) == watermark.tags_digest
        ):
            trusted.add(partition)
    return trusted


def _progress(watermark: Watermark, gaps: Sequence[Window]) -> Progress:
    """How far a partition was read, and from when on it is to be read again for tags that did not fail any more.

    The gap of a tag that still fails reaches to the watermark: it makes no sense to read the other tags again for it.
    """
    read_again_from = None
    if watermark.unread_since is not None:
        readable = [gap.start for gap in gaps if gap.end < watermark.instant or not watermark.failing]
        read_again_from = min(readable, default=None) if gaps else watermark.unread_since
    return Progress(watermark=watermark.instant, unread_since=watermark.unread_since, read_again_from=read_again_from)


def _may_undo(commit: Mapping[str, Any], partition: Partition, watermark: Watermark) -> bool:
    """Whether a later commit may have put rows of an older reading, or of fewer tags, into the partition.

    It is another load's that was under way at the same time, or was killed before Dagster heard of it.
    """
    day, tag_group = partition
    if "tag_group" in commit:
        return (commit["partition_date"], commit["tag_group"]) == (day.isoformat(), tag_group)
    return "window_end" in commit and datetime.fromisoformat(commit["window_end"]) < watermark.instant


def _digest(tags: TagList, tag_group: str) -> str | None:
    try:
        return tags.of(tag_group).digest
    except IngestError:
        # Its load will tell.
        return None


def _is_complete(watermark: Watermark | None) -> bool:
    return watermark is not None and watermark.complete


def _run_together(
    table: TimeseriesTable,
    loads: Iterator[PartitionLoad],
    *,
    commit_info: Mapping[str, str],
    goes_on_after: tuple[type[Exception], ...],
) -> Iterator[Outcome]:
    """Run loads with one commit for all that succeed."""
    written: dict[Partition, PartitionLoad] = {}
    failed: dict[Partition, Exception] = {}

    def new_rows() -> Iterator[NewRows]:
        for load in loads:
            written[load.partition] = load
            yield load.new_rows()
            load.has_been_written()
            if not isinstance(failed.get(load.partition), (*goes_on_after, type(None))):
                return

    def leave_out(window: PartitionWindow, error: Exception) -> bool:
        if not isinstance(error, (IngestError, PIWebAPIError)):
            return False
        failed[window.partition] = error
        return True

    try:
        commits = table.replace_windows(new_rows(), commit_info=commit_info, leave_out=leave_out)
    except LakeError as error:
        if not written:
            raise
        # The commit is one for all, so the last of them stands for all.
        failed[next(reversed(written))] = error
        commits = {}
    for window, commit in commits.items():
        yield window.partition, written[window.partition].report(commit)
    yield from failed.items()
