"""Invariant 1: whatever the page size, the kind of request and the concurrency, the table equals the archive."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pytest

from pi_dagster.ingest.points import refresh_points
from pi_dagster.ingest.source import open_source
from pi_dagster.ingest.timeseries import load_partition
from pi_dagster.lake import Lake, TimeseriesTable
from pi_dagster.simulator import RunningSimulator, Simulator, SimulatorSettings
from pi_dagster.site import LakeSettings, ServerSettings, Site, TagGroup
from pi_dagster_tests.archive_truth import assert_equals_archive, truth
from pi_dagster_tests.mixed_plant import DAY, NEXT_DAY, mixed_archive

SERVER_LIMIT = 150_000


@pytest.fixture(scope="module")
def simulator() -> Iterator[RunningSimulator]:
    with Simulator(archive=mixed_archive(), settings=SimulatorSettings(rate_limit_requests=None)).serve() as running:
        yield running


@pytest.fixture(scope="module")
def expected(simulator: RunningSimulator) -> pa.Table:
    return truth(simulator.archive, simulator.archive.points(), DAY, NEXT_DAY)


@pytest.mark.parametrize("in_flight", [1, 8])
@pytest.mark.parametrize("read_mode", ["streamset", "batch"])
@pytest.mark.parametrize("page_size", [7, 1000, SERVER_LIMIT])
def test_the_table_equals_the_archive(
    simulator: RunningSimulator, expected: pa.Table, tmp_path: Path, page_size: int, read_mode: str, in_flight: int
) -> None:
    server = ServerSettings(
        url=simulator.url,
        read_mode=read_mode,
        max_count_per_request=page_size,
        max_requests_in_flight=in_flight,
        max_requests_per_second=1000,
        compress=False,
    )
    site = Site(
        server=server,
        lake=LakeSettings(uri=str(tmp_path)),
        start_date=DAY.date(),
        tag_groups=(TagGroup(name="all", tag_filter="*"),),
    )
    lake = Lake(site.lake.uri)
    with open_source(site.server) as source:
        refresh_points(site, source, lake, run_id="test")
        report = load_partition(site, source, lake, day=DAY.date(), tag_group="all", run_id="test")
    assert report.rows == expected.num_rows
    assert report.complete
    assert_equals_archive(TimeseriesTable.open(lake).to_arrow(), expected)
