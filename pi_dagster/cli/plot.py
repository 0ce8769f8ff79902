"""`pi-dagster plot`: a tag over time, in the terminal or as a file."""

from __future__ import annotations

import shutil
import sys
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Annotated

import typer

from pi_dagster.cli.options import SiteOption, chosen_site
from pi_dagster.cli.telling import USERS_MISTAKE, complain, errors_told_plainly

_FORMATS = ["%Y-%m-%d", "%Y-%m-%dT%H:%M", "%Y-%m-%d %H:%M", "%Y-%m-%dT%H:%M:%S"]
_HEIGHT = 22
_WIDEST, _NARROWEST = 160, 40
_LONGEST_GAP = 1e9
"""Minutes, more than there are in any archive; Python's durations have an end."""


def plot(
    tag: Annotated[str, typer.Argument(metavar="TAG", help="Name of the tag, as in pi_points.")],
    site: SiteOption = None,
    first: Annotated[
        datetime | None,
        typer.Option(
            "--from", formats=_FORMATS, metavar="TIME", help="Day or instant (UTC). Default: a day before --to."
        ),
    ] = None,
    last: Annotated[
        datetime | None,
        typer.Option(
            "--to", formats=_FORMATS, metavar="TIME", help="First instant (UTC) that is left out. Default: now."
        ),
    ] = None,
    pause: Annotated[
        float | None,
        typer.Option(
            "--gap",
            metavar="MINUTES",
            help="Draw no line over longer pauses. Default: five times what 99 of 100 pauses keep below.",
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FILE", help="Write a FILE.html or FILE.png instead of the terminal."),
    ] = None,
) -> None:
    """Show a tag over time, from pi_timeseries.

    No line leads over a pause or over an event that is no good number: `x` marks bad values and states such as
    Shutdown, `.` a pause. A digital state, a text, or a number of a tag with `step` holds until the next event. Asks
    nothing of the PI server.

    \b
    Examples:
      pi-dagster plot BLR01.STEAM_FLOW --from 2026-11-01 --to 2026-11-02
      pi-dagster plot PMP101.STATE --from 2026-11-01T06:00 --to 2026-11-01T18:00
      pi-dagster plot BLR01.STEAM_FLOW --from 2026-11-01 -o flow.html
    """
    with errors_told_plainly():
        end = min(_utc(last) or datetime.now(timezone.utc), datetime.now(timezone.utc))
        start = _utc(first) or end - timedelta(days=1)
        _refuse_unless(start < end, f"--from {start:%Y-%m-%d %H:%M} is not before --to {end:%Y-%m-%d %H:%M} (UTC)")
        _refuse_unless(
            output is None or output.suffix in (".html", ".png"),
            f"--output {output} names neither a .html nor a .png file",
        )
        _refuse_unless(pause is None or pause > 0, f"--gap {pause} would leave no line; name more than 0 minutes")
        loaded = chosen_site(site)
        from pi_dagster.lake import Lake
        from pi_dagster.pictures.tag_plot import PlotsMissingError, as_page, as_text, write_png
        from pi_dagster.pictures.tag_series import read_series

        lake = Lake(loaded.lake.uri, loaded.lake.resolve_storage_options())
        longest = None if pause is None else timedelta(minutes=min(pause, _LONGEST_GAP))
        series = read_series(lake, tag, start, end, longest_pause=longest)
        if output is None:
            width = max(_NARROWEST, min(_WIDEST, shutil.get_terminal_size().columns))
            print(as_text(series, width=width, height=_HEIGHT, colour=sys.stdout.isatty()))
            return
        try:
            if output.suffix == ".png":
                write_png(series, output)
            else:
                output.write_text(as_page(series), encoding="utf-8")
        except PlotsMissingError as error:
            complain(f"Error: {error}.")
            raise typer.Exit(USERS_MISTAKE) from None
        except OSError as error:
            complain(f"Error: {output} cannot be written: {error.strerror or error}. Choose another one.")
            raise typer.Exit(USERS_MISTAKE) from None
        complain(f"Wrote {output}.")


def _utc(at: datetime | None) -> datetime | None:
    return None if at is None else at.replace(tzinfo=timezone.utc)


def _refuse_unless(is_right: bool, what: str) -> None:
    if not is_right:
        complain(f"Error: {what}.")
        raise typer.Exit(USERS_MISTAKE)
