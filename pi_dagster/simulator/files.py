"""An archive read from a folder of CSV files in the layout of the Skoltech Anomaly Benchmark (SKAB).

Real sensor data: eight sensors of a water loop, one file an experiment, `;` between columns, one row about
every second. Every row becomes one event of each sensor, also where experiments overlap or repeat an instant.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv

from pi_dagster.simulator.archive import MemoryBase
from pi_dagster.simulator.events import Events, Ticks
from pi_dagster.simulator.points import Point

TIME_COLUMN = "datetime"
LABELS = ("anomaly", "changepoint")
"""Columns that mark rows with 1; the anomaly-free recording has none."""
SENSORS = {
    "Accelerometer1RMS": ("Vibration acceleration, sensor 1", "g"),
    "Accelerometer2RMS": ("Vibration acceleration, sensor 2", "g"),
    "Current": ("Motor current", "A"),
    "Pressure": ("Pressure after the pump", "bar"),
    "Temperature": ("Engine body temperature", "°C"),
    "Thermocouple": ("Fluid temperature", "°C"),
    "Voltage": ("Motor voltage", "V"),
    "Volume Flow RateRMS": ("Circulation flow rate", "l/min"),
}
"""Column, which is the tag's name, to descriptor and engineering units."""


class UnreadableFolderError(ValueError):
    """The folder does not hold CSV files of this layout."""


@dataclass(frozen=True)
class Experiment:
    """One file: its folder and name, its first and last row, and what its labels say, None where it has none."""

    folder: str
    name: str
    start: Ticks
    end: Ticks
    rows: int
    anomalies: int | None
    changepoints: int | None
    first_anomaly: Ticks | None

    @classmethod
    def of(cls, path: Path, table: pa.Table) -> Experiment:
        """The experiment of a file and its rows."""
        ticks = table[TIME_COLUMN].cast(pa.int64()).to_numpy() * 10
        marked = [table[label].to_numpy() == 1 if label in table.column_names else None for label in LABELS]
        anomalous = ticks[marked[0]] if marked[0] is not None else ticks[:0]
        return cls(
            folder=path.parent.name,
            name=f"{path.parent.name}/{path.stem}",
            start=int(ticks.min()),
            end=int(ticks.max()),
            rows=len(ticks),
            anomalies=None if marked[0] is None else int(marked[0].sum()),
            changepoints=None if marked[1] is None else int(marked[1].sum()),
            first_anomaly=int(anomalous.min()) if len(anomalous) else None,
        )


class SkabBase(MemoryBase):
    """The eight sensors of a SKAB folder as Float64 points, with every row of every CSV file in subfolders.

    `experiments` are the files with rows, in the order of their paths.

    Stamps are taken as UTC. Events of one instant keep the order of the files' paths. A point is created at
    the first row; the files tell of no `Pt Created`, so none is made up.
    Raises `UnreadableFolderError` where there is no such folder or no CSV file in it,
    or one lacks a column or holds something else.
    """

    def __init__(self, folder: Path | str) -> None:
        if not Path(folder).is_dir():
            raise UnreadableFolderError(f"there is no folder {folder}")
        paths = sorted(Path(folder).glob("*/*.csv"))
        if not paths:
            raise UnreadableFolderError(
                f"no CSV files in subfolders of {folder}: expected the SKAB layout, for example valve1/0.csv"
            )
        tables = [_read(path) for path in paths]
        found = zip(paths, tables, strict=True)
        self.experiments = tuple(Experiment.of(path, table) for path, table in found if table.num_rows)
        table = pa.concat_tables([table.select([TIME_COLUMN, *SENSORS]) for table in tables])
        if not table.num_rows:
            raise UnreadableFolderError(f"the CSV files in {folder} have no rows")
        ticks = table[TIME_COLUMN].cast(pa.int64()).to_numpy() * 10
        created = datetime.fromtimestamp(int(ticks.min()) / 1e7, timezone.utc)
        super().__init__()
        for number, (name, (descriptor, units)) in enumerate(SENSORS.items(), start=1):
            values = table[name].to_numpy()
            zero = math.floor(np.nanmin(values))
            point = Point(
                id=number,
                name=name,
                point_type="Float64",
                descriptor=descriptor,
                engineering_units=units,
                zero=float(zero),
                span=float(max(1, math.ceil(np.nanmax(values)) - zero)),
                created=created,
            )
            self.add(point, Events.of("Float64", ticks, values))


def _read(path: Path) -> pa.Table:
    columns = {TIME_COLUMN: pa.timestamp("us"), **dict.fromkeys((*SENSORS, *LABELS), pa.float64())}
    try:
        with path.open(encoding="utf-8") as file:
            header = file.readline().strip().split(";")
        return pyarrow.csv.read_csv(
            path,
            parse_options=pyarrow.csv.ParseOptions(delimiter=";"),
            convert_options=pyarrow.csv.ConvertOptions(
                column_types=columns,
                include_columns=[c for c in columns if c in header or c not in LABELS],
                null_values=[],
            ),
        )
    except (pa.ArrowInvalid, pa.ArrowKeyError, OSError, UnicodeDecodeError) as error:
        raise UnreadableFolderError(f"{path} is not a SKAB file: {error}") from error
