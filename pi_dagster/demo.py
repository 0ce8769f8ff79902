"""The demo: a simulated PI server in its own process, the real Dagster assets in this one, and Delta tables to look at.

It loads fixed days of a plant that follows from its seed, so a second run replaces the rows by the same rows. With
the UI it loads the last two days instead, because schedules and the partitions page are about now.
"""

from __future__ import annotations

import json
import os
import shlex
import signal
import sys
import warnings
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta, timezone
from pathlib import Path
from time import monotonic
from typing import Any

import dagster as dg
import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from pi_dagster.automation.frame_days import day_range_tags
from pi_dagster.automation.partitions import range_tags
from pi_dagster.components.site_file import load_site
from pi_dagster.dagster_ui import prepare_home, serve_ui
from pi_dagster.default_site import DEFAULT_SITE, SITE_VARIABLE
from pi_dagster.factory import build_pi_definitions
from pi_dagster.lake import (
    AssetAttributesTable,
    AssetHierarchyTable,
    EventFramesTable,
    Lake,
    PointsTable,
    TimeseriesTable,
)
from pi_dagster.lake.schemas import PI_ASSET_HIERARCHY, PI_TIMESERIES
from pi_dagster.runs_here import run_here
from pi_dagster.simulator import spawned
from pi_dagster.simulator.files import SkabBase
from pi_dagster.site import Site

FILES_SITE = Path(__file__).parent / "demo_site_for_files.yaml"
TABLES = (AssetHierarchyTable, AssetAttributesTable, PointsTable, TimeseriesTable, EventFramesTable)
PLANT_TAGS = 2_000
PLANT_DAYS = (date(2024, 1, 1), date(2024, 1, 2))
"""The simulated plant's first days, so that `Pt Created`, the first event of every tag, is among the rows."""

PLANT_EVENT_FRAMES = 200
DAYS_IN_UI = 7
"""Days that the UI offers, the last two of them loaded; the others are there to be backfilled."""


@dataclass(frozen=True, kw_only=True)
class DemoPlan:
    """What is simulated, and which days of it are loaded into which lake."""

    site_file: Path
    lake: Path
    start_date: date
    days: Sequence[date]
    simulator: Mapping[str, Any]
    """Arguments of the simulator."""

    @classmethod
    def of_plant(cls, lake: Path | None, *, recent: bool) -> DemoPlan:
        """The made-up plant; its first two days, or with `recent` the last two."""
        today = datetime.now(timezone.utc).date()
        days = (today - timedelta(days=2), today - timedelta(days=1)) if recent else PLANT_DAYS
        return cls(
            site_file=DEFAULT_SITE,
            lake=(lake or Path("pi_demo/lake")).resolve(),
            start_date=today - timedelta(days=DAYS_IN_UI) if recent else days[0],
            days=days,
            simulator={
                "tags": PLANT_TAGS,
                "event_frames": PLANT_EVENT_FRAMES,
                "event_frame_days": DAYS_IN_UI if recent else len(days),
                "event_frames_until": None if recent else days[-1] + timedelta(days=1),
            },
        )

    @classmethod
    def of_files(cls, folder: Path, lake: Path | None) -> DemoPlan:
        """The files in `folder`, all days that they cover.

        Raises:
            UnreadableFolderError: the folder does not hold files in the layout of the SKAB data.
        """
        archive = SkabBase(folder)
        span = archive.span()
        assert span is not None
        ticks = archive.events(archive.points()[0], *span).ticks
        days = [date.fromisoformat(str(day)) for day in np.unique(ticks.astype("M8[100ns]").astype("M8[D]"))]
        return cls(
            site_file=FILES_SITE,
            lake=(lake or Path("pi_demo") / folder.resolve().name).resolve(),
            start_date=days[0],
            days=days,
            simulator={"data": folder},
        )

    def site(self, server_url: str) -> Site:
        """The site of the demo; sets the environment variables that the templates of its file read."""
        os.environ[SITE_VARIABLE] = str(self.site_file)
        os.environ["PI_WEB_API_URL"] = server_url
        os.environ["PI_LAKE"] = str(self.lake)
        os.environ["PI_START_DATE"] = self.start_date.isoformat()
        return load_site(self.site_file)


@dataclass(kw_only=True)
class DemoResult:
    """What was loaded, added up over the materializations that Dagster recorded."""

    server: str
    lake: str
    days: list[date]
    elements: int = 0
    attributes: int = 0
    tags: int = 0
    partitions: int = 0
    rows: int = 0
    event_frames: int = 0
    seconds: float = 0.0
    """Wall time of the runs of pi_timeseries."""
    rows_by_tag_group: Counter[str] = field(default_factory=Counter)
    rows_by_type: Counter[str] = field(default_factory=Counter)
    rows_by_system_state: Counter[str] = field(default_factory=Counter)
    tables: dict[str, str] = field(default_factory=dict)

    @property
    def events_per_second(self) -> float:
        """Rows for each second of wall time, Dagster's own time included."""
        return self.rows / self.seconds if self.seconds else 0.0


def run_demo(*, lake: Path | None, data: Path | None, ui: bool, as_json: bool) -> None:
    """Show it all: simulator, load with progress, the result, and with `ui` Dagster's UI until interrupted.

    Args:
        lake: folder for the Delta tables; by default one in `pi_demo/`.
        data: folder of real files to serve instead of the made-up plant.
        ui: start the UI afterwards.
        as_json: print the result as JSON.

    Raises:
        UnreadableFolderError: `data` does not hold files in the layout of the SKAB data.
        LakeError: the lake cannot be written, or holds tables of somebody else.
        RunFailedError: a run failed.
        RunInterruptedError: Ctrl-C, while something was loaded.
        DagsterUIError: the UI did not come up.
    """
    # A shell that starts this in the background has it ignore Ctrl-C; and a kill should stop the children too.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    os.environ["DAGSTER_DISABLE_TELEMETRY"] = "yes"
    # A proxy that the environment names for the world outside cannot reach servers on this machine.
    os.environ["no_proxy"] = os.environ["NO_PROXY"] = "127.0.0.1,localhost"
    screen = Console(stderr=True, highlight=False)
    plan = DemoPlan.of_files(data, lake) if data is not None else DemoPlan.of_plant(lake, recent=ui)
    for table in TABLES:
        table.open(Lake(str(plan.lake)))
    home = plan.lake / ".dagster_home"
    with spawned(**plan.simulator) as server:
        screen.print(f"A simulated PI server answers at {server.url}")
        site = plan.site(server.url)
        with prepare_home(home) if ui else dg.DagsterInstance.ephemeral() as instance:
            result = _load_with_progress(plan, site, instance, screen)
        if as_json:
            facts = {**vars(result), "events_per_second": round(result.events_per_second)}
            print(json.dumps(facts, indent=2, ensure_ascii=False, default=str))
        else:
            _print_result(result)
        if ui:
            screen.print("Starting Dagster's UI ...")
            serve_ui(home, on_ready=lambda url: _print_ui_hints(url, site, screen))


def load(
    plan: DemoPlan, site: Site, instance: dg.DagsterInstance, *, on_partition: Callable[[str, int], None]
) -> DemoResult:
    """Materialize the assets in the order of their lineage, pi_timeseries with one run a day, in this process.

    Args:
        on_partition: told of each partition as it is committed: its key and its rows.

    Raises:
        RunFailedError: a run failed; the message is that of the asset.
        RunInterruptedError: Ctrl-C.
    """
    definitions = _definitions(site)
    lake = Lake(site.lake.uri)
    result = DemoResult(server=site.server.url, lake=lake.uri, days=list(plan.days))
    result.tables = {table.definition.name: lake.table_uri(table.definition.name) for table in TABLES}

    def add_assets(materialization: dg.AssetMaterialization) -> None:
        if materialization.asset_key.path[-1] == PI_ASSET_HIERARCHY.name:
            result.elements = int(_value(materialization, "pi/elements"))
        else:
            result.attributes = int(_value(materialization, "pi/attributes"))

    def add_frames(materialization: dg.AssetMaterialization) -> None:
        result.event_frames += int(_value(materialization, "dagster/partition_row_count"))

    def add_points(materialization: dg.AssetMaterialization) -> None:
        result.tags = int(_value(materialization, "pi/tags"))

    def add_partition(materialization: dg.AssetMaterialization) -> None:
        rows = int(_value(materialization, "dagster/partition_row_count"))
        key = str(materialization.partition)
        result.partitions += 1
        result.rows += rows
        result.rows_by_tag_group[key.split("|")[1]] += rows
        result.rows_by_type.update(_counts(materialization, "pi/rows_by_type"))
        result.rows_by_system_state.update(_counts(materialization, "pi/rows_by_system_state"))
        on_partition(key, rows)

    run_here(definitions.resolve_job_def("load_pi_assets"), instance, {}, add_assets)
    run_here(definitions.resolve_job_def("load_pi_points"), instance, {}, add_points)
    begun = monotonic()
    groups = site.partition_names()
    for day in plan.days:
        tags = range_tags(day, groups[0], groups[-1])
        run_here(definitions.resolve_job_def("load_pi_timeseries"), instance, tags, add_partition)
    result.seconds = monotonic() - begun
    for day in plan.days:
        run_here(definitions.resolve_job_def("load_pi_event_frames"), instance, day_range_tags(day, day), add_frames)
    return result


def _definitions(site: Site) -> dg.Definitions:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", category=dg.BetaWarning)
        return build_pi_definitions(site)


def _value(materialization: dg.AssetMaterialization, key: str) -> Any:
    return materialization.metadata[key].value


def _counts(materialization: dg.AssetMaterialization, key: str) -> dict[str, int]:
    """A table of two columns, name and rows, that an asset reports."""
    table = materialization.metadata.get(key)
    if not isinstance(table, dg.TableMetadataValue):
        return {}
    rows = [tuple(record.data.values()) for record in table.records]
    return {str(name): int(count) for name, count in rows if count}


def _load_with_progress(plan: DemoPlan, site: Site, instance: dg.DagsterInstance, screen: Console) -> DemoResult:
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(bar_width=20),
        MofNCompleteColumn(),
        TextColumn("partitions, {task.fields[rows]:,} rows"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=screen) as progress:
        total = len(plan.days) * len(site.partition_names())
        bar = progress.add_task("tags", total=total, rows=0)
        rows = 0

        def on_partition(key: str, its_rows: int) -> None:
            nonlocal rows
            rows += its_rows
            progress.update(bar, advance=1, rows=rows, description=key)

        return load(plan, site, instance, on_partition=on_partition)


def _print_result(result: DemoResult) -> None:
    table = Table(title="Loaded", title_justify="left", show_header=False)
    table.add_row("Days (UTC)", ", ".join(str(day) for day in result.days))
    table.add_row("Elements", f"{result.elements:,} with {result.attributes:,} attributes")
    table.add_row("Tags", f"{result.tags:,}")
    table.add_row("Event frames", f"{result.event_frames:,}")
    table.add_row("Partitions", f"{result.partitions:,}")
    table.add_row("Rows", f"{result.rows:,}")
    table.add_row("Events a second", f"{result.events_per_second:,.0f} (over {result.seconds:.1f} s)")
    for title, counts in (
        ("Rows by tag group", result.rows_by_tag_group),
        ("Rows by type", result.rows_by_type),
        ("Rows by system state", result.rows_by_system_state),
    ):
        if counts:
            table.add_section()
            table.add_row(title, "\n".join(f"{count:>12,}  {name}" for name, count in counts.most_common()))
    Console(highlight=False, markup=False).print(table)
    # Not through the console: it would wrap lines that somebody wants to copy.
    print("Delta tables:", *result.tables.values(), sep="\n  ")
    print(f"Ask one of them something:\n\n{_query(result.tables[PI_TIMESERIES.name])}\n")


def _query(table_uri: str) -> str:
    """A line for the shell that shows the busiest tags."""
    sql = (
        "select tag_name, units, count(*) as events, round(avg(value), 2) as mean "
        "from t group by 1, 2 order by 3 desc limit 5"
    )
    code = (
        "import pyarrow; from deltalake import DeltaTable, QueryBuilder; "
        f"rows = QueryBuilder().register('t', DeltaTable({_relative(table_uri)!r})).execute('{sql}'); "
        "print(*pyarrow.table(rows).to_pylist(), sep='\\n')"
    )
    return f'{shlex.quote(_relative(sys.executable))} -c "{code}"'


def _relative(path: str) -> str:
    """The shorter way to write it from the current folder."""
    with_dots = os.path.relpath(path)
    return path if with_dots.startswith("..") else with_dots


def _print_ui_hints(url: str, site: Site, screen: Console) -> None:
    for line in (
        f"Dagster's UI: {url}",
        f"Materialize today, or backfill the days before: {url}/assets/pi_timeseries?view=partitions",
        f"Ctrl-C stops the UI and the PI server; the tables stay in {site.lake.uri}",
    ):
        screen.print(line, soft_wrap=True)
