"""The demo loads what the simulated server holds, twice the same, and cleans up after itself."""

from __future__ import annotations

import csv
import json
import os
import re
import signal
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from datetime import date, datetime, timezone
from pathlib import Path

import dagster as dg
import pyarrow as pa
import pytest
import requests

from pi_dagster.demo import DemoPlan, DemoResult, load
from pi_dagster.lake import AssetAttributesTable, AssetHierarchyTable, EventFramesTable, Lake, TimeseriesTable
from pi_dagster.runs_here import RunFailedError
from pi_dagster.simulator import spawned
from pi_dagster.simulator.files import SENSORS

COMMAND = [sys.executable, "-c", "from pi_dagster.cli import main; main()"]
SKAB = Path(__file__).parents[2] / "shared" / "data" / "skab"


@pytest.fixture(autouse=True)
def _environment_as_before(monkeypatch: pytest.MonkeyPatch) -> None:
    """The demo tells Dagster its site through these."""
    for name in ("PI_DAGSTER_SITE", "PI_WEB_API_URL", "PI_LAKE", "PI_START_DATE"):
        monkeypatch.setenv(name, "")


def load_small_plant(lake: Path) -> DemoResult:
    plan = DemoPlan.of_plant(lake, recent=False)
    plan = replace(plan, simulator={**plan.simulator, "tags": 60, "event_frames": 20})
    with spawned(**plan.simulator) as server, dg.DagsterInstance.ephemeral() as instance:
        return load(plan, plan.site(server.url), instance, on_partition=lambda key, rows: None)


def rows_of(lake: Path) -> pa.Table:
    table = TimeseriesTable.open(Lake(str(lake)), create=False).to_arrow()
    return table.drop_columns(["ingestion_timestamp"]).sort_by(
        [(name, "ascending") for name in ("tag_webid", "timestamp", "event_ordinal")]
    )


def write_skab_file(folder: Path) -> None:
    (folder / "valve1").mkdir(parents=True)
    rows = [f"2020-03-09 10:14:{second:02d}" + f";{second}.5" * len(SENSORS) for second in range(30)]
    (folder / "valve1" / "0.csv").write_text("\n".join([";".join(["datetime", *SENSORS]), *rows]) + "\n")


def test_a_second_run_leaves_the_same_rows(tmp_path: Path) -> None:
    first = load_small_plant(tmp_path)
    rows = rows_of(tmp_path)
    second = load_small_plant(tmp_path)
    assert rows_of(tmp_path).equals(rows)
    assert second.rows == first.rows == rows.num_rows > 0


def test_the_result_tells_what_is_in_the_table(tmp_path: Path) -> None:
    result = load_small_plant(tmp_path)
    rows = rows_of(tmp_path)
    assert result.tags == 60
    assert result.attributes == 60
    assert result.event_frames == 20
    lake = Lake(str(tmp_path))
    assert AssetHierarchyTable.open(lake).to_arrow().num_rows == result.elements > 0
    assert AssetAttributesTable.open(lake).to_arrow().num_rows == 60
    assert EventFramesTable.open(lake).to_arrow().num_rows == 20
    assert result.partitions == 10
    assert set(rows["partition_date"].to_pylist()) == set(result.days)
    assert Counter(rows["tag_group"].to_pylist()) == result.rows_by_tag_group
    assert {"pumps-00", "pumps-01"} < set(result.rows_by_tag_group)
    assert sum(result.rows_by_type.values()) == result.rows
    states = Counter(
        row["value_string"] for row in rows.select(["value_string", "is_system_state"]).to_pylist()
        if row["is_system_state"]
    )  # fmt: skip
    assert states == result.rows_by_system_state
    assert states["Pt Created"] == 60


def test_the_reason_of_a_run_that_fails_is_told(tmp_path: Path) -> None:
    plan = DemoPlan.of_plant(tmp_path, recent=False)
    with (
        spawned(tags=5, user="me", password="secret") as server,
        dg.DagsterInstance.ephemeral() as instance,
        pytest.raises(RunFailedError, match=r"refused the login \(401"),
    ):
        load(plan, plan.site(server.url), instance, on_partition=lambda key, rows: None)


def test_recent_days_are_the_last_two_closed_ones(tmp_path: Path) -> None:
    plan = DemoPlan.of_plant(tmp_path, recent=True)
    today = datetime.now(timezone.utc).date()
    assert [(today - day).days for day in plan.days] == [2, 1]
    assert (today - plan.start_date).days == 7


def test_the_query_that_the_demo_ends_with_works(tmp_path: Path) -> None:
    write_skab_file(tmp_path / "data")
    demo = subprocess.run(
        [*COMMAND, "demo", "--data", "data"], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    query = demo.stdout.strip().splitlines()[-1]
    answer = subprocess.run(query, shell=True, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert len(answer.stdout.splitlines()) == 5
    assert "'events': 30" in answer.stdout
    assert [path.name for path in (tmp_path / "pi_demo").iterdir()] == ["data"]


@pytest.mark.skipif(not SKAB.is_dir(), reason="the real data in ../shared/data/skab is absent")
def test_every_value_of_the_skab_files_is_in_the_table(tmp_path: Path) -> None:
    demo = subprocess.run(
        [*COMMAND, "demo", "--data", str(SKAB), "--lake", "lake", "--json"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    expected: Counter[tuple[str, datetime, float]] = Counter()
    for path in SKAB.glob("*/*.csv"):
        with path.open() as file:
            for line in csv.DictReader(file, delimiter=";"):
                stamp = datetime.strptime(line["datetime"], "%Y-%m-%d %H:%M:%S").replace(tzinfo=timezone.utc)
                expected.update((name, stamp, float(line[name])) for name in SENSORS)
    columns = rows_of(tmp_path / "lake").select(["tag_name", "timestamp", "value"]).to_pydict()
    assert Counter(zip(*columns.values(), strict=True)) == expected
    assert json.loads(demo.stdout)["rows"] == expected.total()


def test_an_interrupt_before_anything_is_loaded_is_told(tmp_path: Path) -> None:
    with subprocess.Popen(
        [*COMMAND, "demo"],
        cwd=tmp_path,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        # As a terminal does, which interrupts the simulator as well.
        start_new_session=True,
    ) as demo:
        assert demo.stderr is not None
        while not (tmp_path / "pi_demo" / "lake" / "pi_timeseries").exists():
            assert demo.poll() is None
        os.killpg(demo.pid, signal.SIGINT)
        _, errors = demo.communicate(timeout=60)
    assert demo.returncode == 130
    assert errors.splitlines()[-1].startswith("Interrupted.")
    assert "Traceback" not in errors


def test_the_ui_is_served_on_the_demos_site_and_stops_with_the_server(tmp_path: Path) -> None:
    write_skab_file(tmp_path / "data")
    (tmp_path / ".env").write_text("PI_DAGSTER_SITE=plant1.yaml\nPI_WEB_API_URL=https://pi.example.com/piwebapi\n")
    with subprocess.Popen(
        [*COMMAND, "demo", "--data", "data", "--ui"],
        cwd=tmp_path,
        env={**os.environ, "HOME": str(tmp_path / "home")},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    ) as demo:
        assert demo.stderr is not None
        said = ""
        for line in demo.stderr:
            said += line
            if line.startswith("Ctrl-C"):
                break
        addresses = {what: re.search(rf"{what}\S* (?:answers at|UI:) (\S+)", said) for what in ("PI server", "Dagster")}
        server, ui = (match[1] for match in addresses.values() if match)
        assert requests.get(server, timeout=10).status_code == 200
        query = "{runsOrError{...on Runs{results{status}}} assetNodes{assetKey{path} partitionKeys}}"
        answer = requests.post(f"{ui}/graphql", json={"query": query}, timeout=60).json()["data"]
        demo.send_signal(signal.SIGINT)
        demo.communicate(timeout=60)
    assert demo.returncode == 0
    assert {run["status"] for run in answer["runsOrError"]["results"]} == {"SUCCESS"}
    partitions = {node["assetKey"]["path"][-1]: node["partitionKeys"] for node in answer["assetNodes"]}
    assert f"{date(2020, 3, 9)}|vibration" in partitions["pi_timeseries"]
    for address in (server, ui):
        with pytest.raises(requests.ConnectionError):
            requests.get(address, timeout=10)
