"""The AF tree as a text that people read: the upper levels, with what is left out counted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pi_dagster.server_text import printable

_MOST_LINES = 40
_MOST_BELOW_ONE = 6


def tree_excerpt(rows: Sequence[Mapping[str, Any]]) -> str:
    """The tree's beginning as indented lines, broad before deep.

    Args:
        rows: rows of pi_asset_hierarchy in the order of database and path.
    """
    known = {row["element_id"] for row in rows}
    below: dict[str | None, list[Mapping[str, Any]]] = {}
    for row in rows:
        # Where filters leave out a parent, its children stand at the first level.
        below.setdefault(row["parent_id"] if row["parent_id"] in known else None, []).append(row)
    shown = _shown(below)
    lines: list[str] = []
    open_ends = [(row, 0) for row in reversed(below.get(None, []))]
    left_out = 0
    while open_ends:
        row, level = open_ends.pop()
        if row["element_id"] not in shown:
            left_out += 1
            continue
        template = f" ({printable(row['template_name'])})" if row["template_name"] else ""
        children = below.get(row["element_id"], [])
        hidden = sum(child["element_id"] not in shown for child in children)
        more = f"  + {hidden:,} more below" if hidden else ""
        lines.append(f"{'  ' * level}{printable(row['element_name'])}{template}{more}")
        open_ends += [(child, level + 1) for child in reversed(children) if child["element_id"] in shown]
    if left_out:
        lines.append(f"+ {left_out:,} more")
    return "\n".join(lines)


def _shown(below: Mapping[str | None, Sequence[Mapping[str, Any]]]) -> set[str]:
    """The elements to show: level by level, the first few below each."""
    shown: set[str] = set()
    level: list[str | None] = [None]
    while level and len(shown) < _MOST_LINES:
        following: list[str | None] = []
        for parent in level:
            for row in below.get(parent, [])[:_MOST_BELOW_ONE]:
                if len(shown) < _MOST_LINES and row["element_id"] not in shown:
                    shown.add(row["element_id"])
                    following.append(row["element_id"])
        level = following
    return shown
