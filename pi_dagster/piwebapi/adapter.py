"""Connections whose answers have to come to an end: from the first byte of the status to the last of the body.

A timeout of a socket is for its next byte only. A server that sends one a minute, of a header, of the body or of
`100 Continue` again and again, would hold a thread for ever. And whoever cancels a run does not want to wait for
answers that nobody will use, so that connections can be hung up while others wait for them.
"""

from __future__ import annotations

import http.client
import io
import socket
import threading
import time
import weakref
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import urllib3
import urllib3.connection
from requests.adapters import HTTPAdapter

from pi_dagster.piwebapi.errors import RequestTimeoutError

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

_WAITS_FOR_AN_ANSWER = 10
"""An answer has to be there after so many times the wait for its next byte."""


class OpenSockets:
    """The sockets to one server, which can be hung up all at once."""

    def __init__(self) -> None:
        self._sockets: weakref.WeakSet[socket.socket] = weakref.WeakSet()
        self._lock = threading.Lock()
        self._is_hung_up = False

    def add(self, sock: socket.socket) -> None:
        """Keep one that was opened, as long as its connection does."""
        with self._lock:
            self._sockets.add(sock)
            if self._is_hung_up:
                _hang_up(sock)

    def hang_up(self) -> None:
        """End all of them, and those that are opened later: who waits for an answer has a broken connection."""
        with self._lock:
            self._is_hung_up = True
            for sock in self._sockets:
                _hang_up(sock)


def _hang_up(sock: socket.socket) -> None:
    with suppress(OSError):
        # Not that of a TLS socket, which takes away what another thread is reading with.
        socket.socket.shutdown(sock, socket.SHUT_RDWR)


class ServerAdapter(HTTPAdapter):
    """A pool of connections to one host.

    Args:
        connections: the most of them.
        key_password: opens the private key of a client certificate; None where it has no password.
        sockets: is told each that is opened.
    """

    def __init__(self, connections: int, key_password: str | None, sockets: OpenSockets) -> None:
        self._key = {"key_password": key_password} if key_password is not None else {}
        self._pools = _pools_that_tell(sockets)
        super().__init__(pool_connections=1, pool_maxsize=connections, pool_block=True)

    def init_poolmanager(self, connections: int, maxsize: int, block: bool = False, **more: object) -> None:
        """The pools of connections without a proxy."""
        super().init_poolmanager(connections, maxsize, block, **more, **self._key)
        self.poolmanager.pool_classes_by_scheme = self._pools

    def proxy_manager_for(self, proxy: str, **more: object) -> Any:
        """The pools of connections through a proxy."""
        manager = super().proxy_manager_for(proxy, **more, **self._key)
        manager.pool_classes_by_scheme = self._pools
        return manager


class _Raw(io.RawIOBase):
    """What a socket receives, until it is too late."""

    def __init__(self, received: io.RawIOBase, sock: socket.socket, host: str) -> None:
        self._received = received
        self._sock = sock
        self._host = host
        self._seconds = _WAITS_FOR_AN_ANSWER * (sock.gettimeout() or 0.0)
        self._latest = time.monotonic() + self._seconds

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer) -> int | None:
        if time.monotonic() > self._latest:
            raise RequestTimeoutError(
                f"{self._host} sent an answer so slowly that it was not there after {self._seconds:g} s. Ask for less "
                "at once (`server.batch_size`) or wait longer (`server.read_timeout_seconds`)."
            )
        return self._received.readinto(buffer)

    def close(self) -> None:
        self._received.close()
        super().close()


class _Response(http.client.HTTPResponse):
    def __init__(self, sock: socket.socket, *more: Any, host: str, **how: Any) -> None:
        super().__init__(sock, *more, **how)
        self.fp = io.BufferedReader(_Raw(self.fp.detach(), sock, host))


class _Timed(http.client.HTTPConnection):
    open_sockets: OpenSockets

    def connect(self) -> None:
        super().connect()
        self.open_sockets.add(self.sock)

    def response_class(  # type: ignore[override]  # a class there, but it is only called
        self, sock: socket.socket, *more: Any, **how: Any
    ) -> _Response:
        return _Response(sock, *more, host=self.host, **how)


def _pools_that_tell(sockets: OpenSockets) -> dict[str, type[urllib3.HTTPConnectionPool]]:
    """Kinds of pools by scheme. urllib3 makes connections of a class that a kind of pool names, so each adapter has
    kinds of its own."""

    class HTTPConnection(_Timed, urllib3.connection.HTTPConnection):
        open_sockets = sockets

    class HTTPSConnection(_Timed, urllib3.connection.HTTPSConnection):
        open_sockets = sockets

    class HTTPPool(urllib3.HTTPConnectionPool):
        ConnectionCls = HTTPConnection

    class HTTPSPool(urllib3.HTTPSConnectionPool):
        ConnectionCls = HTTPSConnection

    return {"http": HTTPPool, "https": HTTPSPool}
