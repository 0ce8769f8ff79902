"""The command `pi-dagster`: a demo, a simulated PI server, and looks at a real one before Dagster loads from it."""

from __future__ import annotations

from pi_dagster.cli.command_line import app, main

__all__ = ["app", "main"]
