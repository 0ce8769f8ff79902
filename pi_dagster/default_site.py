"""Which site is meant where nobody names one: that of the environment, else the simulated plant's.

Dagster, the command line and the demo have to mean the same one.
"""

from __future__ import annotations

from pathlib import Path

SITE_VARIABLE = "PI_DAGSTER_SITE"
"""Environment variable with the path of a `defs.yaml` to load instead of the sites in `pi_dagster/defs/`."""

DEFAULT_SITE = Path(__file__).parent / "defs" / "pi" / "defs.yaml"
"""The simulated plant of `pi-dagster simulate`, the only site in `pi_dagster/defs/` of a fresh clone."""
