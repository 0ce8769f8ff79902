"""The benchmark on SKAB: the rules are made from the normal recording only, and compared with the labels truthfully."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from benchmarks import skab
from pi_dagster.simulator.files import SENSORS
from pi_dagster_tests.conftest import SHARED

START = datetime(2020, 3, 9, 10, tzinfo=timezone.utc)


def write_recording(path: Path, *, anomalous: range | None) -> None:
    """Ten minutes at 1 s, in which Current is far out of its range in the rows `anomalous` (None: no labels)."""
    path.parent.mkdir(exist_ok=True)
    chance = np.random.default_rng(len(str(path)))
    lines = [";".join(["datetime", *SENSORS, *([] if anomalous is None else ["anomaly", "changepoint"])])]
    for second in range(600):
        values = chance.uniform(0, 1, len(SENSORS))
        is_anomaly = anomalous is not None and second in anomalous
        values[2] += 50 if is_anomaly else 0
        labels = [] if anomalous is None else [f"{is_anomaly:d}.0", "0.0"]
        at = START + timedelta(seconds=second)
        lines.append(";".join([f"{at:%Y-%m-%d %H:%M:%S}", *(f"{value:.6f}" for value in values), *labels]))
    path.write_text("\n".join(lines) + "\n")


def test_an_anomaly_out_of_range_is_found_and_nothing_else(tmp_path: Path) -> None:
    write_recording(tmp_path / "anomaly-free" / "anomaly-free.csv", anomalous=None)
    write_recording(tmp_path / "valve1" / "0.csv", anomalous=range(300, 400))
    table = skab.run(tmp_path).tables[0]
    by_rules = {row[0]: row[1:] for row in table.rows}
    assert by_rules["range"] == ["100.0%", "0.0%", "0.0%", "1.00", "1 of 1", "0 of 1"]
    assert by_rules["stuck"] == ["0.0%", "0.0%", "100.0%", "0.00", "0 of 1", "0 of 1"]


def test_a_folder_without_the_data_is_skipped_with_a_reason(tmp_path: Path) -> None:
    import typer

    app = typer.Typer()
    app.command()(skab.main)
    result = CliRunner().invoke(app, [str(tmp_path)])
    assert result.exit_code == 2
    assert "Skipped" in result.stderr


def test_limits_are_those_of_the_normal_recording_and_a_tenth_more() -> None:
    values = np.array([0.0, 10.0, 5.0, 5.0, 5.0])
    normal = skab.Recording("n", np.arange(5) * 60_000_000, {"Current": values}, np.zeros(5, bool))
    rules = {rule["kind"]: rule for rule in skab.rules_from(normal)}
    assert (rules["range"]["low"], rules["range"]["high"]) == (-1.0, 11.0)
    assert rules["rate_of_change"]["most_per_minute"] == pytest.approx(11.0)
    assert rules["stuck"]["longest_minutes"] == pytest.approx(2.2)
    assert rules["spike"] == {"name": "spike_0", "kind": "spike", "tags": ["*.Current"]}


@pytest.mark.skipif(not (SHARED / "data" / "skab").is_dir(), reason="there is no SKAB data in ../shared")
def test_the_anomaly_free_recording_breaks_none_of_its_own_rules() -> None:
    section = skab.run(SHARED / "data" / "skab")
    assert section.notes[0] == "Of the anomaly-free recording itself 0 of 9,405 rows are flagged."
