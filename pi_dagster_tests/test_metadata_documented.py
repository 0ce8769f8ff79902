"""docs/metadata-keys.md tells what every key means that Dagster's UI shows, and no key that is gone."""

from __future__ import annotations

import ast
import re
from pathlib import Path

PROJECT = Path(__file__).parents[1]
PAGE = (PROJECT / "docs" / "metadata-keys.md").read_text(encoding="utf-8")
KEY = re.compile(r"(?:pi|load|lake)/[a-z_]+")
PUT_TOGETHER = {
    *(f"pi/{change}_elements" for change in ("added", "removed", "renamed", "moved")),
    *(f"pi/{share}" for share in ("bad", "system_states")),
    *(f"pi/{share}_percent" for share in ("bad", "worst_bad", "system_states", "worst_system_states")),
}
"""Keys that the code makes of what it counts."""


def keys_in_the_code() -> set[str]:
    found = set(PUT_TOGETHER)
    for folder in ("assets", "automation", "checks"):
        for path in (PROJECT / "pi_dagster" / folder).glob("*.py"):
            tree = ast.parse(path.read_text(encoding="utf-8"))
            pieces = {id(piece) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for piece in node.values}
            found |= {
                node.value
                for node in ast.walk(tree)
                if isinstance(node, ast.Constant)
                and isinstance(node.value, str)
                and KEY.fullmatch(node.value)
                and id(node) not in pieces
            }
    return found


def test_every_key_is_explained() -> None:
    assert keys_in_the_code() - set(KEY.findall(PAGE)) == set()


def test_no_key_is_explained_that_nothing_tells() -> None:
    assert set(KEY.findall(PAGE)) - keys_in_the_code() == set()
