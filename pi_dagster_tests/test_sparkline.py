"""The picture of a load in Dagster's record: what it shows, and that the UI has room for it."""

from __future__ import annotations

import base64
import random
import re

import pytest

from pi_dagster.pictures.sparkline import MOST_LETTERS, sparkline_markdown, sparkline_svg

EVENTS, BAD, GAPS = "#4c78a8", "#d62728", "#f58518"
EVEN = [60] * 24


def bars(svg: str, colour: str) -> dict[int, int]:
    """Height of the bar of each hour in a colour."""
    found: dict[int, int] = {}
    for drawn in re.findall(rf'stroke="{colour}" d="([^"]*)"', svg):
        x = y = 0
        for ahead, down, height in re.findall(r"m(-?\d+) (-?\d+)v-(\d+)", drawn):
            x, y = x + int(ahead), y + int(down)
            assert y == 32
            found[x // 8] = int(height)
            y -= int(height)
    return found


def test_a_bar_is_as_high_as_its_hour_has_events() -> None:
    assert bars(sparkline_svg([*range(24)], [0] * 24), EVENTS) == {hour: round(32 * hour / 23) for hour in range(1, 24)}


def test_the_bad_share_is_the_red_part_of_a_bar() -> None:
    svg = sparkline_svg(EVEN, [30] + [0] * 22 + [1])
    assert bars(svg, BAD) == {0: 16, 23: 1}
    assert set(bars(svg, EVENTS).values()) == {32}


def test_an_hour_without_events_is_marked_unless_it_was_not_read() -> None:
    events = [60] * 3 + [0] + [60] * 8 + [0] * 12
    assert bars(sparkline_svg(events, [0] * 24, hours_read=12), GAPS) == {3: 3}
    assert sparkline_markdown(events, [0] * 24, hours_read=12).endswith("; 1 hour without any")


def test_a_day_without_any_event_is_all_gap() -> None:
    assert list(bars(sparkline_svg([0] * 24, [0] * 24), GAPS)) == [*range(24)]


@pytest.mark.parametrize("seed", range(20))
def test_the_ui_has_room_for_the_busiest_day(seed: int) -> None:
    chance = random.Random(seed)
    events = [chance.randint(500_000_000, 999_999_999) if chance.random() < 0.9 else 0 for _ in range(24)]
    markdown = sparkline_markdown(events, [count // 2 for count in events])
    assert len(markdown) <= MOST_LETTERS
    [picture] = re.findall(r"data:image/svg\+xml;base64,([A-Za-z0-9+/=]+)\)", markdown)
    assert base64.b64decode(picture).startswith(b"<svg")
