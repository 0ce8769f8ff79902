"""`uv run python benchmarks/chaos.py --seed 7 --kills 100`: whatever goes wrong, does the table equal the archive?

A simulated plant gets late, edited, deleted and equal-stamped events while its server is away, refuses, sends half of
its answers, lies about its clock or cannot read a tag. Dagster's daemon follows it with the schedules and backfills
of a plant, and the processes of its runs are killed (SIGKILL) at all moments of their lives. In the end the faults
stop, the last day settles, counts are compared once more, and so is every row of the table with the archive.

What happens, and in which order, follows from the seed. When it happens to which run does not: that is between the
operating system, Dagster and the network, so a seed that failed may need several replays to fail again.
"""

from __future__ import annotations

import logging
import shutil
import signal
import sys
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Annotated, Any

import dagster as dg
import pyarrow as pa
import typer
import yaml
from deltalake import DeltaTable

from benchmarks.chaos_dagster import TIMESERIES, ChaosError, Dagster, wait_until
from benchmarks.chaos_killer import Killer
from benchmarks.chaos_plant import DAY, DAYS_BEFORE, GROUPS, HOUR, MINUTE, SETTLE_HOURS, TAGS, Plant
from benchmarks.chaos_processes import RUNS, write_clock
from benchmarks.chaos_schedule import TROUBLES, Moment, Round, Schedule
from pi_dagster.assets.watermarks import last_watermarks
from pi_dagster.automation.closed_days import ClosedDays
from pi_dagster.automation.partitions import partition_key
from pi_dagster.automation.reconcile import COUNTS_MATCH, ReconcileState
from pi_dagster.components.site_file import load_site
from pi_dagster.factory import build_pi_definitions
from pi_dagster.lake import Lake, PointsTable, TimeseriesTable
from pi_dagster.simulator import RunningSimulator
from pi_dagster_tests.archive_truth import KEY, TRUTH_SCHEMA

BACKFILLS_AT_ONCE = 2
"""No more are begun while so many are under way, however slow the machine is."""

LEFT_OPEN_SECONDS = 20
"""A backfill none of whose runs is left for so long stays open: Dagster 1.13 sometimes does not retry a run that was
killed while its code server launched it, although it says so, and the backfill waits for that. What the backfill lacks
the schedule loads."""

CALM_SECONDS = 180
"""After this long without a change of anything that is under way, it hangs."""


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
                return self._reconcile()
            self.set_clock(self.plant.now + 10 * MINUTE)
            self._rest()
        raise ChaosError(f"{self.closed_days.open_work(self.dagster.instance, self.plant.now)} do not settle")

    def _reconcile(self) -> None:
        """Wait until all counts were compared since now, and none differed."""
        begun = time.time()
        check = dg.AssetCheckKey(TIMESERIES, COUNTS_MATCH)

        def nothing_differs() -> bool:
            state = ReconcileState.last(self.dagster.instance, check)
            return state.round_began > begun and state.next_partition is None and not state.differing

        wait_until(nothing_differs, CALM_SECONDS, "counts that differ are not reconciled")
        self._rest()

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
        if not rows.sort_by(KEY).equals(expected):
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
            if under_way == self.dagster.backfills_without_runs() and time.monotonic() - begun > LEFT_OPEN_SECONDS:
                return
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


def _as_text(row: dict[str, Any]) -> tuple[str, str, str]:
    instant = row["timestamp"]
    told = {name: value for name, value in row.items() if name not in ("tag_webid", "timestamp") and value is not None}
    return instant.date().isoformat(), row["tag_name"].split(".")[0].lower(), f"{instant.isoformat()} {told}"


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
    backfills_left_open: int
    """See `LEFT_OPEN_SECONDS`."""
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
        try:
            chaos.begin()
            begun = time.monotonic()
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
                backfills_left_open=chaos.dagster.backfills_under_way(),
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
        f"killed after: {_listed(result.kills)}; {result.committed_untold} between commit and Dagster's record; "
        f"runs: {_listed(result.runs)}; {result.backfills_left_open} backfills left open; "
        f"{result.changes} late, edited, deleted and equal-stamped events; {took:.0f} s"
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
