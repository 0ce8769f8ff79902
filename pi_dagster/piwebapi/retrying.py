"""When and how often a request is repeated, by the type of its failure."""

from __future__ import annotations

from dataclasses import dataclass

import tenacity

from pi_dagster.piwebapi.errors import BrokenAnswerError, RequestTimeoutError, ServerTroubleError


@dataclass(frozen=True, kw_only=True)
class RetryPolicy:
    """When and how often a request is repeated.

    Args:
        budget_seconds: no repeat starts later than this after the first try.
        first_wait_seconds: wait before the first repeat; doubles each time, with full jitter.
        longest_wait_seconds: cap of the wait, unless the server's `Retry-After` asks for more.
        tries_when_unlikely: tries in all for failures that often are not transient: 500 (PI Web API uses it for
            missing back-end rights too) and unreadable bodies.
        tries_after_timeouts: tries in all when no answer came in time; a smaller request helps more than another try.
    """

    budget_seconds: float = 300.0
    first_wait_seconds: float = 0.5
    longest_wait_seconds: float = 30.0
    tries_when_unlikely: int = 4
    tries_after_timeouts: int = 2

    def should_stop(self, state: tenacity.RetryCallState) -> bool:
        """True when the failed try in `state` was the last."""
        error = state.outcome.exception() if state.outcome else None
        unlikely = isinstance(error, BrokenAnswerError) or (
            isinstance(error, ServerTroubleError) and error.status == 500
        )
        if unlikely and state.attempt_number >= self.tries_when_unlikely:
            return True
        if isinstance(error, RequestTimeoutError) and state.attempt_number >= self.tries_after_timeouts:
            return True
        return (state.seconds_since_start or 0.0) + state.upcoming_sleep >= self.budget_seconds

    def wait_seconds(self, state: tenacity.RetryCallState) -> float:
        """Seconds to wait before the next try."""
        error = state.outcome.exception() if state.outcome else None
        backoff = tenacity.wait_random_exponential(multiplier=self.first_wait_seconds, max=self.longest_wait_seconds)
        return max(backoff(state), self._asked_wait(error))

    @staticmethod
    def _asked_wait(error: BaseException | None) -> float:
        return (error.retry_after_seconds or 0.0) if isinstance(error, ServerTroubleError) else 0.0
