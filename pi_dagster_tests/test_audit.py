"""`pi-dagster audit`: a user's proof that the table equals the archive, and what it says when it does not."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow.compute as pc
import pytest
from deltalake import DeltaTable, write_deltalake
from typer.testing import CliRunner, Result

from pi_dagster.audit_report import with_progress
from pi_dagster.cli import app
from pi_dagster.components.site_file import load_site
from pi_dagster.ingest.audit import PartitionAudit
from pi_dagster.ingest.points import refresh_points
from pi_dagster.ingest.report import EventDifference
from pi_dagster.ingest.source import open_source
from pi_dagster.ingest.timeseries import load_partition
from pi_dagster.lake import Lake, PointsTable
from pi_dagster.simulator.events import Events, to_ticks
from pi_dagster_tests.small_plant import DAYS, GROUPS, ROWS_PER_PARTITION, TODAY, SmallPlant, small_plant

FIRST = datetime.fromisoformat(f"{DAYS[0]}T00:00:00+00:00")
HOUR = timedelta(hours=1)


@pytest.fixture
def plant(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[SmallPlant]:
    """The plant with its first two days loaded."""
    with small_plant(tmp_path) as plant:
        monkeypatch.setenv("PI_DAGSTER_SITE", str(plant.site_file))
        site = load_site(plant.site_file)
        with open_source(site.server) as source:
            refresh_points(site, source, Lake(site.lake.uri), run_id="test")
        for day in DAYS[:2]:
            for group in GROUPS:
                load(plant, day, group)
        yield plant


def load(plant: SmallPlant, day: str, group: str) -> None:
    site = load_site(plant.site_file)
    with open_source(site.server) as source:
        load_partition(
            site, source, Lake(site.lake.uri), day=date.fromisoformat(day), tag_group=group, run_id="test"
        )  # fmt: skip


def audit(*arguments: str, first: str = DAYS[0], last: str = DAYS[1]) -> Result:
    return CliRunner().invoke(app, ["audit", "--from", first, "--to", last, *arguments], catch_exceptions=False)


def facts(result: Result) -> dict[str, Any]:
    assert result.stdout, result.stderr
    document = json.loads(result.stdout)
    assert isinstance(document, dict)
    return document


def insert(plant: SmallPlant, tag: str, instant: datetime, value: float) -> None:
    point = plant.base.point_by_name(tag)
    assert point is not None
    plant.running.archive.insert(point, Events.of("Float32", [to_ticks(instant)], [value]))


def test_a_table_that_equals_the_archive_is_told_to_be_equal(plant: SmallPlant) -> None:
    result = audit()
    assert result.exit_code == 0
    assert (
        f"6 partitions compared: {6 * ROWS_PER_PARTITION} events in the archive, {6 * ROWS_PER_PARTITION} in"
        in result.stdout
    )
    assert "Equal: the table holds exactly the archive's events." in result.stdout


def test_what_is_missing_changed_or_not_in_the_archive_is_shown_event_by_event(plant: SmallPlant) -> None:
    pumps = plant.base.point_by_name("PMP01.SPEED")
    assert pumps is not None
    archive = plant.running.archive
    insert(plant, "PMP01.SPEED", FIRST + HOUR / 2, 77.0)
    archive.replace(pumps, Events.of("Float32", [to_ticks(FIRST + 5 * HOUR)], [55.0]))
    archive.remove(pumps, Events.of("Float32", [to_ticks(FIRST + 9 * HOUR)], [9.0]))
    result = audit()
    assert result.exit_code == 1
    lines = result.stdout.splitlines()
    assert lines[0] == f"{DAYS[0]}|pumps: 1 missing in the table, 1 changed, 1 not in the archive"
    assert sorted(lines[1:4]) == [
        f"  PMP01.SPEED {DAYS[0]}T00:30:00.000000Z: missing in the table; the archive has 77.0",
        f"  PMP01.SPEED {DAYS[0]}T05:00:00.000000Z: the table has 5.0, the archive 55.0 (substituted)",
        f"  PMP01.SPEED {DAYS[0]}T09:00:00.000000Z: not in the archive; the table has 9.0",
    ]
    assert lines[-1] == "Not equal: 1 partitions differ."
    load(plant, DAYS[0], "pumps")
    assert audit().exit_code == 0


def test_a_row_that_is_there_twice_is_found(plant: SmallPlant) -> None:
    table = DeltaTable(str(plant.lake / "pi_timeseries"))
    where = (pc.field("tag_name") == "TNK01.LEVEL") & (pc.field("value") == 3.0)
    twice = table.to_pyarrow_dataset().to_table(filter=where)
    write_deltalake(table, twice.slice(0, 1), mode="append")
    found = facts(audit("--json"))
    assert (found["missing"], found["changed"], found["not_in_archive"]) == (0, 0, 1)
    assert found["differing"][0]["tags"] == [
        {"tag_name": "TNK01.LEVEL", "missing": 0, "changed": 0, "not_in_archive": 1}
    ]


def test_flags_are_compared_and_not_only_values(plant: SmallPlant) -> None:
    table = DeltaTable(str(plant.lake / "pi_timeseries"))
    table.update(updates={"quality_questionable": "true"}, predicate="tag_name = 'TNK01.LEVEL' AND value = 3.0")
    found = facts(audit("--json"))
    assert found["changed"] == 2, "one a day"
    [event, _] = [event for one in found["differing"] for event in one["events"]]
    assert (event["in_table"]["quality_questionable"], event["in_archive"]["quality_questionable"]) == (True, False)


def test_a_day_that_was_never_loaded_is_all_missing_and_examples_are_limited(plant: SmallPlant) -> None:
    result = audit("--group", "tanks", "--limit", "3", last=DAYS[2])
    assert result.exit_code == 1
    assert f"{DAYS[2]}|tanks: {ROWS_PER_PARTITION} missing in the table" in result.stdout
    assert result.stdout.count("the archive has") == 3
    assert f"  and {ROWS_PER_PARTITION - 3} more" in result.stdout


def test_groups_and_tags_can_be_chosen(plant: SmallPlant) -> None:
    insert(plant, "PMP01.SPEED", FIRST + HOUR / 2, 77.0)
    assert audit("--group", "tanks", "--group", "boilers").exit_code == 0
    assert audit("--tag", "PMP02.*").exit_code == 0
    found = audit("--tag", "pmp0?.*", "--json")
    assert (found.exit_code, facts(found)["missing"], facts(found)["archive_events"]) == (
        1,
        1,
        2 * ROWS_PER_PARTITION + 1,
    )


def test_rows_of_a_deleted_tag_are_no_difference_but_are_told(plant: SmallPlant) -> None:
    plant.delete_tag("PMP02.SPEED")
    load(plant, DAYS[2], "pumps")
    site = load_site(plant.site_file)
    with open_source(site.server) as source:
        refresh_points(site, source, Lake(site.lake.uri), run_id="test")
    result = audit()
    assert result.exit_code == 0
    assert "48 rows are of tags that the server does not have any more" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "unmatched"),
    [
        (["--tag", "PMP99.*"], "PMP99.*"),
        (["--tag", "PMP01.*", "--tag", "PMP1.SPEED"], "PMP1.SPEED"),
        (["--tag", "PMP*", "--group", "tanks"], "PMP*"),
    ],
    ids=["no tag at all", "beside one that does", "a tag of another group"],
)
def test_a_pattern_that_matches_no_tag_is_the_users_mistake(
    plant: SmallPlant, arguments: list[str], unmatched: str
) -> None:
    result = audit(*arguments)
    assert result.exit_code == 2, result.output
    assert f"--tag {unmatched} matches no tag of these days and tag groups" in result.stderr
    assert "Equal" not in result.stdout


def test_a_deleted_tag_is_matched_where_it_has_rows(plant: SmallPlant) -> None:
    plant.delete_tag("PMP02.SPEED")
    site = load_site(plant.site_file)
    with open_source(site.server) as source:
        refresh_points(site, source, Lake(site.lake.uri), run_id="test")
    result = audit("--tag", "PMP02.SPEED", "--group", "pumps")
    assert result.exit_code == 0
    assert "48 rows are of tags that the server does not have any more" in result.stderr
    assert audit("--tag", "PMP02.SPEED", "--group", "tanks").exit_code == 2
    assert audit("--tag", "PMP02.SPEED", first=DAYS[2], last=DAYS[2]).exit_code == 2


def test_a_tag_that_cannot_be_read_is_not_taken_for_equal(plant: SmallPlant) -> None:
    plant.forbid_tag("PMP02.SPEED")
    result = audit()
    assert result.exit_code == 1
    assert "PMP02.SPEED could not be read" in result.stdout
    assert "0 missing in the table, 0 changed, 0 not in the archive" in result.stdout


def test_rows_that_a_renamed_group_has_left_behind_are_found(plant: SmallPlant) -> None:
    """Where the list of tags was made anew too, no load knows where they were, and they are in the table twice."""
    plant.site_file.write_text(plant.site_file.read_text().replace("name: tanks, ", "name: tanks, shards: 2, "))
    site = load_site(plant.site_file)
    points = PointsTable.open(Lake(site.lake.uri))
    points.replace(points.read().slice(0, 0), {})
    with open_source(site.server) as source:
        refresh_points(site, source, Lake(site.lake.uri), run_id="test")
    for day in DAYS[:2]:
        for group in ("tanks-00", "tanks-01"):
            load(plant, day, group)
    result = audit()
    assert result.exit_code == 1
    for day in DAYS[:2]:
        assert (
            f"{day}|tanks: 0 missing in the table, 0 changed, {ROWS_PER_PARTITION} not in the archive" in result.stdout
        )
    assert f"({DAYS[0]}|tanks, ...), as of a tag group that was renamed or has other shards now" in result.stderr
    DeltaTable(str(plant.lake / "pi_timeseries")).delete("tag_group = 'tanks'")
    assert audit().exit_code == 0


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--to", str(TODAY.date())], "is not over yet on the server"),
        (["--from", DAYS[1], "--to", DAYS[0]], f"--from {DAYS[1]} is after --to {DAYS[0]}"),
        (["--from", "2001-01-01"], "is before the site's `start_date`"),
        (["--group", "boiler"], "the site has no tag group 'boiler' (it has: boilers, pumps, tanks)"),
        (["--from", "yesterday"], "write a day like 2026-11-01"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_range_that_cannot_be_compared_is_the_users_mistake(
    plant: SmallPlant, arguments: list[str], said: str
) -> None:
    result = CliRunner().invoke(app, ["audit", *arguments])
    assert result.exit_code == 2
    assert said in " ".join(result.stderr.replace("│", " ").split())


def test_without_a_range_it_is_yesterday(plant: SmallPlant) -> None:
    found = facts(CliRunner().invoke(app, ["audit", "--json"]))
    assert {one["partition"] for one in found["differing"]} == {f"{DAYS[2]}|{group}" for group in GROUPS}


def test_a_server_that_does_not_answer_ends_it_like_any_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with small_plant(tmp_path) as plant:
        monkeypatch.setenv("PI_DAGSTER_SITE", str(plant.site_file))
    codes = {CliRunner().invoke(app, [command]).exit_code for command in ("audit", "tags")}
    assert len(codes) == 1
    assert 0 not in codes


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(("stream", "lines"), [(Terminal(), 0), (io.StringIO(), 0)], ids=["terminal", "log"])
def test_progress_is_one_line_on_a_terminal_and_nothing_in_the_log_of_a_short_audit(
    stream: io.StringIO, lines: int
) -> None:
    nothing = EventDifference(added=0, changed=0, removed=0, tags=())
    one = PartitionAudit(
        day=FIRST.date(), tag_group="pumps", archive_events=1, table_rows=1, difference=nothing, examples=(),
        unread_tags=(), rows_of_gone_tags=0,
    )  # fmt: skip
    assert list(with_progress([one] * 3, 3, stream)) == [one] * 3
    assert stream.getvalue().count("\n") == lines
    assert ("3 of 3 partitions compared, 0 differ" in stream.getvalue()) is stream.isatty()
