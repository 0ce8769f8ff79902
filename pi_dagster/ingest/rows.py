"""From what is read of a partition's tags to the rows of pi_timeseries, counted as they pass."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from pi_dagster.ingest.tags import PartitionTags
from pi_dagster.lake.schemas import TIMESERIES_FILE_SCHEMA
from pi_dagster.piwebapi import RecordedReading

_SAMPLE_ROWS = 10
_HOUR_US = 3_600_000_000
_HOURS = 24
_DAY_SECONDS = 86_400


class TableRows:
    """Turns what is read into the rows of the table."""

    def __init__(self, tags: PartitionTags, *, ingestion_timestamp: datetime) -> None:
        self._tags = tags
        self._ingestion_timestamp = pa.scalar(ingestion_timestamp, pa.timestamp("us", "UTC"))
        self.names = {stream.web_id: stream.name for stream in tags.streams}
        """Tag names by WebID."""
        self.summary = RowSummary()

    def batches(self, reading: RecordedReading) -> Iterator[pa.RecordBatch]:
        """The rows as TIMESERIES_FILE_SCHEMA."""
        for events in reading:
            rows = table_rows(
                events,
                names=self.names,
                units=self._tags.units,
                ingestion_timestamp=self._ingestion_timestamp,
            )
            self.summary.add(rows)
            yield from rows.to_batches()


def table_rows(
    events: pa.Table,
    *,
    names: Mapping[str, str],
    units: Mapping[str, str | None],
    ingestion_timestamp: pa.TimestampScalar,
) -> pa.Table:
    """Events of RECORDED_SCHEMA as TIMESERIES_FILE_SCHEMA.

    Args:
        events: what a reading yields.
        names: tag names by WebID.
        units: the tags' own engineering units by WebID.
        ingestion_timestamp: when the events were read.
    """
    events = events.combine_chunks()
    tags: pa.DictionaryArray = events.column("tag_webid").chunk(0)
    web_ids = tags.dictionary.to_pylist()
    columns = {
        **{name: events.column(name) for name in events.column_names},
        "tag_name": _by_tag(tags, [names[web_id] for web_id in web_ids]),
        "units": _units(events.column("units").chunk(0), tags, [units.get(web_id) for web_id in web_ids]),
        "ingestion_timestamp": pa.repeat(ingestion_timestamp, events.num_rows),
    }
    return pa.table({name: columns[name] for name in TIMESERIES_FILE_SCHEMA.names})


@dataclass
class RowSummary:
    """Counts over the rows as they pass."""

    tags: set[str] = field(default_factory=set)
    by_type: Counter[str] = field(default_factory=Counter)
    by_system_state: Counter[str] = field(default_factory=Counter)
    flagged: Counter[str] = field(default_factory=Counter)
    events_by_hour: list[int] = field(default_factory=lambda: [0] * _HOURS)
    """Of the UTC day that the first event is in."""
    bad_by_hour: list[int] = field(default_factory=lambda: [0] * _HOURS)
    first_event: datetime | None = None
    last_event: datetime | None = None
    sample: pa.Table = field(default_factory=TIMESERIES_FILE_SCHEMA.empty_table)

    def add(self, rows: pa.Table) -> None:
        """Count rows of the table, at least one."""
        self.tags.update(rows.column("tag_webid").chunk(0).dictionary.to_pylist())
        numbers = rows.num_rows - rows.column("value").null_count
        states = rows.num_rows - rows.column("digital_state_code").null_count
        system = _count(rows.column("is_system_state"))
        texts = rows.num_rows - rows.column("value_string").null_count
        if texts:
            self._add_texts(rows, numbers, states, system)
        else:
            self.by_type.update({"number": numbers, "none": rows.num_rows - numbers})
        bad = rows.num_rows - _count(rows.column("quality_good"))
        self.flagged.update(
            bad=bad,
            questionable=_count(rows.column("quality_questionable")),
            substituted=_count(rows.column("quality_substituted")),
            annotated=_count(rows.column("quality_annotated")),
        )
        first, last = pc.min_max(rows.column("timestamp")).as_py().values()
        self.first_event = min(first, self.first_event or first)
        self.last_event = max(last, self.last_event or last)
        if first.hour == last.hour:
            # So are a tail's, mostly, and need not be looked at one by one: a window lies within a day.
            self.events_by_hour[first.hour] += rows.num_rows
            self.bad_by_hour[first.hour] += bad
        else:
            self._add_hours(rows, int(first.timestamp()) // _DAY_SECONDS * _DAY_SECONDS, has_bad=bad > 0)
        if self.sample.num_rows < _SAMPLE_ROWS:
            more = rows.slice(0, _SAMPLE_ROWS - self.sample.num_rows).cast(TIMESERIES_FILE_SCHEMA)
            self.sample = pa.concat_tables([self.sample, more])

    def _add_hours(self, rows: pa.Table, midnight: int, *, has_bad: bool) -> None:
        instants = rows.column("timestamp").combine_chunks().view(pa.int64()).to_numpy()
        hours = (instants - midnight * 1_000_000) // _HOUR_US
        self.events_by_hour = _sums(self.events_by_hour, hours)
        if has_bad:
            is_bad = ~rows.column("quality_good").to_numpy()
            self.bad_by_hour = _sums(self.bad_by_hour, hours[is_bad])

    def _add_texts(self, rows: pa.Table, numbers: int, states: int, system: int) -> None:
        is_number = pc.is_valid(rows.column("value"))
        is_state = pc.or_(pc.is_valid(rows.column("digital_state_code")), rows.column("is_system_state"))
        is_text = pc.and_not(pc.and_not(pc.is_valid(rows.column("value_string")), is_number), is_state)
        kinds = {
            "number": numbers,
            "system state": system,
            "digital state": _count(is_state) - system,
            "text": _count(is_text),
        }
        self.by_type.update({**kinds, "none": rows.num_rows - sum(kinds.values())})
        if system:
            names = rows.column("value_string").filter(rows.column("is_system_state"))
            self.by_system_state.update(
                {row["values"] or "": row["counts"] for row in names.value_counts().to_pylist()}
            )


def _units(sent: pa.DictionaryArray, tags: pa.DictionaryArray, units_of_tags: list[str | None]) -> pa.Array:
    """The unit that came with the values, else the tag's own: for points PI sends an empty one."""
    of_tags = _by_tag(tags, units_of_tags)
    if not any(sent.dictionary.to_pylist()):
        return of_tags
    texts = sent.cast(pa.string())
    return pc.if_else(pc.equal(texts, ""), of_tags.cast(pa.string()), texts)


def _by_tag(tags: pa.DictionaryArray, texts: list[Any]) -> pa.DictionaryArray:
    """A column that has one text for each tag."""
    distinct = {text: code for code, text in enumerate(dict.fromkeys(text for text in texts if text is not None))}
    codes = np.array([distinct.get(text, -1) for text in texts], np.int32)[tags.indices.to_numpy()]
    return pa.DictionaryArray.from_arrays(pa.array(codes, mask=codes < 0), pa.array(distinct, pa.string()))


def _count(flags: pa.ChunkedArray) -> int:
    return int(pc.sum(flags).as_py() or 0)


def _sums(counts: Sequence[int], hours: npt.NDArray[np.int64]) -> list[int]:
    found = np.bincount(hours, minlength=_HOURS)[:_HOURS].tolist()
    return [count + more for count, more in zip(counts, found, strict=True)]
