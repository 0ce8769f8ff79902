"""Is a tag silent for longer than it ever is?

PI records what changes, so every tag has a habit of its own: one has an event a second, another one a shift. A tag is
silent when its last event is much older than the longest pause between two events of the days before.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import date, datetime, timedelta, timezone

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from pi_dagster.checks.verdict import MOST_NAMED, Verdict, counted, duration
from pi_dagster.lake import Lake, PointsTable, TableMissingError, TimeseriesDailyTable

NAME = "no_silent_tag"

DESCRIPTION = """
No tag's last event is older than {factor:g} times its longest pause of the last {days} days (`checks.silent_factor`,
`checks.habit_days`), and than {minutes:g} minutes (`checks.silent_minutes`). Pauses of days before yesterday are taken
from `pi_timeseries_daily`. A group that is not loaded up to now is judged up to where it is loaded.
"""

FEWEST_EVENTS = 10
"""A tag with fewer in all these days has no habit to compare with."""

_MOST_GROUPS_NAMED = 5
_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
_MICROSECOND = timedelta(microseconds=1)
_DAY_US = timedelta(days=1) // _MICROSECOND
_COLUMNS = ["tag_webid", "tag_group", "partition_date", "events", "first_us", "last_us", "longest_gap_us"]
_WHAT_TO_DO = (
    "Look at the tag in PI: is its scan on, does its interface run, does the instrument send? Where such pauses are "
    "normal, raise checks.silent_factor."
)

Integers = npt.NDArray[np.int64]


def read_habits(lake: Lake, first: date, before: date) -> pa.Table:
    """The tags' days from `first` to the one before `before`, by pi_timeseries_daily; no rows where it has none.

    Returns:
        `tag_webid`, `tag_group`, `partition_date`, `events`, `first_us`, `last_us`, `longest_gap_us`, as in
        TAG_DAYS_SCHEMA.

    Raises:
        LakeAccessError: the storage failed.
    """
    columns = ["tag_webid", "tag_group", "partition_date", "events", "first_event", "last_event", "longest_gap_seconds"]
    is_wanted = (pc.field("partition_date") >= first) & (pc.field("partition_date") < before)
    try:
        days = TimeseriesDailyTable.open(lake, create=False).to_arrow(columns, where=is_wanted)
    except TableMissingError:
        days = TimeseriesDailyTable.definition.schema.empty_table().select(columns)
    gaps = pc.fill_null(pc.multiply(days["longest_gap_seconds"], 1e6), 0).cast(pa.int64(), safe=False)
    instants = [days[name].cast(pa.int64()) for name in ("first_event", "last_event")]
    return pa.table([*(days[name] for name in columns[:4]), *instants, gaps], names=_COLUMNS)


def read_listed_tags(lake: Lake) -> pa.Table:
    """The tags that the server lists: WebID, name, tag group.

    Raises:
        TableMissingError: pi_points has not been loaded.
        LakeAccessError: the storage failed.
    """
    table = PointsTable.open(lake, create=False)
    return table.to_arrow(["tag_webid", "tag_name", "tag_group"], where=pc.field("is_active") & ~pc.field("future"))


def judge_silence(
    facts: pa.Table,
    habits: pa.Table,
    listed: pa.Table,
    *,
    reached: Mapping[str, datetime],
    unreadable: Collection[str],
    factor: float,
    shortest: timedelta,
) -> Verdict:
    """Whether no tag has been silent for longer than its habit.

    Args:
        facts: the tags of today and yesterday, as TAG_DAYS_SCHEMA.
        habits: the tags of the days before, as `read_habits` returns them.
        listed: the tags that the server lists, as `read_listed_tags` returns them.
        reached: tag group to the instant up to which it is loaded; other groups are not judged.
        unreadable: WebIDs of tags that could not be read, which tells another check.
        factor: a tag is silent when it pauses so many times longer than ever before, ...
        shortest: ... and at least so long.
    """
    is_judged = pc.is_in(listed["tag_group"], pa.array(sorted(reached), pa.string()))
    is_unreadable = pc.is_in(listed["tag_webid"], pa.array(sorted(unreadable), pa.string()))
    listed = listed.filter(pc.and_not(is_judged, is_unreadable))
    days = pa.concat_tables([habits, facts.select(_COLUMNS).cast(habits.schema)])
    rows = _Rows(days, listed)
    until_us = np.array([_microseconds(reached[group]) for group in listed["tag_group"].to_pylist()], np.int64)[
        rows.tag
    ]
    silent_us = until_us - rows.last_us - rows.not_loaded_us(until_us)
    allowed_us = np.maximum(rows.longest_us * factor, shortest / _MICROSECOND)
    has_habit = rows.events >= FEWEST_EVENTS
    silent = np.flatnonzero(has_habit & (silent_us > allowed_us))
    worst = silent[np.argsort(-silent_us[silent] / allowed_us[silent], kind="stable")]
    named = listed.take(pa.array(rows.tag[worst[:MOST_NAMED]])).to_pylist()
    judged_by_group = _by_group(listed, rows.tag[has_habit])
    silent_by_group = _by_group(listed, rows.tag[silent])
    judged = sum(judged_by_group.values())
    return Verdict(
        passed=not len(silent),
        said=_said(judged_by_group, silent_by_group, rows.day_count),
        numbers={
            "pi/tags_judged": judged,
            "pi/silent_tags": len(silent),
            "pi/tags_without_habit": listed.num_rows - judged,
            "pi/days_of_habit": rows.day_count,
        },
        offenders=[
            {
                "tag group": tag["tag_group"],
                "tag": tag["tag_name"],
                "last event": _EPOCH + int(rows.last_us[row]) * _MICROSECOND,
                "silent for": duration(int(silent_us[row]) * _MICROSECOND),
                "longest pause before": duration(int(rows.longest_us[row]) * _MICROSECOND),
                "what to do": _WHAT_TO_DO,
            }
            for row, tag in zip(worst[:MOST_NAMED], named, strict=True)
        ],
        tables={
            "pi/by_tag_group": [
                {
                    "tag group": group,
                    "loaded up to": until,
                    "tags judged": judged_by_group.get(group, 0),
                    "silent": silent_by_group.get(group, 0),
                }
                for group, until in list(reached.items())[:MOST_NAMED]
            ]
        },
    )


def _said(judged: Mapping[str, int], silent: Mapping[str, int], days: int) -> str:
    learned = f"habits are learned from {counted(days, 'day')}"
    total = sum(judged.values())
    if not total:
        return f"No tag has had {FEWEST_EVENTS} events yet, so that it had a habit; {learned}."
    if not silent:
        return f"None of {counted(total, 'tag')} is silent for much longer than ever before; {learned}."
    tags = sum(silent.values())
    said = f"{counted(tags, 'tag is', 'tags are')} silent for much longer than ever before, of {total:,}; {learned}."
    whole = sorted(group for group, count in silent.items() if count == judged[group])
    if whole:
        said += (
            f" All tags of {', '.join(whole[:_MOST_GROUPS_NAMED])}{' ...' * (len(whole) > _MOST_GROUPS_NAMED)}: look "
        )
        said += "at what they have in common, such as an interface."
    return said


class _Rows:
    """What the days tell of each listed tag that has had events; the columns have an entry for each.

    Args:
        days: tags and days, with the columns `_COLUMNS`.
        listed: the tags.
    """

    def __init__(self, days: pa.Table, listed: pa.Table) -> None:
        groups = pa.chunked_array([*days["tag_group"].chunks, *listed["tag_group"].chunks]).unique()
        self._first_day, self._loaded_before = _loaded_days(days, groups)
        self.day_count = len(days["partition_date"].unique())
        position = pc.index_in(days["tag_webid"], listed["tag_webid"].combine_chunks())
        days = days.append_column("tag", position).filter(pc.is_valid(position))
        days = days.sort_by([("tag", "ascending"), ("partition_date", "ascending")])
        tag, day, first, last = (_integers(days[name]) for name in ("tag", "partition_date", "first_us", "last_us"))
        day = day - self._first_day
        group = _integers(pc.index_in(days["tag_group"], groups))
        starts = np.flatnonzero(np.diff(tag, prepend=-1))
        pause = np.zeros(len(tag), np.int64)
        goes_on = (tag[1:] == tag[:-1]) & (group[1:] == group[:-1])
        # Between two days of a tag all others must be loaded: else it may have had events that nobody knows of.
        goes_on &= self._loaded_between(group[1:], day[:-1], day[1:]) == day[1:] - day[:-1] - 1
        pause[1:][goes_on] = (first[1:] - last[:-1])[goes_on]
        longest = np.maximum(pause, _integers(days["longest_gap_us"]))
        self.tag = tag[starts]
        """Position among the listed ones."""
        self.events = _reduced(np.add, _integers(days["events"]), starts)
        self.last_us = _reduced(np.maximum, last, starts)
        self.longest_us = _reduced(np.maximum, longest, starts)
        self._group = _integers(pc.index_in(listed["tag_group"], groups))[self.tag]

    def not_loaded_us(self, until_us: Integers) -> Integers:
        """How much of the time after the last event of each tag is on days that are not loaded for its tag group."""
        last_day, until_day = (us // _DAY_US - self._first_day for us in (self.last_us, until_us))
        between = np.maximum(until_day - last_day - 1, 0)
        loaded = self._loaded_between(self._group, last_day, np.maximum(until_day, last_day + 1))
        missing: Integers = (between - loaded) * _DAY_US
        return missing

    def _loaded_between(self, group: Integers, day: Integers, later: Integers) -> Integers:
        last = self._loaded_before.shape[1] - 1
        between: Integers = (
            self._loaded_before[group, np.minimum(later, last)] - self._loaded_before[group, np.minimum(day + 1, last)]
        )
        return between


def _loaded_days(days: pa.Table, groups: pa.Array) -> tuple[int, Integers]:
    """The first day, since 1970; and for each tag group and day, from the first on, how many before it have rows."""
    if not days.num_rows:
        return 0, np.zeros((len(groups) or 1, 2), np.int64)
    day = _integers(days["partition_date"])
    first, last = int(day.min()), int(day.max())
    loaded = np.zeros((len(groups), last - first + 2), np.int64)
    loaded[_integers(pc.index_in(days["tag_group"], groups)), day - first + 1] = 1
    return first, np.cumsum(loaded, axis=1)


def _by_group(listed: pa.Table, tags: Integers) -> dict[str, int]:
    counts = listed["tag_group"].take(pa.array(tags)).value_counts().to_pylist()
    return {row["values"]: row["counts"] for row in counts}


def _reduced(how: np.ufunc, column: Integers, starts: npt.NDArray[np.intp]) -> Integers:
    return how.reduceat(column, starts).astype(np.int64) if len(starts) else np.zeros(0, np.int64)


def _integers(column: pa.ChunkedArray) -> Integers:
    if pa.types.is_date32(column.type):
        column = column.cast(pa.int32())
    return np.asarray(column.to_numpy(), np.int64)


def _microseconds(instant: datetime) -> int:
    return (instant - _EPOCH) // _MICROSECOND
