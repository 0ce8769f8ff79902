"""Invariant 3: what goes wrong on the way is survived or reported, with nothing lost and nothing advanced."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from pi_dagster.ingest.errors import TagsFailedError
from pi_dagster.ingest.points import refresh_points
from pi_dagster.ingest.report import WindowReport
from pi_dagster.ingest.timeseries import load_partition
from pi_dagster.lake import Lake, TimeseriesTable
from pi_dagster.piwebapi import PIWebAPIError, PIWebAPISource, StreamRef
from pi_dagster.piwebapi.errors import LoginRefusedError, RequestTimeoutError, ServerTroubleError
from pi_dagster.piwebapi.retrying import RetryPolicy
from pi_dagster.simulator import Fault, FaultKind, RunningSimulator, Simulator, SimulatorSettings
from pi_dagster.simulator.events import Events, to_ticks
from pi_dagster.site import LakeSettings, ServerSettings, Site, TagGroup
from pi_dagster.webid import point_webid
from pi_dagster_tests.archive_truth import assert_equals_archive, truth
from pi_dagster_tests.mixed_plant import DAY, NEXT_DAY, mixed_archive

QUICK = RetryPolicy(budget_seconds=60, first_wait_seconds=0.001, longest_wait_seconds=0.01)
BAD_TAG = "Float32.BUSY"


@pytest.fixture
def simulator() -> Iterator[RunningSimulator]:
    with Simulator(archive=mixed_archive(dense_tag_events=3000), settings=SimulatorSettings()).serve() as running:
        yield running


@pytest.fixture(params=["streamset", "batch"])
def read_mode(request: pytest.FixtureRequest) -> str:
    fault = request.node.callspec.params.get("fault")
    # Only a streamset can leave a stream out.
    return "streamset" if fault is not None and fault.kind is FaultKind.MISSING_STREAM else request.param


@pytest.fixture
def site(read_mode: str, simulator: RunningSimulator, tmp_path: Path) -> Site:
    return Site(
        server=ServerSettings(
            url=simulator.url, read_mode=read_mode, batch_size=10, max_items_per_call=5000, read_timeout_seconds=2
        ),
        lake=LakeSettings(uri=str(tmp_path)),
        start_date=DAY.date(),
        tag_groups=(TagGroup(name="all", tag_filter="*"),),
    )


def load(site: Site, retry: RetryPolicy = QUICK) -> WindowReport:
    lake = Lake(site.lake.uri)
    with PIWebAPISource(site.server, retry=retry) as source:
        return load_partition(site, source, lake, day=DAY.date(), tag_group="all", run_id="test")


def table(site: Site) -> TimeseriesTable:
    return TimeseriesTable.open(Lake(site.lake.uri))


@pytest.fixture
def expected(simulator: RunningSimulator, site: Site) -> pa.Table:
    """The truth before anything goes wrong; pi_points is loaded too."""
    with PIWebAPISource(site.server, retry=QUICK) as source:
        refresh_points(site, source, Lake(site.lake.uri), run_id="test")
    return truth(simulator.archive, simulator.archive.points(), DAY, NEXT_DAY)


def web_id_of(simulator: RunningSimulator, name: str) -> str:
    point = simulator.archive.point_by_name(name)
    assert point is not None
    return point_webid(simulator.archive.server_id, point.id, simulator.archive.server_name, name).identity


PASSING = {
    "429": Fault(kind=FaultKind.STATUS, status=429, count=3),
    "429 with Retry-After": Fault(kind=FaultKind.STATUS, status=429, retry_after="1", count=2),
    "500": Fault(kind=FaultKind.STATUS, status=500, count=2),
    "503": Fault(kind=FaultKind.STATUS, status=503, count=3),
    "HTML 502": Fault(kind=FaultKind.HTML, count=3),
    "WebException": Fault(kind=FaultKind.WEB_EXCEPTION, count=2, route="*recorded"),
    "values with Errors": Fault(kind=FaultKind.VALUE_ERRORS, count=3),
    "missing stream": Fault(kind=FaultKind.MISSING_STREAM, count=2),
    "cut body": Fault(kind=FaultKind.CUT_BODY, count=3),
    "dropped connection": Fault(kind=FaultKind.DROPPED_CONNECTION, count=3),
    "slow": Fault(kind=FaultKind.SLOW, route="*recorded", count=2, seconds=3),
    "one in five requests": Fault(kind=FaultKind.STATUS, status=503, probability=0.2),
}


@pytest.mark.parametrize("fault", PASSING.values(), ids=PASSING)
def test_a_passing_fault_loses_nothing(
    simulator: RunningSimulator, site: Site, expected: pa.Table, fault: Fault
) -> None:
    simulator.faults.add(fault)
    report = load(site)
    assert report.failed_tags == ()
    assert_equals_archive(table(site).to_arrow(), expected)
    assert fault.count is None or not simulator.faults.active(), "the fault never happened"


LASTING = {
    "403": Fault(kind=FaultKind.STATUS, status=403, route="*recorded"),
    "404": Fault(kind=FaultKind.STATUS, status=404, route="*recorded"),
    "500": Fault(kind=FaultKind.STATUS, status=500, route="*recorded"),
    "WebException": Fault(kind=FaultKind.WEB_EXCEPTION, route="*recorded"),
    "values with Errors": Fault(kind=FaultKind.VALUE_ERRORS),
    "missing stream": Fault(kind=FaultKind.MISSING_STREAM),
}


def lasting(simulator: RunningSimulator, fault: Fault) -> None:
    """Put a lasting fault on one tag."""
    arguments = {**fault.describe(), "kind": fault.kind, "web_id": web_id_of(simulator, BAD_TAG)}
    simulator.faults.add(Fault(**arguments))


@pytest.mark.parametrize("fault", LASTING.values(), ids=LASTING)
def test_one_bad_tag_is_named_and_nothing_is_committed(
    simulator: RunningSimulator, site: Site, expected: pa.Table, fault: Fault
) -> None:
    load(site)
    version = table(site).version
    lasting(simulator, fault)
    with pytest.raises(TagsFailedError) as caught:
        load(site)
    assert [tag.tag_name for tag in caught.value.failed_tags] == [BAD_TAG]
    assert BAD_TAG in str(caught.value)
    assert table(site).version == version
    assert_equals_archive(table(site).to_arrow(), expected)


@pytest.mark.parametrize("fault", LASTING.values(), ids=LASTING)
def test_where_partial_is_allowed_the_others_advance_and_the_bad_tag_keeps_its_rows(
    simulator: RunningSimulator, site: Site, expected: pa.Table, fault: Fault
) -> None:
    site = site.model_copy(update={"on_tag_error": "keep"})
    load(site)
    archive = simulator.archive
    good_tag = "Float64.BUSY"
    for name in (BAD_TAG, good_tag):
        point = archive.point_by_name(name)
        assert point is not None
        archive.insert(point, Events.of(point.point_type, [to_ticks(DAY + timedelta(hours=7))], [1.0]))
    lasting(simulator, fault)
    report = load(site)
    assert [tag.tag_name for tag in report.failed_tags] == [BAD_TAG]
    advanced = truth(archive, archive.points(), DAY, NEXT_DAY)
    is_bad = pc.equal(advanced["tag_name"], BAD_TAG)
    old = expected.filter(pc.equal(expected["tag_name"], BAD_TAG))
    mixed = pa.concat_tables([advanced.filter(pc.invert(is_bad)), old])
    assert_equals_archive(
        table(site).to_arrow(), mixed.sort_by([(name, "ascending") for name in mixed.schema.names[:3]])
    )
    assert report.rows == advanced.num_rows - pc.sum(is_bad).as_py()


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        (Fault(kind=FaultKind.STATUS, status=503, retry_after="600"), ServerTroubleError),
        (Fault(kind=FaultKind.STATUS, status=401), LoginRefusedError),
        (Fault(kind=FaultKind.DROPPED_CONNECTION), PIWebAPIError),
        (Fault(kind=FaultKind.STATUS, status=500), PIWebAPIError),
    ],
    ids=["503", "expired login", "no connection", "500 for everything"],
)
def test_a_server_that_is_down_ends_the_load_and_changes_nothing(
    simulator: RunningSimulator, site: Site, expected: pa.Table, fault: Fault, error: type[Exception]
) -> None:
    load(site)
    version = table(site).version
    simulator.faults.add(fault)
    with pytest.raises(error):
        load(site, RetryPolicy(budget_seconds=1, first_wait_seconds=0.001, longest_wait_seconds=0.01))
    assert table(site).version == version
    assert_equals_archive(table(site).to_arrow(), expected)


def test_many_bad_neighbours_cost_only_themselves(simulator: RunningSimulator, site: Site, expected: pa.Table) -> None:
    """The tags of one broken interface were made one after the other, so their WebIDs are neighbours."""
    site = site.model_copy(update={"on_tag_error": "keep"})
    names = sorted(point.name for point in simulator.archive.points())[:15]
    for name in names:
        web_id = web_id_of(simulator, name)
        simulator.faults.add(Fault(kind=FaultKind.STATUS, status=500, route="*recorded", web_id=web_id))
    report = load(site)
    assert sorted(tag.tag_name for tag in report.failed_tags) == names
    others = expected.filter(pc.invert(pc.is_in(expected["tag_name"], pa.array(names))))
    assert_equals_archive(table(site).to_arrow(), others)


def test_a_bad_tag_keeps_nothing_of_what_was_sent_for_it(simulator: RunningSimulator, site: Site) -> None:
    web_ids = [web_id_of(simulator, name) for name in ("Float64.BUSY", BAD_TAG)]
    simulator.faults.add(Fault(kind=FaultKind.VALUE_ERRORS, web_id=web_ids[1]))
    with PIWebAPISource(site.server, retry=QUICK) as source:
        reading = source.read([StreamRef(web_id, web_id) for web_id in web_ids], DAY, NEXT_DAY)
        assert sum(events.num_rows for events in reading) > 0
    [error] = reading.failures.values()
    assert "could not send" in str(error)
    assert (error.__traceback__, error.__cause__, error.__context__) == (None, None, None)


def test_a_server_that_answers_nothing_any_more_ends_the_load_soon(
    simulator: RunningSimulator, site: Site, expected: pa.Table
) -> None:
    site = site.model_copy(update={"server": site.server.model_copy(update={"read_timeout_seconds": 0.2})})
    simulator.requests.clear()
    simulator.faults.add(Fault(kind=FaultKind.SLOW, route="*recorded", seconds=1))
    simulator.faults.add(Fault(kind=FaultKind.SLOW, route="batch", seconds=1))
    with pytest.raises(RequestTimeoutError):
        load(site)
    assert simulator.requests.total < 60


def test_a_tag_that_fails_after_some_of_its_pages_leaves_none_of_them(tmp_path: Path) -> None:
    """Its first pages are already on their way into a file when a later one fails."""
    archive = mixed_archive()
    with Simulator(archive=archive, settings=SimulatorSettings(rate_limit_requests=None)).serve() as simulator:
        site = Site(
            server=ServerSettings(url=simulator.url, max_items_per_call=5000, max_requests_in_flight=1),
            lake=LakeSettings(uri=str(tmp_path)),
            start_date=DAY.date(),
            tag_groups=(TagGroup(name="all", tag_filter="*"),),
            on_tag_error="keep",
        )
        lake = Lake(site.lake.uri)
        dense = web_id_of(simulator, "DENSE")
        passed_on = 0

        class FailsLate(PIWebAPISource):
            """Switches the fault on once events of the tag have been passed on."""

            def read_in_turn(self, windows):  # type: ignore[no-untyped-def]
                readings = super().read_in_turn(windows)
                reading = next(readings)
                tables = iter(reading)

                def half_way() -> Iterator[pa.Table]:
                    nonlocal passed_on
                    for part in tables:
                        yield part
                        events = pc.sum(pc.equal(part["tag_webid"].cast(pa.string()), dense)).as_py()
                        if events and not simulator.faults.active():
                            passed_on = events
                            fault = Fault(kind=FaultKind.STATUS, status=403, route="*recorded", web_id=dense)
                            simulator.faults.add(fault)

                reading.__class__ = type("Reading", (type(reading),), {"__iter__": lambda self: half_way()})
                return iter([reading])

        with FailsLate(site.server, retry=QUICK) as source:
            refresh_points(site, source, lake, run_id="test")
            report = load_partition(site, source, lake, day=DAY.date(), tag_group="all", run_id="test")
    assert passed_on > 0
    assert [tag.tag_name for tag in report.failed_tags] == ["DENSE"]
    others = [point for point in archive.points() if point.name != "DENSE"]
    assert_equals_archive(table(site).to_arrow(), truth(archive, others, DAY, NEXT_DAY))
