"""Looking up the last materializations of many partitions."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest

from pi_dagster.automation.last_loads import last_load_ids, loads_by_id

ASSET = dg.AssetKey("pi_timeseries")


@pytest.fixture
def instance(tmp_path: Path) -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.local_temp(str(tmp_path)) as instance:
        for partition in ("0", "1500", "0"):
            instance.report_runless_asset_event(dg.AssetMaterialization(ASSET, partition=partition))
        yield instance


def test_the_last_materialization_of_each_of_thousands_of_partitions_is_found(instance: dg.DagsterInstance) -> None:
    found = last_load_ids(instance, ASSET, [str(number) for number in range(2_500)])
    assert found.keys() == {"0", "1500"}
    assert found["0"] > found["1500"]


def test_more_materializations_are_read_than_dagster_reads_at_once(instance: dg.DagsterInstance) -> None:
    last = last_load_ids(instance, ASSET, ["0", "1500"])
    records = list(loads_by_id(instance, ASSET, [*range(1_000_000, 1_020_000), *last.values()]))
    assert sorted(str(record.partition_key) for record in records) == ["0", "1500"]


def test_other_partitions_are_not_looked_up(instance: dg.DagsterInstance) -> None:
    assert last_load_ids(instance, ASSET, ["1500", "7"]).keys() == {"1500"}
    assert last_load_ids(instance, ASSET, []) == {}
