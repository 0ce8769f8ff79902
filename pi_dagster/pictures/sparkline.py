"""A day's events hour by hour as a picture of less than two kilobytes, for Dagster's record, which keeps it for ever.

A bar is an hour's events, the red part of it those that are bad; the line below an hour without any is orange. Hours
that were not read have neither.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence

_WIDTH, _HEIGHT = 192, 36
_TOP_OF_BASE = 32
_HOUR_WIDTH = _WIDTH // 24


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
    gaps = [0 if count or hour >= hours_read else 1 for hour, count in enumerate(events)]
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH}" height="{_HEIGHT}">'
        f'<path fill="#4c78a8" d="{_bars(heights)}"/>'
        f'<path fill="#d62728" d="{_bars(of_bad)}"/>'
        f'<path fill="#f58518" d="{_bars([3 * gap for gap in gaps], base=_HEIGHT)}"/></svg>'
    )


def sparkline_markdown(events: Sequence[int], bad: Sequence[int], *, hours_read: int = 24) -> str:
    """The picture as Markdown that shows it without asking any server, and what it shows in words below it."""
    gaps = sum(not count for count in events[:hours_read])
    told = f"{sum(events):,} events, {sum(bad):,} of them bad; at most {max(events, default=0):,} an hour"
    if gaps:
        told += f"; {gaps} hour{'s' if gaps > 1 else ''} without any"
    picture = base64.b64encode(sparkline_svg(events, bad, hours_read=hours_read).encode()).decode()
    return f"![events an hour](data:image/svg+xml;base64,{picture})\n\n{told}"


def _height(count: int, most: int) -> int:
    """Pixels of a bar; an hour with events always has one."""
    return max(1, round(count / most * _TOP_OF_BASE)) if count else 0


def _bars(heights: Sequence[int], *, base: int = _TOP_OF_BASE) -> str:
    width = _HOUR_WIDTH - 1
    return "".join(
        f"M{hour * _HOUR_WIDTH} {base}v-{height}h{width}v{height}z" for hour, height in enumerate(heights) if height
    )
