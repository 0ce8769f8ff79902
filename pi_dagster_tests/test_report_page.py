"""The page about a day: what it tells is true, and what a server named is never more than text on it."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta, timezone
from html.parser import HTMLParser
from pathlib import Path

import pytest

from pi_dagster.pictures.daily_numbers import compute_day
from pi_dagster.pictures.report_charts import completeness_chart, duration, frame_chart, percent, short
from pi_dagster.pictures.report_facts import (
    Frame,
    Numbers,
    NumbersMissingError,
    ReportFacts,
    gather_facts,
)
from pi_dagster.pictures.report_file import write_report
from pi_dagster.pictures.report_page import render_page
from pi_dagster.site import TagGroup
from pi_dagster_tests.judged_lake import DAY, GROUP, MIDNIGHT, JudgedLake, minutes

HOSTILE = "<script>alert(1)</script>"
RULE = {"name": "high", "kind": "range", "high": 5, "severity": "error"}


class Elements(HTMLParser):
    """The elements of a page, their attributes, and its text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.names: set[str] = set()
        self.attributes: set[tuple[str, str]] = set()
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.names.add(tag)
        self.attributes |= {(name, value or "") for name, value in attrs}

    def handle_data(self, data: str) -> None:
        self.text += data


def facts_of(lake: JudgedLake, **settings: object) -> ReportFacts:
    lake.judged(RULE, **settings)
    tables = lake.write()
    site = lake.site(RULE, **settings)
    compute_day(site, tables, DAY, run_id="test")
    return gather_facts(site, tables, DAY, lags=[], judged_groups=[GROUP])


def test_the_page_tells_what_the_tables_hold(tmp_path: Path) -> None:
    lake = JudgedLake(tmp_path)
    lake.add("FLOW", [(0, 1.0), (5, 9.0), (10, 9.5), (20, 2.0)]).add("BROKEN", [(0, None), (1, None), (2, 1.0)])
    lake.add("SILENT", [])
    facts = facts_of(lake)
    assert facts.numbers == Numbers(tags=3, tags_with_events=2, events=7, bad_events=2, system_states=0)
    assert [(tag.name, tag.events, tag.bad_events) for tag in facts.bad_tags] == [("BROKEN", 3, 2)]
    assert (facts.silent, facts.silent_count) == (["SILENT"], 1)
    [finding] = facts.findings
    assert (finding.tag, finding.events, finding.worst) == ("FLOW", 2, 9.5)
    assert facts.rules is not None
    assert [(found.rule.name, found.findings, found.tags) for found in facts.rules] == [("high", 1, 1)]
    assert facts.by_group[GROUP][DAY] == facts.numbers
    assert facts.by_group[GROUP][DAY - timedelta(days=1)] is None
    text = Elements(render_page(facts)).text
    for told in ("BROKEN", "SILENT", "FLOW", "00:05:00", "00:10:00", "Monday, 02 November 2026"):
        assert told in text


def test_a_group_without_an_event_counts_with_its_tags_on_a_day_that_has_numbers(tmp_path: Path) -> None:
    silent = TagGroup(name="silent", tag_filter="S*")
    lake = JudgedLake(tmp_path).add("FLOW", minutes(0, 9, 10)).add("SILENT", [], tag_group="silent")
    site = lake.site().model_copy(update={"tag_groups": (*lake.site().tag_groups, silent)})
    compute_day(site, lake.write(), DAY, run_id="test")
    facts = gather_facts(site, lake.write(), DAY, lags=[], judged_groups=[])
    nothing = Numbers(tags=1, tags_with_events=0, events=0, bad_events=0, system_states=0)
    assert facts.by_group["silent"] == {day: nothing if day == DAY else None for day in facts.by_day}
    assert facts.numbers.complete_share == 0.5


def test_a_shard_without_an_event_counts_with_its_tags(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pi_dagster_tests.judged_lake.GROUP", "all-00")
    lake = JudgedLake(tmp_path).add("FLOW", minutes(0, 9, 10)).add("SILENT", [], tag_group="all-01")
    site = lake.site().model_copy(update={"tag_groups": (TagGroup(name="all", tag_filter="*", shards=2),)})
    compute_day(site, lake.write(), DAY, run_id="test")
    facts = gather_facts(site, lake.write(), DAY, lags=[], judged_groups=[])
    assert (facts.numbers.tags, facts.numbers.complete_share) == (2, 0.5)


def test_a_tag_called_script_is_text(tmp_path: Path) -> None:
    lake = JudgedLake(tmp_path).add(HOSTILE, [(0, 9.0), (1, None)]).add(f"SILENT {HOSTILE}", [])
    page = render_page(facts_of(lake))
    elements = Elements(page)
    assert "script" not in elements.names
    assert elements.text.count(HOSTILE) == 3
    assert not [name for name, _ in elements.attributes if name.startswith("on")]


def test_the_page_asks_nobody_for_anything(tmp_path: Path) -> None:
    elements = Elements(render_page(facts_of(JudgedLake(tmp_path).add("FLOW", minutes(0, 9, 10)))))
    assert not elements.names & {"script", "link", "img", "iframe", "object", "a"}
    assert ("content", "default-src 'none'; style-src 'unsafe-inline'") in elements.attributes
    assert not [value for name, value in elements.attributes if name in ("href", "src", "xlink:href")]


def test_it_is_written_beside_the_tables_and_replaced(tmp_path: Path) -> None:
    lake = JudgedLake(tmp_path).add("FLOW", minutes(0, 9, 10))
    facts = facts_of(lake)
    size = write_report(lake.write(), facts)
    written = tmp_path / "reports" / f"{DAY}.html"
    assert written.stat().st_size == size
    assert write_report(lake.write(), facts) == size
    assert [file.name for file in written.parent.iterdir()] == [written.name]


def test_a_day_without_numbers_is_refused_and_the_remedy_told(tmp_path: Path) -> None:
    lake = JudgedLake(tmp_path).add("FLOW", minutes(0, 9, 10))
    with pytest.raises(NumbersMissingError, match=f"no numbers of {DAY}.* materialize its partition {DAY} first"):
        gather_facts(lake.site(), lake.write(), DAY, lags=[], judged_groups=[])


def test_a_cell_is_full_only_when_every_tag_has_events() -> None:
    def cell(with_events: int) -> tuple[str, str]:
        [shape] = completeness_chart({"g": {DAY: Numbers(1000, with_events, 1, 0, 0)}}).shapes
        return shape.kind, shape.label

    assert [cell(count) for count in (1000, 999, 900, 500, 499, 0)] == [
        ("full", "100 %"),
        ("high", "99.9 %"),
        ("middle", "90 %"),
        ("low", "50 %"),
        ("none", "50 %"),
        ("none", "0 %"),
    ]
    [unknown] = completeness_chart({"g": {DAY: None}}).shapes
    assert unknown.kind == "unknown"


def test_frames_at_one_time_are_below_each_other_and_one_that_is_open_reaches_to_midnight() -> None:
    def frame(start: float, end: float | None) -> Frame:
        return Frame("f", "Batch", at(start), None if end is None else at(end), "Major")

    def at(hour: float) -> datetime:
        return MIDNIGHT + timedelta(hours=hour)

    shapes = frame_chart([frame(-5, 6), frame(3, 9), frame(12, None)], DAY).shapes
    by_start = sorted(shapes, key=lambda shape: shape.x)
    assert [shape.x for shape in by_start] == [120, 195, 420]
    assert [shape.x + shape.width for shape in by_start] == [270, 345, 720]
    assert by_start[0].y == by_start[2].y < by_start[1].y
    assert "12:00 to open, Major" in by_start[2].told


def test_a_frame_that_ends_in_the_year_9999_is_drawn() -> None:
    [shape] = frame_chart([Frame("f", "", MIDNIGHT, datetime(9999, 12, 31, tzinfo=timezone.utc), "")], DAY).shapes
    assert (shape.x, shape.width) == (120, 600)


def test_numbers_are_short_and_not_rounded_to_all_or_nothing() -> None:
    assert [short(count) for count in (0, 999, 1000, 13_400_000, 8.64e9)] == ["0", "999", "1 k", "13.4 M", "8.64 G"]
    assert [percent(share) for share in (0, 0.0001, 0.025, 0.5, 0.9999, 1)] == [
        "0 %",
        "< 0.1 %",
        "2.5 %",
        "50 %",
        "99.9 %",
        "100 %",
    ]
    assert [duration(seconds) for seconds in (0, 12, 90, 5400, 200_000)] == [
        "0 s",
        "12 s",
        "1.5 min",
        "1.5 h",
        "2.31 d",
    ]


def test_the_usual_day_is_the_median_of_those_before(tmp_path: Path) -> None:
    facts = facts_of(JudgedLake(tmp_path).add("FLOW", minutes(0, 9, 10)))
    assert facts.usual_events is None
    before = {DAY - timedelta(days=back): Numbers(1, 1, events, 0, 0) for back, events in ((1, 50), (2, 900), (3, 60))}
    assert replace(facts, by_day={**facts.by_day, **before}).usual_events == 60
