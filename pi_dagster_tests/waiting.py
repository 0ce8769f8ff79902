"""Waiting for what another thread or process does."""

from __future__ import annotations

from collections.abc import Callable

import tenacity

_SECONDS_BETWEEN_LOOKS = 0.1
_LONGEST_SECONDS = 300


def wait_until(condition: Callable[[], object]) -> None:
    """Return as soon as `condition` holds.

    Raises:
        tenacity.RetryError: it does not within five minutes.
    """
    tenacity.Retrying(
        retry=tenacity.retry_if_result(lambda holds: not holds),
        wait=tenacity.wait_fixed(_SECONDS_BETWEEN_LOOKS),
        stop=tenacity.stop_after_delay(_LONGEST_SECONDS),
    )(condition)
