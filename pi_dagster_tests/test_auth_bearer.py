"""Bearer tokens from the environment or a file: read anew, and an expired one is called so."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import pytest
from pydantic import ValidationError

from pi_dagster.piwebapi.auth.bearer import expiry_of
from pi_dagster.piwebapi.errors import LoginRefusedError
from pi_dagster.piwebapi.transport import Transport
from pi_dagster.simulator import RunningSimulator
from pi_dagster.simulator.auth_bearer import BearerMethod, TokenIssuer
from pi_dagster.site import BearerLogin, SecretMissingError
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


@pytest.fixture(scope="module")
def issuer() -> TokenIssuer:
    return TokenIssuer({})


@pytest.fixture(scope="module")
def running(issuer: TokenIssuer) -> Iterator[RunningSimulator]:
    with plant(BearerMethod(issuer)) as running:
        yield running


@pytest.fixture
def token_file(issuer: TokenIssuer, tmp_path: Path) -> Path:
    path = tmp_path / "token"
    path.write_text(issuer.token("dagster") + "\n")
    return path


def test_a_day_is_loaded_with_a_token_of_the_environment(
    running: RunningSimulator, issuer: TokenIssuer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PI_TEST_TOKEN", issuer.token("dagster"))
    load_a_day(running, server(running, kind="bearer", token_env="PI_TEST_TOKEN"), tmp_path)


def test_check_works_with_a_token_file(running: RunningSimulator, token_file: Path, tmp_path: Path) -> None:
    assert checked_user(check(running, tmp_path, kind="bearer", token_file=str(token_file))) == "dagster"


def test_a_token_that_is_replaced_in_its_file_is_used_at_once(
    running: RunningSimulator, issuer: TokenIssuer, token_file: Path
) -> None:
    with Transport(server(running, kind="bearer", token_file=str(token_file)), retry=QUICK) as transport:
        transport.get("system/status", [], bytes)
        issuer.revoke_all()
        token_file.write_text(issuer.token("dagster"))
        transport.get("system/status", [], bytes)


def test_a_file_that_is_empty_for_a_moment_changes_nothing(running: RunningSimulator, token_file: Path) -> None:
    with Transport(server(running, kind="bearer", token_file=str(token_file)), retry=QUICK) as transport:
        token_file.write_text("")
        transport.get("system/status", [], bytes)


def test_an_expired_token_is_called_so_with_its_end(
    running: RunningSimulator, issuer: TokenIssuer, token_file: Path
) -> None:
    token_file.write_text(token := issuer.token("dagster", lifetime_seconds=-60))
    ended = f"{expiry_of(token):%Y-%m-%d %H:%M}"
    with pytest.raises(LoginRefusedError, match=rf"token is expired.*{token_file}.*expired at {ended}.*kind: oidc"):
        ask(server(running, kind="bearer", token_file=str(token_file)))


def test_a_refused_token_is_sent_once(issuer: TokenIssuer, token_file: Path) -> None:
    token_file.write_text("nobody-knows-it")
    with plant(BearerMethod(issuer), latency_seconds=LATE) as running:
        failures = ask_at_once(server(running, kind="bearer", token_file=str(token_file)))
        assert all(isinstance(failure, LoginRefusedError) for failure in failures)
        assert running.requests.total == 1


@pytest.mark.parametrize(("content", "told"), [(None, "cannot be read"), ("", "is empty"), ("ä", "ASCII")])
def test_a_token_file_without_a_token_is_named(
    running: RunningSimulator, tmp_path: Path, content: str | None, told: str
) -> None:
    path = tmp_path / "token"
    if content is not None:
        path.write_text(content, encoding="utf-8")
    with pytest.raises(SecretMissingError, match=rf"server\.login\.token_file.*{path}.*{told}"):
        ask(server(running, kind="bearer", token_file=str(path)))


@pytest.mark.parametrize("given", [{}, {"token_env": "A", "token_file": "b"}])
def test_a_bearer_login_has_one_source(given: dict[str, str]) -> None:
    with pytest.raises(ValidationError, match="needs one of `token_env` and `token_file`"):
        BearerLogin(**given)


@pytest.mark.parametrize("token", ["", "opaque", "a.b.c", "a.e30.c", "a.eyJleHAiOiAxZTk5OX0.c", "a.W10.c"])
def test_a_token_that_tells_no_end_has_none(token: str) -> None:
    assert expiry_of(token) is None


def test_the_end_of_a_token_is_read_from_it(issuer: TokenIssuer) -> None:
    assert isinstance(expiry_of(issuer.token("dagster")), datetime)
