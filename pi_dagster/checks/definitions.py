"""The asset checks of a site, by asset: what each judges, by which limits of the site, and how bad it is."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

import dagster as dg

from pi_dagster.automation.partitions import build_day_partitions, build_timeseries_partitions
from pi_dagster.checks import (
    attribute_tags,
    clocks,
    columns,
    duplicates,
    failed_partitions,
    freshness,
    open_frames,
    shares,
    silent_tags,
)
from pi_dagster.checks.look import Look
from pi_dagster.checks.running import Check, build_asset_checks
from pi_dagster.checks.verdict import Verdict
from pi_dagster.ingest.tag_errors import OpenErrors
from pi_dagster.lake import (
    AssetAttributesTable,
    AssetHierarchyTable,
    EventFramesTable,
    PointsTable,
    QualityFindingsTable,
    TimeseriesDailyTable,
    TimeseriesTable,
)
from pi_dagster.lake.table import LakeTable
from pi_dagster.resources import SiteResources
from pi_dagster.site import Site

_YOUNG_DAY = timedelta(hours=1)
"""Shares of a day that is younger say little."""


def build_checks(site: Site, resources: SiteResources, *, archive: dg.AssetKey) -> Sequence[dg.AssetChecksDefinition]:
    """All checks of a site that are computed apart from loads.

    Args:
        site: the settings.
        resources: the names of the resources.
        archive: the key of the PI server's asset.
    """
    timeseries, frames = _asset(site, TimeseriesTable), _asset(site, EventFramesTable)
    checks: dict[type[LakeTable], list[Check]] = {
        TimeseriesTable: [
            _freshness(site),
            *_of_rows(site),
            _failed_partitions(site, timeseries, build_timeseries_partitions(site)),
        ],
        PointsTable: [],
        TimeseriesDailyTable: [],
    }
    if site.asset_framework:
        checks[AssetHierarchyTable] = []
        checks[AssetAttributesTable] = [_attribute_tags(site)]
        checks[EventFramesTable] = [_open_frames(site), _failed_partitions(site, frames, build_day_partitions(site))]
    if site.quality_rules:
        checks[QualityFindingsTable] = []
    return [
        build_asset_checks(site, resources, archive, [_clocks(site)]),
        *(
            build_asset_checks(site, resources, _asset(site, table), [*of_table, _columns(table)])
            for table, of_table in checks.items()
        ),
    ]


def _asset(site: Site, table: type[LakeTable]) -> dg.AssetKey:
    return dg.AssetKey([*site.asset_key_prefix, table.definition.name])


def _columns(table: type[LakeTable]) -> Check:
    name = table.definition.name

    def judge(look: Look) -> Verdict:
        return columns.judge_columns(name, len(table.definition.schema), table.differences(look.lake))

    return Check(name=columns.NAME, description=columns.DESCRIPTION.format(table=name), judge=judge, is_error=True)


def _clocks(site: Site) -> Check:
    seconds = site.checks.clock_skew_seconds
    return Check(
        name=clocks.NAME,
        description=clocks.DESCRIPTION.format(seconds=seconds),
        judge=lambda look: clocks.judge_clocks(look.clocks(), limit=timedelta(seconds=seconds)),
    )


def _freshness(site: Site) -> Check:
    minutes = site.checks.freshness_minutes
    return Check(
        name=freshness.NAME,
        description=freshness.DESCRIPTION.format(minutes=minutes),
        judge=lambda look: freshness.judge_freshness(look.reached, now=look.now, limit=timedelta(minutes=minutes)),
        is_error=True,
        is_for_backfills=True,
    )


def _of_rows(site: Site) -> Sequence[Check]:
    """The checks that look at the rows of today and yesterday, which are read once for all of them."""
    limits = site.checks
    return [
        Check(name=duplicates.NAME, description=duplicates.DESCRIPTION, judge=_judge_repeats, is_error=True),
        _share(site, shares.BAD_VALUES, limits.bad_percent),
        _share(site, shares.SYSTEM_STATES, limits.system_state_percent),
        Check(
            name=silent_tags.NAME,
            description=silent_tags.DESCRIPTION.format(
                factor=limits.silent_factor, days=limits.habit_days, minutes=limits.silent_minutes
            ),
            judge=_judge_silence,
        ),
    ]


def _judge_repeats(look: Look) -> Verdict:
    repeats = duplicates.count_repeats(look.timeseries, look.tag_days)
    return duplicates.judge_repeats(repeats, tag_groups=look.site.partition_names(), names=look.tag_names)


def _share(site: Site, share: shares.Share, percent: float) -> Check:
    def judge(look: Look) -> Verdict:
        today = look.days[0]
        is_young = (look.now - _YOUNG_DAY).date() < today
        return shares.judge_share(
            share,
            look.tag_days,
            tag_groups=site.partition_names(),
            names=look.tag_names,
            too_young=[today] if is_young else [],
            most_percent=percent,
        )

    return Check(name=share.name, description=share.description.format(percent=percent), judge=judge)


def _judge_silence(look: Look) -> Verdict:
    limits = look.site.checks
    today, yesterday = look.days
    return silent_tags.judge_silence(
        look.tag_days,
        silent_tags.read_habits(look.lake, today - timedelta(days=limits.habit_days), yesterday),
        silent_tags.read_listed_tags(look.lake),
        reached={group: until for group, until in look.reached.items() if until is not None},
        unreadable=set(OpenErrors.read(look.lake).rows["tag_webid"].to_pylist()),
        factor=limits.silent_factor,
        shortest=timedelta(minutes=limits.silent_minutes),
    )


def _failed_partitions(site: Site, asset: dg.AssetKey, partitions: dg.PartitionsDefinition) -> Check:
    hours = site.checks.failed_partition_hours

    def judge(look: Look) -> Verdict:
        keys = partitions.get_partition_keys()
        failed = failed_partitions.failed_now(look.instance, asset, partitions, keys)
        return failed_partitions.judge_failed(failed, partitions=len(keys), now=look.now, limit=timedelta(hours=hours))

    description = failed_partitions.DESCRIPTION.format(hours=hours)
    return Check(name=failed_partitions.NAME, description=description, judge=judge, is_error=True)


def _attribute_tags(site: Site) -> Check:
    most = site.checks.unknown_tags

    def judge(look: Look) -> Verdict:
        attributes, tags = attribute_tags.read_attributes(look.lake), attribute_tags.read_tags(look.lake)
        return attribute_tags.judge_attribute_tags(attributes, tags, most=most)

    return Check(name=attribute_tags.NAME, description=attribute_tags.DESCRIPTION.format(most=most), judge=judge)


def _open_frames(site: Site) -> Check:
    hours = site.checks.open_frame_hours

    def judge(look: Look) -> Verdict:
        frames = open_frames.read_open_frames(look.lake)
        return open_frames.judge_open_frames(frames, now=look.now, limit=timedelta(hours=hours))

    return Check(name=open_frames.NAME, description=open_frames.DESCRIPTION.format(hours=hours), judge=judge)
