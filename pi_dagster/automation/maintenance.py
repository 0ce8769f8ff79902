"""The nightly job that deletes old files of the tables that are replaced part by part.

The lists of tags and of AF elements are left alone: their older versions are their history, one small file a day.
"""

# Without `from __future__ import annotations`: Dagster wants the annotation of `context` as a class.

from collections.abc import Mapping

import dagster as dg

from pi_dagster.assets.failures import errors_told_plainly
from pi_dagster.lake import (
    EventFramesTable,
    QualityFindingsTable,
    TagErrorsTable,
    TimeseriesDailyTable,
    TimeseriesTable,
)
from pi_dagster.lake.errors import TableMissingError
from pi_dagster.lake.maintenance import maintain
from pi_dagster.resources import SiteResources
from pi_dagster.site import Site

_REPLACED_PART_BY_PART = (
    TimeseriesTable,
    TagErrorsTable,
    TimeseriesDailyTable,
    QualityFindingsTable,
    EventFramesTable,
)


def build_maintenance_job(site: Site, resources: SiteResources, *, name: str) -> dg.JobDefinition:
    """The job; what it did is told as an observation of each asset."""

    @dg.op(name=f"{name}_op", required_resource_keys={resources.lake_key})
    def delete_old_files(context: dg.OpExecutionContext) -> None:
        with errors_told_plainly():
            lake = resources.lake(context).open()
            for table_class in _REPLACED_PART_BY_PART:
                try:
                    table = table_class.open(lake, create=False)
                except TableMissingError:
                    continue
                report = maintain(table, retention_days=site.retention_days)
                told: Mapping[str, int] = {
                    "lake/deleted_files": report.deleted_files,
                    "lake/live_files_of_table": report.live_files,
                    "lake/table_version": report.table_version,
                }
                key = [*site.asset_key_prefix, table_class.definition.name]
                context.log_event(dg.AssetObservation(asset_key=key, metadata=told))

    @dg.job(
        name=name,
        executor_def=dg.in_process_executor,
        description=(
            f"Deletes files that no version of the last {site.retention_days} days needs, and older log entries."
        ),
    )
    def maintenance() -> None:
        delete_old_files()

    return maintenance


def build_maintenance_schedule(site: Site, job: dg.JobDefinition, *, name: str) -> dg.ScheduleDefinition:
    """Once a day, when little else runs."""
    return dg.ScheduleDefinition(
        name=name,
        job=job,
        cron_schedule=site.schedules.maintenance,
        execution_timezone="UTC",
        description="Deletes old files of the Delta tables.",
    )
