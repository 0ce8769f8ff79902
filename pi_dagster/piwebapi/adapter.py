"""Connections whose answers have to come to an end: from the first byte of the status to the last of the body.

A timeout of a socket is for its next byte only. A server that sends one a minute, of a header, of the body or of
`100 Continue` again and again, would hold a thread for ever.
"""

from __future__ import annotations

import http.client
import io
import socket
import time
from typing import TYPE_CHECKING, Any

import urllib3
import urllib3.connection
from requests.adapters import HTTPAdapter

from pi_dagster.piwebapi.errors import RequestTimeoutError

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

_WAITS_FOR_AN_ANSWER = 10
"""An answer has to be there after so many times the wait for its next byte."""


class ServerAdapter(HTTPAdapter):
    """A pool of connections to one host.

    Args:
        connections: the most of them.
        key_password: opens the private key of a client certificate; None where it has no password.
    """

    def __init__(self, connections: int, key_password: str | None) -> None:
        self._key = {"key_password": key_password} if key_password is not None else {}
        super().__init__(pool_connections=1, pool_maxsize=connections, pool_block=True)

    def init_poolmanager(self, connections: int, maxsize: int, block: bool = False, **more: object) -> None:
        """The pools of connections without a proxy."""
        super().init_poolmanager(connections, maxsize, block, **more, **self._key)
        self.poolmanager.pool_classes_by_scheme = _POOLS

    def proxy_manager_for(self, proxy: str, **more: object) -> Any:
        """The pools of connections through a proxy."""
        manager = super().proxy_manager_for(proxy, **more, **self._key)
        manager.pool_classes_by_scheme = _POOLS
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
    def response_class(  # type: ignore[override]  # a class there, but it is only called
        self, sock: socket.socket, *more: Any, **how: Any
    ) -> _Response:
        return _Response(sock, *more, host=self.host, **how)


class _HTTPConnection(_Timed, urllib3.connection.HTTPConnection):
    pass


class _HTTPSConnection(_Timed, urllib3.connection.HTTPSConnection):
    pass


class _HTTPPool(urllib3.HTTPConnectionPool):
    ConnectionCls = _HTTPConnection


class _HTTPSPool(urllib3.HTTPSConnectionPool):
    ConnectionCls = _HTTPSConnection


_POOLS = {"http": _HTTPPool, "https": _HTTPSPool}
