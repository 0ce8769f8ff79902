"""`pi-dagster audit`: which partitions are compared, and what is told of them while it goes on and at the end."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import Any, TextIO

from pi_dagster.ingest.audit import PartitionAudit
from pi_dagster.ingest.wildcards import matcher
from pi_dagster.lake.difference import ChangedEvent
from pi_dagster.site import Site

_SECONDS_BETWEEN_LINES = 30.0
"""In a log; on a terminal one line is written over."""


class AuditRangeError(ValueError):
    """Days or tag groups that cannot be compared."""


def days_to_audit(site: Site, first: date | None, last: date | None, *, today: date) -> Sequence[date]:
    """The days from `first` to `last`, both included; without `last` to yesterday, without `first` that one day.

    Raises:
        AuditRangeError: there are none, or some are not over or before the site's first day.
    """
    yesterday = today - timedelta(days=1)
    last = last or yesterday
    first = first or last
    if max(first, last) > yesterday:
        raise AuditRangeError(
            f"{max(first, last)} is not over yet on the server, and is still being loaded; the last day that can be "
            f"compared is {yesterday}"
        )
    if first > last:
        raise AuditRangeError(f"--from {first} is after --to {last}")
    if first < site.start_date:
        raise AuditRangeError(f"{first} is before the site's `start_date` {site.start_date}, so it is not loaded")
    return [first + timedelta(days=offset) for offset in range((last - first).days + 1)]


def groups_to_audit(site: Site, names: Sequence[str]) -> Sequence[str]:
    """The partitions of the tag groups, or single shards of them, with these names; all without names.

    Raises:
        AuditRangeError: the site has no such group.
    """
    known: dict[str, Collection[str]] = {name: (name,) for name in site.partition_names()}
    known |= {group.name: group.partition_names() for group in site.tag_groups}
    for name in names:
        if name not in known:
            raise AuditRangeError(f"the site has no tag group {name!r} (it has: {', '.join(known)})")
    wanted = {partition for name in names or known for partition in known[name]}
    return [name for name in site.partition_names() if name in wanted]


def tags_to_audit(patterns: Sequence[str]) -> Callable[[str], bool] | None:
    """Tells whether a tag of that name is wanted; None when all are."""
    matchers = [matcher(pattern) for pattern in patterns]
    return (lambda name: any(matches(name) for matches in matchers)) if matchers else None


def with_progress(
    audits: Iterable[PartitionAudit], total: int, stream: TextIO = sys.stderr
) -> Iterator[PartitionAudit]:
    """Pass the audits on, and tell how many there were: on a terminal in one line, in a log now and then."""
    differing, told_at, on_terminal = 0, time.monotonic(), stream.isatty()
    for number, one in enumerate(audits, start=1):
        differing += not one.is_equal
        line = f"{number:,} of {total:,} partitions compared, {differing:,} differ"
        if on_terminal:
            print(f"\r{line}", end="\r\033[K" if number == total else "", file=stream, flush=True)
        elif time.monotonic() - told_at >= _SECONDS_BETWEEN_LINES:
            told_at = time.monotonic()
            print(line, file=stream, flush=True)
        yield one


@dataclass
class AuditTotals:
    """What the audits of all partitions come to.

    Args:
        most_examples: differing events that are told one by one, over all partitions.
    """

    most_examples: int
    partitions: int = 0
    archive_events: int = 0
    table_rows: int = 0
    missing: int = 0
    changed: int = 0
    not_in_archive: int = 0
    rows_of_gone_tags: int = 0
    unread_tags: int = 0
    differing: list[Mapping[str, Any]] = field(default_factory=list)
    """The partitions that are not equal, as JSON."""
    _examples: int = 0

    @property
    def are_equal(self) -> bool:
        """True when no partition differs and every tag could be read."""
        return not self.differing

    def add(self, one: PartitionAudit) -> list[str]:
        """Count an audit; returns the lines that tell of it, none when the partition is equal."""
        difference = one.difference
        self.partitions += 1
        self.archive_events += one.archive_events
        self.table_rows += one.table_rows
        self.missing += difference.added
        self.changed += difference.changed
        self.not_in_archive += difference.removed
        self.rows_of_gone_tags += one.rows_of_gone_tags
        self.unread_tags += len(one.unread_tags)
        if one.is_equal:
            return []
        examples = list(one.examples[: self.most_examples - self._examples])
        self._examples += len(examples)
        key = f"{one.day}|{one.tag_group}"
        self.differing.append(
            {
                "partition": key,
                "missing": difference.added,
                "changed": difference.changed,
                "not_in_archive": difference.removed,
                "tags": [
                    {
                        "tag_name": tag.tag_name,
                        "missing": tag.added,
                        "changed": tag.changed,
                        "not_in_archive": tag.removed,
                    }
                    for tag in difference.tags
                ],
                "events": [_as_json(name, event) for name, event in examples],
                "unread_tags": [{"tag_name": tag.tag_name, "error": tag.error} for tag in one.unread_tags],
            }
        )
        counts = _counts(difference.added, difference.changed, difference.removed)
        left = difference.added + difference.changed + difference.removed - len(examples)
        return [
            f"{key}: {counts}",
            *(f"  {_as_text(name, event)}" for name, event in examples),
            *([f"  and {left:,} more"] if left else []),
            *(f"  {tag.tag_name} could not be read: {tag.error}" for tag in one.unread_tags),
        ]

    def lines(self) -> list[str]:
        """What all of it comes to."""
        counts = _counts(self.missing, self.changed, self.not_in_archive)
        compared = (
            f"{self.partitions:,} partitions compared: {self.archive_events:,} events in the archive, "
            f"{self.table_rows:,} in the table; {counts}."
        )
        if self.are_equal:
            return [compared, "Equal: the table holds exactly the archive's events."]
        unread = f" {self.unread_tags:,} times a tag could not be read." if self.unread_tags else ""
        return [compared, f"Not equal: {len(self.differing):,} partitions differ.{unread}"]

    def as_json(self) -> Mapping[str, Any]:
        """The same for programs."""
        return {
            "equal": self.are_equal,
            "partitions": self.partitions,
            "archive_events": self.archive_events,
            "table_rows": self.table_rows,
            "missing": self.missing,
            "changed": self.changed,
            "not_in_archive": self.not_in_archive,
            "rows_of_gone_tags": self.rows_of_gone_tags,
            "unread_tags": self.unread_tags,
            "differing": self.differing,
        }


def _counts(missing: int, changed: int, not_in_archive: int) -> str:
    return f"{missing:,} missing in the table, {changed:,} changed, {not_in_archive:,} not in the archive"


def _as_text(name: str, event: ChangedEvent) -> str:
    where = f"{name} {event.timestamp:%Y-%m-%dT%H:%M:%S.%f}Z"
    if event.before is None:
        return f"{where}: missing in the table; the archive has {_shown(event.after)}"
    if event.after is None:
        return f"{where}: not in the archive; the table has {_shown(event.before)}"
    return f"{where}: the table has {_shown(event.before)}, the archive {_shown(event.after)}"


def _shown(content: Mapping[str, Any] | None) -> str:
    """The value, and whatever else is out of the ordinary."""
    told = content or {}
    value = told.get("value") if told.get("value_string") is None else repr(told["value_string"])
    marks = [
        *(["bad"] if not told.get("quality_good") else []),
        *(name.removeprefix("quality_") for name in _FLAGS if told.get(name)),
        *([f"state {told['digital_state_code']}"] if told.get("digital_state_code") is not None else []),
    ]
    return f"{value} ({', '.join(marks)})" if marks else str(value)


_FLAGS = ("quality_questionable", "quality_substituted", "quality_annotated", "is_system_state")


def _as_json(name: str, event: ChangedEvent) -> Mapping[str, Any]:
    return {
        "tag_name": name,
        "tag_webid": event.tag_webid,
        "timestamp": event.timestamp.isoformat().replace("+00:00", "Z"),
        "event_ordinal": event.event_ordinal,
        "in_table": _plain(event.before),
        "in_archive": _plain(event.after),
    }


def _plain(content: Mapping[str, Any] | None) -> Mapping[str, Any] | None:
    """JSON has no NaN and no infinity."""
    if content is None:
        return None
    return {
        name: str(value) if isinstance(value, float) and not math.isfinite(value) else value
        for name, value in content.items()
    }
