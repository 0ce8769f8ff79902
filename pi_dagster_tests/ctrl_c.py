"""Ctrl-C, pressed by tests at the moments that matter."""

from __future__ import annotations

import signal
import weakref
from collections.abc import Callable

import dagster as dg
import pytest


class _Mortal:
    """Something that a weak reference can outlive."""


def press_where_the_exception_is_lost(signum: signal.Signals = signal.SIGINT) -> None:
    """In the callback of a weak reference, as Dagster's SQLAlchemy has many."""
    mortal = _Mortal()
    reference = weakref.ref(mortal, lambda _: signal.raise_signal(signum))
    del mortal
    assert reference() is None


def press_at(
    monkeypatch: pytest.MonkeyPatch, kind: dg.DagsterEventType, signum: signal.Signals = signal.SIGINT
) -> None:
    """Have it pressed when Dagster records an event of a kind."""
    add_listener = dg.DagsterInstance.add_event_listener

    def add_pressing(instance: dg.DagsterInstance, run_id: str, on_event: Callable[[dg.EventLogEntry], None]) -> None:
        def press(entry: dg.EventLogEntry) -> None:
            on_event(entry)
            if entry.dagster_event is not None and entry.dagster_event.event_type == kind:
                press_where_the_exception_is_lost(signum)

        add_listener(instance, run_id, press)

    monkeypatch.setattr(dg.DagsterInstance, "add_event_listener", add_pressing)
