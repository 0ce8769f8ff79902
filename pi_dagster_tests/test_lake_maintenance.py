"""What the nightly maintenance deletes, and what it must leave."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from datetime import date
from pathlib import Path

import dagster as dg
import pyarrow as pa
import pytest
from deltalake import DeltaTable

from pi_dagster.factory import build_pi_definitions
from pi_dagster.lake import Lake, QualityFindingsTable, TimeseriesTable
from pi_dagster.lake.maintenance import maintain
from pi_dagster.lake.schemas import CHECKPOINT_INTERVAL, QUALITY_FINDINGS_FILE_SCHEMA
from pi_dagster.lake.table import LakeTable
from pi_dagster.site import Site
from pi_dagster_tests.lake_scenarios import Event, batch_of, events_in, generation, hour, replace

LONG_AGO = time.time() - 30 * 86_400


@pytest.fixture
def table(tmp_path: Path) -> TimeseriesTable:
    return TimeseriesTable.open(Lake(str(tmp_path / "lake")))


def data_files(table: LakeTable) -> set[Path]:
    return set(Path(table.uri).rglob("part-*"))


def log_entries(table: TimeseriesTable) -> list[str]:
    return sorted(path.name for path in (Path(table.uri) / "_delta_log").glob("*.json"))


def checkpoints(table: TimeseriesTable) -> list[int]:
    log = Path(table.uri) / "_delta_log"
    return [int(path.name.split(".")[0]) for path in log.glob("*.checkpoint.parquet")]


def make_last_replacement_old(table: LakeTable) -> None:
    log = Path(table.uri) / "_delta_log" / f"{table.version:020}.json"
    log.write_text(log.read_text().replace('"deletionTimestamp":17', '"deletionTimestamp":16'))


def age(*files: Path) -> None:
    for file in files:
        os.utime(file, (LONG_AGO, LONG_AGO))


def test_strays_of_killed_runs_go_and_files_replaced_lately_stay(table: TimeseriesTable) -> None:
    replace(table, generation(1.0))
    [replaced_now] = data_files(table)
    replace(table, generation(2.0))
    stray = replaced_now.with_name("part-stray.zstd.parquet")
    stray.write_bytes(b"half a file")
    age(replaced_now, stray)
    before = data_files(table)
    report = maintain(table, retention_days=7)
    assert (report.deleted_files, report.live_files) == (1, 1)
    assert data_files(table) == before - {stray}
    assert events_in(table) == sorted(generation(2.0))


def test_files_replaced_long_ago_go(table: TimeseriesTable) -> None:
    replace(table, generation(1.0))
    replace(table, generation(2.0))
    make_last_replacement_old(table)
    assert maintain(table, retention_days=7).deleted_files == 1
    assert events_in(table) == sorted(generation(2.0))


def test_a_run_that_is_writing_keeps_its_files_and_commits(table: TimeseriesTable) -> None:
    def batches() -> Iterator[pa.RecordBatch]:
        yield batch_of([Event("a", hour(1))])
        assert maintain(table, retention_days=7).deleted_files == 0
        yield batch_of([Event("b", hour(1))])

    replace(table, batches=batches())
    assert [event.tag for event in events_in(table)] == ["a", "b"]


def test_old_log_entries_go_and_the_table_still_opens(table: TimeseriesTable) -> None:
    for value in range(5):
        replace(table, generation(float(value)))
    age(*(Path(table.uri) / "_delta_log").glob("*.json"))
    maintain(table, retention_days=7)
    assert log_entries(table)[0] > f"{5:020}"
    assert events_in(table) == sorted(generation(4.0))
    replace(table, generation(5.0))
    assert events_in(table) == sorted(generation(5.0))


def test_a_longer_retention_becomes_the_tables_own(table: TimeseriesTable) -> None:
    maintain(table, retention_days=30)
    configuration = DeltaTable(table.uri).metadata().configuration
    assert configuration["delta.deletedFileRetentionDuration"] == "interval 30 days"
    assert configuration["delta.logRetentionDuration"] == "interval 30 days"


def test_a_table_of_an_earlier_version_gets_the_checkpoint_interval_of_new_ones(table: TimeseriesTable) -> None:
    DeltaTable(table.uri).alter.set_table_properties({"delta.checkpointInterval": "100"})
    maintain(table, retention_days=7)
    configuration = DeltaTable(table.uri).metadata().configuration
    assert configuration["delta.checkpointInterval"] == str(CHECKPOINT_INTERVAL)


def test_a_commit_never_has_more_log_entries_to_read_than_the_checkpoint_interval(table: TimeseriesTable) -> None:
    for number in range(2 * CHECKPOINT_INTERVAL + 2):
        replace(table, generation(float(number)))
        last_checkpoint = max([-1, *checkpoints(table)])
        assert table.version - last_checkpoint <= CHECKPOINT_INTERVAL
    assert len(checkpoints(table)) == 2


def test_less_than_a_week_is_refused(table: TimeseriesTable) -> None:
    with pytest.raises(ValueError, match="at least 7 days"):
        maintain(table, retention_days=6)


def observed_by_the_job(table: LakeTable) -> dg.AssetObservation:
    """Run the nightly job; what it tells of the table."""
    site = Site.model_validate(
        {
            "server": {"url": "http://127.0.0.1:9/piwebapi"},
            "lake": {"uri": table.lake.uri},
            "start_date": "2026-01-01",
            "tag_groups": [{"name": "all", "tag_filter": "*"}],
        }
    )
    job = build_pi_definitions(site).get_repository_def().get_job("maintain_lake")
    with dg.DagsterInstance.ephemeral() as instance:
        result = job.execute_in_process(instance=instance)
        assert result.success
        [observed] = instance.fetch_observations(dg.AssetKey(table.definition.name), limit=5).records
    assert observed.asset_observation is not None
    return observed.asset_observation


def test_the_job_maintains_the_tables_that_are_there_and_tells_what_it_did(table: TimeseriesTable) -> None:
    assert observed_by_the_job(table).metadata["lake/live_files_of_table"].value == 0


def test_the_job_deletes_the_findings_that_were_replaced_long_ago(tmp_path: Path) -> None:
    findings = QualityFindingsTable.open(Lake(str(tmp_path / "lake")))
    for value in (1.0, 2.0):
        row = {"rule": "high", "tag_name": "FLOW", "worst_value": value}
        findings.replace_partition(
            date(2026, 11, 2), "all", pa.Table.from_pylist([row], QUALITY_FINDINGS_FILE_SCHEMA), {}
        )
    make_last_replacement_old(findings)
    assert observed_by_the_job(findings).metadata["lake/deleted_files"].value == 1
    assert len(data_files(findings)) == 1
    assert findings.to_arrow()["worst_value"].to_pylist() == [2.0]
