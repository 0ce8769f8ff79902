"""What the README and docs/*.md tell readers to type, typed: each page's blocks in its order, in a folder of its own.

Servers, lakes and the environment stand in for those of the reader; see `stand_ins`. Blocks that say why they are not
run are counted, so that nobody adds one by the way.
"""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import duckdb
import pytest
import yaml
from deltalake import DeltaTable

from pi_dagster.components.site_file import load_site
from pi_dagster.ingest.assets import refresh_assets
from pi_dagster.ingest.event_frames import event_frame_databases, load_day
from pi_dagster.ingest.points import refresh_points
from pi_dagster.ingest.source import open_source
from pi_dagster.ingest.timeseries import load_partition
from pi_dagster.lake import Lake, schemas
from pi_dagster.simulator import spawned
from pi_dagster.site import Site
from pi_dagster_tests.documented_blocks import PAGES, PROJECT, Block, blocks_of

NOT_RUN = {
    "README.md": 2,
    "deployment.md": 4,
    "kubernetes.md": 3,
    "notifications.md": 2,
    "object-stores.md": 1,
    "own-project.md": 1,
    "performance.md": 1,
    "real-server.md": 1,
    "restoring.md": 1,
    "tutorial.md": 2,
    "upgrading.md": 2,
}
"""Blocks that say that they are not run."""

SHELL = ("bash", "sh")
RUN = (*SHELL, "python", "sql")
USER, PASSWORD = r"PLANT\svc_dagster", "correct-horse-battery-staple"
DAYS = (date(2026, 11, 2), date(2026, 11, 3))
"""The days that pages ask the lake for."""

TABLES = [value for value in vars(schemas).values() if isinstance(value, schemas.TableDefinition)]
MINIMAL_SITE: dict[str, Any] = {
    "server": {"url": "https://pi.example.com/piwebapi"},
    "lake": {"uri": "/data/pi"},
    "start_date": "2026-01-01",
    "tag_groups": [{"name": "all", "tag_filter": "*"}],
}


def pages(*, of_spark: bool) -> list[Path]:
    """The pages with something to run; those of Spark apart, as they start a JVM."""
    # The tutorial first: what it loads is what the README asks.
    ordered = sorted(PAGES, key=lambda page: page.name != "tutorial.md")
    with_commands = [page for page in ordered if any(block.language in RUN for block in blocks_of(page))]
    return [page for page in with_commands if (page.name in ("spark.md", "databricks.md")) == of_spark]


@dataclass(frozen=True)
class Plant:
    """A loaded lake and what it was loaded from, once without a login and once with one."""

    lake: Path
    site_file: Path
    open_url: str
    url_with_login: str
    home: Path

    def stand_ins(self, page: Path, folder: Path, port: int) -> Mapping[str, str]:
        """What of a page is meant for a reader's own machine, and what is here instead."""
        asks_for_login = "login: {kind: basic" in page.read_text("utf-8")
        return {
            "https://pi.example.com/piwebapi": self.url_with_login if asks_for_login else self.open_url,
            "/opt/pi/defs.yaml": str(self.site_file),
            "/data/checkpoint": str(folder / "checkpoint"),
            "/data/pi": str(self.lake),
            "127.0.0.1:5450": f"127.0.0.1:{port}",
            "--port 5450": f"--port {port}",
            # The environment of the tests is the reader's .venv.
            ".venv/bin/uv run ": "",
        }


@pytest.fixture(scope="module")
def plant(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Plant]:
    home = tmp_path_factory.mktemp("documented")
    # Its login is remembered as refused or not in the folder for temporary files, as a reader's is.
    with spawned(tags=40) as simulator, spawned(tags=40, user=USER, password=PASSWORD) as with_login:
        settings: dict[str, Any] = {
            "name": "plant1",
            "server": {"url": simulator.url},
            "lake": {"uri": str(home / "lake")},
            "start_date": "2026-01-01",
            "tag_groups": [
                {"name": "boilers", "tag_filter": "BLR*"},
                {"name": "pumps", "tag_filter": "PMP*", "shards": 2},
                {"name": "others", "tag_filter": "*"},
            ],
        }
        site = Site.model_validate(settings)
        lake = Lake(site.lake.uri)
        with open_source(site.server) as source:
            refresh_assets(site, source, lake, run_id="run")
            refresh_points(site, source, lake, run_id="run")
            databases = event_frame_databases(site, source)
            for day in DAYS:
                load_day(site, source, lake, databases=databases, day=day, run_id="run")
                for group in site.partition_names():
                    load_partition(site, source, lake, day=day, tag_group=group, run_id="run")
        site_file = home / "site.yaml"
        component = {"type": "pi_dagster.components.PISystemComponent", "attributes": settings}
        site_file.write_text(yaml.safe_dump(component))
        yield Plant(home / "lake", site_file, simulator.url, with_login.url, home)


class Reader:
    """Somebody who does what a page says, from its top to its bottom."""

    def __init__(self, plant: Plant, page: Path, folder: Path) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = int(probe.getsockname()[1])
        self._stand_ins = plant.stand_ins(page, folder, port)
        self._folder = folder
        self._lake = plant.lake
        self.names: dict[str, Any] = {}
        self._environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("DAGSTER_")},
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "DAGSTER_HOME": str(folder / "dagster_home"),
            "PI_DAGSTER_SITE": str(plant.site_file),
            "PI_PASSWORD": PASSWORD,
            "PI_DAGSTER_STATE_DIR": str(folder / "state"),
        }
        (folder / "dagster_home").mkdir()
        # Without it Dagster reports to its makers.
        (folder / "dagster_home" / "dagster.yaml").write_text("telemetry: {enabled: false}\n")
        self._servers = ExitStack()

    def __enter__(self) -> Reader:
        return self

    def __exit__(self, *_: object) -> None:
        self._servers.close()

    def do(self, block: Block) -> None:
        """Save, run or serve a block."""
        text = block.text
        for meant, here in self._stand_ins.items():
            text = text.replace(meant, here)
        if block.title is not None:
            if not Path(block.title).is_absolute():
                file = self._current_folder() / block.title
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_text(text)
        elif block.language in SHELL:
            self._serve(text, block) if block.in_background else self._run(text, block)
        elif block.language == "python":
            exec(compile(text, str(block), "exec"), self.names)  # noqa: S102
        elif block.language == "sql":
            self._query(text)

    def _run(self, text: str, block: Block) -> None:
        session = self._folder / ".session"
        keep = f"export -p > {session}; pwd > {self._folder / '.pwd'}"
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", f"[ ! -f {session} ] || . {session}\n{text}\n{keep}"],  # noqa: S607
            cwd=self._current_folder(),
            env=self._environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"{block} ends with {done.returncode}:\n{text}\n{done.stdout}\n{done.stderr}"

    def _current_folder(self) -> Path:
        """Where the page has gone by `cd`."""
        kept = self._folder / ".pwd"
        return Path(kept.read_text().strip()) if kept.exists() else self._folder

    def _serve(self, text: str, block: Block) -> None:
        server = subprocess.Popen(
            ["bash", "-euo", "pipefail", "-c", f"exec {text}"],  # noqa: S607
            cwd=self._current_folder(),
            env=self._environment,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._servers.enter_context(server)
        self._servers.callback(server.terminate)
        assert server.stdout is not None
        assert server.stdout.readline(), f"{block} has ended with {server.wait()}"

    def _query(self, text: str) -> None:
        with duckdb.connect() as connection:
            connection.execute("SET TimeZone = 'UTC'")
            for table in TABLES:
                folder = self._lake / table.name
                is_loaded = folder.exists()
                rows = DeltaTable(str(folder)).to_pyarrow_dataset() if is_loaded else table.schema.empty_table()
                connection.register(table.name, rows)
            # DuckDB would download its extension for Delta.
            connection.execute(re.sub(r"delta_scan\('[^']*/(\w+)'\)", r"\1", text)).fetchall()


def completed(part: Mapping[str, Any]) -> dict[str, Any]:
    """A part of a site with what every site needs."""
    needed = {name: {**MINIMAL_SITE[name], **part.get(name, {})} for name in ("server", "lake")}
    return {**MINIMAL_SITE, **part, **needed}


def read(page: Path, plant: Plant, folder: Path, **names: Any) -> None:
    with Reader(plant, page, folder) as reader:
        reader.names.update(names)
        for block in blocks_of(page):
            if block.reason_not_to_run is None:
                reader.do(block)


@pytest.mark.parametrize("page", pages(of_spark=False), ids=lambda page: page.name)
def test_what_a_page_says_works(page: Path, plant: Plant, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    loaded_by_the_tutorial = plant.home / "pi_demo"
    if page.name == "README.md":
        if not loaded_by_the_tutorial.exists():
            shutil.copytree(plant.lake, loaded_by_the_tutorial / "lake")
        (tmp_path / "pi_demo").symlink_to(loaded_by_the_tutorial)
    read(page, plant, tmp_path)
    if page.name == "tutorial.md":
        shutil.move(tmp_path / "pi_demo", loaded_by_the_tutorial)


@pytest.mark.spark
@pytest.mark.parametrize("page", pages(of_spark=True), ids=lambda page: page.name)
def test_what_a_page_about_spark_says_works(
    page: Path, plant: Plant, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, spark: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    try:
        read(page, plant, tmp_path, spark=spark)
    finally:
        for query in spark.streams.active:
            query.stop()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_yaml_of_a_page_is_a_site_or_part_of_one(page: Path, tmp_path: Path) -> None:
    for block in blocks_of(page):
        if block.language != "yaml":
            continue
        (document, *_) = yaml.safe_load_all(block.text)
        if "attributes" in document:
            (tmp_path / "defs.yaml").write_text(block.text)
            load_site(tmp_path / "defs.yaml")
        elif set(document) <= set(Site.model_fields):
            Site.model_validate(completed(document))
        elif set(document) == {"login"}:
            Site.model_validate(completed({"server": document}))
        else:
            # Dagster's, Kubernetes' or a tool's; those of examples/deployment are tested with them.
            assert block.title is not None, f"{block} is part of nothing known"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_file_that_a_page_includes_is_shown(page: Path) -> None:
    """A formatter that takes the mark for Python leaves one that is shown as it stands."""
    assert [str(block) for block in blocks_of(page) if re.search(r"-\s*8\s*<", block.text)] == []


def test_blocks_that_are_not_run_say_why_and_are_counted(capsys: pytest.CaptureFixture[str]) -> None:
    blocks = [block for page in PAGES for block in blocks_of(page) if block.language in RUN]
    not_run = [block for block in blocks if block.reason_not_to_run is not None]
    with capsys.disabled():
        print(f"\n{len(blocks) - len(not_run)} documented blocks are run, {len(not_run)} are not:")
        for block in not_run:
            print(f"  {block}: {block.reason_not_to_run}")
    assert dict(Counter(block.page for block in not_run)) == NOT_RUN


def test_the_pages_are_in_the_navigation() -> None:
    navigation = (PROJECT / "mkdocs.yml").read_text("utf-8")
    assert [page.name for page in PAGES[1:] if f": {page.name}" not in navigation] == []
