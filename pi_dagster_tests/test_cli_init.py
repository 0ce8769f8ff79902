"""`pi-dagster init` as a person types at a terminal, and as a script calls it."""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Iterator
from pathlib import Path

import pexpect
import pytest
import yaml
from deltalake import DeltaTable
from dotenv import dotenv_values
from typer.testing import CliRunner, Result

from pi_dagster.cli import app
from pi_dagster.simulator import RunningSimulator, Simulator, SimulatorSettings
from pi_dagster.simulator.archive import Archive
from pi_dagster.simulator.generator import GeneratedBase

PASSWORD = r"c'orr\ect horse $5"
COMMAND = str(Path(sys.executable).with_name("pi-dagster"))


@pytest.fixture(scope="module")
def simulator() -> Iterator[RunningSimulator]:
    settings = SimulatorSettings(user="me", password=PASSWORD)
    with Simulator(archive=Archive(GeneratedBase(tags=40)), settings=settings).serve() as running:
        yield running


@pytest.fixture(autouse=True)
def clean_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("PI_PASSWORD", "PI_PASSWORD_FILE", "PI_DAGSTER_SITE", "DAGSTER_HOME"):
        monkeypatch.delenv(name, raising=False)


def init(*options: object) -> Result:
    return CliRunner().invoke(app, ["init", *map(str, options)])


def settings_in(folder: Path) -> dict[str, object]:
    return dict(yaml.safe_load((folder / "defs.yaml").read_text())["attributes"])


class Person:
    """Somebody at a terminal; everything that was on the screen is kept."""

    def __init__(self, *arguments: str, folder: Path) -> None:
        self.child = pexpect.spawn(
            COMMAND, list(arguments), cwd=str(folder), encoding="utf-8", timeout=400, dimensions=(50, 200)
        )
        self.screen = ""
        self.prompts = 0

    def answers(self, question: str, answer: str) -> None:
        self.child.expect_exact(question)
        self.screen += str(self.child.before) + question
        # A prompt ends in a colon; what is typed before it is shown would be lost by a hidden one.
        self.child.expect(r":\s")
        self.screen += str(self.child.before)
        self.child.sendline(answer)
        self.prompts += 1

    def interrupts(self) -> int:
        """Press Ctrl-C until it is over: one that comes just as Python begins to read a line is seen with the next."""
        for _ in range(20):
            self.child.sendintr()
            if self.child.expect([pexpect.EOF, pexpect.TIMEOUT], timeout=5) == 0:
                return self._exit_code()
        raise AssertionError(f"Ctrl-C does not end it: {self.child.before}")

    def sees_the_end(self) -> int:
        self.child.expect(pexpect.EOF)
        return self._exit_code()

    def _exit_code(self) -> int:
        self.screen += str(self.child.before)
        self.child.close()
        return int(self.child.exitstatus or 0)


def test_a_person_gets_from_nothing_to_first_rows(simulator: RunningSimulator, tmp_path: Path) -> None:
    person = Person("init", "plant1", folder=tmp_path)
    person.answers("PI Web API", simulator.url)
    person.answers("Login", "")
    person.answers("User name", "me")
    person.answers("Password", PASSWORD)
    person.answers("Tags", "boilers=BLR*, others=*")
    person.answers("Lake", "")
    person.answers("First day", "")
    assert person.sees_the_end() == 0, person.screen
    assert "All is well." in person.screen
    assert PASSWORD not in person.screen
    site = tmp_path / "plant1"
    assert all(PASSWORD not in (site / name).read_text() for name in ("defs.yaml", ".env.example"))
    assert dotenv_values(site / ".env")["PI_PASSWORD"] == PASSWORD
    assert stat.S_IMODE((site / ".env").stat().st_mode) == 0o600
    assert person.prompts == 7

    load = Person("backfill", folder=site)
    assert load.sees_the_end() == 0, load.screen
    assert DeltaTable(str(site / "lake" / "pi_timeseries")).to_pyarrow_table().num_rows > 0
    assert (site / ".dagster_home" / "storage").is_dir() or (site / ".dagster_home" / "history").is_dir()


def test_a_wrong_answer_is_explained_and_asked_again(simulator: RunningSimulator, tmp_path: Path) -> None:
    person = Person("init", "--lake", "lake", "--start-date", "2026-01-01", "--no-check", folder=tmp_path)
    person.answers("PI Web API", "pi.example.com")
    person.child.expect_exact("is not a URL; write it like https://pi.example.com/piwebapi")
    person.answers("PI Web API", simulator.url)
    person.answers("Login", "windows")
    person.child.expect_exact("there is no login kind 'windows'; known are basic, kerberos")
    person.answers("Login", "ntlm")
    person.answers("User name", "")
    person.answers("User name", r"PLANT\svc")
    person.answers("Password", "")
    person.answers("Tags", "my pumps=PMP*")
    person.child.expect_exact("use only letters A to Z")
    person.answers("Tags", "PMP*")
    assert person.sees_the_end() == 0, person.screen
    assert "Put PI_PASSWORD into .env" in person.screen
    assert settings_in(tmp_path)["tag_groups"] == [{"name": "pmp", "tag_filter": "PMP*"}]


def test_ctrl_c_writes_nothing(tmp_path: Path) -> None:
    person = Person("init", folder=tmp_path)
    person.child.expect_exact("PI Web API")
    assert person.interrupts() == 130
    assert list(tmp_path.iterdir()) == []


def test_a_script_is_asked_nothing_and_gets_the_defaults(
    simulator: RunningSimulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PI_PASSWORD", PASSWORD)
    result = init("plant1", "--url", simulator.url, "--username", "me", "--yes", "--no-assets")
    assert result.exit_code == 0, result.output
    site = settings_in(tmp_path / "plant1")
    assert site["name"] == "plant1"
    assert site["lake"] == {"uri": str(tmp_path / "plant1" / "lake")}
    assert site["tag_groups"] == [{"name": "all", "tag_filter": "*"}]
    assert site["asset_framework"] is None
    assert "PI_PASSWORD=\n" in (tmp_path / "plant1" / ".env.example").read_text()
    # It is in the environment, and what is there already is not written down.
    assert dotenv_values(tmp_path / "plant1" / ".env") == {"PI_DAGSTER_SITE": "defs.yaml"}


def test_a_site_that_is_there_stays_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "defs.yaml").write_text("mine")
    result = init("--url", "http://127.0.0.1:1/piwebapi", "--yes")
    assert result.exit_code == 2
    assert "Error: there is a site already, defs.yaml, and it stays as it is." in result.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["defs.yaml"]


def test_other_files_that_are_there_stay_as_they_are(simulator: RunningSimulator, tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("MINE=1\n")
    (tmp_path / "dagster.yaml").write_text("telemetry: {enabled: false}\n")
    result = init("--url", simulator.url, "--login", "anonymous", "--yes", "--no-check")
    assert result.exit_code == 0, result.output
    assert (tmp_path / ".env").read_text() == "MINE=1\n"
    assert "these were there and stay as they are: .env, dagster.yaml" in result.stderr
    assert "put the line PI_DAGSTER_SITE=defs.yaml into .env" in result.stderr


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ([], "Invalid value for --url: is missing, and nobody can be asked"),
        (["--url", "ftp://pi/piwebapi"], "Invalid value for --url: "),
        (["--url", "http://127.0.0.1:1/piwebapi", "--login", "anonymous", "--lake", "s3:/b/pi"], "write `://` after"),
        (["--url", "https://pi.example.com/piwebapi"], "Invalid value for --username: is missing"),
        (["--url", "https://pi.example.com/piwebapi", "--login", "magic"], "there is no login kind 'magic'"),
        (
            ["--url", "https://pi.example.com/piwebapi", "--username", "me", "--secret-env", "correct horse"],
            "is the name of an environment variable, not the secret",
        ),
    ],
)
def test_what_an_option_cannot_be_is_told_with_its_name(tmp_path: Path, options: list[str], said: str) -> None:
    result = init(*options, "--yes")
    assert result.exit_code == 2
    assert said in " ".join(result.stderr.split())
    assert list(tmp_path.iterdir()) == []


def test_a_check_that_fails_says_what_to_put_right(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PI_PASSWORD", "secret")
    result = init("--url", "http://127.0.0.1:1/piwebapi", "--username", "me", "--yes")
    assert result.exit_code == 2
    assert "Error: No answer from http://127.0.0.1:1/piwebapi" in result.stderr
    assert "pi-dagster check   # once defs.yaml, or the secret in .env, is put right" in result.stdout
    assert os.environ["PI_PASSWORD"] == "secret"
