"""Texts that come from a server, made fit to be shown: names of tags and elements, and what it says went wrong.

Whoever may name a tag should not thereby move the cursor of a terminal or write links into the Dagster UI.
"""

from __future__ import annotations

import re

_BACKTICKS = re.compile("`+")


def printable(text: str, most: int = 500) -> str:
    """`text` as one line, without what a terminal would take for an order, and not endless.

    Args:
        text: anything.
        most: characters that are kept.
    """
    line = " ".join(without_orders(text[: 4 * most]).split())
    return line if len(line) <= most else f"{line[:most]}..."


def without_orders(text: str) -> str:
    """`text` with blanks for what a terminal would take for an order; its lines stay."""
    return "".join(letter if letter.isprintable() or letter == "\n" else " " for letter in text)


def as_code_block(text: str) -> str:
    """Markdown that shows the lines of `text` just as they are: its fence is longer than any that they hold."""
    fence = "`" * max(3, 1 + max(map(len, _BACKTICKS.findall(text)), default=0))
    return f"{fence}text\n{text}\n{fence}"
