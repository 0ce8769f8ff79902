"""Invariant 1: whatever the page size, the kind of request and the concurrency, the table equals the archive."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pyarrow as pa
import pytest

from pi_dagster.ingest.points import refresh_points
from pi_dagster.ingest.timeseries import load_partition
from pi_dagster.lake import Lake, TimeseriesTable
from pi_dagster.piwebapi import PIWebAPISource
from pi_dagster.piwebapi.retrying import RetryPolicy
from pi_dagster.simulator import Fault, FaultKind, Simulator, SimulatorSettings
from pi_dagster.simulator.archive import Archive
from pi_dagster.site import LakeSettings, ServerSettings, Site, TagGroup
from pi_dagster.webid import WebIdType
from pi_dagster_tests.archive_truth import assert_equals_archive, truth
from pi_dagster_tests.mixed_plant import DAY, NEXT_DAY, mixed_archive
from pi_dagster_tests.served_apart import served_apart

SERVER_LIMIT = 150_000
QUICK = RetryPolicy(budget_seconds=60, first_wait_seconds=0.001, longest_wait_seconds=0.05)


@dataclass(frozen=True)
class Plant:
    """A mixed plant on a server of its own, and the day that its table must equal."""

    url: str
    expected: pa.Table


@contextmanager
def served_plant(make_archive: Callable[[], Archive]) -> Iterator[Plant]:
    archive = make_archive()
    with served_apart(make_archive) as url:
        yield Plant(url, truth(archive, archive.points(), DAY, NEXT_DAY))


@pytest.fixture(scope="module")
def plant() -> Iterator[Plant]:
    with served_plant(mixed_archive) as plant:
        yield plant


@pytest.fixture(scope="module")
def smaller_plant() -> Iterator[Plant]:
    with served_plant(partial(mixed_archive, dense_tag_events=20_000)) as plant:
        yield plant


def load_whole_day(lake_folder: Path, **server: object) -> pa.Table:
    """Load everything into a new lake and return the table."""
    site = Site(
        server=ServerSettings(max_requests_per_second=1000, **server),
        lake=LakeSettings(uri=str(lake_folder)),
        start_date=DAY.date(),
        tag_groups=(TagGroup(name="all", tag_filter="*"),),
    )
    lake = Lake(site.lake.uri)
    with PIWebAPISource(site.server, retry=QUICK) as source:
        refresh_points(site, source, lake, run_id="test")
        report = load_partition(site, source, lake, day=DAY.date(), tag_group="all", run_id="test")
    assert report.complete
    table = TimeseriesTable.open(lake).to_arrow()
    assert report.rows == table.num_rows
    return table


@pytest.mark.parametrize("in_flight", [1, 8])
@pytest.mark.parametrize("read_mode", ["streamset", "batch"])
@pytest.mark.parametrize("page_size", [1000, SERVER_LIMIT])
def test_the_table_equals_the_archive(
    plant: Plant, tmp_path: Path, page_size: int, read_mode: str, in_flight: int
) -> None:
    table = load_whole_day(
        tmp_path,
        url=plant.url,
        read_mode=read_mode,
        max_count_per_request=page_size,
        max_requests_in_flight=in_flight,
        compress=False,
    )
    assert_equals_archive(table, plant.expected)


def test_the_table_equals_the_archive_on_tens_of_thousands_of_pages_of_seven(plant: Plant, tmp_path: Path) -> None:
    table = load_whole_day(tmp_path, url=plant.url, max_count_per_request=7, compress=False)
    assert_equals_archive(table, plant.expected)


@pytest.mark.parametrize("in_flight", [1, 8])
@pytest.mark.parametrize("read_mode", ["streamset", "batch"])
def test_the_table_equals_the_archive_on_pages_of_seven(
    smaller_plant: Plant, tmp_path: Path, read_mode: str, in_flight: int
) -> None:
    table = load_whole_day(
        tmp_path,
        url=smaller_plant.url,
        read_mode=read_mode,
        max_count_per_request=7,
        max_requests_in_flight=in_flight,
        compress=False,
    )
    assert_equals_archive(table, smaller_plant.expected)


@pytest.mark.parametrize("read_mode", ["streamset", "batch"])
@pytest.mark.parametrize(
    "switch",
    [
        {"streamset_limit": "total"},
        {"non_finite": "bare"},
        {"prints_annotated": True, "web_id_type": WebIdType.FULL},
        {"web_id_type": WebIdType.PATH_ONLY},
        {"selected_fields_drop_web_exception": True},
        {"denial_key": "Message", "retry_after": "1", "rate_limit_requests": 20, "batch_counts_each_request": True},
        {"max_batch_requests": 12},
        {"gzip_level": 3},
        {"gzip_level": None},
        {"csrf_status": 403},
    ],
    ids=str,
)
def test_the_table_equals_the_archive_whatever_the_vendor_leaves_open(
    tmp_path: Path, switch: dict[str, object], read_mode: str
) -> None:
    archive = mixed_archive(dense_tag_events=8000)
    settings = SimulatorSettings(**{"rate_limit_requests": None, "max_returned_items": 3000, **switch})
    with Simulator(archive=archive, settings=settings).serve() as running:
        running.faults.add(Fault(kind=FaultKind.WEB_EXCEPTION, route="*recorded", count=1))
        table = load_whole_day(
            tmp_path,
            url=running.url,
            read_mode=read_mode,
            max_items_per_call=3000,
            batch_size=settings.max_batch_requests or 15,
        )
    assert_equals_archive(table, truth(archive, archive.points(), DAY, NEXT_DAY))
