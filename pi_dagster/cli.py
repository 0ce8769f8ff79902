"""The command `pi-dagster`: a demo, a simulated PI server, and looks at a real one before Dagster loads from it.

Exit codes: 0 when all is well, 2 for what the user can put in order (a setting, a login, a right, a wrong option), 1
for anything else. Such an error is one paragraph on stderr; a stack trace is always a defect of ours. Facts go to
stdout, so that `--json` can be piped.

Heavy modules are imported by the command that needs them: `--help` should not wait for Dagster.
"""

from __future__ import annotations

import importlib.util
import json
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from dotenv import load_dotenv

from pi_dagster.default_site import DEFAULT_SITE, SITE_VARIABLE
from pi_dagster.server_text import printable

if TYPE_CHECKING:
    from pi_dagster.diagnosis import Diagnosis, ServerFacts
    from pi_dagster.site import Site
    from pi_dagster.tag_survey import TagSurvey

USERS_MISTAKE = 2
OTHER_TROUBLE = 1

_SIMULATOR_PACKAGES = ("starlette", "uvicorn", "jsonpath_ng", "dateutil")

app = typer.Typer(
    name="pi-dagster",
    help="AVEVA PI (OSIsoft PI) data in Delta Lake with Dagster.",
    epilog="Example: pi-dagster demo",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    # Typer's own stack traces show local variables, and those may hold a password.
    pretty_exceptions_enable=False,
)

SiteOption = Annotated[
    Path | None,
    typer.Option(
        "--site",
        metavar="FILE",
        help=f"The site file, a defs.yaml. Default: what ${SITE_VARIABLE} names, else the simulated plant's.",
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print the facts as one JSON document.")]


def main() -> None:
    """Run the command line."""
    # As `dagster dev` does, where the file wins too: both have to look at the same site with the same passwords.
    load_dotenv(Path.cwd() / ".env", override=True)
    app()


@app.command(epilog="Example: pi-dagster demo --lake /tmp/pi_demo")
def demo(
    lake: Annotated[
        # Not a Path, which would make s3://bucket/pi a folder of that name.
        str | None,
        typer.Option(
            metavar="DIR", help="Where the Delta tables go. Default: pi_demo/lake, or pi_demo/NAME of --data."
        ),
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Load real files in the layout of the SKAB data instead of a made-up plant."),
    ] = None,
    ui: Annotated[
        bool, typer.Option("--ui", help="Load the last two days, then keep the server up and start Dagster's UI.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Load a simulated plant through Dagster into Delta tables.

    Starts a simulated PI server, runs the real Dagster assets on it and shows what is in the tables afterwards.
    """
    if lake is not None and "://" in lake:
        raise typer.BadParameter(
            f"{lake} is not a folder of this machine, and the demo loads only into one; a site's `lake.uri` may name "
            "an object store",
            param_hint="--lake",
        )
    _require_simulator()
    with _errors_told_plainly():
        from pi_dagster.dagster_ui import DagsterUIError
        from pi_dagster.demo import DemoError, run_demo
        from pi_dagster.lake import LakeNotWritableError
        from pi_dagster.simulator.files import UnreadableFolderError

        try:
            run_demo(lake=Path(lake) if lake is not None else None, data=data, ui=ui, as_json=as_json)
        except UnreadableFolderError as error:
            _complain(f"Error: {error}.")
            raise typer.Exit(USERS_MISTAKE) from None
        except LakeNotWritableError as error:
            _complain(f"Error: {error.reason} Choose another folder with --lake.")
            raise typer.Exit(USERS_MISTAKE) from None
        except (DemoError, DagsterUIError) as error:
            _complain(f"Error: {error}")
            raise typer.Exit(OTHER_TROUBLE) from None


@app.command(epilog="Example: pi-dagster simulate --port 5450 --tags 1000")
def simulate(
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to serve on; 0 takes a free one.")] = 5450,
    tags: Annotated[int, typer.Option(min=1, help="Tags of the made-up plant.")] = 200,
    seed: Annotated[int, typer.Option(min=0, help="The same seed makes the same plant and values.")] = 1,
    data: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Serve files in the layout of the SKAB data instead.")
    ] = None,
    user: Annotated[str | None, typer.Option(metavar="NAME", help="Ask for a Basic login with this name.")] = None,
    password: Annotated[str | None, typer.Option(metavar="SECRET", help="Its password.")] = None,
    admin_port: Annotated[
        int | None,
        typer.Option(min=0, max=65535, help="Open the door for edits and faults on this port; 0 takes a free one."),
    ] = None,
    latency_ms: Annotated[float, typer.Option(min=0, help="Milliseconds added to every answer.")] = 0.0,
    profile: Annotated[str, typer.Option(help="What the tags are like: plant, or uniform (1 Hz floats).")] = "plant",
    elements: Annotated[
        int, typer.Option(min=0, max=1_000_000, help="AF elements of the made-up plant; 0 makes a few, of the tags.")
    ] = 0,
    attributes_per_element: Annotated[int, typer.Option(min=0, help="Attributes of each of these elements.")] = 8,
) -> None:
    """Serve a simulated PI Web API on this machine.

    The first line printed is its base URL; it serves until interrupted.
    """
    _require_simulator()
    from pi_dagster.simulator.files import UnreadableFolderError
    from pi_dagster.simulator.plant import PROFILES
    from pi_dagster.simulator.server import PortError
    from pi_dagster.simulator.serving import serve_forever

    if profile not in PROFILES:
        raise typer.BadParameter(f"known are {', '.join(sorted(PROFILES))}", param_hint="--profile")
    try:
        serve_forever(
            port=port,
            tags=tags,
            seed=seed,
            data=data,
            user=user,
            password=password,
            admin_port=admin_port,
            latency_ms=latency_ms,
            profile=profile,
            elements=elements,
            attributes_per_element=attributes_per_element,
        )
    except (UnreadableFolderError, ValueError) as error:
        _complain(f"Error: the simulated PI server cannot start: {error}.")
        raise typer.Exit(USERS_MISTAKE) from None
    except PortError as error:
        option = "--port" if error.port == port else "--admin-port"
        _complain(f"Error: {error}. Choose another with {option}; 0 takes a free one.")
        raise typer.Exit(USERS_MISTAKE) from None


@app.command(epilog="Example: pi-dagster check --site plant1/defs.yaml")
def check(site: SiteOption = None, as_json: JsonOption = False) -> None:
    """Check the PI server and the lake of a site.

    Says what is there and what is wrong: who this login is there, what it may read, the server's limits and clock,
    whether the lake can be written. Nothing is loaded; a lake that is a folder is created where it is missing.
    """
    with _errors_told_plainly():
        loaded = _load_site(site)
        from pi_dagster.diagnosis import diagnose

        diagnosis = diagnose(loaded)
    if as_json:
        _print_json(asdict(diagnosis))
    else:
        _print_facts(_facts_of(diagnosis, loaded))
    for note in diagnosis.notes:
        _complain(f"Note: {note}")
    for problem in diagnosis.problems:
        _complain(f"Error: {problem.message}")
    if diagnosis.problems:
        mistakes = any(problem.is_users_mistake for problem in diagnosis.problems)
        raise typer.Exit(USERS_MISTAKE if mistakes else OTHER_TROUBLE)
    if not as_json:
        print("All is well.")


@app.command(epilog="Example: pi-dagster tags --site plant1/defs.yaml | less -S")
def tags(site: SiteOption = None, as_json: JsonOption = False) -> None:
    """List the server's tags with their partitions.

    `-` marks tags that fall in none, and will not be loaded.
    """
    with _errors_told_plainly():
        loaded = _load_site(site)
        from pi_dagster.diagnosis import open_for_a_person
        from pi_dagster.ingest.asset_tags import AssetTags
        from pi_dagster.lake import Lake
        from pi_dagster.tag_survey import TagSurvey

        asset_tags = (
            AssetTags.read(Lake(loaded.lake.uri, loaded.lake.resolve_storage_options()))
            if loaded.has_groups_by_assets
            else None
        )
        with open_for_a_person(loaded.server) as source:
            survey = TagSurvey(loaded, list(source.list_points()), asset_tags)
    if as_json:
        _print_json(_survey_as_json(survey))
    else:
        _print_survey(survey)
    problems = survey.problems()
    for problem in problems:
        _complain(f"Error: {problem}")
    if problems:
        raise typer.Exit(USERS_MISTAKE)


@app.command(epilog="Example: pi-dagster audit --site plant1/defs.yaml --from 2026-11-01 --to 2026-11-07")
def audit(
    site: SiteOption = None,
    first: Annotated[
        datetime | None,
        typer.Option("--from", formats=["%Y-%m-%d"], metavar="DATE", help="First day (UTC). Default: that of --to."),
    ] = None,
    last: Annotated[
        datetime | None,
        typer.Option(
            "--to", formats=["%Y-%m-%d"], metavar="DATE", help="Last day (UTC), included. Default: yesterday."
        ),
    ] = None,
    groups: Annotated[
        list[str] | None, typer.Option("--group", metavar="NAME", help="Only this tag group or shard; may be repeated.")
    ] = None,
    tag_patterns: Annotated[
        list[str] | None,
        typer.Option("--tag", metavar="PATTERN", help="Only tags of such names, with * and ?; may be repeated."),
    ] = None,
    limit: Annotated[int, typer.Option(min=0, help="Differing events that are shown one by one.")] = 20,
    as_json: JsonOption = False,
) -> None:
    """Compare pi_timeseries with the PI server, event by event.

    Reads the days from both again and believes no count: timestamps, values and flags. Ends with 0 when the table holds
    exactly the archive's events, and with 1 when it does not. Asks as much of the server as loading those days.
    """
    with _errors_told_plainly():
        loaded = _load_site(site)
        from pi_dagster.audit_report import (
            AuditRangeError,
            AuditTotals,
            days_to_audit,
            groups_to_audit,
            tags_to_audit,
            with_progress,
        )
        from pi_dagster.diagnosis import open_for_a_person
        from pi_dagster.ingest.audit import audit as compare
        from pi_dagster.ingest.audit import left_partitions
        from pi_dagster.ingest.source import open_source
        from pi_dagster.lake import Lake

        with open_for_a_person(loaded.server) as source:
            today = source.server_time().date()
        try:
            days = days_to_audit(loaded, first and first.date(), last and last.date(), today=today)
            names = groups_to_audit(loaded, groups or ())
        except AuditRangeError as error:
            _complain(f"Error: {error}.")
            raise typer.Exit(USERS_MISTAKE) from None
        lake = Lake(loaded.lake.uri, loaded.lake.resolve_storage_options())
        totals = AuditTotals(limit)
        with open_source(loaded.server) as source:
            partitions = [(day, name) for day in days for name in names]
            left = () if groups else left_partitions(loaded, lake, days)
            if left:
                _complain(
                    f"Note: pi_timeseries has partitions that the site does not have ({left[0][0]}|{left[0][1]}"
                    f"{', ...' if len(left) > 1 else ''}), as of a tag group that was renamed or has other shards now. "
                    "Rows in them of tags that the site has are told as not in the archive: delete them once the days "
                    "are loaded for the groups of today."
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
        _print_json(totals.as_json())
    else:
        print("\n".join(totals.lines()))
    if totals.rows_of_gone_tags:
        _complain(
            f"Note: {totals.rows_of_gone_tags:,} rows are of tags that the server does not have any more. They stay as "
            "they are, and were not compared."
        )
    if not totals.are_equal:
        raise typer.Exit(OTHER_TROUBLE)


def _load_site(path: Path | None) -> Site:
    from pi_dagster.components.site_file import load_site

    named = os.environ.get(SITE_VARIABLE)
    if path is None and not named:
        _complain(
            f"Note: without --site and with {SITE_VARIABLE} unset this is the default site, the simulated plant that "
            "`pi-dagster simulate` serves."
        )
    return load_site(path or (Path(named) if named else DEFAULT_SITE))


@contextmanager
def _errors_told_plainly() -> Iterator[None]:
    """End the command with the paragraph and the exit code that an expected error calls for."""
    try:
        from pi_dagster.assets.failures import EXPECTED_ERRORS
        from pi_dagster.components.site_file import SiteFileError
        from pi_dagster.diagnosis import is_users_mistake

        try:
            yield
        except (SiteFileError, *EXPECTED_ERRORS) as error:
            _complain(f"Error: {error}")
            raise typer.Exit(USERS_MISTAKE if is_users_mistake(error) else OTHER_TROUBLE) from None
    except KeyboardInterrupt:
        _complain("Interrupted.")
        raise typer.Exit(OTHER_TROUBLE) from None


def _require_simulator() -> None:
    missing = [name for name in _SIMULATOR_PACKAGES if importlib.util.find_spec(name) is None]
    if missing:
        _complain(
            f"Error: the simulated PI server needs packages that are not installed ({', '.join(missing)}). They come "
            "with the extra `simulator`: pip install 'pi-dagster[simulator]'."
        )
        raise typer.Exit(USERS_MISTAKE)


def _complain(paragraph: str) -> None:
    print(paragraph, file=sys.stderr)


def _print_json(document: Any) -> None:
    print(json.dumps(document, indent=2, ensure_ascii=False, default=_json_value))


def _json_value(value: Any) -> str:
    if isinstance(value, datetime):
        return value.isoformat().replace("+00:00", "Z")
    raise TypeError(f"no JSON for {type(value).__name__}")


def _print_facts(facts: Mapping[str, str]) -> None:
    width = max(len(name) for name in facts)
    for name, fact in facts.items():
        print(f"{name.ljust(width)}  {printable(fact, _LONGEST_FACT)}")


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
    if lake.table_versions:
        facts["Tables"] = ", ".join(
            f"{name} {'not there yet' if version is None else f'at version {version}'}"
            for name, version in lake.table_versions.items()
        )
    return facts


_HIDDEN = "not shown to this login"
_LONGEST_FACT = 4000


def _limit(server: ServerFacts, site: Site) -> str:
    if server.max_items_per_call is not None:
        return f"{server.max_items_per_call:,}"
    return f"at least {site.server.max_items_per_call:,}" if server.tags_read else _HIDDEN


def _print_survey(survey: TagSurvey) -> None:
    rows = [
        (tag.partition or "-", *(printable(text or "") for text in (
            tag.point.name, tag.point.point_type, tag.point.engineering_units, tag.point.descriptor)))
        for tag in survey.tags
    ]  # fmt: skip
    header = ("PARTITION", "TAG", "TYPE", "UNITS", "DESCRIPTION")
    widths = [max(len(row[column]) for row in [header, *rows]) for column in range(len(header))]
    for row in [header, *rows]:
        print("  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip())
    print()
    _print_facts(
        {
            **{name: f"{count:,} tags" for name, count in survey.tags_by_partition.items()},
            "in no tag group": f"{survey.tags_in_no_group:,} tags",
        }
    )


def _survey_as_json(survey: TagSurvey) -> Mapping[str, Any]:
    return {
        "tags": [
            {
                "tag_name": tag.point.name,
                "tag_webid": tag.point.web_id,
                "partition": tag.partition,
                "point_type": tag.point.point_type,
                "engineering_units": tag.point.engineering_units,
                "descriptor": tag.point.descriptor,
            }
            for tag in survey.tags
        ],
        "tags_by_partition": survey.tags_by_partition,
        "tags_in_no_group": survey.tags_in_no_group,
        "problems": survey.problems(),
    }
