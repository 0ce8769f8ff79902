"""A few tags with known events around a noon that never passes, and a plain client to look at them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any
from uuid import UUID

import requests

from pi_dagster.simulator import RunningSimulator, Simulator, SimulatorSettings
from pi_dagster.simulator.archive import Archive, MemoryBase
from pi_dagster.simulator.events import TICKS_PER_SECOND, Events, to_ticks
from pi_dagster.simulator.points import DigitalSet, Point
from pi_dagster.webid import WebIdType, data_server_webid, point_webid

NOON = to_ticks(datetime(2024, 6, 15, 12, tzinfo=timezone.utc))
MINUTE = 60 * TICKS_PER_SECOND
HOUR = 60 * MINUTE
VALVE = DigitalSet(UUID("5f5f4b0e-0000-4000-8000-000000000001"), "VALVE", ("Closed", "Open"))
POINTS = (
    Point(id=1, name="BLR01.FLOW", engineering_units="t/h", descriptor="Live steam"),
    Point(id=2, name="BLR01.VALVE", point_type="Digital", digital_set_name="VALVE", step=True),
    Point(id=3, name="BLR01.NOTE", point_type="String"),
    Point(id=4, name="PMP01:TIES", point_type="Float64", point_source="OPC"),
    Point(id=5, name="PMP01:EMPTY", point_type="Int32"),
    Point(id=6, name="UTL01.FORECAST", future=True),
    Point(id=7, name="Ünit 1/100% & +#?", point_type="Float64"),
)
FLOW, VALVE_TAG, NOTE, TIES, EMPTY, FORECAST, ODD_NAME = POINTS
TIES_AT = NOON - HOUR
READ_ALL = {"startTime": "2024-06-15T00:00:00Z", "endTime": "2024-06-16T00:00:00Z"}


def planted_archive() -> Archive:
    """FLOW: 0..119, one a minute from 10:00 to 11:59. TIES: 0..4 at 11:00, then 5 and 6 each 100 ns later."""
    minutes = [NOON - 2 * HOUR + i * MINUTE for i in range(120)]
    events = {
        FLOW.id: Events.of("Float32", minutes, list(range(120))),
        VALVE_TAG.id: Events.of(
            "Digital", [NOON - HOUR, NOON - MINUTE], [0, 1], states=[-1, 254], digital_states=VALVE.states
        ),
        NOTE.id: Events.of("String", [NOON - HOUR], ['say "hi"'], flags=[8]),
        TIES.id: Events.of("Float64", [TIES_AT] * 5 + [TIES_AT + 1, TIES_AT + 2], list(range(7))),
        FORECAST.id: Events.of("Float32", [NOON - HOUR, NOON + HOUR], [1.0, 2.0]),
        ODD_NAME.id: Events.of("Float64", [NOON - HOUR], [float("nan")]),
    }
    return Archive(MemoryBase(POINTS, events, [VALVE]))


@dataclass(frozen=True)
class Client:
    """Asks a running simulator over its socket, without retries or patience."""

    running: RunningSimulator
    session: requests.Session

    def get(self, path: str, /, **params: Any) -> requests.Response:
        return self.session.get(f"{self.running.url}/{path}", params=params, timeout=10)

    def json(self, path: str, /, **params: Any) -> Any:
        answer = self.get(path, **params)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def post(self, path: str, body: object, /, **params: Any) -> requests.Response:
        headers = {"X-Requested-With": "test"}
        return self.session.post(f"{self.running.url}/{path}", json=body, params=params, headers=headers, timeout=10)

    def recorded(self, point: Point, **params: Any) -> list[Any]:
        items = self.json(f"streams/{web_id(point)}/recorded", **{**READ_ALL, **params})["Items"]
        assert isinstance(items, list)
        return items


def web_id(point: Point, form: WebIdType = WebIdType.ID_ONLY) -> str:
    archive = planted_archive()
    return point_webid(archive.server_id, point.id, archive.server_name, point.name).as_type(form).encode()


def server_web_id() -> str:
    archive = planted_archive()
    return data_server_webid(archive.server_id, archive.server_name).encode()


@contextmanager
def planted(*, admin: bool = False, **settings: Any) -> Iterator[Client]:
    """The planted archive, served with a clock that stands at noon."""
    simulator = Simulator(archive=planted_archive(), settings=SimulatorSettings(**{"now": lambda: NOON, **settings}))
    with simulator.serve(admin_port=0 if admin else None) as running, requests.Session() as session:
        yield Client(running, session)


def values(items: list[Any]) -> list[Any]:
    return [item["Value"] for item in items]
