"""The partitions of pi_timeseries, date x tag group, and which of them a run was launched for."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime, time, timezone

import dagster as dg

from pi_dagster.site import Site

DATE = "date"
TAG_GROUP = "tag_group"

COMPLETE = "pi/complete"
"""Metadata of a materialization: true when it holds its day to the end, for every tag."""

SETTLED = "pi/settled"
"""Metadata of a materialization: true when the day is complete and was read whole after its time to settle."""

READ_TO_SETTLE = "pi/read_to_settle"
"""Metadata of a materialization: true when the day was read whole after its time to settle; it is not settled all the
same when a tag could not be read. Left out otherwise."""

WATERMARK = "pi/watermark"
"""Metadata of a materialization: up to which instant it is complete."""

UNREAD_SINCE = "pi/unread_since"
"""Metadata of a materialization: from when on a tag that could not be read may lack events; left out otherwise."""

TAGS_DIGEST = "pi/tags_digest"
"""Metadata of a materialization: another one when a tag joined the partition or left it."""

TABLE_VERSION = "lake/table_version"
"""Metadata of a materialization: the version of the table that its commit made."""

FAILED_TAGS = "pi/failed_tags"
"""Metadata of a materialization: how many tags of the partition could not be read."""

TAIL_TAG = "pi/tail"
"""Run tag that asks for what is new since the watermarks; runs without it, such as a person's, read whole days."""

RANGE_START_TAG = "dagster/asset_partition_range_start"
RANGE_END_TAG = "dagster/asset_partition_range_end"


def build_day_partitions(site: Site) -> dg.DailyPartitionsDefinition:
    """Every UTC day from the site's start date to today."""
    start = datetime.combine(site.start_date, time(), timezone.utc)
    return dg.DailyPartitionsDefinition(start_date=start, timezone="UTC", end_offset=1)


def build_timeseries_partitions(site: Site) -> dg.MultiPartitionsDefinition:
    """Every UTC day from the site's start date to today, for every tag group (or shard of one)."""
    return dg.MultiPartitionsDefinition(
        {
            DATE: build_day_partitions(site),
            TAG_GROUP: dg.StaticPartitionsDefinition(list(site.partition_names())),
        }
    )


def partition_key(day: date, tag_group: str) -> dg.MultiPartitionKey:
    """The key of one partition; as text `2026-11-02|boilers`."""
    return dg.MultiPartitionKey({DATE: day.isoformat(), TAG_GROUP: tag_group})


def range_tags(day: date, first_group: str, last_group: str) -> dict[str, str]:
    """Run tags that select the partitions of one day from `first_group` to `last_group`, in the site's order."""
    return {
        RANGE_START_TAG: str(partition_key(day, first_group)),
        RANGE_END_TAG: str(partition_key(day, last_group)),
    }


def partition_tags(day: date, tag_group: str) -> dict[str, str]:
    """The tags by which Dagster finds the materializations of one day or of one tag group."""
    return {f"dagster/partition/{DATE}": day.isoformat(), f"dagster/partition/{TAG_GROUP}": tag_group}


def split_partition_key(key: str) -> tuple[date, str]:
    """The day and the tag group of a partition key."""
    day, tag_group = str(key).split("|")
    return date.fromisoformat(day), tag_group


def only_own_checks(asset: dg.AssetsDefinition) -> dg.AssetSelection:
    """An asset with the checks that its own function yields, and none of those that are computed apart from it."""
    return dg.AssetSelection.assets(asset).without_checks() | dg.AssetSelection.checks(*asset.check_keys)


def is_range_run(context: dg.AssetExecutionContext) -> bool:
    """True for a run over a range of partitions, even a range of one; its materializations must be logged by us.

    Dagster 1.13 leaves the tags of the backfill's first partition standing in every run of a backfill launched
    from a job. `context.partition_keys` and a returned `MaterializeResult` follow those stray tags, so that a
    backfill reports success with partitions never loaded (dagster-io/dagster issues 28861, 30786).
    """
    return RANGE_START_TAG in context.run.tags


def run_keys(context: dg.AssetExecutionContext, partitions: dg.PartitionsDefinition) -> Sequence[str]:
    """The partitions this run was launched for, from its range tags where it has some (see `is_range_run`)."""
    if not is_range_run(context):
        return list(context.partition_keys)
    tags = context.run.tags
    partition_range = dg.PartitionKeyRange(tags[RANGE_START_TAG], tags[RANGE_END_TAG])
    return list(partitions.get_partition_keys_in_range(partition_range))
