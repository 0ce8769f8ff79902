"""The pipeline as a user's run has it, and halves of it, to be called in a process of its own.

Each function opens its own connection and returns what it read and what that cost.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from typing import Any

from benchmarks.measuring import Cost, cost_of, peak_megabytes
from benchmarks.plants import DAY
from pi_dagster.ingest.points import refresh_points
from pi_dagster.ingest.report import WindowReport
from pi_dagster.ingest.source import open_source
from pi_dagster.ingest.timeseries import partitions_in_turn
from pi_dagster.lake import Lake
from pi_dagster.piwebapi import StreamRef
from pi_dagster.site import LakeSettings, ServerSettings, Site, TagGroup

ALL = "all"


@dataclass(frozen=True)
class Load:
    """What a read or a load did."""

    rows: int
    cost: Cost
    requests: int
    bytes_received: int
    peak_megabytes: float

    @property
    def rate(self) -> float:
        """Rows for each second of wall time."""
        return self.rows / self.cost.seconds


def benchmark_site(
    url: str, folder: str | Path, *, shards: int = 1, server: Mapping[str, Any] | None = None, **settings: Any
) -> Site:
    """A site with one tag group of all tags, everything else as a user would get it by default."""
    group = TagGroup(name=ALL, tag_filter="*", shards=shards)
    return Site(
        server=ServerSettings(url=url, **(server or {})),
        lake=LakeSettings(uri=str(folder)),
        tag_groups=(group,),
        **{"start_date": DAY, **settings},
    )


def list_tags(site: Site) -> None:
    """Load pi_points of the site."""
    with open_source(site.server) as source:
        refresh_points(site, source, Lake(site.lake.uri), run_id="benchmark")


def streams_of(site: Site) -> list[StreamRef]:
    """The tags of the site's server in the order in which the pipeline reads them."""
    with open_source(site.server) as source:
        return sorted((StreamRef(point.web_id, point.name) for point in source.list_points()), key=lambda s: s.web_id)


def read_to_arrow(server: ServerSettings, streams: Sequence[StreamRef], start: datetime, end: datetime) -> Load:
    """Read a window and drop the tables."""
    with open_source(server) as source:
        rows, cost = cost_of(lambda: sum(table.num_rows for table in source.read(streams, start, end)))
        return Load(rows, cost, source.traffic.requests, source.traffic.bytes_received, peak_megabytes())


def load_to_delta(site: Site, *, day: date = DAY, tag_groups: Sequence[str] = (ALL,)) -> Load:
    """Load partitions as runs do, without Dagster, into a lake that holds only pi_points."""
    with tempfile.TemporaryDirectory() as folder:
        lake = Lake(folder)
        shutil.copytree(Path(site.lake.uri) / "pi_points", Path(folder) / "pi_points")
        partitions = [(day, group) for group in tag_groups]
        with open_source(site.server) as source:

            def load() -> list[WindowReport]:
                loads = partitions_in_turn(site, source, lake, partitions, run_id="benchmark")
                return [load.run() for load in loads]

            reports, cost = cost_of(load)
            traffic = source.traffic
    return Load(
        sum(report.rows for report in reports), cost, traffic.requests, traffic.bytes_received, peak_megabytes()
    )
