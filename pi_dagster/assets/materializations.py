"""The materialization of each partition of a run, recorded as soon as that partition is committed."""

# Without `from __future__ import annotations`, as the assets that use it.

from collections.abc import Iterator, Mapping

import dagster as dg
from dagster._core.errors import DagsterExecutionInterruptedError
from dagster._utils.interrupts import capture_interrupts, pop_captured_interrupt

from pi_dagster.automation.partitions import is_range_run


def materialized(
    context: dg.AssetExecutionContext,
    partition: str,
    told: str,
    metadata: Mapping[str, dg.MetadataValue],
    *,
    tags: Mapping[str, str] | None = None,
) -> Iterator[dg.MaterializeResult[None]]:
    """Record one partition, and have the run's log tell of it.

    A run over a range of partitions logs them one by one, so that one that fails leaves the others done;
    `MaterializeResult` counts for all of them, and only once the function has returned. The text goes with the event,
    because a line of its own is a commit of its own in Dagster's record; loggers outside it see it at level DEBUG.

    Args:
        context: of an asset that is alone in its function.
        partition: the partition's key.
        told: for the log, what was done.
        metadata: of the materialization.
        tags: of the materialization, where the run is over a range.

    Yields:
        The asset's result, where the run is for one partition only.

    Raises:
        DagsterExecutionInterruptedError: the run was interrupted meanwhile; the partition is recorded.
    """
    if is_range_run(context):
        # What is committed gets recorded; and Python would lose an exception that comes in a finalizer of SQLAlchemy's.
        with capture_interrupts():
            context.log_event(
                dg.AssetMaterialization(
                    context.asset_key, partition=partition, description=told, metadata=metadata, tags=tags
                )
            )
            if pop_captured_interrupt():
                raise DagsterExecutionInterruptedError
    else:
        context.log.info(told)
        yield dg.MaterializeResult(metadata=metadata)
