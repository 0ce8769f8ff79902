"""Which partitions are failed, and since when, as Dagster's record of runs tells."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timezone

import dagster as dg

from pi_dagster.automation.last_loads import last_load_ids

_MOST_LOOKED_UP = 500
"""Partitions, the first ones: a look-up takes some milliseconds, and after so many a person has enough to do."""


def failing_since(
    instance: dg.DagsterInstance, asset: dg.AssetKey, partitions: dg.PartitionsDefinition, keys: Sequence[str]
) -> Mapping[str, datetime]:
    """The partitions whose last load failed, with the begin of the first load that failed since they were loaded well.

    Args:
        instance: Dagster's record.
        asset: the asset's key.
        partitions: its partitions.
        keys: those to look at.
    """
    status = instance.get_status_by_partition(asset, keys, partitions) or {}
    failed = [key for key in keys if status.get(key) == dg.AssetPartitionStatus.FAILED][:_MOST_LOOKED_UP]
    loaded = last_load_ids(instance, asset, failed)
    since: dict[str, datetime] = {}
    for key in failed:
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
    return since
