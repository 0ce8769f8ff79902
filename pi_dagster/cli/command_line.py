"""The commands of `pi-dagster`, put together.

Heavy modules are imported by the command that needs them: `--help` should not wait for Dagster.
"""

from __future__ import annotations

from pathlib import Path

import typer
from dotenv import load_dotenv

from pi_dagster.cli.audit import audit
from pi_dagster.cli.backfill import backfill
from pi_dagster.cli.check import check
from pi_dagster.cli.demo import demo
from pi_dagster.cli.init import init
from pi_dagster.cli.plot import plot
from pi_dagster.cli.register import register
from pi_dagster.cli.simulate import simulate
from pi_dagster.cli.tags import tags
from pi_dagster.cli.telling import exit_codes_told

app = typer.Typer(
    name="pi-dagster",
    help="AVEVA PI (OSIsoft PI) data in Delta Lake with Dagster.\n\n" + exit_codes_told(),
    epilog="Examples: pi-dagster demo; pi-dagster init plant1; pi-dagster backfill --help",
    no_args_is_help=True,
    rich_markup_mode=None,
    # Typer's own stack traces show local variables, and those may hold a password.
    pretty_exceptions_enable=False,
)
for _command in (demo, init, check, tags, backfill, audit, plot, register, simulate):
    app.command()(_command)


def main() -> None:
    """Run the command line."""
    # As `dagster dev` does, where the file wins too: both have to look at the same site with the same passwords.
    load_dotenv(Path.cwd() / ".env", override=True)
    app()
