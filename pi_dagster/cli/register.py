"""`pi-dagster register`: the lake's tables by name in Unity Catalog."""

from __future__ import annotations

import typer

from pi_dagster.cli.options import JsonOption, SiteOption, chosen_site
from pi_dagster.cli.telling import USERS_MISTAKE, complain, errors_told_plainly, print_facts, print_json


def register(site: SiteOption = None, as_json: JsonOption = False) -> None:
    """Register the lake's tables in Unity Catalog, with the meaning of every column.

    Say where in `lake.unity_catalog` of the site. Again after an upgrade, when tables have new columns; else it changes
    nothing.

    \b
    Examples:
      pi-dagster register
      pi-dagster register --site plant1/defs.yaml --json
    """
    with errors_told_plainly():
        loaded = chosen_site(site)
        settings = loaded.lake.unity_catalog
        if settings is None:
            complain("Error: the site does not say where; write `lake.unity_catalog` and `lake.catalog_schema`.")
            raise typer.Exit(USERS_MISTAKE)
        from pi_dagster.lake import Lake
        from pi_dagster.lake.unity_catalog import UnityCatalog

        lake = Lake(loaded.lake.uri, loaded.lake.resolve_storage_options())
        catalog, schema = (loaded.lake.catalog_schema or "").split(".")
        unity = UnityCatalog(settings.url, catalog, schema, settings.resolve_token())
        done = unity.register(lake)
    if not done:
        complain(f"Error: {lake.uri} has no tables yet; load some first.")
        raise typer.Exit(USERS_MISTAKE)
    told = {name: what.value for name, what in done.items()}
    if as_json:
        print_json(told)
    else:
        print_facts(told)
