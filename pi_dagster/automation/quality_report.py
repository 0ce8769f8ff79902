"""The schedule of the pages: yesterday's, once it has been judged and its numbers are there."""

from __future__ import annotations

from datetime import timedelta, timezone

import dagster as dg

from pi_dagster.automation.frame_days import day_range_tags
from pi_dagster.site import Site


def build_report_schedule(site: Site, *, name: str, job_name: str) -> dg.ScheduleDefinition:
    """Yesterday, once a day."""

    @dg.schedule(
        name=name,
        job_name=job_name,
        cron_schedule=site.schedules.report,
        execution_timezone="UTC",
        description="Makes the page about yesterday.",
    )
    def report_yesterday(context: dg.ScheduleEvaluationContext) -> dg.RunRequest | dg.SkipReason:
        day = context.scheduled_execution_time.astimezone(timezone.utc).date() - timedelta(days=1)
        if day < site.start_date:
            return dg.SkipReason(f"The site begins on {site.start_date}; there is nothing to report yet.")
        return dg.RunRequest(run_key=day.isoformat(), tags=day_range_tags(day, day))

    return report_yesterday
