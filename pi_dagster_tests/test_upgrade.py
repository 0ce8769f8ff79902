"""A table of an earlier version, which gets the columns that came later, is loaded and audited as any other."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from deltalake import DeltaTable, Field, Schema, write_deltalake

from pi_dagster.ingest.audit import audit
from pi_dagster.ingest.source import open_source
from pi_dagster.lake import TimeseriesTable
from pi_dagster.lake.errors import ForeignTableError
from pi_dagster_tests.tailed_plant import A_DAY, DAY, GROUPS, LAG, MINUTE, NOON, TailedPlant, tailed_plant

YESTERDAY = DAY - A_DAY


@pytest.fixture
def plant(tmp_path: Path) -> Iterator[TailedPlant]:
    """Yesterday and today until noon are loaded, by a version that had no units."""
    with tailed_plant(tmp_path) as plant:
        for group in GROUPS:
            plant.load_day(YESTERDAY.date(), group)
        plant.tail(NOON + LAG)
        uri, names = plant.table.uri, list(TimeseriesTable.definition.partition_columns)
        old = DeltaTable(uri).to_pyarrow_table().drop_columns(["units"])
        write_deltalake(uri, old, mode="overwrite", schema_mode="overwrite", partition_by=names)
        yield plant


def add_columns(uri: str) -> None:
    table = DeltaTable(uri)
    known = {field.name for field in table.schema().fields}
    wanted = Schema.from_arrow(TimeseriesTable.definition.schema).fields
    table.alter.add_columns([Field(one.name, one.type, nullable=True) for one in wanted if one.name not in known])


def test_without_its_columns_it_is_refused_with_what_to_do(plant: TailedPlant) -> None:
    with pytest.raises(ForeignTableError, match=r"it lacks the column units\. .*the page \"Upgrade\""):
        plant.load_day(YESTERDAY.date(), "boilers")


def test_days_of_before_are_loaded_again(plant: TailedPlant) -> None:
    add_columns(plant.lake.table_uri("pi_timeseries"))
    report = plant.load_day(YESTERDAY.date(), "boilers")
    assert report.difference is not None
    assert (report.difference.added, report.difference.changed, report.difference.removed) == (0, 0, 0)
    plant.assert_table_equals_archive(YESTERDAY, NOON)


def test_today_is_read_on(plant: TailedPlant) -> None:
    add_columns(plant.lake.table_uri("pi_timeseries"))
    plant.tail(NOON + 5 * MINUTE + LAG)
    plant.assert_table_equals_archive(YESTERDAY, NOON + 5 * MINUTE)


def test_rows_of_before_that_share_a_file_with_a_window_are_copied(plant: TailedPlant) -> None:
    add_columns(plant.lake.table_uri("pi_timeseries"))
    plant.keep_on_tag_errors()
    plant.forbid("BOILERS.2")
    plant.load_day(YESTERDAY.date(), "boilers")
    plant.assert_table_equals_archive(YESTERDAY, NOON)


def test_days_of_before_are_audited(plant: TailedPlant) -> None:
    add_columns(plant.lake.table_uri("pi_timeseries"))
    with open_source(plant.site.server) as source:
        partitions = [(YESTERDAY.date(), group) for group in GROUPS]
        assert all(one.is_equal for one in audit(plant.site, source, plant.lake, partitions))
