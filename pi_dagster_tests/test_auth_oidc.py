"""OpenID Connect client credentials: renewed in time, fetched once for all threads, and bad answers told apart."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from starlette.responses import JSONResponse, PlainTextResponse, Response

from pi_dagster.piwebapi.errors import BrokenAnswerError, LoginRefusedError, PIWebAPIError, ServerTroubleError
from pi_dagster.piwebapi.transport import Transport
from pi_dagster.simulator import RunningSimulator
from pi_dagster.simulator.auth_bearer import TOKEN_PATH, BearerMethod, TokenIssuer
from pi_dagster_tests.logged_in_plant import QUICK, ask, ask_at_once, check, checked_user, load_a_day, plant, server

LOGIN = {"kind": "oidc", "client_id": "dag ster", "client_secret_env": "PI_TEST_SECRET"}
SECRET = "s3cret:+%/ß"


def new_issuer(**behaviour: object) -> TokenIssuer:
    return TokenIssuer({"dag ster": SECRET}, **behaviour)  # type: ignore[arg-type]


@pytest.fixture
def issuer() -> TokenIssuer:
    return new_issuer()


@pytest.fixture
def running(issuer: TokenIssuer) -> Iterator[RunningSimulator]:
    with plant(BearerMethod(issuer)) as running:
        yield running


@pytest.fixture(autouse=True)
def _secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PI_TEST_SECRET", SECRET)


def test_a_day_is_loaded_with_one_token(running: RunningSimulator, issuer: TokenIssuer, tmp_path: Path) -> None:
    load_a_day(running, server(running, **LOGIN), tmp_path)
    assert issuer.issued == 1


def test_check_works(running: RunningSimulator, tmp_path: Path) -> None:
    assert checked_user(check(running, tmp_path, **LOGIN)) == "dag ster"


def test_a_load_outlives_its_tokens(tmp_path: Path) -> None:
    """Some of them expire on the way to a server that is slow to look at them."""
    issuer = new_issuer(lifetime_seconds=2)
    with plant(BearerMethod(issuer), latency_seconds=0.6) as running:
        load_a_day(running, server(running, **LOGIN), tmp_path)
    assert issuer.issued >= 2


def test_eight_requests_at_once_fetch_one_token(running: RunningSimulator, issuer: TokenIssuer) -> None:
    assert ask_at_once(server(running, **LOGIN)) == [None] * 8
    assert issuer.issued == 1


def test_a_token_that_is_revoked_is_replaced_once_for_all_threads(
    running: RunningSimulator, issuer: TokenIssuer
) -> None:
    with Transport(server(running, **LOGIN), retry=QUICK) as transport:
        transport.get("system/status", [], bytes)
        issuer.revoke_all()
        transport.get("system/status", [], bytes)
        transport.get("system/status", [], bytes)
    assert issuer.issued == 2


def test_a_token_is_renewed_before_it_expires_and_kept_when_that_fails() -> None:
    issuer = new_issuer(lifetime_seconds=3600)
    with plant(BearerMethod(issuer)) as running, Transport(server(running, **LOGIN), retry=QUICK) as transport:
        issuer.answers.append(JSONResponse({"access_token": issuer.token("dag ster"), "expires_in": "0.0001"}))
        issuer.answers.append(JSONResponse({"access_token": issuer.token("dag ster"), "expires_in": 3600}))
        transport.get("system/status", [], bytes)
        transport.get("system/status", [], bytes)
        transport.get("system/status", [], bytes)
        assert not issuer.answers
        assert issuer.issued == 0


def test_the_secret_goes_into_the_form_where_the_provider_wants_it_there(issuer: TokenIssuer) -> None:
    with plant(BearerMethod(issuer, auth_methods=("client_secret_post",))) as running:
        ask(server(running, **LOGIN))


def test_the_place_of_the_provider_may_be_a_setting(running: RunningSimulator, issuer: TokenIssuer) -> None:
    place = running.url.removesuffix("/piwebapi") + TOKEN_PATH
    ask(server(running, **LOGIN, token_url=place))
    assert issuer.issued == 1


def test_a_wrong_secret_is_tried_once_and_names_its_variable(
    running: RunningSimulator, issuer: TokenIssuer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PI_TEST_SECRET", "another-secret")
    failures = ask_at_once(server(running, **LOGIN))
    assert issuer.refused == 1
    for failure in failures:
        assert isinstance(failure, LoginRefusedError)
        assert "issued no token to the client dag ster (401: invalid_client)" in str(failure)
        assert "PI_TEST_SECRET" in str(failure)
        assert "another-secret" not in str(failure)


def test_a_scope_that_the_client_may_not_have_is_named(running: RunningSimulator) -> None:
    with pytest.raises(LoginRefusedError, match=r"invalid_scope.*server\.login\.scope"):
        ask(server(running, **LOGIN, scope="everything"))


def test_a_token_that_the_server_does_not_take_names_what_has_to_agree(
    running: RunningSimulator, issuer: TokenIssuer
) -> None:
    issuer.answers.extend(JSONResponse({"access_token": "of.another.issuer"}) for _ in range(2))
    with pytest.raises(LoginRefusedError, match=r"mapped to an identity.*BearerIssuer"):
        ask(server(running, **LOGIN))


def test_clocks_that_are_apart_are_called_so() -> None:
    with (
        plant(BearerMethod(new_issuer(clock_ahead_seconds=-7200))) as running,
        pytest.raises(LoginRefusedError, match=r"had expired at .* by the server's clock: check the clocks"),
    ):
        ask(server(running, **LOGIN))


def test_a_server_that_tells_no_provider_is_told_plainly(monkeypatch: pytest.MonkeyPatch) -> None:
    with (
        plant(user="me", password="secret") as running,
        pytest.raises(LoginRefusedError, match=r"well-known.*answered 401.*may not take Bearer.*token_url"),
    ):
        ask(server(running, **LOGIN))


def test_the_secret_is_not_sent_to_a_provider_without_https(issuer: TokenIssuer) -> None:
    with (
        plant(BearerMethod(issuer, token_endpoint="http://identity.example.com/token")) as running,
        pytest.raises(LoginRefusedError, match=r"http://identity\.example\.com/token, which is not https"),
    ):
        ask(server(running, **LOGIN))


def test_the_secret_is_not_sent_to_whomever_the_server_names(issuer: TokenIssuer) -> None:
    with (
        plant(BearerMethod(issuer, token_endpoint="https://evil.example.com/token")) as running,
        pytest.raises(
            LoginRefusedError, match=r"another machine.*`server\.login\.token_url: https://evil\.example\.com/token`"
        ),
    ):
        ask(server(running, **LOGIN))


def test_a_place_of_the_provider_without_https_is_refused_too(running: RunningSimulator) -> None:
    with pytest.raises(LoginRefusedError, match=r"`server\.login\.token_url`.*is not https"):
        ask(server(running, **LOGIN, token_url="http://identity.example.com/token"))


@pytest.mark.parametrize(
    ("answer", "expected", "told"),
    [
        (PlainTextResponse("<html>"), BrokenAnswerError, "something else than OpenID Connect"),
        (JSONResponse({}), BrokenAnswerError, "access_token"),
        (JSONResponse({"access_token": ""}), BrokenAnswerError, "empty or holds odd letters"),
        (JSONResponse({"access_token": "a\r\nX-Evil: 1"}), BrokenAnswerError, "odd letters"),
        (JSONResponse({"access_token": "a", "expires_in": "soon"}), BrokenAnswerError, "expires_in"),
        (JSONResponse({"access_token": "a", "token_type": "mac"}), LoginRefusedError, "type mac"),
        (PlainTextResponse("a" * (2 << 20)), BrokenAnswerError, "bytes"),
        (PlainTextResponse("down", 503), ServerTroubleError, "issued no token: it answered 503"),
        (Response(status_code=302, headers={"Location": "http://127.0.0.1:1"}), LoginRefusedError, "302"),
    ],
    ids=["no JSON", "no token", "empty", "header in it", "odd life", "other type", "huge", "down", "redirect"],
)
def test_a_malformed_token_is_never_sent(
    running: RunningSimulator, issuer: TokenIssuer, answer: Response, expected: type[PIWebAPIError], told: str
) -> None:
    issuer.answers.extend([answer] * 100)
    settings = server(running, **LOGIN).model_copy(update={"retry_budget_seconds": 0})
    running.requests.clear()
    with pytest.raises(expected, match=told), Transport(settings) as transport:
        transport.get("system/status", [], bytes)
    assert running.requests.total == 0


def test_a_provider_that_is_down_for_a_moment_is_asked_again(running: RunningSimulator, issuer: TokenIssuer) -> None:
    issuer.answers.append(PlainTextResponse("down", 503))
    ask(server(running, **LOGIN))
    assert issuer.issued == 1
