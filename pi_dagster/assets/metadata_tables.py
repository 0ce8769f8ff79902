"""Tables that the UI shows: tags, events and findings by name, as many as a person looks at.

Cells are texts, numbers and booleans only, and never null; what is more than a table should hold is in the lake.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from itertools import islice

import dagster as dg
import pyarrow as pa

from pi_dagster.automation.partitions import partition_key
from pi_dagster.ingest.reconcile import UncountedTag
from pi_dagster.ingest.report import FailedFrame, FailedTag

MOST_NAMED = 100
_MOST_DIFFERENCES_NAMED = 500
_FAILED_FRAME_COLUMNS = ("day", "event frame", "id", "reason")


def failed_frames_table(failed: Mapping[str, Sequence[FailedFrame]]) -> dg.MetadataValue:
    """The event frames of days whose attributes could not be read, and why; at most a hundred of a day."""
    rows = [
        {"day": day, "event frame": frame.event_name, "id": frame.event_frame_id, "reason": frame.error}
        for day, frames in failed.items()
        for frame in frames[:MOST_NAMED]
    ]
    return table_of_records(rows, columns=_FAILED_FRAME_COLUMNS)


def failed_frames_in_table(table: dg.MetadataValue) -> dict[str, list[FailedFrame]]:
    """What `failed_frames_table` told, by day."""
    failed: dict[str, list[FailedFrame]] = defaultdict(list)
    for record in table.records if isinstance(table, dg.TableMetadataValue) else ():
        day, name, frame_id, error = (str(record.data[column]) for column in _FAILED_FRAME_COLUMNS)
        failed[day].append(FailedFrame(event_frame_id=frame_id, event_name=name, error=error, may_be_deleted=False))
    return dict(failed)


def failed_tags_table(failed_tags: Iterable[FailedTag]) -> dg.MetadataValue:
    """The tags that could not be read, and why; at most a hundred."""
    named = islice(failed_tags, MOST_NAMED)
    return table_of_records([{"tag": tag.tag_name, "reason": tag.error, "WebID": tag.tag_webid} for tag in named])


def tag_errors_table(errors: pa.Table) -> dg.MetadataValue:
    """Rows of pi_tag_errors, at most a hundred."""
    rows = [
        {
            "partition": str(partition_key(row["partition_date"], row["tag_group"])) if row["partition_date"] else "",
            "tag": row["tag_name"],
            "kind": row["kind"],
            "lacks from": row["window_start"],
            "to": row["window_end"],
            "since": row["first_seen"],
            "last tried": row["last_seen"],
            "reason": row["error"],
        }
        for row in errors.slice(0, MOST_NAMED).to_pylist()
    ]
    return table_of_records(
        rows, columns=("partition", "tag", "kind", "lacks from", "to", "since", "last tried", "reason")
    )


def differences_table(differences: Iterable[tuple[str, str, int, int, str]]) -> dg.MetadataValue:
    """Partition, tag, events at the server and in the table, and what is done about it."""
    rows = [
        {
            "partition": partition,
            "tag": tag,
            "events at the server": server,
            "in the table": table,
            "difference": table - server,
            "what is done": what,
        }
        for partition, tag, server, table, what in differences
    ]
    columns = ("partition", "tag", "events at the server", "in the table", "difference", "what is done")
    return table_of_records(rows[:_MOST_DIFFERENCES_NAMED], columns=columns)


def uncounted_tags_table(uncounted: Iterable[UncountedTag]) -> dg.MetadataValue:
    """The tags whose events the server does not count, and why."""
    rows = [{"tag group": tag.tag_group, "tag": tag.tag_name, "reason": tag.error} for tag in uncounted]
    return table_of_records(rows[:MOST_NAMED], columns=("tag group", "tag", "reason"))


def findings_table(findings: pa.Table) -> dg.MetadataValue:
    """Rows of pi_quality_findings, at most a hundred."""
    columns = {
        "tag": "tag_name",
        "from": "finding_start",
        "to": "finding_end",
        "events": "event_count",
        "worst value": "worst_value",
        "worst text": "worst_text",
    }
    found = findings.slice(0, MOST_NAMED).to_pylist()
    return table_of_records(
        [{shown: row[name] for shown, name in columns.items()} for row in found], columns=list(columns)
    )


def table_of_counts(counts: Mapping[str, int], what: str, unit: str = "rows") -> dg.MetadataValue:
    """A line a name: how many of `unit` each of `what` has."""
    return table_of_records([{what: name, unit: count} for name, count in counts.items()], columns=(what, unit))


def table_of_rows(table: pa.Table, columns: Sequence[str]) -> dg.MetadataValue:
    """Some columns of a few rows."""
    return table_of_records(table.select(columns).to_pylist(), columns=columns)


def table_of_records(rows: Sequence[Mapping[str, object]], columns: Sequence[str] = ()) -> dg.MetadataValue:
    """A table of the UI, whose cells are texts, numbers and booleans only, and never null."""
    records = [dg.TableRecord({name: _cell(value) for name, value in row.items()}) for row in rows]
    schema = dg.TableSchema([dg.TableColumn(name) for name in columns or (rows[0] if rows else ())])
    return dg.MetadataValue.table(records, schema)


def _cell(value: object) -> str | int | float | bool:
    if isinstance(value, datetime):
        return value.isoformat().replace("+00:00", "Z")
    if isinstance(value, str | int | float):
        return value
    return "" if value is None else str(value)
