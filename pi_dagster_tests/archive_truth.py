"""What pi_timeseries must hold, taken from the simulator's archive event by event, without the client's code."""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import datetime, timedelta, timezone
from typing import Any

import pyarrow as pa

from pi_dagster.simulator.archive import Archive
from pi_dagster.simulator.events import ANNOTATED, BAD, QUESTIONABLE, SUBSTITUTED, to_ticks
from pi_dagster.simulator.points import Point
from pi_dagster.webid import point_webid

EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
KEY = [("tag_webid", "ascending"), ("timestamp", "ascending"), ("event_ordinal", "ascending")]

TRUTH_SCHEMA = pa.schema(
    [
        ("tag_webid", pa.string()),
        ("timestamp", pa.timestamp("us", "UTC")),
        ("event_ordinal", pa.int32()),
        ("value", pa.float64()),
        ("value_string", pa.string()),
        ("digital_state_code", pa.int32()),
        ("is_system_state", pa.bool_()),
        ("quality_good", pa.bool_()),
        ("quality_questionable", pa.bool_()),
        ("quality_substituted", pa.bool_()),
        ("quality_annotated", pa.bool_()),
        ("tag_name", pa.string()),
        ("units", pa.string()),
    ]
)


def value_columns(value: Any) -> dict[str, Any]:
    """What the table must say of one PI value, written without a thought for speed."""
    row: dict[str, Any] = {"value": None, "value_string": None, "digital_state_code": None, "is_system_state": False}
    if isinstance(value, dict):
        row["value_string"] = value.get("Name") if "Errors" not in value else "; ".join(value["Errors"])
        row["digital_state_code"] = value.get("Value")
        row["is_system_state"] = value.get("IsSystem", False)
    elif isinstance(value, bool):
        row["value_string"] = "true" if value else "false"
    elif isinstance(value, int):
        exact = abs(value) < 10**300 and int(float(value)) == value
        row["value"] = float(value) if exact else None
        row["value_string"] = str(value) if abs(value) >= 2**53 else None
    elif isinstance(value, float):
        row["value"] = value
    elif isinstance(value, list):
        row["value_string"] = json.dumps(value, separators=(",", ":"), ensure_ascii=False)
    else:
        row["value_string"] = value
    return row


def truth(archive: Archive, points: Iterable[Point], start: datetime, end: datetime) -> pa.Table:
    """The rows that `[start, end)` of these points must have, in the order of the key."""
    rows: list[dict[str, Any]] = []
    for point in points:
        web_id = point_webid(archive.server_id, point.id, archive.server_name, point.name).identity
        # PI's "Inside" includes the end, a window does not: one tick less.
        events = archive.events(point, to_ticks(start), to_ticks(end) - 1)
        seen_in_microsecond: dict[datetime, int] = {}
        for index in range(len(events)):
            instant = EPOCH + timedelta(microseconds=int(events.ticks[index]) // 10)
            ordinal = seen_in_microsecond.get(instant, 0)
            seen_in_microsecond[instant] = ordinal + 1
            flags = int(events.flags[index])
            rows.append(
                {
                    "tag_webid": web_id,
                    "timestamp": instant,
                    "event_ordinal": ordinal,
                    **value_columns(events.value_at(index)),
                    "quality_good": not flags & BAD,
                    "quality_questionable": bool(flags & QUESTIONABLE),
                    "quality_substituted": bool(flags & SUBSTITUTED),
                    "quality_annotated": bool(flags & ANNOTATED),
                    "tag_name": point.name,
                    "units": point.engineering_units or None,
                }
            )
    return pa.Table.from_pylist(rows, schema=TRUTH_SCHEMA).sort_by(KEY)


def assert_equals_archive(table: pa.Table, expected: pa.Table) -> None:
    """Fail with the first difference unless `table` holds exactly the rows of `expected`, in any order."""
    actual = table.select(TRUTH_SCHEMA.names).cast(TRUTH_SCHEMA).sort_by(KEY)
    if actual.equals(expected):
        return
    for index, (found, wanted) in enumerate(zip(actual.to_pylist(), expected.to_pylist(), strict=False)):
        assert found == wanted, f"row {index} of {actual.num_rows} (expected {expected.num_rows})"
    assert actual.num_rows == expected.num_rows
