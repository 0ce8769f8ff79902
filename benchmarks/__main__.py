"""`python -m benchmarks`: run the benchmarks, print what they found, and write it down."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer

from benchmarks import catalogue
from benchmarks.machine import this_machine
from benchmarks.report import as_json, markdown, print_machine, print_section, wide_screen, write, write_markdown
from benchmarks.results import Scale, Section

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)


@app.command(epilog="Example: python -m benchmarks --quick --only decode --only extraction")
def main(
    quick: Annotated[
        bool, typer.Option("--quick", help="Two minutes instead of twenty; fewer rounds, less data.")
    ] = False,
    only: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help=f"Run only this one; repeatable. {', '.join(catalogue.NAMES)}."),
    ] = None,
    json_file: Annotated[Path | None, typer.Option("--json", metavar="FILE", help="Write everything as JSON.")] = None,
    markdown_file: Annotated[
        Path | None,
        typer.Option(
            "--markdown",
            metavar="FILE",
            help="Write the tables as Markdown; of a file with marks, such as docs/performance.md, only between them.",
        ),
    ] = None,
    plot_file: Annotated[Path | None, typer.Option("--plot", metavar="FILE", help="Draw the figures as PNG.")] = None,
) -> None:
    """Measure pi_dagster against parsers, scripts and itself, with simulated PI servers on this machine."""
    unknown = sorted(set(only or ()) - set(catalogue.NAMES))
    if unknown:
        raise typer.BadParameter(
            f"there is no {', '.join(unknown)}; there are {', '.join(catalogue.NAMES)}", param_hint="--only"
        )
    screen = wide_screen()
    machine = this_machine()
    print_machine(machine, screen)
    sections: dict[str, Section] = {}
    for name in catalogue.chosen(only or ()):
        begun = time.monotonic()
        sections[name] = catalogue.run(name, Scale.QUICK if quick else Scale.FULL, sections)
        print_section(sections[name], time.monotonic() - begun, screen)
        # After each, so that a run that is interrupted leaves what it has found.
        if json_file is not None:
            write(json_file, as_json(machine, sections))
        if markdown_file is not None:
            write_markdown(markdown_file, markdown(machine, sections), part="figures")
    if plot_file is not None:
        from benchmarks.plot import draw

        draw(sections, plot_file)


if __name__ == "__main__":
    app()
