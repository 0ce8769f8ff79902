"""`pi-dagster demo`: a simulated plant loaded through Dagster, and what is in the tables afterwards."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pi_dagster.cli.options import JsonOption
from pi_dagster.cli.telling import (
    INTERRUPTED,
    OTHER_TROUBLE,
    USERS_MISTAKE,
    complain,
    errors_told_plainly,
    require_simulator,
)


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

    \b
    Examples:
      pi-dagster demo
      pi-dagster demo --ui
      pi-dagster demo --lake /tmp/pi_demo --json
    """
    if lake is not None and "://" in lake:
        raise typer.BadParameter(
            f"{lake} is not a folder of this machine, and the demo loads only into one; a site's `lake.uri` may name "
            "an object store",
            param_hint="--lake",
        )
    require_simulator()
    with errors_told_plainly():
        from pi_dagster.dagster_ui import DagsterUIError
        from pi_dagster.demo import run_demo
        from pi_dagster.lake import LakeNotWritableError
        from pi_dagster.runs_here import RunFailedError, RunInterruptedError
        from pi_dagster.simulator.files import UnreadableFolderError

        try:
            run_demo(lake=Path(lake) if lake is not None else None, data=data, ui=ui, as_json=as_json)
        except UnreadableFolderError as error:
            complain(f"Error: {error}.")
            raise typer.Exit(USERS_MISTAKE) from None
        except LakeNotWritableError as error:
            complain(f"Error: {error.reason} Choose another folder with --lake.")
            raise typer.Exit(USERS_MISTAKE) from None
        except RunInterruptedError:
            complain("Interrupted. The partitions that were loaded until then stay.")
            raise typer.Exit(INTERRUPTED) from None
        except (RunFailedError, DagsterUIError) as error:
            complain(f"Error: {error}")
            raise typer.Exit(OTHER_TROUBLE) from None
