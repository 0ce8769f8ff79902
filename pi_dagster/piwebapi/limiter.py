"""How hard one process may ask a server, over all its threads: requests a second, and requests in flight, which
become fewer when the server refuses, is late or gets slower, and creep back.

The rule is TCP's: half as many after a refusal, one more after a while without. Threads that wait here do not each
find out for themselves that the server is busy: a `Retry-After` that one of them got holds for all.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from pi_dagster.piwebapi.errors import ConnectionFailedError, PIWebAPIError, RequestTimeoutError, ServerTroubleError

_ROUND_TRIPS_A_WINDOW = 4
"""The limit is looked at once for so many answers to each request in flight: growing faster makes more refusals."""

_SLOW = 2.0
"""Slower than this times the fastest answer of its size counts as slow: requests may be queueing."""

_BRINGS_AS_MUCH = 0.9

_WINDOWS_UNTIL_NEXT_TRIAL = 16
"""After fewer in flight brought less: what is slow is then not a queue, and each trial costs some throughput."""


@dataclass(frozen=True, kw_only=True)
class Answered:
    """What is learned from one answer.

    Args:
        epoch: of the limit, when the request was sent.
        in_flight: requests under way when it was sent, itself included.
        seconds: until its answer had been read.
        size: bytes of the answer.
    """

    epoch: int
    in_flight: int
    seconds: float
    size: int


class InFlightLimit:
    """How many requests may be under way: a number from 1 to `ceiling`, at which it begins.

    Answers differ in size, and large ones take longer without anything being wrong. So an answer is compared with
    the fastest of about its size. Where answers are slow, fewer requests are tried: by Little's law a queue at the
    server then gets shorter and as much is brought as before. If less is brought, it was no queue, and the trial ends.
    """

    def __init__(self, ceiling: int) -> None:
        self.ceiling = ceiling
        self.now = ceiling
        self.epoch = 0
        """Counts the changes; what was sent before the last one says nothing about the limit of now."""
        self._fastest: dict[int, float] = {}
        self._trial: _Trial | None = None
        self._windows_until_trial = 0
        self._begin_window()

    def refused(self, epoch: int) -> None:
        """The server refused a request, or did not answer it in time: half as many, once a round trip."""
        if epoch == self.epoch:
            self._trial = None
            self._change_to(max(1, self.now // 2))

    def answered(self, answer: Answered) -> None:
        """The server answered a request: one more after a window of them."""
        if answer.epoch != self.epoch:
            return
        size_class = answer.size.bit_length()
        fastest = self._fastest[size_class] = min(answer.seconds, self._fastest.get(size_class, answer.seconds))
        self._answers += 1
        self._in_flight += answer.in_flight
        self._seconds += answer.seconds
        self._fastest_seconds += fastest
        if self._answers >= _ROUND_TRIPS_A_WINDOW * self.now:
            self._end_window()

    def _end_window(self) -> None:
        slowness = self._seconds / self._fastest_seconds if self._fastest_seconds else 1.0
        brought = self._in_flight / self._answers / slowness
        if self._trial is not None and brought < _BRINGS_AS_MUCH * self._trial.brought:
            limit, self._trial = self._trial.limit, None
            self._windows_until_trial = _WINDOWS_UNTIL_NEXT_TRIAL
        elif slowness > _SLOW and self.now > 1 and self._windows_until_trial <= 0:
            # All steps of a trial are compared with its beginning, or small losses would add up.
            self._trial = _Trial(self.now, self._trial.brought if self._trial else brought)
            limit = self.now * 3 // 4
        else:
            self._trial = None
            self._windows_until_trial -= 1
            limit = min(self.ceiling, self.now + 1)
        self._change_to(limit)

    def _change_to(self, limit: int) -> None:
        if limit != self.now:
            self.now = limit
            self.epoch += 1
        self._begin_window()

    def _begin_window(self) -> None:
        self._answers = 0
        self._in_flight = 0
        self._seconds = 0.0
        self._fastest_seconds = 0.0


@dataclass(frozen=True)
class _Trial:
    """The limit to go back to, and how many requests' worth of work was done at a time before there were fewer."""

    limit: int
    brought: float


class Slot:
    """Leave to send one request."""

    def __init__(self, *, epoch: int, in_flight: int, give_back: Callable[[], None]) -> None:
        self.epoch = epoch
        self.answer: Answered | None = None
        """What came back, if something did."""
        self._in_flight = in_flight
        self._give_back = give_back
        self._began = time.monotonic()

    def answer_is_read(self, size: int) -> None:
        """The server has done its part: the next request may be sent while this answer, of so many bytes, is used."""
        seconds = time.monotonic() - self._began
        self.answer = Answered(epoch=self.epoch, in_flight=self._in_flight, seconds=seconds, size=size)
        self._give_back()


@dataclass(frozen=True, kw_only=True)
class Restraint:
    """How far a limiter held back: refusals it saw, seconds spent below the ceiling, requests in flight allowed now."""

    refusals: int
    seconds_held_back: float
    in_flight_limit: int


class RequestLimiter:
    """Hands out slots to send a request in, first come, first served; repeats come first.

    PI Web API answers 429 above 1,000 requests a second and client address by default (docs.aveva.com,
    "RateLimitMaxRequests"); clients behind one address share that.

    Args:
        max_in_flight: slots taken at once, at most.
        max_per_second: slots handed out a second; they are spaced evenly, without bursts.
        first_pause_seconds: nobody sends for so long when the server refuses a request that was alone in flight;
            doubles with each further refusal.
        longest_pause_seconds: cap of that pause; what the server asks for is not capped.
    """

    def __init__(
        self,
        *,
        max_in_flight: int,
        max_per_second: float,
        first_pause_seconds: float = 0.5,
        longest_pause_seconds: float = 30.0,
    ) -> None:
        self._limit = InFlightLimit(max_in_flight)
        self._spacing = 1.0 / max_per_second
        self._first_pause = min(first_pause_seconds, longest_pause_seconds)
        self._longest_pause = longest_pause_seconds
        self._next_pause = self._first_pause
        self._changed = threading.Condition()
        self._waiting: deque[object] = deque()
        self._in_flight = 0
        self._next_start = 0.0
        self._resume_at = 0.0
        self._last_refusal: PIWebAPIError | None = None
        self._is_closed = False
        self._refusals = 0
        self._held_back_since: float | None = None
        self._seconds_held_back = 0.0

    def close(self) -> None:
        """Nobody waits any more: requests whose turn has not come are given up."""
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()

    @property
    def restraint(self) -> Restraint:
        """How far requests were held back since the beginning."""
        with self._changed:
            below = 0.0 if self._held_back_since is None else time.monotonic() - self._held_back_since
            return Restraint(
                refusals=self._refusals,
                seconds_held_back=self._seconds_held_back + below,
                in_flight_limit=self._limit.now,
            )

    @contextmanager
    def slot(self, *, patience_seconds: float, goes_first: bool) -> Iterator[Slot]:
        """Wait for a slot, and learn from how the block ends.

        Args:
            patience_seconds: a longer pause than this is not waited for.
            goes_first: goes before requests that wait: a repeat, as whoever reads waits for it first.

        Raises:
            PIWebAPIError: the refusal that began a pause longer than `patience_seconds`.
            ConnectionFailedError: closed before a slot was free.
        """
        slot = self._wait(patience_seconds, goes_first=goes_first)
        try:
            yield slot
        except (ServerTroubleError, RequestTimeoutError) as error:
            if _is_about_load(error):
                self._learn_refusal(slot, error)
            raise
        else:
            self._learn_answer(slot)
        finally:
            if slot.answer is None:
                self._take_back()

    def _wait(self, patience_seconds: float, *, goes_first: bool) -> Slot:
        me = object()
        with self._changed:
            (self._waiting.appendleft if goes_first else self._waiting.append)(me)
            try:
                while True:
                    if self._is_closed:
                        raise ConnectionFailedError("The connection was closed before this request could be sent.")
                    now = time.monotonic()
                    pause = self._resume_at - now
                    if pause > max(0.0, patience_seconds) and self._last_refusal is not None:
                        raise self._last_refusal
                    is_next = self._waiting[0] is me and self._in_flight < self._limit.now
                    too_early = max(pause, self._next_start - now)
                    if is_next and too_early <= 0:
                        self._next_start = max(now, self._next_start) + self._spacing
                        self._in_flight += 1
                        return Slot(epoch=self._limit.epoch, in_flight=self._in_flight, give_back=self._take_back)
                    self._changed.wait(too_early if is_next else None)
            finally:
                self._waiting.remove(me)
                self._changed.notify_all()

    def _take_back(self) -> None:
        with self._changed:
            self._in_flight -= 1
            self._changed.notify_all()

    def _learn_answer(self, slot: Slot) -> None:
        with self._changed:
            self._next_pause = self._first_pause
            if slot.answer is not None:
                self._limit.answered(slot.answer)
            self._limit_may_have_changed()

    def _learn_refusal(self, slot: Slot, error: ServerTroubleError | RequestTimeoutError) -> None:
        with self._changed:
            self._refusals += 1
            self._last_refusal = error
            pause = (error.retry_after_seconds or 0.0) if isinstance(error, ServerTroubleError) else 0.0
            if self._limit.now == 1 and slot.epoch == self._limit.epoch:
                pause = max(pause, self._next_pause)
                self._next_pause = min(self._longest_pause, 2 * self._next_pause)
            self._resume_at = max(self._resume_at, time.monotonic() + pause)
            self._limit.refused(slot.epoch)
            self._limit_may_have_changed()

    def _limit_may_have_changed(self) -> None:
        is_below = self._limit.now < self._limit.ceiling
        if is_below and self._held_back_since is None:
            self._held_back_since = time.monotonic()
        elif not is_below and self._held_back_since is not None:
            self._seconds_held_back += time.monotonic() - self._held_back_since
            self._held_back_since = None
        self._changed.notify_all()


def _is_about_load(error: ServerTroubleError | RequestTimeoutError) -> bool:
    """True for what fewer requests can cure; PI Web API answers 500 for missing rights and damaged archives too."""
    return isinstance(error, RequestTimeoutError) or error.status != 500
