"""Ctrl-C and SIGTERM, heard also where the exception that Python makes of them is lost.

Python raises KeyboardInterrupt wherever the main thread happens to be. In a finalizer or a weak reference's callback,
of which Dagster's SQLAlchemy has many, it is printed and forgotten
(https://docs.python.org/3/reference/datamodel.html#object.__del__).
"""

from __future__ import annotations

import select
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

_INTERRUPTS = (signal.SIGINT, signal.SIGTERM)


class Interrupts:
    """Those that have come since `heard_interrupts` or `held_interrupts` began.

    Args:
        heard: where the numbers of signals can be read.
    """

    def __init__(self, heard: socket.socket) -> None:
        self._heard = heard
        self._has_come = False

    def has_come(self) -> bool:
        """Whether there was one."""
        try:
            numbers = self._heard.recv(4096)
        except BlockingIOError:
            return self._has_come
        self._has_come = self._has_come or any(number in numbers for number in _INTERRUPTS)
        return self._has_come

    def pause(self, seconds: float) -> None:
        """Wait, but not past an interrupt.

        Args:
            seconds: for how long.

        Raises:
            KeyboardInterrupt: one has come, now or before.
        """
        if not self.has_come():
            select.select([self._heard], [], [], seconds)
        if self.has_come():
            raise KeyboardInterrupt


@contextmanager
def heard_interrupts() -> Iterator[Interrupts]:
    """Hear interrupts, which do what they did before.

    Raises:
        ValueError: this is not the main thread, which alone gets signals.
    """
    written, heard = socket.socketpair()
    with written, heard:
        written.setblocking(False)
        heard.setblocking(False)
        before = signal.set_wakeup_fd(written.fileno(), warn_on_full_buffer=False)
        try:
            yield Interrupts(heard)
        finally:
            signal.set_wakeup_fd(before)


@contextmanager
def held_interrupts() -> Iterator[Interrupts]:
    """Hold the first interrupt back until the next `Interrupts.pause`; one more is raised where it comes.

    Raises:
        ValueError: this is not the main thread, which alone gets signals.
    """
    is_held = False

    def hold(number: int, frame: FrameType | None) -> None:
        nonlocal is_held
        if is_held:
            raise KeyboardInterrupt
        is_held = True

    with heard_interrupts() as interrupts:
        before = {number: signal.signal(number, hold) for number in _INTERRUPTS}
        try:
            yield interrupts
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
