"""What a user gets wrong is told in one paragraph on stderr, without a stack trace, with exit code 2."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pytest
from deltalake import write_deltalake
from typer.testing import CliRunner, Result

from pi_dagster.cli import app
from pi_dagster.simulator import Fault, FaultKind, RunningSimulator, Simulator, SimulatorSettings
from pi_dagster.simulator.archive import Archive
from pi_dagster.simulator.generator import GeneratedBase

PASSWORD = "correct horse"

SITE = """\
type: pi_dagster.components.PISystemComponent
attributes:
  server:
    url: {url}
    login: {{kind: basic, username: me, password_env: PI_PASSWORD}}
  lake:
    uri: {lake}
  start_date: 2026-01-01
  tag_groups:
    - name: boilers
      tag_filter: BLR*
    - name: others
      tag_filter: "*"
"""


@pytest.fixture(scope="module")
def simulator() -> Iterator[RunningSimulator]:
    settings = SimulatorSettings(user="me", password=PASSWORD)
    with Simulator(archive=Archive(GeneratedBase(tags=40)), settings=settings).serve() as running:
        yield running


@pytest.fixture
def site_file(simulator: RunningSimulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A site without a mistake."""
    monkeypatch.setenv("PI_PASSWORD", PASSWORD)
    path = tmp_path / "defs.yaml"
    path.write_text(SITE.format(url=simulator.url, lake=tmp_path / "lake"))
    return path


def change(site_file: Path, old: str, new: str) -> None:
    text = site_file.read_text()
    assert old in text
    site_file.write_text(text.replace(old, new))


def pi_dagster(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def refusal(*arguments: object) -> str:
    """The one paragraph with which the command refuses."""
    result = pi_dagster(*arguments)
    return paragraph(result.exit_code, result.stdout, result.stderr)


def refusal_of_a_process(*arguments: object) -> str:
    """The same for a command that takes over the process's signals before it refuses."""
    command = [sys.executable, "-c", "from pi_dagster.cli import main; main()", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return paragraph(done.returncode, done.stdout, done.stderr)


def paragraph(exit_code: int, output: str, errors: str) -> str:
    assert exit_code == 2, output + errors
    assert "Traceback" not in output + errors
    assert PASSWORD not in output + errors
    paragraphs = [line for line in errors.splitlines() if not line.startswith("Note: ")]
    assert len(paragraphs) == 1
    return paragraphs[0]


def unused_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_a_site_without_mistakes_is_not_refused(site_file: Path) -> None:
    result = pi_dagster("check", "--site", site_file)
    assert result.exit_code == 0, result.output


@pytest.mark.parametrize("command", ["check", "tags"])
def test_a_host_that_does_not_answer(site_file: Path, simulator: RunningSimulator, command: str) -> None:
    nobody = f"http://127.0.0.1:{unused_port()}/piwebapi"
    change(site_file, simulator.url, nobody)
    told = refusal(command, "--site", site_file)
    assert told.startswith(f"Error: No answer from {nobody}")
    assert "Check that the host name and port are right" in told


@pytest.mark.parametrize("command", ["check", "tags"])
def test_a_wrong_password(site_file: Path, monkeypatch: pytest.MonkeyPatch, command: str) -> None:
    monkeypatch.setenv("PI_PASSWORD", "battery staple")
    told = refusal(command, "--site", site_file)
    assert "refused the login (401" in told
    assert "Check the user name and the password" in told
    assert "battery staple" not in told


def test_a_password_that_is_not_set(site_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PI_PASSWORD")
    assert refusal("check", "--site", site_file).startswith("Error: The environment variable PI_PASSWORD is not set.")


def test_a_url_without_piwebapi(site_file: Path) -> None:
    change(site_file, "/piwebapi", "/")
    assert f"{site_file}:4:5: setting `server.url`" in refusal("check", "--site", site_file)


def test_a_typo_is_told_with_line_and_column(site_file: Path) -> None:
    change(site_file, "tag_filter: BLR*", "tag_filtre: BLR*")
    told = refusal("check", "--site", site_file)
    assert f"{site_file}:11:7: there is no setting `tag_groups[0].tag_filtre`; did you mean `tag_filter`?" in told


def test_two_groups_with_one_name(site_file: Path) -> None:
    change(site_file, "name: others", "name: boilers")
    assert "two tag groups are named 'boilers'" in refusal("check", "--site", site_file)


@pytest.mark.parametrize("command", ["check", "tags"])
def test_a_group_that_matches_no_tag(site_file: Path, command: str) -> None:
    change(site_file, "tag_filter: BLR*", "tag_filter: BOILER*")
    told = refusal(command, "--site", site_file)
    assert "The tag group 'boilers' (`tag_filter: BOILER*`) matches no tag" in told


def test_a_group_whose_tags_an_earlier_one_takes(site_file: Path) -> None:
    change(site_file, "tag_filter: BLR*", 'tag_filter: "*"')
    told = refusal("check", "--site", site_file)
    assert "The tag group 'others' gets no tag: all 40 that it matches belong to groups before it (boilers)" in told


def test_a_tag_that_the_server_does_not_list(site_file: Path) -> None:
    change(site_file, "tag_filter: BLR*", "tags: [BLR01.FLAME, BLR99.FLAME]")
    told = refusal("tags", "--site", site_file)
    assert "The tag group 'boilers' names tags that the server does not list: BLR99.FLAME." in told


def test_a_start_date_in_the_future(site_file: Path) -> None:
    change(site_file, "2026-01-01", "2126-01-01")
    assert "start_date 2126-01-01 is in the future" in refusal("check", "--site", site_file)


def test_a_lake_that_cannot_be_written(site_file: Path, tmp_path: Path) -> None:
    (tmp_path / "lake").write_text("a file where the folder should be")
    assert f"Error: The lake {tmp_path / 'lake'} cannot be written" in refusal("check", "--site", site_file)


def test_a_table_of_somebody_else(site_file: Path, tmp_path: Path) -> None:
    write_deltalake(str(tmp_path / "lake" / "pi_timeseries"), pa.table({"tag": ["a"]}))
    told = refusal("check", "--site", site_file)
    assert f"The Delta table {tmp_path / 'lake' / 'pi_timeseries'} is not a pi_timeseries table of pi_dagster" in told


def test_a_limit_above_that_of_the_server(site_file: Path) -> None:
    change(site_file, "  lake:", "    max_items_per_call: 200000\n  lake:")
    told = refusal("check", "--site", site_file)
    assert "is greater than the maximum allowed (150000)" in told
    assert "Set `server.max_items_per_call` to the server's limit" in told


def test_a_site_file_that_is_not_there(tmp_path: Path) -> None:
    assert "nowhere.yaml cannot be read" in refusal("check", "--site", tmp_path / "nowhere.yaml")


def test_two_mistakes_are_told_at_once(site_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PI_PASSWORD", "battery staple")
    (tmp_path / "lake").write_text("a file where the folder should be")
    result = pi_dagster("check", "--site", site_file)
    assert result.exit_code == 2
    assert "refused the login" in result.stderr
    assert "cannot be written" in result.stderr


def test_a_server_in_trouble_is_not_the_users_mistake(site_file: Path, simulator: RunningSimulator) -> None:
    fault = simulator.faults.add(Fault(kind=FaultKind.STATUS, status=503))
    result = pi_dagster("tags", "--site", site_file)
    simulator.faults.clear(fault)
    assert result.exit_code == 1, result.output
    assert "503" in result.stderr
    assert "Traceback" not in result.output


def test_a_demo_into_a_lake_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "lake").write_text("a file where the folder should be")
    assert "cannot be written" in refusal_of_a_process("demo", "--lake", tmp_path / "lake")


def test_a_demo_into_a_lake_that_cannot_be_written_names_the_option_and_no_setting(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    told = refusal_of_a_process("demo", "--lake", tmp_path / "file" / "lake")
    assert "--lake" in told
    assert "lake.uri" not in told


@pytest.mark.parametrize("lake", ["s3://bucket/pi", "file:///data/pi"])
def test_a_demo_into_an_object_store(lake: str) -> None:
    result = pi_dagster("demo", "--lake", lake)
    assert result.exit_code == 2
    assert f"Invalid value for --lake: {lake} is not a folder of this machine" in " ".join(result.stderr.split())


@pytest.mark.parametrize("command", ["demo", "simulate"])
def test_a_data_folder_that_is_not_there(tmp_path: Path, command: str) -> None:
    assert f"there is no folder {tmp_path / 'nope'}." in refusal_of_a_process(command, "--data", tmp_path / "nope")


def test_a_port_that_does_not_exist_is_told_with_its_own_option() -> None:
    result = pi_dagster("simulate", "--port", "0", "--admin-port", "99999")
    assert result.exit_code == 2
    assert "'--admin-port'" in result.stderr


def test_an_admin_port_that_is_taken(simulator: RunningSimulator) -> None:
    port = simulator.url.split(":")[2].split("/")[0]
    told = refusal_of_a_process("simulate", "--port", "0", "--admin-port", port)
    assert f"Error: port {port} cannot be served on" in told
    assert "Choose another with --admin-port" in told


def test_a_demo_of_a_folder_without_data(tmp_path: Path) -> None:
    assert f"no CSV files in subfolders of {tmp_path}" in refusal_of_a_process("demo", "--data", tmp_path)


def test_a_simulator_on_a_port_that_is_taken(simulator: RunningSimulator) -> None:
    port = simulator.url.split(":")[2].split("/")[0]
    assert f"Error: port {port} cannot be served on" in refusal_of_a_process("simulate", "--port", port)
