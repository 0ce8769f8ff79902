"""A refused password is not tried again by the next run, and a corrected one is tried at once."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest

from pi_dagster.piwebapi.auth import refusal_memory
from pi_dagster.piwebapi.errors import LoginRefusedError, RequestRefusedError
from pi_dagster.piwebapi.transport import Transport
from pi_dagster.simulator import Fault, FaultKind, RunningSimulator
from pi_dagster.simulator.auth import BasicMethod
from pi_dagster_tests.logged_in_plant import QUICK, ask, check, checked_user, plant, server

LOGIN = {"kind": "basic", "username": "PLANT\\svc", "password_env": "PI_TEST_PASSWORD"}


@pytest.fixture
def running() -> Iterator[RunningSimulator]:
    with plant(BasicMethod("PLANT\\svc", "right-one")) as running:
        yield running


@pytest.fixture
def folder() -> Path:
    return Path(os.environ["XDG_STATE_HOME"]) / "pi_dagster"


@pytest.fixture
def message(running: RunningSimulator, monkeypatch: pytest.MonkeyPatch) -> str:
    """What the run says whose wrong password was refused."""
    monkeypatch.setenv("PI_TEST_PASSWORD", "wrong-one")
    with pytest.raises(LoginRefusedError) as caught:
        ask(server(running, **LOGIN))
    assert running.requests.total == 1
    return str(caught.value)


def ask_in_a_process_of_its_own(running: RunningSimulator) -> str:
    """What a run says."""
    program = (
        "from pi_dagster.piwebapi.transport import Transport; from pi_dagster.site import ServerSettings\n"
        f"Transport(ServerSettings(url={running.url!r}, login={LOGIN!r})).get('system/status', [], bytes)"
    )
    return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False).stderr


def test_the_next_run_sends_nothing_and_says_why(running: RunningSimulator, message: str) -> None:
    told = ask_in_a_process_of_its_own(running)
    assert "PLANT\\svc and the one in the environment variable PI_TEST_PASSWORD" in told
    assert "nothing was sent this time" in told
    assert "`pi-dagster check` tries it at once" in message
    assert running.requests.total == 1


def test_a_corrected_password_is_tried_at_once(
    running: RunningSimulator, message: str, monkeypatch: pytest.MonkeyPatch, folder: Path
) -> None:
    monkeypatch.setenv("PI_TEST_PASSWORD", "right-one")
    ask(server(running, **LOGIN))
    assert not list(folder.iterdir()), "what was accepted is forgotten"


def test_another_wrong_password_is_tried_once_too(
    running: RunningSimulator, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PI_TEST_PASSWORD", "another-wrong-one")
    for _ in range(3):
        with pytest.raises(LoginRefusedError):
            ask(server(running, **LOGIN))
    assert running.requests.total == 2


def test_another_account_is_not_held_up(running: RunningSimulator, message: str) -> None:
    with pytest.raises(LoginRefusedError, match=r"PLANT\\other"):
        ask(server(running, **{**LOGIN, "username": "PLANT\\other"}))
    assert running.requests.total == 2


def test_after_an_hour_it_is_tried_once_more(
    running: RunningSimulator, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    later = datetime.now(timezone.utc) + timedelta(minutes=61)
    monkeypatch.setattr(refusal_memory, "_now", lambda: later)
    for _ in range(3):
        with pytest.raises(LoginRefusedError):
            ask(server(running, **LOGIN))
    assert running.requests.total == 2


def test_a_clock_that_is_set_back_holds_nothing_up(
    running: RunningSimulator, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    earlier = datetime.now(timezone.utc) - timedelta(days=365)
    monkeypatch.setattr(refusal_memory, "_now", lambda: earlier)
    with pytest.raises(LoginRefusedError):
        ask(server(running, **LOGIN))
    assert running.requests.total == 2


def test_a_check_by_hand_tries_it_at_once_as_after_an_account_was_unlocked(
    running: RunningSimulator, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PI_TEST_PASSWORD", "right-one")
    locked = running.faults.add(Fault(kind=FaultKind.STATUS, status=401))
    assert check(running, tmp_path, **LOGIN).exit_code != 0
    running.faults.clear(locked)
    with pytest.raises(LoginRefusedError, match="nothing was sent"):
        ask(server(running, **LOGIN))
    assert checked_user(check(running, tmp_path, **LOGIN)) == "PLANT\\svc"
    ask(server(running, **LOGIN))


def test_the_password_is_not_in_the_file_and_the_file_is_for_its_user_only(message: str, folder: Path) -> None:
    (file,) = folder.iterdir()
    assert "wrong-one" not in file.read_text()
    assert folder.stat().st_mode & 0o777 == 0o700
    assert file.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("content", [b"", b"[]", b"\x00\xff", b'{"salt":"!"}'])
def test_a_file_that_holds_something_else_holds_nothing_up(
    running: RunningSimulator, message: str, folder: Path, content: bytes
) -> None:
    (file,) = folder.iterdir()
    file.write_bytes(content)
    with pytest.raises(LoginRefusedError):
        ask(server(running, **LOGIN))
    assert running.requests.total == 2


def test_where_nothing_can_be_noted_the_error_says_that_the_next_run_tries_it(
    running: RunningSimulator, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "file"))
    monkeypatch.setenv("PI_TEST_PASSWORD", "wrong-one")
    for tries in (1, 2):
        with pytest.raises(LoginRefusedError, match=r"next run will send it again.*XDG_STATE_HOME"):
            ask(server(running, **LOGIN))
        assert running.requests.total == tries


def test_a_refusal_in_the_middle_of_a_run_does_not_hold_up_the_next(
    running: RunningSimulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One of several servers behind a name may refuse what the others take."""
    monkeypatch.setenv("PI_TEST_PASSWORD", "right-one")
    settings = server(running, **LOGIN)
    with Transport(settings, retry=QUICK) as transport:
        transport.get("system/status", [], bytes)
        fault = running.faults.add(Fault(kind=FaultKind.STATUS, status=401))
        with pytest.raises(LoginRefusedError):
            transport.get("system/status", [], bytes)
        running.faults.clear(fault)
    ask(settings)


def test_what_is_forbidden_is_no_wrong_password(
    running: RunningSimulator, monkeypatch: pytest.MonkeyPatch, folder: Path
) -> None:
    monkeypatch.setenv("PI_TEST_PASSWORD", "right-one")
    running.faults.add(Fault(kind=FaultKind.STATUS, status=403))
    with pytest.raises(RequestRefusedError):
        ask(server(running, **LOGIN))
    assert not folder.exists()
