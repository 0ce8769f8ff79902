"""`pi-dagster plot` and what it draws: lines only where the archive lets one be drawn."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from typer.testing import CliRunner

from pi_dagster.cli.command_line import app
from pi_dagster.lake.schemas import TIMESERIES_FILE_SCHEMA
from pi_dagster.pictures.tag_plot import as_page, as_text, lines_of, write_png
from pi_dagster.pictures.tag_series import NO_EVENTS, TagSeries, read_series, series_of
from pi_dagster_tests.judged_lake import MIDNIGHT, Event, JudgedLake, minutes

END = MIDNIGHT + timedelta(hours=10)
HOSTILE = "<script>\x1b[31m"

SITE = """\
type: pi_dagster.components.PISystemComponent
attributes:
  server: {{url: "http://127.0.0.1:9/piwebapi"}}
  lake: {{uri: "{lake}"}}
  start_date: 2026-01-01
  tag_groups:
    - {{name: all, tag_filter: "*"}}
"""


def at(minute: float) -> datetime:
    return MIDNIGHT + timedelta(minutes=minute)


def series(events: list[Event], *, step: bool = False, **settings: timedelta) -> TagSeries:
    rows = [JudgedLake._row("TAG", minute, value, "m3/h") for minute, value in events]
    table = pa.Table.from_pylist(rows, TIMESERIES_FILE_SCHEMA)
    return series_of(table, name="TAG", step=step, units="m3/h", start=MIDNIGHT, end=END, **settings)


def drawn(found: TagSeries) -> list[list[tuple[float, float]]]:
    """The lines, in minutes."""
    return [list(zip((x / 60).tolist(), y.tolist(), strict=True)) for x, y in lines_of(found)]


def test_no_line_leads_over_a_shutdown_or_a_bad_value() -> None:
    found = series([(0, 1.0), (1, 2.0), (2, "Shutdown"), (3, None), (4, None), (5, 3.0), (6, 4.0)])
    assert drawn(found) == [[(0, 1), (1, 2)], [(5, 3), (6, 4)]]
    outages = [(outage.text, outage.start, outage.end) for outage in found.outages]
    assert outages[:2] == [("Shutdown", at(2), at(3)), ("bad value", at(3), at(5))]


def test_no_line_leads_over_a_pause() -> None:
    found = series(minutes(0, 10, 1) + minutes(300, 300, 1), longest_pause=timedelta(minutes=5))
    assert [(line[0][0], line[-1][0]) for line in drawn(found)] == [(0, 9), (300, 599)]
    assert [(outage.text, outage.start, outage.end) for outage in found.outages] == [(NO_EVENTS, at(9), at(300))]


def test_a_pause_is_long_by_the_tags_own_habit() -> None:
    hourly = [(60.0 * hour, float(hour)) for hour in range(10)]
    assert len(drawn(series(hourly))) == 1
    secondly = minutes(0, 600, 1 / 60) + minutes(70, 600, 1 / 60)
    assert len(drawn(series(secondly))) == 2


def test_a_number_of_a_tag_with_step_holds_until_the_next_event_and_no_longer() -> None:
    found = series([(0, 1.0), (1, 2.0), (2, "Shutdown"), (3, 5.0)], step=True)
    assert drawn(found) == [[(0, 1), (1, 1), (1, 2), (2, 2)], [(3, 5)]]


def test_digital_states_are_levels_and_system_states_are_not() -> None:
    found = series([(0, "RUNNING"), (1, "STOPPED"), (2, "No Data"), (3, "RUNNING")])
    assert found.levels == ["RUNNING", "STOPPED"]
    assert drawn(found) == [[(0, 0), (1, 0), (1, 1), (2, 1)], [(3, 0)]]
    assert found.outages[0].text == "No Data"


def test_free_texts_are_one_level_as_their_order_means_nothing() -> None:
    found = series([(minute, f"text {minute}") for minute in range(40)])
    assert found.levels == ["40 texts"]
    assert {y for line in drawn(found) for _, y in line} == {0.0}


def test_a_spike_among_a_million_events_stays() -> None:
    count = 1_000_000
    instants = pa.array(int(MIDNIGHT.timestamp()) * 1_000_000 + np.arange(count) * 30_000).cast(
        pa.timestamp("us", "UTC")
    )
    values = np.ones(count)
    values[654_321] = 99.0
    columns = {field.name: pa.nulls(count, field.type) for field in TIMESERIES_FILE_SCHEMA}
    columns |= {"timestamp": instants, "value": pa.array(values), "quality_good": pa.array(np.ones(count, bool))}
    rows = pa.table(columns, TIMESERIES_FILE_SCHEMA)
    found = series_of(rows, name="T", step=False, units="", start=MIDNIGHT, end=END)
    [(seconds, thinned)] = lines_of(found)
    assert len(thinned) < 5_000
    assert thinned.max() == 99.0
    assert seconds[thinned.argmax()] == pytest.approx(654_321 * 0.03)


def test_the_terminal_shows_states_and_pauses_in_words() -> None:
    text = as_text(series([(0, 1.0), (1, "Shutdown"), (90, 2.0), (91, 3.0)]), width=80, height=20, colour=False)
    assert "TAG [m3/h]" in text
    assert "x 2026-11-02 00:01:00 to 2026-11-02 01:30:00 (1:29:00)  Shutdown" in text
    assert "\x1b" not in text


def test_a_hostile_name_moves_no_cursor_and_runs_nothing() -> None:
    rows = pa.Table.from_pylist([JudgedLake._row(HOSTILE, 0, HOSTILE, "")], TIMESERIES_FILE_SCHEMA)
    found = series_of(rows, name=HOSTILE, step=False, units="", start=MIDNIGHT, end=END)
    assert "\x1b" not in as_text(found, width=80, height=20, colour=False)
    assert "<script" not in as_page(found)


def test_files_are_written(tmp_path: Path) -> None:
    found = series([(0, 1.0), (1, "Shutdown"), (90, 2.0), (91, 3.0)])
    write_png(found, tmp_path / "a.png")
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")
    page = as_page(found)
    assert page.count("<polyline") == 2
    assert page.count('class="state"') == 1


@pytest.fixture
def site(tmp_path: Path) -> Path:
    lake = JudgedLake(tmp_path / "lake")
    lake.add("BLR01.FLOW", minutes(0, 60, 1)).add("BLR02.FLOW", minutes(0, 60, 1)).add("TNK01.LEVEL", [])
    lake.write()
    path = tmp_path / "defs.yaml"
    path.write_text(SITE.format(lake=tmp_path / "lake"))
    return path


DAY_OF_PLOT = ["--from", "2026-11-02", "--to", "2026-11-03"]


def test_the_command_draws_a_tag_of_the_lake(site: Path, tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["plot", "blr01.flow", "--site", str(site), *DAY_OF_PLOT])
    assert result.exit_code == 0, result.output
    assert "BLR01.FLOW [m3/h]  2026-11-02 00:00 to 2026-11-03 00:00 UTC, 60 events" in result.stdout
    page = tmp_path / "flow.html"
    assert (
        CliRunner().invoke(app, ["plot", "BLR01.FLOW", "--site", str(site), *DAY_OF_PLOT, "-o", str(page)]).exit_code
        == 0
    )
    assert "<polyline" in page.read_text()


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (
            ["BLR1.FLOW", *DAY_OF_PLOT],
            "no tag BLR1.FLOW among the 3 of pi_points. Did you mean BLR01.FLOW, BLR02.FLOW?",
        ),
        (
            ["BLR01*", *DAY_OF_PLOT],
            "no tag BLR01* among the 3 of pi_points. One tag is drawn, by its whole name: `*` and `?` stand for "
            "nothing here. Did you mean BLR01.FLOW?",
        ),
        (
            ["ZZ?", *DAY_OF_PLOT],
            "One tag is drawn, by its whole name: `*` and `?` stand for nothing here. `pi-dagster tags` lists them.",
        ),
        (["ZZZ", *DAY_OF_PLOT], "no tag ZZZ among the 3 of pi_points. `pi-dagster tags` lists them."),
        (["TNK01.LEVEL", *DAY_OF_PLOT], "no events of TNK01.LEVEL from 2026-11-02 00:00"),
        (["BLR01.FLOW", "--from", "2026-11-03", "--to", "2026-11-02"], "--from 2026-11-03 00:00 is not before --to"),
        (["BLR01.FLOW", *DAY_OF_PLOT, "-o", "a.gif"], "--output a.gif names neither a .html nor a .png"),
        (["BLR01.FLOW", *DAY_OF_PLOT, "-o", "/nowhere/a.html"], "/nowhere/a.html cannot be written"),
        (["BLR01.FLOW", *DAY_OF_PLOT, "-o", "/nowhere/a.png"], "/nowhere/a.png cannot be written"),
        (["BLR01.FLOW", *DAY_OF_PLOT, "--gap", "0"], "--gap 0.0 would leave no line; name more than 0 minutes"),
        (["BLR01.FLOW", *DAY_OF_PLOT, "--gap", "nan"], "--gap nan would leave no line"),
    ],
)
def test_what_cannot_be_drawn_is_told_in_a_paragraph(site: Path, arguments: list[str], told: str) -> None:
    result = CliRunner().invoke(app, ["plot", "--site", str(site), *arguments])
    assert result.exit_code == 2
    assert told in " ".join(result.stderr.split())


def test_a_day_that_is_not_over_is_drawn_until_now(site: Path) -> None:
    found = CliRunner().invoke(
        app, ["plot", "BLR01.FLOW", "--site", str(site), "--from", "2026-11-02", "--to", "2999-01-01"]
    )
    assert found.exit_code == 0
    assert "2999" not in found.stdout


def test_a_series_of_a_lake_is_read_by_time(site: Path, tmp_path: Path) -> None:
    from pi_dagster.lake import Lake

    found = read_series(Lake(str(tmp_path / "lake")), "BLR01.FLOW", at(10), at(20))
    assert (found.events, found.numbers) == (10, 10)


def test_a_gap_without_end_draws_a_line_over_every_pause(site: Path) -> None:
    result = CliRunner().invoke(app, ["plot", "BLR01.FLOW", "--site", str(site), *DAY_OF_PLOT, "--gap", "inf"])
    assert result.exit_code == 0, result.output
    assert NO_EVENTS not in result.stdout


def test_a_tag_that_has_another_id_since_a_rebuild_is_drawn_from_both(tmp_path: Path) -> None:
    lake = JudgedLake(tmp_path / "lake")
    lake.add("OLD", minutes(0, 60, 1), tag_name="BLR01.FLOW", is_active=False, last_seen=MIDNIGHT)
    lake.add("NEW", minutes(60, 60, 1), tag_name="BLR01.FLOW")
    whole = read_series(lake.write(), "BLR01.FLOW", at(0), at(120))
    assert (whole.events, len(drawn(whole))) == (120, 1)
    assert read_series(lake.write(), "BLR01.FLOW", at(0), at(30)).events == 30


def test_history_that_was_moved_to_the_new_id_is_not_drawn_twice(tmp_path: Path) -> None:
    lake = JudgedLake(tmp_path / "lake")
    lake.add("OLD", minutes(0, 60, 1), tag_name="BLR01.FLOW", is_active=False, last_seen=MIDNIGHT)
    lake.add("NEW", minutes(30, 90, 1), tag_name="BLR01.FLOW")
    assert read_series(lake.write(), "BLR01.FLOW", at(0), at(120)).events == 120
