"""How many requests a plant costs, against the least that would do, and that nothing is lost on the way."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from concurrent.futures import Future
from typing import ClassVar

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pi_dagster.piwebapi.answers import Answer
from pi_dagster.piwebapi.errors import RequestTimeoutError, TooManyEqualTimesError
from pi_dagster.piwebapi.planning import Density, Request
from pi_dagster_tests.model_server import DAY_US, ModelReader, least_possible

Instants = np.ndarray


def steady(events: int) -> Instants:
    return np.arange(events) * (DAY_US // max(1, events))


def by_chance(events: int) -> Instants:
    rng = np.random.default_rng(events)
    return np.sort(rng.integers(0, DAY_US, rng.poisson(events)))


def between(first: float, last: float, events: int) -> Instants:
    """Events by chance between two times of the day, each from 0 to 1."""
    return (first * DAY_US + by_chance(events) * (last - first)).astype(np.int64)


def plant(*streams: Instants) -> dict[str, Instants]:
    return {f"I1DP{number:028d}": instants for number, instants in enumerate(streams)}


def mixed_plant(instants: Callable[[int], Instants], tags: int = 200) -> dict[str, Instants]:
    """10 % of the tags at 10 Hz, 40 % at 1 s, 50 % at 5 min, in no order."""
    rates = np.repeat([864_000, 86_400, 288], [tags // 10, tags * 4 // 10, tags // 2])
    shared = {rate: instants(rate) for rate in set(rates.tolist())}
    return plant(*(shared[rate] for rate in np.random.default_rng(3).permutation(rates).tolist()))


def requests_for(reader: ModelReader, day: int = 0, *, hours: int = 24) -> int:
    """How many requests the day, or its first hours, cost; all events there are must come whole and in order."""
    reader.requests.clear()
    rows = np.zeros(len(reader.instants), np.int64)
    positions = {web_id: position for position, web_id in enumerate(reader.instants)}
    last = -1
    for table in reader.read(reader.window(day, hours=hours)):
        web_ids = table["tag_webid"].combine_chunks()
        codes = web_ids.indices.to_numpy()
        ordinals = table["value"].to_numpy()
        for code, web_id in enumerate(web_ids.dictionary.to_pylist()):
            of_stream = ordinals[codes == code]
            position = positions[web_id]
            assert position >= last
            last = position
            assert np.array_equal(of_stream, np.arange(rows[position], rows[position] + len(of_stream)))
            rows[position] += len(of_stream)
    assert rows.tolist() == [len(instants) for instants in reader.instants.values()]
    return len(reader.requests)


@pytest.mark.parametrize("instants", [steady, by_chance])
def test_a_mixed_plant_costs_at_most_1_3_times_the_least_possible(instants: Callable[[int], Instants]) -> None:
    reader = ModelReader(mixed_plant(instants))
    least = least_possible(reader.events())
    assert requests_for(reader) <= 1.3 * least, "first contact, when no density is known"
    assert requests_for(reader, day=1) <= 1.1 * least


def test_a_smaller_limit_of_the_server_is_used_as_well() -> None:
    reader = ModelReader(mixed_plant(lambda events: steady(events // 50)), max_items_per_call=3000)
    assert requests_for(reader) <= 1.3 * least_possible(reader.events(), 3000)


def test_an_hour_of_a_mixed_plant_costs_at_most_half_more_than_the_least_possible() -> None:
    hour = DAY_US // 24
    reader = ModelReader(mixed_plant(lambda events: steady(events)[steady(events) < hour], tags=3_000))
    least = least_possible(reader.events())
    assert requests_for(reader, hours=1) <= 1.5 * least, "first contact, when no density is known"


def test_sparse_tags_cost_a_request_for_a_hundred_and_fifty() -> None:
    reader = ModelReader(plant(*[by_chance(15)] * 1000))
    assert requests_for(reader) == 7
    assert requests_for(reader, day=1) == 7


def test_bursts_cost_about_a_request_each_and_are_not_taken_for_a_habit() -> None:
    reader = ModelReader(
        plant(*[np.sort(np.concatenate([steady(100), between(0.5, 0.5001, 20_000)])) for _ in range(100)])
    )
    assert requests_for(reader) <= 60
    assert requests_for(reader, day=1) <= 20


def test_a_burst_is_not_trusted_the_more_for_the_bursts_before_it() -> None:
    bursts = [between(part / 20, part / 20 + 1e-5, 2000) for part in range(20)]
    reader = ModelReader(plant(np.unique(np.concatenate(bursts))), max_items_per_call=500)
    bound = 4 * least_possible(reader.events(), 500) + 5
    assert requests_for(reader) <= bound
    assert requests_for(reader, day=1) <= bound


def test_a_plant_that_stops_costs_no_more_than_its_running_days() -> None:
    running = mixed_plant(steady, 50)
    reader = ModelReader(running)
    requests_for(reader)
    usual = requests_for(reader, day=1)
    reader.instants = {web_id: np.empty(0, np.int64) for web_id in running}
    assert requests_for(reader, day=2) <= usual
    assert requests_for(reader, day=3) == 1
    reader.instants = running
    assert requests_for(reader, day=4) <= 1.3 * least_possible(reader.events()) + 1


stretches = st.lists(st.tuples(st.floats(0, 0.99), st.floats(0.0001, 1), st.integers(0, 8000)), min_size=0, max_size=4)


@settings(max_examples=40)
@given(st.lists(stretches, min_size=1, max_size=40), st.sampled_from([3000, 500, 40]), st.integers(1, 100))
def test_any_plant_is_read_whole_with_a_bounded_number_of_requests(
    streams: list[list[tuple[float, float, int]]], most_items: int, batch_size: int
) -> None:
    instants = [
        np.unique(np.concatenate([np.empty(0, np.int64), *(between(a, min(1.0, a + b), n) for a, b, n in parts)]))
        for parts in streams
    ]
    reader = ModelReader(plant(*instants), max_items_per_call=most_items, batch_size=batch_size)
    bound = 4 * least_possible(reader.events(), most_items) + 5 * len(instants)
    assert requests_for(reader) <= bound
    assert requests_for(reader, day=1) <= bound


def test_a_tag_with_more_events_at_one_instant_than_a_request_may_return_fails_alone() -> None:
    reader = ModelReader(plant(steady(10), np.full(3001, DAY_US // 2), steady(10)), max_items_per_call=3000)
    reading = reader.read_day()
    assert sum(table.num_rows for table in reading) == 20
    assert {web_id: type(error) for web_id, error in reading.failures.items()} == {
        list(reader.instants)[1]: TooManyEqualTimesError
    }


@pytest.mark.parametrize("bad", [0, 10, 19])
@pytest.mark.parametrize("in_flight", [1, 8])
def test_a_tag_that_is_never_answered_in_time_fails_alone(bad: int, in_flight: int) -> None:
    class Late(ModelReader):
        def submit(self, request: Request) -> Future[Answer]:
            if bad_tag not in request.web_ids:
                return super().submit(request)
            self.requests.append(request)
            late: Future[Answer] = Future()
            late.set_exception(RequestTimeoutError("too late"))
            return late

        def server_is_answering(self) -> bool:
            return True

    reader = Late(plant(*[steady(10)] * 20), batch_size=10, max_requests_in_flight=in_flight)
    bad_tag = list(reader.instants)[bad]
    reading = reader.read_day()
    assert sum(table.num_rows for table in reading) == 190
    assert list(reading.failures) == [bad_tag]
    assert len(reader.requests) <= 40


def test_a_tag_that_shares_a_request_with_one_that_is_given_up_is_read_whole() -> None:
    """Its slice fails after the other one has failed alone too often, and is asked for again without that one."""
    slow, healthy = "I1DPA", "I1DPB"

    class Late(ModelReader):
        shared: ClassVar[list[Future[Answer]]] = []

        def submit(self, request: Request) -> Future[Answer]:
            if slow not in request.web_ids:
                return super().submit(request)
            late: Future[Answer] = Future()
            if len(request.web_ids) == 2 and len(self.shared) < 2:
                self.shared.append(late)
                if len(self.shared) == 2:
                    return late
            late.set_exception(RequestTimeoutError("too late"))
            return late

        def server_is_answering(self) -> bool:
            if reading._timeouts_alone[slow] == 8 and not self.shared[1].done():
                self.shared[1].set_exception(RequestTimeoutError("too late, too"))
            return True

    instants = np.arange(0, DAY_US, DAY_US // 8000)
    reader = Late({slow: instants, healthy: instants}, max_items_per_call=4000)
    reader.densities = {web_id: Density(len(instants), DAY_US, 0.0) for web_id in (slow, healthy)}
    reading = reader.read_day()
    counts = Counter(web_id for table in reading for web_id in table["tag_webid"].to_pylist())
    assert list(reading.failures) == [slow]
    assert counts[healthy] == len(instants)
