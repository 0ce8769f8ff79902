"""The benchmarks by name, in the order in which they run; each is imported only when it does."""

from __future__ import annotations

from importlib import import_module

from benchmarks.results import Scale, Section

NAMES = (
    "decode",
    "ceiling",
    "extraction",
    "chunking",
    "memory",
    "commits",
    "tail",
    "assets",
    "event_frames",
    "orchestration",
    "end_to_end",
    "projection",
)


def run(name: str, scale: Scale) -> Section:
    """Run one benchmark."""
    section: Section = import_module(f"benchmarks.{name}").run(scale)
    return section
