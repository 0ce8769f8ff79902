"""Runs in the command's own process: an interrupt counts whenever it comes."""

from __future__ import annotations

import signal
from collections.abc import Callable

import dagster as dg
import pytest

from pi_dagster.runs_here import RunFailedError, RunInterruptedError, run_here

InterruptAt = Callable[..., None]
"""Called with an instance, the kind of event, and perhaps another signal than that of Ctrl-C."""


@dg.asset
def loaded() -> None:
    """An asset that has nothing to do."""


@dg.asset
def refused() -> None:
    """An asset that cannot be loaded."""
    raise dg.Failure("The lake is full.")


def run(asset: dg.AssetsDefinition, instance: dg.DagsterInstance) -> None:
    job = dg.Definitions(assets=[asset], jobs=[dg.define_asset_job("load")]).resolve_job_def("load")
    run_here(job, instance, {}, lambda materialization: None)


@pytest.fixture
def interrupt_at(monkeypatch: pytest.MonkeyPatch) -> InterruptAt:
    """Presses Ctrl-C when an event of a kind is recorded."""

    def interrupt_at(
        instance: dg.DagsterInstance, kind: dg.DagsterEventType, signum: signal.Signals = signal.SIGINT
    ) -> None:
        add_listener = instance.add_event_listener

        def add_pressing(run_id: str, on_event: Callable[[dg.EventLogEntry], None]) -> None:
            def press(entry: dg.EventLogEntry) -> None:
                on_event(entry)
                if entry.dagster_event is not None and entry.dagster_event.event_type == kind:
                    signal.raise_signal(signum)

            add_listener(run_id, press)

        monkeypatch.setattr(instance, "add_event_listener", add_pressing)

    return interrupt_at


@pytest.mark.parametrize(
    "kind",
    [
        dg.DagsterEventType.STEP_START,
        dg.DagsterEventType.ASSET_MATERIALIZATION,
        dg.DagsterEventType.STEP_SUCCESS,
        dg.DagsterEventType.RUN_SUCCESS,
    ],
)
def test_an_interrupt_while_dagster_records_something(interrupt_at: InterruptAt, kind: dg.DagsterEventType) -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        interrupt_at(instance, kind)
        with pytest.raises(RunInterruptedError) as interrupted:
            run(loaded, instance)
        assert interrupted.value.failure is None
    assert signal.set_wakeup_fd(-1) == -1


def test_whoever_stops_a_service_interrupts_too(interrupt_at: InterruptAt) -> None:
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with dg.DagsterInstance.ephemeral() as instance:
            interrupt_at(instance, dg.DagsterEventType.RUN_SUCCESS, signal.SIGTERM)
            with pytest.raises(RunInterruptedError):
                run(loaded, instance)
    finally:
        signal.signal(signal.SIGTERM, before)


def test_an_interrupt_after_a_failure_does_not_hide_it(interrupt_at: InterruptAt) -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        interrupt_at(instance, dg.DagsterEventType.STEP_FAILURE)
        with pytest.raises(RunInterruptedError) as interrupted:
            run(refused, instance)
    assert str(interrupted.value.failure) == "The lake is full."


def test_a_failure_is_no_interrupt() -> None:
    with dg.DagsterInstance.ephemeral() as instance, pytest.raises(RunFailedError, match=r"The lake is full\."):
        run(refused, instance)


def test_an_interrupt_of_before_is_not_that_of_the_next_run(
    interrupt_at: InterruptAt,
) -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        interrupt_at(instance, dg.DagsterEventType.RUN_SUCCESS)
        with pytest.raises(RunInterruptedError):
            run(loaded, instance)
    with dg.DagsterInstance.ephemeral() as instance:
        run(loaded, instance)
