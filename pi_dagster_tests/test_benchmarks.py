"""The benchmarks still run, on the smallest scale; whether anything is fast is not looked at."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from typer.testing import CliRunner

from benchmarks import catalogue, sustained, tail_day
from benchmarks.__main__ import app
from benchmarks.machine import this_machine
from benchmarks.plot import draw, draw_runs
from benchmarks.report import as_json, markdown, write_markdown
from benchmarks.results import Figure, Scale, Section, at_least, at_most

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

MEASURED = [name for name in catalogue.NAMES if name != catalogue.PROJECTION]


@pytest.fixture(scope="module")
def sections() -> dict[str, Section]:
    """What the benchmarks that ran so far have found."""
    return {}


@pytest.mark.parametrize("name", MEASURED)
def test_a_benchmark_finds_figures_that_can_be_reported(name: str, sections: dict[str, Section]) -> None:
    section = sections[name] = catalogue.run(name, Scale.SMOKE, {})
    assert section.rows
    document = json.loads(as_json(this_machine(), {name: section}))
    assert [row["what"] for row in document["benchmarks"][name]["rows"]] == [row.what for row in section.rows]
    text = markdown(this_machine(), {name: section})
    assert all(row.what.split("|")[0] in text for row in section.rows)


def test_the_projection_follows_from_what_was_found(sections: Mapping[str, Section]) -> None:
    if not set(catalogue.chosen([catalogue.PROJECTION])) <= {*sections, catalogue.PROJECTION}:
        sections = {name: catalogue.run(name, Scale.SMOKE, {}) for name in ("tail", "end_to_end")}
    section = catalogue.run(catalogue.PROJECTION, Scale.SMOKE, sections)
    assert [row[0] for row in section.tables[0].rows if row[0].startswith("30,000 tags")]


def test_the_plot_is_drawn_from_what_was_found(sections: Mapping[str, Section], tmp_path: Path) -> None:
    draw(sections, tmp_path / "folder" / "performance.png")
    assert (tmp_path / "folder" / "performance.png").stat().st_size > 1000


def test_runs_of_the_tail_are_watched_and_drawn(tmp_path: Path) -> None:
    runs = sustained.measure(tags=20, seconds=0)
    section = sustained.report([*runs, replace(runs[-1], minute=1.0)], tags=20)
    assert {row.what.partition(":")[0] for row in section.rows} == {
        "time of a run",
        "CPU time of a run",
        "memory after a run",
        "lag after a run",
    }
    draw_runs([vars(run) for run in runs], tmp_path / "runs.png")
    assert (tmp_path / "runs.png").stat().st_size > 1000


def test_a_ratio_compares_each_round_with_itself() -> None:
    assert Figure.ratio([2, 40, 6], [1, 10, 2]) == Figure(median=3, low=2, high=4)


def test_the_median_is_held_against_the_target() -> None:
    figure = Figure(median=1.2, low=0.5, high=9)
    assert at_least(1.15).is_met(figure)
    assert not at_most(1.15).is_met(figure)


def test_a_page_with_marks_keeps_what_is_outside_them(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("before\n<!-- begin figures -->\nold\n<!-- end figures -->\nafter\n")
    write_markdown(page, "new\n", part="figures")
    assert page.read_text() == "before\n<!-- begin figures -->\n\nnew\n\n<!-- end figures -->\nafter\n"


def test_an_unknown_benchmark_is_refused_with_the_names_of_those_there_are() -> None:
    result = CliRunner().invoke(app, ["--only", "decoding"])
    assert result.exit_code == 2
    assert "there is no decoding" in result.output


def test_a_day_of_the_tail_is_run_from_midnight_on() -> None:
    runs, day_bytes = tail_day.measure(tags=20, period=300, runs=3)
    assert [run.rows for run in runs] == [20, 40, 60]
    assert tail_day.report(runs, day_bytes=day_bytes, tags=20, period=300).rows


@pytest.mark.spark
def test_tasks_of_spark_are_compared(spark: SparkSession) -> None:
    from benchmarks import spark_scaling

    rates = spark_scaling.measure(spark, tags=10, rounds=1, tasks=(1, 2))
    assert [row.what for row in spark_scaling.report(rates, tags=10).rows] == ["rate with 2 tasks / with 1"]
