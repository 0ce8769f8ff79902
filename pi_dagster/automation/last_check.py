"""The last result of a check, by Dagster's record."""

from __future__ import annotations

import dagster as dg

_AT_A_LOOK = 3
_LOOKS_BACK = 100


def last_evaluation(
    instance: dg.DagsterInstance, check: dg.AssetCheckKey, *, with_metadata: str | None = None
) -> dg.AssetCheckEvaluation | None:
    """What a check came to last; None where nothing is known.

    Args:
        instance: Dagster's record.
        check: the check.
        with_metadata: look for the last one that tells this.
    """
    # Runs of the check that failed, or have just begun, are in its history without a result.
    cursor: int | None = None
    for _ in range(_LOOKS_BACK):
        history = instance.event_log_storage.get_asset_check_execution_history(check, limit=_AT_A_LOOK, cursor=cursor)
        for record in history:
            evaluation = record.evaluation
            if isinstance(evaluation, dg.AssetCheckEvaluation) and (
                with_metadata is None or with_metadata in evaluation.metadata
            ):
                return evaluation
            cursor = record.id
        if len(history) < _AT_A_LOOK:
            break
    return None
