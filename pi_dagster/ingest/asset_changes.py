"""What has changed in the AF tree since the last snapshot, told by element ids, which outlive renames and moves."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

_MOST_NAMED = 100


@dataclass(frozen=True)
class ElementChange:
    """One element that is new, gone, renamed or moved; renamed and moved elements are told once for each."""

    change: str
    element: str
    """Its path, now or, for one that is gone, before."""
    before: str
    """The name or path it had; empty for a new one."""


@dataclass(frozen=True)
class AssetChanges:
    """How many elements changed in which way, and which, at most a hundred."""

    counts: Mapping[str, int]
    """By kind of change: added, removed, renamed, moved."""
    examples: tuple[ElementChange, ...]


def changes_between(before: Mapping[str, Mapping[str, Any]], after: Iterable[Mapping[str, Any]]) -> AssetChanges:
    """What happened to the elements between two snapshots.

    Args:
        before: rows of pi_asset_hierarchy by element id.
        after: the rows now.
    """
    counts = Counter({"added": 0, "removed": 0, "renamed": 0, "moved": 0})
    examples: list[ElementChange] = []

    def note(change: str, path: str, was: str) -> None:
        counts[change] += 1
        if len(examples) < _MOST_NAMED:
            examples.append(ElementChange(change, path, was))

    found: set[str] = set()
    for row in after:
        found.add(row["element_id"])
        old = before.get(row["element_id"])
        if old is None:
            note("added", row["element_path"], "")
            continue
        if old["element_name"] != row["element_name"]:
            note("renamed", row["element_path"], old["element_name"])
        if old["parent_id"] != row["parent_id"]:
            note("moved", row["element_path"], old["element_path"])
    for element_id, old in before.items():
        if element_id not in found:
            note("removed", old["element_path"], old["element_path"])
    return AssetChanges(dict(counts), tuple(examples))
