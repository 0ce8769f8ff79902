"""The partitions of pi_timeseries, date x tag group, and which of them a run was launched for."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime, time, timezone

import dagster as dg

from pi_dagster.site import Site

DATE = "date"
TAG_GROUP = "tag_group"

COMPLETE = "pi/complete"
"""Metadata of a materialization: true when it reached the end of its day, false for one of today."""

RANGE_START_TAG = "dagster/asset_partition_range_start"
RANGE_END_TAG = "dagster/asset_partition_range_end"


def build_timeseries_partitions(site: Site) -> dg.MultiPartitionsDefinition:
    """Every UTC day from the site's start date to today, for every tag group (or shard of one)."""
    return dg.MultiPartitionsDefinition(
        {
            DATE: dg.DailyPartitionsDefinition(
                start_date=datetime.combine(site.start_date, time(), timezone.utc), timezone="UTC", end_offset=1
            ),
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


def run_keys(context: dg.AssetExecutionContext, partitions: dg.MultiPartitionsDefinition) -> Sequence[str]:
    """The partitions this run was launched for.

    The run's range tags win over `context.partition_keys`: in the runs of a backfill launched from a job,
    Dagster 1.13 leaves the tags of the first partition standing, `partition_keys` then holds that one key, and
    the backfill would report success with the others never loaded (dagster-io/dagster issues 28861, 30786).
    """
    tags = context.run.tags
    if RANGE_START_TAG not in tags:
        return list(context.partition_keys)
    partition_range = dg.PartitionKeyRange(tags[RANGE_START_TAG], tags[RANGE_END_TAG])
    return list(partitions.get_partition_keys_in_range(partition_range))
