from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable

from pi_dagster.lake import Lake, TimeseriesTable
from pi_dagster_tests.lake_scenarios import MIDNIGHT, Event, batch_of, dense_batch, generation, hour, replace


@pytest.fixture
def table(tmp_path: Path) -> TimeseriesTable:
    return TimeseriesTable.open(Lake(str(tmp_path / "lake")))


def statistics(table: TimeseriesTable) -> dict[str, Any]:
    """The Delta statistics of the one file that the newest commit added."""
    log = Path(table.uri) / "_delta_log" / f"{table.version:020}.json"
    (added,) = [action["add"] for line in log.read_text().splitlines() if "add" in (action := json.loads(line))]
    return dict(json.loads(added["stats"]))


def files(table: TimeseriesTable) -> list[Path]:
    return sorted(Path(table.uri).rglob("part-*"))


def test_a_commit_says_rows_bounds_and_nulls_of_each_file(table: TimeseriesTable) -> None:
    replace(table, [Event("a", hour(1), value=2.5), Event("a", hour(2), value=None), Event("b", hour(3), value=-1.0)])
    found = statistics(table)
    assert found["numRecords"] == 3
    assert (found["minValues"]["value"], found["maxValues"]["value"]) == (-1.0, 2.5)
    assert (found["minValues"]["tag_webid"], found["maxValues"]["tag_webid"]) == ("a", "b")
    assert (found["nullCount"]["value"], found["nullCount"]["value_string"], found["nullCount"]["timestamp"]) == (
        1,
        3,
        0,
    )


def test_bounds_of_instants_are_widened_to_milliseconds(table: TimeseriesTable) -> None:
    replace(table, [Event("a", MIDNIGHT + timedelta(microseconds=1001)), Event("a", hour(23.5))])
    assert statistics(table)["minValues"]["timestamp"] == "2026-01-01T00:00:00.001Z"
    replace(table, [Event("a", hour(23) + timedelta(microseconds=1001))])
    assert statistics(table)["maxValues"]["timestamp"] == "2026-01-01T23:00:00.002Z"


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_numbers_without_an_order_or_end_leave_the_bounds_out(table: TimeseriesTable, value: float) -> None:
    replace(table, [Event("a", hour(1), value=1.0), Event("a", hour(2), value=value)])
    found = statistics(table)
    assert "value" not in found["minValues"] | found["maxValues"]
    assert found["minValues"]["tag_webid"] == "a"


def test_long_texts_stay_out_of_the_log(table: TimeseriesTable) -> None:
    rows = batch_of([Event("a", hour(1))])
    at = rows.schema.get_field_index("value_string")
    replace(table, batches=[rows.set_column(at, "value_string", pa.array(["x" * 100_000]))])
    found = statistics(table)
    assert "value_string" not in found["minValues"] | found["maxValues"]
    assert found["nullCount"]["value_string"] == 0


def test_delta_rs_finds_rows_by_the_bounds(table: TimeseriesTable) -> None:
    replace(table, [Event("a", hour(1) + timedelta(microseconds=999_999))])
    after = MIDNIGHT + timedelta(hours=1, microseconds=999_999)
    predicate = f"timestamp >= '{after.isoformat()}'"
    assert len(DeltaTable(table.uri).file_uris(file_pruning_predicate=predicate)) == 1


def test_a_row_group_is_cut_when_it_holds_enough_bytes(table: TimeseriesTable) -> None:
    rows = batch_of(generation(1.0, size=100))
    at = rows.schema.get_field_index("value_string")
    wide = rows.set_column(at, "value_string", pa.array([str(number) * 100_000 for number in range(100)]))
    replace(table, batches=[wide] * 9)
    (file,) = files(table)
    assert pq.read_metadata(file).num_row_groups > 1


def test_small_batches_are_collected_into_one_row_group_with_one_dictionary(table: TimeseriesTable) -> None:
    replace(table, batches=(dense_batch(rows=1000, tags=10, seed=number) for number in range(50)))
    (file,) = files(table)
    metadata = pq.read_metadata(file)
    assert metadata.num_row_groups == 1
    assert metadata.row_group(0).column(0).total_uncompressed_size < 100_000


def test_a_large_partition_is_split_over_files_of_moderate_size(table: TimeseriesTable) -> None:
    commit = replace(table, batches=(dense_batch(rows=1_000_000, tags=100, seed=number) for number in range(20)))
    sizes = [file.stat().st_size for file in files(table)]
    assert commit.files == len(sizes) > 1
    assert max(sizes) < 160 << 20
    assert table.count() == commit.rows == 20_000_000


def test_an_error_among_the_batches_leaves_no_file(table: TimeseriesTable) -> None:
    def broken() -> Any:
        yield dense_batch(rows=1_000_000, tags=10, seed=1)
        yield dense_batch(rows=1_000_000, tags=10, seed=2)
        assert files(table)
        raise RuntimeError("the server went away")

    with pytest.raises(RuntimeError, match="the server went away"):
        replace(table, batches=broken())
    assert files(table) == []
    assert table.version == 0
