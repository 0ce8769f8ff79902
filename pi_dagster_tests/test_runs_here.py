"""Runs in the command's own process: an interrupt counts whenever it comes."""

from __future__ import annotations

import signal

import dagster as dg
import pytest

from pi_dagster.runs_here import RunFailedError, RunInterruptedError, run_here
from pi_dagster_tests.ctrl_c import press_at


@dg.asset
def loaded() -> None:
    """An asset that has nothing to do."""


@dg.asset
def broken() -> None:
    """An asset with a defect."""
    raise ZeroDivisionError("nothing to divide by")


@dg.asset
def refused() -> None:
    """An asset that cannot be loaded."""
    raise dg.Failure("The lake is full.")


def run(asset: dg.AssetsDefinition, instance: dg.DagsterInstance) -> None:
    job = dg.Definitions(assets=[asset], jobs=[dg.define_asset_job("load")]).resolve_job_def("load")
    run_here(job, instance, {}, lambda materialization: None)


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
    monkeypatch: pytest.MonkeyPatch, kind: dg.DagsterEventType
) -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        press_at(monkeypatch, kind)
        with pytest.raises(RunInterruptedError) as interrupted:
            run(loaded, instance)
        assert interrupted.value.failure is None
    assert signal.set_wakeup_fd(-1) == -1


def test_whoever_stops_a_service_interrupts_too(monkeypatch: pytest.MonkeyPatch) -> None:
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with dg.DagsterInstance.ephemeral() as instance:
            press_at(monkeypatch, dg.DagsterEventType.RUN_SUCCESS, signal.SIGTERM)
            with pytest.raises(RunInterruptedError):
                run(loaded, instance)
    finally:
        signal.signal(signal.SIGTERM, before)


def test_an_interrupt_after_a_failure_does_not_hide_it(monkeypatch: pytest.MonkeyPatch) -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        press_at(monkeypatch, dg.DagsterEventType.STEP_FAILURE)
        with pytest.raises(RunInterruptedError) as interrupted:
            run(refused, instance)
    assert str(interrupted.value.failure) == "The lake is full."


def test_a_failure_is_no_interrupt() -> None:
    with dg.DagsterInstance.ephemeral() as instance, pytest.raises(RunFailedError, match=r"The lake is full\."):
        run(refused, instance)


def test_an_interrupt_of_before_is_not_that_of_the_next_run(monkeypatch: pytest.MonkeyPatch) -> None:
    with dg.DagsterInstance.ephemeral() as instance, monkeypatch.context() as patch:
        press_at(patch, dg.DagsterEventType.RUN_SUCCESS)
        with pytest.raises(RunInterruptedError):
            run(loaded, instance)
    with dg.DagsterInstance.ephemeral() as instance:
        run(loaded, instance)


def test_of_a_defect_it_is_told_what_it_was() -> None:
    with dg.DagsterInstance.ephemeral() as instance, pytest.raises(RunFailedError, match="nothing to divide by"):
        run(broken, instance)
