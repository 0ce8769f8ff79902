"""NTLM: connections are logged in, requests that go on at once do not mix, and a wrong password is tried once."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest

from pi_dagster.piwebapi import objects
from pi_dagster.piwebapi.errors import AnswerTooLargeError, LoginRefusedError
from pi_dagster.piwebapi.transport import Transport
from pi_dagster.simulator import RunningSimulator
from pi_dagster.simulator.auth_ntlm import NtlmMethod
from pi_dagster.site import ServerSettings
from pi_dagster_tests.logged_in_plant import (
    LATE,
    QUICK,
    ask,
    ask_at_once,
    check,
    checked_user,
    load_a_day,
    plant,
    server,
)
from pi_dagster_tests.test_piwebapi_transport import Script, answer, serving

LOGIN = {"kind": "ntlm", "username": "PLANT\\svc", "password_env": "PI_TEST_PASSWORD"}


@pytest.fixture(scope="module")
def accounts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("ntlm") / "accounts"
    path.write_text("PLANT:svc:right-one\nPLANT:other:another-one\n")
    return path


@pytest.fixture(scope="module")
def method(accounts: Path) -> NtlmMethod:
    return NtlmMethod(accounts)


@pytest.fixture(scope="module")
def running(method: NtlmMethod) -> Iterator[RunningSimulator]:
    with plant(method) as running:
        yield running


@pytest.fixture(autouse=True)
def _password(monkeypatch: pytest.MonkeyPatch, method: NtlmMethod) -> None:
    monkeypatch.setenv("PI_TEST_PASSWORD", "right-one")
    method.passwords_tried = 0


def test_a_day_is_loaded_with_one_login_for_each_connection(
    running: RunningSimulator, method: NtlmMethod, tmp_path: Path
) -> None:
    load_a_day(running, server(running, **LOGIN), tmp_path)
    assert 1 <= method.passwords_tried <= 8


def test_a_day_is_loaded_where_the_server_calls_it_negotiate_and_wants_it_for_each_request(
    accounts: Path, tmp_path: Path
) -> None:
    method = NtlmMethod(accounts, scheme="Negotiate", keeps_connections=False)
    with plant(method) as running:
        load_a_day(running, server(running, **LOGIN), tmp_path)
    assert method.passwords_tried > 8


def test_a_batch_is_sent_with_its_body(running: RunningSimulator) -> None:
    with Transport(server(running, **LOGIN), retry=QUICK) as transport:
        answer = transport.batch([("1", "system/status", [])], bytes)
    assert b"State" in answer


def test_check_says_whom_the_server_takes_us_for(running: RunningSimulator, tmp_path: Path) -> None:
    assert checked_user(check(running, tmp_path, **LOGIN)) == "PLANT\\svc"


def test_eight_requests_at_once_of_two_accounts_are_not_mixed(
    running: RunningSimulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PI_TEST_OTHER_PASSWORD", "another-one")
    other = {**LOGIN, "username": "PLANT\\other", "password_env": "PI_TEST_OTHER_PASSWORD"}
    with (
        Transport(server(running, **LOGIN), retry=QUICK) as one,
        Transport(server(running, **other), retry=QUICK) as two,
        ThreadPoolExecutor(8) as pool,
    ):
        told = [user.name for user in pool.map(objects.user_info, [one, two] * 50)]
    assert told == ["PLANT\\svc", "PLANT\\other"] * 50


def test_a_wrong_password_is_tried_once_by_eight_requests_that_begin_together(
    method: NtlmMethod, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PI_TEST_PASSWORD", "wrong-one")
    with plant(method, latency_seconds=LATE) as running:
        failures = ask_at_once(server(running, **LOGIN))
    assert method.passwords_tried == 1
    for failure in failures:
        assert isinstance(failure, LoginRefusedError)
        assert "PLANT\\svc" in str(failure)
        assert "PI_TEST_PASSWORD" in str(failure)
        assert "locked" in str(failure)


def test_a_server_without_ntlm_is_told_plainly() -> None:
    with (
        plant(user="me", password="secret") as running,
        pytest.raises(LoginRefusedError, match=r"takes no NTLM login.*accepts: Basic\."),
    ):
        ask(server(running, **LOGIN))


def test_a_server_that_only_pretends_to_speak_ntlm_gets_no_password() -> None:
    offer = answer(401, b"", WWW_Authenticate="NTLM")
    nonsense = answer(401, b"", WWW_Authenticate="NTLM bm9uc2Vuc2U=")
    script = Script(offer, nonsense)
    with serving(script) as url, pytest.raises(LoginRefusedError, match="does not speak NTLM as it should"):
        ask(ServerSettings(url=url, login=LOGIN))
    assert len(script.requests) == 2


def test_a_refusal_without_an_end_is_not_read_to_its_end() -> None:
    def endless(request: BaseHTTPRequestHandler) -> None:
        request.send_response(401)
        request.send_header("WWW-Authenticate", "NTLM")
        request.send_header("Content-Length", str(1 << 40))
        request.end_headers()
        with suppress(OSError):
            while True:
                request.wfile.write(bytes(1 << 20))

    with serving(Script(endless)) as url, pytest.raises(AnswerTooLargeError, match="has no end"):
        ask(ServerSettings(url=url, login=LOGIN))


def test_without_its_library_the_error_says_what_to_install(
    running: RunningSimulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "spnego", None)
    monkeypatch.delitem(sys.modules, "pi_dagster.piwebapi.auth.ntlm", raising=False)
    with pytest.raises(LoginRefusedError, match=r"pip install 'pi-dagster\[ntlm\]'"):
        ask(server(running, **LOGIN))
