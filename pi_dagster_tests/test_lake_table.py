from __future__ import annotations

import multiprocessing
from pathlib import Path

import pyarrow as pa
import pytest
from deltalake import DeltaTable, QueryBuilder
from deltalake import Schema as DeltaSchema

from pi_dagster.lake import (
    PARTITION_COLUMNS,
    POINTS_SCHEMA,
    TIMESERIES_SCHEMA,
    ForeignTableError,
    Lake,
    PointsTable,
    TableMissingError,
    TimeseriesTable,
    column_descriptions,
)
from pi_dagster_tests.lake_scenarios import create_table, events_in, generation, read_everything, replace

SPAWN = multiprocessing.get_context("spawn")


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake(str(tmp_path / "lake"))


def make_foreign(
    lake: Lake,
    schema: pa.Schema = TIMESERIES_SCHEMA,
    partition_by: tuple[str, ...] = PARTITION_COLUMNS,
    configuration: dict[str, str | None] | None = None,
) -> None:
    DeltaTable.create(
        lake.table_uri("pi_timeseries"),
        DeltaSchema.from_arrow(schema),
        partition_by=list(partition_by),
        configuration=configuration,
    )


def test_a_new_table_has_the_columns_in_order_with_types_and_comments(lake: Lake) -> None:
    TimeseriesTable.open(lake)
    found = DeltaTable(lake.table_uri("pi_timeseries")).schema().fields
    assert [(field.name, field.type.type) for field in found] == [
        ("tag_webid", "string"),
        ("timestamp", "timestamp"),
        ("value", "double"),
        ("quality_good", "boolean"),
        ("quality_questionable", "boolean"),
        ("units", "string"),
        ("ingestion_timestamp", "timestamp"),
        ("partition_date", "date"),
        ("tag_group", "string"),
        ("tag_name", "string"),
        ("value_string", "string"),
        ("digital_state_code", "integer"),
        ("is_system_state", "boolean"),
        ("quality_substituted", "boolean"),
        ("quality_annotated", "boolean"),
        ("event_ordinal", "integer"),
    ]
    assert {field.name: field.metadata["comment"] for field in found} == column_descriptions(TIMESERIES_SCHEMA)


def test_a_new_table_says_its_name_what_it_holds_and_its_partitions(lake: Lake) -> None:
    metadata = DeltaTable(TimeseriesTable.open(lake).uri).metadata()
    assert metadata.name == "pi_timeseries"
    assert "Recorded values" in metadata.description
    assert metadata.partition_columns == ["partition_date", "tag_group"]


def test_every_column_of_every_table_is_described() -> None:
    for schema in (TIMESERIES_SCHEMA, POINTS_SCHEMA):
        assert all(len(text) > 10 for text in column_descriptions(schema).values())


def test_opening_again_changes_nothing(lake: Lake) -> None:
    TimeseriesTable.open(lake)
    assert TimeseriesTable.open(lake).version == 0


def test_a_missing_table_is_said_to_be_missing(lake: Lake) -> None:
    with pytest.raises(TableMissingError, match="pi_points"):
        PointsTable.open(lake, create=False)
    assert not Path(lake.uri).exists()


def test_a_missing_column_is_named(lake: Lake) -> None:
    make_foreign(lake, TIMESERIES_SCHEMA.remove(TIMESERIES_SCHEMA.get_field_index("units")))
    with pytest.raises(ForeignTableError, match="lacks the column units"):
        TimeseriesTable.open(lake)


def test_an_unknown_column_is_named_because_copied_rows_would_lose_it(lake: Lake) -> None:
    make_foreign(lake, TIMESERIES_SCHEMA.append(pa.field("plant", pa.string())))
    with pytest.raises(ForeignTableError, match="unknown column plant"):
        TimeseriesTable.open(lake)


def test_a_column_of_another_type_is_named_with_both_types(lake: Lake) -> None:
    at = TIMESERIES_SCHEMA.get_field_index("value")
    make_foreign(lake, TIMESERIES_SCHEMA.set(at, pa.field("value", pa.string())))
    with pytest.raises(ForeignTableError, match="value has the type string instead of double"):
        TimeseriesTable.open(lake)


def test_a_table_partitioned_otherwise_is_refused(lake: Lake) -> None:
    make_foreign(lake, partition_by=("partition_date",))
    with pytest.raises(ForeignTableError, match=r"partitioned by \(partition_date\)"):
        TimeseriesTable.open(lake)


def test_a_table_with_deletion_vectors_is_refused_because_copies_would_bring_rows_back(lake: Lake) -> None:
    make_foreign(lake, configuration={"delta.enableDeletionVectors": "true"})
    with pytest.raises(ForeignTableError, match="deletionVectors"):
        TimeseriesTable.open(lake)


def test_a_table_that_became_foreign_is_not_written_to(lake: Lake) -> None:
    table = TimeseriesTable.open(lake)
    DeltaTable.create(
        table.uri, DeltaSchema.from_arrow(TIMESERIES_SCHEMA), mode="overwrite", partition_by=["tag_group"]
    )
    before = DeltaTable(table.uri).version()
    with pytest.raises(ForeignTableError, match="partitioned by"):
        replace(table, generation(1.0))
    assert DeltaTable(table.uri).version() == before
    assert not list(Path(table.uri).rglob("*.parquet"))


def test_processes_that_create_the_table_at_once_create_it_once(lake: Lake) -> None:
    together = SPAWN.Barrier(6)
    processes = [SPAWN.Process(target=create_table, args=(lake.uri, together)) for _ in range(6)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0] * 6
    assert TimeseriesTable.open(lake).version == 0


def test_a_plain_delta_dataset_reads_what_was_written(lake: Lake) -> None:
    table = TimeseriesTable.open(lake)
    replace(table, generation(1.0))
    rows = DeltaTable(table.uri).to_pyarrow_dataset().to_table(use_threads=False)
    assert rows.num_rows == 500
    assert rows.schema.equals(TIMESERIES_SCHEMA)


def test_delta_rs_own_query_engine_reads_what_was_written(lake: Lake) -> None:
    table = TimeseriesTable.open(lake)
    replace(table, generation(3.0))
    query = "SELECT tag_webid, sum(value) AS total FROM rows WHERE tag_group = 'boilers' GROUP BY 1 ORDER BY 1"
    answer = pa.table(QueryBuilder().register("rows", DeltaTable(table.uri)).execute(query).read_all())
    assert answer["total"].to_pylist() == [300.0] * 5


def test_a_process_that_read_the_table_ends_well(lake: Lake) -> None:
    replace(TimeseriesTable.open(lake), generation(1.0))
    for _ in range(3):
        process = SPAWN.Process(target=read_everything, args=(lake.uri,))
        process.start()
        process.join()
        assert process.exitcode == 0


def test_rows_are_counted_by_partition(lake: Lake) -> None:
    table = TimeseriesTable.open(lake)
    replace(table, generation(1.0), group="boilers")
    replace(table, generation(1.0, size=7), group="pumps")
    assert table.count() == 507
    assert table.count(tag_group="pumps") == len(events_in(table, "pumps")) == 7


def test_a_snapshot_of_points_replaces_the_one_before(lake: Lake) -> None:
    table = PointsTable.open(lake)
    assert table.read().num_rows == 0
    table.replace(points("FIC101", "TIC7"), {"run_id": "1"})
    assert table.replace(points("TIC7"), {"run_id": "2"}) == table.version == 2
    assert table.read()["tag_name"].to_pylist() == ["TIC7"]
    assert table.read().schema.equals(POINTS_SCHEMA)


def test_an_earlier_snapshot_of_points_can_still_be_read(lake: Lake) -> None:
    table = PointsTable.open(lake)
    version = table.replace(points("FIC101", "TIC7"), {"run_id": "1"})
    table.replace(points("TIC7"), {"run_id": "2"})
    assert DeltaTable(table.uri, version=version).to_pyarrow_dataset().to_table(use_threads=False).num_rows == 2


def points(*names: str) -> pa.Table:
    rows = [{"tag_webid": f"webid-{name}", "tag_name": name, "span": 100.0, "step": False} for name in names]
    return pa.Table.from_pylist(rows, schema=POINTS_SCHEMA)
