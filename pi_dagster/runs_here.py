"""One run of a job in this process, for the command line: told by its events instead of Dagster's log."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping, Sequence

import dagster as dg
from dagster._core.execution.plan.objects import StepFailureData

from pi_dagster.automation.run_failures import failed_partitions, reason_of
from pi_dagster.interrupts import heard_interrupts


class RunFailedError(Exception):
    """A run failed; the message is that of the asset.

    Args:
        message: why.
        run_id: of the run.
        partitions: those that failed; none where the run could not begin with any.
    """

    def __init__(self, message: str, *, run_id: str, partitions: Sequence[str]) -> None:
        super().__init__(message)
        self.run_id = run_id
        self.partitions = partitions


class RunInterruptedError(Exception):
    """Somebody interrupted a run; the partitions that were loaded until then stay.

    Args:
        failure: the run had failed by then, and this is how.
    """

    def __init__(self, failure: RunFailedError | None = None) -> None:
        super().__init__()
        self.failure = failure


def run_here(
    job: dg.JobDefinition,
    instance: dg.DagsterInstance,
    tags: Mapping[str, str],
    on_materialization: Callable[[dg.AssetMaterialization], None],
) -> None:
    """One run in this process, on its main thread.

    Args:
        job: what to run.
        instance: where Dagster records it.
        tags: the run's tags, which choose the partitions.
        on_materialization: told of each as it is committed.

    Raises:
        RunFailedError: the run failed.
        RunInterruptedError: Ctrl-C.
        ValueError: this is not the main thread, which alone hears of Ctrl-C.
    """
    failures: list[StepFailureData] = []

    def on_event(entry: dg.EventLogEntry) -> None:
        event = entry.dagster_event
        if event is None:
            return
        if event.is_step_materialization:
            on_materialization(event.step_materialization_data.materialization)
        elif event.is_step_failure and not _is_interrupt(event.step_failure_data):
            failures.append(event.step_failure_data)

    run_id = str(uuid.uuid4())
    instance.add_event_listener(run_id, on_event)
    # Dagster forgets an interrupt that comes while it records the end of a run.
    with heard_interrupts() as interrupts:
        outcome = job.execute_in_process(
            instance=instance,
            run_id=run_id,
            tags=tags,
            raise_on_error=False,
            run_config={"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}},
        )
        is_interrupted = interrupts.has_come()
    if outcome.success and not is_interrupted:
        return
    failure = RunFailedError(
        " ".join(reason_of(failure) for failure in failures) or f"The run of {job.name} failed.",
        run_id=run_id,
        partitions=[key for failure in failures for key in failed_partitions(failure)],
    )
    if is_interrupted:
        raise RunInterruptedError(failure if failures else None)
    raise failure


def _is_interrupt(failure: StepFailureData) -> bool:
    return failure.error is None or failure.error.cls_name == "DagsterExecutionInterruptedError"
