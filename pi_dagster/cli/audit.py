"""`pi-dagster audit`: days of pi_timeseries compared with the server, event by event."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated

import typer

from pi_dagster.cli.options import FirstDayOption, GroupsOption, JsonOption, LastDayOption, SiteOption, chosen_site
from pi_dagster.cli.telling import OTHER_TROUBLE, USERS_MISTAKE, complain, errors_told_plainly, print_json


def audit(
    site: SiteOption = None,
    first: FirstDayOption = None,
    last: LastDayOption = None,
    groups: GroupsOption = None,
    tag_patterns: Annotated[
        list[str] | None,
        typer.Option(
            "--tag",
            metavar="PATTERN",
            help="Only tags of such names, with * and ?, each of at least one tag; may be repeated.",
        ),
    ] = None,
    limit: Annotated[int, typer.Option(min=0, help="Differing events that are shown one by one.")] = 20,
    as_json: JsonOption = False,
) -> None:
    """Compare pi_timeseries with the PI server, event by event.

    Reads the days from both again and believes no count: timestamps, values and flags. Ends with 0 when the table holds
    exactly the archive's events, and with 1 when it does not. Asks as much of the server as loading those days.

    \b
    Examples:
      pi-dagster audit --site plant1/defs.yaml --from 2026-11-01 --to 2026-11-07
      pi-dagster audit --group boilers --json
    """
    with errors_told_plainly():
        loaded = chosen_site(site)
        from pi_dagster.audit_report import (
            AuditTotals,
            tags_to_audit,
            with_progress,
        )
        from pi_dagster.chosen_partitions import ChoiceError, chosen_days, chosen_groups
        from pi_dagster.diagnosis import open_for_a_person
        from pi_dagster.ingest.audit import audit as compare
        from pi_dagster.ingest.audit import left_partitions, unmatched_patterns
        from pi_dagster.ingest.source import open_source
        from pi_dagster.lake import Lake

        with open_for_a_person(loaded.server) as source:
            today = source.server_time().date()
        try:
            days = chosen_days(
                loaded,
                first,
                last,
                usual=today - timedelta(days=1),
                newest=today - timedelta(days=1),
                why_none_newer="is not over yet on the server, and is still being loaded",
            )
            names = chosen_groups(loaded, groups or ())
        except ChoiceError as error:
            complain(f"Error: {error}.")
            raise typer.Exit(USERS_MISTAKE) from None
        lake = Lake(loaded.lake.uri, loaded.lake.resolve_storage_options())
        totals = AuditTotals(limit)
        with open_source(loaded.server) as source:
            partitions = [(day, name) for day in days for name in names]
            unmatched = unmatched_patterns(loaded, lake, partitions, tag_patterns) if tag_patterns else ()
            for pattern in unmatched:
                complain(
                    f"Error: --tag {pattern} matches no tag of these days and tag groups, nor any that is gone and has "
                    "rows there. `pi-dagster tags` lists the tags and their groups."
                )
            if unmatched:
                raise typer.Exit(USERS_MISTAKE)
            left = () if groups else left_partitions(loaded, lake, days)
            if left:
                complain(
                    f"Note: pi_timeseries has partitions that the site does not have ({left[0][0]}|{left[0][1]}"
                    f"{', ...' if len(left) > 1 else ''}), as of a tag group that was renamed or has other shards now. "
                    "Rows in them of tags that the site has are told as not in the archive: load these days for the "
                    "groups of today, which takes them out, and delete what is left then."
                )
            partitions += left
            audits = compare(
                loaded, source, lake, partitions, is_wanted=tags_to_audit(tag_patterns or ()), most_examples=limit
            )
            for one in with_progress(audits, len(partitions)):
                lines = totals.add(one)
                if lines and not as_json:
                    print("\n".join(lines), flush=True)
    if as_json:
        print_json(totals.as_json())
    else:
        print("\n".join(totals.lines()))
    if totals.rows_of_gone_tags:
        complain(
            f"Note: {totals.rows_of_gone_tags:,} rows are of tags that the server does not have any more. They stay as "
            "they are, and were not compared."
        )
    if not totals.are_equal:
        raise typer.Exit(OTHER_TROUBLE)
