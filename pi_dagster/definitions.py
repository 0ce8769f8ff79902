"""What Dagster loads: the sites in `pi_dagster/defs/`, or the one site file that PI_DAGSTER_SITE names."""

from __future__ import annotations

import os
import warnings
from pathlib import Path

import dagster as dg

import pi_dagster.defs
from pi_dagster.components.site_file import load_site
from pi_dagster.default_site import SITE_VARIABLE
from pi_dagster.factory import build_pi_definitions


@dg.definitions
def defs() -> dg.Definitions:
    """All sites, run in process: a run loads one asset, and a process for its one step would cost seconds."""
    with warnings.catch_warnings():
        # Backfill policies and code references are beta in Dagster, which it would say at every start.
        warnings.simplefilter("ignore", category=dg.BetaWarning)
        return dg.Definitions.merge(_sites(), dg.Definitions(executor=dg.in_process_executor))


def _sites() -> dg.Definitions:
    site_file = os.environ.get(SITE_VARIABLE)
    if site_file:
        return build_pi_definitions(load_site(Path(site_file)))
    # Not `load_from_defs_folder`: it needs the pyproject.toml, which an installed package does not have.
    return dg.ComponentTree.from_module(pi_dagster.defs, project_root=Path(__file__).parents[1]).build_defs()
