"""How hard one process may ask a server: requests in flight and requests a second, over all its threads.

PI Web API answers 429 above 1,000 requests a second and client address by default
(docs.aveva.com, "RateLimitMaxRequests"); clients behind one address share that.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager


class RequestLimiter:
    """Hands out slots to send a request in.

    Args:
        max_in_flight: slots taken at once.
        max_per_second: slots handed out a second; they are spaced evenly, without bursts.
    """

    def __init__(self, *, max_in_flight: int, max_per_second: float) -> None:
        self._slots = threading.BoundedSemaphore(max_in_flight)
        self._spacing = 1.0 / max_per_second
        self._next_start = 0.0
        self._lock = threading.Lock()

    @contextmanager
    def slot(self) -> Iterator[None]:
        """Wait for a slot and hold it until the answer has been read."""
        with self._slots:
            with self._lock:
                now = time.monotonic()
                start = max(now, self._next_start)
                self._next_start = start + self._spacing
            if start > now:
                time.sleep(start - now)
            yield
