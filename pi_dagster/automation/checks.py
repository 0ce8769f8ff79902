"""The schedule of the checks that look at what is in the tables."""

from __future__ import annotations

import dagster as dg

from pi_dagster.site import Site


def build_checks_schedule(site: Site, *, name: str, job_name: str) -> dg.ScheduleDefinition:
    """All of them, twice an hour."""
    return dg.ScheduleDefinition(
        name=name,
        job_name=job_name,
        cron_schedule=site.schedules.checks,
        execution_timezone="UTC",
        description="Runs the checks of all tables, and compares the PI server's clock with this machine's.",
    )
