"""The schedule of the assets: AF changes seldom, so it is read once a day, before the list of tags that may need it."""

from __future__ import annotations

import dagster as dg

from pi_dagster.site import Site


def build_assets_schedule(site: Site, *, name: str, job_name: str) -> dg.ScheduleDefinition:
    """AF elements and attributes once a day."""
    return dg.ScheduleDefinition(
        name=name,
        job_name=job_name,
        cron_schedule=site.schedules.assets,
        execution_timezone="UTC",
        description="Reads the elements of PI Asset Framework and their attributes again.",
    )
