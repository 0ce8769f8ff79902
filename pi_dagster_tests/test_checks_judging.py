"""What each check makes of its data, without server and Dagster; duplicates on real Delta tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import dagster as dg
import pyarrow as pa
import pytest
from deltalake import write_deltalake

from pi_dagster.checks import attribute_tags, clocks, duplicates, failed_partitions, freshness, shares, silent_tags
from pi_dagster.checks.failed_partitions import FailedPartitions
from pi_dagster.checks.verdict import Verdict
from pi_dagster.lake import Lake, TimeseriesTable
from pi_dagster.lake.tag_days import TAG_DAYS_SCHEMA, tag_days
from pi_dagster_tests.judged_lake import DAY, GROUP, MIDNIGHT, JudgedLake, minutes

EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
NOON = MIDNIGHT + timedelta(hours=12)
MINUTE, HOUR, A_DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)


def tag_day(
    tag: str, *, days_ago: int = 0, group: str = "a", first: timedelta, last: timedelta, **facts: Any
) -> Mapping[str, Any]:
    """A tag's day with events from `first` to `last` after midnight."""
    midnight = MIDNIGHT - days_ago * A_DAY
    return {
        "tag_webid": tag,
        "tag_group": group,
        "partition_date": midnight.date(),
        "events": 100,
        "bad": 0,
        "system_states": 0,
        "repeated": 0,
        "pieces": 1,
        "first_us": (midnight + first - EPOCH) // timedelta(microseconds=1),
        "last_us": (midnight + last - EPOCH) // timedelta(microseconds=1),
        "longest_gap_us": facts.pop("gap", MINUTE) // timedelta(microseconds=1),
        **facts,
    }


def facts_of(rows: Sequence[Mapping[str, Any]]) -> pa.Table:
    return pa.Table.from_pylist(list(rows), TAG_DAYS_SCHEMA)


def silence(
    *rows: Mapping[str, Any],
    until: datetime = NOON,
    groups: Sequence[str] = ("a",),
    tags: Mapping[str, str] | None = None,
    unreadable: Sequence[str] = (),
) -> Verdict:
    """The verdict about tags that are loaded until noon."""
    facts = facts_of(rows)
    owner = tags or {row["tag_webid"]: row["tag_group"] for row in rows}
    listed = pa.table(
        {"tag_webid": list(owner), "tag_name": [name.lower() for name in owner], "tag_group": list(owner.values())},
        pa.schema([(name, pa.string()) for name in ("tag_webid", "tag_name", "tag_group")]),
    )
    recent = pa.compute.greater_equal(facts["partition_date"], pa.scalar(DAY - A_DAY, pa.date32()))
    return silent_tags.judge_silence(
        facts.filter(recent),
        facts.filter(pa.compute.invert(recent)).select(silent_tags._COLUMNS),
        listed,
        reached=dict.fromkeys(groups, until),
        unreadable=unreadable,
        factor=3.0,
        shortest=HOUR,
    )


def silent(verdict: Verdict) -> list[str]:
    assert verdict.passed == (not verdict.offenders)
    return [row["tag"] for row in verdict.offenders]


def test_a_tag_is_silent_after_three_times_its_longest_pause() -> None:
    rows = [
        tag_day("SLOW", first=HOUR, last=8 * HOUR, gap=HOUR),
        tag_day("GONE", first=HOUR, last=8 * HOUR - MINUTE, gap=HOUR),
        tag_day("LONGEST", first=HOUR, last=2 * HOUR, gap=4 * HOUR),
    ]
    assert silent(silence(*rows, until=MIDNIGHT + 11 * HOUR)) == ["gone"]


def test_no_tag_is_silent_for_less_than_the_shortest_time() -> None:
    rows = [tag_day("FAST", first=HOUR, last=11 * HOUR), tag_day("GONE", first=HOUR, last=11 * HOUR - MINUTE)]
    assert silent(silence(*rows)) == ["gone"]


def test_a_pause_over_midnight_is_a_habit_too() -> None:
    """Three hours around midnight, each night."""
    nights = [tag_day("DAYTIME", days_ago=ago, first=2 * HOUR, last=23 * HOUR) for ago in (3, 2, 1)]
    today = tag_day("DAYTIME", first=2 * HOUR, last=3 * HOUR)
    assert silent(silence(*nights, today)) == []
    assert silent(silence(*nights[2:], today, until=MIDNIGHT + 13 * HOUR)) == ["daytime"]


def test_a_day_that_is_not_loaded_is_no_pause() -> None:
    """Nobody knows what the tag did on it, neither before its last event nor after."""
    known = [tag_day("T", days_ago=ago, first=MINUTE, last=23 * HOUR) for ago in (5, 4, 2, 1)]
    verdict = silence(*known, tag_day("T", first=MINUTE, last=HOUR))
    assert silent(verdict) == ["t"]
    assert verdict.offenders[0]["longest pause before"] == "61 min"
    two_days_ago = tag_day("T", days_ago=2, first=MINUTE, last=23 * HOUR, gap=3 * HOUR)
    assert silent(silence(two_days_ago, until=MIDNIGHT + 7 * HOUR)) == []
    assert silent(silence(two_days_ago, tag_day("O", days_ago=1, first=MINUTE, last=23 * HOUR), tags={"T": "a"})) == [
        "t"
    ]


def test_tags_without_habit_unreadable_ones_and_groups_that_are_not_loaded_are_left_alone() -> None:
    rows = [
        tag_day("RARE", first=HOUR, last=2 * HOUR, events=9),
        tag_day("UNREADABLE", first=HOUR, last=2 * HOUR),
        tag_day("LATE", first=HOUR, last=2 * HOUR, group="b"),
        tag_day("DELETED", first=HOUR, last=2 * HOUR),
    ]
    verdict = silence(
        *rows, unreadable=["UNREADABLE"], tags={"RARE": "a", "UNREADABLE": "a", "LATE": "b", "NEVER": "a"}
    )
    assert verdict.passed
    assert verdict.numbers == {
        "pi/tags_judged": 0,
        "pi/silent_tags": 0,
        "pi/tags_without_habit": 2,
        "pi/days_of_habit": 1,
    }


def test_a_group_that_is_silent_as_a_whole_is_named() -> None:
    rows = [tag_day(f"T{number}", first=HOUR, last=2 * HOUR) for number in range(150)]
    rows += [tag_day("OTHER", first=HOUR, last=12 * HOUR, group="b")]
    verdict = silence(*rows, groups=("a", "b"))
    assert verdict.said.startswith("150 tags are silent for much longer than ever before, of 151;")
    assert "All tags of a:" in verdict.said
    assert len(verdict.offenders) == 100


def test_nothing_at_all_is_no_silence() -> None:
    assert silence(tags={"T": "a"}).passed
    assert silence(tags={}, groups=()).passed


def test_shares_are_of_a_day_of_a_group_and_name_the_worst_tags() -> None:
    facts = facts_of(
        [
            tag_day("A", first=HOUR, last=HOUR, bad=21),
            tag_day("B", first=HOUR, last=HOUR, bad=0),
            tag_day("A", days_ago=1, first=HOUR, last=HOUR, bad=20),
            tag_day("B", days_ago=1, first=HOUR, last=HOUR, bad=0),
            tag_day("C", first=HOUR, last=HOUR, group="left behind", bad=100),
        ]
    )

    def judge(too_young: Sequence[date] = ()) -> Verdict:
        return shares.judge_share(
            shares.BAD_VALUES, facts, tag_groups=["a"], names={"A": "flow"}, too_young=too_young, most_percent=10
        )

    verdict = judge()
    assert [(row["partition"], row["tag"], row["bad values"]) for row in verdict.offenders] == [
        (f"{DAY}|a", "flow", 21)
    ]
    assert verdict.numbers["pi/worst_bad_percent"] == 10.5
    assert judge(too_young=[DAY]).passed
    assert judge(too_young=[DAY, DAY - A_DAY]).said == "There are no events to judge yet."


@pytest.mark.parametrize(
    ("events", "bad", "most_percent", "told"),
    [
        (1_000_000, 49, 0, "more than 0 % bad values; the worst, {}|a, 0.005 %. Over all 0.005 % of"),
        (1_000_000, 100_001, 10, "more than 10 % bad values; the worst, {}|a, 10.0001 %. Over all 10.0001 % of"),
        (1_000_000, 100_000, 10, None),
        (1_000_000, 99_999, 10, None),
        (1000, 1, 0.1, None),
    ],
)
def test_a_share_is_judged_and_told_as_it_is_and_not_as_it_is_rounded(
    events: int, bad: int, most_percent: float, told: str | None
) -> None:
    facts = facts_of([tag_day("A", first=HOUR, last=HOUR, events=events, bad=bad)])
    verdict = shares.judge_share(
        shares.BAD_VALUES, facts, tag_groups=["a"], names={}, too_young=(), most_percent=most_percent
    )
    assert verdict.passed == (told is None)
    assert (told or "in no partition more than").format(DAY) in verdict.said


def test_freshness_names_the_groups_that_were_never_loaded_first() -> None:
    reached = {"late": NOON - HOUR, "good": NOON - 30 * MINUTE, "never": None, "ahead": NOON + HOUR}
    verdict = freshness.judge_freshness(reached, now=NOON, limit=30 * MINUTE)
    assert [row["tag group"] for row in verdict.offenders] == ["never", "late"]
    assert verdict.said == (
        "Today is behind in 2 of 4 tag groups, by up to 60 min. 1 group has nothing of today or yesterday."
    )


@pytest.mark.parametrize(
    ("server", "passed", "ahead"),
    [
        (NOON + 3 * MINUTE, False, 178.0),
        (NOON - 3 * MINUTE, False, -180.0),
        (NOON + timedelta(seconds=1), True, 0.0),
        (NOON + timedelta(seconds=61), True, 59.0),
    ],
)
def test_the_time_an_answer_takes_is_not_held_against_a_clock(server: datetime, passed: bool, ahead: float) -> None:
    reading = clocks.ClockReading(NOON, server, NOON + timedelta(seconds=2))
    verdict = clocks.judge_clocks(reading, limit=MINUTE)
    assert (verdict.passed, verdict.numbers["pi/server_seconds_ahead"]) == (passed, ahead)


def test_attributes_tell_how_their_tag_is_missing() -> None:
    attributes = pa.table(
        {
            "attribute_path": ["/a", "/b", "/c", "/d"],
            "config_string": ["", "", "", None],
            "tag_webid": ["KNOWN", None, "OLD", "FOREIGN"],
        }
    )
    tags = pa.table({"tag_webid": ["KNOWN", "OLD"], "is_active": [True, False]})
    verdict = attribute_tags.judge_attribute_tags(attributes, tags, most=2)
    found = {row["attribute"]: row["tag is"] for row in verdict.offenders}
    assert found == {"/b": "not found", "/c": "deleted", "/d": "not in pi_points"}
    assert not verdict.passed
    assert attribute_tags.judge_attribute_tags(attributes, tags, most=3).passed


def test_partitions_may_fail_for_a_while() -> None:
    failing = FailedPartitions({"2026-11-01|a": NOON - 4 * HOUR, "2026-11-02|a": NOON - HOUR}, count=2)
    verdict = failed_partitions.judge_failed(failing, partitions=10, now=NOON, limit=3 * HOUR)
    assert [row["partition"] for row in verdict.offenders] == ["2026-11-01|a"]
    assert failed_partitions.judge_failed(failing, partitions=10, now=NOON, limit=5 * HOUR).passed


def test_the_newest_of_many_failed_partitions_are_looked_up_and_the_others_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("pi_dagster.checks.failed_partitions._MOST_LOOKED_UP", 1)
    days = ["2026-11-01", "2026-11-02", "2026-11-03"]

    @dg.asset(partitions_def=dg.DailyPartitionsDefinition("2026-11-01", end_date="2026-11-04"))
    def broken() -> None:
        raise dg.Failure("it is")

    with dg.DagsterInstance.ephemeral() as instance:
        for day in days:
            assert not dg.materialize([broken], partition_key=day, instance=instance, raise_on_error=False).success
        partitions = dg.DailyPartitionsDefinition("2026-11-01", end_date="2026-11-04")
        failed = failed_partitions.failed_now(instance, broken.key, partitions, days)
    assert (list(failed.since), failed.count) == (["2026-11-03"], 3)
    later = datetime.now(timezone.utc) + 4 * HOUR
    verdict = failed_partitions.judge_failed(failed, partitions=3, now=later, limit=3 * HOUR)
    assert verdict.said.endswith(" 3 partitions are failed; of these only the newest 1 was looked up.")
    assert verdict.numbers["pi/failed_partitions"] == 3


@pytest.fixture
def lake(tmp_path: Path) -> JudgedLake:
    """Two tags with an event a minute, loaded by a load of ours."""
    lake = JudgedLake(tmp_path).add("A", minutes(0, 60, 1)).add("B", minutes(0, 60, 1))
    lake.judged()
    return lake


def too_many(lake: JudgedLake) -> list[tuple[str, str, int]]:
    table = TimeseriesTable.open(Lake(str(lake.folder)))
    repeats = duplicates.count_repeats(table, tag_days(table, {DAY}))
    verdict = duplicates.judge_repeats(repeats, tag_groups=[GROUP], names={"A": "a"})
    assert verdict.passed == (not verdict.offenders)
    return [(row["partition"], row["tag"], row["rows too many"]) for row in verdict.offenders]


def append(lake: JudgedLake, rows: pa.Table) -> None:
    write_deltalake(str(lake.folder / "pi_timeseries"), rows, mode="append")


def rows_of(lake: JudgedLake, tag: str) -> pa.Table:
    return TimeseriesTable.open(Lake(str(lake.folder))).to_arrow(where=pa.compute.field("tag_webid") == tag)


def moved(rows: pa.Table) -> pa.Table:
    """The rows in another tag group."""
    return rows.set_column(rows.column_names.index("tag_group"), "tag_group", pa.array(["old"] * rows.num_rows))


def test_rows_that_another_writer_appended_are_found(lake: JudgedLake) -> None:
    assert too_many(lake) == []
    append(lake, rows_of(lake, "A").slice(10, 5))
    assert too_many(lake) == [(f"{DAY}|{GROUP}", "a", 5)]


def test_repeated_rows_are_found_in_a_file_in_any_order(lake: JudgedLake) -> None:
    rows = rows_of(lake, "A").take([7, 3, 9, 7, 1, 3, 8])
    append(lake, rows.set_column(0, "tag_webid", pa.array(["Z"] * 7)))
    assert too_many(lake) == [(f"{DAY}|{GROUP}", "Z", 2)]


def test_a_tag_in_two_partitions_of_a_day_is_found(lake: JudgedLake) -> None:
    """As after its group was renamed and the day loaded under the new name."""
    append(lake, moved(rows_of(lake, "A").slice(0, 4)))
    assert too_many(lake) == [(f"{DAY}|{GROUP}, {DAY}|old", "a", 4)]


def test_events_within_a_microsecond_are_not_the_same_event(lake: JudgedLake) -> None:
    rows = rows_of(lake, "A").slice(0, 1)
    again = rows.set_column(rows.column_names.index("event_ordinal"), "event_ordinal", pa.array([1], pa.int32()))
    append(lake, again)
    assert too_many(lake) == []


def test_more_tags_than_are_looked_at_are_told(lake: JudgedLake, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(duplicates, "_MOST_ROWS_COUNTED", 10)
    append(lake, moved(rows_of(lake, "A").slice(0, 4)))
    table = TimeseriesTable.open(Lake(str(lake.folder)))
    verdict = duplicates.judge_repeats(
        duplicates.count_repeats(table, tag_days(table, {DAY})), tag_groups=[GROUP], names={}
    )
    assert not verdict.passed
    assert verdict.numbers["pi/tags_not_looked_at"] == 1
