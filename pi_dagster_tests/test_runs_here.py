"""Runs in the command's own process: an interrupt counts whenever it comes."""

from __future__ import annotations

import signal
from collections.abc import Callable

import dagster as dg
import pytest

from pi_dagster.runs_here import RunFailedError, RunInterruptedError, run_here


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
def interrupt_at(monkeypatch: pytest.MonkeyPatch) -> Callable[[dg.DagsterInstance, dg.DagsterEventType], None]:
    """Presses Ctrl-C when an event of a kind is recorded."""

    def interrupt_at(instance: dg.DagsterInstance, kind: dg.DagsterEventType) -> None:
        add_listener = instance.add_event_listener

        def add_pressing(run_id: str, on_event: Callable[[dg.EventLogEntry], None]) -> None:
            def press(entry: dg.EventLogEntry) -> None:
                on_event(entry)
                if entry.dagster_event is not None and entry.dagster_event.event_type == kind:
                    signal.raise_signal(signal.SIGINT)

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
def test_an_interrupt_while_dagster_records_something(
    interrupt_at: Callable[[dg.DagsterInstance, dg.DagsterEventType], None], kind: dg.DagsterEventType
) -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        interrupt_at(instance, kind)
        with pytest.raises(RunInterruptedError):
            run(loaded, instance)


def test_a_failure_is_no_interrupt() -> None:
    with dg.DagsterInstance.ephemeral() as instance, pytest.raises(RunFailedError, match=r"The lake is full\."):
        run(refused, instance)


def test_an_interrupt_of_before_is_not_that_of_the_next_run(
    interrupt_at: Callable[[dg.DagsterInstance, dg.DagsterEventType], None],
) -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        interrupt_at(instance, dg.DagsterEventType.RUN_SUCCESS)
        with pytest.raises(RunInterruptedError):
            run(loaded, instance)
    with dg.DagsterInstance.ephemeral() as instance:
        run(loaded, instance)
