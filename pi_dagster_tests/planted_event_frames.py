"""A small plant with a few known event frames around a noon that never passes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any
from uuid import UUID

import requests

from pi_dagster.simulator import Simulator, SimulatorSettings
from pi_dagster.simulator.af_model import ASSET_SERVER_ID, PI_POINT, AttributeTemplate, ElementTemplate
from pi_dagster.simulator.af_tree import TreeDatabase
from pi_dagster.simulator.event_frame_history import FrameHistory
from pi_dagster.simulator.event_frame_templates import (
    EVENT_FRAME_CATEGORIES,
    EVENT_FRAME_SETS,
    EVENT_FRAME_TEMPLATES,
)
from pi_dagster.simulator.event_frames import EventFrameStore
from pi_dagster.webid import WebIdType, object_webid
from pi_dagster_tests.planted_archive import HOUR, NOON, Client, planted_archive

DAY = 24 * HOUR
HISTORY_START = datetime(2024, 6, 10, tzinfo=timezone.utc)
HISTORY_END = datetime(2024, 6, 15, 12, tzinfo=timezone.utc)


@dataclass(frozen=True)
class Plant(Client):
    """A client of a running simulator, with what it serves."""

    database: TreeDatabase
    frames: EventFrameStore
    pump: UUID
    valve: UUID

    @property
    def database_path(self) -> str:
        """The path of the database in URLs."""
        return f"assetdatabases/{object_webid('RD', (ASSET_SERVER_ID, self.database.id), self.database.path).encode()}"

    def names(self, path: str, /, **params: Any) -> list[str]:
        """The names of the objects that a request lists."""
        return [item["Name"] for item in self.json(path, **params)["Items"]]

    def found(self, **params: Any) -> list[str]:
        """The names of the frames that a search of the database finds."""
        return self.names(f"{self.database_path}/eventframes", **params)


def frame_web_id(frame_id: UUID) -> str:
    """The WebID of a frame, in the form that holds ids only."""
    return object_webid("Fm", (ASSET_SERVER_ID, frame_id), "").as_type(WebIdType.ID_ONLY).encode()


def plant_frames(database: TreeDatabase, history: int = 0) -> tuple[EventFrameStore, UUID, UUID]:
    """A pump and a valve, and no frames but those of a history that ends at noon."""
    pump, valve = database.add("Pump 1", template="Pump"), database.add("Valve 1")
    histories = [FrameHistory(database, count=history, start=HISTORY_START, end=HISTORY_END)] if history else []
    return EventFrameStore([database], histories), pump, valve


def small_database() -> TreeDatabase:
    """A database without elements, with the templates of the made-up plant."""
    return TreeDatabase(
        "Plant",
        element_templates=[
            ElementTemplate(name="Machine"),
            ElementTemplate(name="Pump", base="Machine"),
            *EVENT_FRAME_TEMPLATES,
            ElementTemplate(
                name="With Tag",
                instance_type="EventFrame",
                attributes=(AttributeTemplate(name="Flow", value_type="Single", data_reference=PI_POINT),),
            ),
        ],
        enumeration_sets=EVENT_FRAME_SETS,
        element_categories=EVENT_FRAME_CATEGORIES,
    )


@contextmanager
def planted_frames(*, admin: bool = False, history: int = 0, **settings: Any) -> Iterator[Plant]:
    """The plant, served with a clock that stands at noon unless `settings` have another."""
    database = small_database()
    frames, pump, valve = plant_frames(database, history)
    simulator = Simulator(
        archive=planted_archive(),
        settings=SimulatorSettings(**{"now": lambda: NOON, **settings}),
        assets=[database],
        event_frames=frames,
    )
    with simulator.serve(admin_port=0 if admin else None) as running, requests.Session() as session:
        yield Plant(running, session, database, frames, pump, valve)
