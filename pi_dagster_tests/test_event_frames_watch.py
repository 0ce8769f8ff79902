"""Which days the sensor looks at, and which of them differ from the table: arithmetic without server or Dagster."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import date, datetime, time, timedelta, timezone

import pytest

from pi_dagster.automation.frame_days import LoadedDay, days_between, stretches
from pi_dagster.automation.frame_watch import FRAMES_A_TICK, Listing, Look, Turn, plan_look
from pi_dagster.ingest.frame_rows import DayDigest, digests_by_day
from pi_dagster.ingest.window import Window
from pi_dagster.piwebapi.event_frames import EventFrame
from pi_dagster.site import Site

TODAY = date(2026, 11, 20)


def days_ago(days: int) -> date:
    return TODAY - timedelta(days=days)


def a_site(lookback_days: int = 7, start: date = date(2026, 1, 1)) -> Site:
    return Site.model_validate(
        {
            "server": {"url": "http://127.0.0.1:9/piwebapi"},
            "lake": {"uri": "/nowhere"},
            "start_date": start,
            "tag_groups": [{"name": "all", "tag_filter": "*"}],
            "event_frames": {"lookback_days": lookback_days},
        }
    )


def a_frame(name: str, day: date, *, is_open: bool = False, severity: str = "None") -> EventFrame:
    start = datetime.combine(day, time(6), timezone.utc)
    return EventFrame(
        event_frame_id=name,
        web_id=name,
        name=name,
        path=name,
        description="",
        template_name="",
        database_name="Plant",
        start=start,
        end=None if is_open else start + timedelta(minutes=1),
        severity=severity,
        category_names=(),
        primary_element_id=None,
        referenced_element_ids=(),
        parent_id=None,
        is_acknowledged=False,
        acknowledged_by=None,
        acknowledged_at=None,
        values_captured=not is_open,
    )


def as_loaded(frames: Iterable[EventFrame]) -> dict[date, LoadedDay]:
    return {day: LoadedDay(day_of.digest(), day_of.frames, 0.0) for day, day_of in digests_by_day(frames).items()}


def differing(
    look: Look, loaded: Iterable[EventFrame] | dict[date, LoadedDay], listed: Sequence[EventFrame]
) -> set[date]:
    """The days that differ when `loaded` is in the table and the server has `listed`."""

    def within(windows: Sequence[Window]) -> list[EventFrame]:
        return [frame for frame in listed if any(window.start <= frame.start < window.end for window in windows)]

    def still_open(windows: Sequence[Window]) -> list[EventFrame]:
        return [frame for frame in within(windows) if frame.is_open]

    listing = Listing.of(look, frames=within, open_frames=still_open)
    return listing.differing_days(look, loaded if isinstance(loaded, dict) else as_loaded(loaded))


def full_days(frames: int) -> dict[date, LoadedDay]:
    return {days_ago(ago): LoadedDay(DayDigest("x", ""), frames, 0.0) for ago in range(10)}


def test_a_small_plant_is_looked_at_whole_in_one_window() -> None:
    look = plan_look(a_site(), Turn(), today=TODAY, loaded=full_days(100))
    assert look.days == days_between(days_ago(7), TODAY)
    assert look.windows == [Window(Window.of_day(days_ago(7)).start, Window.of_day(TODAY).end)]
    assert look.open_frames == Window(Window.of_day(date(2026, 1, 1)).start, Window.of_day(days_ago(7)).start)
    assert look.next_turn == Turn()


def test_days_of_many_frames_take_turns_and_each_has_its_turn() -> None:
    turn, looked_at = Turn(), []
    for _ in range(3):
        look = plan_look(a_site(), turn, today=TODAY, loaded=full_days(FRAMES_A_TICK // 2))
        assert look.days[-2:] == [days_ago(1), TODAY]
        looked_at.append(look.days[:-2])
        turn = Turn.parse(str(look.next_turn))
    assert looked_at == [[days_ago(3), days_ago(2)], [days_ago(5), days_ago(4)], [days_ago(7), days_ago(6)]]
    assert turn == Turn(days_ago(2))


def test_a_tick_that_has_room_goes_on_with_the_newest_days() -> None:
    look = plan_look(a_site(), Turn(days_ago(6)), today=TODAY, loaded=full_days(FRAMES_A_TICK // 4))
    assert look.days == [days_ago(7), days_ago(6), days_ago(3), days_ago(2), days_ago(1), TODAY]
    assert look.next_turn == Turn(days_ago(4))


def test_a_day_with_more_frames_than_a_tick_takes_has_a_tick_of_its_own() -> None:
    look = plan_look(a_site(), Turn(days_ago(4)), today=TODAY, loaded=full_days(10 * FRAMES_A_TICK))
    assert look.days == [days_ago(4), days_ago(1), TODAY]


def test_no_day_before_the_first_of_the_site_is_looked_at() -> None:
    look = plan_look(a_site(start=TODAY), Turn(), today=TODAY, loaded={})
    assert look.days == [TODAY]
    assert look.open_frames.start == look.open_frames.end


@pytest.mark.parametrize("cursor", [None, "", "{}", "nonsense", '{"next_older_day": "soon"}', "[]"])
def test_a_cursor_that_cannot_be_read_begins_anew(cursor: str | None) -> None:
    assert Turn.parse(cursor) == Turn()


def test_nothing_differs_when_the_table_holds_what_is_listed() -> None:
    frames = [a_frame("a", TODAY), a_frame("b", days_ago(3)), a_frame("c", days_ago(90), is_open=True)]
    look = plan_look(a_site(), Turn(), today=TODAY, loaded=full_days(100))
    assert differing(look, frames, frames[::-1]) == set()


def test_new_changed_and_deleted_frames_differ_on_their_days() -> None:
    look = plan_look(a_site(), Turn(), today=TODAY, loaded=full_days(100))
    before = [a_frame("a", TODAY), a_frame("b", days_ago(2)), a_frame("c", days_ago(4))]
    now = [a_frame("a", TODAY), a_frame("b", days_ago(2), severity="Major"), a_frame("d", days_ago(7))]
    assert differing(look, before, now) == {days_ago(2), days_ago(4), days_ago(7)}


def test_two_frames_that_change_places_make_both_days_differ() -> None:
    look = plan_look(a_site(), Turn(), today=TODAY, loaded=full_days(100))
    before = [a_frame("a", TODAY), a_frame("b", days_ago(1))]
    now = [a_frame("b", TODAY), a_frame("a", days_ago(1))]
    assert differing(look, before, now) == {TODAY, days_ago(1)}


@pytest.mark.parametrize("age", [5, 300])
@pytest.mark.parametrize("now", [[], [a_frame("other", TODAY)]])
def test_an_open_frame_that_closes_is_seen_in_any_tick_however_old(age: int, now: list[EventFrame]) -> None:
    turn_elsewhere = plan_look(a_site(), Turn(days_ago(7)), today=TODAY, loaded=full_days(FRAMES_A_TICK))
    old = a_frame("old", days_ago(age), is_open=True)
    closed = [*now, a_frame("old", days_ago(age))]
    loaded = as_loaded([old, *now])
    assert differing(turn_elsewhere, loaded, [old, *now]) == set()
    assert differing(turn_elsewhere, loaded, closed) == {days_ago(age)}
    assert differing(turn_elsewhere, loaded, now) == {days_ago(age)}


def test_an_open_frame_of_a_day_that_was_never_loaded_asks_for_that_day() -> None:
    look = plan_look(a_site(), Turn(), today=TODAY, loaded=full_days(100))
    assert differing(look, [], [a_frame("old", days_ago(200), is_open=True)]) == {days_ago(200)}


def test_a_closed_frame_beyond_the_lookback_asks_for_nothing() -> None:
    look = plan_look(a_site(), Turn(), today=TODAY, loaded=full_days(100))
    assert differing(look, [], [a_frame("old", days_ago(8))]) == set()


def test_a_materialization_that_does_not_tell_what_it_loaded_is_loaded_again() -> None:
    look = plan_look(a_site(), Turn(), today=TODAY, loaded=full_days(100))
    assert differing(look, {TODAY: LoadedDay(None, 0, 0.0)}, []) == {TODAY}


def test_days_are_put_together_where_they_follow_each_other_and_only_there() -> None:
    days = {days_ago(ago) for ago in (0, 1, 2, 4, 7, 8)}
    assert list(stretches(days, longest=30)) == [
        (days_ago(2), TODAY),
        (days_ago(4), days_ago(4)),
        (days_ago(8), days_ago(7)),
    ]


def test_no_stretch_is_longer_than_a_run_may_be() -> None:
    days = {days_ago(ago) for ago in range(5)}
    assert list(stretches(days, longest=2)) == [
        (days_ago(1), TODAY),
        (days_ago(3), days_ago(2)),
        (days_ago(4), days_ago(4)),
    ]


def test_days_that_were_never_loaded_count_as_much_as_the_fullest_one() -> None:
    fullest = {days_ago(3): LoadedDay(DayDigest("x", ""), FRAMES_A_TICK // 2, 0.0)}
    assert plan_look(a_site(), Turn(), today=TODAY, loaded=fullest).days == days_between(days_ago(3), TODAY)
    quiet = {days_ago(3): LoadedDay(DayDigest("x", ""), 5, 0.0)}
    assert plan_look(a_site(), Turn(), today=TODAY, loaded=quiet).days == days_between(days_ago(7), TODAY)
    assert len(plan_look(a_site(), Turn(), today=TODAY, loaded={}).days) < 8
