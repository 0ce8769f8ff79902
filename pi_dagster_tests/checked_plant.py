"""A plant of two groups of two tags, an AF element and event frames, and the Dagster that loads and checks it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import dagster as dg

from pi_dagster.automation.partitions import TAIL_TAG, partition_key, range_tags
from pi_dagster.factory import build_pi_definitions
from pi_dagster.lake import Lake, TimeseriesTable
from pi_dagster.simulator import Fault, FaultKind, RunningSimulator, Simulator, SimulatorSettings
from pi_dagster.simulator.af_model import PI_POINT, AttributeTemplate, ElementTemplate
from pi_dagster.simulator.af_tree import TreeDatabase
from pi_dagster.simulator.archive import Archive, MemoryBase
from pi_dagster.simulator.event_frame_templates import EVENT_FRAME_CATEGORIES, EVENT_FRAME_SETS, EVENT_FRAME_TEMPLATES
from pi_dagster.simulator.event_frames import EventFrameStore
from pi_dagster.simulator.events import Events, to_ticks
from pi_dagster.simulator.points import Point
from pi_dagster.site import Site
from pi_dagster.webid import point_webid

GROUPS = ("boilers", "pumps")
TAGS = ("BLR1", "BLR2", "PMP1", "PMP2")
MINUTE = timedelta(minutes=1)
PUMP = ElementTemplate(
    name="Pump",
    attributes=tuple(
        AttributeTemplate(name=name, value_type="Single", data_reference=PI_POINT) for name in ("Flow", "Speed")
    ),
)


class CheckedPlant:
    """The plant while it is served, and what Dagster does with it.

    Its archive begins two days before today. `began` is when the test did, and its day is `today`.
    """

    def __init__(
        self,
        running: RunningSimulator,
        site: Site,
        instance: dg.DagsterInstance,
        clock: dict[str, timedelta],
        assets: TreeDatabase,
    ) -> None:
        self.running = running
        self.site = site
        self.instance = instance
        self.assets = assets
        self._clock = clock
        self.today = datetime.now(timezone.utc).date()
        self.yesterday = self.today - timedelta(days=1)
        self.set_limits()

    @property
    def lake(self) -> Lake:
        return Lake(self.site.lake.uri)

    def set_limits(self, **checks: float) -> None:
        """Other limits, and a Dagster that was started anew."""
        self.site = Site.model_validate({**self.site.model_dump(), "checks": checks})
        self.repository = build_pi_definitions(self.site).get_repository_def()

    def run(self, job: str, **tags: str) -> dg.ExecuteInProcessResult:
        return self.repository.get_job(job).execute_in_process(instance=self.instance, tags=tags, raise_on_error=False)

    def list_all(self) -> None:
        """AF elements, then the list of tags."""
        assert self.run("load_pi_assets").success
        assert self.run("load_pi_points").success

    def load_day(self, day: Any, *, first: str = GROUPS[0], last: str = GROUPS[-1]) -> bool:
        """A day of all groups, as a backfill does; whether that went well."""
        return self.run("load_pi_timeseries", **range_tags(day, first, last)).success

    def load_today(self) -> bool:
        """As the schedule does."""
        return self.run("load_pi_timeseries", **range_tags(self.today, *GROUPS), **{TAIL_TAG: "true"}).success

    def load_frames(self, day: Any) -> bool:
        return self.run("load_pi_event_frames", **{"dagster/partition": day.isoformat()}).success

    def compute_daily(self, day: Any) -> bool:
        return self.run("compute_pi_timeseries_daily", **{"dagster/partition": day.isoformat()}).success

    def load_all(self) -> None:
        """Everything, of today and two days before."""
        self.list_all()
        before = self.yesterday - timedelta(days=1)
        assert self.load_day(before)
        assert self.compute_daily(before)
        assert self.load_day(self.yesterday)
        assert self.load_today()
        for day in (self.yesterday, self.today):
            assert self.load_frames(day)

    def check(self) -> Mapping[str, dg.AssetCheckEvaluation]:
        """All checks, as their schedule runs them, by `asset:check`."""
        result = self.run("check_pi_tables")
        assert result.success
        found = {
            f"{one.asset_key.to_user_string()}:{one.check_name}": one for one in result.get_asset_check_evaluations()
        }
        assert len(found) == len(result.get_asset_check_evaluations())
        return found

    def point(self, tag: str) -> Point:
        point = self.running.archive.point_by_name(tag)
        assert point is not None
        return point

    def web_id(self, tag: str) -> str:
        archive = self.running.archive
        return point_webid(archive.server_id, self.point(tag).id, archive.server_name, tag).identity

    def forbid(self, tag: str) -> None:
        """The login may no longer read the tag."""
        self.running.faults.add(Fault(kind=FaultKind.STATUS, status=403, route="*recorded", web_id=self.web_id(tag)))

    def replace(self, tag: str, minutes: range, **events: Any) -> None:
        """Other events of yesterday, by the minute; see `Events.of`."""
        midnight = datetime(self.yesterday.year, self.yesterday.month, self.yesterday.day, tzinfo=timezone.utc)
        ticks = [to_ticks(midnight + minute * MINUTE) for minute in minutes]
        self.running.archive.replace(self.point(tag), Events.of("Float32", ticks, [1.0] * len(ticks), **events))

    def silence(self, tag: str, since: datetime) -> None:
        """Delete the events of the tag from then on."""
        point = self.point(tag)
        ticks = [to_ticks(at) for at in minutes_until_now(since)]
        self.running.archive.remove(point, Events.of("Float32", ticks, [0.0] * len(ticks)))

    def set_server_ahead(self, by: timedelta) -> None:
        self._clock["ahead"] = by

    def rows(self, day: Any, group: str) -> Any:
        return TimeseriesTable.open(self.lake).to_arrow(partition_date=day, tag_group=group)

    def partition(self, day: Any, group: str) -> str:
        return str(partition_key(day, group))


def minutes_until_now(since: datetime) -> list[datetime]:
    """Each full minute from then on, and some of the future."""
    first = since.replace(second=0, microsecond=0)
    count = (datetime.now(timezone.utc) - first) // MINUTE + 10
    return [first + number * MINUTE for number in range(count)]


def offenders(evaluation: dg.AssetCheckEvaluation, *columns: str, table: str = "pi/offenders") -> list[Any]:
    """Some columns of a check's table, or the only one."""
    found = evaluation.metadata.get(table)
    if found is None:
        return []
    assert isinstance(found, dg.TableMetadataValue)
    rows = [tuple(record.data[column] for column in columns) for record in found.records]
    return [row[0] for row in rows] if len(columns) == 1 else rows


@contextmanager
def checked_plant(folder: Path) -> Iterator[CheckedPlant]:
    """The plant, served until the end of the block; nothing is loaded."""
    midnight = datetime.now(timezone.utc).replace(hour=0, minute=0, second=0, microsecond=0)
    ticks = [to_ticks(at) for at in minutes_until_now(midnight - timedelta(days=2))]
    events = Events.of("Float32", ticks, [1.0] * len(ticks))
    points = [Point(id=number, name=name) for number, name in enumerate(TAGS, 1)]
    database = TreeDatabase(
        "Plant",
        element_templates=[PUMP, *EVENT_FRAME_TEMPLATES],
        enumeration_sets=EVENT_FRAME_SETS,
        element_categories=EVENT_FRAME_CATEGORIES,
    )
    database.add("P-101", template="Pump", tags={"Flow": "PMP1", "Speed": "PMP2"})
    clock = {"ahead": timedelta(0)}
    simulator = Simulator(
        archive=Archive(MemoryBase(points, {point.id: events for point in points})),
        settings=SimulatorSettings(now=lambda: to_ticks(datetime.now(timezone.utc) + clock["ahead"])),
        assets=[database],
        event_frames=EventFrameStore([database], []),
    )
    with simulator.serve() as running, dg.DagsterInstance.ephemeral(str(folder)) as instance:
        site = Site.model_validate(
            {
                "server": {"url": running.url, "retry_budget_seconds": 0},
                "lake": {"uri": str(folder / "lake")},
                "start_date": (midnight - timedelta(days=8)).date(),
                "tag_groups": [{"name": "boilers", "tag_filter": "BLR*"}, {"name": "pumps", "tag_filter": "PMP*"}],
            }
        )
        yield CheckedPlant(running, site, instance, clock, database)
