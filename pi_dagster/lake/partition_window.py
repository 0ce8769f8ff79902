"""A window of one partition of pi_timeseries, and which rows may be in it.

Rows outside their window would survive its next run and be there twice after the run of the window that they belong
to, so they are refused before anything is committed.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import date, datetime, timedelta, timezone

import pyarrow as pa
import pyarrow.compute as pc

from pi_dagster.lake.errors import RowsRefusedError
from pi_dagster.lake.schemas import TIMESERIES_FILE_SCHEMA, TIMESERIES_KEY

_TAG_GROUP = re.compile(r"[A-Za-z0-9_.-]+")


@dataclass(frozen=True)
class PartitionWindow:
    """The instants `start <= t < end` of one partition.

    Args:
        partition_date: UTC day of the partition.
        tag_group: tag group of the partition.
        start: first instant inside, aware, UTC.
        end: first instant after, aware, UTC.

    Raises:
        ValueError: a bound is not in UTC or not in the day, or the name would not do as a folder's.
    """

    partition_date: date
    tag_group: str
    start: datetime
    end: datetime

    def __post_init__(self) -> None:
        if not _TAG_GROUP.fullmatch(self.tag_group):
            raise ValueError(f"{self.tag_group!r} cannot be the name of a tag group")
        for bound in (self.start, self.end):
            if bound.utcoffset() != timedelta(0):
                raise ValueError(f"a window's bounds must be in UTC, not {bound!r}")
        day = self.partition_date
        midnight = datetime(day.year, day.month, day.day, tzinfo=timezone.utc)
        if not midnight <= self.start <= self.end <= midnight + timedelta(days=1):
            raise ValueError(f"the window {self.start} to {self.end} does not lie in the day {day}")

    @property
    def partition(self) -> tuple[date, str]:
        """The UTC day and the tag group."""
        return self.partition_date, self.tag_group

    @property
    def partition_values(self) -> dict[str, str]:
        """The partition, as Delta writes it in paths and commits."""
        return {"partition_date": self.partition_date.isoformat(), "tag_group": self.tag_group}

    def facts(self) -> dict[str, str]:
        """The window, as the commit's metadata tells it."""
        return {
            **self.partition_values,
            "window_start": self.start.isoformat(),
            "window_end": self.end.isoformat(),
        }

    def check(self, batch: pa.RecordBatch) -> None:
        """Refuse rows that may not become the window's.

        Raises:
            RowsRefusedError: other columns, a row without its key, or a row outside the window.
        """
        where = f"for {self.tag_group} on {self.partition_date}"
        if batch.schema.names != TIMESERIES_FILE_SCHEMA.names or any(
            _plain(field.type) != TIMESERIES_FILE_SCHEMA.field(field.name).type for field in batch.schema
        ):
            raise RowsRefusedError(
                f"Rows {where} have other columns than pi_timeseries: {_differing_fields(batch.schema)}. "
                "This is a defect of what reads PI, not of your settings."
            )
        for name in TIMESERIES_KEY:
            if batch.column(name).null_count:
                raise RowsRefusedError(
                    f"Rows {where} lack {name}, which is part of the key. This is a defect of what reads PI."
                )
        if not batch.num_rows:
            return
        first, last = pc.min_max(batch.column("timestamp")).as_py().values()
        if first < self.start or last >= self.end:
            raise RowsRefusedError(
                f"Rows {where} reach from {first} to {last}, which is not within the window "
                f"{self.start} <= timestamp < {self.end} that they should replace. This is a defect of what reads PI."
            )

    def holds(self, first: datetime, last: datetime) -> bool:
        """True when all instants from `first` to `last` are inside."""
        return self.start <= first and last < self.end

    def meets(self, first: datetime, last: datetime) -> bool:
        """True when an instant from `first` to `last` may be inside."""
        return first < self.end and last >= self.start

    def mask(self, instants: pa.Array) -> pa.Array:
        """True for each instant inside."""
        kind = instants.type
        return pc.and_(
            pc.greater_equal(instants, pa.scalar(self.start, kind)), pc.less(instants, pa.scalar(self.end, kind))
        )


def _plain(kind: pa.DataType) -> pa.DataType:
    return kind.value_type if pa.types.is_dictionary(kind) else kind


def _differing_fields(found: pa.Schema) -> str:
    expected = {field.name: field.type for field in TIMESERIES_FILE_SCHEMA}
    actual = {field.name: _plain(field.type) for field in found}
    differences = [
        f"{name} is {actual.get(name, 'missing')}" for name in expected if actual.get(name) != expected[name]
    ]
    differences += [f"{name} is not a column" for name in actual if name not in expected]
    return ", ".join(differences) or "they are in another order"
