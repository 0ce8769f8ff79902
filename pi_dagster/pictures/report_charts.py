"""The charts of the page about a day as shapes: where each bar, cell, point and label is, in pixels."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta, timezone

from pi_dagster.pictures.report_facts import Frame, Lag, Numbers
from pi_dagster.server_text import printable

WIDTH = 720
"""Of every chart; the page scales them to its own."""

_LABELS = 120
"""Room for names to the left."""
_DAY = timedelta(days=1)
_MOST_LANES = 12
_LONGEST_LABEL = 40


@dataclass(frozen=True)
class Shape:
    """A rectangle with what it tells when it is pointed at."""

    x: float
    y: float
    width: float
    height: float
    kind: str
    """What it is, which decides its colour."""
    told: str
    label: str = ""
    """What stands in it, or beside it."""


@dataclass(frozen=True)
class Label:
    """A text on a chart."""

    x: float
    y: float
    text: str


@dataclass(frozen=True)
class Chart:
    """What is to be drawn."""

    height: float
    shapes: Sequence[Shape] = ()
    labels: Sequence[Label] = ()
    """Names at the left, right-aligned."""
    ticks: Sequence[Label] = ()
    """Along an axis, centred."""
    lines: Sequence[tuple[float, float, float, float]] = ()
    points: str = ""
    """A polyline, as SVG writes it."""


def volume_chart(by_day: Mapping[date, Numbers | None]) -> Chart:
    """Events a day, the bad ones at the bottom."""
    height, top = 130.0, 16.0
    most = max([numbers.events for numbers in by_day.values() if numbers], default=0) or 1
    step = (WIDTH - _LABELS) / len(by_day)
    shapes: list[Shape] = []
    ticks: list[Label] = []
    for position, (day, numbers) in enumerate(by_day.items()):
        x = _LABELS + position * step
        ticks.append(Label(x + step / 2, height + 14, f"{day:%d %b}"))
        if numbers is None:
            shapes.append(Shape(x + 4, height - 3, step - 8, 3, "unknown", f"{day}: no numbers"))
            continue
        told = f"{day}: {numbers.events:,} events, {numbers.bad_events:,} of them bad"
        whole, bad = (count / most * (height - top) for count in (numbers.events, numbers.bad_events))
        shapes.append(Shape(x + 4, height - whole, step - 8, whole, "good", told, short(numbers.events)))
        if numbers.bad_events:
            shapes.append(Shape(x + 4, height - max(bad, 1.0), step - 8, max(bad, 1.0), "bad", told))
    axis = [Label(_LABELS - 8, top + 4, short(most)), Label(_LABELS - 8, height, "0")]
    return Chart(height + 20, shapes, axis, ticks, [(_LABELS, height, WIDTH, height)])


def completeness_chart(by_group: Mapping[str, Mapping[date, Numbers | None]]) -> Chart:
    """A cell for each tag group and day: how many of its tags have events."""
    row, top = 22.0, 18.0
    shapes: list[Shape] = []
    labels: list[Label] = []
    ticks: list[Label] = []
    for line, (group, days) in enumerate(by_group.items()):
        step = (WIDTH - _LABELS) / len(days)
        y = top + line * row
        labels.append(Label(_LABELS - 8, y + 15, _cut(group, 16)))
        for position, (day, numbers) in enumerate(days.items()):
            x = _LABELS + position * step
            if not line:
                ticks.append(Label(x + step / 2, 12, f"{day:%d %b}"))
            if numbers is None:
                shapes.append(Shape(x + 1, y + 1, step - 2, row - 2, "unknown", f"{group}, {day}: no numbers"))
                continue
            share = numbers.complete_share
            told = f"{group}, {day}: {numbers.tags_with_events:,} of {numbers.tags:,} tags have events"
            shapes.append(Shape(x + 1, y + 1, step - 2, row - 2, _level(share), told, percent(share)))
    return Chart(top + row * len(by_group) + 2, shapes, labels, ticks)


def lag_chart(lags: Sequence[Lag], day: date) -> Chart:
    """The largest lag of each minute in which something was loaded."""
    height, top = 100.0, 10.0
    worst: defaultdict[datetime, float] = defaultdict(float)
    for lag in lags:
        minute = lag.at.replace(second=0, microsecond=0)
        worst[minute] = max(worst[minute], lag.seconds)
    most = max(worst.values(), default=0.0) or 1.0
    points = " ".join(
        f"{_x(at, day):.1f},{height - seconds / most * (height - top):.1f}" for at, seconds in sorted(worst.items())
    )
    labels = [Label(_LABELS - 8, top + 4, duration(most)), Label(_LABELS - 8, height, "0")]
    lines = [(_LABELS, height, float(WIDTH), height), (_LABELS, top, float(WIDTH), top)]
    return Chart(height + 20, labels=labels, ticks=_hours(height + 14), lines=lines, points=points)


def frame_chart(frames: Sequence[Frame], day: date) -> Chart:
    """The event frames of a day, each as long as it lasted, those of a template below each other."""
    row, top = 15.0, 22.0
    shapes: list[Shape] = []
    labels: list[Label] = []
    lines: list[tuple[float, float, float, float]] = []
    y = top
    for template in sorted({frame.template for frame in frames}):
        lanes = _lanes([frame for frame in frames if frame.template == template], day)
        labels.append(Label(_LABELS - 8, y + 11, _cut(template or "no template", 16)))
        for lane in lanes[:_MOST_LANES]:
            shapes += [_bar(frame, day, y, row - 3) for frame in lane]
            y += row
        if len(lanes) > _MOST_LANES:
            hidden = sum(len(lane) for lane in lanes[_MOST_LANES:])
            labels.append(Label(_LABELS - 8, y + 11, f"and {hidden} more"))
            y += row
        y += 4
        lines.append((_LABELS, y - 2, float(WIDTH), y - 2))
    return Chart(y, shapes, labels, _hours(12), lines)


def short(count: float) -> str:
    """A count in a few letters, such as 1.2 M."""
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if count >= size:
            number = count / size
            return f"{number:.0f} {unit}" if number >= 100 else f"{number:.3g} {unit}"
    return f"{count:.0f}"


def percent(share: float) -> str:
    """A share of 0 to 1; 100 % and 0 % only where it is all or nothing."""
    if 0 < share < 0.001:
        return "< 0.1 %"
    if 0.99 < share < 1:
        return f"{int(share * 1000) / 10:g} %"
    return f"{share * 100:.1f} %" if 0 < share < 0.1 else f"{share * 100:.0f} %"


def duration(seconds: float) -> str:
    """A time span in one unit."""
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds:.2g} s"


def _level(share: float) -> str:
    for least, level in ((1.0, "full"), (0.99, "high"), (0.9, "middle"), (0.5, "low")):
        if share >= least:
            return level
    return "none"


def _x(at: datetime, day: date) -> float:
    since = (at - datetime.combine(day, time(), timezone.utc)) / _DAY
    return _LABELS + min(1.0, max(0.0, since)) * (WIDTH - _LABELS)


def _hours(y: float) -> list[Label]:
    return [Label(_LABELS + hour / 24 * (WIDTH - _LABELS), y, f"{hour:02d}:00") for hour in range(0, 24, 3)]


def _lanes(frames: Sequence[Frame], day: date) -> list[list[Frame]]:
    """Frames in as few lines as hold them without overlap; each is taken to be wide enough to be seen."""
    lanes: list[list[Frame]] = []
    ends: list[float] = []
    for frame in frames:
        bar = _bar(frame, day, 0, 0)
        lane = next((number for number, end in enumerate(ends) if end <= bar.x), None)
        if lane is None:
            lanes.append([])
            ends.append(0.0)
            lane = len(lanes) - 1
        lanes[lane].append(frame)
        ends[lane] = bar.x + bar.width
    return lanes


def _bar(frame: Frame, day: date, y: float, height: float) -> Shape:
    x = _x(frame.start, day)
    width = max(2.0, (WIDTH if frame.end is None else _x(frame.end, day)) - x)
    until = "open" if frame.end is None else f"{frame.end:%d %b %H:%M}"
    name = printable(frame.name, _LONGEST_LABEL)
    told = f"{name}: {frame.start:%d %b %H:%M} to {until}" + (f", {frame.severity}" if frame.severity else "")
    fits = name if len(name) * 5.5 + 8 < width else ""
    return Shape(x, y, width, height, f"frame {_severity(frame)}", told, fits)


def _severity(frame: Frame) -> str:
    known = frame.severity.lower()
    return known if known in ("information", "warning", "minor", "major", "critical") else "plain"


def _cut(text: str, most: int) -> str:
    text = printable(text, 200)
    return text if len(text) <= most else f"{text[: most - 1]}…"
