"""The options that several commands have, and the site that they mean."""

from __future__ import annotations

import os
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pi_dagster.cli.telling import complain
from pi_dagster.default_site import DEFAULT_SITE, SITE_VARIABLE

if TYPE_CHECKING:
    from pi_dagster.site import Site

SiteOption = Annotated[
    Path | None,
    typer.Option(
        "--site",
        metavar="FILE",
        help=f"The site file, a defs.yaml. Default: what ${SITE_VARIABLE} names, else the simulated plant's.",
    ),
]


def _a_day(text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise typer.BadParameter("write a day like 2026-11-01") from None


FirstDayOption = Annotated[
    date | None,
    typer.Option("--from", parser=_a_day, metavar="DATE", help="First day (UTC). Default: that of --to."),
]
LastDayOption = Annotated[
    date | None,
    typer.Option("--to", parser=_a_day, metavar="DATE", help="Last day (UTC), included. Default: yesterday."),
]
GroupsOption = Annotated[
    list[str] | None, typer.Option("--group", metavar="NAME", help="Only this tag group or shard; may be repeated.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print the facts as one JSON document.")]


def chosen_site(path: Path | None) -> Site:
    """The site that `--site` or else the environment names, and otherwise the simulated plant's.

    Raises:
        SiteFileError: it cannot be read, or a setting is wrong.
    """
    from pi_dagster.components.site_file import load_site

    named = os.environ.get(SITE_VARIABLE)
    if path is None and not named:
        complain(
            f"Note: without --site and with {SITE_VARIABLE} unset this is the default site, the simulated plant that "
            "`pi-dagster simulate` serves."
        )
    return load_site(path or (Path(named) if named else DEFAULT_SITE))
