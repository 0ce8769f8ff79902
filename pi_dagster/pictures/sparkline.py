"""A day's events hour by hour as a picture of less than a thousand letters, for Dagster's record.

A bar is an hour's events, the red part of it those that are bad; an orange mark stands for an hour without any. Hours
that were not read have neither. Dagster's UI shows Markdown among the other metadata only up to 999 letters, and hides
what is longer behind a link (seen in 1.13); the record is kept for ever, too.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence

MOST_LETTERS = 999
_HOUR_WIDTH = 8
_WIDTH, _HEIGHT = 24 * _HOUR_WIDTH, 32


def sparkline_svg(events: Sequence[int], bad: Sequence[int], *, hours_read: int = 24) -> str:
    """The picture as SVG.

    Args:
        events: of each of the day's 24 hours.
        bad: how many of them are bad.
        hours_read: hours of the day that were read, from its start; later ones have no gap.
    """
    most = max(*events, 1)
    heights = [_height(count, most) for count in events]
    of_bad = [min(height, _height(count, most)) for height, count in zip(heights, bad, strict=True)]
    gaps = [0 if count or hour >= hours_read else 3 for hour, count in enumerate(events)]
    layers = (("#4c78a8", heights), ("#d62728", of_bad), ("#f58518", gaps))
    bars = "".join(f'<path stroke="{colour}" d="{_bars(lengths)}"/>' for colour, lengths in layers if any(lengths))
    return f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH}" height="{_HEIGHT}" stroke-width="7">{bars}</svg>'


def sparkline_markdown(events: Sequence[int], bad: Sequence[int], *, hours_read: int = 24) -> str:
    """The picture as Markdown that shows it without asking any server, and what it shows in words below it."""
    gaps = sum(not count for count in events[:hours_read])
    told = f"{sum(events):,} events, {sum(bad):,} bad; at most {max(events, default=0):,} an hour"
    if gaps:
        told += f"; {gaps} hour{'s' if gaps > 1 else ''} without any"
    picture = base64.b64encode(sparkline_svg(events, bad, hours_read=hours_read).encode()).decode()
    return f"![events an hour](data:image/svg+xml;base64,{picture})\n\n{told}"


def _height(count: int, most: int) -> int:
    """Pixels of a bar; an hour with events always has one."""
    return max(1, round(count / most * _HEIGHT)) if count else 0


def _bars(lengths: Sequence[int]) -> str:
    """The bars as strokes from the bottom up, each told from where the one before began."""
    drawn: list[str] = []
    x, length = 0, _HEIGHT
    for hour, following in enumerate(lengths):
        if following:
            ahead = hour * _HOUR_WIDTH + _HOUR_WIDTH // 2 - x
            drawn.append(f"m{ahead} {length}v-{following}")
            x, length = x + ahead, following
    return "".join(drawn)
