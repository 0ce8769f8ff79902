"""The fenced blocks of a Markdown page, as a reader sees them, and what the page says about running them.

A block that cannot run in a test has `*Not run by the tests: REASON.*` or, where readers need not know, a comment
`<!-- Not run by the tests: REASON. -->` in the paragraph before it; `<!-- Run in the background by the tests. -->` is
for servers.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from textwrap import dedent

PROJECT = Path(__file__).parents[1]
PAGES = [PROJECT / "README.md", *sorted((PROJECT / "docs").glob("*.md"))]

_BLOCK = re.compile(r"^(?P<indent> *)```(?P<head>[^`\n]*)\n(?P<body>.*?)^(?P=indent)```$", re.MULTILINE | re.DOTALL)
_NOT_RUN = re.compile(r"^(?:\*|<!-- )Not run by the tests: (.+?)\.(?:\*| -->)$", re.DOTALL)
_IN_BACKGROUND = "<!-- Run in the background by the tests. -->"
_INCLUDED = re.compile(r'^--8<-- "(.+)"$', re.MULTILINE)


@dataclass(frozen=True)
class Block:
    """One fenced block.

    Args:
        page: the file's name.
        line: of the fence, from 1.
        language: such as `bash`; empty where none is said.
        title: the file that it is to be saved as, if it says so.
        text: with included files in it.
        reason_not_to_run: what the page says, or None.
        in_background: it serves until it is stopped.
    """

    page: str
    line: int
    language: str
    title: str | None
    text: str
    reason_not_to_run: str | None
    in_background: bool

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


def blocks_of(page: Path) -> Iterator[Block]:
    """All fenced blocks of a page, in its order."""
    text = page.read_text(encoding="utf-8")
    for found in _BLOCK.finditer(text):
        language, _, attributes = found["head"].partition(" ")
        title = re.search(r'title="([^"]+)"', attributes)
        before = text[: found.start()].rstrip().rpartition("\n\n")[2].strip()
        not_run = _NOT_RUN.match(before)
        yield Block(
            page=page.name,
            line=text.count("\n", 0, found.start()) + 1,
            language=language,
            title=title[1] if title else None,
            text=_INCLUDED.sub(lambda match: (PROJECT / match[1]).read_text("utf-8"), dedent(found["body"])),
            reason_not_to_run=" ".join(not_run[1].split()) if not_run else None,
            in_background=before == _IN_BACKGROUND,
        )
