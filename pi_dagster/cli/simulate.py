"""`pi-dagster simulate`: a simulated PI Web API on this machine."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pi_dagster.cli.telling import USERS_MISTAKE, complain, require_simulator


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

    \b
    Examples:
      pi-dagster simulate --port 5450 --tags 1000
      pi-dagster simulate --user me --password secret --latency-ms 50
    """
    require_simulator()
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
        complain(f"Error: the simulated PI server cannot start: {error}.")
        raise typer.Exit(USERS_MISTAKE) from None
    except PortError as error:
        option = "--port" if error.port == port else "--admin-port"
        complain(f"Error: {error}. Choose another with {option}; 0 takes a free one.")
        raise typer.Exit(USERS_MISTAKE) from None
