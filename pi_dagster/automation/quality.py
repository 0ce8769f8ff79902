"""The schedule of the rules: yesterday is judged once it has settled."""

from __future__ import annotations

from datetime import timedelta, timezone

import dagster as dg

from pi_dagster.automation.partitions import range_tags
from pi_dagster.site import Site


def build_quality_schedule(site: Site, *, name: str, job_name: str) -> dg.ScheduleDefinition:
    """Yesterday, in all tag groups, once a day."""
    groups = site.partition_names()

    @dg.schedule(
        name=name,
        job_name=job_name,
        cron_schedule=site.schedules.quality,
        execution_timezone="UTC",
        description="Judges yesterday by the quality rules of the site.",
    )
    def judge_yesterday(context: dg.ScheduleEvaluationContext) -> dg.RunRequest | dg.SkipReason:
        day = context.scheduled_execution_time.astimezone(timezone.utc).date() - timedelta(days=1)
        if day < site.start_date:
            return dg.SkipReason(f"The site begins on {site.start_date}; there is nothing to judge yet.")
        return dg.RunRequest(run_key=day.isoformat(), tags=range_tags(day, groups[0], groups[-1]))

    return judge_yesterday
