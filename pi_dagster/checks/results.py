"""A verdict as Dagster's result of a check: a sentence, typed figures, a table of offenders."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime

import dagster as dg

from pi_dagster.assets.failures import EXPECTED_ERRORS
from pi_dagster.assets.metadata_tables import table_of_records
from pi_dagster.checks.verdict import MOST_NAMED, Row, Verdict
from pi_dagster.lake import TableMissingError
from pi_dagster.redaction import redacted
from pi_dagster.server_text import printable

OFFENDERS = "pi/offenders"
JUDGED_AT = "pi/judged_at"
"""Metadata of a result: when the data was looked at; earlier than the result where a backfill repeats the last one."""

_AT_A_LOOK = 3
_LOOKS_BACK = 100
_CELL_LETTERS = 300


def result_of(
    key: dg.AssetCheckKey, severity: dg.AssetCheckSeverity, judge: Callable[[], Verdict], *, judged_at: datetime
) -> dg.AssetCheckResult:
    """The result of a check; what cannot be judged is red too, and says why.

    Args:
        key: the check.
        severity: how bad it is when it fails.
        judge: judges the data.
        judged_at: the present.
    """
    try:
        verdict = judge()
    except TableMissingError as error:
        verdict = Verdict(passed=False, said=f"There is nothing to judge yet. {error}")
        severity = dg.AssetCheckSeverity.WARN
    except EXPECTED_ERRORS as error:
        verdict = Verdict(passed=False, said=f"This could not be judged. {printable(redacted(str(error)))}")
    metadata: dict[str, dg.MetadataValue] = {JUDGED_AT: dg.MetadataValue.timestamp(judged_at)}
    for name, number in verdict.numbers.items():
        if isinstance(number, datetime):
            metadata[name] = dg.MetadataValue.timestamp(number)
        elif isinstance(number, int):
            metadata[name] = dg.MetadataValue.int(number)
        else:
            metadata[name] = dg.MetadataValue.float(number)
    for name, rows in {OFFENDERS: verdict.offenders, **verdict.tables}.items():
        if rows:
            metadata[name] = _table(rows)
    return dg.AssetCheckResult(
        asset_key=key.asset_key,
        check_name=key.name,
        passed=verdict.passed,
        severity=severity,
        description=verdict.said,
        metadata=metadata,
    )


def last_result(instance: dg.DagsterInstance, key: dg.AssetCheckKey) -> dg.AssetCheckResult | None:
    """The last result of a check, to be told again; None where there is none."""
    # Runs of the check that failed, or have just begun, are in its history without a result.
    cursor: int | None = None
    for _ in range(_LOOKS_BACK):
        history = instance.event_log_storage.get_asset_check_execution_history(key, limit=_AT_A_LOOK, cursor=cursor)
        for record in history:
            if isinstance(evaluation := record.evaluation, dg.AssetCheckEvaluation):
                return dg.AssetCheckResult(
                    asset_key=key.asset_key,
                    check_name=key.name,
                    passed=evaluation.passed,
                    severity=evaluation.severity,
                    description=evaluation.description,
                    metadata=evaluation.metadata,
                )
            cursor = record.id
        if len(history) < _AT_A_LOOK:
            break
    return None


def _table(rows: Sequence[Row]) -> dg.MetadataValue:
    """At most a hundred lines, with nothing in them that a name of a server should not do."""
    lines = [
        {name: printable(cell, _CELL_LETTERS) if isinstance(cell, str) else cell for name, cell in row.items()}
        for row in rows[:MOST_NAMED]
    ]
    return table_of_records(lines)
