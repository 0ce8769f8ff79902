"""Imports go one way, and starting up loads nothing heavy."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import pi_dagster

PACKAGE = Path(pi_dagster.__file__).parent
DAGSTER_LAYERS = ("assets", "automation", "checks", "components", "resources", "definitions", "factory")
DOORS = (
    "audit_report",
    "backfill",
    "chosen_partitions",
    "cli",
    "dagster_record",
    "dagster_ui",
    "demo",
    "diagnosis",
    "runs_here",
    "tag_survey",
)

FORBIDDEN = {
    "piwebapi": ("dagster", "deltalake", "pyspark", "pi_dagster.lake", "pi_dagster.ingest", "pi_dagster.simulator"),
    "lake": ("dagster", "pi_dagster.piwebapi", "pi_dagster.ingest", "pi_dagster.site", "pi_dagster.simulator"),
    "ingest": ("dagster", "pyspark", "pi_dagster.spark", "pi_dagster.simulator"),
    "notifications": ("dagster", "pi_dagster.simulator"),
    "pictures": ("dagster", "pi_dagster.piwebapi", "pi_dagster.simulator"),
    "spark": ("dagster", "pi_dagster.simulator"),
    "site": ("dagster", "pi_dagster.piwebapi", "pi_dagster.lake", "pi_dagster.ingest"),
    "webid.py": ("dagster", "pi_dagster"),
    "simulator": (
        "dagster",
        "deltalake",
        "pi_dagster.piwebapi",
        "pi_dagster.lake",
        "pi_dagster.ingest",
        "pi_dagster.site",
    ),
}


def imports_of(file: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def is_below(module: str, package: str) -> bool:
    return module == package or module.startswith(f"{package}.")


@pytest.mark.parametrize("place", FORBIDDEN)
def test_a_layer_imports_nothing_above_it(place: str) -> None:
    files = [PACKAGE / place] if place.endswith(".py") else sorted((PACKAGE / place).rglob("*.py"))
    assert files
    above = (*FORBIDDEN[place], *(f"pi_dagster.{layer}" for layer in (*DAGSTER_LAYERS, *DOORS)))
    wrong = [
        f"{file.name} imports {module}"
        for file in files
        for module in imports_of(file)
        if any(is_below(module, package) for package in above)
    ]
    assert not wrong


def test_loading_the_definitions_loads_nothing_that_only_some_need() -> None:
    """Every run process pays for what is imported here."""
    program = (
        "import sys, pi_dagster.definitions; "
        "print(*sorted({name.partition('.')[0] for name in sys.modules} "
        "& {'pyspark', 'pandas', 'fastapi', 'starlette', 'uvicorn', 'delta', 'databricks', 'dagster_databricks', "
        "'jsonpath_ng', 'gssapi', 'spnego', 'apprise'})); "
        "print(*[name for name in sys.modules if name.startswith('pi_dagster.simulator')])"
    )
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert result.stdout.split() == []
