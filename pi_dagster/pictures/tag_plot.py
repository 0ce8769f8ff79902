"""A tag drawn in the terminal, as a PNG or as a page; all three show the same stretches and outages."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import numpy.typing as npt

from pi_dagster.pictures.page_templates import TEMPLATES
from pi_dagster.pictures.tag_series import NO_EVENTS, Outage, Stretch, TagSeries
from pi_dagster.server_text import printable

_BUCKETS = 1000
_MOST_TOLD = 12
_DAY_SECONDS = 86_400
_LEFT, _RIGHT, _TOP, _BOTTOM = 90, 970, 16, 300

Line = tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]
"""Seconds since the begin of the plot, and values."""


class PlotsMissingError(Exception):
    """The extra that draws PNGs is not installed."""


def lines_of(series: TagSeries) -> list[Line]:
    """The lines to draw, thinned to what a thousand columns can show: each keeps its ends, smallest and largest."""
    return [_thinned(*_line(series, stretch), _seconds(series, series.end)) for stretch in series.stretches]


def as_text(series: TagSeries, *, width: int, height: int, colour: bool = True) -> str:
    """The plot for a terminal.

    Args:
        series: the tag.
        width: columns.
        height: lines of the plot, without what is told below it.
        colour: False for a file or a pipe.
    """
    import plotext

    plotext.clear_figure()
    plotext.plotsize(width, height)
    plotext.theme("default" if colour else "clear")
    plotext.canvas_color("default")
    plotext.axes_color("default")
    for seconds, values in lines_of(series):
        draw = plotext.plot if len(seconds) > 1 else plotext.scatter
        draw(seconds.tolist(), values.tolist(), marker="braille", color="blue+")
    bottom = min([float(values.min()) for _, values in lines_of(series)], default=0.0)
    for outage in series.outages:
        ends = [_seconds(series, outage.start), _seconds(series, outage.end)]
        mark = "." if outage.text == NO_EVENTS else "x"
        plotext.plot(ends, [bottom, bottom], marker=mark, color="orange" if mark == "." else "red+")
    plotext.xlim(0, _seconds(series, series.end))
    ticks = _ticks(series, max(2, width // 16))
    plotext.xticks([_seconds(series, at) for at, _ in ticks], [told for _, told in ticks])
    if series.levels is not None and len(series.levels) <= height - 3:
        plotext.yticks(list(range(len(series.levels))), [printable(level, 20) for level in series.levels])
    drawn = str(plotext.build())
    return "\n".join([_title(series), drawn if colour else plotext.uncolorize(drawn), *_told(series)])


def write_png(series: TagSeries, path: Path) -> None:
    """The plot as a PNG file.

    Raises:
        PlotsMissingError: the extra `plots` is not installed.
        OSError: the file cannot be written.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise PlotsMissingError(
            "a PNG needs matplotlib, which comes with the extra `plots`: pip install 'pi-dagster[plots]'. Without it "
            "there are the terminal and --output FILE.html"
        ) from None
    figure = Figure(figsize=(11, 4), dpi=130, layout="constrained")
    axes = figure.subplots()
    begin = _days(series.start)
    for seconds, values in lines_of(series):
        times = begin + seconds / _DAY_SECONDS
        axes.plot(times, values, color="#4c78a8", linewidth=1, marker="o" if len(times) == 1 else "", markersize=3)
    seen: set[str] = set()
    for outage in series.outages:
        label = printable(outage.text, 40)
        axes.axvspan(
            _days(outage.start),
            _days(outage.end),
            color="#c9ced4" if outage.text == NO_EVENTS else "#e9a29c",
            alpha=0.5,
            linewidth=0,
            label=None if label in seen or len(seen) > _MOST_TOLD else label,
        )
        seen.add(label)
    if seen:
        axes.legend(loc="upper right", fontsize=8)
    axes.xaxis_date()
    axes.set_xlim(begin, _days(series.end))
    axes.set_title(printable(_title(series), 120), fontsize=10, loc="left", parse_math=False)
    if series.levels is not None:
        axes.set_yticks(range(len(series.levels)), [printable(level, 30) for level in series.levels], parse_math=False)
    axes.grid(alpha=0.25)
    figure.savefig(path, format="png")


def as_page(series: TagSeries) -> str:
    """The plot as one HTML file that asks no server for anything."""
    lines = lines_of(series)
    low = min([float(values.min()) for _, values in lines], default=0.0)
    high = max([float(values.max()) for _, values in lines], default=1.0)
    margin = (high - low) * 0.05 or abs(high) * 0.05 or 1.0
    low, high = low - margin, high + margin

    def x(second: float) -> float:
        return _LEFT + second / _seconds(series, series.end) * (_RIGHT - _LEFT)

    def y(value: float) -> float:
        return _BOTTOM - (value - low) / (high - low) * (_BOTTOM - _TOP)

    levels = (
        [(y(value), f"{value:,.6g}") for value in np.linspace(low + margin, high - margin, 5)]
        if series.levels is None
        else [(y(number), printable(level, 20)) for number, level in enumerate(series.levels[:15])]
    )
    return TEMPLATES.get_template("tag_plot.html").render(
        title=_title(series),
        series=series,
        told=_told(series),
        polylines=[" ".join(f"{x(s):.1f},{y(v):.1f}" for s, v in zip(*line, strict=True)) for line in lines],
        dots=[(x(line[0][0]), y(line[1][0])) for line in lines if len(line[0]) == 1],
        bands=[
            (x(_seconds(series, outage.start)), x(_seconds(series, outage.end)), outage, outage.text == NO_EVENTS)
            for outage in series.outages
        ],
        levels=levels,
        ticks=[(x(_seconds(series, at)), told) for at, told in _ticks(series, 8)],
        left=_LEFT,
        right=_RIGHT,
        top=_TOP,
        bottom=_BOTTOM,
    )


def _line(series: TagSeries, stretch: Stretch) -> Line:
    seconds = np.array([_seconds(series, at) for at in stretch.times])
    values = np.array(stretch.values, np.float64)
    if not series.step:
        return seconds, values
    ends = seconds[1:]
    if stretch.holds_until is not None:
        ends = np.append(ends, _seconds(series, stretch.holds_until))
    # Each number holds until the next event: two points a number.
    corners = np.repeat(seconds, 2)[: 2 * len(seconds) - (stretch.holds_until is None)]
    corners[1::2] = ends
    return corners, np.repeat(values, 2)[: len(corners)]


def _thinned(seconds: npt.NDArray[np.float64], values: npt.NDArray[np.float64], whole: float) -> Line:
    if len(seconds) <= 4 * _BUCKETS:
        return seconds, values
    bucket = np.floor(seconds / whole * _BUCKETS).astype(np.int64)
    starts = np.flatnonzero(np.diff(bucket, prepend=-1))
    ends = np.append(starts[1:], len(bucket))
    extremes = [start + part for start, end in zip(starts, ends, strict=True) for part in _kept(values[start:end])]
    kept = np.unique(np.concatenate([starts, ends - 1, extremes]))
    return seconds[kept], values[kept]


def _kept(values: npt.NDArray[np.float64]) -> tuple[int, int]:
    return int(values.argmin()), int(values.argmax())


def _seconds(series: TagSeries, at: datetime) -> float:
    return (at - series.start).total_seconds()


def _days(at: datetime) -> float:
    """As Matplotlib counts time: days since 1970."""
    return at.timestamp() / _DAY_SECONDS


def _title(series: TagSeries) -> str:
    units = f" [{printable(series.units, 30)}]" if series.units and series.levels is None else ""
    return (
        f"{printable(series.name, 80)}{units}  {series.start:%Y-%m-%d %H:%M} to {series.end:%Y-%m-%d %H:%M} UTC, "
        f"{series.events:,} events"
    )


def _ticks(series: TagSeries, most: int) -> Sequence[tuple[datetime, str]]:
    """Round instants along the time axis, at most so many."""
    whole = series.end - series.start
    for minutes in (1, 2, 5, 10, 15, 30, 60, 120, 180, 360, 720, 1440, 2880, 10_080, 43_200, 525_600):
        step = timedelta(minutes=minutes)
        if whole / step <= most:
            break
    form = "%d %b" if step >= timedelta(days=1) else ("%d %b %H:%M" if whole > timedelta(days=1) else "%H:%M")
    midnight = series.start.replace(hour=0, minute=0, second=0, microsecond=0)
    at = midnight + -(-(series.start - midnight) // step) * step
    found: list[tuple[datetime, str]] = []
    while at <= series.end:
        found.append((at, format(at, form)))
        at += step
    return found


def _told(series: TagSeries) -> list[str]:
    """What is no line, in words."""
    longest = sorted(series.outages, key=lambda outage: outage.end - outage.start, reverse=True)[:_MOST_TOLD]
    lines = [*_words(sorted(longest, key=lambda outage: outage.start))]
    if len(series.outages) > _MOST_TOLD:
        lines.append(f"and {len(series.outages) - _MOST_TOLD} shorter ones")
    return lines


def _words(outages: Sequence[Outage]) -> Iterator[str]:
    for outage in outages:
        mark = "." if outage.text == NO_EVENTS else "x"
        lasted = timedelta(seconds=round((outage.end - outage.start).total_seconds()))
        from_to = f"{outage.start:%Y-%m-%d %H:%M:%S} to {outage.end:%Y-%m-%d %H:%M:%S}"
        yield f"{mark} {from_to} ({lasted})  {printable(outage.text, 60)}"
