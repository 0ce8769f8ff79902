"""The queries of docs/event-frames.md, run on the tables of the SKAB plant and of a plant with batches."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator
from datetime import date, datetime, timezone
from pathlib import Path
from typing import Any

import duckdb
import pytest
from deltalake import DeltaTable

from pi_dagster.ingest.assets import refresh_assets
from pi_dagster.ingest.event_frames import event_frame_databases, load_day
from pi_dagster.ingest.points import refresh_points
from pi_dagster.ingest.source import open_source
from pi_dagster.ingest.timeseries import load_partition
from pi_dagster.lake import Lake
from pi_dagster.simulator import Simulator
from pi_dagster.simulator.archive import Archive
from pi_dagster.simulator.files import SkabBase
from pi_dagster.site import Site
from pi_dagster_tests.framed_plant import at, day, framed_plant

SKAB = Path(__file__).parents[2] / "shared" / "data" / "skab"
PAGE = (Path(__file__).parents[1] / "docs" / "event-frames.md").read_text(encoding="utf-8")
MEAN_PER_EXPERIMENT, ATTRIBUTES = re.findall(r"```sql\n(.*?)```", PAGE, re.DOTALL)


def query(lake: Path, sql: str) -> list[dict[str, Any]]:
    connection = duckdb.connect()
    connection.execute("SET TimeZone = 'UTC'")
    for table in lake.iterdir():
        connection.register(table.name, DeltaTable(str(table)).to_pyarrow_dataset())
    result = connection.execute(sql)
    names = [column[0] for column in result.description or ()]
    return [dict(zip(names, row, strict=True)) for row in result.fetchall()]


@pytest.fixture(scope="module")
def skab_lake(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    if not SKAB.exists():
        pytest.skip(f"the Skoltech Anomaly Benchmark is not in ../shared/data: {SKAB}")
    folder = tmp_path_factory.mktemp("skab") / "lake"
    base = SkabBase(SKAB)
    span = base.span()
    assert span is not None
    first, last = (datetime.fromtimestamp(ticks / 1e7, timezone.utc).date() for ticks in span)
    with Simulator(archive=Archive(base)).serve() as server:
        site = Site.model_validate(
            {
                "server": {"url": server.url},
                "lake": {"uri": str(folder)},
                "start_date": first,
                "tag_groups": [{"name": "loop", "tag_filter": "*"}],
            }
        )
        lake = Lake(str(folder))
        days = sorted({date.fromordinal(n) for n in range(first.toordinal(), last.toordinal() + 1)})
        with open_source(site.server) as source:
            refresh_assets(site, source, lake, run_id="run")
            refresh_points(site, source, lake, run_id="run")
            databases = event_frame_databases(site, source)
            for one in days:
                load_day(site, source, lake, databases=databases, day=one, run_id="run")
                load_partition(site, source, lake, day=one, tag_group="loop", run_id="run")
        yield folder


def experiments() -> dict[str, list[dict[str, str]]]:
    found = {}
    for path in sorted(SKAB.glob("*/*.csv")):
        with path.open(encoding="utf-8") as file:
            found[f"Experiment {path.parent.name}/{path.stem}"] = list(csv.DictReader(file, delimiter=";"))
    return found


def test_the_documented_query_averages_a_sensor_for_each_experiment(skab_lake: Path) -> None:
    files = experiments()
    values = sorted((row["datetime"], float(row["Pressure"])) for rows in files.values() for row in rows)
    found = {row["experiment"]: row for row in query(skab_lake, MEAN_PER_EXPERIMENT)}
    assert set(found) == set(files)
    for name, rows in files.items():
        first, last = min(row["datetime"] for row in rows), max(row["datetime"] for row in rows)
        # Two recordings overlap, and the tag has the events of both.
        during = [value for instant, value in values if first <= instant <= last]
        assert found[name]["events"] == len(during)
        assert found[name]["mean"] == pytest.approx(sum(during) / len(during))
        assert found[name]["element_path"].endswith("Pump Loop")
        assert found[name]["units"] == "bar"


def test_labels_of_experiments_are_attributes_of_their_frames(skab_lake: Path) -> None:
    found = {row["experiment"]: row["anomaly_rows"] for row in query(skab_lake, MEAN_PER_EXPERIMENT)}
    for name, rows in experiments().items():
        labelled = "anomaly" in rows[0]
        assert found[name] == (sum(float(row["anomaly"]) == 1 for row in rows) if labelled else None)


def test_the_documented_query_of_attributes_gives_numbers_units_and_states(tmp_path: Path) -> None:
    with framed_plant(tmp_path) as plant:
        frame = plant.frames.open("Batch 7", start=at(1), template="Batch", attributes={"Yield": 81.25})
        plant.frames.close(frame.id, at(1, 8))
        plant.frames.open("Batch 8", start=at(1, 9), template="Batch")
        site = plant.site()
        with open_source(site.server) as source:
            databases = event_frame_databases(site, source)
            yesterday = date.fromisoformat(day(1))
            load_day(site, source, Lake(str(plant.lake)), databases=databases, day=yesterday, run_id="run")
        (row,) = query(plant.lake, ATTRIBUTES)
    assert (row["event_name"], row["yield"], row["unit"]) == ("Batch 7", 81.25, "%")
