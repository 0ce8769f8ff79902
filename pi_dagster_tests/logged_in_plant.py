"""A plant of a hundred tags behind a login, a load of one of its days, and requests that come at once."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import datetime, timedelta, timezone
from pathlib import Path
from threading import Barrier
from typing import Any

import yaml
from typer.testing import CliRunner, Result

from pi_dagster.cli import app
from pi_dagster.ingest.points import refresh_points
from pi_dagster.ingest.source import open_source
from pi_dagster.ingest.timeseries import load_partition
from pi_dagster.lake import Lake, TimeseriesTable
from pi_dagster.piwebapi.retrying import RetryPolicy
from pi_dagster.piwebapi.transport import Transport
from pi_dagster.simulator import RunningSimulator, Simulator, SimulatorSettings
from pi_dagster.simulator.archive import Archive, MemoryBase
from pi_dagster.simulator.auth import LoginMethod
from pi_dagster.simulator.events import Events, to_ticks
from pi_dagster.simulator.points import Point
from pi_dagster.site import LakeSettings, ServerSettings, Site, TagGroup
from pi_dagster_tests.archive_truth import assert_equals_archive, truth

DAY = datetime(2026, 11, 2, tzinfo=timezone.utc)
TAGS = 100
LATE = 1.0
"""Seconds that a server takes to answer when eight requests are to be sent before the first is refused."""

QUICK = RetryPolicy(budget_seconds=20, first_wait_seconds=0.001, longest_wait_seconds=0.01, tries_when_unlikely=2)
HOURLY = [to_ticks(DAY + timedelta(hours=hour)) for hour in range(-2, 30)]


def archive() -> Archive:
    points = [Point(id=n, name=f"TAG{n:03}", point_type="Float64", created=DAY) for n in range(1, TAGS + 1)]
    values = [float(hour) for hour in range(len(HOURLY))]
    return Archive(MemoryBase(points, {point.id: Events.of("Float64", HOURLY, values) for point in points}))


@contextmanager
def plant(login: LoginMethod | None = None, **settings: Any) -> Iterator[RunningSimulator]:
    with Simulator(archive=archive(), settings=SimulatorSettings(login=login, **settings)).serve() as running:
        yield running


def server(running: RunningSimulator, **login: Any) -> ServerSettings:
    """Five tags a request, so that a day takes twenty requests, eight at once."""
    return ServerSettings(url=running.url, login=login, batch_size=5, max_requests_in_flight=8)


def load_a_day(running: RunningSimulator, settings: ServerSettings, folder: Path) -> None:
    """Load it into Delta tables below `folder`, which must then hold what the archive does."""
    site = Site(
        server=settings,
        lake=LakeSettings(uri=str(folder)),
        start_date=DAY.date(),
        tag_groups=(TagGroup(name="all", tag_filter="TAG*"),),
    )
    lake = Lake(site.lake.uri)
    with open_source(settings, retry=QUICK) as source:
        refresh_points(site, source, lake, run_id="test")
        report = load_partition(site, source, lake, day=DAY.date(), tag_group="all", run_id="test")
    assert report.rows == TAGS * 24
    expected = truth(running.archive, running.archive.points(), DAY, DAY + timedelta(days=1))
    assert_equals_archive(TimeseriesTable.open(lake).to_arrow(), expected)


def ask(settings: ServerSettings, times: int = 1) -> None:
    """Trivial requests, one after the other, over one transport."""
    with Transport(settings, retry=QUICK) as transport:
        for _ in range(times):
            transport.get("system/status", [], bytes)


def ask_at_once(settings: ServerSettings, threads: int = 8) -> list[Exception | None]:
    """What becomes of as many requests that begin at the same time."""
    ready = Barrier(threads, timeout=30)

    def one(transport: Transport) -> Exception | None:
        ready.wait()
        try:
            transport.get("system/status", [], bytes)
        except Exception as error:
            return error
        return None

    with Transport(settings, retry=QUICK) as transport, ThreadPoolExecutor(threads) as pool:
        return list(pool.map(one, [transport] * threads))


def check(running: RunningSimulator, folder: Path, **login: Any) -> Result:
    """`pi-dagster check` of a site with that login."""
    site = {
        "type": "pi_dagster.components.PISystemComponent",
        "attributes": {
            "server": {"url": running.url, "login": login},
            "lake": {"uri": str(folder / "lake")},
            "start_date": DAY.date().isoformat(),
            "tag_groups": [{"name": "all", "tag_filter": "*"}],
        },
    }
    path = folder / "defs.yaml"
    path.write_text(yaml.safe_dump(site))
    return CliRunner().invoke(app, ["check", "--json", "--site", str(path)])


def checked_user(result: Result) -> str:
    """Whom the server takes us for, when `check` finds nothing wrong."""
    assert result.exit_code == 0, result.stdout + result.stderr
    return str(json.loads(result.stdout)["server"]["user"])
