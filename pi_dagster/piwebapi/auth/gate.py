"""A login is tried by one request alone before others follow, and after a refusal by none.

Domains lock an account after a few wrong passwords. Eight requests that begin at once, or a refused one that is
repeated, would be enough; and so would a run every few minutes, so that refusals are remembered from run to run.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from pi_dagster.piwebapi.auth.refusal_memory import RefusalMemory
from pi_dagster.piwebapi.errors import ConnectionFailedError, LoginRefusedError, SecretRefusedError


class LoginGate:
    """Lets requests pass one at a time until the server has accepted the login.

    Args:
        memory: of earlier refusals.
        is_open: True where there is no login that could be refused.
    """

    def __init__(self, memory: RefusalMemory, *, is_open: bool) -> None:
        self._memory = memory
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
            if tries:
                self._memory.check()
            yield
        except SecretRefusedError as error:
            # What was accepted before is no wrong password; should it be one now, the next run finds out.
            raise self._first(self._memory.refused(error) if tries else error) from None
        except LoginRefusedError as error:
            raise self._first(error) from None
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
            self._memory.accepted()
            with self._changed:
                self._is_open = True
                self._changed.notify_all()

    def close(self) -> None:
        """Nobody waits any more."""
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()

    def _first(self, error: LoginRefusedError) -> LoginRefusedError:
        """The first refusal, which those of requests that were under way too are told as."""
        with self._changed:
            if self._refusal is None:
                self._refusal = error
            return self._refusal
