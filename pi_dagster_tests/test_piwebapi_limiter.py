"""Requests in flight become fewer when the server has too much to do, and more again when it has not."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler
from itertools import pairwise

import pytest

from pi_dagster.piwebapi.errors import ConnectionFailedError, RequestTimeoutError, ServerTroubleError
from pi_dagster.piwebapi.limiter import Answered, InFlightLimit, RequestLimiter
from pi_dagster.piwebapi.retrying import RetryPolicy
from pi_dagster.piwebapi.transport import Transport
from pi_dagster.simulator import Fault, FaultKind
from pi_dagster.site import ServerSettings
from pi_dagster_tests.planted_archive import planted
from pi_dagster_tests.test_piwebapi_transport import QUICK, Script, answer, serving


def serve(limit: InFlightLimit, answers: int, seconds: Callable[[int], float], *, size: int = 1000) -> list[int]:
    """Give so many answers to requests that keep the limit busy; returns the limit after each."""
    limits = []
    for _ in range(answers):
        limit.answered(Answered(epoch=limit.epoch, in_flight=limit.now, seconds=seconds(limit.now), size=size))
        limits.append(limit.now)
    return limits


def test_a_refusal_halves_the_requests_in_flight_once_a_round_trip() -> None:
    limit = InFlightLimit(16)
    sent = limit.epoch
    for _ in range(16):
        limit.refused(sent)
    assert limit.now == 8
    limit.refused(limit.epoch)
    assert limit.now == 4


def test_one_request_is_always_allowed() -> None:
    limit = InFlightLimit(8)
    for _ in range(20):
        limit.refused(limit.epoch)
    assert limit.now == 1


def test_after_refusals_the_limit_creeps_back_to_its_ceiling_and_not_above() -> None:
    limit = InFlightLimit(8)
    for _ in range(3):
        limit.refused(limit.epoch)
    limits = serve(limit, 200, lambda in_flight: 0.1)
    assert limits == sorted(limits)
    assert limits[0] == 1
    assert limits[-1] == 8


def test_answers_to_requests_sent_before_a_refusal_do_not_raise_the_limit() -> None:
    limit = InFlightLimit(8)
    before = Answered(epoch=limit.epoch, in_flight=8, seconds=0.1, size=1000)
    limit.refused(limit.epoch)
    for _ in range(1000):
        limit.answered(before)
    assert limit.now == 4


def test_a_queue_at_the_server_is_made_shorter_until_its_workers_are_just_busy() -> None:
    limit = InFlightLimit(32)
    limit.answered(Answered(epoch=limit.epoch, in_flight=1, seconds=0.1, size=1000))
    limits = serve(limit, 5000, lambda in_flight: 0.1 * max(1, in_flight / 4))
    assert min(limits) >= 4
    assert max(limits[2500:]) <= 12


def test_a_server_whose_answers_just_take_long_at_times_is_not_starved() -> None:
    chance = random.Random(1)
    limit = InFlightLimit(8)
    limits = serve(limit, 20_000, lambda in_flight: 0.1 * chance.lognormvariate(0, 1))
    assert sum(limits) / len(limits) > 0.85 * 8


def test_a_server_that_has_become_slow_for_good_is_not_starved() -> None:
    limit = InFlightLimit(8)
    serve(limit, 100, lambda in_flight: 0.1)
    limits = serve(limit, 20_000, lambda in_flight: 5.0)
    assert sum(limits) / len(limits) > 0.9 * 8


def test_large_answers_may_take_longer_than_small_ones() -> None:
    limit = InFlightLimit(8)
    for _ in range(1000):
        for size, seconds in ((100, 0.1), (10_000_000, 10.0)):
            limit.answered(Answered(epoch=limit.epoch, in_flight=8, seconds=seconds, size=size))
    assert limit.now == 8
    assert limit.epoch == 0


def ask(transport: Transport, times: int, *, threads: int = 18) -> None:
    with ThreadPoolExecutor(threads) as pool:
        for answered in [pool.submit(transport.get, "system/status", [], bytes) for _ in range(times)]:
            answered.result()


EAGER = {"max_requests_in_flight": 16, "max_requests_per_second": 1000}


@pytest.mark.parametrize("status", [429, 503])
def test_a_server_that_refuses_above_four_at_once_is_soon_asked_by_five_at_most(status: int) -> None:
    with planted(latency_seconds=0.02, rate_limit_requests=None) as pi:
        pi.running.faults.add(Fault(kind=FaultKind.OVERLOAD, status=status, at_once=4))
        with Transport(ServerSettings(url=pi.running.url, **EAGER), retry=QUICK) as transport:
            ask(transport, 60)
            pi.running.requests.clear()
            at_first = transport.traffic.refusals
            ask(transport, 150)
            assert pi.running.requests.max_in_flight <= 5
            assert transport.traffic.refusals - at_first <= 15
            assert transport.traffic.seconds_held_back > 0


def test_when_refusals_end_as_many_as_the_site_allows_are_in_flight_again_and_never_more() -> None:
    with planted(latency_seconds=0.01, rate_limit_requests=None) as pi:
        pi.running.faults.add(Fault(kind=FaultKind.STATUS, status=503, count=20))
        settings = ServerSettings(url=pi.running.url, max_requests_in_flight=6, max_requests_per_second=1000)
        with Transport(settings, retry=QUICK) as transport:
            ask(transport, 10)
            assert transport.traffic.in_flight_limit < 6
            pi.running.requests.clear()
            ask(transport, 300)
        assert pi.running.requests.max_in_flight == 6


def test_a_server_that_does_one_thing_after_the_other_is_asked_by_fewer_at_once() -> None:
    with (
        planted(workers=1, worker_seconds=0.02, rate_limit_requests=None) as pi,
        Transport(ServerSettings(url=pi.running.url), retry=QUICK) as transport,
    ):
        ask(transport, 5, threads=1)
        limits = []
        for _ in range(10):
            ask(transport, 20)
            limits.append(transport.traffic.in_flight_limit)
        assert min(limits) < 8
        assert transport.traffic.refusals == 0


def test_a_retry_after_that_one_thread_got_holds_for_all() -> None:
    arrivals: list[float] = []
    refusal = answer(429, Retry_After="1")

    def refuse(request: BaseHTTPRequestHandler) -> None:
        refusal(request)
        arrivals.append(time.monotonic())

    def serve_it(request: BaseHTTPRequestHandler) -> None:
        arrivals.append(time.monotonic())
        answer()(request)

    settings = {"max_requests_in_flight": 1, "max_requests_per_second": 1000}
    with serving(Script(refuse, serve_it)) as url, Transport(ServerSettings(url=url, **settings), retry=QUICK) as them:
        ask(them, 8, threads=8)
    refused, *others = arrivals
    assert len(others) == 8
    assert min(others) - refused >= 0.99


def test_a_pause_longer_than_the_budget_fails_all_threads_and_sends_nothing() -> None:
    script = Script(answer(503, b'{"Errors":["Maintenance"]}', Retry_After="3600"))
    settings = {"max_requests_in_flight": 1, "max_requests_per_second": 1000}
    with serving(script) as url, Transport(ServerSettings(url=url, **settings), retry=QUICK) as transport:
        with ThreadPoolExecutor(8) as pool:
            asked = [pool.submit(transport.get, "x", [], bytes) for _ in range(8)]
        for each in asked:
            with pytest.raises(ServerTroubleError, match="Maintenance"):
                each.result()
    assert len(script.requests) == 1


def test_refusals_of_single_requests_are_followed_by_longer_and_longer_pauses_for_all() -> None:
    limiter = RequestLimiter(max_in_flight=1, max_per_second=1000, first_pause_seconds=0.05)
    sent = []

    def send() -> None:
        with limiter.slot(patience_seconds=60, goes_first=False):
            sent.append(time.monotonic())
            raise RequestTimeoutError("too late")

    for _ in range(4):
        with pytest.raises(RequestTimeoutError):
            send()
    pauses = [after - before for before, after in pairwise(sent)]
    assert [pause >= least for pause, least in zip(pauses, (0.05, 0.1, 0.2), strict=True)] == [True] * 3
    assert limiter.restraint.refusals == 4


def test_a_server_that_refuses_all_night_is_still_only_a_server_that_refuses() -> None:
    limiter = RequestLimiter(max_in_flight=1, max_per_second=1e9, first_pause_seconds=1e-9, longest_pause_seconds=1e-9)
    for _ in range(1100):
        with pytest.raises(ServerTroubleError), limiter.slot(patience_seconds=60, goes_first=False):
            raise ServerTroubleError("Maintenance", status=503)
    assert limiter.restraint.refusals == 1100


def test_an_internal_error_does_not_slow_the_others_down() -> None:
    with planted() as pi:
        pi.running.faults.add(Fault(kind=FaultKind.STATUS, status=500, route="system/versions"))
        with Transport(ServerSettings(url=pi.running.url), retry=QUICK) as transport:
            with pytest.raises(ServerTroubleError):
                transport.get("system/versions", [], bytes)
            assert transport.traffic.refusals == 0
            assert transport.traffic.in_flight_limit == 8


def test_refusals_inside_a_batch_count() -> None:
    def refuse(body: bytes) -> None:
        raise ServerTroubleError("one of the batch's requests got 429", status=429)

    once = RetryPolicy(budget_seconds=0)
    with serving(Script(answer(207))) as url, Transport(ServerSettings(url=url), retry=once) as transport:
        with pytest.raises(ServerTroubleError):
            transport.batch([("1", "streams/x/recorded", [])], refuse)
        assert transport.traffic.in_flight_limit == 4


def test_whoever_waits_when_the_limiter_closes_gives_up() -> None:
    limiter = RequestLimiter(max_in_flight=1, max_per_second=1000)
    failures: list[Exception] = []

    def wait() -> None:
        try:
            with limiter.slot(patience_seconds=60, goes_first=False):
                pass
        except ConnectionFailedError as error:
            failures.append(error)

    threads = [threading.Thread(target=wait) for _ in range(3)]
    with limiter.slot(patience_seconds=60, goes_first=False):
        for thread in threads:
            thread.start()
        limiter.close()
        for thread in threads:
            thread.join(timeout=30)
    assert len(failures) == 3


def test_a_closed_limiter_lets_nothing_be_sent_even_when_nobody_else_is() -> None:
    limiter = RequestLimiter(max_in_flight=1, max_per_second=1000)
    limiter.close()
    with pytest.raises(ConnectionFailedError), limiter.slot(patience_seconds=60, goes_first=True):
        pass
