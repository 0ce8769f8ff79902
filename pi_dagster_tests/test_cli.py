"""The command line's contract: what scripts may rely on."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pytest
import requests
from deltalake import write_deltalake
from typer.testing import CliRunner, Result

from pi_dagster.cli import app
from pi_dagster.cli.telling import EXIT_CODES
from pi_dagster.diagnosis import is_users_mistake
from pi_dagster.piwebapi.errors import LoginRefusedError, RequestTimeoutError, ServerTroubleError
from pi_dagster.simulator import RunningSimulator, Simulator, SimulatorSettings
from pi_dagster.simulator.archive import Archive
from pi_dagster.simulator.events import TICKS_PER_SECOND, utc_now
from pi_dagster.simulator.generator import GeneratedBase

COMMAND = [sys.executable, "-c", "from pi_dagster.cli import main; main()"]
TAGS = 40

SITE = """\
type: pi_dagster.components.PISystemComponent
attributes:
  server:
    url: {url}
    login: {{kind: basic, username: me, password_env: PI_PASSWORD}}
  lake:
    uri: lake
  start_date: 2026-01-01
  tag_groups:
    - name: boilers
      tag_filter: BLR*
    - name: pumps
      tag_filter: PMP*
      shards: 2
"""


@pytest.fixture(scope="module")
def simulator() -> Iterator[RunningSimulator]:
    settings = SimulatorSettings(user="me", password="secret")
    with Simulator(archive=Archive(GeneratedBase(tags=TAGS)), settings=settings).serve() as running:
        yield running


@pytest.fixture
def site_file(simulator: RunningSimulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PI_PASSWORD", "secret")
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "defs.yaml"
    path.write_text(SITE.format(url=simulator.url))
    return path


def pi_dagster(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.mark.parametrize("command", ["demo", "init", "simulate", "check", "tags", "backfill", "audit"])
def test_every_command_has_help_with_an_example(command: str) -> None:
    result = pi_dagster(command, "--help")
    assert result.exit_code == 0
    assert f"Examples:\n    pi-dagster {command}" in result.output


def test_an_unknown_option_is_the_users_mistake() -> None:
    assert pi_dagster("check", "--sight", "x").exit_code == 2


def test_check_says_who_it_is_what_it_may_read_and_that_all_is_well(
    site_file: Path, simulator: RunningSimulator
) -> None:
    result = pi_dagster("check", "--site", site_file)
    assert result.exit_code == 0
    facts = " ".join(result.stdout.split())
    for fact in (
        f"Server {simulator.url}",
        "Logged in as me",
        "this machine's",
        "Events a call at least 150,000",
        "Data Archives PISIM",
        "AF server AFSIM; the site reads Plant",
        "Tags it may see 40",
        "By tag group boilers 14, pumps 12; in no group 14",
        "Values it may read yes",
        "(writable)",
        "All is well.",
    ):
        assert fact in facts
    assert "14 of 40 tags are in no tag group" in result.stderr


def test_check_as_json_holds_the_facts_and_leaves_remarks_to_stderr(site_file: Path) -> None:
    result = pi_dagster("check", "--site", site_file, "--json")
    facts = json.loads(result.stdout)
    assert facts["server"]["user"] == "me"
    assert facts["server"]["tags_by_group"] == {"boilers": 14, "pumps": 12}
    assert abs(facts["server"]["clock_skew_seconds"]) < 60
    assert facts["lake"]["is_writable"]
    assert facts["problems"] == []


def test_check_tells_when_the_asset_framework_of_the_site_is_not_there(site_file: Path) -> None:
    site_file.write_text(site_file.read_text() + "  asset_framework: {databases: [Plant, South]}\n")
    result = pi_dagster("check", "--site", site_file)
    assert result.exit_code == 2
    assert "shows this login no database South (it shows: Plant)" in " ".join(result.stderr.split())


def test_check_without_the_asset_framework_says_nothing_of_its_tables(site_file: Path) -> None:
    def tables() -> list[str]:
        return [*json.loads(pi_dagster("check", "--site", site_file, "--json").stdout)["lake"]["table_versions"]]

    base = ["pi_points", "pi_timeseries", "pi_tag_errors"]
    assets = ["pi_asset_hierarchy", "pi_asset_attributes", "pi_event_frames"]
    assert tables() == [*base, *assets]
    site_file.write_text(site_file.read_text() + "  asset_framework: null\n")
    assert tables() == base


def test_check_names_tables_that_are_not_as_they_should_be(site_file: Path) -> None:
    write_deltalake(site_file.parent / "lake" / "pi_points", pa.table({"tag": ["A"]}))
    result = pi_dagster("check", "--site", site_file)
    assert result.exit_code == 2
    facts = " ".join(result.stdout.split())
    assert "Tables not as they should be: pi_points; not there yet: pi_timeseries," in facts


def test_check_finds_nothing_wrong_where_groups_by_assets_wait_for_the_first_load(site_file: Path) -> None:
    site_file.write_text(site_file.read_text().replace("tag_filter: BLR*", "af_template: Boiler"))
    result = pi_dagster("check", "--site", site_file)
    assert "Note: A tag group is chosen by AF elements" in " ".join(result.stderr.split())
    assert result.exit_code == 0


def test_tags_of_a_group_by_assets_ask_for_the_assets_first(site_file: Path) -> None:
    site_file.write_text(site_file.read_text().replace("tag_filter: BLR*", "af_template: Boiler"))
    result = pi_dagster("tags", "--site", site_file)
    assert "materialize pi_asset_hierarchy first" in " ".join(result.stderr.split())
    assert result.exit_code == 2


def test_check_leaves_no_table_and_no_file_in_the_lake(site_file: Path, tmp_path: Path) -> None:
    pi_dagster("check", "--site", site_file)
    assert list((tmp_path / "lake").iterdir()) == []


def test_check_notes_a_clock_that_is_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ahead = SimulatorSettings(now=lambda: utc_now() + 3600 * TICKS_PER_SECOND)
    monkeypatch.chdir(tmp_path)
    with Simulator(archive=Archive(GeneratedBase(tags=TAGS)), settings=ahead).serve() as running:
        monkeypatch.setenv("PI_WEB_API_URL", running.url)
        result = pi_dagster("check")
    assert result.exit_code == 0
    assert "The server's clock is 3,600 s ahead of this machine's" in result.stderr


def test_check_without_a_site_looks_at_the_one_that_the_environment_names(
    site_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PI_DAGSTER_SITE", str(site_file))
    assert pi_dagster("check").exit_code == 0


def test_tags_are_listed_with_their_partitions_and_those_in_none_marked(site_file: Path) -> None:
    result = pi_dagster("tags", "--site", site_file)
    assert result.exit_code == 0
    listed = {line.split()[1]: line.split()[0] for line in result.stdout.splitlines()[1 : TAGS + 1]}
    assert listed["BLR01.FLAME"] == "boilers"
    assert listed["PMP01:RUN.ST"] in ("pumps-00", "pumps-01")
    assert listed["UTL01.BREAKER"] == "-"
    assert "in no tag group" in result.stdout


def test_tags_as_json_counts_every_tag_once(site_file: Path) -> None:
    survey = json.loads(pi_dagster("tags", "--site", site_file, "--json").stdout)
    assert len({tag["tag_webid"] for tag in survey["tags"]}) == TAGS
    assert sum(survey["tags_by_partition"].values()) + survey["tags_in_no_group"] == TAGS
    assert {tag["tag_name"]: tag["partition"] for tag in survey["tags"]}["BLR01.FLAME"] == "boilers"


def test_the_installed_command_lets_dot_env_win_as_dagster_does(site_file: Path, tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("PI_PASSWORD=secret\n")
    environment = {**os.environ, "PI_PASSWORD": "what `dagster dev` would not use either"}
    command = [str(Path(sys.executable).with_name("pi-dagster")), "tags", "--site", str(site_file), "--json"]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert len(json.loads(done.stdout)["tags"]) == TAGS


@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM])
def test_simulate_prints_its_url_first_serves_and_ends_well_when_interrupted(stop: signal.Signals) -> None:
    options = ["--port", "0", "--tags", "7", "--user", "me", "--password", "secret"]
    with subprocess.Popen(
        [*COMMAND, "simulate", *options], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as simulator:
        assert simulator.stdout is not None
        url = simulator.stdout.readline().strip()
        assert url.endswith("/piwebapi")
        assert requests.get(f"{url}/dataservers", timeout=10).status_code == 401
        servers = requests.get(f"{url}/dataservers", auth=("me", "secret"), timeout=10).json()["Items"]
        points = requests.get(servers[0]["Links"]["Points"], auth=("me", "secret"), timeout=10).json()["Items"]
        assert len(points) == 7
        simulator.send_signal(stop)
        _, errors = simulator.communicate(timeout=30)
    assert simulator.returncode == 0
    assert errors == ""


def test_the_help_tells_every_exit_code() -> None:
    told = " ".join(pi_dagster("--help").stdout.split())
    for code, meaning in EXIT_CODES.items():
        assert f"{code} {meaning}" in told


def test_the_shell_completes_commands_and_kinds_of_login() -> None:
    def completed(*words: str) -> set[str]:
        line = {"COMP_WORDS": " ".join(("pi-dagster", *words)), "COMP_CWORD": str(len(words))}
        environment = {**os.environ, **line, "_PI_DAGSTER_COMPLETE": "complete_bash"}
        command = str(Path(sys.executable).with_name("pi-dagster"))
        return set(
            subprocess.run([command], env=environment, capture_output=True, text=True, check=False).stdout.split()
        )

    assert completed("ba") == {"backfill"}
    assert completed("init", "--login", "ker") == {"kerberos"}


def test_help_does_not_load_dagster() -> None:
    code = "import sys, pi_dagster.cli; assert not {'dagster', 'deltalake', 'pyarrow'} & set(sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("error", [RequestTimeoutError("no answer"), ServerTroubleError("busy", status=503)])
def test_a_server_in_trouble_is_no_mistake_of_the_user(error: Exception) -> None:
    assert not is_users_mistake(error)
    assert is_users_mistake(LoginRefusedError("wrong password"))
