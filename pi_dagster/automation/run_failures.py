"""Why a run failed, as its asset has told Dagster, and which partitions it names."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import dagster as dg
from dagster._core.execution.plan.objects import StepFailureData

from pi_dagster.redaction import redacted

FAILED_PARTITIONS = "pi/failed_partitions"
"""Metadata of a failure: the keys of the partitions, with commas."""

UNKNOWN_REASON = "Its process ended without telling why: it was killed, or its machine was switched off."


def step_failures(instance: dg.DagsterInstance, run_id: str) -> Iterator[StepFailureData]:
    """The failures of the steps of a run; a run has one step here, and none where its process was killed."""
    for entry in instance.all_logs(run_id, of_type=dg.DagsterEventType.STEP_FAILURE):
        if entry.dagster_event is not None:
            yield entry.dagster_event.step_failure_data


def reason_of_run(instance: dg.DagsterInstance, run_id: str) -> str:
    """Why a run failed."""
    return " ".join(reason_of(failure) for failure in step_failures(instance, run_id)) or UNKNOWN_REASON


def reason_of(failure: StepFailureData) -> str:
    """Why a step failed."""
    if failure.user_failure_data is not None and failure.user_failure_data.description:
        return failure.user_failure_data.description
    error = failure.error
    # Dagster says of a defect only in which step it was; what it is comes as the cause.
    while error is not None and error.cause is not None:
        error = error.cause
    return redacted(error.message.strip()) if error is not None else UNKNOWN_REASON


def failed_partitions(failure: StepFailureData) -> Sequence[str]:
    """The partitions that a step of pi_timeseries names as failed."""
    metadata = failure.user_failure_data.metadata if failure.user_failure_data is not None else {}
    named = metadata.get(FAILED_PARTITIONS)
    return str(named.value).split(", ") if named is not None else ()
