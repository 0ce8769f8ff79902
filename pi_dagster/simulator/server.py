"""The simulator on a socket: Starlette on uvicorn, in a thread of this process.

    with Simulator(archive=Archive(GeneratedBase(tags=50))).serve() as running:
        requests.get(running.url + "/dataservers")

What is waited for is waited for on the event loop: slowness and latency cost no thread and hold up no one else.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
import threading
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from types import TracebackType
from typing import Any

import uvicorn
from isal import isal_zlib
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route as StarletteRoute
from starlette.types import Receive, Scope, Send
from uvicorn.protocols.http.auto import AutoHTTPProtocol

from pi_dagster.simulator.admin import admin_app
from pi_dagster.simulator.af_model import AssetDatabase
from pi_dagster.simulator.af_server import AssetServer
from pi_dagster.simulator.archive import Archive
from pi_dagster.simulator.calls import Answer, Call, RefusedError
from pi_dagster.simulator.event_frames import EventFrameStore
from pi_dagster.simulator.faults import BEFORE_ROUTING, ON_THE_WIRE, FaultKind, Faults
from pi_dagster.simulator.limits import RateLimiter, admission_of, check_csrf, url_refusal
from pi_dagster.simulator.routes import ROUTES
from pi_dagster.simulator.service import Service, named_streams
from pi_dagster.simulator.settings import SimulatorSettings
from pi_dagster.simulator.update_signups import UpdateSignups

BASE_PATH = "/piwebapi"
_METHODS = ["GET", "POST", "PUT", "PATCH", "DELETE"]
_WORTH_COMPRESSING = 1024
_LOGGED_REQUESTS = 10_000


@dataclass(frozen=True)
class SeenRequest:
    """One request that was answered, for tests that look at what a client sent."""

    method: str
    path: str
    query_text: str
    status: int
    headers: dict[str, str] = field(repr=False)


class RequestLog:
    """What was asked of the server: numbers for each route, and the last ten thousand requests."""

    def __init__(self) -> None:
        self.per_route: Counter[str] = Counter()
        self.recent: deque[SeenRequest] = deque(maxlen=_LOGGED_REQUESTS)
        self.in_flight = 0
        self.max_in_flight = 0

    @property
    def total(self) -> int:
        """How many requests were answered; a batch is one."""
        return sum(self.per_route.values())

    def clear(self) -> None:
        """Start counting anew."""
        self.per_route.clear()
        self.recent.clear()
        self.max_in_flight = self.in_flight

    @contextmanager
    def under_way(self) -> Iterator[None]:
        """Count a request as in flight."""
        self.in_flight += 1
        self.max_in_flight = max(self.max_in_flight, self.in_flight)
        try:
            yield
        finally:
            self.in_flight -= 1


class _BrokenResponse(Response):
    """An answer that ends early: after half of its body, or before it began."""

    def __init__(self, answer: Response, transport: asyncio.Transport, *, before_it_began: bool) -> None:
        self._answer = answer
        self._transport = transport
        self._before_it_began = before_it_began
        super().__init__()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if not self._before_it_began:
            answer = self._answer
            await send({"type": "http.response.start", "status": answer.status_code, "headers": answer.raw_headers})
            body = bytes(answer.body)
            await send({"type": "http.response.body", "body": body[: len(body) // 2], "more_body": True})
            self._transport.close()
        else:
            self._transport.abort()
        while (await receive())["type"] != "http.disconnect":
            pass


class WebApi:
    """The ASGI application: turns HTTP into calls, holds the limits, and turns answers into HTTP."""

    def __init__(self, service: Service) -> None:
        self.service = service
        self.requests = RequestLog()
        self.transports: dict[Any, asyncio.Transport] = {}
        self._rate = RateLimiter(service.settings)
        workers = service.settings.workers
        self._workers = asyncio.Semaphore(workers) if workers is not None else None
        self._login = service.settings.login_method()
        all_else = StarletteRoute("/{path:path}", self._respond, methods=_METHODS)
        self.app = Starlette(routes=[*self._login.routes, all_else])

    async def _respond(self, request: Request) -> Response:
        with self.requests.under_way():
            call, answer = await self._answer(request)
            headers = {"Server": "Microsoft-HTTPAPI/2.0", **answer.headers}
            body = answer.body
            level = self.service.settings.gzip_level
            if level is not None and len(body) >= _WORTH_COMPRESSING:
                if "gzip" in request.headers.get("accept-encoding", "").lower():
                    body = isal_zlib.compress(body, level, wbits=31)
                    headers["Content-Encoding"] = "gzip"
                headers["Vary"] = "Accept-Encoding"
            response = Response(body, answer.status, headers)
            faults = self.service.faults
            broken = faults.strike(call.path, named_streams(call), ON_THE_WIRE) if call and faults.active() else []
            if broken:
                dropped = any(fault.kind is FaultKind.DROPPED_CONNECTION for fault, _ in broken)
                transport = self.transports[request.scope["client"]]
                return _BrokenResponse(response, transport, before_it_began=dropped)
            return response

    async def _answer(self, request: Request) -> tuple[Call | None, Answer]:
        settings = self.service.settings
        raw_path = request.scope["raw_path"].decode("ascii")
        query_text = request.scope["query_string"].decode("ascii")
        head = len(request.method) + len(raw_path) + len(query_text) + len(" ? HTTP/1.1\r\n\r\n")
        head += sum(len(name) + len(value) + 4 for name, value in request.scope["headers"])
        refused = url_refusal(settings, raw_path, head)
        if refused is not None:
            return None, refused
        if settings.latency_seconds:
            await asyncio.sleep(settings.latency_seconds)
        inside = raw_path[len(BASE_PATH) :]
        if raw_path[: len(BASE_PATH)].lower() != BASE_PATH or (inside and inside[0] != "/"):
            return None, Answer(404, b"", {})
        headers = {name.lower(): value for name, value in request.headers.items()}
        base_url = settings.links_to or f"{request.url.scheme}://{headers.get('host', 'localhost')}{BASE_PATH}"
        client = request.client.host if request.client else ""
        call = Call(request.method, inside[1:].removesuffix("/"), query_text, base_url, headers, b"", client)
        name = "(no route)"
        try:
            connection = self.transports[request.scope["client"]]
            admission = admission_of(settings, self._login, headers.get("authorization", ""), connection)
            body = await self._body(request)
            call = Call(call.method, call.path, query_text, base_url, headers, body, client, admission.user)
            check_csrf(settings, call)
            route, _ = self.service.route_of(call)
            name = f"{route.method} {route.template}"
            self._rate.check(call, is_search=route.is_search)
            self._check_overload(call)
            async with self._workers or nullcontext():
                await asyncio.sleep(settings.worker_seconds)
                answer = await self.service.answer(call)
                answer = replace(answer, headers={**answer.headers, **admission.headers})
        except RefusedError as refusal:
            answer = Answer.of(refusal.status, refusal.body, refusal.headers)
        self.requests.per_route[name] += 1
        self.requests.recent.append(SeenRequest(call.method, call.path, query_text, answer.status, headers))
        return call, answer

    def _check_overload(self, call: Call) -> None:
        faults = self.service.faults
        if faults.active():
            in_flight = self.requests.in_flight
            for fault, _ in faults.strike(call.path, named_streams(call), BEFORE_ROUTING, in_flight=in_flight):
                headers = {"Retry-After": fault.retry_after} if fault.retry_after else None
                raise RefusedError(fault.status or 503, fault.message, headers=headers)

    async def _body(self, request: Request) -> bytes:
        limit = self.service.settings.max_body_bytes
        parts = []
        length = 0
        async for part in request.stream():
            length += len(part)
            if length > limit:
                raise RefusedError(413, f"The request body is larger than the maximum allowed ({limit} bytes).")
            parts.append(part)
        return b"".join(parts)


class _Server(uvicorn.Server):
    """A uvicorn server that says when it listens."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.listening = threading.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.listening.set()


def _protocol(transports: dict[Any, asyncio.Transport]) -> type[asyncio.Protocol]:
    """uvicorn's protocol, which also remembers each connection so that a fault can break it."""

    class RememberingProtocol(AutoHTTPProtocol):  # type: ignore[misc, valid-type]
        def connection_made(self, transport: asyncio.Transport) -> None:
            self._peer = transport.get_extra_info("peername")
            transports[self._peer] = transport
            super().connection_made(transport)

        def connection_lost(self, exc: Exception | None) -> None:
            transports.pop(self._peer, None)
            super().connection_lost(exc)

    return RememberingProtocol


class PortError(Exception):
    """A port that cannot be served on.

    Args:
        port: the one that was asked for.
        cause: what the operating system said.
    """

    def __init__(self, port: int, cause: Exception) -> None:
        super().__init__(port, cause)
        self.port = port
        self.cause = cause

    def __str__(self) -> str:
        return f"port {self.port} cannot be served on ({self.cause})"


class RunningSimulator:
    """A simulator that is being served; leave its `with` block, or `close` it, to stop.

    Attributes:
        url: base URL, ending in `/piwebapi`.
        admin_url: base URL of the admin door, None where it is shut.
        archive: the archive it serves; may be changed while it runs.
        faults: the faults in force; may be changed while it runs.
        assets: the AF server beside it; its databases may be changed while it runs.
        event_frames: the event frames of that server; may be changed while it runs.
        signups: who follows the changes of which streams; may be ended while it runs.
        requests: what was asked of it.
    """

    def __init__(
        self, simulator: Simulator, *, host: str, port: int, admin_port: int | None, tls: ssl.SSLContext | None = None
    ) -> None:
        service = Service(simulator.archive, simulator.settings, ROUTES, simulator.assets, simulator.event_frames)
        api = WebApi(service)
        self.archive: Archive = simulator.archive
        self.faults: Faults = service.faults
        self.assets: AssetServer = service.assets
        self.event_frames: EventFrameStore = service.event_frames
        self.signups: UpdateSignups = service.signups
        self.requests: RequestLog = api.requests
        self._servers: list[_Server] = []
        self._sockets: list[socket.socket] = []
        keep_alive = simulator.settings.keep_alive_seconds
        self.url = self._prepare(api.app, host, port, keep_alive, _protocol(api.transports), tls) + BASE_PATH
        self.admin_url: str | None = None
        if admin_port is not None:
            self.admin_url = self._prepare(admin_app(service, api.requests), host, admin_port, keep_alive, "auto")
        self._thread = threading.Thread(target=self._run, name="pi-simulator", daemon=True)
        self._thread.start()
        for server in self._servers:
            server.listening.wait(timeout=30)

    def _prepare(
        self,
        app: Starlette,
        host: str,
        port: int,
        keep_alive: int,
        protocol: Any,
        tls: ssl.SSLContext | None = None,
    ) -> str:
        # asyncio switches Nagle's delay off only for sockets that name their protocol: 40 ms an answer else.
        listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((host, port))
        except (OSError, OverflowError) as error:
            listener.close()
            for bound in self._sockets:
                bound.close()
            raise PortError(port, error) from error
        config = uvicorn.Config(
            app,
            http=protocol,
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            timeout_keep_alive=keep_alive,
            timeout_graceful_shutdown=1,
            backlog=2048,
        )
        config.load()
        config.ssl = tls
        self._servers.append(_Server(config))
        self._sockets.append(listener)
        return f"{'http' if tls is None else 'https'}://{host}:{listener.getsockname()[1]}"

    def _run(self) -> None:
        async def serve_all() -> None:
            await asyncio.gather(
                *(server.serve([bound]) for server, bound in zip(self._servers, self._sockets, strict=True))
            )

        asyncio.run(serve_all())

    def close(self) -> None:
        """Stop serving; idle connections are closed, requests under way get a second."""
        for server in self._servers:
            server.should_exit = True
        self._thread.join(timeout=30)

    def __enter__(self) -> RunningSimulator:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class Simulator:
    """A PI Web API server over an archive, ready to be served.

    Args:
        archive: the Data Archive behind it.
        settings: how it behaves; the default is a default installation that asks for no login.
        assets: its AF databases; None is the one that follows from the archive's tags.
        event_frames: the event frames in them; None is those that follow from the archive.
    """

    def __init__(
        self,
        *,
        archive: Archive,
        settings: SimulatorSettings | None = None,
        assets: Sequence[AssetDatabase] | None = None,
        event_frames: EventFrameStore | None = None,
    ) -> None:
        self.archive = archive
        self.assets = assets
        self.event_frames = event_frames
        self.settings = settings or SimulatorSettings()

    def serve(
        self,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        admin_port: int | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> RunningSimulator:
        """Serve in a background thread; returns when it listens.

        Args:
            host: address to listen on.
            port: port of PI Web API; 0 takes a free one.
            admin_port: port of the admin door, 0 for a free one; None keeps it shut.
            tls: the server's certificate, and whether it asks clients for theirs; None serves plain HTTP.

        Raises:
            PortError: a port cannot be had.
        """
        return RunningSimulator(self, host=host, port=port, admin_port=admin_port, tls=tls)
