"""The benchmarks by name, in the order in which they run; each is imported only when it does."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from importlib import import_module

from benchmarks import projection
from benchmarks.results import Scale, Section

PROJECTION = "projection"
NAMES = (
    "decode",
    "ceiling",
    "extraction",
    "chunking",
    "memory",
    "commits",
    "tail",
    "reconcile",
    "quality",
    "assets",
    "event_frames",
    "orchestration",
    "end_to_end",
    PROJECTION,
)


def chosen(wanted: Collection[str]) -> list[str]:
    """The benchmarks to run: all where none is wanted, and what the projection is made from."""
    needed = {*wanted, *(projection.NEEDS if PROJECTION in wanted else ())}
    return [name for name in NAMES if not wanted or name in needed]


def run(name: str, scale: Scale, found: Mapping[str, Section]) -> Section:
    """Run one benchmark.

    Args:
        name: one of NAMES.
        scale: how much to measure.
        found: what the benchmarks before it found, for the projection.
    """
    if name == PROJECTION:
        return projection.run(scale, found)
    section: Section = import_module(f"benchmarks.{name}").run(scale)
    return section
