"""A plant with event frames that tests change while they are served, and what pi_event_frames has to hold for them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any
from uuid import UUID

import msgspec
from deltalake import DeltaTable

from pi_dagster.simulator import RunningSimulator, Simulator, SimulatorSettings
from pi_dagster.simulator.af_model import Attribute
from pi_dagster.simulator.af_tree import TreeDatabase
from pi_dagster.simulator.archive import Archive, MemoryBase
from pi_dagster.simulator.event_frame_history import FrameHistory
from pi_dagster.simulator.event_frame_model import EventFrame
from pi_dagster.simulator.event_frame_templates import EVENT_FRAME_CATEGORIES, EVENT_FRAME_SETS, EVENT_FRAME_TEMPLATES
from pi_dagster.simulator.event_frames import EventFrameStore
from pi_dagster.simulator.events import Ticks, to_ticks
from pi_dagster.site import Site

TODAY = datetime.now(timezone.utc).replace(hour=0, minute=0, second=0, microsecond=0)
"""Midnight of the day the tests begin on."""

SITE_FILE = """\
type: pi_dagster.components.PISystemComponent
attributes:
  server: {{url: "{url}", retry_budget_seconds: 0}}
  lake: {{uri: "{lake}"}}
  start_date: {start}
  tag_groups: [{{name: all, tag_filter: "*"}}]
"""


def at(days_ago: int, hour: int = 6, minute: int = 0, second: float = 0) -> Ticks:
    """An instant of a day in the past, as the simulator counts time."""
    return to_ticks(TODAY - timedelta(days=days_ago) + timedelta(hours=hour, minutes=minute, seconds=second))


def from_ticks(ticks: Ticks) -> datetime:
    """The same for the tables, which hold microseconds."""
    return datetime(1970, 1, 1, tzinfo=timezone.utc) + timedelta(microseconds=ticks // 10)


def day(days_ago: int) -> str:
    """The partition of a day in the past."""
    return (TODAY - timedelta(days=days_ago)).date().isoformat()


@dataclass(frozen=True)
class FramedPlant:
    """The plant while it is served, and the site that leads to it."""

    database: TreeDatabase
    pumps: Sequence[UUID]
    frames: EventFrameStore
    server: RunningSimulator
    lake: Path
    site_file: Path

    def site(self, **event_frames: Any) -> Site:
        """The site with some settings of `event_frames`."""
        return Site.model_validate(
            {
                "server": {"url": self.server.url, "retry_budget_seconds": 0},
                "lake": {"uri": str(self.lake)},
                "start_date": day(400),
                "tag_groups": [{"name": "all", "tag_filter": "*"}],
                "event_frames": event_frames,
            }
        )

    def rows(self) -> dict[str, dict[str, Any]]:
        """The rows of pi_event_frames by frame, but for what the server does not tell."""
        rows = DeltaTable(str(self.lake / "pi_event_frames")).to_pyarrow_table().to_pylist()
        by_frame = {row["event_frame_id"]: _without_reading(row) for row in rows}
        assert len(by_frame) == len(rows), "an event frame is in the table twice"
        return by_frame

    def expected_rows(self, days_ago: int = 400) -> dict[str, dict[str, Any]]:
        """The same, straight from the simulator's model, of the frames that start in the last days."""
        frames = (frame for frame in self.frames.all_frames() if frame.start >= at(days_ago, hour=0))
        return {str(frame.id): self._expected_row(frame) for frame in frames}

    def _expected_row(self, frame: EventFrame) -> dict[str, Any]:
        start = from_ticks(frame.start)
        end = None if frame.end is None else from_ticks(frame.end)
        elements = [str(element) for element in frame.elements]
        visible = [attribute for attribute in frame.attributes if not attribute.placed.template.is_excluded]
        units = {a.placed.path: a.placed.template.units_abbreviation for a in visible}
        return {
            "event_frame_id": str(frame.id),
            "event_name": frame.name,
            "template_name": frame.template_name or None,
            "start_time": start,
            "end_time": end,
            "duration_minutes": None if end is None else (end - start) / timedelta(minutes=1),
            "primary_element_id": elements[0] if elements else None,
            "event_attributes": {a.placed.path: self._text(a) for a in visible},
            "database_name": self.database.name,
            "parent_event_frame_id": None if frame.parent is None else str(frame.parent),
            "is_open": end is None,
            "severity": frame.severity,
            "category_names": sorted(frame.category_names),
            "referenced_element_ids": sorted(elements),
            "is_acknowledged": frame.acknowledged_at is not None,
            "acknowledged_by": frame.acknowledged_by or None,
            "acknowledged_at": None if frame.acknowledged_at is None else from_ticks(frame.acknowledged_at),
            "description": frame.description,
            "start_date": start.date(),
            "attribute_units": {name: unit for name, unit in units.items() if unit},
            "values_captured": frame.are_values_captured,
        }

    def _text(self, attribute: Attribute) -> str:
        value, template = attribute.value, attribute.placed.template
        if value is None:
            return "No Data"
        if template.type_qualifier:
            states = next(s.values for s in self.database.enumeration_sets if s.name == template.type_qualifier)
            return next(state.name for state in states if value in (state.name, state.value))
        return value if isinstance(value, str) else msgspec.json.encode(value).decode()


def _without_reading(row: dict[str, Any]) -> dict[str, Any]:
    maps = {name: dict(row[name]) for name in ("event_attributes", "attribute_units")}
    unread = ("event_frame_webid", "ingestion_timestamp")
    return {**{name: value for name, value in row.items() if name not in unread}, **maps}


@contextmanager
def framed_plant(folder: Path, *, history: int = 0, days: int = 7) -> Iterator[FramedPlant]:
    """The plant, served until the end of the block.

    Args:
        folder: where its lake and its site file go.
        history: how many made-up frames it has besides those that tests open.
        days: in how many days before today they start.
    """
    database = TreeDatabase(
        "Plant",
        element_templates=EVENT_FRAME_TEMPLATES,
        enumeration_sets=EVENT_FRAME_SETS,
        element_categories=EVENT_FRAME_CATEGORIES,
    )
    area = database.add("Area [1]")
    pumps = [database.add(name, parent=area) for name in ("P-101", "P-102", "Pumpe Süd")]
    past = FrameHistory(database, count=history, start=TODAY - timedelta(days=days), end=TODAY)
    store = EventFrameStore([database], [past] if history else [])
    settings = SimulatorSettings(rate_limit_requests=None)
    simulator = Simulator(archive=Archive(MemoryBase([], {})), settings=settings, assets=[database], event_frames=store)
    with simulator.serve() as server:
        lake, site_file = folder / "lake", folder / "defs.yaml"
        site_file.write_text(SITE_FILE.format(url=server.url, lake=lake, start=day(400)), encoding="utf-8")
        yield FramedPlant(database, pumps, server.event_frames, server, lake, site_file)
