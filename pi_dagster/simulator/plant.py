"""The imaginary plant the generator simulates: which signals a unit has, and how tags are sampled.

Boilers, pumps, tanks and utilities, named as plants name them, so that a name filter such as `BLR*` makes a
sensible group. Names with blanks, `%`, `/`, `:` and an umlaut are there on purpose: real tags have them.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timezone

from pi_dagster.simulator.points import DigitalSet, PointType


@dataclass(frozen=True)
class Signal:
    """One measured thing of a kind of unit: tag `suffix` and configuration, shared by all its units."""

    area: str
    suffix: str
    descriptor: str
    point_type: PointType
    units: str = ""
    zero: float = 0.0
    span: float = 100.0
    digital_set: str = ""
    future: bool = False

    def tag_name(self, unit: int) -> str:
        """The tag of this signal on the area's unit of that number, counted from 1."""
        return f"{self.area}{unit:02d}{self.suffix}"


@dataclass(frozen=True)
class Sampling:
    """When a tag gets an event: a candidate each `period` seconds, of which a share is kept.

    `jittered` candidates lie anywhere in the first nine tenths of their period. The kept share is drawn anew
    for each block, from `kept`: calm and busy times, as exception reporting has them. A block is what is
    generated at once; the period divides it. A period of 0 is a tag that never gets an event.
    """

    period: int
    block: int = 86_400
    jittered: bool = False
    kept: tuple[float, float] = (1.0, 1.0)


EVERY_SECOND = Sampling(period=1, block=7_200)
EVERY_TEN_SECONDS = Sampling(period=10)
EVERY_MINUTE = Sampling(period=60)
IRREGULAR = Sampling(period=60, jittered=True, kept=(0.7, 1.0))
BY_EXCEPTION = Sampling(period=30, jittered=True, kept=(0.01, 0.9))
ON_CHANGE = Sampling(period=900, block=691_200, jittered=True, kept=(0.1, 0.9))
SILENT = Sampling(period=0)


def _spread(signals: Sequence[Signal]) -> tuple[Signal, ...]:
    """Mix the areas evenly, so that the first few tags already come from all of them."""
    areas: dict[str, list[Signal]] = {}
    for signal in signals:
        areas.setdefault(signal.area, []).append(signal)
    return tuple(
        sorted(signals, key=lambda s: (areas[s.area].index(s) + 0.5) / len(areas[s.area])),
    )


SIGNALS = _spread(
    [
        Signal("BLR", ".STEAM.FLOW", "Live steam flow", "Float32", "t/h", 0, 120),
        Signal("BLR", ".FLAME", "Flame scanner", "Digital", digital_set="FLAME"),
        Signal("BLR", ".STEAM.PRES", "Live steam pressure", "Float32", "bar", 0, 160),
        Signal("BLR", ".STEAM.TEMP", "Live steam temperature", "Float32", "°C", 0, 600),
        Signal("BLR", ".VALVE.POS", "Feed water valve position", "Int16", "%", 0, 100),
        Signal("BLR", ".FW.FLOW", "Feed water flow", "Float32", "t/h", 0, 130),
        Signal("BLR", ".FW.TEMP", "Feed water temperature", "Float16", "°C", 0, 250),
        Signal("BLR", ".ALARM.TEXT", "Last alarm", "String"),
        Signal("BLR", ".DRUM.LEVEL", "Drum level", "Float32", "mm", -300, 600),
        Signal("BLR", ".FUEL.FLOW", "Fuel gas flow", "Float64", "Nm3/h", 0, 9000),
        Signal("BLR", ".MODE", "Combustion control mode", "Digital", digital_set="CONTROL_MODE"),
        Signal("BLR", ".O2", "Flue gas oxygen", "Float32", "%", 0, 21),
        Signal("BLR", ".NOX", "Flue gas NOx", "Float32", "mg/Nm3", 0, 400),
        Signal("BLR", ".BURNER.STARTS", "Burner starts", "Int32", "", 0, 100_000),
        Signal("PMP", ":VIB_DE.PV", "Vibration, drive end", "Float32", "mm/s", 0, 25),
        Signal("PMP", ":RUN.ST", "Run state", "Digital", digital_set="RUN_STATE"),
        Signal("PMP", ":VIB_NDE.PV", "Vibration, non-drive end", "Float32", "mm/s", 0, 25),
        Signal("PMP", ":SPEED.PV", "Speed", "Int16", "rpm", 0, 3000),
        Signal("PMP", ":BRG_TEMP.PV", "Bearing temperature", "Float32", "°C", 0, 150),
        Signal("PMP", ":LAST_SERVICE", "Last service", "Timestamp"),
        Signal("PMP", ":CURRENT.PV", "Motor current", "Float32", "A", 0, 400),
        Signal("PMP", ":POWER.PV", "Motor power", "Float64", "kW", 0, 250),
        Signal("PMP", ":SPECTRUM", "Vibration spectrum, packed", "Blob"),
        Signal("PMP", ":SUCT_P.PV", "Suction pressure", "Float16", "bar", 0, 10),
        Signal("PMP", ":DISCH_P.PV", "Discharge pressure", "Float32", "bar", 0, 40),
        Signal("PMP", ":HOURS.PV", "Running hours", "Int32", "h", 0, 200_000),
        Signal("TNK", " Level %", "Level", "Float32", "%", 0, 100),
        Signal("TNK", ".PRODUCT", "Product and batch", "String"),
        Signal("TNK", ".TEMP", "Temperature", "Float32", "°C", -20, 120),
        Signal("TNK", ".INLET.VALVE", "Inlet valve", "Digital", digital_set="VALVE_STATE"),
        Signal("TNK", ".VOLUME", "Volume", "Float64", "m3", 0, 5000),
        Signal("TNK", ".DENSITY", "Density", "Float32", "kg/m3", 600, 500),
        Signal("TNK", ".PRES", "Head space pressure", "Float32", "mbar", -50, 200),
        Signal("TNK", ".N2/BLANKET", "Nitrogen flow", "Float32", "Nm3/h", 0, 50),
        Signal("UTL", ".AIR.PRES", "Instrument air pressure", "Float32", "bar", 0, 10),
        Signal("UTL", ".LOAD.FORECAST", "Load forecast", "Float32", "MW", 0, 80, future=True),
        Signal("UTL", ".BREAKER", "Incomer breaker", "Digital", digital_set="BREAKER_STATE"),
        Signal("UTL", ".ENERGY", "Energy meter", "Int32", "kWh", 0, 2_000_000_000),
        Signal("UTL", ".KÜHLWASSER.TEMP", "Cooling water temperature", "Float32", "°C", 0, 60),
        Signal("UTL", ".GAS.METER", "Gas meter", "Float64", "m3", 0, 1e9),
    ]
)

DIGITAL_SETS = tuple(
    DigitalSet(id=uuid.uuid5(uuid.NAMESPACE_URL, f"pi-dagster-simulator/{name}"), name=name, states=states)
    for name, states in {
        "FLAME": ("OFF", "ON"),
        "CONTROL_MODE": ("MAN", "AUTO", "CASCADE", "REMOTE"),
        "RUN_STATE": ("Stopped", "Starting", "Running", "Tripped"),
        "VALVE_STATE": ("Closed", "Opening", "Open", "Closing", "Fault"),
        "BREAKER_STATE": ("Open", "Closed", "Tripped", "Withdrawn"),
    }.items()
)

MESSAGES = (
    "Batch {number} started",
    "Product: Diesel B7, batch {number}",
    "Ölstand prüfen, Auftrag {number}",
    'Low level "LL" acknowledged by shift {number}',
    "Line 1\nLine 2, note {number}",
    "",
)
"""What string tags say; `{number}` is filled in. Quotes, a line break, umlauts and the empty string."""


@dataclass(frozen=True, kw_only=True)
class Mix:
    """What the tags of a generated plant are like. All shares are of the number of tags, 0 to 1.

    `samplings` are the numeric tags' samplings with their shares; other tags change rarely (`ON_CHANGE`), but
    are silent as often as numeric ones. `troubled` tags have outages (system states) and events of doubtful
    quality; `repeating` ones sometimes several events at an instant or 100 ns apart; `fractional` ones 1 to 7
    fraction digits in their stamps. Tags are created in the first `creation_spread` seconds after `start`,
    an aware UTC midnight. Future tags reach `forecast` seconds ahead of now.
    """

    signals: tuple[Signal, ...] = SIGNALS
    samplings: tuple[tuple[Sampling, float], ...] = (
        (EVERY_SECOND, 0.02),
        (EVERY_TEN_SECONDS, 0.08),
        (EVERY_MINUTE, 0.40),
        (IRREGULAR, 0.20),
        (BY_EXCEPTION, 0.25),
        (SILENT, 0.05),
    )
    troubled: float = 0.5
    repeating: float = 0.15
    fractional: float = 0.5
    start: datetime = datetime(2024, 1, 1, tzinfo=timezone.utc)
    creation_spread: int = 86_400
    forecast: int = 3 * 86_400


PLANT = Mix()
"""The default: a plant as untidy as real ones, the median tag with a value about every minute."""

UNIFORM_1HZ = Mix(
    signals=(Signal("FLT", ".PV", "1 Hz benchmark signal", "Float32", "bar"),),
    samplings=((EVERY_SECOND, 1.0),),
    troubled=0.0,
    repeating=0.0,
    fractional=0.0,
    creation_spread=1,
)
"""For benchmarks: every tag a good Float32 at each whole second, nothing else."""

PROFILES = {"plant": PLANT, "uniform": UNIFORM_1HZ}
"""The mixes the command line knows by name (`--profile`)."""
