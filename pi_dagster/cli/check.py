"""`pi-dagster check`: what a site's server and lake say of themselves, and what is wrong."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pi_dagster.cli.options import JsonOption, SiteOption, chosen_site
from pi_dagster.cli.telling import OTHER_TROUBLE, USERS_MISTAKE, complain, errors_told_plainly, print_facts, print_json

if TYPE_CHECKING:
    from pi_dagster.diagnosis import Diagnosis, LakeFacts, ServerFacts
    from pi_dagster.site import Site

_HIDDEN = "not shown to this login"


def check(
    site: SiteOption = None,
    notify: Annotated[
        bool, typer.Option("--notify", help="Send a trial message to each address of the site's `notifications`.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Check the PI server and the lake of a site.

    Says what is there and what is wrong: who this login is there, what it may read, the server's limits and clock,
    whether the lake can be written. Nothing is loaded; a lake that is a folder is created where it is missing.

    \b
    Examples:
      pi-dagster check --site plant1/defs.yaml
      pi-dagster check --json | jq .problems
      pi-dagster check --notify
    """
    with errors_told_plainly():
        loaded = chosen_site(site)
        exit_code, facts = told_of_check(loaded, quiet=as_json)
        if notify:
            exit_code = max(exit_code, _send_trials(loaded))
    if as_json:
        print_json(facts)
    if exit_code:
        raise typer.Exit(exit_code)


def _send_trials(site: Site) -> int:
    """Send a trial message to each address; returns the exit code."""
    from pi_dagster.notifications.delivery import trouble_of_sending
    from pi_dagster.notifications.message import trial_message

    if site.notifications is None:
        complain("Error: nobody can be sent a trial message: the site has no `notifications` (docs/notifications.md).")
        return USERS_MISTAKE
    troubles = [trouble_of_sending(trial_message(site), variable) for variable in site.notifications.targets_env]
    for variable, trouble in zip(site.notifications.targets_env, troubles, strict=True):
        complain(f"Note: {variable} was sent a trial message." if trouble is None else f"Error: {trouble}")
    return OTHER_TROUBLE if any(troubles) else 0


def told_of_check(site: Site, *, quiet: bool) -> tuple[int, Mapping[str, Any]]:
    """Check a site and tell what was found; returns the exit code and the facts.

    Args:
        site: the settings.
        quiet: print no facts, only what is wrong or worth knowing.
    """
    from pi_dagster.diagnosis import diagnose

    diagnosis = diagnose(site)
    if not quiet:
        print_facts(_facts_of(diagnosis, site))
    for note in diagnosis.notes:
        complain(f"Note: {note}")
    for problem in diagnosis.problems:
        complain(f"Error: {problem.message}")
    mistakes = any(problem.is_users_mistake for problem in diagnosis.problems)
    exit_code = USERS_MISTAKE if mistakes else OTHER_TROUBLE if diagnosis.problems else 0
    if not exit_code and not quiet:
        print("All is well.")
    return exit_code, asdict(diagnosis)


def _facts_of(diagnosis: Diagnosis, site: Site) -> dict[str, str]:
    server, lake = diagnosis.server, diagnosis.lake
    facts = {"Site": diagnosis.site, "Server": server.url}
    if server.state is not None:
        facts["State"] = server.state
    if server.server_time is not None and server.clock_skew_seconds is not None:
        side = "ahead of" if server.clock_skew_seconds > 0 else "behind"
        facts["Clock"] = (
            f"{server.server_time:%Y-%m-%d %H:%M:%S} UTC, {abs(server.clock_skew_seconds):.1f} s {side} this machine's"
        )
        facts["Logged in as"] = f"{server.user or 'nobody named'} ({server.identity_type or 'kind not said'})"
        facts["Version"] = ", ".join(f"{name} {version}" for name, version in server.versions.items()) or _HIDDEN
        facts["Events a call"] = f"{_limit(server, site)}; the site asks for up to {site.server.max_items_per_call:,}"
    if server.data_servers:
        reads = f"; the site reads {server.data_server}" if server.data_server else ""
        facts["Data Archives"] = f"{', '.join(server.data_servers)}{reads}"
    if server.asset_server is not None:
        reads = f"; the site reads {', '.join(server.asset_databases)}" if server.asset_databases else ""
        facts["AF server"] = f"{server.asset_server}{reads}"
    if server.tags_visible is not None:
        facts["Tags it may see"] = f"{server.tags_visible:,}" + ("" if server.all_tags_listed else " and more")
        groups = ", ".join(f"{name} {count:,}" for name, count in server.tags_by_group.items())
        facts["By tag group"] = f"{groups}; in no group {server.tags_in_no_group:,}"
    if server.tags_read:
        facts["Values it may read"] = f"yes: {server.events_read:,} events of {server.tags_read} tags in the last hour"
    facts["Lake"] = f"{lake.uri} ({'writable' if lake.is_writable else 'not writable'})"
    if lake.table_versions or lake.refused_tables:
        facts["Tables"] = _tables(lake)
    return facts


def _tables(lake: LakeFacts) -> str:
    there = {name: version for name, version in lake.table_versions.items() if version is not None}
    missing = [name for name in lake.table_versions if name not in there]
    if not there and not lake.refused_tables:
        return "none yet; the first loads make them"
    told = [", ".join(f"{name} at version {version}" for name, version in there.items())] if there else []
    if lake.refused_tables:
        told.append(f"not as they should be: {', '.join(lake.refused_tables)}")
    if missing:
        told.append(f"not there yet: {', '.join(missing)}")
    return "; ".join(told)


def _limit(server: ServerFacts, site: Site) -> str:
    if server.max_items_per_call is not None:
        return f"{server.max_items_per_call:,}"
    return f"at least {site.server.max_items_per_call:,}" if server.tags_read else _HIDDEN
