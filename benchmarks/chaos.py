"""`uv run python benchmarks/chaos.py --seed 7 --kills 100`: whatever goes wrong, does the table equal the archive?

A simulated plant gets late, edited, deleted and equal-stamped events while its server is away, refuses, sends half of
its answers, lies about its clock or cannot read a tag. Dagster's daemon follows it with the schedules and backfills
of a plant, and the processes of its runs are killed (SIGKILL) at all moments of their lives. In the end the faults
stop, the last day settles, and every row of the table is compared with the archive.

What happens, and in which order, follows from the seed. When it happens to which run does not: that is between the
operating system, Dagster and the network, so a seed that failed may need several replays to fail again.
"""

from __future__ import annotations

import logging
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Annotated, Any
from uuid import UUID

import dagster as dg
import numpy as np
import pyarrow as pa
import typer
import yaml
from deltalake import DeltaTable

from benchmarks.chaos_processes import RUNS, write_clock
from pi_dagster.assets.watermarks import last_watermarks
from pi_dagster.automation.closed_days import ClosedDays
from pi_dagster.automation.partitions import partition_key
from pi_dagster.automation.schedules import UNFINISHED
from pi_dagster.components.site_file import load_site
from pi_dagster.factory import build_pi_definitions
from pi_dagster.lake import Lake, PointsTable, TimeseriesTable
from pi_dagster.simulator import Fault, FaultKind, RunningSimulator, Simulator, SimulatorSettings
from pi_dagster.simulator.archive import Archive, Events, MemoryBase, UpdateOption, to_ticks
from pi_dagster.simulator.points import DigitalSet, Point, PointType
from pi_dagster.webid import point_webid
from pi_dagster_tests.archive_truth import TRUTH_SCHEMA, truth

ROOT = Path(__file__).parents[1]
GROUPS = ("boilers", "pumps", "tanks")
KINDS: tuple[PointType, ...] = ("Float64", "Int32", "String", "Digital")
TAGS = [f"{group.upper()}.{kind}" for group in GROUPS for kind in KINDS]
VALVE = DigitalSet(UUID(int=1), "VALVE", ("Closed", "Moving", "Open"))
MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
SETTLE_HOURS = 2
DAYS_BEFORE = 4
"""Closed days that the schedule finds when it begins."""

TIMESERIES = dg.AssetKey("pi_timeseries")
LATENCY_SECONDS = 0.03
"""Of an answer, so that reading takes a part of a run's life that can be hit."""

BACKFILLS_AT_ONCE = 2
"""No more are begun while so many are under way, however slow the machine is."""

CALM_SECONDS = 180
"""After this long without a change of anything that is under way, it hangs."""

LAUNCH_BACKFILL = """
mutation Launch($params: LaunchBackfillParams!) {
  launchPartitionBackfill(backfillParams: $params) { __typename ... on PythonError { message } }
}
"""


# What happens


@dataclass(frozen=True)
class Change:
    """One change of the archive behind the client's back, at a place of the time that is not settled yet."""

    kind: str
    tag: str
    place: float
    """From 0, the beginning of that time, to 1, the plant's now."""
    value: int


@dataclass(frozen=True)
class Trouble:
    """A fault of the server that lasts some rounds."""

    name: str
    tag: str
    rounds: int


@dataclass(frozen=True)
class Backfill:
    """Closed days, and today with 0, that somebody loads in the UI."""

    days_ago: int
    days: int


@dataclass(frozen=True)
class Round:
    """What happens until the schedules look at the clock again."""

    minutes: int
    """By which the plant's clock goes on."""
    changes: Sequence[Change]
    trouble: Trouble | None
    skew_seconds: int
    """Of the PI server's clock."""
    backfill: Backfill | None
    power_cut: bool
    """Daemon, code server and all runs are killed at once, and the first two started again."""
    seconds: float
    """Time for runs until the next round; those that take longer go on in it."""


@dataclass(frozen=True)
class Moment:
    """When a run's process is killed."""

    after: str
    """`start` of the process, or what comes next from then on: `request` to the server, `file` in the table's folder,
    `commit` in its log."""
    seconds: float


class Schedule:
    """What the seed stands for: one endless sequence of rounds, and one of the moments at which runs are killed."""

    def __init__(self, seed: int) -> None:
        self._rounds = random.Random(f"rounds of {seed}")
        self._moments = random.Random(f"moments of {seed}")

    def next_round(self) -> Round:
        """The next round."""
        chance = self._rounds
        return Round(
            minutes=chance.choice([7, 10, 15, 20, 30]) if chance.random() < 0.95 else chance.randint(120, 400),
            changes=[self._change() for _ in range(chance.randint(0, 12))],
            trouble=self._trouble() if chance.random() < 0.2 else None,
            skew_seconds=chance.choice([0, 0, 0, 30, -30]),
            backfill=Backfill(chance.randint(0, DAYS_BEFORE), chance.randint(1, 3)) if chance.random() < 0.3 else None,
            power_cut=chance.random() < 0.015,
            seconds=chance.uniform(0.5, 2.5),
        )

    def next_moment(self) -> Moment | None:
        """When the next run that starts is to be killed; None spares it."""
        chance = self._moments
        kind, seconds = chance.choice(
            [
                ("start", chance.uniform(0, 1.5)),
                ("request", chance.uniform(0, 0.3)),
                ("file", chance.uniform(0, 0.03)),
                ("commit", chance.uniform(0, 0.005)),
                ("commit", chance.uniform(0, 0.1)),
            ]
        )
        return Moment(kind, seconds) if chance.random() < 0.8 else None

    def _change(self) -> Change:
        chance = self._rounds
        place = 1 - chance.random() ** 3 if chance.random() < 0.7 else chance.random()
        kind = chance.choice(["late", "edited", "deleted", "equal stamp"])
        return Change(kind, chance.choice(TAGS), place, chance.randint(0, 1000))

    def _trouble(self) -> Trouble:
        chance = self._rounds
        return Trouble(chance.choice(sorted(TROUBLES)), chance.choice(TAGS), chance.randint(1, 4))


TROUBLES: dict[str, Callable[[str], Fault]] = {
    "server down": lambda tag: Fault(kind=FaultKind.DROPPED_CONNECTION),
    "429 storm": lambda tag: Fault(kind=FaultKind.STATUS, status=429, probability=0.6),
    "overload": lambda tag: Fault(kind=FaultKind.OVERLOAD, at_once=1),
    "half bodies": lambda tag: Fault(kind=FaultKind.CUT_BODY, probability=0.4),
    "broken answers": lambda tag: Fault(kind=FaultKind.WEB_EXCEPTION, probability=0.4),
    "proxy errors": lambda tag: Fault(kind=FaultKind.HTML, probability=0.4),
    "slow": lambda tag: Fault(kind=FaultKind.SLOW, probability=0.4, seconds=1),
    "login expired": lambda tag: Fault(kind=FaultKind.STATUS, status=401),
    "tag cannot be read": lambda tag: Fault(kind=FaultKind.STATUS, status=500, web_id=tag),
    "tag may not be read": lambda tag: Fault(kind=FaultKind.STATUS, status=403, web_id=tag),
    "values with errors": lambda tag: Fault(kind=FaultKind.VALUE_ERRORS, web_id=tag),
    "stream missing": lambda tag: Fault(kind=FaultKind.MISSING_STREAM, web_id=tag),
}


# The plant


class Plant:
    """Three groups of four tags of all kinds, with an event in a minute or in five, and a clock set by hand."""

    def __init__(self, begins: datetime, ends: datetime) -> None:
        self.begins = begins
        self.now = begins + DAYS_BEFORE * DAY + 20 * HOUR
        self.skew = timedelta()
        points, events = [], {}
        for number, name in enumerate(TAGS, 1):
            kind = KINDS[(number - 1) % len(KINDS)]
            point = Point(
                id=number,
                name=name,
                point_type=kind,
                digital_set_name=VALVE.name if kind == "Digital" else "",
                engineering_units="bar" if kind == "Float64" else "",
                created=begins - DAY,
            )
            step = MINUTE if kind == "Float64" else 5 * MINUTE
            ticks = np.arange(to_ticks(begins), to_ticks(ends), step // timedelta(microseconds=1) * 10) + number
            points.append(point)
            events[number] = _events(point, ticks, np.arange(len(ticks)))
        self.archive = Archive(MemoryBase(points, events, [VALVE]))
        self.changes = 0

    @contextmanager
    def served(self) -> Iterator[RunningSimulator]:
        """The plant on a socket."""
        settings = SimulatorSettings(now=lambda: to_ticks(self.now + self.skew), latency_seconds=LATENCY_SECONDS)
        with Simulator(archive=self.archive, settings=settings).serve() as running:
            yield running

    def web_id(self, tag: str) -> str:
        """As the client knows the tag."""
        return str(point_webid(self.archive.server_id, self._point(tag).id, self.archive.server_name, tag).identity)

    def change(self, change: Change) -> None:
        """Change the archive in the days that are not settled yet, up to a minute before now."""
        margin = SETTLE_HOURS * HOUR - MINUTE
        first = datetime.combine((self.now - margin).date(), datetime.min.time(), timezone.utc)
        instant = to_ticks(first + change.place * (self.now - MINUTE - first))
        point = self._point(change.tag)
        if change.kind != "late":
            before = self.archive.events(point, to_ticks(first), instant, limit=1, descending=True)
            if not len(before):
                return
            instant = int(before.ticks[0])
        option = {"edited": UpdateOption.REPLACE, "deleted": UpdateOption.REMOVE}.get(change.kind, UpdateOption.INSERT)
        [done] = self.archive.update(point, _events(point, np.array([instant]), np.array([change.value])), option)
        self.changes += done

    def truth(self, until: datetime) -> pa.Table:
        """What the table must hold."""
        return truth(self.archive, self.archive.points(), self.begins, until)

    def _point(self, tag: str) -> Point:
        point = self.archive.point_by_name(tag)
        assert point is not None
        return point


def _events(point: Point, ticks: np.ndarray, values: np.ndarray) -> Events:
    held: Any = values.astype(float)
    if point.point_type == "Digital":
        held = values % len(VALVE.states)
    elif point.point_type == "String":
        held = [f"batch {value}" for value in values]
    states = VALVE.states if point.point_type == "Digital" else ()
    return Events.of(point.point_type, ticks, held, digital_states=states)


# Dagster


@dataclass
class Dagster:
    """An instance, its daemon and its code server, in processes of their own."""

    home: Path
    site_file: Path
    instance: dg.DagsterInstance = field(init=False)
    _processes: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def __post_init__(self) -> None:
        settings = yaml.safe_load((ROOT / "dagster.yaml").read_text())
        for kept_in_the_project in ("storage", "local_artifact_storage"):
            settings.pop(kept_in_the_project)
        # The usual one starts two processes for each run, only to copy what the run prints.
        settings["compute_logs"] = {
            "module": "dagster._core.storage.noop_compute_log_manager",
            "class": "NoOpComputeLogManager",
        }
        settings["run_coordinator"] = {
            "module": "dagster.core.run_coordinator",
            "class": "QueuedRunCoordinator",
            "config": {"dequeue_interval_seconds": 1, "dequeue_use_threads": True, "dequeue_num_workers": 4},
        }
        settings["run_monitoring"] |= {"poll_interval_seconds": 2, "start_timeout_seconds": 20}
        (self.home / RUNS).mkdir(parents=True)
        (self.home / "dagster.yaml").write_text(yaml.safe_dump(settings))
        self.socket = self.home / "code_server"
        location = {"grpc_server": {"socket": str(self.socket), "location_name": "pi_dagster"}}
        (self.home / "workspace.yaml").write_text(yaml.safe_dump({"load_from": [location]}))
        self.instance = dg.DagsterInstance.from_config(str(self.home))

    def start(self) -> None:
        """Start both and wait until they are there."""
        self.socket.unlink(missing_ok=True)
        self._spawn("code-server", str(self.socket))
        wait_until(self.socket.exists, 60, "the code server does not come up")
        self._spawn("daemon", str(self.home / "workspace.yaml"))

    def kill(self) -> None:
        """Kill the daemon, the code server and all runs at once, as a power cut would."""
        for process in self._processes:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        self._processes.clear()

    def begin(self, now: datetime) -> None:
        """Switch on all schedules, as if somebody did so at `now`."""
        from dagster._core.test_utils import freeze_time

        with self._workspace() as workspace, freeze_time(now - MINUTE):
            [location] = workspace.create_request_context().code_locations
            [repository] = location.get_repositories().values()
            for schedule in repository.get_schedules():
                self.instance.start_schedule(schedule)

    def backfill(self, keys: Sequence[str]) -> None:
        """Load partitions as a person does in the UI."""
        from dagster_graphql.test.utils import execute_dagster_graphql

        params = {"assetSelection": [{"path": TIMESERIES.path}], "partitionNames": list(keys)}
        with self._workspace() as workspace:
            answer = execute_dagster_graphql(workspace.create_request_context(), LAUNCH_BACKFILL, {"params": params})
        launched = answer.data["launchPartitionBackfill"]
        assert launched["__typename"] == "LaunchBackfillSuccess", launched

    def backfills_under_way(self) -> int:
        """How many backfills are not over."""
        from dagster._core.execution.backfill import BulkActionStatus

        return len(self.instance.get_backfills(status=BulkActionStatus.REQUESTED))

    def under_way(self) -> list[str]:
        """Runs that are not over, and how many backfills."""
        runs = [run.run_id for run in self.instance.get_runs(dg.RunsFilter(statuses=UNFINISHED))]
        backfills = self.backfills_under_way()
        return [*runs, f"{backfills} backfills"] if backfills else runs

    def looked_at(self) -> float:
        """When, by the plant's clock, the schedule of pi_timeseries was last due and looked."""
        for state in self.instance.all_instigator_state():
            if state.instigator_name == "pi_timeseries_schedule":
                ticks = self.instance.get_ticks(state.instigator_origin_id, state.selector_id, limit=1)
                return ticks[0].timestamp if ticks and ticks[0].status.value != "STARTED" else 0.0
        return 0.0

    def _spawn(self, what: str, argument: str) -> None:
        environment = {
            **os.environ,
            "DAGSTER_HOME": str(self.home),
            "PI_DAGSTER_SITE": str(self.site_file),
            "DAGSTER_EVENT_LOG_CONSUMER_DAEMON_INTERVAL_SECONDS": "1",
            "PYTHONPATH": str(ROOT),
        }
        with (self.home / f"{what}.log").open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "benchmarks.chaos_processes", what, argument],
                cwd=self.home,
                env=environment,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self._processes.append(process)

    @contextmanager
    def _workspace(self) -> Iterator[Any]:
        from dagster._core.workspace.context import WorkspaceProcessContext
        from dagster._core.workspace.load_target import GrpcServerTarget

        target = GrpcServerTarget(host="localhost", port=None, socket=str(self.socket), location_name="pi_dagster")
        with WorkspaceProcessContext(self.instance, target) as workspace:
            yield workspace


@dataclass
class Killing:
    """A run's process that is to be killed at its moment."""

    run_id: str
    handle: int
    moment: Moment
    since: float
    """When the process was seen, and then when what is waited for happened."""
    seen: object = None
    """What is watched, as it was then."""
    is_due: bool = False


class Killer(threading.Thread):
    """Kills run processes at the moments of the schedule while it runs.

    Args:
        runs: the folder in which run processes are announced.
        schedule: names the moments, one for each run in the order of their starts.
        server: its requests are watched.
        table: folder of pi_timeseries; its files are watched.
    """

    def __init__(self, runs: Path, schedule: Schedule, server: RunningSimulator, table: Path) -> None:
        super().__init__(daemon=True)
        self.killed: dict[str, Moment] = {}
        self.spares = threading.Event()
        self._runs = runs
        self._schedule = schedule
        self._watch: dict[str, Callable[[], object]] = {
            "request": lambda: server.requests.total,
            "file": lambda: [_modified(folder) for folder in table.glob("partition_date=*/tag_group=*")],
            "commit": lambda: _modified(table / "_delta_log"),
        }
        self._known: set[str] = set()
        self._waiting: list[Killing] = []

    def run(self) -> None:
        """Watch and kill, every few milliseconds."""
        while not self.spares.wait(0.003):
            self._welcome()
            seen = {
                what: self._watch[what]() for what in {killing.moment.after for killing in self._waiting} - {"start"}
            }
            for killing in list(self._waiting):
                now = time.monotonic()
                if not killing.is_due and seen[killing.moment.after] != killing.seen:
                    killing.is_due, killing.since = True, now
                if killing.is_due and now >= killing.since + killing.moment.seconds:
                    with suppress(ProcessLookupError):
                        signal.pidfd_send_signal(killing.handle, signal.SIGKILL)
                        self.killed[killing.run_id] = killing.moment
                    os.close(killing.handle)
                    self._waiting.remove(killing)

    def _welcome(self) -> None:
        for name in sorted({path.name for path in self._runs.iterdir()} - self._known):
            self._known.add(name)
            run_id, _, pid = name.rpartition(".")
            moment = self._schedule.next_moment()
            if moment is not None:
                with suppress(ProcessLookupError):
                    # A handle and not the number, which another process may have by the time.
                    handle = os.pidfd_open(int(pid))
                    seen = self._watch[moment.after]() if moment.after != "start" else None
                    is_due = moment.after == "start"
                    self._waiting.append(Killing(run_id, handle, moment, time.monotonic(), seen, is_due))


def _modified(folder: Path) -> int:
    try:
        return folder.stat().st_mtime_ns
    except FileNotFoundError:
        return 0


# The experiment


class Chaos:
    """One plant, one Dagster and one schedule of what goes wrong."""

    def __init__(self, seed: int, folder: Path, plant: Plant, server: RunningSimulator) -> None:
        self.schedule = Schedule(seed)
        self.plant = plant
        self.server = server
        self.lake = Lake(str(folder / "lake"))
        site_file = folder / "defs.yaml"
        site_file.write_text(
            yaml.safe_dump(
                {
                    "type": "pi_dagster.components.PISystemComponent",
                    "attributes": {
                        "server": {
                            "url": server.url,
                            "retry_budget_seconds": 2,
                            "read_timeout_seconds": 5,
                            "batch_size": 3,
                            "max_items_per_call": 1500,
                        },
                        "lake": {"uri": self.lake.uri},
                        "start_date": plant.begins.date().isoformat(),
                        "settle_hours": SETTLE_HOURS,
                        "max_partitions_per_run": 2,
                        "asset_framework": None,
                        "tag_groups": [{"name": group, "tag_filter": f"{group}*"} for group in GROUPS],
                    },
                }
            )
        )
        self.site = load_site(site_file)
        self.closed_days = ClosedDays(self.site, build_pi_definitions(self.site).get_assets_def(TIMESERIES))
        self.dagster = Dagster(folder / "dagster", site_file)
        self.killer = Killer(
            self.dagster.home / RUNS, self.schedule, server, Path(self.lake.table_uri(TIMESERIES.path[-1]))
        )
        self.faults = self.rounds = 0
        self._troubles: list[tuple[int, int]] = []

    def begin(self) -> None:
        """Load the list of tags and let Dagster's schedules go."""
        write_clock(self.dagster.home, self.plant.now)
        self.dagster.start()
        self.dagster.begin(self.plant.now)
        self.killer.start()

    def play(self, round_: Round) -> None:
        """Let one round happen."""
        self.rounds += 1
        for until, number in [trouble for trouble in self._troubles if trouble[0] <= self.rounds]:
            self.server.faults.clear(number)
            self._troubles.remove((until, number))
        if round_.trouble is not None:
            fault = TROUBLES[round_.trouble.name](self.plant.web_id(round_.trouble.tag))
            self._troubles.append((self.rounds + round_.trouble.rounds, self.server.faults.add(fault)))
            self.faults += 1
        if round_.skew_seconds and self.plant.skew != timedelta(seconds=round_.skew_seconds):
            self.faults += 1
        self.plant.skew = timedelta(seconds=round_.skew_seconds)
        for change in round_.changes:
            self.plant.change(change)
        self.set_clock(self.plant.now + round_.minutes * MINUTE)
        if round_.backfill is not None and self.dagster.backfills_under_way() < BACKFILLS_AT_ONCE:
            last = self.plant.now.date() - round_.backfill.days_ago * DAY
            days = [last - back * DAY for back in range(round_.backfill.days)]
            keys = [str(partition_key(day, group)) for day in days if day >= self.site.start_date for group in GROUPS]
            self.dagster.backfill(keys)
        if round_.power_cut:
            self._cut_power()
        time.sleep(round_.seconds)

    def set_clock(self, now: datetime) -> None:
        """Let it be `now` at the plant and for the schedules."""
        self.plant.now = now
        write_clock(self.dagster.home, now)

    def calm_down(self) -> None:
        """No more faults, changes and kills, until all days are settled that were changed.

        Raises:
            ChaosError: it does not come to rest.
        """
        self.killer.spares.set()
        self.killer.join()
        self.server.faults.clear()
        self.plant.skew = timedelta()
        self._rest()
        settled = datetime.combine(self.plant.now.date() + DAY, datetime.min.time(), timezone.utc)
        while self.plant.now < settled + SETTLE_HOURS * HOUR:
            self.set_clock(self.plant.now + 6 * HOUR)
            self._rest()
        for _ in range(100):
            if not self.closed_days.open_work(self.dagster.instance, self.plant.now).days:
                return
            self.set_clock(self.plant.now + 10 * MINUTE)
            self._rest()
        raise ChaosError(f"{self.closed_days.open_work(self.dagster.instance, self.plant.now)} do not settle")

    def differences(self) -> list[str]:
        """What of the tables is not as in the archive; nothing when all is well."""
        today = [(self.plant.now.date(), group) for group in GROUPS]
        watermarks = last_watermarks(self.dagster.instance, TIMESERIES, today)
        until = min(watermarks[partition].instant for partition in today)
        tags = PointsTable.open(self.lake, create=False).to_arrow(["tag_name", "is_active"]).to_pylist()
        points = sorted(row["tag_name"] for row in tags if row["is_active"])
        found = [] if points == sorted(TAGS) else [f"pi_points holds {points}"]
        rows = TimeseriesTable.open(self.lake).to_arrow().select(TRUTH_SCHEMA.names).cast(TRUTH_SCHEMA)
        expected = self.plant.truth(until)
        self.events = expected.num_rows
        if not rows.sort_by([(name, "ascending") for name in ("tag_webid", "timestamp", "event_ordinal")]).equals(
            expected
        ):
            found += self._explained(rows, expected)
        return found

    def runs(self) -> Sequence[dg.RunRecord]:
        """All runs."""
        return self.dagster.instance.get_run_records()

    def _cut_power(self) -> None:
        under_way = [dg.DagsterRunStatus.STARTING, dg.DagsterRunStatus.STARTED]
        running = self.dagster.instance.get_run_ids(dg.RunsFilter(statuses=under_way))
        self.dagster.kill()
        self.killer.killed.update(dict.fromkeys(running, Moment("power cut", 0)))
        self.dagster.start()

    def _rest(self) -> None:
        """Wait until the schedule has seen the clock and nothing is under way."""
        due = (self.plant.now - timedelta(minutes=self.plant.now.minute % 5)).replace(second=0).timestamp()
        wait_until(lambda: self.dagster.looked_at() >= due, CALM_SECONDS, "the schedule does not look at the clock")
        quiet = 0
        begun, last = time.monotonic(), None
        while quiet < 4:
            under_way = self.dagster.under_way()
            quiet = 0 if under_way else quiet + 1
            if under_way != last:
                begun, last = time.monotonic(), under_way
            if time.monotonic() - begun > CALM_SECONDS:
                raise ChaosError(f"these hang: {', '.join(under_way)}")
            time.sleep(0.4)

    def _explained(self, rows: pa.Table, expected: pa.Table) -> list[str]:
        """Differences by partition, with the commits that made them."""
        found, wanted = (Counter(map(_as_text, table.to_pylist())) for table in (rows, expected))
        by_partition: dict[tuple[str, str], list[str]] = {}
        for sign, differing in (("missing", wanted - found), ("too many", found - wanted)):
            for (day, group, text), count in differing.items():
                by_partition.setdefault((day, group), []).append(f"{sign} {count}x {text}")
        history = DeltaTable(self.lake.table_uri("pi_timeseries")).history()
        told = []
        for (day, group), differing in sorted(by_partition.items()):
            told.append(f"{day}|{group}: {len(differing)} differences")
            told += [f"    {text}" for text in differing[:8]]
            told += [
                f"    version {commit['version']}: run {commit.get('run_id')}"
                f"{' (killed)' if commit.get('run_id') in self.killer.killed else ''}"
                f" [{commit.get('window_start')}, {commit.get('window_end')})"
                for commit in history
                if commit.get("window_start", "")[:10] <= day <= commit.get("window_end", "")[:10]
                and commit.get("tag_group", group) == group
            ][:30]
        return told


class ChaosError(Exception):
    """The experiment cannot go on, or does not come to rest."""


def _as_text(row: dict[str, Any]) -> tuple[str, str, str]:
    instant = row["timestamp"]
    told = {name: value for name, value in row.items() if name not in ("tag_webid", "timestamp") and value is not None}
    return instant.date().isoformat(), row["tag_name"].split(".")[0].lower(), f"{instant.isoformat()} {told}"


def wait_until(condition: Callable[[], object], seconds: float, otherwise: str) -> None:
    """Wait for a condition.

    Raises:
        ChaosError: `otherwise`, when it does not come true in so many seconds.
    """
    until = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > until:
            raise ChaosError(otherwise)
        time.sleep(0.05)


@dataclass(frozen=True)
class Result:
    """What was done, and the differences that it left."""

    kills: Counter[str]
    """By what the killed process had come to."""
    faults: int
    changes: int
    runs: Counter[str]
    """By how they ended."""
    events: int
    committed_untold: int
    """Killed after their commit, before Dagster knew of it."""
    differences: Sequence[str]


def run_chaos(seed: int, *, kills: int, seconds: float, folder: Path, say: Callable[[str], None]) -> Result:
    """Play rounds of a seed until so many runs are killed, or that time is over, and compare.

    Args:
        seed: what happens.
        kills: how many run processes are killed.
        seconds: when to stop all the same.
        folder: for the lake and Dagster's home.
        say: told how it goes.

    Raises:
        ChaosError: it hangs.
    """
    today = datetime.combine(datetime.now(timezone.utc).date(), datetime.min.time(), timezone.utc)
    # In the past, as Dagster has no partitions of days to come.
    plant = Plant(today - (DAYS_BEFORE + 4 + int(seconds / 60)) * DAY, today)
    with plant.served() as server:
        chaos = Chaos(seed, folder, plant, server)
        begun = time.monotonic()
        try:
            chaos.begin()
            while len(chaos.killer.killed) < kills and time.monotonic() - begun < seconds:
                chaos.play(chaos.schedule.next_round())
                if chaos.rounds % 10 == 0:
                    say(
                        f"{time.monotonic() - begun:5.0f} s: {plant.now:%d %b %H:%M} at the plant, "
                        f"{chaos.rounds} rounds, {len(chaos.killer.killed)} kills, "
                        f"{chaos.faults} faults, {len(chaos.runs())} runs"
                    )
            say(f"calming down after {time.monotonic() - begun:.0f} s")
            chaos.calm_down()
            differences = chaos.differences()
            records = chaos.runs()
            return Result(
                kills=Counter(moment.after for moment in chaos.killer.killed.values()),
                faults=chaos.faults,
                changes=plant.changes,
                runs=Counter(record.dagster_run.status.value.lower() for record in records),
                events=chaos.events,
                committed_untold=_committed_untold(chaos),
                differences=differences,
            )
        finally:
            chaos.killer.spares.set()
            chaos.dagster.kill()


def _committed_untold(chaos: Chaos) -> int:
    committed = {commit.get("run_id") for commit in DeltaTable(chaos.lake.table_uri("pi_timeseries")).history()}
    materialized = dg.DagsterEventType.ASSET_MATERIALIZATION
    return sum(
        not chaos.dagster.instance.get_records_for_run(run_id, of_type=materialized).records
        for run_id in committed & chaos.killer.killed.keys()
    )


def main(
    seed: Annotated[int, typer.Option(help="What happens; the same seed, the same actions.")] = 1,
    kills: Annotated[int, typer.Option(help="How many run processes are killed.")] = 100,
    minutes: Annotated[float, typer.Option(help="Stop after so long with fewer.")] = 60,
    keep: Annotated[Path | None, typer.Option(help="Leave lake and Dagster's home in this folder.")] = None,
) -> None:
    """Exit with 0 only if every table equals the archive in the end."""
    # What was started is to be stopped also when somebody ends this politely.
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(1))
    warnings.simplefilter("ignore", category=dg.BetaWarning)
    # The simulator's server is surprised by clients that are killed.
    logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)
    print(f"seed {seed}")
    folder = (keep or Path(tempfile.mkdtemp(prefix="pi_dagster_chaos_"))).resolve()
    folder.mkdir(parents=True, exist_ok=True)
    begun = time.monotonic()
    try:
        result = run_chaos(
            seed, kills=kills, seconds=minutes * 60, folder=folder, say=lambda text: print(text, flush=True)
        )
    except ChaosError as error:
        print(f"seed {seed}: {error}; look into {folder}")
        raise typer.Exit(1) from None
    took = time.monotonic() - begun
    for line in result.differences:
        print(line)
    if result.differences:
        print(f"look into {folder}; replay with --seed {seed} --kills {kills}")
    elif keep is None:
        shutil.rmtree(folder, ignore_errors=True)
    print(
        f"killed after: {_listed(result.kills)}; {result.committed_untold} of them between commit and "
        f"Dagster's record; runs: {_listed(result.runs)}; {result.changes} late, edited, deleted and equal-stamped "
        f"events; {took:.0f} s"
    )
    verdict = "the tables do NOT equal the archive" if result.differences else "every table equals the archive"
    print(
        f"seed {seed}: {result.kills.total()} kills, {result.faults} faults, {result.runs.total()} runs, "
        f"{result.events:,} events: {verdict}"
    )
    if result.differences:
        raise typer.Exit(1)


def _listed(counts: Counter[str]) -> str:
    return ", ".join(f"{count} {name}" for name, count in counts.most_common())


if __name__ == "__main__":
    typer.run(main)
