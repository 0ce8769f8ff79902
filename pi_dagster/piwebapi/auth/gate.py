"""A login is tried by one request alone before others follow, and after a refusal by none.

Domains lock an account after a few wrong passwords. Eight requests that begin at once, or a refused one that is
repeated, would be enough.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from pi_dagster.piwebapi.errors import ConnectionFailedError, LoginRefusedError


class LoginGate:
    """Lets requests pass one at a time until the server has accepted the login.

    Args:
        is_open: True where there is no login that could be refused.
    """

    def __init__(self, *, is_open: bool) -> None:
        self._is_open = is_open
        self._is_tried = False
        self._is_closed = False
        self._refusal: LoginRefusedError | None = None
        self._changed = threading.Condition()

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Wait until the request in the block may be sent, and learn whether it was refused.

        Raises:
            LoginRefusedError: the login was refused before.
            ConnectionFailedError: closed meanwhile.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._is_open or self._is_closed or self._refusal or not self._is_tried)
            self.check()
            if self._is_closed:
                raise ConnectionFailedError("The connection was closed before this request could be sent.")
            tries = not self._is_open
            self._is_tried = tries
        try:
            yield
        except LoginRefusedError as error:
            self._refusal = error
            raise
        finally:
            if tries:
                with self._changed:
                    self._is_tried = False
                    self._changed.notify_all()

    def check(self) -> None:
        """Raise the refusal of another request, if there was one; to be asked right before sending.

        Raises:
            LoginRefusedError: the login was refused.
        """
        if self._refusal is not None:
            raise self._refusal

    def open(self) -> None:
        """The server has accepted the login: everybody may pass."""
        if not self._is_open:
            with self._changed:
                self._is_open = True
                self._changed.notify_all()

    def close(self) -> None:
        """Nobody waits any more."""
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()
