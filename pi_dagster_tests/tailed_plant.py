"""A plant of three groups with two tags each and an event a minute, at a time of the test's choice, and its loads."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import date, datetime, timedelta, timezone
from pathlib import Path

from pi_dagster.ingest.errors import NoTagsError, TagsFailedError
from pi_dagster.ingest.load_plans import Partition
from pi_dagster.ingest.points import refresh_points
from pi_dagster.ingest.report import WindowReport
from pi_dagster.ingest.source import open_source
from pi_dagster.ingest.tag_errors import Loaded, OpenErrors, record_tag_errors
from pi_dagster.ingest.tail import Watermark, load_tail
from pi_dagster.ingest.timeseries import Outcome, load_partition
from pi_dagster.ingest.window import Window
from pi_dagster.lake import Lake, TimeseriesTable
from pi_dagster.piwebapi import PIWebAPISource
from pi_dagster.piwebapi import errors as piwebapi
from pi_dagster.simulator import Fault, FaultKind, RunningSimulator, Simulator, SimulatorSettings
from pi_dagster.simulator.archive import Archive, MemoryBase
from pi_dagster.simulator.events import Events, to_ticks
from pi_dagster.simulator.points import Point
from pi_dagster.site import LakeSettings, ServerSettings, Site, TagGroup
from pi_dagster.webid import point_webid
from pi_dagster_tests.archive_truth import assert_equals_archive, truth

DAY = datetime(2026, 10, 25, tzinfo=timezone.utc)
"""The day on which clocks in Europe go back an hour."""
NOON = DAY + timedelta(hours=12)
MINUTE, HOUR, A_DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
LAG = timedelta(seconds=10)
GROUPS = ("boilers", "pumps", "tanks")
ERRORS_OF_ONE_PARTITION = (TagsFailedError, NoTagsError, piwebapi.StreamMissingError)


class Clock:
    """The server's clock, set by hand."""

    def __init__(self) -> None:
        self.now = NOON

    def __call__(self) -> int:
        return to_ticks(self.now)


class InterruptedSource(PIWebAPISource):
    """A connection with somebody else at work before the first reading, or after the last."""

    meanwhile: Callable[[], object]
    before_commit: Callable[[], object]

    def read_in_turn(self, readings):  # type: ignore[no-untyped-def]
        self.meanwhile()
        yield from super().read_in_turn(readings)
        self.before_commit()


class TailedPlant:
    """Three groups of two tags with an event a minute, and what Dagster would remember of the loads."""

    def __init__(self, running: RunningSimulator, base: MemoryBase, clock: Clock, site: Site) -> None:
        self.archive = running.archive
        self.faults = running.faults
        self._requests = running.requests
        self.base = base
        self.clock = clock
        self.site = site
        self.lake = Lake(site.lake.uri)
        self.watermarks: dict[Partition, Watermark] = {}
        self.runs = 0
        self.records_errors = True

    @property
    def table(self) -> TimeseriesTable:
        return TimeseriesTable.open(self.lake)

    def list_tags(self) -> None:
        with open_source(self.site.server) as source:
            refresh_points(self.site, source, self.lake, run_id="points")

    def tail(
        self,
        now: datetime | None = None,
        *,
        day: date | None = None,
        meanwhile: Callable[[], object] = lambda: None,
        before_commit: Callable[[], object] = lambda: None,
    ) -> dict[Partition, WindowReport | Exception]:
        """One run of the schedule, at a time of the server; for that day, or one that it was asked for earlier."""
        if now is not None:
            self.clock.now = now
        self.runs += 1
        run_id = f"run {self.runs}"
        today = [(day or self.clock.now.date(), group) for group in GROUPS]
        with InterruptedSource(self.site.server) as source:
            source.meanwhile, source.before_commit = meanwhile, before_commit
            outcomes = load_tail(
                self.site,
                source,
                self.lake,
                today,
                watermarks=dict(self.watermarks),
                run_id=run_id,
                goes_on_after=ERRORS_OF_ONE_PARTITION,
            )
            told = {partition: self.remember(partition, outcome, run_id) for partition, outcome in outcomes}
        self.record(list(told.items()))
        return told

    def load_day(self, day: date, group: str) -> WindowReport:
        """A run that somebody launched by hand, or a backfill, or the one that settles."""
        self.runs += 1
        run_id = f"run {self.runs}"
        with open_source(self.site.server) as source:
            try:
                report = load_partition(self.site, source, self.lake, day=day, tag_group=group, run_id=run_id)
            except TagsFailedError as error:
                self.record([((day, group), error)])
                raise
        self.record([((day, group), report)])
        self.remember((day, group), report, run_id)
        return report

    def record(self, loads: Sequence[Loaded]) -> None:
        if self.records_errors:
            record_tag_errors(self.lake, loads, now=datetime.now(timezone.utc), commit_info={})

    def errors(self) -> list[tuple[str, str, Window]]:
        """What pi_tag_errors tells: tag, kind, what may be missing of it."""
        rows = OpenErrors.read(self.lake).rows.to_pylist()
        return sorted((row["tag_name"], row["kind"], Window(row["window_start"], row["window_end"])) for row in rows)

    def remember(self, partition: Partition, outcome: WindowReport | Exception, run_id: str) -> Outcome:
        if isinstance(outcome, WindowReport):
            self.watermarks[partition] = Watermark.of(outcome, run_id)
        return outcome

    def tag(self, name: str) -> Point:
        point = self.archive.point_by_name(name)
        assert point is not None
        return point

    def keep_on_tag_errors(self) -> None:
        self.site = self.site.model_copy(update={"on_tag_error": "keep"})

    def forbid(self, tag: str) -> int:
        """The login may no longer read the tag; returns the number of the fault."""
        return self.faults.add(Fault(kind=FaultKind.STATUS, status=403, route="*recorded", web_id=self.web_id(tag)))

    def hide(self, tag: str) -> int:
        """For this login there is no such tag, until the fault is cleared."""
        return self.faults.add(Fault(kind=FaultKind.STATUS, status=404, web_id=self.web_id(tag)))

    def requests_for(self, web_id: str) -> int:
        """How many requests have named a stream or point until now."""
        return sum(web_id in f"{request.path}?{request.query_text}" for request in self._requests.recent)

    def web_id(self, tag: str) -> str:
        return point_webid(self.archive.server_id, self.tag(tag).id, self.archive.server_name, tag).identity

    def insert(self, tag: str, *instants: datetime, value: float = 7.0) -> None:
        self.archive.insert(self.tag(tag), events(instants, value))

    def assert_table_equals_archive(self, start: datetime, end: datetime) -> None:
        """All tags, over the window, and nothing beyond it."""
        assert_equals_archive(self.table.to_arrow(), truth(self.archive, self.archive.points(), start, end))


def events(instants: Sequence[datetime], value: float = 1.0) -> Events:
    return Events.of("Float64", [to_ticks(instant) for instant in instants], [value] * len(instants))


def windows(outcomes: dict[Partition, WindowReport | Exception]) -> dict[str, Window]:
    """The windows that were loaded, by partition as text."""
    return {
        f"{day.day}|{group}": report.window
        for (day, group), report in outcomes.items()
        if isinstance(report, WindowReport)
    }


@contextmanager
def tailed_plant(folder: Path) -> Iterator[TailedPlant]:
    """The plant, served until the end of the block; its tags are listed."""
    every_minute = [DAY - A_DAY + minute * MINUTE for minute in range(5 * 1440)]
    names = [f"{group.upper()}.{number}" for group in GROUPS for number in (1, 2)]
    points = [Point(id=i, name=name, point_type="Float64", created=DAY - A_DAY) for i, name in enumerate(names, 1)]
    base = MemoryBase(points, {point.id: events(every_minute) for point in points})
    clock = Clock()
    with Simulator(archive=Archive(base), settings=SimulatorSettings(now=clock)).serve() as running:
        site = Site(
            server=ServerSettings(url=running.url, retry_budget_seconds=0),
            lake=LakeSettings(uri=str(folder / "lake")),
            start_date=DAY.date(),
            tag_groups=tuple(TagGroup(name=group, tag_filter=f"{group}*") for group in GROUPS),
        )
        plant = TailedPlant(running, base, clock, site)
        plant.list_tags()
        yield plant
