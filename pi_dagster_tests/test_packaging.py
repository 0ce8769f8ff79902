"""What others install: the wheel, without what only some need, and with a component that their `dg` finds."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Mapping
from pathlib import Path

import pytest

from pi_dagster.simulator import spawned

PROJECT = Path(__file__).parents[1]
EXAMPLE = PROJECT / "examples" / "plant_project"
EXTRAS = ("jsonpath_ng", "gssapi", "spnego", "pyspark", "delta", "dagster_databricks", "dagster_postgres", "pandas")


def run(*command: str | Path, cwd: Path = PROJECT, **environment: str) -> str:
    done = subprocess.run(
        command, cwd=cwd, env={**os.environ, **environment}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def uv() -> str:
    program = shutil.which("uv")
    if program is None:
        pytest.skip("uv is not on the path")
    return program


@pytest.fixture(scope="module")
def clean_environment(uv: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A new environment with the project as a wheel and its core dependencies, from the cache of `uv sync`."""
    folder = tmp_path_factory.mktemp("environment") / "venv"
    run(
        *(uv, "sync", "--locked", "--offline", "--no-default-groups", "--no-editable", "--python", sys.executable),
        UV_PROJECT_ENVIRONMENT=str(folder),
        VIRTUAL_ENV="",
    )
    return folder / "bin"


def test_the_wheel_has_what_it_needs_and_no_tests(uv: str, tmp_path: Path) -> None:
    run(uv, "build", "--offline", "--wheel", "--out-dir", tmp_path)
    (wheel,) = tmp_path.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    assert {"pi_dagster/py.typed", "pi_dagster/dagster.yaml", "pi_dagster/defs/pi/defs.yaml"} <= set(names)
    metadata = wheel.name.removesuffix("-py3-none-any.whl") + ".dist-info"
    assert {name.split("/")[0] for name in names} == {"pi_dagster", metadata}


def test_it_works_with_the_core_dependencies_alone(clean_environment: Path, tmp_path: Path) -> None:
    script = f"""
import importlib.util, sys
import pi_dagster.components, pi_dagster.definitions, pi_dagster.factory
pi_dagster.definitions.defs().get_repository_def()
assert not str(pi_dagster.__file__).startswith({str(PROJECT)!r})
print([name for name in {EXTRAS} if importlib.util.find_spec(name)])
"""
    assert run(clean_environment / "python", "-c", script, cwd=tmp_path) == "[]\n"
    assert "pi-dagster" in run(clean_environment / "pi-dagster", "--help", cwd=tmp_path)


def test_a_site_folder_has_the_settings_of_dagster(clean_environment: Path, tmp_path: Path) -> None:
    options = ("--url", "https://pi.example.com/piwebapi", "--login", "anonymous", "--yes", "--no-check")
    run(clean_environment / "pi-dagster", "init", "plant1", *options, cwd=tmp_path)
    assert (tmp_path / "plant1" / "dagster.yaml").read_text() == (PROJECT / "dagster.yaml").read_text()


def test_without_the_simulator_the_demo_says_what_to_install(clean_environment: Path, tmp_path: Path) -> None:
    demo = subprocess.run(
        [clean_environment / "pi-dagster", "demo"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert demo.returncode == 2
    assert "pip install 'pi-dagster[simulator]'" in demo.stderr


@pytest.fixture
def plant_project(tmp_path: Path) -> Path:
    return Path(shutil.copytree(EXAMPLE, tmp_path / "project"))


def environment_of(project: Path, **more: str) -> Mapping[str, str]:
    return {"PYTHONPATH": str(project), "DAGSTER_DISABLE_TELEMETRY": "yes", **more}


def test_dg_of_another_project_finds_the_component(plant_project: Path) -> None:
    dg = Path(sys.executable).parent / "dg"
    if not dg.exists():
        pytest.skip("the dependency group `docs` is not installed")
    listed = run(dg, "list", "components", "--json", cwd=plant_project, **environment_of(plant_project))
    components = {item["key"]: item["summary"] for item in json.loads(listed)["items"]}
    assert components["pi_dagster.components.PISystemComponent"].startswith("One PI system")


def test_the_example_project_loads_a_day_and_makes_something_of_it(plant_project: Path, tmp_path: Path) -> None:
    script = """
import dagster as dg
from deltalake import DeltaTable
from plant_project.definitions import defs

day, loaded = "2026-11-02", defs()
assert {"pi_timeseries", "boiler_hours"} <= {key.path[-1] for key in loaded.resolve_asset_graph().get_all_asset_keys()}
with dg.DagsterInstance.ephemeral() as instance:
    def load(*assets, partition=None):
        job = loaded.resolve_implicit_job_def_def_for_assets([dg.AssetKey(asset) for asset in assets])
        chosen = job.get_subset(asset_selection={dg.AssetKey(asset) for asset in assets})
        assert chosen.execute_in_process(instance=instance, partition_key=partition).success

    load("pi_points")
    load("pi_timeseries", partition=dg.MultiPartitionKey({"date": day, "tag_group": "boilers"}))
    load("boiler_hours", partition=day)
import os
hours = DeltaTable(os.environ["PI_LAKE"] + "/boiler_hours").count()
assert hours >= 24, hours
"""
    with spawned(tags=20) as server:
        environment = environment_of(plant_project, PI_WEB_API_URL=server.url, PI_LAKE=str(tmp_path / "lake"))
        run(sys.executable, "-c", script, cwd=plant_project, **environment)
