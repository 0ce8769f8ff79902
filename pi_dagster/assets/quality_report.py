"""pi_quality_report: a page a day about what was loaded and whether to trust it, as a file in the lake."""

# Without `from __future__ import annotations`: Dagster wants the annotation of `context` as a class.

from collections.abc import Iterator, Sequence
from datetime import date, datetime, time, timedelta, timezone

import dagster as dg

from pi_dagster.assets.failures import errors_told_plainly
from pi_dagster.assets.materializations import materialized
from pi_dagster.assets.metadata import Metadata
from pi_dagster.automation.partitions import build_day_partitions, partition_key, run_keys, split_partition_key
from pi_dagster.lake import Lake
from pi_dagster.lake.schemas import PI_QUALITY_FINDINGS
from pi_dagster.pictures.report_facts import Lag, ReportFacts, gather_facts
from pi_dagster.pictures.report_file import report_path, write_report
from pi_dagster.resources import SiteResources
from pi_dagster.site import Site

PI_QUALITY_REPORT = "pi_quality_report"
LAG_SECONDS = "pi/lag_seconds"
_MOST_LOADS = 20_000
"""Loads of a day that are looked at for its lag, the newest ones."""

DESCRIPTION = """
**One page a day** that shows what was loaded and whether to trust it: events, completeness of each tag group, lag, the
tags with most bad events, silent tags, tags that could not be read, what the quality rules found, and the event frames.

- The page is a single HTML file in the lake's folder `reports`. It needs no network, and prints on A4.
- The materialization links to it where the site says `reports_url`, and tells its path otherwise.
- It is made from the tables as they are now; make it again after a reload. The schedule makes yesterday's.
"""


def build_pi_quality_report(
    site: Site, resources: SiteResources, *, timeseries: dg.AssetKey, upstream: Sequence[dg.AssetKey]
) -> dg.AssetsDefinition:
    """The asset pi_quality_report of a site.

    Args:
        site: the settings.
        resources: the names of the resources.
        timeseries: whose loads have the lag.
        upstream: the tables that the page is made from.
    """
    partitions = build_day_partitions(site)
    key = dg.AssetKey([*site.asset_key_prefix, PI_QUALITY_REPORT])
    findings = dg.AssetKey([*site.asset_key_prefix, PI_QUALITY_FINDINGS.name])

    @dg.asset(
        key=key,
        deps=upstream,
        partitions_def=partitions,
        backfill_policy=dg.BackfillPolicy.multi_run(site.max_partitions_per_run),
        output_required=False,
        group_name="pi",
        kinds={"python", "html"},
        description=DESCRIPTION,
        required_resource_keys={resources.lake_key},
    )
    def pi_quality_report(context: dg.AssetExecutionContext) -> Iterator[dg.MaterializeResult[None]]:
        with errors_told_plainly():
            lake = resources.lake(context).open()
            judged = [*map(split_partition_key, context.instance.get_materialized_partitions(findings))]
            for day_key in run_keys(context, partitions):
                day = date.fromisoformat(day_key)
                facts = gather_facts(
                    site,
                    lake,
                    day,
                    lags=_lags(context.instance, timeseries, site, day),
                    judged_groups=[tag_group for of_day, tag_group in judged if of_day == day],
                )
                size = write_report(lake, facts)
                where = _address(site, lake, day)
                metadata = {"pi/report": where, **_headlines(facts), "lake/file_bytes": dg.MetadataValue.int(size)}
                yield from materialized(context, day_key, f"{day}: {size:,} bytes in {where.value}", metadata)

    return pi_quality_report


def _address(site: Site, lake: Lake, day: date) -> dg.MetadataValue:
    if site.reports_url is not None:
        return dg.MetadataValue.url(f"{site.reports_url.rstrip('/')}/{day}.html")
    path = f"{lake.uri}/{report_path(day)}"
    return dg.MetadataValue.path(path) if lake.is_local else dg.MetadataValue.text(path)


def _headlines(facts: ReportFacts) -> Metadata:
    """What the page says first, as lines in Plots."""
    return {
        "pi/events": dg.MetadataValue.int(facts.numbers.events),
        "pi/bad_share": dg.MetadataValue.float(round(facts.numbers.bad_share, 6)),
        "pi/silent_tags": dg.MetadataValue.int(facts.silent_count),
        "pi/failed_tags": dg.MetadataValue.int(facts.unread_count),
        "pi/findings": dg.MetadataValue.int(facts.finding_count),
        "pi/event_frames": dg.MetadataValue.int(facts.frame_count),
    }


def _lags(instance: dg.DagsterInstance, timeseries: dg.AssetKey, site: Site, day: date) -> Sequence[Lag]:
    """The lag of each load of a day that ran while the day was under way, in time order."""
    midnight = datetime.combine(day, time(), timezone.utc)
    keys = {str(partition_key(day, group)): group for group in site.partition_names()}
    wanted = dg.AssetRecordsFilter(
        timeseries,
        asset_partitions=list(keys),
        after_timestamp=midnight.timestamp(),
        before_timestamp=(midnight + timedelta(days=1)).timestamp(),
    )
    found: list[Lag] = []
    cursor: str | None = None
    while len(found) < _MOST_LOADS:
        page = instance.fetch_materializations(wanted, limit=1000, cursor=cursor)
        for record in page.records:
            told = record.asset_materialization.metadata.get(LAG_SECONDS) if record.asset_materialization else None
            if told is not None and isinstance(told.value, float) and record.partition_key in keys:
                at = datetime.fromtimestamp(record.timestamp, timezone.utc)
                found.append(Lag(at, keys[record.partition_key], told.value))
        if not page.has_more:
            break
        cursor = page.cursor
    return sorted(found, key=lambda lag: lag.at)
