"""`pi-dagster backfill`: days of pi_timeseries loaded, by Dagster where it is running, otherwise in this process."""

from __future__ import annotations

import signal
import time
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Annotated

import typer

from pi_dagster.cli.options import FirstDayOption, GroupsOption, JsonOption, LastDayOption, SiteOption, chosen_site
from pi_dagster.cli.progress import ProgressLine
from pi_dagster.cli.telling import INTERRUPTED, OTHER_TROUBLE, USERS_MISTAKE, complain, errors_told_plainly, print_json

if TYPE_CHECKING:
    from pi_dagster.backfill import Backfill, BackfillResult
    from pi_dagster.dagster_record import DagsterRecord
    from pi_dagster.site import Site

_MOST_REASONS = 3
_MOST_NAMED = 3


def backfill(
    site: SiteOption = None,
    first: FirstDayOption = None,
    last: LastDayOption = None,
    groups: GroupsOption = None,
    missing: Annotated[
        bool,
        typer.Option("--missing", help="Only partitions that the last run for them did not load to their end."),
    ] = False,
    here: Annotated[bool, typer.Option("--here", help="Load in this process even where Dagster is running.")] = False,
    wait: Annotated[bool, typer.Option(help="Wait for a backfill that Dagster does.")] = True,
    as_json: JsonOption = False,
) -> None:
    """Load days of pi_timeseries, each tag group of a day in one commit.

    Where Dagster is running (`dagster dev` in this folder, or with the same DAGSTER_HOME), it does the work: this
    launches a backfill as the UI would and waits for it; Ctrl-C ends only the waiting. Otherwise the work is done in
    this process and recorded where Dagster will find it; Ctrl-C keeps what is loaded. The list of tags is read first
    where it is older than the days. Ends with 0 when all partitions are loaded and with 1 when not, or when Dagster has
    stopped; says then, and after Ctrl-C, what loads the rest, which mostly is the same command with --missing.

    \b
    Examples:
      pi-dagster backfill
      pi-dagster backfill --from 2026-10-01 --to 2026-10-31 --group boilers
      pi-dagster backfill --from 2026-10-01 --missing --json
    """
    with errors_told_plainly():
        loaded = chosen_site(site)
        from pi_dagster.backfill import Backfill, BackfillResult
        from pi_dagster.chosen_partitions import ChoiceError, chosen_days, chosen_groups
        from pi_dagster.dagster_record import DagsterRecordError, open_record

        today = datetime.now(timezone.utc).date()
        try:
            days = chosen_days(
                loaded,
                first,
                last,
                usual=max(loaded.start_date, today - timedelta(days=1)),
                newest=today,
                why_none_newer="is in the future",
            )
            names = chosen_groups(loaded, groups or ())
        except ChoiceError as error:
            complain(f"Error: {error}.")
            raise typer.Exit(USERS_MISTAKE) from None
        _try_server_and_lake(loaded)
        try:
            with open_record() as record:
                work = Backfill(loaded, record)
                partitions = [(day, name) for day in days for name in names]
                result = BackfillResult(work.not_loaded(partitions) if missing else partitions)
                if missing and not record.is_kept:
                    complain(
                        "Note: --missing leaves out nothing, as no record of Dagster's tells here what is loaded: "
                        f"{_partitions(len(partitions))} to load."
                    )
                exit_code = _load(work, result, record, here=here, wait=wait)
        except DagsterRecordError as error:
            complain(f"Error: {error}")
            raise typer.Exit(USERS_MISTAKE) from None
    if as_json:
        print_json(result.as_json())
    if exit_code:
        raise typer.Exit(exit_code)


def _try_server_and_lake(site: Site) -> None:
    """Refuse at once what every run would be refused: a wrong password, a lake that cannot be written."""
    from pi_dagster.diagnosis import open_for_a_person
    from pi_dagster.lake import Lake

    with open_for_a_person(site.server) as source:
        source.server_time()
    Lake(site.lake.uri, site.lake.resolve_storage_options()).check_writable()


def _load(work: Backfill, result: BackfillResult, record: DagsterRecord, *, here: bool, wait: bool) -> int:
    """Have the partitions loaded and tell of it; returns the exit code."""
    from pi_dagster.backfill import DaemonStoppedError
    from pi_dagster.interrupts import held_interrupts
    from pi_dagster.runs_here import RunFailedError, RunInterruptedError

    total = len(result.partitions)
    if not total:
        complain("Nothing to load: all of these partitions are loaded to their end.")
        return 0
    progress, began = ProgressLine(), time.monotonic()
    in_dagster = record.has_running_daemon() and not here
    # Whoever stops a service sends this instead of Ctrl-C.
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        if in_dagster:
            with held_interrupts() as interrupts:
                work.launch(result)
                complain(f"Dagster is running: {_partitions(total)} launched as its backfill {result.backfill_id}.")
                if not wait:
                    return 0
                for _ in work.follow(result, interrupts.pause):
                    progress.tell(_so_far(result))
        else:
            complain(f"Loading {_partitions(total)} in this process.")
            if not record.is_kept:
                complain(
                    "Note: Dagster will not know of it, as DAGSTER_HOME is not set and this folder has no "
                    "dagster.yaml; start it in the folder where `dagster dev` is started."
                )
            work.load_here(result, lambda: progress.tell(_so_far(result)))
    except (KeyboardInterrupt, RunInterruptedError):
        progress.end()
        complain(f"Interrupted. {_so_far(result)}. {_how_to_go_on(work, result, record, in_dagster=in_dagster)}")
        return INTERRUPTED
    except DaemonStoppedError as error:
        result.reasons.append(str(error))
        progress.end()
        complain(f"{_so_far(result)}. Error: {error}")
        return OTHER_TROUBLE
    except RunFailedError as error:
        result.reasons.append(str(error))
    finally:
        signal.signal(signal.SIGTERM, before)
    progress.end()
    complain(f"{_so_far(result)}, in {time.monotonic() - began:.1f} s.")
    if result.with_unread_tags:
        complain(_note_of_unread_tags(result, record))
    if not result.all_loaded:
        complain(_trouble(work, result, record))
        return OTHER_TROUBLE
    return 0


def _partitions(number: int) -> str:
    return f"{number:,} partition{'' if number == 1 else 's'}"


def _so_far(result: BackfillResult) -> str:
    failed = f", {len(result.failed):,} failed" if result.failed else ""
    return f"{len(result.loaded):,} of {_partitions(len(result.partitions))} loaded{failed}, {result.rows:,} rows"


def _note_of_unread_tags(result: BackfillResult, record: DagsterRecord) -> str:
    keys = sorted(result.with_unread_tags)
    command = "the same command with --missing" if record.is_kept else "the same command"
    return (
        f"Note: {_partitions(len(keys))} {'is' if len(keys) == 1 else 'are'} loaded without tags that could not be "
        f"read ({', '.join(keys[:_MOST_NAMED])}{', ...' if len(keys) > _MOST_NAMED else ''}); pi_tag_errors names them "
        f"and says why. When that is put right, {command} reads them."
    )


def _how_to_go_on(work: Backfill, result: BackfillResult, record: DagsterRecord, *, in_dagster: bool) -> str:
    if in_dagster:
        return (
            f"Dagster goes on with its backfill {result.backfill_id}, or if it has stopped, once it is started again: "
            "Runs, Backfills in its UI show it, and cancel it there."
        )
    return "They stay." if result.all_loaded else f"They stay; {_command_for_the_rest(work, result, record)}"


def _command_for_the_rest(work: Backfill, result: BackfillResult, record: DagsterRecord) -> str:
    first = min(day for day, _ in result.left)
    if not record.is_kept:
        return f"the same command with --from {first} loads what is left, and again what is loaded from that day on."
    if untouched := len(work.untouched(result)):
        return (
            f"the same command with --from {first} loads what is left; with --missing it would leave out "
            f"{_partitions(untouched)} loaded before, for which no run was asked this time."
        )
    return "the same command with --missing loads what is left."


def _trouble(work: Backfill, result: BackfillResult, record: DagsterRecord) -> str:
    reasons = list(dict.fromkeys(result.reasons))
    told = " ".join(reasons[:_MOST_REASONS]) or "No run told why; see Runs in Dagster's UI."
    more = (
        f" And {len(reasons) - _MOST_REASONS:,} more reasons; --json has all." if len(reasons) > _MOST_REASONS else ""
    )
    not_tried = f" {_partitions(len(result.not_tried))} not tried." if result.not_tried else ""
    return f"Error: {told}{more}{not_tried} When that is put right, {_command_for_the_rest(work, result, record)}"
