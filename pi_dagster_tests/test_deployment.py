"""The files in examples/deployment do what the pages about deployment say: they load, verify and keep a history."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import yaml

from pi_dagster.components.site_file import load_site
from pi_dagster.factory import build_pi_definitions
from pi_dagster.simulator import spawned
from pi_dagster.site import Site

PROJECT = Path(__file__).parents[1]
FILES = PROJECT / "examples" / "deployment"
UNITS = sorted((FILES / "systemd").glob("*.service"))
MANIFESTS = sorted((FILES / "kubernetes").glob("*.yaml"))
KUBERNETES = "1.31"
POSTGRES_PROGRAMS = sorted(Path("/usr/lib/postgresql").glob("*/bin"))


def settings_in(path: Path) -> dict[str, Any]:
    settings = yaml.safe_load(path.read_text())
    assert isinstance(settings, dict)
    return settings


def documents(path: Path) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all(path.read_text()))


def test_production_has_the_projects_settings_but_for_where_the_history_is() -> None:
    where = ("storage", "local_artifact_storage", "compute_logs")
    production, project = settings_in(FILES / "dagster.yaml"), settings_in(PROJECT / "dagster.yaml")
    assert set(production["storage"]) == {"postgres"}
    assert {key: value for key, value in production.items() if key not in where} == {
        key: value for key, value in project.items() if key not in where
    }


def test_the_workspace_is_the_projects() -> None:
    assert settings_in(FILES / "workspace.yaml") == settings_in(PROJECT / "workspace.yaml")


def test_the_site_is_a_site() -> None:
    assert load_site(FILES / "defs.yaml").name == "plant1"


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed")
def test_systemd_accepts_the_units(tmp_path: Path) -> None:
    for unit in UNITS:
        # It wants the programs to be there.
        text = unit.read_text().replace("/opt/pi_dagster/bin", str(Path(sys.executable).parent))
        (tmp_path / unit.name).write_text(text)
    units = [str(path) for path in tmp_path.iterdir()]
    assert len(units) == 2
    verified = subprocess.run(
        [str(shutil.which("systemd-analyze")), "verify", *units], capture_output=True, text=True, check=False
    )
    assert (verified.returncode, verified.stderr) == (0, "")


@pytest.mark.parametrize("manifest", MANIFESTS, ids=lambda path: path.name)
def test_kubernetes_accepts_the_manifests(manifest: Path) -> None:
    validate = pytest.importorskip("kubernetes_validate", reason="the dependency group `docs` is not installed")
    for document in documents(manifest):
        validate.validate(document, KUBERNETES, strict=True)


def test_kustomize_has_all_files() -> None:
    kustomization = settings_in(FILES / "kustomization.yaml")
    assert {FILES / name for name in kustomization["resources"]} == set(MANIFESTS)
    assert all((FILES / name).is_file() for name in kustomization["configMapGenerator"][0]["files"])


def test_what_a_pod_mounts_and_needs_is_there() -> None:
    manifests = {document["kind"] + "/" + document["metadata"]["name"]: document
                 for path in MANIFESTS for document in documents(path)}  # fmt: skip
    pod = manifests["Deployment/pi-dagster"]["spec"]["template"]["spec"]
    volumes = {volume["name"]: volume for volume in pod["volumes"]}
    claims = [volume["persistentVolumeClaim"]["claimName"] for volume in volumes.values() if "configMap" not in volume]
    assert all(f"PersistentVolumeClaim/{claim}" in manifests for claim in claims)
    for container in pod["containers"]:
        assert {mount["name"] for mount in container["volumeMounts"]} == set(volumes)
        assert shutil.which(container["command"][0], path=str(Path(sys.executable).parent))
    lake = load_site(FILES / "defs.yaml").lake.uri
    assert lake in {mount["mountPath"] for mount in pod["containers"][0]["volumeMounts"]}


@pytest.fixture(scope="module")
def postgres_port() -> Iterator[int]:
    """A PostgreSQL of its own, with the user and the database that the settings name."""
    if not POSTGRES_PROGRAMS:
        pytest.skip("PostgreSQL is not installed")
    pytest.importorskip("dagster_postgres", reason="the extra `postgres` is not installed")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    # It refuses to run as root, and another account may not look into pytest's folders.
    user = {"user": "postgres", "group": "postgres"} if os.geteuid() == 0 else {}
    with tempfile.TemporaryDirectory(prefix="pi_dagster_postgres_") as folder:
        if user:
            shutil.chown(folder, **user)

        def run(program: str, *arguments: str) -> None:
            command = [POSTGRES_PROGRAMS[-1] / program, *arguments]
            log = f"{folder}/{program}.log"
            with Path(log).open("a") as output:
                done = subprocess.run(command, stdout=output, stderr=output, cwd=folder, check=False, **user)  # type: ignore[call-overload]
            assert done.returncode == 0, Path(log).read_text()

        options = f"-p {port} -h 127.0.0.1 -k '' -c fsync=off"
        run("initdb", "-D", "data", "-A", "trust", "-U", "pi_dagster", "--no-sync")
        run("pg_ctl", "-D", "data", "-o", options, "-w", "start")
        try:
            run("createdb", "-h", "127.0.0.1", "-p", str(port), "-U", "pi_dagster", "pi_dagster")
            yield port
        finally:
            run("pg_ctl", "-D", "data", "-m", "immediate", "stop")


def test_the_history_is_kept_in_postgres(postgres_port: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PI_DAGSTER_POSTGRES_HOST", "127.0.0.1")
    monkeypatch.setenv("PI_DAGSTER_POSTGRES_PASSWORD", "any")
    settings = (FILES / "dagster.yaml").read_text()
    assert "port: 5432\n" in settings
    (tmp_path / "dagster.yaml").write_text(settings.replace("port: 5432\n", f"port: {postgres_port}\n"))
    with spawned(tags=5) as server:
        site = Site.model_validate(
            {
                "server": {"url": server.url},
                "lake": {"uri": str(tmp_path / "lake")},
                "start_date": "2026-01-01",
                "tag_groups": [{"name": "all", "tag_filter": "*"}],
            }
        )
        job = build_pi_definitions(site).resolve_job_def("load_pi_points")
        with dg.DagsterInstance.from_config(str(tmp_path)) as instance:
            run_id = job.execute_in_process(instance=instance).run_id
    assert not list(tmp_path.rglob("*.db"))
    with dg.DagsterInstance.from_config(str(tmp_path)) as instance:
        run = instance.get_run_by_id(run_id)
        assert run is not None
        assert run.status is dg.DagsterRunStatus.SUCCESS
        latest = instance.get_latest_materialization_event(dg.AssetKey("pi_points"))
        assert latest is not None
        assert latest.asset_materialization is not None
        assert latest.asset_materialization.metadata["pi/tags"].value == 5
