"""A lake with one tag group's day, written as plain numbers, to be judged by rules."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pyarrow as pa

from pi_dagster.lake import Lake, PointsTable, TimeseriesTable
from pi_dagster.lake.schemas import POINTS_SCHEMA, TIMESERIES_FILE_SCHEMA
from pi_dagster.quality.partition import JudgedPartition, judge_partition
from pi_dagster.quality.rule_tags import RuleTags
from pi_dagster.site import LakeSettings, ServerSettings, Site, TagGroup

DAY = date(2026, 11, 2)
MIDNIGHT = datetime(2026, 11, 2, tzinfo=timezone.utc)
GROUP = "all"

Event = tuple[float, Any]
"""Minutes after midnight; a number, or a state's name, or None for a bad number that is kept out of `value`."""


def minutes(first: float, count: int, step: float, value: float = 1.0) -> list[Event]:
    """Events of one value at even distances."""
    return [(first + number * step, value) for number in range(count)]


@dataclass
class JudgedLake:
    """Tags with their events, and what rules find in them."""

    folder: Path
    events: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    points: dict[str, dict[str, Any]] = field(default_factory=dict)

    def add(self, tag: str, events: Sequence[Event], *, units: str = "m3/h", **point: Any) -> JudgedLake:
        """A tag; `point` are its columns in pi_points."""
        self.points[tag] = {"engineering_units": units, **point}
        self.events[tag] = [self._row(tag, at, value, units) for at, value in events]
        return self

    def judge(self, *rules: Mapping[str, Any], **settings: Any) -> list[tuple[Any, ...]]:
        """(rule, tag, first minute, last minute, events, worst) of each finding."""
        judged = self.judged(*rules, **settings)
        return [
            (
                row["rule"],
                row["tag_name"],
                (row["finding_start"] - MIDNIGHT) / timedelta(minutes=1),
                (row["finding_end"] - MIDNIGHT) / timedelta(minutes=1),
                row["event_count"],
                row["worst_text"] if row["worst_value"] is None else round(row["worst_value"], 9),
            )
            for row in judged.findings.to_pylist()
        ]

    def judged(self, *rules: Mapping[str, Any], **settings: Any) -> JudgedPartition:
        """Write the day and judge it."""
        lake, site = self.write(), self.site(*rules, **settings)
        judged = judge_partition(site, lake, RuleTags(site, lake), DAY, GROUP, run_id="test")
        assert judged is not None
        return judged

    def write(self) -> Lake:
        """Write the day and the list of tags."""
        lake = Lake(str(self.folder))
        rows = [row for tag in sorted(self.events) for row in self.events[tag]]
        TimeseriesTable.open(lake).replace_window(
            partition_date=DAY,
            tag_group=GROUP,
            start=MIDNIGHT,
            end=MIDNIGHT + timedelta(days=1),
            batches=pa.Table.from_pylist(rows, TIMESERIES_FILE_SCHEMA).to_batches(),
            commit_info={},
        )
        now = datetime.now(timezone.utc)
        seen = {"tag_group": GROUP, "is_active": True, "first_seen": now, "last_seen": now}
        listed = [{"tag_webid": tag, "tag_name": tag, **seen, **point} for tag, point in self.points.items()]
        PointsTable.open(lake).replace(pa.Table.from_pylist(listed, POINTS_SCHEMA), {})
        return lake

    def site(self, *rules: Mapping[str, Any], **settings: Any) -> Site:
        """A site with these rules."""
        return Site(
            server=ServerSettings(url="http://localhost/piwebapi"),
            lake=LakeSettings(uri=str(self.folder)),
            start_date=date(2026, 1, 1),
            tag_groups=(TagGroup(name=GROUP, tag_filter="*"),),
            quality_rules=[{"name": rule["kind"], **rule} for rule in rules],  # type: ignore[arg-type]
            **settings,
        )

    @staticmethod
    def _row(tag: str, at: float, value: Any, units: str) -> dict[str, Any]:
        is_number = isinstance(value, int | float)
        state = value if isinstance(value, str) else None
        return {
            "tag_webid": tag,
            "tag_name": tag,
            "timestamp": MIDNIGHT + timedelta(minutes=at),
            "value": float(value) if is_number else None,
            "value_string": state,
            "quality_good": value is not None,
            "quality_questionable": False,
            "units": units if is_number else None,
            "ingestion_timestamp": MIDNIGHT,
            "is_system_state": state in ("Shutdown", "No Data"),
            "quality_substituted": False,
            "quality_annotated": False,
            "event_ordinal": 0,
        }
