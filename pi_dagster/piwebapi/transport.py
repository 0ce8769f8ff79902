"""One request to PI Web API: sent, repeated while that can help, read into memory, and refused if it is a write.

`requests` with `stream=True` and reads of the raw body: its `.content` reads 10 KB at a time and costs four times
the CPU. A body is parsed inside the retry loop, because PI Web API reports some failures only in the body of a 200
(error handling, docs.aveva.com/bundle/pi-web-api-reference/page/help/topics/error-handling.html).
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from types import TracebackType
from typing import TypeVar
from urllib.parse import quote, unquote, urlencode

import msgspec
import requests
import tenacity
import urllib3
from isal import igzip_lib, isal_zlib

from pi_dagster.piwebapi.adapter import OpenSockets
from pi_dagster.piwebapi.auth import Authentication, LoginGate, RefusalMemory, authentication_for
from pi_dagster.piwebapi.connection import check_certificates, open_session, tls_failure
from pi_dagster.piwebapi.errors import (
    AnswerTooLargeError,
    BrokenAnswerError,
    ConnectionFailedError,
    PIWebAPIError,
    RequestTimeoutError,
    TransientError,
    WriteRefusedError,
)
from pi_dagster.piwebapi.limiter import RequestLimiter, Slot
from pi_dagster.piwebapi.refusals import error_of_response
from pi_dagster.piwebapi.retrying import RetryPolicy
from pi_dagster.server_text import printable
from pi_dagster.site import ServerSettings

Answer = TypeVar("Answer")
Parameters = Sequence[tuple[str, str]]

_READING_POSTS = re.compile(r"batch|streamsets/updates")
"""What may be sent by POST, below the base URL; whatever else is no GET is refused."""

_PATH = re.compile(r"(?:[\w~.=-]|%[0-9A-Fa-f]{2})*(?:/(?:[\w~.=-]|%[0-9A-Fa-f]{2})+)*", re.ASCII)
_PLAIN_ANSWERS = frozenset({200, 201, 204, 207})
_PIECE_BYTES = 1 << 16
"""Larger pieces are mapped and unmapped by the allocator one by one, which costs four times the CPU."""

_LONGEST_REFUSAL_BYTES = 1 << 20
_UNPACKED = ("", "identity")
_PACKED = ("gzip", "x-gzip")
_GZIP_WBITS = 31
_UNPACKED_AT_ONCE = 2
"""One body is decoded while the next is unpacked; the others wait as they came, which takes a tenth of the memory. On
threads of their own, as the allocator keeps for each thread what it once needed: on ten it was 170 MB more."""


@dataclass(frozen=True, kw_only=True)
class TrafficCount:
    """What has gone over the wire since the transport was opened, and how far it was held back.

    Args:
        requests: sent.
        retries: how many of them were repeats.
        bytes_received: of body, as sent, so compressed where compression is on.
        refusals: answers that said, or were so late, that the server has too much to do.
        seconds_held_back: during which fewer requests were in flight than the site allows.
        in_flight_limit: requests in flight that were allowed at last.
    """

    requests: int = 0
    retries: int = 0
    bytes_received: int = 0
    refusals: int = 0
    seconds_held_back: float = 0.0
    in_flight_limit: int = 0


class Transport:
    """A connection pool to one server that sends reads only; safe to share between threads.

    Args:
        settings: the server of the site.
        retry: when to repeat; by default within the site's `retry_budget_seconds`.

    Raises:
        SecretMissingError: an environment variable that the login or the client certificate names is not set.
        CertificateError: a certificate file is not there, or holds something else.
        LoginRefusedError: what the login needs is not installed, or a file that it names is not there.
    """

    def __init__(self, settings: ServerSettings, *, retry: RetryPolicy | None = None) -> None:
        self._url = settings.url
        self._timeout = (settings.connect_timeout_seconds, settings.read_timeout_seconds)
        self._max_body_bytes = settings.max_body_mebibytes << 20
        self._retry = retry or RetryPolicy(budget_seconds=settings.retry_budget_seconds)
        self._limiter = RequestLimiter(
            max_in_flight=settings.max_requests_in_flight,
            max_per_second=settings.max_requests_per_second,
            first_pause_seconds=self._retry.first_wait_seconds,
            longest_pause_seconds=self._retry.longest_wait_seconds,
        )
        check_certificates(settings)
        self._sockets = OpenSockets()
        self._open_session = partial(open_session, settings, self._sockets)
        self._headers = {
            "Accept": "application/json",
            "Accept-Encoding": "gzip" if settings.compress else "identity",
            # Any value passes PI Web API's CSRF defence, which POST /batch falls under too.
            "X-Requested-With": "pi_dagster",
        }
        self._login: Authentication = authentication_for(settings, self._open_session)
        self._gate = LoginGate(RefusalMemory(settings, self._login), is_open=not self._login.schemes)
        # One for each request under way, as some logins belong to a connection.
        self._idle_sessions = [self._logged_in_session()]
        self._unpacker = ThreadPoolExecutor(_UNPACKED_AT_ONCE, thread_name_prefix="pi-unpack")
        self._count = TrafficCount()
        self._count_lock = threading.Lock()
        self._stopped = threading.Event()

    def __enter__(self) -> Transport:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()
        self._unpacker.shutdown()
        for session in self._idle_sessions:
            session.close()

    def stop(self) -> None:
        """Give up all requests at once: those under way have a broken connection, and nothing is repeated any more."""
        self._stopped.set()
        self._limiter.close()
        self._gate.close()
        self._sockets.hang_up()

    def __repr__(self) -> str:
        return f"Transport({self._url!r})"

    @property
    def url(self) -> str:
        """The server's base URL."""
        return self._url

    @property
    def traffic(self) -> TrafficCount:
        """What has gone over the wire so far."""
        restraint = self._limiter.restraint
        with self._count_lock:
            return replace(
                self._count,
                refusals=restraint.refusals,
                seconds_held_back=restraint.seconds_held_back,
                in_flight_limit=restraint.in_flight_limit,
            )

    def get(self, path: str, parameters: Parameters, parse: Callable[[bytes], Answer]) -> Answer:
        """GET `path` below the base URL and return what `parse` makes of the body.

        Args:
            path: such as `streamsets/recorded`, already percent-encoded.
            parameters: query parameters in order; names may repeat.
            parse: bytes to answer; may raise BrokenAnswerError to have the request repeated.

        Raises:
            PIWebAPIError: the request failed for good; see `errors`.
            BrokenAnswerError: `path` holds an id from the server that would lead elsewhere.
        """
        return self._repeated("GET", self._join(path, parameters), None, parse)

    def is_answering(self) -> bool:
        """Whether the server answers a trivial request now, tried once, and before whatever waits to be sent."""
        try:
            self._repeated("GET", f"{self._url}/system/status", None, bytes, only_once=True)
        except TransientError:
            return False
        return True

    def batch(self, resources: Sequence[tuple[str, str, Parameters]], parse: Callable[[bytes], Answer]) -> Answer:
        """POST /batch with one GET for each (id, path, parameters).

        The query must be part of `Resource`: a batch has no other place for parameters
        (docs.aveva.com/bundle/pi-web-api-reference/page/help/controllers/batch/actions/execute.html).
        """
        calls = {key: {"Method": "GET", "Resource": self._join(path, query)} for key, path, query in resources}
        return self._repeated("POST", f"{self._url}/batch", msgspec.json.encode(calls), parse)

    def register_for_updates(self, web_ids: Sequence[str], parse: Callable[[bytes], Answer]) -> Answer:
        """POST streamsets/updates, which signs this login up for changes of streams and changes no PI data itself.

        It has no body; a registration that is repeated finds the first one (docs.aveva.com/bundle/
        pi-web-api-reference/page/help/controllers/streamset/actions/registerstreamsetupdates.html).
        """
        parameters = [*(("webId", web_id) for web_id in web_ids), ("webIdType", "IDOnly")]
        return self._repeated("POST", self._join("streamsets/updates", parameters), None, parse)

    def _join(self, path: str, parameters: Parameters) -> str:
        # WebIDs are part of paths, and they come from the server.
        if not _PATH.fullmatch(path) or {".", ".."} & set(re.split(r"[/\\]", unquote(path))):
            raise BrokenAnswerError(f"{self._url} gave an id that is none: {printable(path, 100)}")
        query = urlencode(parameters, quote_via=quote, safe=";:*")
        return f"{self._url}/{path}?{query}" if query else f"{self._url}/{path}"

    def _repeated(
        self, method: str, url: str, body: bytes | None, parse: Callable[[bytes], Answer], *, only_once: bool = False
    ) -> Answer:
        path = url.removeprefix(f"{self._url}/").partition("?")[0]
        if method != "GET" and not (method == "POST" and _READING_POSTS.fullmatch(path)):
            raise WriteRefusedError(f"{method} {url} is not a read; this client only reads from PI.")
        retrying = tenacity.Retrying(
            retry=tenacity.retry_if_exception_type(TransientError),
            wait=self._retry.wait_seconds,
            stop=lambda state: only_once or self._stopped.is_set() or self._retry.should_stop(state),
            sleep=tenacity.sleep_using_event(self._stopped),
            reraise=True,
        )
        for attempt in retrying:
            with attempt:
                return self._tried(method, url, body, parse, attempt.retry_state, goes_first=only_once)
        raise AssertionError("tenacity re-raises the last failure")

    def _tried(
        self,
        method: str,
        url: str,
        body: bytes | None,
        parse: Callable[[bytes], Answer],
        state: tenacity.RetryCallState,
        *,
        goes_first: bool,
    ) -> Answer:
        is_repeat = state.attempt_number > 1
        patience = self._retry.budget_seconds - (time.monotonic() - state.start_time)
        with (
            self._gate.turn(),
            self._limiter.slot(patience_seconds=patience, goes_first=is_repeat or goes_first) as slot,
        ):
            if not is_repeat:
                # The wait for a slot is our own doing and does not use up the budget.
                state.start_time = time.monotonic()
            raw, encoding = self._once(method, url, body, slot, is_repeat=is_repeat)
            try:
                return self._unpacker.submit(
                    lambda: parse(self._decompress(raw, encoding, self._max_body_bytes))
                ).result()
            except BrokenAnswerError as error:
                raise BrokenAnswerError(f"{self._url} sent an answer that cannot be used: {error}.") from error

    @contextmanager
    def _session(self) -> Iterator[requests.Session]:
        try:
            session = self._idle_sessions.pop()
        except IndexError:
            session = self._logged_in_session()
        try:
            yield session
        finally:
            self._idle_sessions.append(session)

    def _logged_in_session(self) -> requests.Session:
        session = self._open_session()
        session.auth = self._login.of_session()
        session.headers.update(self._headers)
        return session

    def _once(self, method: str, url: str, body: bytes | None, slot: Slot, *, is_repeat: bool) -> tuple[bytes, str]:
        received = 0
        try:
            with self._session() as session, self._response_to(session, method, url, body) as response:
                if response.status_code != 401 and response.status_code < 500:
                    self._gate.open()
                raw = self._read(response)
                received = len(raw)
                encoding = response.headers.get("Content-Encoding", "").strip().lower()
                if response.status_code not in _PLAIN_ANSWERS:
                    said = self._refusal(raw, encoding)
                    raise error_of_response(self._url, self._login, response, said)
            slot.answer_is_read(received)
            return raw, encoding
        # `from None`: what `requests` raises may hold a header or a proxy's login.
        except (requests.exceptions.ReadTimeout, urllib3.exceptions.ReadTimeoutError):
            # A wrong login is refused before any work is done, so this one waits for the work.
            self._gate.open()
            raise RequestTimeoutError(
                f"{self._url} did not answer within {self._timeout[1]:g} s. Ask for less at once "
                "(`server.batch_size`) or wait longer (`server.read_timeout_seconds`)."
            ) from None
        except (requests.exceptions.RequestException, urllib3.exceptions.HTTPError, OSError) as error:
            if certificate_error := tls_failure(self._url, error):
                raise certificate_error from None
            raise ConnectionFailedError(
                f"No answer from {self._url} ({_reason(error)}). Check that the host name and port are right, that "
                "PI Web API is running there and that a firewall or proxy lets this machine through."
            ) from None
        finally:
            with self._count_lock:
                self._count = TrafficCount(
                    requests=self._count.requests + 1,
                    retries=self._count.retries + is_repeat,
                    bytes_received=self._count.bytes_received + received,
                )

    def _response_to(self, session: requests.Session, method: str, url: str, body: bytes | None) -> requests.Response:
        self._gate.check()
        return session.request(
            method,
            url,
            data=body,
            headers={"Content-Type": "application/json"} if body is not None else None,
            timeout=self._timeout,
            stream=True,
            # A redirect would carry the login to wherever the answer points.
            allow_redirects=False,
        )

    def _read(self, response: requests.Response) -> bytes:
        """The body as it came; of a refusal only the beginning, as whatever is in it the refusal counts."""
        is_answer = response.status_code in _PLAIN_ANSWERS
        declared = response.raw.length_remaining
        if is_answer and declared is not None and declared > self._max_body_bytes:
            raise self._too_large()
        pieces: list[bytes] = []
        size = 0
        while piece := response.raw.read1(_PIECE_BYTES, decode_content=False):
            pieces.append(piece)
            size += len(piece)
            if is_answer and size > self._max_body_bytes:
                raise self._too_large()
            if not is_answer and size > _LONGEST_REFUSAL_BYTES:
                break
        return b"".join(pieces)

    def _refusal(self, raw: bytes, encoding: str) -> bytes:
        try:
            return self._decompress(raw, encoding, _LONGEST_REFUSAL_BYTES)
        except PIWebAPIError:
            return b""

    def _decompress(self, raw: bytes, encoding: str, most_bytes: int) -> bytes:
        if encoding in _UNPACKED:
            return raw
        if encoding not in _PACKED:
            raise BrokenAnswerError(f"it is compressed in a way that was not asked for ({printable(encoding, 40)})")
        decompressor = isal_zlib.decompressobj(wbits=_GZIP_WBITS)
        try:
            answer: bytes = decompressor.decompress(raw, most_bytes + 1)
        except igzip_lib.IsalError as error:  # type: ignore[misc]  # the stub calls the class an instance
            raise BrokenAnswerError(f"its compressed body cannot be read ({error})") from error
        if len(answer) > most_bytes:
            raise self._too_large()
        if not decompressor.eof:
            raise BrokenAnswerError("its compressed body was cut off")
        return answer

    def _too_large(self) -> AnswerTooLargeError:
        return AnswerTooLargeError(
            f"{self._url} sent more than {self._max_body_bytes >> 20} MiB in one answer. Lower `server.batch_size` or "
            "`server.max_count_per_request`, or raise `server.max_body_mebibytes`."
        )


def _reason(error: BaseException) -> str:
    """The innermost cause, without the objects that `requests` prints around it."""
    while (inner := error.__cause__ or error.__context__) is not None:
        error = inner
    return printable(str(error)) or type(error).__name__
