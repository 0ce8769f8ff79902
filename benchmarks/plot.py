"""The figures drawn: decoding, latency, what is done without this project, and memory; or the runs of a long test."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib import pyplot as plt
from matplotlib.axes import Axes

from benchmarks.results import Section

_COLOURS = {"ours": "#1f6f8b", "other": "#c9a227", "slow": "#9aa5ab"}
_SHAPES = {
    "floats, selected fields, 1,000 a stream": "floats",
    "floats, full fields, 1,000 a stream": "floats,\nfull fields",
    "17-digit floats, 7-digit times, selected": "long\nfractions",
    "10 % states, selected": "10 %\nstates",
    "strings, selected": "strings",
}


def draw(sections: Mapping[str, Section], file: Path) -> None:
    """Draw what was measured of decoding, extraction and memory; a panel without figures stays empty."""
    mpl.use("Agg")
    figure, axes = plt.subplots(2, 2, figsize=(11, 7.5))
    panels = (
        (_decoding, "decode", axes[0][0]),
        (_latency, "extraction", axes[0][1]),
        (_without_us, "extraction", axes[1][0]),
        (_memory, "memory", axes[1][1]),
    )
    for panel, name, place in panels:
        place.spines[["top", "right"]].set_visible(False)
        if name in sections:
            panel(place, sections[name].facts)
        else:
            place.set_title(f"{name}: not measured")
    figure.tight_layout()
    _save(figure, file)


def draw_runs(runs: Sequence[Mapping[str, Any]], file: Path) -> None:
    """Draw how time, memory, lag and files went on over the runs of the tail."""
    mpl.use("Agg")
    figure, axes = plt.subplots(4, 1, figsize=(10, 8), sharex=True)
    columns = {
        "seconds": "time of a run, s",
        "resident_megabytes": "memory, MB",
        "lag_seconds": "lag, s",
        "live_files": "live files",
    }
    for place, (name, title) in zip(axes, columns.items(), strict=True):
        place.plot([run["minute"] for run in runs], [run[name] for run in runs], color=_COLOURS["ours"], linewidth=1)
        place.set_ylim(bottom=0)
        place.set_ylabel(title)
        place.spines[["top", "right"]].set_visible(False)
    axes[-1].set_xlabel("minutes")
    figure.tight_layout()
    _save(figure, file)


def _decoding(place: Axes, facts: Mapping[str, float]) -> None:
    bars = {
        "arrow": ("bytes to Arrow, this project", "ours"),
        "orjson": ("orjson.loads alone", "other"),
        "json": ("json.loads alone", "slow"),
    }
    shapes = [shape for shape in _SHAPES if f"{shape}: arrow" in facts]
    for number, (name, (label, colour)) in enumerate(bars.items()):
        positions = [index + (number - 1) * 0.27 for index in range(len(shapes))]
        place.bar(positions, [facts[f"{shape}: {name}"] for shape in shapes], 0.25, label=label, color=_COLOURS[colour])
    place.set_xticks(range(len(shapes)), [_SHAPES[shape] for shape in shapes])
    place.set_ylabel("ns a value")
    place.margins(y=0.25)
    place.set_title("Decoding, one core (less is better)")
    place.legend(frameon=False, fontsize=8)


def _latency(place: Axes, facts: Mapping[str, float]) -> None:
    points: dict[int, list[tuple[int, float]]] = {}
    for name, rate in facts.items():
        if found := re.fullmatch(r"sweep: streamset, (\d+) ms, (\d+) in flight", name):
            points.setdefault(int(found[1]), []).append((int(found[2]), rate / 1e6))
    for latency, line in sorted(points.items()):
        place.plot(*zip(*sorted(line), strict=True), marker="o", label=f"{latency} ms")
    place.set_xscale("log", base=2)
    place.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    place.set_ylim(bottom=0)
    place.set_xlabel("requests in flight")
    place.set_ylabel("M values/s to Arrow")
    place.set_title("Latency and requests in flight (more is better)")
    place.legend(frameon=False, fontsize=8)


def _without_us(place: Axes, facts: Mapping[str, float]) -> None:
    bars = {
        "naive": ("a request a tag", "slow"),
        "batch": ("100 tags a batch", "other"),
        "to Delta": ("this project", "ours"),
    }
    names = [name for name in bars if f"slice: {name}, s" in facts]
    seconds = [facts[f"slice: {name}, s"] for name in names]
    drawn = place.barh([bars[name][0] for name in names], seconds, color=[_COLOURS[bars[name][1]] for name in names])
    place.bar_label(drawn, [f" {value:,.1f} s" for value in seconds])
    place.set_xscale("log")
    place.set_xlim(min(seconds) / 5, max(seconds) * 5)
    place.set_xlabel("seconds (less is better)")
    place.set_title("Ten minutes of 1 Hz tags to Delta, 200 ms a request")


def _memory(place: Axes, facts: Mapping[str, float]) -> None:
    drawn = place.bar(list(facts), list(facts.values()), 0.5, color=_COLOURS["ours"])
    place.bar_label(drawn, [f"{value:.0f}" for value in facts.values()])
    place.axhline(700, color=_COLOURS["other"], linestyle="--", linewidth=1)
    place.set_ylabel("peak RSS, MB")
    place.set_xlabel("volume")
    place.set_title("Peak memory by volume of one load (less is better)")


def _save(figure: Any, file: Path) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(file, dpi=110)
    plt.close(figure)
