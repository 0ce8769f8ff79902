"""`pi-dagster audit`: what is told of the compared partitions while it goes on and at the end."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TextIO

from pi_dagster.cli.progress import ProgressLine
from pi_dagster.ingest.audit import PartitionAudit
from pi_dagster.ingest.wildcards import matcher
from pi_dagster.lake.difference import ChangedEvent


def tags_to_audit(patterns: Sequence[str]) -> Callable[[str], bool] | None:
    """Tells whether a tag of that name is wanted; None when all are."""
    matchers = [matcher(pattern) for pattern in patterns]
    return (lambda name: any(matches(name) for matches in matchers)) if matchers else None


def with_progress(
    audits: Iterable[PartitionAudit], total: int, stream: TextIO = sys.stderr
) -> Iterator[PartitionAudit]:
    """Pass the audits on, and tell how many there were: on a terminal in one line, in a log now and then."""
    differing, progress = 0, ProgressLine(stream)
    for number, one in enumerate(audits, start=1):
        differing += not one.is_equal
        progress.tell(f"{number:,} of {total:,} partitions compared, {differing:,} differ")
        if number == total or not one.is_equal:
            progress.end()
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
