"""The numbers of each tag's day, computed from the committed table in one pass over the day's rows.

The rows come sorted by tag and time, so a number of all tags is one operation on a column (as for the rules, see
`quality/tag_rows.py`), and memory does not grow with the rows.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import astuple, dataclass
from datetime import date

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from pi_dagster.ingest.errors import PointsMissingError
from pi_dagster.lake import Lake, PointsTable, TableMissingError, TimeseriesDailyTable, TimeseriesTable
from pi_dagster.lake.live_files import live_files
from pi_dagster.lake.location import TableFolder
from pi_dagster.lake.schemas import TIMESERIES_DAILY_FILE_SCHEMA, TIMESERIES_FILE_SCHEMA
from pi_dagster.lake.sorted_rows import sorted_rows
from pi_dagster.lake.timeseries_daily import files_digest
from pi_dagster.quality.tag_rows import Booleans, Integers, Numbers, TagRows, in_whole_tags
from pi_dagster.site import Site

_COLUMNS = ("tag_webid", "timestamp", "event_ordinal", "tag_name", "value", "quality_good", "is_system_state")
_ROWS_SCHEMA = pa.schema([field for field in TIMESERIES_FILE_SCHEMA if field.name in _COLUMNS])


@dataclass(frozen=True)
class Totals:
    """The numbers of many tags' day together."""

    tags: int
    """Tags that the server lists."""
    tags_with_events: int
    """Tags that have an event in the table, deleted ones too."""
    events: int
    bad_events: int
    system_states: int


@dataclass(frozen=True)
class DailyNumbers:
    """A day of pi_timeseries_daily, committed."""

    rows: pa.Table
    """As TIMESERIES_DAILY_FILE_SCHEMA."""
    by_group: Mapping[str, Totals]
    """By partition, in the order of the site."""
    silent_tags: Sequence[str]
    """Names of the tags that the server lists and that have no event."""
    seconds: float
    table_version: int

    @property
    def totals(self) -> Totals:
        """Of all tag groups together."""
        groups = [astuple(group) for group in self.by_group.values()]
        return Totals(*(sum(numbers) for numbers in zip(*groups, strict=True)))


def compute_day(site: Site, lake: Lake, day: date, *, run_id: str) -> DailyNumbers | None:
    """Compute the numbers of a day from pi_timeseries and replace those of before, in one commit.

    Args:
        site: says which tag groups there are.
        lake: where the tables are.
        day: the UTC day.
        run_id: kept in the commit.

    Returns:
        What was committed; None where pi_timeseries has nothing of the day, and then the day has no rows any more.

    Raises:
        PointsMissingError: pi_points has not been loaded.
        LakeError: the storage failed.
    """
    began = time.monotonic()
    timeseries = TimeseriesTable.open(lake)
    partitions = {(day, group) for group in site.partition_names()}
    files = live_files(timeseries.snapshot(), partitions)
    digest = files_digest(file.path for of_partition in files.values() for file in of_partition)
    folder = TableFolder(lake, timeseries.definition.name)
    points = read_points(lake)
    steps = set(points.filter(points["step"])["tag_webid"].to_pylist())
    batches = [
        _numbers_of(rows, steps, tag_group=tag_group, source_files=digest)
        for (_, tag_group), of_partition in sorted(files.items())
        for rows in in_whole_tags(sorted_rows(folder, of_partition, schema=_ROWS_SCHEMA))
    ]
    numbers = pa.Table.from_batches(batches, TIMESERIES_DAILY_FILE_SCHEMA)
    version = TimeseriesDailyTable.open(lake).replace_day(day, numbers, {"site": site.name, "run_id": run_id})
    if not numbers.num_rows:
        return None
    listed = points.filter(points["is_active"])
    return DailyNumbers(
        numbers,
        totals_by_group(site, numbers, listed),
        silent_tags(site, numbers, listed)["tag_name"].to_pylist(),
        time.monotonic() - began,
        version,
    )


def totals_by_group(site: Site, numbers: pa.Table, listed: pa.Table) -> Mapping[str, Totals]:
    """The numbers of each partition of the site, in its order.

    Args:
        site: says which partitions there are.
        numbers: rows of pi_timeseries_daily of one day.
        listed: the tags that the server lists, as rows of pi_points.
    """
    sums = numbers.group_by("tag_group").aggregate(
        [("tag_webid", "count"), ("events", "sum"), ("bad_events", "sum"), ("system_states", "sum")]
    )
    found = {row["tag_group"]: row for row in sums.to_pylist()}
    tags = {row["values"]: row["counts"] for row in listed["tag_group"].value_counts().to_pylist()}
    summed = ("tag_webid_count", "events_sum", "bad_events_sum", "system_states_sum")
    return {
        group: Totals(tags.get(group, 0), *(found[group][name] if group in found else 0 for name in summed))
        for group in site.partition_names()
    }


def silent_tags(site: Site, numbers: pa.Table, listed: pa.Table) -> pa.Table:
    """The tags of the site that have no event on a day, as rows of pi_points, by name.

    Args:
        site: says which partitions there are.
        numbers: rows of pi_timeseries_daily of that day.
        listed: the tags that the server lists, as rows of pi_points.
    """
    is_loaded = pc.is_in(listed["tag_group"], pa.array(site.partition_names(), pa.string()))
    has_events = pc.is_in(listed["tag_webid"], numbers["tag_webid"].combine_chunks())
    return listed.filter(pc.and_not(is_loaded, has_events)).sort_by("tag_name")


def read_points(lake: Lake) -> pa.Table:
    """The tags: WebID, name, tag group, whether they have `step`, whether the server lists them, and when it did last.

    Raises:
        PointsMissingError: pi_points has not been loaded.
        LakeAccessError: the storage failed.
    """
    columns = [
        "tag_webid",
        "tag_name",
        "tag_group",
        "step",
        "is_active",
        "last_seen",
        "point_type",
        "engineering_units",
    ]
    try:
        return PointsTable.open(lake, create=False).to_arrow(columns)
    except TableMissingError:
        raise PointsMissingError("There is no list of tags yet: materialize pi_points first.") from None


def _numbers_of(rows: TagRows, steps: Collection[str], *, tag_group: str, source_files: str) -> pa.RecordBatch:
    tags = len(rows.web_ids)
    is_good, is_system = rows.flag("quality_good"), rows.flag("is_system_state")
    ends = np.append(rows.starts[1:], rows.table.num_rows) - 1
    events = _count(rows.tag, tags)
    good = _count(rows.tag[is_good], tags)
    numbers = rows.good_numbers
    number_count = _count(numbers.tag, tags)
    has_numbers = number_count > 0
    first = (np.cumsum(number_count) - number_count)[has_numbers]
    last = first + number_count[has_numbers] - 1
    values = numbers.value

    def of_numbers(found: npt.NDArray[np.float64]) -> pa.Array:
        """A column of the tags that have numbers; null for the others, and for what no number holds."""
        column = np.full(tags, np.nan)
        column[has_numbers] = found
        return pa.array(column, mask=~np.isfinite(column))

    with np.errstate(over="ignore", invalid="ignore"):
        mean = np.add.reduceat(values, first) / number_count[has_numbers] if len(first) else np.empty(0)
        over_time = _mean_over_time(rows, is_good, np.array([web_id in steps for web_id in rows.web_ids], bool))
    instants = rows.table["timestamp"].combine_chunks()
    names = rows.table["tag_name"].combine_chunks().take(pa.array(ends)).cast(pa.string())
    return pa.RecordBatch.from_pydict(
        {
            "tag_webid": list(rows.web_ids),
            "tag_name": names,
            "tag_group": [tag_group] * tags,
            "events": events,
            "good_events": good,
            "bad_events": events - good,
            "system_states": _count(rows.tag[is_system], tags),
            "number_count": number_count,
            "min_value": of_numbers(np.minimum.reduceat(values, first) if len(first) else np.empty(0)),
            "max_value": of_numbers(np.maximum.reduceat(values, first) if len(first) else np.empty(0)),
            "mean_value": of_numbers(mean),
            "time_weighted_mean": pa.array(over_time, mask=~np.isfinite(over_time)),
            "first_value": of_numbers(values[first]),
            "last_value": of_numbers(values[last]),
            "first_event": instants.take(pa.array(rows.starts)).cast(pa.timestamp("us", "UTC")),
            "last_event": instants.take(pa.array(ends)).cast(pa.timestamp("us", "UTC")),
            "longest_gap_seconds": pa.array(_longest_gap_seconds(rows), mask=events < 2),
            "source_files": [source_files] * tags,
        },
        TIMESERIES_DAILY_FILE_SCHEMA,
    )


def _mean_over_time(rows: TagRows, is_good: Booleans, has_step: Booleans) -> Numbers:
    """Each tag's mean over the stretches that begin with a good number; NaN where these take no time."""
    value, instant, tag = rows.value, rows.instant, rows.tag
    is_number = is_good & ~np.isnan(value)
    weighs = is_number[:-1] & (tag[1:] == tag[:-1])
    leads_on = is_number[1:] & ~has_step[tag[:-1]]
    height = np.where(leads_on, value[:-1] / 2 + value[1:] / 2, value[:-1])[weighs]
    length = (instant[1:] - instant[:-1]).astype(np.float64)[weighs]
    of_tag, tags = tag[:-1][weighs], len(rows.web_ids)
    area = np.bincount(of_tag, height * length, minlength=tags)
    taken = np.bincount(of_tag, length, minlength=tags)
    mean: Numbers = np.divide(area, taken, out=np.full(tags, np.nan), where=taken > 0)
    return mean


def _longest_gap_seconds(rows: TagRows) -> Numbers:
    gaps = np.diff(rows.instant, prepend=rows.instant[:1])
    gaps[rows.starts] = 0
    return np.maximum.reduceat(gaps, rows.starts) / 1e6


def _count(tag: Integers, tags: int) -> Integers:
    return np.bincount(tag, minlength=tags).astype(np.int64)
