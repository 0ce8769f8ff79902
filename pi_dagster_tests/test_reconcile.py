"""From a difference between archive and table to the partition that is loaded again, tick by tick and run by run."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import date, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from pi_dagster.assets.reconciliation import days_to_compare
from pi_dagster.automation import reconcile
from pi_dagster.automation.partitions import RANGE_END_TAG, RANGE_START_TAG, partition_key
from pi_dagster.automation.reconcile import COUNTS_MATCH, STATE, DifferingPartition, ReconcileState
from pi_dagster.factory import build_pi_definitions
from pi_dagster.ingest.reconcile import CountDifference
from pi_dagster.lake import Lake, TimeseriesTable
from pi_dagster.simulator import Fault, FaultKind, RunningSimulator, Simulator
from pi_dagster.simulator.archive import Archive, MemoryBase
from pi_dagster.simulator.events import Events, to_ticks
from pi_dagster.simulator.points import Point
from pi_dagster.site import Site
from pi_dagster_tests.archive_truth import assert_equals_archive, truth

TODAY = datetime.now(timezone.utc).replace(hour=0, minute=0, second=0, microsecond=0)
DAYS = [(TODAY - timedelta(days=back)).date() for back in (3, 2, 1)]
TIMESERIES = dg.AssetKey("pi_timeseries")
CHECK = dg.AssetCheckKey(TIMESERIES, COUNTS_MATCH)


class Plant:
    """Two groups of two tags with an event an hour, and the Dagster that loads them."""

    def __init__(self, running: RunningSimulator, base: MemoryBase, site: Site, instance: dg.DagsterInstance) -> None:
        self.archive = running.archive
        self.base = base
        self.faults = running.faults
        self.site = site
        self.instance = instance
        self.repository = build_pi_definitions(site).get_repository_def()

    def change(self, **settings: object) -> None:
        """Other settings of the site, and a Dagster that was started anew."""
        self.site = self.site.model_copy(update=settings)
        self.repository = build_pi_definitions(self.site).get_repository_def()

    def tick(self) -> list[dg.RunRequest]:
        """What the sensor asks for now."""
        context = dg.build_sensor_context(self.instance, repository_def=self.repository)
        return [*(self.repository.get_sensor_def("pi_reconcile_sensor").evaluate_tick(context).run_requests or ())]

    def run(self, request: dg.RunRequest) -> dg.ExecuteInProcessResult:
        """Do what a tick asked for."""
        job = self.repository.get_job(str(request.job_name))
        return job.execute_in_process(instance=self.instance, tags=dict(request.tags), raise_on_error=False)

    def load(self) -> None:
        """The list of tags, and all days."""
        first, last = partition_key(DAYS[0], "boilers"), partition_key(DAYS[-1], "pumps")
        tags = {RANGE_START_TAG: str(first), RANGE_END_TAG: str(last)}
        for name in ("load_pi_points", "load_pi_timeseries"):
            assert self.run(dg.RunRequest(job_name=name, tags=tags if name.endswith("series") else {})).success

    def compare(self) -> dg.AssetCheckEvaluation:
        """A tick that asks for a comparison and nothing else, and what it found."""
        (request,) = self.tick()
        assert request.job_name == "compare_counts"
        result = self.run(request)
        assert result.success
        (evaluation,) = result.get_asset_check_evaluations()
        return evaluation

    def insert(self, tag: str, *instants: datetime) -> None:
        point = self.archive.point_by_name(tag)
        assert point is not None
        self.archive.insert(point, Events.of("Float32", [to_ticks(at) for at in instants], [7.0] * len(instants)))

    def remove(self, tag: str, instant: datetime) -> None:
        point = self.archive.point_by_name(tag)
        assert point is not None
        self.archive.remove(point, Events.of("Float32", [to_ticks(instant)], [0.0]))


@pytest.fixture
def plant(new_plant: Plant) -> Plant:
    """With all days loaded."""
    new_plant.load()
    return new_plant


@pytest.fixture
def new_plant(tmp_path: Path) -> Iterator[Plant]:
    first = TODAY - timedelta(days=3)
    ticks = [to_ticks(first + timedelta(hours=hour)) for hour in range(72)]
    events = Events.of("Float32", ticks, [float(hour) for hour in range(72)])
    points = [Point(id=n, name=name) for n, name in enumerate(("BLR1", "BLR2", "PMP1", "PMP2"), 1)]
    base = MemoryBase(points, {point.id: events for point in points})
    with Simulator(archive=Archive(base)).serve() as running, dg.DagsterInstance.ephemeral(str(tmp_path)) as instance:
        site = Site.model_validate(
            {
                "server": {"url": running.url, "retry_budget_seconds": 0},
                "lake": {"uri": str(tmp_path / "lake")},
                "start_date": DAYS[0],
                "settle_hours": 0,
                "asset_framework": None,
                "tag_groups": [{"name": "boilers", "tag_filter": "BLR*"}, {"name": "pumps", "tag_filter": "PMP*"}],
            }
        )
        yield Plant(running, base, site, instance)


@pytest.fixture
def every_tick_is_due(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reconcile, "ROUND_SECONDS", 0.0)
    monkeypatch.setattr(reconcile, "PAUSE_SECONDS", 0.0)


def table_of(evaluation: dg.AssetCheckEvaluation) -> list[tuple[Any, ...]]:
    """Partition, tag, events at the server and in the table."""
    found = evaluation.metadata["pi/differences"]
    assert isinstance(found, dg.TableMetadataValue)
    columns = ("partition", "tag", "events at the server", "in the table")
    return [tuple(record.data[column] for column in columns) for record in found.records]


def ranges(requests: Sequence[dg.RunRequest]) -> set[tuple[str, str]]:
    return {(request.tags[RANGE_START_TAG], request.tags[RANGE_END_TAG]) for request in requests}


def hour(days_ago: int, number: float) -> datetime:
    return TODAY - timedelta(days=days_ago) + timedelta(hours=number)


@pytest.mark.usefixtures("every_tick_is_due")
def test_what_came_late_or_was_deleted_is_found_loaded_again_and_then_equal(plant: Plant) -> None:
    assert plant.compare().passed
    plant.insert("BLR1", hour(1, 6.5), hour(1, 23.999))
    plant.remove("PMP2", hour(3, 4))
    evaluation = plant.compare()
    assert not evaluation.passed
    assert evaluation.severity is dg.AssetCheckSeverity.WARN
    assert table_of(evaluation) == [
        (f"{DAYS[0]}|pumps", "PMP2", 23, 24),
        (f"{DAYS[2]}|boilers", "BLR1", 26, 24),
    ]
    requests = [request for request in plant.tick() if request.job_name == "load_pi_timeseries"]
    assert ranges(requests) == {(f"{DAYS[0]}|pumps",) * 2, (f"{DAYS[2]}|boilers",) * 2}
    assert all(plant.run(request).success for request in requests)
    assert plant.compare().passed
    rows = TimeseriesTable.open(Lake(plant.site.lake.uri)).to_arrow()
    assert_equals_archive(rows, truth(plant.archive, plant.archive.points(), TODAY - timedelta(days=3), TODAY))


def test_a_comparison_is_asked_for_once_a_day(plant: Plant) -> None:
    assert plant.compare().passed
    plant.insert("BLR1", hour(1, 6.5))
    assert plant.tick() == []


def test_what_was_loaded_again_is_compared_again_at_once(plant: Plant) -> None:
    plant.insert("BLR1", hour(1, 6.5))
    assert not plant.compare().passed
    (request,) = plant.tick()
    assert plant.run(request).success
    again = plant.compare()
    assert again.passed
    # The other partitions wait for their turn.
    assert again.metadata["pi/compared_partitions"].value == 1
    assert plant.tick() == []


def test_a_run_that_began_before_the_comparison_is_no_second_try(plant: Plant) -> None:
    """It may have read the day before the event came, and have written it after the comparison."""
    partition = f"{DAYS[2]}|boilers"
    plant.insert("BLR1", hour(1, 6.5))
    assert not plant.compare().passed
    loaded = dg.AssetRecordsFilter(TIMESERIES, asset_partitions=[partition])
    (record,) = plant.instance.fetch_materializations(loaded, limit=1).records
    late = record.event_log_entry._replace(timestamp=datetime.now(timezone.utc).timestamp())
    plant.instance.store_event(late)
    assert plant.compare().severity is dg.AssetCheckSeverity.WARN
    (request,) = plant.tick()
    assert ranges([request]) == {(partition, partition)}
    assert plant.run(request).success
    assert plant.compare().passed


def test_a_load_that_ends_while_counts_are_compared_is_not_one_after_the_comparison(plant: Plant) -> None:
    plant.insert("BLR1", hour(1, 6.5))
    plant.compare()
    state = ReconcileState.last(plant.instance, CHECK)
    assert state.differing[DAYS[2], "boilers"].compared_at > state.compared_at


def test_a_group_that_has_lost_its_tags_is_not_compared_again_and_again(plant: Plant) -> None:
    plant.insert("BLR1", hour(1, 6.5))
    assert not plant.compare().passed
    (request,) = plant.tick()
    assert plant.run(request).success
    for name in ("BLR1", "BLR2"):
        point = plant.archive.point_by_name(name)
        assert point is not None
        plant.base.drop(point.id)
    assert plant.run(dg.RunRequest(job_name="load_pi_points")).success
    plant.compare()
    assert plant.tick() == []


@pytest.mark.usefixtures("every_tick_is_due")
def test_a_run_leaves_what_its_requests_do_not_reach_for_to_the_next(plant: Plant) -> None:
    plant.change(reconcile_requests_per_run=1)
    plant.insert("BLR1", hour(1, 6.5))
    plant.insert("PMP1", hour(1, 6.5))
    first = plant.compare()
    assert table_of(first) == [(f"{DAYS[2]}|boilers", "BLR1", 25, 24)]
    assert ReconcileState.last(plant.instance, CHECK).next_partition == (DAYS[0], "pumps")
    (compare,) = [request for request in plant.tick() if request.job_name == "compare_counts"]
    (second,) = plant.run(compare).get_asset_check_evaluations()
    # What the first run found is still told, as nobody has loaded it.
    assert {row[1] for row in table_of(second)} == {"BLR1", "PMP1"}
    assert ReconcileState.last(plant.instance, CHECK).next_partition is None


@pytest.mark.usefixtures("every_tick_is_due")
def test_a_comparison_that_failed_loses_nothing_and_is_not_repeated_at_once(
    plant: Plant, monkeypatch: pytest.MonkeyPatch
) -> None:
    plant.insert("BLR1", hour(1, 6.5))
    found = plant.compare()
    plant.faults.add(Fault(kind=FaultKind.STATUS, status=503, route="system/status"))
    requests = plant.tick()
    assert not plant.run(next(request for request in requests if request.job_name == "compare_counts")).success
    state = ReconcileState.last(plant.instance, CHECK)
    assert state == ReconcileState.parse(found.metadata[STATE].value)
    monkeypatch.setattr(reconcile, "PAUSE_SECONDS", 1800.0)
    assert {request.job_name for request in plant.tick()} == {"load_pi_timeseries"}


@pytest.mark.parametrize("last_day", [DAYS[0], DAYS[1]], ids=["one_partition", "a_range_of_partitions"])
def test_a_load_by_hand_compares_nothing_and_tells_what_is_known(plant: Plant, last_day: date) -> None:
    plant.insert("BLR1", hour(1, 6.5))
    known = table_of(plant.compare())
    by_hand = plant.repository.get_job("__ASSET_JOB").get_subset(asset_selection={TIMESERIES})
    chosen: dict[str, Any] = {"partition_key": f"{DAYS[0]}|pumps"}
    if last_day != DAYS[0]:
        chosen = {"tags": {RANGE_START_TAG: f"{DAYS[0]}|pumps", RANGE_END_TAG: f"{last_day}|pumps"}}
    result = by_hand.execute_in_process(instance=plant.instance, asset_selection=[TIMESERIES], **chosen)
    told = next(one for one in result.get_asset_check_evaluations() if one.check_name == COUNTS_MATCH)
    assert table_of(told) == known
    assert "load/requests" not in told.metadata


def test_where_nothing_was_ever_compared_a_load_by_hand_does_not_tell_that_all_is_equal(plant: Plant) -> None:
    by_hand = plant.repository.get_job("__ASSET_JOB").get_subset(asset_selection={TIMESERIES})
    result = by_hand.execute_in_process(
        instance=plant.instance, asset_selection=[TIMESERIES], partition_key=f"{DAYS[0]}|pumps"
    )
    told = next(one for one in result.get_asset_check_evaluations() if one.check_name == COUNTS_MATCH)
    assert (told.passed, told.severity) == (False, dg.AssetCheckSeverity.WARN)
    assert str(told.description).startswith("Nothing has been compared with the server's counts yet")
    assert "switch pi_reconcile_sensor on" in str(told.description)


def test_a_comparison_without_a_settled_day_is_none(new_plant: Plant) -> None:
    assert new_plant.run(dg.RunRequest(job_name="load_pi_points")).success
    (told,) = new_plant.run(dg.RunRequest(job_name="compare_counts")).get_asset_check_evaluations()
    assert not told.passed
    assert str(told.description).startswith("Nothing has been compared with the server's counts yet")


def test_the_check_tells_when_it_last_compared(plant: Plant) -> None:
    told = plant.compare()
    at = datetime.fromtimestamp(ReconcileState.last(plant.instance, CHECK).compared_at, timezone.utc)
    assert told.description == (
        f"The table holds as many events as the server. Last compared on {at:%Y-%m-%d} at {at:%H:%M} UTC."
    )


def test_runs_of_the_schedule_and_of_the_job_do_not_compare(new_plant: Plant) -> None:
    jobs = [
        job for job in new_plant.repository.get_all_jobs() if "load" in job.name or job.name.startswith("__anonymous")
    ]
    assert len(jobs) >= 3
    assert not [job.name for job in jobs for node in job.nodes if COUNTS_MATCH in node.name]


def differing(loaded: DifferingPartition | None = None, *, events: int = 25, at: float = 1000.0) -> DifferingPartition:
    found = [CountDifference(DAYS[0], "boilers", "BLR1", "webid", events, 24)]
    return DifferingPartition.of(found, compared_at=at, before=loaded, load_began=at - 1 if loaded else None)


def test_what_differs_in_the_same_way_after_a_load_is_left_alone() -> None:
    first = differing(at=1000)
    again = differing(first, at=2000)
    assert (first.is_left_alone, again.is_left_alone) == (False, True)
    # Also when it was not loaded once more until the next round.
    later = DifferingPartition.of(
        [CountDifference(DAYS[0], "boilers", "BLR1", "webid", 25, 24)], compared_at=3000, before=again, load_began=1999
    )
    assert later.is_left_alone


def test_what_differs_in_another_way_is_loaded_again_but_not_for_ever() -> None:
    found = differing(at=1000)
    for number in range(1, reconcile.MOST_LOADS):
        found = differing(found, events=25 + number, at=1000.0 * (number + 1))
        assert not found.is_left_alone
    assert differing(found, events=99, at=9000).is_left_alone


def test_a_new_difference_of_a_partition_that_was_left_alone_is_loaded() -> None:
    left_alone = differing(differing(at=1000), at=2000)
    found = [CountDifference(DAYS[0], "boilers", "BLR1", "webid", 26, 24)]
    anew = DifferingPartition.of(found, compared_at=3000, before=left_alone, load_began=1500)
    assert left_alone.is_left_alone
    assert not anew.is_left_alone


def test_nothing_is_compared_before_anything_is_loaded(new_plant: Plant) -> None:
    assert new_plant.tick() == []


@pytest.mark.parametrize("is_left_alone", [True, False])
def test_the_sensor_asks_for_what_differs_unless_it_is_left_alone(new_plant: Plant, is_left_alone: bool) -> None:
    now = datetime.now(timezone.utc).timestamp()
    found = replace(differing(at=now), is_left_alone=is_left_alone)
    tell(new_plant, ReconcileState(now, now, None, {(DAYS[0], "boilers"): found}))
    assert ranges(new_plant.tick()) == (set() if is_left_alone else {(f"{DAYS[0]}|boilers",) * 2})


def test_a_partition_whose_loads_fail_is_asked_for_only_so_often(
    new_plant: Plant, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = datetime.now(timezone.utc).timestamp()
    tell(new_plant, ReconcileState(now, now, None, {(DAYS[0], "boilers"): differing(at=now)}))
    monkeypatch.setattr("pi_dagster.automation.reload.RETRY_PAUSE", timedelta(0))
    new_plant.faults.add(Fault(kind=FaultKind.STATUS, status=403))
    asked = 0
    while requests := new_plant.tick():
        asked += 1
        assert asked <= reconcile.MOST_LOADS
        assert not new_plant.run(requests[0]).success
    assert asked == reconcile.MOST_LOADS


@pytest.fixture
def given_up(plant: Plant, monkeypatch: pytest.MonkeyPatch) -> Plant:
    """With a day that differs and that three runs could not load."""
    monkeypatch.setattr("pi_dagster.automation.reload.RETRY_PAUSE", timedelta(0))
    plant.insert("BLR1", hour(1, 6.5))
    assert not plant.compare().passed
    broken = plant.faults.add(Fault(kind=FaultKind.STATUS, status=403, route="*recorded"))
    for _ in range(reconcile.MOST_LOADS):
        (request,) = plant.tick()
        assert not plant.run(request).success
    plant.faults.clear(broken)
    return plant


def test_what_three_runs_could_not_load_is_told_as_an_error(given_up: Plant) -> None:
    given_up.faults.add(Fault(kind=FaultKind.STATUS, status=403))
    told = given_up.compare()
    assert (told.passed, told.severity) == (False, dg.AssetCheckSeverity.ERROR)
    assert "3 loads of each of 1 partitions failed" in str(told.description)
    differences = told.metadata["pi/differences"]
    assert isinstance(differences, dg.TableMetadataValue)
    assert {record.data["what is done"] for record in differences.records} == {
        "3 loads failed; left alone until the next round"
    }


def test_the_sensor_counts_what_three_runs_could_not_load_and_has_it_told_once(given_up: Plant) -> None:
    given_up.compare()
    context = dg.build_sensor_context(given_up.instance, repository_def=given_up.repository)
    tick = given_up.repository.get_sensor_def("pi_reconcile_sensor").evaluate_tick(context)
    assert not tick.run_requests
    assert "left alone until the next round, as 3 loads failed: 1." in str(tick.skip_message)


def test_what_three_runs_could_not_load_is_loaded_by_the_next_round(
    given_up: Plant, request: pytest.FixtureRequest
) -> None:
    given_up.compare()
    request.getfixturevalue("every_tick_is_due")
    assert given_up.compare().severity == dg.AssetCheckSeverity.WARN
    load, _ = given_up.tick()
    assert given_up.run(load).success
    assert given_up.compare().passed


def test_what_three_runs_could_not_load_is_compared_when_somebody_loaded_it(given_up: Plant) -> None:
    given_up.compare()
    given_up.load()
    assert given_up.compare().passed


def test_a_state_that_cannot_be_read_begins_anew() -> None:
    assert ReconcileState.parse({"differing": 1}) == ReconcileState()
    assert ReconcileState.parse(None) == ReconcileState()


def tell(plant: Plant, state: ReconcileState) -> None:
    """As a run of the check would."""
    plant.instance.report_runless_asset_event(
        dg.AssetCheckEvaluation(
            asset_key=TIMESERIES, check_name=COUNTS_MATCH, passed=False, metadata={STATE: state.as_metadata()}
        )
    )


def test_no_site_has_to_compare(new_plant: Plant) -> None:
    definitions = build_pi_definitions(new_plant.site.model_copy(update={"reconcile_days": 0}))
    names = {sensor.name for sensor in definitions.get_repository_def().sensor_defs}
    assert "pi_reconcile_sensor" not in names


def test_days_are_compared_once_they_had_time_to_settle(new_plant: Plant) -> None:
    site = new_plant.site.model_copy(update={"settle_hours": 2.0, "start_date": date(2026, 1, 1), "reconcile_days": 2})
    midnight = datetime(2026, 3, 3, tzinfo=timezone.utc)
    before, after = midnight + timedelta(hours=1.9), midnight + timedelta(hours=2)
    assert days_to_compare(site, before) == [date(2026, 2, 28), date(2026, 3, 1)]
    assert days_to_compare(site, after) == [date(2026, 3, 1), date(2026, 3, 2)]
    early = site.model_copy(update={"start_date": date(2026, 3, 2)})
    assert days_to_compare(early, after) == [date(2026, 3, 2)]
    assert days_to_compare(early, before) == []
