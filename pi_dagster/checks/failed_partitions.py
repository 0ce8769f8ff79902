"""Has a partition been left failed?

The schedule tries failed closed days of its look-back again each hour. What stays failed for long, or is older than
that look-back, waits for a person.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone

import dagster as dg

from pi_dagster.automation.last_loads import last_load_ids
from pi_dagster.checks.verdict import MOST_NAMED, Verdict, counted, duration

NAME = "no_partition_left_failed"

DESCRIPTION = """
No partition has been failing for more than {hours:g} hours (`checks.failed_partition_hours`), counted from the first
load that failed since it was last loaded well.
"""


_MOST_LOOKED_UP = 500
"""Partitions, the newest: a look-up takes some milliseconds, and after so many a person has enough to do."""


@dataclass(frozen=True)
class FailedPartitions:
    """The partitions whose last load failed."""

    since: Mapping[str, datetime]
    """When the first load began that failed since it was loaded well, of the partitions that were looked up."""
    count: int
    """How many there are in all."""


def failed_now(
    instance: dg.DagsterInstance, asset: dg.AssetKey, partitions: dg.PartitionsDefinition, keys: Sequence[str]
) -> FailedPartitions:
    """The partitions whose last load failed.

    Args:
        instance: Dagster's record.
        asset: the asset's key.
        partitions: its partitions.
        keys: those to look at, which begin with their day.
    """
    status = instance.get_status_by_partition(asset, keys, partitions) or {}
    failed = sorted((key for key in keys if status.get(key) == dg.AssetPartitionStatus.FAILED), reverse=True)
    newest = failed[:_MOST_LOOKED_UP]
    loaded = last_load_ids(instance, asset, newest)
    since: dict[str, datetime] = {}
    for key in newest:
        tried = instance.event_log_storage.get_event_records(
            dg.EventRecordsFilter(
                dg.DagsterEventType.ASSET_MATERIALIZATION_PLANNED,
                asset_key=asset,
                asset_partitions=[str(key)],
                after_cursor=loaded.get(key),
            ),
            limit=1,
            ascending=True,
        )
        if tried:
            since[key] = datetime.fromtimestamp(tried[0].event_log_entry.timestamp, timezone.utc)
    return FailedPartitions(since, len(failed))


def judge_failed(failed: FailedPartitions, *, partitions: int, now: datetime, limit: timedelta) -> Verdict:
    """Whether no partition has been failing for longer than `limit`.

    Args:
        failed: those that failed.
        partitions: how many there are in all.
        now: the present.
        limit: how long a partition may fail.
    """
    left = sorted((since, partition) for partition, since in failed.since.items() if now - since > limit)
    if left:
        said = (
            f"{counted(len(left), 'partition has', 'partitions have')} been failing for more than {duration(limit)}, "
            f"the first for {duration(now - left[0][0])}."
        )
    elif failed.since:
        said = f"{counted(len(failed.since), 'partition')} failed, none more than {duration(limit)} ago."
    else:
        said = f"None of {counted(partitions, 'partition')} is failed."
    if failed.count > _MOST_LOOKED_UP:
        looked_up = counted(_MOST_LOOKED_UP, "was looked up", "were looked up")
        said += f" {failed.count:,} partitions are failed; of these only the newest {looked_up}."
    return Verdict(
        passed=not left,
        said=said,
        numbers={
            "pi/partitions": partitions,
            "pi/failed_partitions": failed.count,
            "pi/partitions_left_failed": len(left),
        },
        offenders=[
            {
                "partition": partition,
                "failing since": since,
                "hours": round((now - since) / timedelta(hours=1), 1),
                "what to do": "Open its last run, which says why it failed. When the cause is gone, materialize with "
                "`Backfill only failed and missing partitions`.",
            }
            for since, partition in left[:MOST_NAMED]
        ],
    )
