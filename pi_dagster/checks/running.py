"""How Dagster runs checks: those of an asset in one step, and each by itself where that is asked for.

To Dagster they do not depend on the asset. In a run over a range of partitions, as of a backfill, a check that does is
skipped, because pi_timeseries logs its materializations itself there; and after that it shows no result at all.
"""

# Without `from __future__ import annotations`: Dagster wants the annotation of `context` as a class.

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone

import dagster as dg

from pi_dagster.assets.failures import EXPECTED_ERRORS, errors_told_plainly
from pi_dagster.assets.metadata_tables import table_of_records
from pi_dagster.automation.last_check import last_evaluation
from pi_dagster.checks.look import Look
from pi_dagster.checks.verdict import MOST_NAMED, Row, Verdict
from pi_dagster.lake import TableMissingError
from pi_dagster.redaction import redacted
from pi_dagster.resources import SiteResources
from pi_dagster.server_text import printable
from pi_dagster.site import Site

OFFENDERS = "pi/offenders"
"""Metadata of a result: what is wrong, line by line, and what to do about it."""

JUDGED_AT = "pi/judged_at"
"""Metadata of a result: when the data was looked at; earlier than the result where a backfill repeats the last one."""

_BACKFILL_TAG = "dagster/backfill"
_PATIENCE_SECONDS = 20.0
"""For the server's clock: an answer that takes longer tells nothing about it."""

_CELL_LETTERS = 300


@dataclass(frozen=True, kw_only=True)
class Check:
    """A check of an asset."""

    name: str
    description: str
    judge: Callable[[Look], Verdict]
    is_error: bool = False
    """Red when it fails, not yellow."""
    is_for_backfills: bool = False
    """Judged in each run of a backfill too, and not only told again."""


def build_asset_checks(
    site: Site, resources: SiteResources, asset: dg.AssetKey, checks: Sequence[Check]
) -> dg.AssetChecksDefinition:
    """The checks of an asset as one step.

    Args:
        site: the settings.
        resources: the names of the resources.
        asset: the asset's key.
        checks: of that asset.
    """
    by_name = {check.name: check for check in checks}

    @dg.op(
        name="__".join([*asset.path, "checks"]),
        out={name: dg.Out(dg.Nothing, is_required=False) for name in by_name},
        required_resource_keys=resources.keys,
    )
    def judge_all(context: dg.OpExecutionContext) -> Iterator[dg.AssetCheckResult]:
        look = Look(
            site,
            context.instance,
            lambda: resources.lake(context).open(),
            lambda: resources.server(context).open(patience_seconds=_PATIENCE_SECONDS),
        )
        with errors_told_plainly():
            for key in sorted(context.selected_asset_check_keys):
                check = by_name[key.name]
                is_repeated = _BACKFILL_TAG in context.run.tags and not check.is_for_backfills
                yield (is_repeated and _told_again(context.instance, key)) or _result(key, check, look)

    checks_of_asset: dg.AssetChecksDefinition = dg.AssetChecksDefinition.create(
        keys_by_input_name={},
        node_def=judge_all,
        check_specs_by_output_name={
            check.name: dg.AssetCheckSpec(check.name, asset=asset, description=check.description) for check in checks
        },
        can_subset=True,
    )
    return checks_of_asset


def _result(key: dg.AssetCheckKey, check: Check, look: Look) -> dg.AssetCheckResult:
    """What cannot be judged is red too, and says why."""
    is_error = check.is_error
    try:
        verdict = check.judge(look)
    except TableMissingError as error:
        verdict, is_error = Verdict(passed=False, said=f"There is nothing to judge yet. {error}"), False
    except EXPECTED_ERRORS as error:
        verdict = Verdict(passed=False, said=f"This could not be judged. {printable(redacted(str(error)))}")
    tables = {OFFENDERS: verdict.offenders, **verdict.tables}
    return dg.AssetCheckResult(
        asset_key=key.asset_key,
        check_name=key.name,
        passed=verdict.passed,
        severity=dg.AssetCheckSeverity.ERROR if is_error else dg.AssetCheckSeverity.WARN,
        description=verdict.said,
        metadata={
            JUDGED_AT: dg.MetadataValue.timestamp(look.now),
            **{name: _figure(number) for name, number in verdict.numbers.items()},
            **{name: _table(rows) for name, rows in tables.items() if rows},
        },
    )


def _told_again(instance: dg.DagsterInstance, key: dg.AssetCheckKey) -> dg.AssetCheckResult | None:
    """The last result of a check, which says when it was judged; None where there is none."""
    last = last_evaluation(instance, key, with_metadata=JUDGED_AT)
    if last is None:
        return None
    return dg.AssetCheckResult(
        asset_key=key.asset_key,
        check_name=key.name,
        passed=last.passed,
        severity=last.severity,
        description=_as_of(last),
        metadata=last.metadata,
    )


def _as_of(result: dg.AssetCheckEvaluation) -> str:
    """What a result says, and when that was so: what is repeated may be repeated once more."""
    judged_at = datetime.fromtimestamp(float(str(result.metadata[JUDGED_AT].value)), timezone.utc)
    when = f"As of {judged_at:%Y-%m-%d %H:%M} UTC: "
    return when + (result.description or "").removeprefix(when)


def _figure(number: int | float | datetime) -> dg.MetadataValue:
    if isinstance(number, datetime):
        return dg.MetadataValue.timestamp(number)
    return dg.MetadataValue.int(number) if isinstance(number, int) else dg.MetadataValue.float(number)


def _table(rows: Sequence[Row]) -> dg.MetadataValue:
    """At most a hundred lines."""
    return table_of_records([{name: _cell(cell) for name, cell in row.items()} for row in rows[:MOST_NAMED]])


def _cell(cell: object) -> object:
    """Names that a server gave are text of one line; instants are cut to seconds."""
    if isinstance(cell, datetime):
        return cell.replace(microsecond=0)
    return printable(cell, _CELL_LETTERS) if isinstance(cell, str) else cell
