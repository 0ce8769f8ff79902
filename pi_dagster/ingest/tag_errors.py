"""Tags that could not be read: which of them are gone, what the table lacks of the others, and when they can be read.

pi_tag_errors has a row for each tag and day that lacks something, from the load that found it to the one that reads it
whole. A tag that the server does not have any more holds nothing up: it has one row, and is left alone until the list
of tags shows it again. What pi_timeseries has of it stays, as the server will not send it a second time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from pi_dagster.ingest.errors import TagsFailedError
from pi_dagster.ingest.report import FailedTag, TagErrorKind, WindowReport
from pi_dagster.ingest.window import Window
from pi_dagster.lake import Lake, TagErrorsTable
from pi_dagster.lake.errors import LakeError, TableMissingError
from pi_dagster.lake.schemas import TAG_ERRORS_SCHEMA
from pi_dagster.piwebapi.errors import PIWebAPIError, RequestRefusedError
from pi_dagster.piwebapi.missing import may_be_missing

_MOST_GONE_SHARE = 1 / 3
_FEW_GONE = 10
"""When more tags than both of a partition are gone at once, a right was lost rather than that they were deleted."""

_LONGEST_ERROR = 1000


@dataclass(frozen=True)
class UnreadTags:
    """What became of the tags that a reading failed on."""

    failed: tuple[FailedTag, ...] = ()
    gone: tuple[FailedTag, ...] = ()

    @classmethod
    def of(
        cls,
        failures: Mapping[str, PIWebAPIError],
        names: Mapping[str, str],
        *,
        has_point: Callable[[str], bool],
    ) -> UnreadTags:
        """Tell tags that are gone from those that only could not be read.

        Args:
            failures: the errors by WebID.
            names: names of all tags that were asked for, by WebID.
            has_point: asks the server whether it shows a tag.
        """
        suspects = [web_id for web_id, error in failures.items() if may_be_missing(error)]
        may_be_gone = len(suspects) <= max(_FEW_GONE, _MOST_GONE_SHARE * len(names))
        gone = {web_id for web_id in suspects if may_be_gone and _is_gone(web_id, has_point)}

        def told(web_id: str, kind: TagErrorKind) -> FailedTag:
            error = str(failures[web_id])
            return FailedTag(tag_webid=web_id, tag_name=names[web_id], kind=kind, error=error)

        return cls(
            failed=tuple(told(web_id, _kind_of(error)) for web_id, error in failures.items() if web_id not in gone),
            gone=tuple(told(web_id, TagErrorKind.GONE) for web_id in failures if web_id in gone),
        )


def _is_gone(web_id: str, has_point: Callable[[str], bool]) -> bool:
    try:
        return not has_point(web_id)
    except PIWebAPIError:
        return False


def _kind_of(error: PIWebAPIError) -> TagErrorKind:
    is_refused = isinstance(error, RequestRefusedError) or may_be_missing(error)
    return TagErrorKind.REFUSED if is_refused else TagErrorKind.BROKEN


class OpenErrors:
    """The rows of pi_tag_errors.

    Args:
        rows: with the columns of the table.
        trouble: why the table could not be read, so that there are no rows.
    """

    def __init__(self, rows: pa.Table, trouble: LakeError | None = None) -> None:
        self.rows = rows
        self.trouble = trouble

    @classmethod
    def read(cls, lake: Lake) -> OpenErrors:
        """The newest rows; none before the first load."""
        try:
            return cls(TagErrorsTable.open(lake, create=False).to_arrow())
        except TableMissingError:
            return cls(TAG_ERRORS_SCHEMA.empty_table())
        except LakeError as error:
            return cls(TAG_ERRORS_SCHEMA.empty_table(), error)

    def gone(self) -> Mapping[str, datetime]:
        """When each tag that is gone was last asked for, by WebID."""
        rows = self.rows.filter(_is_of_kind_gone(self.rows)).select(["tag_webid", "last_seen"])
        return {row["tag_webid"]: row["last_seen"] for row in rows.to_pylist()}

    def gaps(self, day: date, tag_group: str) -> Sequence[Window]:
        """What the tags of a partition may lack, tag by tag."""
        rows = self.rows.filter(_is_of_partition(self.rows, day, tag_group)).select(["window_start", "window_end"])
        return [Window(row["window_start"], row["window_end"]) for row in rows.to_pylist()]

    def of_groups(self, tag_groups: Sequence[str]) -> tuple[pa.Table, pa.Table]:
        """The rows of days that lack something, and those of tags that are gone; the latest trouble first."""
        wanted = self.rows.filter(pc.is_in(self.rows["tag_group"], pa.array(tag_groups, pa.string())))
        wanted = wanted.sort_by([("first_seen", "descending"), ("tag_name", "ascending")])
        is_gone = _is_of_kind_gone(wanted)
        return wanted.filter(pc.invert(is_gone)), wanted.filter(is_gone)


Loaded = tuple[tuple[date, str], WindowReport | Exception]
"""A partition, and what came of its load."""


def record_tag_errors(
    lake: Lake, loads: Sequence[Loaded], *, now: datetime, commit_info: Mapping[str, str]
) -> int | None:
    """Bring pi_tag_errors up to date, in one commit; in none when there is nothing to tell.

    Args:
        lake: where the table is; created where it is missing.
        loads: what was tried.
        now: when.
        commit_info: what to keep in the commit's metadata, such as the run's id.

    Returns:
        The table version that tells what is new; None when nothing is.

    Raises:
        LakeError: the table cannot be written. What it would have told is in the loads' metadata too.
    """
    return TagErrorsTable.open(lake).revise(lambda rows: rows_after(rows, loads, now), commit_info)


def rows_after(rows: pa.Table, loads: Iterable[Loaded], now: datetime) -> pa.Table:
    """The rows of pi_tag_errors, as some loads leave them."""
    for (day, tag_group), outcome in loads:
        if isinstance(outcome, WindowReport | TagsFailedError) and outcome.window is not None:
            rows = _rows_after(rows, day, tag_group, outcome, outcome.window, now)
    return rows


def _rows_after(
    rows: pa.Table,
    day: date,
    tag_group: str,
    outcome: WindowReport | TagsFailedError,
    window: Window,
    now: datetime,
) -> pa.Table:
    whole = _read_whole(outcome, day)
    found_again = outcome.found_again if isinstance(outcome, WindowReport) else ()
    asked_in_vain = [tag.tag_webid for tag in outcome.gone_tags]
    of_partition = _is_of_partition(rows, day, tag_group)
    of_gone = pc.and_(
        _is_of_kind_gone(rows), pc.is_in(rows["tag_webid"], pa.array([*asked_in_vain, *found_again], pa.string()))
    )
    touched = pc.or_(of_partition, of_gone)
    before = {(row["tag_webid"], row["partition_date"]): row for row in rows.filter(touched).to_pylist()}
    unread = [*((tag, day) for tag in outcome.failed_tags), *((tag, None) for tag in outcome.gone_tags)]
    after = [
        _row(before.get((tag.tag_webid, lacking)), tag, lacking, tag_group, window, now) for tag, lacking in unread
    ]
    told = {(row["tag_webid"], row["partition_date"]) for row in after}
    after += [
        row
        for key, row in before.items()
        if key not in told and row["partition_date"] is not None and not (whole and _is_within(whole, row))
    ]
    if not before and not after:
        return rows
    untouched = rows.filter(pc.invert(touched))
    return pa.concat_tables([untouched, pa.Table.from_pylist(after, schema=rows.schema)]).combine_chunks()


def _read_whole(outcome: WindowReport | TagsFailedError, day: date) -> Window | None:
    """Of what window a load leaves the table with all events of the tags that it could read; None when of none.

    Where no tag lacked anything before, that is all up to the watermark: a load that failed in between, and perhaps was
    to read more than this one, has committed nothing, and so has taken nothing away.
    """
    if not isinstance(outcome, WindowReport):
        return None
    return outcome.window if outcome.unread_since is not None else Window(Window.of_day(day).start, outcome.watermark)


def _is_within(window: Window, row: Mapping[str, Any]) -> bool:
    """Whether all that the row says is missing lies in a window."""
    return bool(window.start <= row["window_start"] and row["window_end"] <= window.end)


def _row(
    before: Mapping[str, Any] | None,
    tag: FailedTag,
    day: date | None,
    tag_group: str,
    window: Window,
    now: datetime,
) -> Mapping[str, Any]:
    return {
        "tag_webid": tag.tag_webid,
        "tag_name": tag.tag_name,
        "tag_group": tag_group,
        "kind": tag.kind.value,
        "partition_date": day,
        "window_start": min(window.start, before["window_start"]) if before else window.start,
        "window_end": max(window.end, before["window_end"]) if before else window.end,
        "error": tag.error[:_LONGEST_ERROR],
        "first_seen": before["first_seen"] if before else now,
        "last_seen": now,
    }


def _is_of_partition(rows: pa.Table, day: date, tag_group: str) -> pa.ChunkedArray:
    is_of_day = pc.fill_null(pc.equal(rows["partition_date"], pa.scalar(day, pa.date32())), False)
    return pc.and_(is_of_day, pc.equal(rows["tag_group"], tag_group))


def _is_of_kind_gone(rows: pa.Table) -> pa.ChunkedArray:
    return pc.equal(rows["kind"], TagErrorKind.GONE.value)
