"""What a list of event frames comes to: rows of the table, what is different from the rows before, and a digest.

Pure functions on data. The digest of a day's list is what a load and the sensor compare, so that nobody has to
remember frames one by one: equal digests are equal lists.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any

import msgspec
import pyarrow as pa

from pi_dagster.lake.schemas import EVENT_FRAMES_FILE_SCHEMA
from pi_dagster.piwebapi.event_frame_attributes import FrameAttributes
from pi_dagster.piwebapi.event_frames import EventFrame

Row = dict[str, Any]

_MINUTE = timedelta(minutes=1)
_DIGEST_BYTES = 12
_DIGEST_KIND = "1"
"""Part of every digest; to be raised when rows tell more or other things of a frame, so that they are read again."""

_ROWS_A_CHUNK = 10_000


def frame_content(frame: EventFrame) -> Row:
    """The columns of a frame that the list of frames tells: all but its attributes and when it was read."""
    return {
        "event_frame_id": frame.event_frame_id,
        "event_name": frame.name,
        "template_name": frame.template_name or None,
        "start_time": frame.start,
        "end_time": frame.end,
        "duration_minutes": None if frame.end is None else (frame.end - frame.start) / _MINUTE,
        "primary_element_id": frame.primary_element_id,
        "event_frame_webid": frame.web_id,
        "database_name": frame.database_name,
        "parent_event_frame_id": frame.parent_id,
        "is_open": frame.is_open,
        "severity": frame.severity,
        "category_names": list(frame.category_names),
        "referenced_element_ids": list(frame.referenced_element_ids),
        "is_acknowledged": frame.is_acknowledged,
        "acknowledged_by": frame.acknowledged_by,
        "acknowledged_at": frame.acknowledged_at,
        "description": frame.description,
        "values_captured": frame.values_captured,
    }


@dataclass(frozen=True)
class DayDigest:
    """What a day's list of frames comes to, whatever its order; both are empty when there are none."""

    frames: str = ""
    """Of all frames."""
    open_frames: str = ""
    """Of those that have not ended."""


NO_FRAMES = DayDigest()


class DayDigester:
    """Makes the digest of a day's frames, which are added one by one, each once, and not kept."""

    def __init__(self) -> None:
        self._all = _Sum()
        self._open = _Sum()

    @property
    def frames(self) -> int:
        """How many were added."""
        return self._all.count

    def add(self, frame: EventFrame) -> None:
        """Take a frame in."""
        content = msgspec.msgpack.encode(list(frame_content(frame).values()))
        number = int.from_bytes(hashlib.blake2b(content, digest_size=_DIGEST_BYTES).digest(), "big")
        self._all.add(number)
        if frame.is_open:
            self._open.add(number)

    def digest(self) -> DayDigest:
        """The digest of what was added so far."""
        return DayDigest(str(self._all), str(self._open))


class _Sum:
    """A sum of hashes, which does not depend on their order."""

    def __init__(self) -> None:
        self.count = 0
        self._sum = 0

    def add(self, number: int) -> None:
        self.count += 1
        self._sum += number

    def __str__(self) -> str:
        if not self.count:
            return ""
        return f"{_DIGEST_KIND}:{self.count}:{self._sum % (1 << 8 * _DIGEST_BYTES):0{2 * _DIGEST_BYTES}x}"


def digests_by_day(frames: Iterable[EventFrame]) -> dict[date, DayDigester]:
    """The digests of frames by the UTC day that they start on."""
    digesters: dict[date, DayDigester] = defaultdict(DayDigester)
    for frame in frames:
        digesters[frame.start.date()].add(frame)
    return digesters


@dataclass(frozen=True)
class FrameChanges:
    """How a list of frames differs from the rows that a day held before."""

    new: Sequence[EventFrame]
    changed: Sequence[EventFrame]
    unchanged: Sequence[EventFrame]
    gone: Sequence[Row]
    """Rows whose frames are no longer listed on this day."""

    @property
    def listed(self) -> Sequence[EventFrame]:
        """All frames of the list."""
        return [*self.new, *self.changed, *self.unchanged]


def compare(before: Iterable[Row], frames: Iterable[EventFrame]) -> FrameChanges:
    """Tell frames that are new, changed or as before apart; attributes do not count, as the list has none."""
    gone = {row["event_frame_id"]: row for row in before}
    new, changed, unchanged = [], [], []
    for frame in frames:
        row = gone.pop(frame.event_frame_id, None)
        if row is None:
            new.append(frame)
        elif frame_content(frame).items() <= row.items():
            unchanged.append(frame)
        else:
            changed.append(frame)
    return FrameChanges(new, changed, unchanged, list(gone.values()))


def has_settled(frame: EventFrame, before: Row | None) -> bool:
    """True when a frame is as before, over, and its attributes are known: nothing of it is worth reading again."""
    return (
        before is not None
        and not frame.is_open
        and before["event_attributes"] is not None
        and frame_content(frame).items() <= before.items()
    )


def frame_row(frame: EventFrame, attributes: FrameAttributes | None, before: Row | None, *, read_at: datetime) -> Row:
    """The row of a frame.

    Args:
        frame: what the list tells of it.
        attributes: its attributes where they were read; else those of `before` stay.
        before: its row so far; when the new one tells the same, it stays as it is, with the instant of its first
            reading.
        read_at: when it was read.
    """
    row = {
        **frame_content(frame),
        "event_attributes": _pairs(attributes.values) if attributes else before and before["event_attributes"],
        "attribute_units": _pairs(attributes.units) if attributes else before and before["attribute_units"],
    }
    if before is not None and row.items() <= before.items():
        return before
    return {**row, "ingestion_timestamp": read_at}


def frame_table(rows: Sequence[Row]) -> pa.Table:
    """Rows as EVENT_FRAMES_FILE_SCHEMA, by start."""
    ordered = sorted(rows, key=lambda row: (row["start_time"], row["event_frame_id"]))
    # In chunks, because Arrow makes further Python objects of all rows that it is given at once.
    chunks = [
        pa.Table.from_pylist(ordered[first : first + _ROWS_A_CHUNK], schema=EVENT_FRAMES_FILE_SCHEMA)
        for first in range(0, len(ordered), _ROWS_A_CHUNK)
    ]
    return pa.concat_tables([EVENT_FRAMES_FILE_SCHEMA.empty_table(), *chunks])


def _pairs(texts: Mapping[str, str | None]) -> list[tuple[str, str | None]]:
    """A map as Arrow has it; sorted, because the server's order is not documented."""
    return sorted(texts.items())
