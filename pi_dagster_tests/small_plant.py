"""A plant of three groups with two tags each, one value an hour, behind a real PI Web API address."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path

import dagster as dg
from deltalake import DeltaTable

from pi_dagster.definitions import defs
from pi_dagster.simulator import Fault, FaultKind, RunningSimulator, Simulator
from pi_dagster.simulator.archive import Archive, MemoryBase
from pi_dagster.simulator.events import Events, to_ticks
from pi_dagster.simulator.points import Point
from pi_dagster.webid import point_webid

TODAY = datetime.now(timezone.utc).replace(hour=0, minute=0, second=0, microsecond=0)
DAYS = [(TODAY - timedelta(days=back)).date().isoformat() for back in (3, 2, 1)]
GROUPS = ["boilers", "pumps", "tanks"]
KEYS = {f"{day}|{group}" for day in DAYS for group in GROUPS}
ROWS_PER_PARTITION = 48

TAGS = ["BLR01.FLOW", "BLR02.FLOW", "PMP01.SPEED", "PMP02.SPEED", "TNK01.LEVEL", "TNK02.LEVEL"]

SITE_FILE = """\
type: pi_dagster.components.PISystemComponent
attributes:
  server: {{url: "{url}", retry_budget_seconds: 0}}
  lake: {{uri: "{lake}"}}
  start_date: {start}
  max_partitions_per_run: 2
  tag_groups:
    - {{name: boilers, tag_filter: BLR*}}
    - {{name: pumps, tag_filter: PMP*}}
    - {{name: tanks, tag_filter: TNK*}}
"""


@dataclass(frozen=True)
class SmallPlant:
    """The plant while it is served, and the site file that leads to it."""

    base: MemoryBase
    url: str
    lake: Path
    site_file: Path
    running: RunningSimulator

    def forbid_tag(self, name: str) -> None:
        """The login may list the tag and may not read its values."""
        point = self.base.point_by_name(name)
        assert point is not None
        archive = self.running.archive
        web_id = point_webid(archive.server_id, point.id, archive.server_name, name).identity
        self.running.faults.add(Fault(kind=FaultKind.STATUS, status=403, route="*recorded", web_id=web_id))

    def keep_on_tag_errors(self) -> None:
        """The site loads the other tags of a partition when one cannot be read."""
        self.site_file.write_text(self.site_file.read_text() + "  on_tag_error: keep\n")

    def delete_tag(self, name: str) -> None:
        """As an administrator of the Data Archive would; pi_points does not know yet."""
        point = self.base.point_by_name(name)
        assert point is not None
        self.base.drop(point.id)

    def definitions(self) -> dg.Definitions:
        """What Dagster loads; PI_DAGSTER_SITE must name the site file."""
        return defs()

    def rows(self) -> list[tuple[str, str, float]]:
        """Tag, instant and value of every row of pi_timeseries."""
        table = DeltaTable(str(self.lake / "pi_timeseries")).to_pyarrow_table()
        names = ("tag_name", "timestamp", "value")
        return sorted((row[names[0]], row[names[1]].isoformat(), row[names[2]]) for row in table.to_pylist())

    def expected_rows(self, days: list[str], groups: list[str] = GROUPS) -> list[tuple[str, str, float]]:
        """The same, straight from what was put into the archive."""
        prefixes = {"boilers": "BLR", "pumps": "PMP", "tanks": "TNK"}
        return sorted(
            (tag, f"{day}T{hour:02d}:00:00+00:00", float(hour))
            for group in groups
            for tag in TAGS
            if tag.startswith(prefixes[group])
            for day in days
            for hour in range(24)
        )


@contextmanager
def small_plant(folder: Path) -> Iterator[SmallPlant]:
    """The plant, served until the end of the block."""
    first = TODAY - timedelta(days=3)
    hours = int((datetime.now(timezone.utc) - first) / timedelta(hours=1)) + 1
    ticks = [to_ticks(first + timedelta(hours=hour)) for hour in range(hours)]
    events = Events.of("Float32", ticks, [float(hour % 24) for hour in range(hours)])
    points = [Point(id=number, name=name, engineering_units="t/h") for number, name in enumerate(TAGS, 1)]
    base = MemoryBase(points, {point.id: events for point in points})
    with Simulator(archive=Archive(base)).serve(port=0) as running:
        lake, site_file = folder / "lake", folder / "defs.yaml"
        site_file.write_text(SITE_FILE.format(url=running.url, lake=lake, start=DAYS[0]), encoding="utf-8")
        yield SmallPlant(base=base, url=running.url, lake=lake, site_file=site_file, running=running)
