"""Basic logins, and the rule for all kinds: a login is tried by one request alone, and never again once refused."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import ValidationError

from pi_dagster.piwebapi.auth import LoginGate, RefusalMemory
from pi_dagster.piwebapi.auth.basic import AnonymousAuthentication
from pi_dagster.piwebapi.errors import ConnectionFailedError, LoginRefusedError
from pi_dagster.simulator import RunningSimulator
from pi_dagster.simulator.auth import BasicMethod
from pi_dagster.site import BasicLogin, ServerSettings
from pi_dagster_tests.logged_in_plant import LATE, ask, ask_at_once, check, checked_user, load_a_day, plant, server

LOGIN = {"kind": "basic", "username": "PLANT\\svc", "password_env": "PI_TEST_PASSWORD"}


@pytest.fixture(scope="module")
def running() -> Iterator[RunningSimulator]:
    with plant(BasicMethod("PLANT\\svc", "geheim-Ω")) as running:
        yield running


@pytest.fixture(autouse=True)
def _password(monkeypatch: pytest.MonkeyPatch, running: RunningSimulator) -> None:
    monkeypatch.setenv("PI_TEST_PASSWORD", "geheim-Ω")
    running.requests.clear()


def test_a_day_is_loaded_with_an_account_of_a_domain(running: RunningSimulator, tmp_path: Path) -> None:
    load_a_day(running, server(running, **LOGIN), tmp_path)


def test_a_day_is_loaded_without_a_login_where_the_server_asks_for_none(tmp_path: Path) -> None:
    with plant() as running:
        load_a_day(running, server(running, kind="anonymous"), tmp_path)


def test_check_says_whom_the_server_takes_us_for(running: RunningSimulator, tmp_path: Path) -> None:
    assert checked_user(check(running, tmp_path, **LOGIN)) == "PLANT\\svc"


def test_a_wrong_password_is_sent_once_by_eight_requests_that_begin_together(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PI_TEST_PASSWORD", "wrong-one")
    with plant(BasicMethod("PLANT\\svc", "geheim-Ω"), latency_seconds=LATE) as running:
        failures = ask_at_once(server(running, **LOGIN))
        assert all(isinstance(failure, LoginRefusedError) for failure in failures)
        assert running.requests.total == 1


def test_the_refusal_names_the_account_and_the_variable(
    running: RunningSimulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PI_TEST_PASSWORD", "wrong-one")
    with pytest.raises(LoginRefusedError, match=r"PLANT\\svc.*PI_TEST_PASSWORD.*locked") as caught:
        ask(server(running, **LOGIN))
    assert "wrong-one" not in str(caught.value)


def test_a_site_without_a_login_is_told_to_have_one(running: RunningSimulator) -> None:
    with pytest.raises(LoginRefusedError, match=r"has no login: set `server\.login`.*accepts: Basic\."):
        ask(server(running, kind="anonymous"))


def test_a_kind_that_the_server_does_not_take_is_named(
    running: RunningSimulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PI_TEST_TOKEN", "a-token")
    with pytest.raises(LoginRefusedError, match=r"takes no Bearer login.*accepts: Basic\."):
        ask(server(running, kind="bearer", token_env="PI_TEST_TOKEN"))


def test_a_name_with_a_colon_is_refused_when_the_site_is_loaded() -> None:
    with pytest.raises(ValidationError, match="first colon"):
        BasicLogin(username="a:b", password_env="PI_TEST_PASSWORD")


def test_the_password_may_be_in_a_file_that_the_environment_names(
    running: RunningSimulator, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "password").write_text("geheim-Ω\n")
    monkeypatch.delenv("PI_TEST_PASSWORD")
    monkeypatch.setenv("PI_TEST_PASSWORD_FILE", str(tmp_path / "password"))
    ask(server(running, **LOGIN))


def closed_gate() -> LoginGate:
    settings = ServerSettings(url="https://pi.example.com/piwebapi")
    return LoginGate(RefusalMemory(settings, AnonymousAuthentication()), is_open=False)


def test_all_pass_the_gate_at_once_when_the_login_was_accepted() -> None:
    gate = closed_gate()
    with gate.turn():
        gate.open()
        both = threading.Barrier(2, timeout=10)

        def pass_it() -> None:
            with gate.turn():
                both.wait()

        threads = [threading.Thread(target=pass_it) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert not both.broken


def test_who_waits_at_the_gate_sends_nothing_when_the_connection_is_closed() -> None:
    gate = closed_gate()
    failures: list[Exception] = []

    def wait() -> None:
        try:
            with gate.turn():
                failures.append(AssertionError("was let through"))
        except ConnectionFailedError as error:
            failures.append(error)

    with gate.turn():
        thread = threading.Thread(target=wait)
        thread.start()
        gate.close()
        thread.join(timeout=10)
    assert [type(failure) for failure in failures] == [ConnectionFailedError]
