"""Events of a point as columns, and the instants that they have."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pi_dagster.simulator.points import FLOAT_TYPES, SYSTEM_STATES, PointType

Ticks = int
"""An instant: 100 ns steps since 1970-01-01T00:00:00Z, the resolution of PI Web API timestamps."""

TICKS_PER_SECOND = 10_000_000
MIN_TICKS = 0
MAX_TICKS = 2_534_023_007_999_999_999
"""9999-12-31T23:59:59.9999999Z, the last instant PI can name."""

BAD, QUESTIONABLE, SUBSTITUTED, ANNOTATED = 1, 2, 4, 8
"""Bits of `Events.flags`."""

NOT_A_STATE = -1
"""In `Events.states`: the event holds a real value."""

_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)


def to_ticks(instant: datetime) -> Ticks:
    """The ticks of an aware datetime."""
    return (instant - _EPOCH) // timedelta(microseconds=1) * 10


def utc_now() -> Ticks:
    """The ticks of this machine's clock, the default clock of a generated archive."""
    return to_ticks(datetime.now(timezone.utc))


def iso_timestamp(ticks: Ticks) -> str:
    """The instant as PI Web API prints it: UTC, `Z`, 0 to 7 fraction digits without trailing zeros."""
    seconds, fraction = divmod(int(ticks), TICKS_PER_SECOND)
    days, of_day = divmod(seconds, 86_400)
    text = f"{_date(days)}T{of_day // 3600:02d}:{of_day // 60 % 60:02d}:{of_day % 60:02d}"
    return f"{text}.{fraction:07d}".rstrip("0") + "Z" if fraction else text + "Z"


@lru_cache(maxsize=4096)
def _date(days: int) -> str:
    return (_EPOCH + timedelta(days=days)).strftime("%Y-%m-%d")


@dataclass(frozen=True, eq=False)
class Events:
    """Recorded values of one point, as arrays of one length, in the order they are read.

    `values` holds float64 for the float and integer types (exact for Int32), int64 offsets into
    `digital_states` for Digital, and objects for String (str), Timestamp (str, ISO) and Blob (bytes). Where
    `states` is not `NOT_A_STATE` the event is that system state and its value means nothing. `flags` are the
    bits `BAD`, `QUESTIONABLE`, `SUBSTITUTED`, `ANNOTATED`.
    """

    point_type: PointType
    ticks: NDArray[np.int64]
    values: NDArray[Any]
    states: NDArray[np.int32]
    flags: NDArray[np.uint8]
    digital_states: tuple[str, ...] = ()

    @classmethod
    def of(
        cls,
        point_type: PointType,
        ticks: Sequence[Ticks] | NDArray[np.int64],
        values: Sequence[object] | NDArray[Any],
        *,
        states: Sequence[int] | NDArray[np.int32] | None = None,
        flags: Sequence[int] | NDArray[np.uint8] | None = None,
        digital_states: tuple[str, ...] = (),
    ) -> Events:
        """Build events from sequences; without `states` all are real, without `flags` bad where a state is.

        The value beside a system state may be anything the type can hold, or None.
        """
        dtype = value_dtype(point_type)
        if isinstance(values, np.ndarray):
            array = values.astype(dtype)
        else:
            array = np.empty(len(values), dtype=dtype)
            for i, value in enumerate(values):
                array[i] = 0 if value is None and dtype is not np.object_ else value
        count = len(array)
        state_codes = np.full(count, NOT_A_STATE, np.int32) if states is None else np.asarray(states, np.int32)
        if flags is None:
            flags = np.where(state_codes == NOT_A_STATE, 0, BAD).astype(np.uint8)
        return cls(
            point_type=point_type,
            ticks=np.asarray(ticks, np.int64),
            values=array,
            states=state_codes,
            flags=np.asarray(flags, np.uint8),
            digital_states=digital_states,
        )

    @classmethod
    def none(cls, point_type: PointType, digital_states: tuple[str, ...] = ()) -> Events:
        """No events, of that type."""
        return cls.of(point_type, [], [], digital_states=digital_states)

    @classmethod
    def concat(cls, parts: Sequence[Events]) -> Events:
        """The events of all parts (at least one, all of one point), one after the other."""
        if len(parts) == 1:
            return parts[0]
        first = parts[0]
        return cls(
            point_type=first.point_type,
            ticks=np.concatenate([part.ticks for part in parts]),
            values=np.concatenate([part.values for part in parts]),
            states=np.concatenate([part.states for part in parts]),
            flags=np.concatenate([part.flags for part in parts]),
            digital_states=first.digital_states,
        )

    def __len__(self) -> int:
        return len(self.ticks)

    def __getitem__(self, which: slice | NDArray[Any]) -> Events:
        """The events a slice, an index array or a mask selects."""
        return Events(
            point_type=self.point_type,
            ticks=self.ticks[which],
            values=self.values[which],
            states=self.states[which],
            flags=self.flags[which],
            digital_states=self.digital_states,
        )

    def reversed(self) -> Events:
        """The same events, newest first (equal instants too: the exact mirror of the archive order)."""
        return self[::-1]

    def between(self, start: Ticks, end: Ticks) -> Events:
        """The events with start <= instant <= end; the events must be in archive order."""
        first = int(np.searchsorted(self.ticks, start, "left"))
        last = int(np.searchsorted(self.ticks, end, "right"))
        return self if first == 0 and last == len(self) else self[first:last]

    def limited(self, limit: int | None, *, descending: bool) -> Events:
        """Archive-ordered events turned into the reading direction and cut after `limit`."""
        if descending:
            return self.reversed()[:limit]
        return self if limit is None or limit >= len(self) else self[:limit]

    @property
    def nbytes(self) -> int:
        """Bytes the arrays take, counting a guess of 64 for an object value."""
        value_bytes = 64 * len(self) if self.values.dtype == np.object_ else self.values.nbytes
        return int(self.ticks.nbytes + value_bytes + self.states.nbytes + self.flags.nbytes)

    def value_at(self, index: int) -> object:
        """The value of one event as PI Web API writes it in JSON.

        A number, a string (Timestamp too), a list of 0..255 (Blob), or for digital and system states
        `{"Name", "Value", "IsSystem"}`. Float32 and Float16 come with the digits of their width; a number
        JSON cannot write comes as `"NaN"`, `"Infinity"` or `"-Infinity"`.
        Source: PI Web API reference, topic `value-types`.
        """
        state = int(self.states[index])
        if state != NOT_A_STATE:
            return {"Name": SYSTEM_STATES.get(state, ""), "Value": state, "IsSystem": True}
        value = self.values[index]
        if self.point_type == "Digital":
            return {"Name": self.digital_states[int(value)], "Value": int(value), "IsSystem": False}
        if self.point_type == "Blob":
            return list(value)
        if self.point_type in FLOAT_TYPES:
            if not np.isfinite(value):
                return "NaN" if np.isnan(value) else "Infinity" if value > 0 else "-Infinity"
            return float(str(value.astype(FLOAT_WIDTHS[self.point_type])))
        return value if isinstance(value, str) else int(value)


FLOAT_WIDTHS: Mapping[str, Any] = {"Float16": np.float16, "Float32": np.float32, "Float64": np.float64}
"""The numpy type whose digits a float point prints."""


def value_dtype(point_type: PointType) -> Any:
    """The numpy dtype of `Events.values` for a point type."""
    if point_type == "Digital":
        return np.int64
    return np.object_ if point_type in ("String", "Timestamp", "Blob") else np.float64
