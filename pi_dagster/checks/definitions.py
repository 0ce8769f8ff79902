"""The asset checks of a site: each gathers what it needs, has it judged, and tells Dagster."""

# Without `from __future__ import annotations`: Dagster wants the annotation of `context` as a class.

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import date, datetime, time, timedelta, timezone
from functools import cached_property

import dagster as dg
import pyarrow as pa

from pi_dagster.assets.failures import errors_told_plainly
from pi_dagster.assets.watermarks import last_watermarks
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
from pi_dagster.checks.failures_since import failing_since
from pi_dagster.checks.results import last_result, result_of
from pi_dagster.checks.verdict import Verdict
from pi_dagster.ingest.tag_errors import OpenErrors
from pi_dagster.lake import (
    AssetAttributesTable,
    AssetHierarchyTable,
    EventFramesTable,
    Lake,
    PointsTable,
    QualityFindingsTable,
    TimeseriesDailyTable,
    TimeseriesTable,
)
from pi_dagster.lake.schemas import PI_ASSET_ATTRIBUTES, PI_EVENT_FRAMES, PI_TIMESERIES
from pi_dagster.lake.table import LakeTable
from pi_dagster.lake.tag_days import tag_days
from pi_dagster.resources import SiteResources
from pi_dagster.site import Site

Judge = Callable[[dg.AssetCheckExecutionContext, datetime], Verdict]
"""Judges at an instant, with what a run's context gives access to."""

_ERROR, _WARN = dg.AssetCheckSeverity.ERROR, dg.AssetCheckSeverity.WARN

_YOUNG_DAY = timedelta(hours=1)
"""Shares of a day that is younger say little."""


def build_checks(site: Site, resources: SiteResources, *, archive: dg.AssetKey) -> Sequence[dg.AssetChecksDefinition]:
    """All checks of a site that are computed apart from loads.

    Args:
        site: the settings.
        resources: the names of the resources.
        archive: the key of the PI server's asset.
    """
    limits = site.checks
    checks = [
        _clocks_check(site, resources, archive),
        _freshness_check(site, resources),
        _values_checks(site, resources),
        _failed_partitions_check(site, PI_TIMESERIES.name, build_timeseries_partitions(site)),
        *(_columns_check(site, resources, table) for table in _tables(site)),
    ]
    if site.asset_framework:
        most_open = timedelta(hours=limits.open_frame_hours)
        checks += [
            _check(
                _key(site, PI_EVENT_FRAMES.name, open_frames.NAME),
                open_frames.DESCRIPTION.format(hours=limits.open_frame_hours),
                _WARN,
                lambda context, now: open_frames.judge_open_frames(
                    open_frames.read_open_frames(resources.lake(context).open()), now=now, limit=most_open
                ),
                resource_keys={resources.lake_key},
            ),
            _failed_partitions_check(site, PI_EVENT_FRAMES.name, build_day_partitions(site)),
            _attribute_tags_check(site, resources),
        ]
    return checks


def _tables(site: Site) -> Sequence[type[LakeTable]]:
    tables: list[type[LakeTable]] = [PointsTable, TimeseriesTable, TimeseriesDailyTable]
    if site.asset_framework:
        tables += [AssetHierarchyTable, AssetAttributesTable, EventFramesTable]
    if site.quality_rules:
        tables.append(QualityFindingsTable)
    return tables


def _key(site: Site, table: str, name: str) -> dg.AssetCheckKey:
    return dg.AssetCheckKey(dg.AssetKey([*site.asset_key_prefix, table]), name)


def _check(
    key: dg.AssetCheckKey,
    description: str,
    severity: dg.AssetCheckSeverity,
    judge: Judge,
    *,
    resource_keys: set[str],
) -> dg.AssetChecksDefinition:
    @dg.asset_check(asset=key.asset_key, name=key.name, description=description, required_resource_keys=resource_keys)
    def judged(context: dg.AssetCheckExecutionContext) -> dg.AssetCheckResult:
        now = datetime.now(timezone.utc)
        with errors_told_plainly():
            return result_of(key, severity, lambda: judge(context, now), judged_at=now)

    return judged


def _columns_check(site: Site, resources: SiteResources, table: type[LakeTable]) -> dg.AssetChecksDefinition:
    definition = table.definition

    def judge(context: dg.AssetCheckExecutionContext, now: datetime) -> Verdict:
        differences = table.differences(resources.lake(context).open())
        return columns.judge_columns(definition.name, len(definition.schema), differences)

    return _check(
        _key(site, definition.name, columns.NAME),
        columns.DESCRIPTION.format(table=definition.name),
        _ERROR,
        judge,
        resource_keys={resources.lake_key},
    )


def _clocks_check(site: Site, resources: SiteResources, archive: dg.AssetKey) -> dg.AssetChecksDefinition:
    def judge(context: dg.AssetCheckExecutionContext, now: datetime) -> Verdict:
        with resources.server(context).open(patience_seconds=_PATIENCE_SECONDS) as source:
            reading = clocks.ClockReading.take(source.server_time)
        return clocks.judge_clocks(reading, limit=timedelta(seconds=site.checks.clock_skew_seconds))

    return _check(
        dg.AssetCheckKey(archive, clocks.NAME),
        clocks.DESCRIPTION.format(seconds=site.checks.clock_skew_seconds),
        _WARN,
        judge,
        resource_keys={resources.server_key},
    )


_PATIENCE_SECONDS = 20.0
"""For the server's clock: an answer that takes longer tells nothing about it."""


def _freshness_check(site: Site, resources: SiteResources) -> dg.AssetChecksDefinition:
    key = _key(site, PI_TIMESERIES.name, freshness.NAME)

    def judge(context: dg.AssetCheckExecutionContext, now: datetime) -> Verdict:
        lake = resources.lake(context).open()
        # A site that is not loaded yet is told to begin with the list of tags.
        PointsTable.open(lake, create=False)
        version = TimeseriesTable.open(lake, create=False).version
        return freshness.judge_freshness(
            _reached(site, context.instance, key.asset_key, version, now.date()),
            now=now,
            limit=timedelta(minutes=site.checks.freshness_minutes),
        )

    return _check(
        key,
        freshness.DESCRIPTION.format(minutes=site.checks.freshness_minutes),
        _ERROR,
        judge,
        resource_keys={resources.lake_key},
    )


def _reached(
    site: Site, instance: dg.DagsterInstance, timeseries: dg.AssetKey, version: int, today: date
) -> Mapping[str, datetime | None]:
    """Up to which instant today, or else yesterday, is loaded in each tag group.

    A watermark of a version that the table does not have any more, as after it was put back, tells nothing.
    """
    days = today, today - timedelta(days=1)
    groups = site.partition_names()
    marks = last_watermarks(instance, timeseries, [(day, group) for day in days for group in groups])
    return {
        group: next(
            (
                mark.instant
                for day in days
                if (mark := marks.get((day, group))) is not None and mark.table_version <= version
            ),
            None,
        )
        for group in groups
    }


def _failed_partitions_check(site: Site, table: str, partitions: dg.PartitionsDefinition) -> dg.AssetChecksDefinition:
    key = _key(site, table, failed_partitions.NAME)

    def judge(context: dg.AssetCheckExecutionContext, now: datetime) -> Verdict:
        keys = partitions.get_partition_keys()
        return failed_partitions.judge_failed(
            failing_since(context.instance, key.asset_key, partitions, keys),
            partitions=len(keys),
            now=now,
            limit=timedelta(hours=site.checks.failed_partition_hours),
        )

    description = failed_partitions.DESCRIPTION.format(hours=site.checks.failed_partition_hours)
    return _check(key, description, _ERROR, judge, resource_keys=set())


def _attribute_tags_check(site: Site, resources: SiteResources) -> dg.AssetChecksDefinition:
    def judge(context: dg.AssetCheckExecutionContext, now: datetime) -> Verdict:
        lake = resources.lake(context).open()
        attributes, tags = attribute_tags.read_attributes(lake), attribute_tags.read_tags(lake)
        return attribute_tags.judge_attribute_tags(attributes, tags, most=site.checks.unknown_tags)

    return _check(
        _key(site, PI_ASSET_ATTRIBUTES.name, attribute_tags.NAME),
        attribute_tags.DESCRIPTION.format(most=site.checks.unknown_tags),
        _WARN,
        judge,
        resource_keys={resources.lake_key},
    )


def _values_checks(site: Site, resources: SiteResources) -> dg.AssetChecksDefinition:
    """The checks that look at rows: those of today and yesterday are read once for all of them."""
    limits = site.checks
    percents = {shares.BAD_VALUES: limits.bad_percent, shares.SYSTEM_STATES: limits.system_state_percent}
    descriptions = {
        duplicates.NAME: duplicates.DESCRIPTION,
        **{share.name: share.description.format(percent=percent) for share, percent in percents.items()},
        silent_tags.NAME: silent_tags.DESCRIPTION.format(
            factor=limits.silent_factor, days=limits.habit_days, minutes=limits.silent_minutes
        ),
    }
    severities = {duplicates.NAME: _ERROR}
    timeseries = _key(site, PI_TIMESERIES.name, duplicates.NAME).asset_key

    @dg.multi_asset_check(
        name="__".join([*timeseries.path, "values"]),
        specs=[
            dg.AssetCheckSpec(name, asset=timeseries, description=description)
            for name, description in descriptions.items()
        ],
        can_subset=True,
        required_resource_keys={resources.lake_key},
    )
    def judge_values(context: dg.AssetCheckExecutionContext) -> Iterator[dg.AssetCheckResult]:
        now = datetime.now(timezone.utc)
        with errors_told_plainly():
            rows = _Rows(site, resources.lake(context).open(), context.instance, timeseries, now)
            judges: Mapping[str, Callable[[], Verdict]] = {
                duplicates.NAME: rows.repeats,
                **{share.name: _judge_of_share(rows, share, percent) for share, percent in percents.items()},
                silent_tags.NAME: rows.silence,
            }
            for key in sorted(context.selected_asset_check_keys):
                # Each run of a backfill would read today's rows again.
                told = last_result(context.instance, key) if _BACKFILL_TAG in context.run.tags else None
                severity = severities.get(key.name, _WARN)
                yield told or result_of(key, severity, judges[key.name], judged_at=now)

    return judge_values


_BACKFILL_TAG = "dagster/backfill"


def _judge_of_share(rows: "_Rows", share: shares.Share, percent: float) -> Callable[[], Verdict]:
    return lambda: rows.share(share, percent)


class _Rows:
    """What the rows of today and yesterday tell, read when it is first asked for."""

    def __init__(
        self, site: Site, lake: Lake, instance: dg.DagsterInstance, timeseries: dg.AssetKey, now: datetime
    ) -> None:
        self._site = site
        self._lake = lake
        self._instance = instance
        self._timeseries = timeseries
        self._now = now
        self._today = now.date()

    def repeats(self) -> Verdict:
        names = self._names
        repeats = duplicates.count_repeats(self._table, self._facts)
        return duplicates.judge_repeats(repeats, tag_groups=self._site.partition_names(), names=names)

    def share(self, share: shares.Share, most_percent: float) -> Verdict:
        names = self._names
        midnight = datetime.combine(self._today, time(), timezone.utc)
        return shares.judge_share(
            share,
            self._facts,
            tag_groups=self._site.partition_names(),
            names=names,
            too_young=[self._today] if self._now - midnight < _YOUNG_DAY else [],
            most_percent=most_percent,
        )

    def silence(self) -> Verdict:
        limits = self._site.checks
        listed = silent_tags.read_listed_tags(self._lake)
        yesterday = self._today - timedelta(days=1)
        reached = _reached(self._site, self._instance, self._timeseries, self._table.version, self._today)
        return silent_tags.judge_silence(
            self._facts,
            silent_tags.read_habits(self._lake, self._today - timedelta(days=limits.habit_days), yesterday),
            listed,
            reached={group: until for group, until in reached.items() if until is not None},
            unreadable=set(OpenErrors.read(self._lake).rows["tag_webid"].to_pylist()),
            factor=limits.silent_factor,
            shortest=timedelta(minutes=limits.silent_minutes),
        )

    @cached_property
    def _table(self) -> TimeseriesTable:
        return TimeseriesTable.open(self._lake, create=False)

    @cached_property
    def _facts(self) -> pa.Table:
        return tag_days(self._table, {self._today, self._today - timedelta(days=1)})

    @cached_property
    def _names(self) -> Mapping[str, str]:
        tags = PointsTable.open(self._lake, create=False).to_arrow(["tag_webid", "tag_name"])
        return dict(zip(tags["tag_webid"].to_pylist(), tags["tag_name"].to_pylist(), strict=True))
