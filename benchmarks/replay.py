"""A server that answers what a simulator once answered, from memory: fast enough never to be what is measured.

What is asked for the first time is fetched from the simulator and kept, so a run that is not counted fills it. Only
the clock (`system/status`) is always asked for. It adds latency to every answer, as a wire would, without holding up
other connections.
"""

from __future__ import annotations

import multiprocessing
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from multiprocessing.connection import Connection
from typing import Any
from urllib.parse import urlsplit

_PASSED_ON = ("Accept-Encoding", "Content-Type", "Host", "X-Requested-With")
_KEPT = ("Content-Type", "Content-Encoding")
_CLOCK = "/system/status"


@dataclass(frozen=True)
class Replay:
    """The server while it runs.

    Args:
        url: base URL, ending in `/piwebapi`.
    """

    url: str
    _latency: Any
    _misses: Any

    def set_latency(self, milliseconds: float) -> None:
        """Wait this long before every answer."""
        self._latency.value = milliseconds / 1000

    @property
    def misses(self) -> int:
        """Answers that were not in memory yet, so far."""
        return int(self._misses.value)


@contextmanager
def replaying(upstream: str, *, latency_ms: float = 0.0) -> Iterator[Replay]:
    """Run the server in a process of its own while the block lasts.

    Args:
        upstream: base URL of the simulator, ending in `/piwebapi`.
        latency_ms: milliseconds before every answer.
    """
    context = multiprocessing.get_context("spawn")
    latency, misses = context.Value("d", latency_ms / 1000), context.Value("q", 0)
    here, there = context.Pipe()
    server = context.Process(target=_serve, args=(there, upstream, latency, misses), daemon=True)
    server.start()
    there.close()
    try:
        yield Replay(f"http://127.0.0.1:{here.recv()}{urlsplit(upstream).path}", latency, misses)
    finally:
        here.close()
        server.join(timeout=10)
        if server.is_alive():
            server.kill()
            server.join()


@dataclass(frozen=True)
class _Kept:
    status: int
    headers: dict[str, str]
    body: bytes


def _serve(parent: Connection, upstream: str, latency: Any, misses: Any) -> None:
    kept: dict[tuple[str, str, bytes, str], _Kept] = {}
    connections = threading.local()
    target = urlsplit(upstream).netloc

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def do_GET(self) -> None:  # the name that http.server calls
            self._answer(b"")

        def do_POST(self) -> None:
            self._answer(self.rfile.read(int(self.headers["Content-Length"])))

        def _answer(self, body: bytes) -> None:
            key = (self.command, self.path, body, self.headers.get("Accept-Encoding", ""))
            answer = kept.get(key)
            if answer is None:
                answer = self._fetch(body)
                if not self.path.endswith(_CLOCK):
                    kept[key] = answer
                    with misses.get_lock():
                        misses.value += 1
            if latency.value:
                time.sleep(latency.value)
            self.send_response_only(answer.status)
            for name, value in answer.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(answer.body)))
            self.end_headers()
            self.wfile.write(answer.body)

        def _fetch(self, body: bytes) -> _Kept:
            headers = {name: self.headers[name] for name in _PASSED_ON if name in self.headers}
            if not hasattr(connections, "upstream"):
                connections.upstream = HTTPConnection(target)
            connections.upstream.request(self.command, self.path, body or None, headers)
            response = connections.upstream.getresponse()
            content = response.read()
            found = {name: response.headers[name] for name in _KEPT if name in response.headers}
            return _Kept(response.status, found, content)

    class Server(ThreadingHTTPServer):
        daemon_threads = True
        request_queue_size = 256

    with Server(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        parent.send(server.server_address[1])
        with suppress(EOFError):
            parent.recv()
        server.shutdown()
