"""One request: what is repeated, what is refused, and what a broken or hostile server cannot do.

A server that follows a script stands in for PI Web API where the answer must be wrong in a way no PI server is.
"""

from __future__ import annotations

import gzip
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta, timezone
from email.utils import format_datetime
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from pi_dagster.piwebapi.errors import (
    AnswerTooLargeError,
    BrokenAnswerError,
    CertificateError,
    ConnectionFailedError,
    LimitMismatchError,
    LoginRefusedError,
    NotPIWebAPIError,
    RequestRefusedError,
    RequestTimeoutError,
    ServerTroubleError,
    TransientError,
    WriteRefusedError,
)
from pi_dagster.piwebapi.retrying import RetryPolicy
from pi_dagster.piwebapi.transport import Transport
from pi_dagster.site import BasicLogin, SecretMissingError, ServerSettings
from pi_dagster_tests.waiting import wait_until

Respond = Callable[[BaseHTTPRequestHandler], None]
QUICK = RetryPolicy(budget_seconds=20, first_wait_seconds=0.001, longest_wait_seconds=0.01)


def answer(status: int = 200, body: bytes = b"{}", **headers: str) -> Respond:
    def respond(request: BaseHTTPRequestHandler) -> None:
        request.send_response(status)
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        for name, value in {"Content-Length": str(len(body)), **sent}.items():
            request.send_header(name, value)
        request.end_headers()
        request.wfile.write(body)

    return respond


class Script:
    """Answers to give in turn, the last for ever, and the requests that came."""

    def __init__(self, *responses: Respond) -> None:
        self.responses = list(responses)
        self.requests: list[tuple[str, str, dict[str, str]]] = []
        self.lock = threading.Lock()

    def next(self, request: BaseHTTPRequestHandler) -> Respond:
        with self.lock:
            self.requests.append((request.command, request.path, dict(request.headers)))
            return self.responses.pop(0) if len(self.responses) > 1 else self.responses[0]


@contextmanager
def serving(script: Script) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            script.next(self)(self)

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            script.next(self)(self)

        def log_message(self, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/piwebapi"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def get(script: Script, *, retry: RetryPolicy = QUICK, **settings: object) -> bytes:
    with serving(script) as url, Transport(ServerSettings(url=url, **settings), retry=retry) as transport:
        return transport.get("system/status", [("a", "b c&+")], bytes)


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
def test_a_passing_failure_is_repeated(status: int) -> None:
    script = Script(answer(status, b"<html>try later</html>"), answer(status), answer(200, b"fine"))
    assert get(script) == b"fine"
    assert len(script.requests) == 3


@pytest.mark.parametrize("status", [400, 403, 404, 409, 413, 501])
def test_a_refusal_is_not_repeated_and_says_why(status: int) -> None:
    script = Script(answer(status, b'{"Errors":["Not with me."]}'))
    with pytest.raises(RequestRefusedError, match=f"{status}: Not with me") as caught:
        get(script)
    assert caught.value.status == status
    assert len(script.requests) == 1


def test_retry_after_in_seconds_is_waited_for() -> None:
    script = Script(answer(429, Retry_After="1"), answer(200, b"fine"))
    begun = time.monotonic()
    assert get(script) == b"fine"
    assert time.monotonic() - begun >= 1


def test_retry_after_as_a_date_is_waited_for() -> None:
    later = datetime.now(timezone.utc) + timedelta(seconds=2)
    script = Script(answer(503, Retry_After=format_datetime(later, usegmt=True)), answer(200, b"fine"))
    assert get(script) == b"fine"
    assert datetime.now(timezone.utc) >= later - timedelta(seconds=1)


def test_no_repeat_starts_after_the_budget() -> None:
    script = Script(answer(503, b'{"Errors":["Busy"]}', Retry_After="3600"))
    with pytest.raises(ServerTroubleError, match=r"503 \(Busy\)") as caught:
        get(script)
    assert caught.value.retry_after_seconds == 3600
    assert len(script.requests) == 1


def test_an_internal_error_is_given_up_after_a_few_tries() -> None:
    script = Script(answer(500))
    with pytest.raises(ServerTroubleError):
        get(script)
    assert len(script.requests) == QUICK.tries_when_unlikely


def cut_body(request: BaseHTTPRequestHandler) -> None:
    answer(200, b'{"Items":[', Content_Length="1000")(request)
    request.close_connection = True


def drop_connection(request: BaseHTTPRequestHandler) -> None:
    request.close_connection = True


@pytest.mark.parametrize("broken", [cut_body, drop_connection], ids=["cut body", "dropped connection"])
def test_a_connection_that_breaks_is_repeated(broken: Respond) -> None:
    script = Script(broken, broken, answer(200, b"fine"))
    assert get(script) == b"fine"


def test_a_cut_compressed_body_is_repeated() -> None:
    whole = gzip.compress(b"fine" * 100)
    script = Script(
        answer(200, whole[:-20], Content_Encoding="gzip"),
        answer(200, b"no gzip at all", Content_Encoding="gzip"),
        answer(200, whole, Content_Encoding="gzip"),
    )
    assert get(script) == b"fine" * 100


def test_a_body_that_the_parser_calls_broken_is_repeated() -> None:
    bodies: list[bytes] = []

    def parse(body: bytes) -> str:
        bodies.append(body)
        if len(bodies) < 3:
            raise BrokenAnswerError("half of it is missing")
        return "whole"

    with serving(Script(answer())) as url, Transport(ServerSettings(url=url), retry=QUICK) as transport:
        assert transport.get("x", [], parse) == "whole"
        assert transport.traffic.requests == 3
        assert transport.traffic.retries == 2


def test_the_query_is_encoded_so_that_a_plus_stays_a_plus() -> None:
    script = Script(answer())
    get(script)
    assert script.requests[0][1] == "/piwebapi/system/status?a=b%20c%26%2B"


def test_nobody_listening_is_told_plainly() -> None:
    with serving(Script(answer())) as url:
        pass
    transport = Transport(ServerSettings(url=url), retry=RetryPolicy(budget_seconds=0))
    with pytest.raises(ConnectionFailedError, match=r"No answer from .*refused.*Check that the host"):
        transport.get("x", [], bytes)


def test_a_server_that_does_not_answer_in_time_is_told_plainly() -> None:
    release = threading.Event()

    def hang(request: BaseHTTPRequestHandler) -> None:
        release.wait(30)
        request.close_connection = True

    with serving(Script(hang)) as url:
        settings = ServerSettings(url=url, read_timeout_seconds=0.1)
        transport = Transport(settings, retry=RetryPolicy(budget_seconds=0))
        with pytest.raises(RequestTimeoutError, match=r"within 0\.1 s"):
            transport.get("x", [], bytes)
        release.set()


def test_a_refused_login_names_the_kinds_that_the_server_takes() -> None:
    refusal = answer(
        401,
        b'{"Message":"Authorization has been denied for this request."}',
        WWW_Authenticate="Negotiate, Basic realm=x",
    )
    script = Script(refusal)
    with pytest.raises(LoginRefusedError, match=r"denied.*Negotiate, Basic"):
        get(script)
    assert len(script.requests) == 1, "a wrong password must not be tried again: it locks the account"


def test_the_password_is_sent_in_utf8_and_shown_nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PI_TEST_PASSWORD", "gehéim-Ω")
    settings = ServerSettings(
        url="http://127.0.0.1:1/piwebapi", login=BasicLogin(username="PLANT\\svc", password_env="PI_TEST_PASSWORD")
    )
    transport = Transport(settings, retry=RetryPolicy(budget_seconds=0))
    with pytest.raises(ConnectionFailedError) as caught:
        transport.get("x", [], bytes)
    told = "".join(traceback.format_exception(caught.value))
    shown = f"{transport!r} {settings!r} {transport._login!r} {transport._idle_sessions[0].auth!r} {told}"
    assert "gehéim" not in shown
    script = Script(answer())
    get(script, login=settings.login)
    assert script.requests[0][2]["Authorization"] == "Basic UExBTlRcc3ZjOmdlaMOpaW0tzqk="


def test_a_password_that_is_not_set_names_the_variable_and_the_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PI_TEST_PASSWORD", raising=False)
    login = BasicLogin(username="svc", password_env="PI_TEST_PASSWORD")
    with pytest.raises(SecretMissingError, match=r"PI_TEST_PASSWORD is not set.*server\.login\.password_env"):
        Transport(ServerSettings(url="http://127.0.0.1:1/piwebapi", login=login))


def test_a_redirect_is_not_followed() -> None:
    script = Script(answer(302, b"", Location="http://127.0.0.1:1/elsewhere"))
    with pytest.raises(RequestRefusedError, match=r"redirects to http://127\.0\.0\.1:1/elsewhere"):
        get(script)


def test_what_is_not_pi_web_api_is_called_so() -> None:
    with pytest.raises(NotPIWebAPIError, match=r"is not PI Web API.*server\.url"):
        get(Script(answer(404, b"<html>Not here</html>")))


def test_a_limit_below_the_sites_names_the_setting() -> None:
    refusal = answer(400, b'{"Errors":["Parameter (maxCount) is greater than the maximum allowed (1000)"]}')
    with pytest.raises(LimitMismatchError, match=r"\(1000\).*max_items_per_call"):
        get(Script(refusal))


def endless(request: BaseHTTPRequestHandler, *, first: bytes = b"", each: bytes = b"100000\r\n%s\r\n") -> None:
    request.send_response(200)
    request.send_header("Transfer-Encoding", "chunked")
    request.end_headers()
    try:
        request.wfile.write(first)
        while True:
            request.wfile.write(each.replace(b"%s", bytes(1 << 20)))
    except OSError:
        request.close_connection = True


@pytest.mark.parametrize(
    "too_large",
    [
        answer(200, b"", Content_Length=str(5 << 20)),
        answer(200, gzip.compress(bytes(5 << 20)), Content_Encoding="gzip"),
        endless,
        partial(endless, first=b"FFFFFFFF\r\n", each=b"%s"),
    ],
    ids=["declared", "gzip bomb", "endless", "one chunk of 4 GiB"],
)
def test_a_body_above_the_limit_is_refused_without_reading_it(too_large: Respond) -> None:
    with pytest.raises(AnswerTooLargeError, match=r"more than 4 MiB.*max_body_mebibytes"):
        get(Script(too_large), max_body_mebibytes=4)


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
def test_anything_but_a_read_is_refused_before_it_is_sent(method: str) -> None:
    script = Script(answer())
    with serving(script) as url, Transport(ServerSettings(url=url)) as transport:
        with pytest.raises(WriteRefusedError, match="not a read"):
            transport._repeated(method, f"{url}/streams/x/recorded", b"[]", bytes)
        assert script.requests == []


def test_a_batch_is_a_post_of_gets_with_the_csrf_header() -> None:
    script = Script(answer(207))
    with serving(script) as url, Transport(ServerSettings(url=url), retry=QUICK) as transport:
        transport.batch([("1", "streams/x/recorded", [("maxCount", "5")])], bytes)
    [(method, path, headers)] = script.requests
    assert (method, path) == ("POST", "/piwebapi/batch")
    assert headers["X-Requested-With"]


def test_no_more_requests_are_under_way_than_the_site_allows() -> None:
    lock, under_way, most = threading.Lock(), 0, 0
    both_in = threading.Barrier(2, timeout=30)

    def respond(request: BaseHTTPRequestHandler) -> None:
        nonlocal under_way, most
        with lock:
            under_way += 1
            most = max(most, under_way)
        both_in.wait()
        with lock:
            under_way -= 1
        answer()(request)

    settings = {"max_requests_in_flight": 2, "max_requests_per_second": 1000}
    with serving(Script(respond)) as url, Transport(ServerSettings(url=url, **settings), retry=QUICK) as transport:
        threads = [threading.Thread(target=transport.get, args=("x", [], bytes)) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert most == 2


def test_whether_the_server_answers_is_asked_before_what_waits_to_be_sent() -> None:
    """Behind a queue of requests that time out it would be told very late."""
    release = threading.Event()

    def respond(request: BaseHTTPRequestHandler) -> None:
        if request.path.endswith("/slow"):
            release.wait(timeout=30)
        answer()(request)

    settings = {"max_requests_in_flight": 1, "max_requests_per_second": 1000}
    script = Script(respond)
    with serving(script) as url, Transport(ServerSettings(url=url, **settings), retry=QUICK) as transport:
        asked = [partial(transport.get, path, [], bytes) for path in ("slow", "waiting", "waiting")]
        threads = [threading.Thread(target=target) for target in (*asked, transport.is_answering)]
        threads[0].start()
        wait_until(lambda: script.requests)
        for waiting, thread in enumerate(threads[1:], 1):
            thread.start()
            wait_until(lambda: len(transport._limiter._waiting) == waiting)  # noqa: B023 - waited for at once
        release.set()
        for thread in threads:
            thread.join()
    paths = [path.removeprefix("/piwebapi/") for _, path, _ in script.requests]
    assert paths == ["slow", "system/status", "waiting", "waiting"]


def test_requests_a_second_are_limited_over_all_threads() -> None:
    with serving(Script(answer())) as url:
        settings = ServerSettings(url=url, max_requests_per_second=20, max_requests_in_flight=8)
        with Transport(settings, retry=QUICK) as transport:
            begun = time.monotonic()
            threads = [threading.Thread(target=transport.get, args=("x", [], bytes)) for _ in range(11)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
    assert time.monotonic() - begun >= 10 / 20


def test_a_login_is_never_taken_from_a_netrc_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login somebody password secret\n")
    monkeypatch.setenv("NETRC", str(netrc))
    script = Script(answer())
    get(script)
    assert "Authorization" not in script.requests[0][2]


def test_a_proxy_of_the_environment_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    proxy = Script(answer(200, b"by way of the proxy"))
    with serving(proxy) as proxy_url:
        monkeypatch.setenv("http_proxy", proxy_url.removesuffix("/piwebapi"))
        monkeypatch.delenv("no_proxy", raising=False)
        settings = ServerSettings(url="http://pi.example.com/piwebapi", allow_plain_http=True)
        with Transport(settings, retry=QUICK) as transport:
            assert transport.get("x", [], bytes) == b"by way of the proxy"
    assert proxy.requests[0][1] == "http://pi.example.com/piwebapi/x"


def test_after_a_refused_login_nothing_more_is_sent() -> None:
    """Ten requests under way with an expired password would lock the account."""
    script = Script(answer(401, b"{}"))
    with serving(script) as url, Transport(ServerSettings(url=url), retry=QUICK) as transport:
        for _ in range(3):
            with pytest.raises(LoginRefusedError):
                transport.get("x", [], bytes)
    assert len(script.requests) == 1


def test_a_transport_that_is_stopped_repeats_nothing() -> None:
    refused = threading.Event()
    refusal = answer(503)

    def refuse(request: BaseHTTPRequestHandler) -> None:
        refusal(request)
        refused.set()

    script = Script(refuse)
    with serving(script) as url:
        patient = RetryPolicy(budget_seconds=3600, first_wait_seconds=1000, longest_wait_seconds=1000)
        transport = Transport(ServerSettings(url=url), retry=patient)
        failures: list[BaseException] = []

        def ask() -> None:
            try:
                transport.get("x", [], bytes)
            except TransientError as error:
                failures.append(error)

        thread = threading.Thread(target=ask)
        thread.start()
        refused.wait(timeout=30)
        transport.stop()
        thread.join(timeout=30)
        assert len(failures) == 1
        assert len(script.requests) == 1


def test_a_ca_bundle_that_is_not_there_is_named(tmp_path: Path) -> None:
    settings = ServerSettings(url="https://127.0.0.1:1/piwebapi", ca_bundle=str(tmp_path / "ca.pem"))
    with pytest.raises(CertificateError, match=r"server\.ca_bundle.*ca\.pem, which does not exist"):
        Transport(settings)
