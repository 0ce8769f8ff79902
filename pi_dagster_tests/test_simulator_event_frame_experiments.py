from __future__ import annotations

import csv
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
import requests

from pi_dagster.simulator import RunningSimulator, Simulator
from pi_dagster.simulator.archive import Archive
from pi_dagster.simulator.files import SkabBase

SKAB = Path(__file__).parents[2] / "shared" / "data" / "skab"
DURING = {"startTime": "2020-01-01", "endTime": "2021-01-01"}


@pytest.fixture(scope="module")
def running() -> Iterator[RunningSimulator]:
    if not SKAB.exists():
        pytest.skip(f"the Skoltech Anomaly Benchmark is not in ../shared/data: {SKAB}")
    with Simulator(archive=Archive(SkabBase(SKAB))).serve() as served:
        yield served


def get(running: RunningSimulator, path: str, /, **params: Any) -> Any:
    answer = requests.get(f"{running.url}/{path}", params=params, timeout=30)
    assert answer.status_code == 200, answer.text
    return answer.json()


def experiments(running: RunningSimulator, **params: Any) -> list[Any]:
    database = get(running, "assetdatabases", path=r"\\AFSIM\SKAB")["WebId"]
    found = get(running, f"assetdatabases/{database}/eventframes", **{**DURING, **params})["Items"]
    assert isinstance(found, list)
    return found


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8") as file:
        return list(csv.DictReader(file, delimiter=";"))


def test_each_file_is_one_frame_about_the_pump_loop(running: RunningSimulator) -> None:
    files = sorted(SKAB.glob("*/*.csv"))
    found = experiments(running)
    assert sorted(item["Name"] for item in found) == sorted(f"Experiment {p.parent.name}/{p.stem}" for p in files)
    for item in found:
        loop = requests.get(item["Links"]["PrimaryReferencedElement"], timeout=30).json()
        assert loop["Name"] == "Pump Loop"


def test_the_template_of_a_frame_is_its_folder_derived_from_experiment(running: RunningSimulator) -> None:
    everything = experiments(running, templateName="Experiment")
    valve = experiments(running, templateName="valve1")
    assert len(everything) == len(list(SKAB.glob("*/*.csv")))
    assert len(valve) == len(list(SKAB.glob("valve1/*.csv")))


def test_a_frame_lasts_from_its_first_row_to_its_last_and_tells_the_labels(running: RunningSimulator) -> None:
    for path in (SKAB / "valve1" / "0.csv", SKAB / "other" / "9.csv"):
        data = rows(path)
        (item,) = experiments(running, nameFilter=f"*{path.parent.name}/{path.stem}")
        stamps = [datetime.fromisoformat(row["datetime"]).strftime("%Y-%m-%dT%H:%M:%SZ") for row in data]
        assert (item["StartTime"], item["EndTime"]) == (min(stamps), max(stamps))
        values = {
            v["Name"]: v["Value"]["Value"] for v in requests.get(item["Links"]["Value"], timeout=30).json()["Items"]
        }
        marked = [stamp for stamp, row in zip(stamps, data, strict=True) if float(row["anomaly"]) == 1]
        assert values == {
            "File": f"{path.parent.name}/{path.name}",
            "Rows": len(data),
            "Anomaly Rows": len(marked),
            "Changepoint Rows": sum(float(row["changepoint"]) == 1 for row in data),
            "First Anomaly": min(marked),
        }


def test_the_recording_without_labels_tells_none(running: RunningSimulator) -> None:
    (item,) = experiments(running, nameFilter="*anomaly-free*")
    values = requests.get(item["Links"]["Value"], timeout=30).json()["Items"]
    assert {v["Name"] for v in values if not v["Value"]["Good"]} == {
        "Anomaly Rows",
        "Changepoint Rows",
        "First Anomaly",
    }


def test_the_sensors_are_read_over_the_time_of_an_experiment(running: RunningSimulator) -> None:
    (item,) = experiments(running, nameFilter="*valve1/0")
    loop = item["Links"]["PrimaryReferencedElement"].rpartition("/")[2]
    window = {"startTime": item["StartTime"], "endTime": item["EndTime"], "maxCount": 5000}
    sensors = get(running, f"streamsets/{loop}/recorded", **window)["Items"]
    assert {len(sensor["Items"]) for sensor in sensors} == {len(rows(SKAB / "valve1" / "0.csv"))}
