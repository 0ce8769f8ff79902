"""How far a command is: on a terminal one line that is written over, in a log a whole line now and then."""

from __future__ import annotations

import sys
import time
from typing import TextIO

_SECONDS_BETWEEN_LINES = 30.0


class ProgressLine:
    """One line about how far it is.

    Args:
        stream: where it is told; control characters are only written to a terminal.
    """

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream or sys.stderr
        self._on_terminal = self._stream.isatty()
        self._told_at = time.monotonic()

    def tell(self, line: str) -> None:
        """Show how far it is now."""
        if self._on_terminal:
            print(f"\r\033[K{line}", end="", file=self._stream, flush=True)
        elif time.monotonic() - self._told_at >= _SECONDS_BETWEEN_LINES:
            self._told_at = time.monotonic()
            print(line, file=self._stream, flush=True)

    def end(self) -> None:
        """Leave a terminal's line empty for what is told next."""
        if self._on_terminal:
            print("\r\033[K", end="", file=self._stream, flush=True)
