"""The watermarks that the last loads of partitions left, from the metadata of their materializations."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import datetime, timezone

import dagster as dg

from pi_dagster.automation.last_loads import last_load_ids, loads_by_id
from pi_dagster.automation.partitions import (
    COMPLETE,
    FAILED_TAGS,
    TABLE_VERSION,
    TAGS_DIGEST,
    UNREAD_SINCE,
    WATERMARK,
    partition_key,
    split_partition_key,
)
from pi_dagster.ingest.load_plans import Partition
from pi_dagster.ingest.tail import Watermark


def last_watermarks(
    instance: dg.DagsterInstance, asset: dg.AssetKey, partitions: Collection[Partition]
) -> Mapping[Partition, Watermark]:
    """The watermark of each partition that has one; none where the last materialization tells none."""
    latest = last_load_ids(instance, asset, [partition_key(*partition) for partition in partitions])
    found: dict[Partition, Watermark] = {}
    for record in loads_by_id(instance, asset, latest.values()):
        materialization = record.asset_materialization
        if materialization is None or record.partition_key is None:
            continue
        told = {name: value.value for name, value in materialization.metadata.items()}
        if {WATERMARK, COMPLETE, TABLE_VERSION, TAGS_DIGEST} <= told.keys():
            found[split_partition_key(record.partition_key)] = Watermark(
                instant=_instant(told[WATERMARK]),
                unread_since=_instant(told[UNREAD_SINCE]) if UNREAD_SINCE in told else None,
                failing=bool(told.get(FAILED_TAGS)),
                complete=told[COMPLETE] is True,
                table_version=int(str(told[TABLE_VERSION])),
                run_id=record.run_id,
                tags_digest=str(told[TAGS_DIGEST]),
            )
    return found


def _instant(told: object) -> datetime:
    return datetime.fromtimestamp(float(str(told)), timezone.utc)
