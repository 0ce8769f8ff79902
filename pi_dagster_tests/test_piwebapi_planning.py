"""How streams and time are cut into requests."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pi_dagster.piwebapi.planning import MAX_WEBID_BYTES, Density, Request, RequestLimits, plan_requests
from pi_dagster.site import ServerSettings

DAY_US = 86_400_000_000
LIMITS = RequestLimits(streams=100, events_per_stream=150_000, events=150_000)


def tags(count: int) -> list[str]:
    return [f"I1DP{number:028d}" for number in range(count)]


def a_day(events: int) -> Density:
    return Density.of(events, DAY_US)


def plan(densities: dict[str, Density], limits: RequestLimits = LIMITS, *, start_us: int = 0) -> list[list[Request]]:
    starts_us = dict.fromkeys(densities, start_us)
    return plan_requests(starts_us, end_us=start_us + DAY_US, densities=densities, limits=limits)


def sizes(groups: list[list[Request]]) -> list[tuple[int, int]]:
    """Streams and slices of each group."""
    return [(len(group[0].web_ids), len(group)) for group in groups]


def test_tags_of_unknown_density_share_a_request() -> None:
    groups = plan_requests(dict.fromkeys(tags(250), 0), end_us=DAY_US, densities={}, limits=LIMITS)
    assert sizes(groups) == [(100, 1), (100, 1), (50, 1)]


def test_five_tags_with_a_value_a_second_fill_three_requests() -> None:
    assert sizes(plan(dict.fromkeys(tags(10), a_day(86_400)))) == [(5, 3), (5, 3)]


def test_tags_with_a_value_every_ten_seconds_share_a_request_as_far_as_they_fit() -> None:
    (streams, slices), *_ = sizes(plan(dict.fromkeys(tags(100), a_day(8640))))
    assert slices == 1
    assert 0.85 * 150_000 < streams * 8640 < 150_000


def test_a_very_dense_tag_is_read_in_full_slices_that_leave_no_gap() -> None:
    (requests,) = plan(dict.fromkeys(tags(1), a_day(864_000)), start_us=5)
    assert len(requests) == 6
    assert (requests[0].start_us, requests[-1].end_us) == (5, 5 + DAY_US)
    assert all(a.end_us == b.start_us for a, b in pairwise(requests))


def test_a_dense_tag_does_not_share_its_requests_with_a_sparse_one() -> None:
    dense, sparse, other = tags(3)
    groups = plan({dense: a_day(864_000), sparse: a_day(288), other: a_day(288)})
    assert sorted(group[0].web_ids for group in groups) == [(dense,), (sparse, other)]


def test_tags_that_are_read_together_are_read_from_the_earliest_of_their_starts() -> None:
    first, second = tags(2)
    ((request,),) = plan_requests({first: 70, second: 40}, end_us=100, densities={}, limits=LIMITS)
    assert (request.web_ids, request.start_us) == ((first, second), 40)


def test_a_tag_whose_rate_varied_gets_some_more_room() -> None:
    (tag,) = tags(1)
    steady = a_day(864_000)
    varying = Density.of(504_000, DAY_US // 2).joined(Density.of(360_000, DAY_US // 2))
    assert varying.events == steady.events
    assert len(plan({tag: varying})[0]) > len(plan({tag: steady})[0])


def test_a_burst_is_not_taken_for_a_habit() -> None:
    (tag,) = tags(1)
    limits = RequestLimits(streams=100, events_per_stream=7, events=150_000)
    (requests,) = plan({tag: Density.of(7, 1)}, limits)
    assert len(requests) <= 12
    assert requests[-1].end_us - requests[-1].start_us > 0.99 * DAY_US


@pytest.mark.parametrize("rate_per_day", [2_000, 20_000, 86_400, 160_000, 500_000])
def test_what_waits_for_the_first_tag_of_a_group_is_a_few_requests_worth(rate_per_day: int) -> None:
    for group in plan(dict.fromkeys(tags(200), a_day(rate_per_day))):
        assert len(group[0].web_ids) * rate_per_day <= 4 * 150_000


streams = st.dictionaries(
    st.text("abc", min_size=1, max_size=300),
    st.tuples(st.integers(0, 10**9), st.integers(0, 10**6), st.integers(0, DAY_US)),
)


@given(streams, st.integers(1, 200), st.integers(2, 1000), st.integers(1, DAY_US))
def test_every_stream_is_read_to_the_end_once_and_within_the_limits(
    streams: dict[str, tuple[int, int, int]], batch_size: int, events: int, duration_us: int
) -> None:
    limits = RequestLimits(streams=batch_size, events_per_stream=events, events=events)
    starts_us = {web_id: start for web_id, (start, _, _) in streams.items()}
    end_us = max(starts_us.values(), default=0) + duration_us
    densities = {web_id: Density.of(count, over) for web_id, (_, count, over) in streams.items()}
    groups = plan_requests(starts_us, end_us=end_us, densities=densities, limits=limits)
    assert sorted(web_id for group in groups for web_id in group[0].web_ids) == sorted(streams)
    order = {web_id: position for position, web_id in enumerate(streams)}
    for group in groups:
        web_ids = group[0].web_ids
        assert sorted(web_ids, key=order.__getitem__) == list(web_ids)
        assert 1 <= len(web_ids) <= batch_size
        assert len(web_ids) == 1 or sum(len(web_id) + 7 for web_id in web_ids) <= MAX_WEBID_BYTES
        assert (group[0].start_us, group[-1].end_us) == (min(starts_us[web_id] for web_id in web_ids), end_us)
        assert all(a.end_us == b.start_us for a, b in pairwise(group))
        for request in group:
            assert request.web_ids == web_ids
            assert request.start_us < request.end_us
            assert request.page_size == limits.page_size(len(web_ids)) >= 2


def test_no_request_asks_for_more_events_in_all_than_the_server_allows() -> None:
    for count in range(1, 101):
        assert LIMITS.page_size(count) * count <= 150_000


def test_max_count_per_request_and_batch_size_are_obeyed() -> None:
    settings = ServerSettings(url="http://127.0.0.1/piwebapi", batch_size=7, max_count_per_request=1000)
    limits = RequestLimits.of(settings)
    assert limits.page_size(1) == 1000
    assert sizes(plan(dict.fromkeys(tags(20), a_day(1)), limits)) == [(7, 1), (7, 1), (6, 1)]
