"""A tag over time as it is to be drawn: lines only where the archive lets one be drawn.

Between two numbers PI itself draws a straight line, or a step where the tag has `step`. No line crosses an event that
is no good number, such as `Shutdown`, or a pause that is long for the tag.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from difflib import get_close_matches
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pi_dagster.ingest.errors import IngestError
from pi_dagster.lake import Lake, TimeseriesTable
from pi_dagster.pictures.daily_numbers import read_points

_PAUSES = 5.0
_MOST_LEVELS = 15
"""States that are told apart; more are free texts, whose order means nothing."""

NO_EVENTS = "no events"
BAD_VALUE = "bad value"
_COLUMNS = [
    "timestamp",
    "event_ordinal",
    "value",
    "value_string",
    "digital_state_code",
    "is_system_state",
    "quality_good",
    "units",
]


class TagUnknownError(IngestError):
    """There is no tag of that name."""


class NoEventsError(IngestError):
    """The table has no events of the tag in that time."""


@dataclass(frozen=True)
class Stretch:
    """Numbers that a line may lead through."""

    times: Sequence[datetime]
    values: Sequence[float]
    holds_until: datetime | None
    """When the event after it ended the last number, for a tag with `step`; None where a pause follows, or nothing."""


@dataclass(frozen=True)
class Outage:
    """A stretch of events that are no good numbers, or without any events."""

    start: datetime
    end: datetime
    text: str
    """The state, `bad value`, or `no events`."""


@dataclass(frozen=True)
class TagSeries:
    """A tag over time."""

    name: str
    units: str
    step: bool
    start: datetime
    end: datetime
    stretches: Sequence[Stretch]
    outages: Sequence[Outage]
    levels: Sequence[str] | None
    """For digital states and texts: their names; the numbers are positions in it."""
    events: int
    longest_pause: timedelta
    """What is longer is drawn as a gap."""

    @property
    def numbers(self) -> int:
        """Events that are drawn as values."""
        return sum(len(stretch.times) for stretch in self.stretches)


def read_series(
    lake: Lake, name: str, start: datetime, end: datetime, *, longest_pause: timedelta | None = None
) -> TagSeries:
    """Read a tag from pi_timeseries.

    Where a server was rebuilt, tags of one name have several ids: each is read until the first event of the next one.

    Args:
        lake: where the tables are.
        name: the tag's name; case does not count.
        start: the first instant, UTC.
        end: the first instant after.
        longest_pause: what is longer has no line; default: five times what 99 of 100 pauses of the tag keep below.

    Raises:
        TagUnknownError: pi_points has no such tag; the message names similar ones.
        NoEventsError: the tag has no events then.
        PointsMissingError: pi_points has not been loaded.
        LakeError: the storage failed.
    """
    points = _find(read_points(lake), name)
    point, parts, until = points[0], list[pa.Table](), end
    for one in points:
        rows = _rows(lake, one["tag_webid"], start, until)
        if rows.num_rows:
            parts.append(rows)
            until = rows["timestamp"][0].as_py()
    if not parts:
        raise NoEventsError(
            f"pi_timeseries has no events of {point['tag_name']} from {start:%Y-%m-%d %H:%M} to "
            f"{end:%Y-%m-%d %H:%M} UTC. Choose another time with --from and --to, or load those days first."
        )
    return series_of(
        pa.concat_tables(reversed(parts)),
        name=point["tag_name"],
        step=bool(point["step"]),
        units=point["engineering_units"] or "",
        start=start,
        end=end,
        longest_pause=longest_pause,
    )


def series_of(
    rows: pa.Table,
    *,
    name: str,
    step: bool,
    units: str,
    start: datetime,
    end: datetime,
    longest_pause: timedelta | None = None,
) -> TagSeries:
    """What is to be drawn of the rows of one tag, in time order, at least one."""
    times = rows["timestamp"].to_pylist()
    usual = _usual_pause(rows["timestamp"].combine_chunks())
    pause = usual if longest_pause is None else longest_pause
    is_good = pc.fill_null(rows["quality_good"], False).to_pylist()
    is_state = pc.fill_null(rows["is_system_state"], False).to_pylist()
    values: list[float | None] = rows["value"].to_pylist()
    texts: list[str | None] = rows["value_string"].to_pylist()
    levels: list[str] | None = None
    if all(value is None for value in values):
        told = zip(texts, is_good, is_state, strict=True)
        levels = sorted({text for text, good, system in told if text is not None and good and not system})
        place = {text: float(position) for position, text in enumerate(levels)}
        if len(levels) > _MOST_LEVELS:
            place = dict.fromkeys(place, 0.0)
            levels = [f"{len(place):,} texts"]
        values = [place.get(text or "") for text in texts]
        step = True
    drawn = [
        value if good and not system and value is not None and np.isfinite(value) else None
        for value, good, system in zip(values, is_good, is_state, strict=True)
    ]
    names = [
        None if value is not None else (text if system and text else BAD_VALUE)
        for value, text, system in zip(drawn, texts, is_state, strict=True)
    ]
    return TagSeries(
        name=name,
        units=units,
        step=step,
        start=start,
        end=end,
        stretches=_stretches(times, drawn, pause, step=step),
        outages=_outages(times, names, pause, start, end),
        levels=levels,
        events=len(times),
        longest_pause=pause,
    )


def _find(points: pa.Table, name: str) -> list[dict[str, Any]]:
    """The tags of that name, the one that the server listed last first."""
    names = points["tag_name"].to_pylist()
    positions = [position for position, known in enumerate(names) if known.casefold() == name.casefold()]
    if positions:
        found: list[dict[str, Any]] = points.take(positions).sort_by([("last_seen", "descending")]).to_pylist()
        return found
    by_name = {known.casefold(): known for known in names}
    near = [by_name[match] for match in get_close_matches(name.casefold(), by_name, n=5, cutoff=0.6)]
    holding = [known for known in names if name.casefold() in known.casefold()][:5]
    similar = list(dict.fromkeys([*holding, *near]))[:5]
    remedy = f"Did you mean {', '.join(similar)}?" if similar else "`pi-dagster tags` lists them."
    if "*" in name or "?" in name:
        remedy = f"One tag is drawn, by its whole name: `*` and `?` stand for nothing here. {remedy}"
    raise TagUnknownError(f"There is no tag {name} among the {len(names):,} of pi_points. {remedy}")


def _rows(lake: Lake, web_id: str, start: datetime, end: datetime) -> pa.Table:
    is_wanted = (
        (pc.field("tag_webid") == web_id)
        & (pc.field("timestamp") >= start)
        & (pc.field("timestamp") < end)
        & (pc.field("partition_date") >= start.date())
        & (pc.field("partition_date") <= end.date())
    )
    rows = TimeseriesTable.open(lake, create=False).to_arrow(_COLUMNS, where=is_wanted)
    return rows.sort_by([("timestamp", "ascending"), ("event_ordinal", "ascending")])


def _usual_pause(instants: pa.Array) -> timedelta:
    pauses = np.diff(np.asarray(instants.cast(pa.timestamp("us", "UTC")).cast(pa.int64())))
    if not len(pauses):
        return timedelta(days=1)
    return timedelta(microseconds=max(1.0, _PAUSES * float(np.quantile(pauses, 0.99))))


def _stretches(
    times: Sequence[datetime], drawn: Sequence[float | None], pause: timedelta, *, step: bool
) -> list[Stretch]:
    found: list[Stretch] = []
    begin: int | None = None
    for position, value in enumerate(drawn):
        is_last = position + 1 == len(drawn)
        if value is None:
            continue
        begin = position if begin is None else begin
        follows = not is_last and times[position + 1] - times[position] <= pause
        if is_last or not follows or drawn[position + 1] is None:
            until = times[position + 1] if step and follows else None
            values = [number for number in drawn[begin : position + 1] if number is not None]
            found.append(Stretch(times[begin : position + 1], values, until))
            begin = None
    return found


def _outages(
    times: Sequence[datetime], names: Sequence[str | None], pause: timedelta, start: datetime, end: datetime
) -> list[Outage]:
    """Stretches without a value: an event that is none lasts until the next one, as PI has it."""
    found: list[Outage] = []
    if times[0] - start > pause:
        found.append(Outage(start, times[0], NO_EVENTS))
    for at, following, name in zip(times, [*times[1:], end], names, strict=True):
        if name is not None and found and found[-1].end == at and found[-1].text == name:
            found[-1] = Outage(found[-1].start, following, name)
        elif name is not None:
            found.append(Outage(at, following, name))
        elif following - at > pause:
            found.append(Outage(at, following, NO_EVENTS))
    return found
