"""The check of pi_timeseries that compares the server's own event counts with the table's.

A run of it goes on where the last one ended and looks at as many tag groups and days as its requests reach for. Its
result tells of all that is known to differ, also of what other runs found and nobody has loaded since.
"""

# Without `from __future__ import annotations`: Dagster wants the annotation of `context` as a class.

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta, timezone

import dagster as dg

from pi_dagster.assets.failures import errors_told_plainly
from pi_dagster.assets.metadata import Metadata
from pi_dagster.assets.metadata_tables import differences_table, uncounted_tags_table
from pi_dagster.automation.partitions import partition_key
from pi_dagster.automation.reconcile import (
    COUNTS_MATCH,
    MOST_LOADS,
    STATE,
    DifferingPartition,
    ReconcileState,
    last_loads,
    partitions_to_give_up,
    when_loads_began,
)
from pi_dagster.ingest.errors import NoTagsError
from pi_dagster.ingest.load_plans import Partition
from pi_dagster.ingest.reconcile import Comparison, CountDifference, Reconciler
from pi_dagster.resources import SiteResources
from pi_dagster.site import Site

DESCRIPTION = """
As many events in the table as the server counts, tag by tag and day by day, on the last {days} settled days that were
loaded. A count that differs is looked at event by event, so what the table shows does differ. It is loaded again by
the sensor. Counts cannot see an edit that keeps the number of events: reading a day once more when it settles does, and
Stream Updates where the server has them. Where the server does not count bad values, one more or less of those is not
seen either.
"""


def build_counts_check(
    site: Site, resources: SiteResources, timeseries: dg.AssetKey, *, sensor: str
) -> dg.AssetChecksDefinition:
    """The check of a site.

    Args:
        site: the settings.
        resources: the server and the lake.
        timeseries: the key of pi_timeseries.
        sensor: the name of the sensor that has it run.
    """
    key = dg.AssetCheckKey(timeseries, COUNTS_MATCH)

    @dg.op(
        name="__".join([*timeseries.path, COUNTS_MATCH]),
        out={COUNTS_MATCH: dg.Out(dg.Nothing)},
        required_resource_keys=resources.keys,
        pool=resources.pool,
    )
    def compare_counts(context: dg.OpExecutionContext) -> dg.AssetCheckResult:
        began = time.time()
        instance = context.instance
        state = ReconcileState.last(instance, key)
        untold = partitions_to_give_up(instance, site, timeseries, state.differing)
        state = state.given_up(untold)
        loads = last_loads(instance, timeseries, state.differing)
        loaded_since = sorted(
            partition
            for partition, found in state.differing.items()
            if partition in loads and loads[partition].at > found.compared_at
        )
        is_only_to_tell = bool(untold) and not loaded_since and not state.is_due(began)
        # A load by hand, with which Dagster runs the asset's checks, compares nothing either.
        if is_only_to_tell or timeseries in (context.run.asset_selection or ()):
            return _result(key, state, {}, site=site, sensor=sensor)
        with errors_told_plainly(), resources.server(context).open() as source:
            days = days_to_compare(site, source.server_time())
            walk = _Walk(site, Reconciler(site, source, resources.lake(context).open()), instance, timeseries)
            walk.compare(loaded_since)
            done = replace(state, compared_at=began)
            if not loaded_since or state.is_due(began):
                next_partition = walk.go_on(days, state.next_partition)
                is_new_round = state.next_partition is None and bool(walk.compared)
                done = replace(
                    done, next_partition=next_partition, round_began=began if is_new_round else state.round_began
                )
        differing = _differing(state, walk, days=days)
        done = replace(done, differing=differing)
        context.log.info(
            f"{walk.tag_days:,} counts of {len(walk.compared)} partitions compared in {walk.requests:,} requests; "
            f"partitions that differ: {len(differing)}."
        )
        return _result(key, done, walk.metadata(), site=site, sensor=sensor)

    # Without an edge from the asset, as the checks in `checks/running.py`.
    check: dg.AssetChecksDefinition = dg.AssetChecksDefinition.create(
        keys_by_input_name={},
        node_def=compare_counts,
        check_specs_by_output_name={
            COUNTS_MATCH: dg.AssetCheckSpec(
                COUNTS_MATCH, asset=timeseries, description=DESCRIPTION.format(days=site.reconcile_days)
            )
        },
        can_subset=False,
    )
    return check


def days_to_compare(site: Site, server_now: datetime) -> Sequence[date]:
    """The last days of the site that are over and had time to settle, the oldest first."""
    after = (server_now - timedelta(hours=site.settle_hours)).date()
    first = max(site.start_date, after - timedelta(days=site.reconcile_days))
    return [first + timedelta(days=number) for number in range((after - first).days)]


@dataclass
class _Walk:
    """One run's way through the partitions, and what it found on it."""

    site: Site
    reconciler: Reconciler
    instance: dg.DagsterInstance
    timeseries: dg.AssetKey
    comparisons: list[Comparison] = field(default_factory=list)
    without_tags: set[str] = field(default_factory=set)
    """Tag groups that have none, whose partitions can neither be compared nor loaded."""

    @property
    def compared(self) -> set[Partition]:
        """The partitions that were looked at."""
        return {partition for comparison in self.comparisons for partition in comparison.partitions}

    @property
    def tag_days(self) -> int:
        """How many counts were compared."""
        return sum(comparison.tag_days for comparison in self.comparisons)

    @property
    def requests(self) -> int:
        """Sent to the server so far."""
        return sum(comparison.requests for comparison in self.comparisons)

    def compare(self, partitions: Sequence[Partition]) -> Partition | None:
        """Compare partitions, tag group by tag group; returns the first one that the requests did not reach for."""
        by_group: dict[str, list[date]] = {}
        for day, tag_group in partitions:
            by_group.setdefault(tag_group, []).append(day)
        for tag_group, days in by_group.items():
            loads = last_loads(self.instance, self.timeseries, [(day, tag_group) for day in days])
            settled = sorted(day for (day, _), load in loads.items() if load.is_settled)
            if not settled:
                continue
            left = self.site.reconcile_requests_per_run - self.requests
            if left <= 0:
                return min(days), tag_group
            try:
                for comparison in self.reconciler.compare(tag_group, settled, requests=left):
                    self.comparisons.append(comparison)
                    last_day, _ = comparison.partitions[-1]
                    if self.requests >= self.site.reconcile_requests_per_run and last_day < settled[-1]:
                        return last_day + timedelta(days=1), tag_group
            except NoTagsError:
                # Its loads fail and say so.
                self.without_tags.add(tag_group)
        return None

    def go_on(self, days: Sequence[date], start: Partition | None) -> Partition | None:
        """Compare what comes from `start` on, or all from the beginning; returns where the next run goes on."""
        groups = list(self.site.partition_names())
        compared = self.compared
        first_group, first_day = (groups.index(start[1]), start[0]) if start and start[1] in groups else (0, date.min)
        return self.compare(
            [
                (day, group)
                for number, group in enumerate(groups)
                for day in days
                if (number > first_group or (number == first_group and day >= first_day))
                and (day, group) not in compared
            ]
        )

    def metadata(self) -> Metadata:
        """What was looked at, for the check's result."""
        events = sum(comparison.events for comparison in self.comparisons)
        uncounted = [tag for comparison in self.comparisons for tag in comparison.uncounted]
        metadata: Metadata = {
            "pi/compared_partitions": dg.MetadataValue.int(len(self.compared)),
            "pi/compared_tag_days": dg.MetadataValue.int(self.tag_days),
            "pi/counted_events": dg.MetadataValue.int(events),
            "pi/suspected_tag_days": dg.MetadataValue.int(sum(one.suspects for one in self.comparisons)),
            "pi/suspected_and_not_looked_at": dg.MetadataValue.int(sum(one.not_looked_at for one in self.comparisons)),
            "pi/uncounted_tags": dg.MetadataValue.int(len({(tag.tag_group, tag.tag_name) for tag in uncounted})),
            "load/requests": dg.MetadataValue.int(self.requests),
        }
        if uncounted:
            metadata["pi/uncounted_tags_and_reasons"] = uncounted_tags_table(uncounted)
        return metadata


def _differing(state: ReconcileState, walk: _Walk, *, days: Sequence[date]) -> Mapping[Partition, DifferingPartition]:
    """What differs now: what was found, and what was known before and not looked at."""
    found: dict[Partition, dict[str, CountDifference]] = {}
    for comparison in walk.comparisons:
        for difference in comparison.differences:
            for partition in difference.partitions:
                # A tag that two groups hold is found in both.
                found.setdefault(partition, {})[difference.tag_webid] = difference
    load_began = when_loads_began(walk.instance, last_loads(walk.instance, walk.timeseries, found))
    compared = walk.compared
    groups = {*walk.site.partition_names()} - walk.without_tags
    now = time.time()
    return {
        **{
            partition: before
            for partition, before in state.differing.items()
            if partition not in compared and partition[0] in days and partition[1] in groups
        },
        **{
            partition: DifferingPartition.of(
                list(differences.values()),
                compared_at=now,
                before=state.differing.get(partition),
                load_began=load_began.get(partition),
            )
            for partition, differences in sorted(found.items())
        },
    }


def _result(
    key: dg.AssetCheckKey, state: ReconcileState, metadata: Metadata, *, site: Site, sensor: str
) -> dg.AssetCheckResult:
    differing = state.differing
    # What is loaded again heals by itself.
    is_lasting = any(found.is_left_alone or found.is_given_up for found in differing.values())
    return dg.AssetCheckResult(
        asset_key=key.asset_key,
        check_name=key.name,
        # Nothing that differs is no verdict where nothing was compared.
        passed=state.has_compared and not differing,
        severity=dg.AssetCheckSeverity.ERROR if is_lasting else dg.AssetCheckSeverity.WARN,
        description=_told(state) if state.has_compared else _nothing_compared(site, sensor),
        metadata={**metadata, "pi/differences": differences_table(_rows(differing)), STATE: state.as_metadata()},
    )


def _rows(differing: Mapping[Partition, DifferingPartition]) -> Iterator[tuple[str, str, int, int, str]]:
    for partition, found in sorted(differing.items()):
        if found.is_left_alone:
            what = "differs after a load too; left alone"
        elif found.is_given_up:
            what = f"{MOST_LOADS} loads failed; left alone until the next round"
        else:
            what = "is loaded again"
        for tag, server, table in found.examples:
            yield str(partition_key(*partition)), tag, server, table, what


def _nothing_compared(site: Site, sensor: str) -> str:
    return (
        "Nothing has been compared with the server's counts yet, and a load by hand does not do it: switch "
        f"{sensor} on, or press Execute on this check. It compares those of the last {site.reconcile_days} days that "
        "were loaded after they had settled."
    )


def _told(state: ReconcileState) -> str:
    last = datetime.fromtimestamp(state.compared_at, timezone.utc)
    return f"{_differences_told(state.differing)} Last compared on {last:%Y-%m-%d} at {last:%H:%M} UTC."


def _differences_told(differing: Mapping[Partition, DifferingPartition]) -> str:
    if not differing:
        return "The table holds as many events as the server."
    tags = sum(found.tags for found in differing.values())
    left_alone = sum(found.is_left_alone for found in differing.values())
    told = f"{tags:,} tag-days of {len(differing)} partitions differ."
    if left_alone:
        told += (
            f" {left_alone} partitions differ in the same way after they were loaded again, and are not asked for any "
            "more: look at the runs that loaded them, or load them by hand."
        )
    given_up = sum(found.is_given_up for found in differing.values())
    if given_up:
        told += (
            f" {MOST_LOADS} loads of each of {given_up} partitions failed, so they are left alone until the next "
            "round: look at those runs, correct the cause and load them by hand."
        )
    return told
