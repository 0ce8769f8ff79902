"""An archive read from a folder of CSV files in the layout of the Skoltech Anomaly Benchmark (SKAB).

Real sensor data: eight sensors of a water loop, one file an experiment, `;` between columns, one row about
every second. Every row becomes one event of each sensor, also where experiments overlap or repeat an instant.
"""

from __future__ import annotations

import math
from datetime import datetime, timezone
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv

from pi_dagster.simulator.archive import Events, MemoryBase
from pi_dagster.simulator.points import Point

TIME_COLUMN = "datetime"
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
"""Column, which is the tag's name, to descriptor and engineering units. Other columns are labels, not data."""


class UnreadableFolderError(ValueError):
    """The folder does not hold CSV files of this layout."""


class SkabBase(MemoryBase):
    """The eight sensors of a SKAB folder as Float64 points, with every row of every CSV file in subfolders.

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
        table = pa.concat_tables([_read(path) for path in paths])
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
    columns = {TIME_COLUMN: pa.timestamp("us"), **dict.fromkeys(SENSORS, pa.float64())}
    try:
        return pyarrow.csv.read_csv(
            path,
            parse_options=pyarrow.csv.ParseOptions(delimiter=";"),
            convert_options=pyarrow.csv.ConvertOptions(
                column_types=columns, include_columns=list(columns), null_values=[]
            ),
        )
    except (pa.ArrowInvalid, pa.ArrowKeyError, OSError) as error:
        raise UnreadableFolderError(f"{path} is not a SKAB file: {error}") from error
