"""The last materializations of partitions, and the last tries, by Dagster's index, so that its history is not read.

Some at a time: Dagster refuses to read more than 10,000 records at once, and databases limit the length of a query.
Without naming the partitions, the index of every tail run of all years would be looked through.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from itertools import islice
from typing import TypeVar

import dagster as dg

_AT_A_TIME = 1_000

T = TypeVar("T")


def last_load_ids(instance: dg.DagsterInstance, asset: dg.AssetKey, partitions: Collection[str]) -> Mapping[str, int]:
    """The storage id of the last materialization of each partition that has one.

    Args:
        instance: Dagster's record.
        asset: the asset's key.
        partitions: partition keys.
    """
    return _last_ids(instance, asset, dg.DagsterEventType.ASSET_MATERIALIZATION, partitions)


def last_try_ids(instance: dg.DagsterInstance, asset: dg.AssetKey, partitions: Collection[str]) -> Mapping[str, int]:
    """The storage id by which the last run was asked for each partition that one was; that of its load comes later.

    Args:
        instance: Dagster's record.
        asset: the asset's key.
        partitions: partition keys.
    """
    return _last_ids(instance, asset, dg.DagsterEventType.ASSET_MATERIALIZATION_PLANNED, partitions)


def loads_by_id(
    instance: dg.DagsterInstance, asset: dg.AssetKey, storage_ids: Collection[int]
) -> Iterator[dg.EventLogRecord]:
    """The materializations with these storage ids.

    Args:
        instance: Dagster's record.
        asset: the asset's key.
        storage_ids: from `last_load_ids`.
    """
    for some in _portions(storage_ids):
        wanted = dg.AssetRecordsFilter(asset, storage_ids=some)
        yield from instance.fetch_materializations(wanted, limit=len(some)).records


def _last_ids(
    instance: dg.DagsterInstance, asset: dg.AssetKey, kind: dg.DagsterEventType, partitions: Collection[str]
) -> Mapping[str, int]:
    found: dict[str, int] = {}
    for some in _portions(partitions):
        found.update(instance.get_latest_storage_id_by_partition(asset, kind, partitions={str(key) for key in some}))
    return found


def _portions(members: Collection[T]) -> Iterator[list[T]]:
    left = iter(members)
    while some := list(islice(left, _AT_A_TIME)):
        yield some
