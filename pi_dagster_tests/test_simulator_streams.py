from __future__ import annotations

from collections.abc import Iterator

import pytest

from pi_dagster.simulator.events import iso_timestamp
from pi_dagster.webid import WebIdType
from pi_dagster_tests.planted_archive import (
    EMPTY,
    FLOW,
    FORECAST,
    HOUR,
    NOON,
    NOTE,
    ODD_NAME,
    READ_ALL,
    TIES,
    TIES_AT,
    VALVE_TAG,
    Client,
    planted,
    values,
    web_id,
)


@pytest.fixture(scope="module")
def pi() -> Iterator[Client]:
    with planted(max_returned_items=150) as client:
        yield client


def test_recorded_stops_at_its_default_max_count_without_a_word() -> None:
    with planted(default_max_count=100) as pi:
        assert len(pi.recorded(FLOW)) == 100


def test_max_count_is_counted_in_the_direction_of_reading(pi: Client) -> None:
    assert values(pi.recorded(FLOW, maxCount=3)) == [0, 1, 2]
    newest = pi.recorded(FLOW, startTime="2024-06-16T00:00:00Z", endTime="2024-06-15T00:00:00Z", maxCount=3)
    assert values(newest) == [119, 118, 117]


def test_max_count_above_the_limit_is_refused_by_name(pi: Client) -> None:
    answer = pi.get(f"streams/{web_id(FLOW)}/recorded", maxCount=151)
    assert answer.status_code == 400
    assert answer.json() == {"Errors": ["Parameter (maxCount) is greater than the maximum allowed (150)"]}


def test_both_ends_of_a_range_are_included(pi: Client) -> None:
    items = pi.recorded(FLOW, startTime="2024-06-15T10:05:00Z", endTime="2024-06-15T10:07:00Z")
    assert values(items) == [5, 6, 7]


def test_events_of_one_instant_and_of_neighbouring_ticks_all_come(pi: Client) -> None:
    items = pi.recorded(TIES)
    assert values(items) == [0, 1, 2, 3, 4, 5, 6]
    stamps = [iso_timestamp(TIES_AT)] * 5 + [iso_timestamp(TIES_AT + 1), iso_timestamp(TIES_AT + 2)]
    assert [item["Timestamp"] for item in items] == stamps


def test_a_page_can_end_inside_of_one_instant(pi: Client) -> None:
    first = pi.recorded(TIES, maxCount=3)
    again = pi.recorded(TIES, startTime=first[-1]["Timestamp"], maxCount=3)
    assert values(first) == values(again) == [0, 1, 2]


def test_a_seven_digit_start_leaves_out_the_tick_before(pi: Client) -> None:
    assert values(pi.recorded(TIES, startTime=iso_timestamp(TIES_AT + 2))) == [6]


@pytest.mark.parametrize(
    ("boundary", "expected"),
    [("inside", [6, 7]), ("Outside", [5, 6, 7, 8]), ("Interpolated", [5.5, 6, 7, 7.5])],
)
def test_each_boundary_type_treats_the_ends_its_own_way(pi: Client, boundary: str, expected: list[float]) -> None:
    ends = {"startTime": "2024-06-15T10:05:30Z", "endTime": "2024-06-15T10:07:30Z"}
    assert values(pi.recorded(FLOW, boundaryType=boundary, **ends)) == expected
    turned = {"startTime": ends["endTime"], "endTime": ends["startTime"]}
    assert values(pi.recorded(FLOW, boundaryType=boundary, **turned)) == expected[::-1]


def test_no_events_are_an_empty_list_and_a_success(pi: Client) -> None:
    assert pi.recorded(EMPTY) == []


def test_a_range_up_to_now_leaves_the_future_out(pi: Client) -> None:
    assert values(pi.recorded(FORECAST, endTime="*")) == [1]
    assert values(pi.recorded(FORECAST)) == [1, 2]
    assert pi.json(f"streams/{web_id(FORECAST)}/value")["Value"] == 1
    assert pi.json(f"streams/{web_id(FORECAST)}/end")["Value"] == 2


def test_a_system_state_is_an_object_on_any_point(pi: Client) -> None:
    assert values(pi.recorded(VALVE_TAG)) == [
        {"Name": "Closed", "Value": 0, "IsSystem": False},
        {"Name": "Shutdown", "Value": 254, "IsSystem": True},
    ]


def test_a_number_json_cannot_write_is_quoted_or_bare_as_the_switch_says(pi: Client) -> None:
    assert values(pi.recorded(ODD_NAME)) == ["NaN"]
    with planted(non_finite="bare") as bare:
        assert '"Value":NaN' in bare.get(f"streams/{web_id(ODD_NAME)}/recorded").text


def test_annotations_come_when_they_are_asked_for(pi: Client) -> None:
    (plain,) = pi.recorded(NOTE)
    (extended,) = pi.recorded(NOTE, associations="Annotations")
    assert plain["Annotated"]
    assert "Annotations" not in plain
    assert extended["Annotations"][0]["Value"] == "checked"


def test_old_servers_print_no_annotated_flag() -> None:
    with planted(prints_annotated=False) as pi:
        assert "Annotated" not in pi.recorded(FLOW)[0]
        assert "Annotated" not in pi.json(f"streams/{web_id(FLOW)}/value")


def test_the_newest_value_can_be_kept_out_of_the_archive() -> None:
    with planted(recorded_includes_snapshot=False) as pi:
        assert values(pi.recorded(FLOW, maxCount=200))[-1] == 118
        newest_first = pi.recorded(FLOW, startTime="*", endTime="*-1h", maxCount=2)
        assert values(newest_first) == [118, 117]
        assert pi.json(f"streams/{web_id(FLOW)}/value")["Value"] == 119


def test_interpolated_gives_both_ends_of_an_hour_in_minutes(pi: Client) -> None:
    ends = {"startTime": "2024-06-15T10:00:30Z", "endTime": "2024-06-15T11:00:30Z", "interval": "1m"}
    items = pi.json(f"streams/{web_id(FLOW)}/interpolated", **ends)["Items"]
    assert values(items) == [i + 0.5 for i in range(61)]


def test_only_float_points_are_interpolated_on_a_line(pi: Client) -> None:
    item = pi.json(f"streams/{web_id(NOTE)}/value", time="*-1m")
    assert item["Value"] == 'say "hi"'
    assert item["Timestamp"] == "2024-06-15T11:59:00Z"


def test_more_interpolated_values_than_the_limit_are_refused(pi: Client) -> None:
    answer = pi.get(f"streams/{web_id(FLOW)}/interpolated", startTime="*-1h", interval="1s")
    assert answer.status_code == 400
    assert "is greater than the maximum allowed" in answer.json()["Errors"][0]


@pytest.mark.parametrize(
    ("mode", "expected"),
    [("Auto", 10), ("AtOrBefore", 10), ("Before", 9), ("AtOrAfter", 10), ("After", 11), ("Exact", 10)],
)
def test_recorded_at_time_finds_the_neighbour_its_mode_asks_for(pi: Client, mode: str, expected: int) -> None:
    answer = pi.json(f"streams/{web_id(FLOW)}/recordedattime", time="2024-06-15T10:10:00Z", retrievalMode=mode)
    assert answer["Value"] == expected


def test_recorded_at_times_answers_each_time_in_the_order_asked_for(pi: Client) -> None:
    times = ["2024-06-15T10:10:00Z", "2024-06-15T10:20:30Z"]
    path = f"streams/{web_id(FLOW)}/recordedattimes"
    assert values(pi.json(path, time=times)["Items"]) == [10, 20]
    assert values(pi.json(path, time=times, sortOrder="Descending")["Items"]) == [20, 10]


def test_plot_keeps_first_last_and_extremes_of_each_interval(pi: Client) -> None:
    ends = {"startTime": "2024-06-15T10:00:00Z", "endTime": "2024-06-15T12:00:00Z", "intervals": 2}
    assert values(pi.json(f"streams/{web_id(FLOW)}/plot", **ends)["Items"]) == [0, 59, 60, 119]


def summary(pi: Client, point: object, **params: object) -> dict[str, object]:
    items = pi.json(f"streams/{web_id(point)}/summary", **params)["Items"]  # type: ignore[arg-type]
    return {item["Type"]: item["Value"]["Value"] for item in items}


def test_an_event_weighted_count_is_the_number_of_events(pi: Client) -> None:
    ends = {"startTime": "2024-06-15T10:00:00Z", "endTime": "2024-06-15T12:00:00Z"}
    assert summary(pi, FLOW, summaryType="Count", calculationBasis="EventWeighted", **ends) == {"Count": 120}
    assert summary(pi, VALVE_TAG, summaryType="Count", calculationBasis="EventWeighted", **ends) == {"Count": 2}
    with planted(count_includes_bad=False) as other:
        assert summary(other, VALVE_TAG, summaryType="Count", calculationBasis="EventWeighted", **ends) == {"Count": 1}


def test_an_event_at_the_end_is_counted_in_an_only_interval_and_not_in_the_last_of_several(pi: Client) -> None:
    ends = {"startTime": "2024-06-15T10:00:00Z", "endTime": "2024-06-15T11:00:00Z"}
    for basis in ("EventWeighted", "EventWeightedExcludeMostRecentEvent"):
        assert summary(pi, FLOW, summaryType="Count", calculationBasis=basis, **ends) == {"Count": 61}
        assert counts(pi, FLOW, basis, "30m") == [30, 30]
    assert counts(pi, FLOW, "EventWeightedExcludeEarliestEvent", "30m") == [30, 30]
    assert counts(pi, FLOW, "EventWeightedIncludeBothEnds", "30m") == [31, 31]


def counts(pi: Client, point: object, basis: str, duration: str) -> list[object]:
    """Event-weighted counts of each interval from 10:00 to 11:00."""
    params = {"startTime": "2024-06-15T10:00:00Z", "endTime": "2024-06-15T11:00:00Z", "summaryDuration": duration}
    path = f"streams/{web_id(point)}/summary"  # type: ignore[arg-type]
    return values(
        [item["Value"] for item in pi.json(path, summaryType="Count", calculationBasis=basis, **params)["Items"]]
    )


def test_a_count_of_no_events_is_0_or_a_bad_value() -> None:
    ends = {"startTime": "2024-06-15T00:00:00Z", "endTime": "2024-06-15T01:00:00Z"}
    for what, counted in (("zero", 0), ("no_data", {"Name": "No Data", "Value": 248, "IsSystem": True})):
        with planted(count_of_nothing=what) as pi:
            found = summary(pi, FLOW, summaryType="Count", calculationBasis="EventWeighted", **ends)
        assert found == {"Count": counted}


def test_a_time_weighted_count_is_seconds(pi: Client) -> None:
    ends = {"startTime": "2024-06-15T10:00:00Z", "endTime": "2024-06-15T11:00:00Z"}
    assert summary(pi, FLOW, summaryType="Count", **ends) == {"Count": 3600}


def test_time_weighted_summaries_follow_the_line_between_events(pi: Client) -> None:
    ends = {"startTime": "2024-06-15T10:00:00Z", "endTime": "2024-06-15T11:00:00Z"}
    found = summary(pi, FLOW, summaryType=["Average", "Minimum", "Maximum", "Range", "Total"], **ends)
    assert found == {"Average": 30, "Minimum": 0, "Maximum": 60, "Range": 60, "Total": pytest.approx(30 / 24)}


@pytest.mark.parametrize("kind", ["Average", "PercentGood"])
def test_a_text_point_has_no_summary_but_its_count(pi: Client, kind: str) -> None:
    assert pi.get(f"streams/{web_id(NOTE)}/summary", summaryType=kind).status_code == 409
    assert summary(pi, NOTE, summaryType="Count", calculationBasis="EventWeighted", **READ_ALL) == {"Count": 1}


def test_nothing_good_to_summarise_is_a_bad_value(pi: Client) -> None:
    (item,) = pi.json(f"streams/{web_id(EMPTY)}/summary", summaryType="Average")["Items"]
    assert item["Value"]["Good"] is False


@pytest.mark.parametrize("form", list(WebIdType))
def test_a_stream_is_found_by_every_form_of_its_webid(pi: Client, form: WebIdType) -> None:
    assert pi.json(f"streams/{web_id(FLOW, form)}/value")["Value"] == 119


def test_a_text_that_is_no_webid_is_named_in_the_refusal(pi: Client) -> None:
    answer = pi.get("streams/F1DPbogus/recorded")
    assert answer.status_code == 400
    assert answer.json() == {"Errors": ["Unknown or invalid WebID format: 'F1DPbogus'."]}


def test_a_webid_is_case_sensitive(pi: Client) -> None:
    assert pi.get(f"streams/{web_id(FLOW).lower()}/value").status_code == 400


def test_a_tag_made_anew_under_its_name_is_found_by_full_webid_only() -> None:
    with planted() as pi:
        base = pi.running.archive.base
        full, id_only = web_id(FLOW, WebIdType.FULL), web_id(FLOW)
        base.drop(FLOW.id)  # type: ignore[attr-defined]
        base.add(type(FLOW)(id=99, name=FLOW.name))  # type: ignore[attr-defined]
        assert pi.get(f"points/{id_only}").status_code == 404
        found = pi.json(f"points/{full}")
        assert found["Id"] == 99
        assert found["WebId"] != full


def test_a_relative_start_counts_back_from_the_servers_clock(pi: Client) -> None:
    items = pi.recorded(FLOW, startTime="*-2m", endTime="*")
    assert [item["Timestamp"] for item in items] == [
        iso_timestamp(NOON - HOUR // 30),
        iso_timestamp(NOON - HOUR // 60),
    ]


def test_a_time_without_zone_is_in_the_zone_asked_for_or_the_servers() -> None:
    with planted(server_time_zone="Europe/Berlin") as pi:
        ends = {"startTime": "2024-06-15T12:00:00", "endTime": "2024-06-15T12:00:30"}
        assert values(pi.recorded(FLOW, **ends)) == [0]
        assert values(pi.recorded(FLOW, timeZone="Etc/UTC", **ends)) == []
        assert values(pi.recorded(FLOW, timeZone="W. Europe Standard Time", **ends)) == [0]


def test_an_unencoded_plus_in_an_offset_is_not_understood(pi: Client) -> None:
    url = f"{pi.running.url}/streams/{web_id(FLOW)}/recorded?startTime=2024-06-15T10:00:00+00:00"
    assert pi.session.get(url, timeout=10).status_code == 400


def test_a_filter_expression_is_refused_rather_than_ignored(pi: Client) -> None:
    assert pi.get(f"streams/{web_id(FLOW)}/recorded", filterExpression="'.' > 3").status_code == 409
