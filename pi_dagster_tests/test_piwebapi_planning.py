"""How streams and time are cut into requests."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from pi_dagster.piwebapi.planning import MAX_WEBID_BYTES, Density, RequestLimits, group_streams, plan_requests
from pi_dagster.site import ServerSettings

DAY_US = 86_400_000_000
LIMITS = RequestLimits(streams=100, events_per_stream=150_000, events=150_000)
ONE_A_SECOND = Density(86_400, DAY_US)


def tags(count: int) -> list[str]:
    return [f"I1DP{number:028d}" for number in range(count)]


def test_tags_of_unknown_density_share_a_request() -> None:
    assert [len(group) for group in group_streams(tags(250), duration_us=DAY_US, densities={}, limits=LIMITS)] == [
        100,
        100,
        50,
    ]


def test_a_tag_with_a_value_a_second_has_a_request_of_its_own() -> None:
    dense = dict.fromkeys(tags(10), ONE_A_SECOND)
    assert [len(g) for g in group_streams(tags(10), duration_us=DAY_US, densities=dense, limits=LIMITS)] == [1] * 10


def test_tags_with_a_value_every_ten_seconds_share_a_request_as_far_as_they_fit() -> None:
    every_ten = dict.fromkeys(tags(100), Density(8640, DAY_US))
    sizes = [len(g) for g in group_streams(tags(100), duration_us=DAY_US, densities=every_ten, limits=LIMITS)]
    assert sizes[0] == 14
    assert all(size * 8640 * 1.2 <= 150_000 for size in sizes)


def test_a_very_dense_tag_is_read_in_slices_that_leave_no_gap() -> None:
    (tag,) = tags(1)
    requests = plan_requests(
        (tag,), start_us=5, end_us=5 + DAY_US, densities={tag: Density(864_000, DAY_US)}, limits=LIMITS
    )
    assert len(requests) == 7
    assert (requests[0].start_us, requests[-1].end_us) == (5, 5 + DAY_US)
    assert all(a.end_us == b.start_us for a, b in pairwise(requests))


@given(
    st.lists(
        st.tuples(
            st.text("abc", min_size=1, max_size=300), st.builds(Density, st.integers(0, 10**6), st.integers(0, DAY_US))
        ),
        unique_by=lambda item: item[0],
    ),
    st.integers(1, 200),
    st.integers(2, 1000),
    st.integers(1, DAY_US),
)
def test_groups_keep_the_order_and_the_limits(
    streams: list[tuple[str, Density]], batch_size: int, events: int, duration_us: int
) -> None:
    limits = RequestLimits(streams=batch_size, events_per_stream=events, events=events)
    web_ids = [web_id for web_id, _ in streams]
    groups = group_streams(web_ids, duration_us=duration_us, densities=dict(streams), limits=limits)
    assert [web_id for group in groups for web_id in group] == web_ids
    for group in groups:
        assert 1 <= len(group) <= batch_size
        assert len(group) == 1 or sum(len(web_id) + 7 for web_id in group) <= MAX_WEBID_BYTES
        assert limits.page_size(len(group)) >= 2


def test_no_request_asks_for_more_events_in_all_than_the_server_allows() -> None:
    for count in range(1, 101):
        assert LIMITS.page_size(count) * count <= 150_000


def test_max_count_per_request_and_batch_size_are_obeyed() -> None:
    settings = ServerSettings(url="http://127.0.0.1/piwebapi", batch_size=7, max_count_per_request=1000)
    limits = RequestLimits.of(settings)
    assert limits.page_size(1) == 1000
    assert [len(group) for group in group_streams(tags(20), duration_us=DAY_US, densities={}, limits=limits)] == [
        7,
        7,
        6,
    ]


def test_a_burst_is_not_taken_for_a_habit() -> None:
    (tag,) = tags(1)
    burst = Density(7, 1)
    limits = RequestLimits(streams=100, events_per_stream=7, events=150_000)
    assert len(plan_requests((tag,), start_us=0, end_us=DAY_US, densities={tag: burst}, limits=limits)) <= 20
