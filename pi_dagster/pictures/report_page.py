"""The page about a day as one HTML file that asks no server for anything, on the screen and on paper.

Whatever the server named, such as a tag called `<script>`, is text on it: the template escapes everything, and the page
itself forbids scripts and everything from outside.
"""

from __future__ import annotations

from datetime import date, datetime
from functools import partial

from pi_dagster.pictures.page_templates import TEMPLATES
from pi_dagster.pictures.report_charts import (
    WIDTH,
    completeness_chart,
    duration,
    frame_chart,
    lag_chart,
    percent,
    short,
    volume_chart,
)
from pi_dagster.pictures.report_facts import ReportFacts
from pi_dagster.server_text import printable


def render_page(facts: ReportFacts) -> str:
    """The page, as HTML."""
    template = TEMPLATES.get_template("report_page.html")
    return template.render(
        facts=facts,
        width=WIDTH,
        volume=volume_chart(facts.by_day),
        completeness=completeness_chart(facts.by_group),
        lag=lag_chart(facts.lags, facts.day) if facts.lags else None,
        frames=frame_chart(facts.frames, facts.day) if facts.frames else None,
        most_lag=duration(max((lag.seconds for lag in facts.lags), default=0.0)),
        duration=duration,
        percent=percent,
        short=short,
        text=printable,
        clock=partial(_clock, facts.day),
        number=_number,
    )


def _clock(day: date, at: datetime) -> str:
    return f"{at:%H:%M:%S}" if at.date() == day else f"{at:%d %b %H:%M}"


def _number(value: float | str | None) -> str:
    if isinstance(value, float | int):
        return f"{value:,.6g}"
    return printable(value or "", 60)
