"""Summaries of a stretch of time: averages, extremes, totals, counts, weighted by time or by event.

Source: PI Web API reference, controller `stream`, action `getsummary`; AF SDK `AFCalculationBasis`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pi_dagster.simulator.archive import Archive
from pi_dagster.simulator.events import TICKS_PER_SECOND, Events, Ticks
from pi_dagster.simulator.points import FLOAT_TYPES, INTEGER_TYPES, Point
from pi_dagster.simulator.retrieval import is_good, is_interpolated, surrounding

SUMMARY_TYPES = (
    "Total",
    "Average",
    "Minimum",
    "Maximum",
    "Range",
    "StdDev",
    "PopulationStdDev",
    "Count",
    "PercentGood",
)
ANY_TYPE_SUMMARIES = frozenset({"Count"})
"""The summaries that exist for points that hold no numbers."""
UNITS_OF_THEIR_OWN = frozenset({"Count", "PercentGood"})
"""The summaries that are not in the units of the point."""

CALCULATION_BASES = (
    "TimeWeighted",
    "EventWeighted",
    "TimeWeightedContinuous",
    "TimeWeightedDiscrete",
    "EventWeightedExcludeMostRecentEvent",
    "EventWeightedExcludeEarliestEvent",
    "EventWeightedIncludeBothEnds",
)
_TICKS_PER_DAY = 86_400 * TICKS_PER_SECOND


@dataclass(frozen=True)
class Summary:
    """One summary: its number, or None where there is no good data, and the instant of an extreme."""

    value: float | None
    at: Ticks | None = None


def is_numeric(point: Point) -> bool:
    """Whether the point holds numbers."""
    return point.point_type in FLOAT_TYPES or point.point_type in INTEGER_TYPES


def event_weighted(
    archive: Archive,
    point: Point,
    start: Ticks,
    end: Ticks,
    basis: str,
    *,
    is_only: bool,
    count_includes_bad: bool,
    counts_nothing: bool,
) -> Mapping[str, Summary]:
    """All summaries of the events from `start` to `end`, each weighing the same.

    An only interval has the events at both its ends. Where there are several, those at the end of one are left to
    the next one, or the other way round, as the basis says; the last one has no next one and leaves them out all the
    same. Source: PI Web API reference, topic `calculation-basis`.

    Args:
        archive: holds the events.
        point: whose they are.
        start: first instant of the interval.
        end: last instant of the interval.
        basis: one of CALCULATION_BASES that begins with `Event`.
        is_only: the request has no other interval.
        count_includes_bad: whether `Count` counts bad values and system states.
        counts_nothing: whether `Count` is 0 where there is nothing to count, and not a bad value.
    """
    low, high = start, end
    if not is_only and basis in ("EventWeighted", "EventWeightedExcludeMostRecentEvent"):
        high -= 1
    if not is_only and basis == "EventWeightedExcludeEarliestEvent":
        low += 1
    events = archive.events(point, low, high)
    good = events[is_good(events)]
    count = len(events) if count_includes_bad else len(good)
    found = {
        "Count": Summary(float(count) if count or counts_nothing else None),
        "PercentGood": Summary(100.0 * len(good) / len(events) if len(events) else 0.0),
    }
    if not is_numeric(point):
        return found
    values = good.values.astype(np.float64)
    total = float(values.sum()) if len(values) else None
    return {
        **found,
        "Total": Summary(total),
        "Average": Summary(float(values.mean()) if len(values) else None),
        "StdDev": Summary(float(values.std(ddof=1)) if len(values) > 1 else None),
        "PopulationStdDev": Summary(float(values.std()) if len(values) else None),
        **_extremes(values, good.ticks),
    }


def time_weighted(archive: Archive, point: Point, start: Ticks, end: Ticks, basis: str) -> Mapping[str, Summary]:
    """All summaries of the value as it was from `start` to `end`, each weighing as long as it lasted.

    `Count` is the seconds with good data; `Total` takes the value as a rate per day and scales up over bad times.
    """
    known = surrounding(archive, point, start, end)
    length = end - start
    begins = np.clip(known.ticks, start, end)
    ends = np.append(begins[1:], end)
    lasting = np.where(is_good(known), ends - begins, 0)
    good_ticks = int(lasting.sum())
    found = {
        "Count": Summary(good_ticks / TICKS_PER_SECOND),
        "PercentGood": Summary(100.0 * good_ticks / length if length else 0.0),
    }
    if not is_numeric(point):
        return found
    if not good_ticks:
        return {**found, **dict.fromkeys(set(SUMMARY_TYPES) - ANY_TYPE_SUMMARIES, Summary(None))}
    on_line = is_interpolated(point) if basis == "TimeWeighted" else basis == "TimeWeightedContinuous"
    left, right = _segment_ends(known, begins, ends, on_line)
    used = lasting > 0
    left, right, weight = left[used], right[used], lasting[used] / good_ticks
    average = float((weight * (left + right)).sum() / 2)
    square = float((weight * (left * left + left * right + right * right)).sum() / 3)
    deviation = float(np.sqrt(max(0.0, square - average * average)))
    return {
        **found,
        "Average": Summary(average),
        "Total": Summary(average * length / _TICKS_PER_DAY),
        "StdDev": Summary(deviation),
        "PopulationStdDev": Summary(deviation),
        **_extremes(np.concatenate([left, right]), np.concatenate([begins[used], ends[used]])),
    }


def _segment_ends(
    known: Events, begins: NDArray[np.int64], ends: NDArray[np.int64], on_line: bool
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The value at the begin and at the end of the stretch that follows each event."""
    values = known.values.astype(np.float64)
    if not on_line:
        return values, values
    following = np.append(values[1:], values[-1])
    next_ticks = np.append(known.ticks[1:], known.ticks[-1])
    straight = np.append(is_good(known)[1:], False) & (next_ticks > known.ticks)
    slope = np.where(straight, (following - values) / np.maximum(next_ticks - known.ticks, 1), 0.0)
    return values + slope * (begins - known.ticks), values + slope * (ends - known.ticks)


def _extremes(values: NDArray[np.float64], ticks: NDArray[np.int64]) -> dict[str, Summary]:
    if not len(values):
        return dict.fromkeys(("Minimum", "Maximum", "Range"), Summary(None))
    smallest, largest = int(values.argmin()), int(values.argmax())
    return {
        "Minimum": Summary(float(values[smallest]), int(ticks[smallest])),
        "Maximum": Summary(float(values[largest]), int(ticks[largest])),
        "Range": Summary(float(values[largest] - values[smallest])),
    }


def wanted_types(names: Sequence[str]) -> list[str]:
    """The summary types a request asks for, in the vendor's spelling; `All` is every one.

    Raises:
        ValueError: a name is none of them.
    """
    if any(name.lower() == "all" for name in names):
        return list(SUMMARY_TYPES)
    spelling = {name.lower(): name for name in SUMMARY_TYPES}
    unknown = next((name for name in names if name.lower() not in spelling), None)
    if unknown is not None:
        raise ValueError(f"The value '{unknown}' is not valid for the parameter 'summaryType'.")
    return [spelling[name.lower()] for name in names]
