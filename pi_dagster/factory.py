"""`build_pi_definitions`: a site becomes Dagster definitions; this puts the parts together and nothing else."""

from __future__ import annotations

from typing import Any

import dagster as dg

from pi_dagster.assets.archive import build_pi_archive
from pi_dagster.assets.event_frames import build_pi_event_frames
from pi_dagster.assets.hierarchy import build_pi_assets
from pi_dagster.assets.points import build_pi_points
from pi_dagster.assets.quality import build_pi_quality_findings
from pi_dagster.assets.quality_report import build_pi_quality_report
from pi_dagster.assets.reconciliation import build_counts_check
from pi_dagster.assets.rollup import build_pi_timeseries_daily
from pi_dagster.assets.tag_errors import build_pi_tag_errors
from pi_dagster.assets.timeseries import build_pi_timeseries
from pi_dagster.automation.assets import build_assets_schedule
from pi_dagster.automation.checks import build_checks_schedule
from pi_dagster.automation.event_frames import build_event_frame_sensor, build_event_frames_schedule
from pi_dagster.automation.maintenance import build_maintenance_job, build_maintenance_schedule
from pi_dagster.automation.notifications import build_notification_sensor
from pi_dagster.automation.partitions import only_own_checks
from pi_dagster.automation.quality import build_quality_schedule
from pi_dagster.automation.quality_report import build_report_schedule
from pi_dagster.automation.reconcile import build_reconcile_sensor
from pi_dagster.automation.rollup import build_daily_schedule
from pi_dagster.automation.schedules import build_points_schedule, build_timeseries_schedule
from pi_dagster.automation.stream_updates import build_stream_updates_sensor
from pi_dagster.checks.definitions import build_checks
from pi_dagster.lake.schemas import (
    PI_ASSET_ATTRIBUTES,
    PI_ASSET_HIERARCHY,
    PI_EVENT_FRAMES,
    PI_QUALITY_FINDINGS,
    PI_TAG_ERRORS,
    PI_TIMESERIES_DAILY,
)
from pi_dagster.resources import SiteResources
from pi_dagster.site import Site


def build_pi_definitions(site: Site) -> dg.Definitions:
    """Everything Dagster needs to bring this site's data into its lake: assets, jobs, schedules and resources.

    Sites in one code location need different `asset_key_prefix`es; merge their definitions with
    `dagster.Definitions.merge`.
    """
    resources = SiteResources.of(site)
    archive = build_pi_archive(site)
    pi_assets = build_pi_assets(site, resources) if site.asset_framework else None
    attributes = dg.AssetKey([*site.asset_key_prefix, PI_ASSET_ATTRIBUTES.name])
    points = build_pi_points(site, resources, archive=archive, upstream=[attributes] if pi_assets else [])
    timeseries = build_pi_timeseries(site, resources, archive=archive, points=points)
    prefix = "".join(f"{part}_" for part in site.asset_key_prefix)
    load_timeseries = dg.define_asset_job(
        f"{prefix}load_pi_timeseries",
        selection=only_own_checks(timeseries),
        executor_def=dg.in_process_executor,
        description="Reads recorded values for the days and tag groups you choose.",
    )
    maintenance = build_maintenance_job(site, resources, name=f"{prefix}maintain_lake")
    definitions = dg.Definitions(
        assets=[archive, points, timeseries, build_pi_tag_errors(site, timeseries=timeseries)],
        jobs=[
            dg.define_asset_job(
                f"{prefix}load_pi_points",
                selection=only_own_checks(points),
                executor_def=dg.in_process_executor,
                description="Reads the list of tags.",
            ),
            load_timeseries,
            maintenance,
        ],
        schedules=[
            build_points_schedule(site, name=f"{prefix}pi_points_schedule", job_name=f"{prefix}load_pi_points"),
            build_timeseries_schedule(
                site,
                points,
                timeseries,
                before_points=[pi_assets] if pi_assets and site.has_groups_by_assets else [],
                name=f"{prefix}pi_timeseries_schedule",
            ),
            build_maintenance_schedule(site, maintenance, name=f"{prefix}maintenance_schedule"),
        ],
        resources=resources.definitions(site),
    )
    if site.stream_updates is not None:
        sensor = build_stream_updates_sensor(
            site,
            site.stream_updates,
            resources,
            timeseries,
            name=f"{prefix}pi_stream_updates_sensor",
            job_name=f"{prefix}load_pi_timeseries",
        )
        definitions = dg.Definitions.merge(definitions, dg.Definitions(sensors=[sensor]))
    parts = [
        definitions,
        _daily_numbers(site, resources, timeseries, prefix),
        _checks(site, resources, archive.key, prefix),
    ]
    if site.reconcile_days:
        parts.append(_reconciliation(site, resources, timeseries.key, prefix, load_timeseries=load_timeseries))
    if pi_assets:
        parts += [_assets(site, pi_assets, prefix), _event_frames(site, resources, prefix)]
    if site.quality_rules:
        parts.append(_quality(site, resources, timeseries, prefix, upstream=[attributes] if pi_assets else []))
    parts.append(_report(site, resources, timeseries.key, prefix))
    definitions = dg.Definitions.merge(*parts)
    if site.notifications is None:
        return definitions
    notifications = build_notification_sensor(
        site,
        site.notifications,
        name=f"{prefix}pi_notification_sensor",
        job_names={job.name for job in definitions.jobs or ()},
    )
    return dg.Definitions.merge(definitions, dg.Definitions(sensors=[notifications]))


def _reconciliation(
    site: Site, resources: SiteResources, timeseries: dg.AssetKey, prefix: str, *, load_timeseries: Any
) -> dg.Definitions:
    sensor_name = f"{prefix}pi_reconcile_sensor"
    check = build_counts_check(site, resources, timeseries, sensor=sensor_name)
    compare = dg.define_asset_job(
        f"{prefix}compare_counts",
        selection=dg.AssetSelection.checks(check),
        executor_def=dg.in_process_executor,
        description="Compares the server's event counts with the table's, going on where the last run ended.",
    )
    sensor = build_reconcile_sensor(site, timeseries, name=sensor_name, check_job=compare, load_job=load_timeseries)
    return dg.Definitions(asset_checks=[check], jobs=[compare], sensors=[sensor])


def _daily_numbers(
    site: Site, resources: SiteResources, timeseries: dg.AssetsDefinition, prefix: str
) -> dg.Definitions:
    daily = build_pi_timeseries_daily(site, resources, timeseries=timeseries)
    job = f"{prefix}compute_pi_timeseries_daily"
    return dg.Definitions(
        assets=[daily],
        jobs=[
            dg.define_asset_job(
                job,
                selection=only_own_checks(daily),
                executor_def=dg.in_process_executor,
                description="Computes the numbers of each tag on the days you choose.",
            )
        ],
        schedules=[
            build_daily_schedule(site, resources, daily.key, name=f"{prefix}pi_timeseries_daily_schedule", job_name=job)
        ],
    )


def _checks(site: Site, resources: SiteResources, archive: dg.AssetKey, prefix: str) -> dg.Definitions:
    checks = build_checks(site, resources, archive=archive)
    job = f"{prefix}check_pi_tables"
    return dg.Definitions(
        asset_checks=checks,
        jobs=[
            dg.define_asset_job(
                job,
                selection=dg.AssetSelection.checks(*checks),
                executor_def=dg.in_process_executor,
                description="Checks what is in the tables, and how far today is loaded.",
            )
        ],
        schedules=[build_checks_schedule(site, name=f"{prefix}pi_checks_schedule", job_name=job)],
    )


def _assets(site: Site, assets: dg.AssetsDefinition, prefix: str) -> dg.Definitions:
    job = f"{prefix}load_pi_assets"
    return dg.Definitions(
        assets=[assets],
        jobs=[
            dg.define_asset_job(
                job,
                selection=only_own_checks(assets),
                executor_def=dg.in_process_executor,
                description="Reads the elements of PI Asset Framework and their attributes.",
            )
        ],
        schedules=[build_assets_schedule(site, name=f"{prefix}pi_assets_schedule", job_name=job)],
    )


def _event_frames(site: Site, resources: SiteResources, prefix: str) -> dg.Definitions:
    hierarchy = dg.AssetKey([*site.asset_key_prefix, PI_ASSET_HIERARCHY.name])
    event_frames = build_pi_event_frames(site, resources, upstream=[hierarchy])
    job = f"{prefix}load_pi_event_frames"
    return dg.Definitions(
        assets=[event_frames],
        jobs=[
            dg.define_asset_job(
                job,
                selection=only_own_checks(event_frames),
                executor_def=dg.in_process_executor,
                description="Reads the event frames that start on the days you choose.",
            )
        ],
        schedules=[
            build_event_frames_schedule(site, event_frames, name=f"{prefix}pi_event_frames_schedule", job_name=job)
        ],
        sensors=[
            build_event_frame_sensor(site, resources, event_frames, name=f"{prefix}pi_event_frame_sensor", job_name=job)
        ],
    )


def _quality(
    site: Site, resources: SiteResources, timeseries: dg.AssetsDefinition, prefix: str, *, upstream: list[dg.AssetKey]
) -> dg.Definitions:
    findings = build_pi_quality_findings(site, resources, timeseries=timeseries, upstream=upstream)
    job = f"{prefix}judge_pi_timeseries"
    return dg.Definitions(
        assets=[findings],
        jobs=[
            dg.define_asset_job(
                job,
                selection=only_own_checks(findings),
                executor_def=dg.in_process_executor,
                description="Judges the days and tag groups you choose by the quality rules of the site.",
            )
        ],
        schedules=[build_quality_schedule(site, name=f"{prefix}pi_quality_schedule", job_name=job)],
    )


def _report(site: Site, resources: SiteResources, timeseries: dg.AssetKey, prefix: str) -> dg.Definitions:
    tables = [
        PI_TIMESERIES_DAILY,
        PI_TAG_ERRORS,
        *([PI_QUALITY_FINDINGS] if site.quality_rules else []),
        *([PI_EVENT_FRAMES] if site.asset_framework else []),
    ]
    upstream = [dg.AssetKey([*site.asset_key_prefix, table.name]) for table in tables]
    report = build_pi_quality_report(site, resources, timeseries=timeseries, upstream=upstream)
    job = f"{prefix}write_pi_quality_report"
    return dg.Definitions(
        assets=[report],
        jobs=[
            dg.define_asset_job(
                job,
                selection=[report],
                executor_def=dg.in_process_executor,
                description="Makes the pages about the days you choose.",
            )
        ],
        schedules=[build_report_schedule(site, name=f"{prefix}pi_quality_report_schedule", job_name=job)],
    )
