"""Interrupts are heard wherever the main thread is when they come."""

from __future__ import annotations

import signal
import threading

import pytest

from pi_dagster.interrupts import heard_interrupts, held_interrupts
from pi_dagster_tests.ctrl_c import press_where_the_exception_is_lost

LONG = 3600.0


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_one_whose_exception_is_lost_is_heard() -> None:
    with heard_interrupts() as interrupts:
        assert not interrupts.has_come()
        press_where_the_exception_is_lost()
        assert interrupts.has_come()
        assert interrupts.has_come()
        with pytest.raises(KeyboardInterrupt):
            interrupts.pause(LONG)


def test_heard_ones_do_what_they_did_before() -> None:
    with heard_interrupts(), pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_the_first_is_held_until_a_pause(signum: signal.Signals) -> None:
    with held_interrupts() as interrupts:
        interrupts.pause(0.0)
        signal.raise_signal(signum)
        with pytest.raises(KeyboardInterrupt):
            interrupts.pause(LONG)


def test_a_pause_ends_when_one_comes() -> None:
    main = threading.get_ident()
    with held_interrupts() as interrupts:
        threading.Thread(target=signal.pthread_kill, args=(main, signal.SIGINT)).start()
        with pytest.raises(KeyboardInterrupt):
            interrupts.pause(LONG)


def test_a_second_does_not_wait() -> None:
    with held_interrupts():
        signal.raise_signal(signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGTERM)


def test_other_signals_are_no_interrupts() -> None:
    before = signal.signal(signal.SIGUSR1, lambda number, frame: None)
    try:
        with heard_interrupts() as interrupts:
            signal.raise_signal(signal.SIGUSR1)
            assert not interrupts.has_come()
            interrupts.pause(0.0)
    finally:
        signal.signal(signal.SIGUSR1, before)


def test_what_was_there_before_is_there_after() -> None:
    handlers = [signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)]
    with held_interrupts() as interrupts:
        signal.raise_signal(signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            interrupts.pause(LONG)
    assert [signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)] == handlers
    assert signal.set_wakeup_fd(-1) == -1
