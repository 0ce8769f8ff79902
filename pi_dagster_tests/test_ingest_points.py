"""pi_points: what the server lists, which partition each tag falls into, and what is gone."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest
from deltalake import DeltaTable

from pi_dagster.ingest.errors import LakeOfAnotherServerError, NoTagsError, TagsLostError
from pi_dagster.ingest.points import point_row, refresh_points
from pi_dagster.ingest.report import PointsReport
from pi_dagster.ingest.source import open_source
from pi_dagster.lake import Lake, PointsTable
from pi_dagster.lake.commit import LOG_CLEANUP_EVERY
from pi_dagster.piwebapi import PIWebAPISource, objects
from pi_dagster.piwebapi.errors import BrokenAnswerError
from pi_dagster.piwebapi.item_lists import rows_of
from pi_dagster.piwebapi.objects import DataServerNotFoundError
from pi_dagster.simulator import RunningSimulator, Simulator
from pi_dagster.simulator.archive import Archive, MemoryBase
from pi_dagster.simulator.generator import GeneratedBase
from pi_dagster.simulator.points import Point
from pi_dagster.site import LakeSettings, ServerSettings, Site, TagGroup

CREATED = datetime(2026, 1, 1, tzinfo=timezone.utc)
NAMES = ("BLR01.FLOW", "BLR01.TEMP", "PMP01.PV", "PMP02.PV", "PMP03.PV", "odd one")


def point(number: int, name: str) -> Point:
    return Point(
        id=number, name=name, point_type="Float32", engineering_units="bar", span=10.0, zero=-1.0, created=CREATED
    )


@pytest.fixture
def base() -> MemoryBase:
    return MemoryBase([point(number, name) for number, name in enumerate(NAMES, start=1)])


@pytest.fixture
def simulator(base: MemoryBase) -> Iterator[RunningSimulator]:
    with Simulator(archive=Archive(base)).serve() as running:
        yield running


@pytest.fixture
def site(simulator: RunningSimulator, tmp_path: Path) -> Site:
    return Site(
        server=ServerSettings(url=simulator.url),
        lake=LakeSettings(uri=str(tmp_path)),
        start_date=CREATED.date(),
        tag_groups=(
            TagGroup(name="boilers", tag_filter="blr*"),
            TagGroup(name="named", tags=("PMP02.PV", "NOT THERE")),
            TagGroup(name="pumps", tag_filter="PMP*", shards=2),
            TagGroup(name="tanks", tag_filter="TNK*"),
        ),
    )


def refresh(site: Site) -> PointsReport:
    with open_source(site.server) as source:
        return refresh_points(site, source, Lake(site.lake.uri), run_id="test")


def rows(site: Site) -> dict[str, dict[str, object]]:
    return {row["tag_name"]: row for row in PointsTable.open(Lake(site.lake.uri)).read().to_pylist()}


def test_every_tag_has_a_row_with_its_attributes_and_its_partition(site: Site) -> None:
    refresh(site)
    table = rows(site)
    assert set(table) == set(NAMES)
    assert {name: table[name]["tag_group"] for name in ("BLR01.FLOW", "PMP02.PV", "odd one")} == {
        "BLR01.FLOW": "boilers",
        "PMP02.PV": "named",
        "odd one": None,
    }
    row = table["BLR01.FLOW"]
    assert str(row["tag_webid"]).startswith("I1DP")
    assert (row["point_type"], row["engineering_units"], row["span"], row["zero"]) == ("Float32", "bar", 10.0, -1.0)
    assert row["is_active"]


def test_the_report_counts_groups_and_names_what_fits_nowhere(site: Site) -> None:
    report = refresh(site)
    assert report.tags == len(NAMES)
    assert report.tags_by_partition["boilers"] == 2
    assert report.tags_by_partition["pumps-00"] + report.tags_by_partition["pumps-01"] == 2
    assert report.groups_without_tags == ("tanks",)
    assert report.tags_in_no_group == ("odd one",)
    assert report.missing_tags == ("NOT THERE",)


def test_a_second_refresh_without_changes_says_so_and_keeps_first_seen(site: Site) -> None:
    assert refresh(site).changed
    before = rows(site)
    assert not refresh(site).changed
    after = rows(site)
    assert {name: row["first_seen"] for name, row in after.items()} == {n: r["first_seen"] for n, r in before.items()}
    assert all(after[name]["last_seen"] > before[name]["last_seen"] for name in NAMES)


def test_a_tag_that_is_gone_stays_as_inactive(site: Site, base: MemoryBase) -> None:
    refresh(site)
    seen = rows(site)["PMP01.PV"]["last_seen"]
    base.drop(3)
    report = refresh(site)
    assert (report.tags, report.gone_tags) == (len(NAMES) - 1, ("PMP01.PV",))
    assert not rows(site)["PMP01.PV"]["is_active"]
    assert rows(site)["PMP01.PV"]["last_seen"] == seen


def test_a_renamed_tag_is_the_same_tag(site: Site, base: MemoryBase) -> None:
    refresh(site)
    before = rows(site)["odd one"]
    base.add(point(6, "BLR09.NEW"))
    report = refresh(site)
    after = rows(site)["BLR09.NEW"]
    assert (after["tag_webid"], after["first_seen"]) == (before["tag_webid"], before["first_seen"])
    assert after["tag_group"] == "boilers"
    assert (report.new_tags, report.gone_tags) == (0, ())
    assert report.moved_tags == ("BLR09.NEW: None -> boilers",)


def test_a_login_that_suddenly_sees_nothing_deletes_nothing(site: Site, base: MemoryBase) -> None:
    refresh(site)
    for number in range(1, len(NAMES) + 1):
        base.drop(number)
    with pytest.raises(NoTagsError, match="shows this login no tag"):
        refresh(site)
    assert all(row["is_active"] for row in rows(site).values())


@pytest.fixture
def many(tmp_path: Path) -> Iterator[tuple[Site, MemoryBase]]:
    """A plant of forty pumps, listed."""
    base = MemoryBase([point(number, f"PMP{number:02}.PV") for number in range(1, 41)])
    with Simulator(archive=Archive(base)).serve() as running:
        site = Site(
            server=ServerSettings(url=running.url),
            lake=LakeSettings(uri=str(tmp_path)),
            start_date=CREATED.date(),
            tag_groups=(TagGroup(name="pumps", tag_filter="PMP*"),),
        )
        refresh(site)
        yield site, base


def test_a_login_that_suddenly_sees_few_tags_deletes_none(many: tuple[Site, MemoryBase]) -> None:
    site, base = many
    for number in range(1, 14):
        base.drop(number)
    with pytest.raises(TagsLostError, match=r"13 of 40 tags are gone since the last list \(PMP01\.PV, .*`max_lost_tag"):
        refresh(site)
    assert all(row["is_active"] for row in rows(site).values())
    assert len(refresh(site.model_copy(update={"max_lost_tag_share": 1.0})).gone_tags) == 13


def test_a_third_of_the_tags_may_be_deleted(many: tuple[Site, MemoryBase]) -> None:
    site, base = many
    for number in range(1, 13):
        base.drop(number)
    assert len(refresh(site).gone_tags) == 12
    for number in range(13, 23):
        base.drop(number)
    assert refresh(site).tags == 18


class OvertakenSource(PIWebAPISource):
    """A connection that lists the tags, and somebody else lists them again before it has told of them."""

    overtake: Callable[[], object]

    def list_points(self, name_filter: str | None = None) -> Sequence[objects.Point]:
        listed = super().list_points(name_filter)
        overtake, self.overtake = self.overtake, lambda: None
        overtake()
        return listed


def test_a_slow_list_does_not_take_the_place_of_a_newer_one(site: Site, base: MemoryBase) -> None:
    refresh(site)

    def overtake() -> None:
        base.add(point(99, "BLR99.NEW"))
        refresh(site)

    with OvertakenSource(site.server) as source:
        source.overtake = overtake
        report = refresh_points(site, source, Lake(site.lake.uri), run_id="slow")
    assert rows(site)["BLR99.NEW"]["is_active"]
    assert report.tags == len(NAMES) + 1


def test_the_first_list_may_still_be_read_after_hundreds(site: Site) -> None:
    first = refresh(site)
    table = PointsTable.open(Lake(site.lake.uri))
    rows = table.read()
    for _ in range(2 * LOG_CLEANUP_EVERY):
        table.replace(rows, {})
    for entry in (Path(table.uri) / "_delta_log").iterdir():
        os.utime(entry, (CREATED.timestamp(), CREATED.timestamp()))
    while table.version % LOG_CLEANUP_EVERY:
        table.replace(rows, {})
    assert DeltaTable(table.uri, version=first.table_version).to_pyarrow_table().num_rows == len(NAMES)


def test_another_data_server_is_told_with_the_ones_there_are(site: Site) -> None:
    server = site.server.model_copy(update={"data_server": "ELSEWHERE"})
    with pytest.raises(DataServerNotFoundError, match=r"no Data Archive 'ELSEWHERE' \(it knows: PISIM\)"):
        refresh(site.model_copy(update={"server": server}))


def test_more_tags_than_a_page_are_all_listed(tmp_path: Path) -> None:
    with Simulator(archive=Archive(GeneratedBase(tags=25_000))).serve() as simulator:
        site = Site(
            server=ServerSettings(url=simulator.url),
            lake=LakeSettings(uri=str(tmp_path)),
            start_date=CREATED.date(),
            tag_groups=(TagGroup(name="all", tag_filter="*"),),
        )
        assert refresh(site).tags == 25_000


def test_a_lake_belongs_to_one_data_archive(site: Site, base: MemoryBase) -> None:
    """Else each site would take the other's tags for deleted."""
    refresh(site)
    with Simulator(archive=Archive(base, server_name="SOUTH")).serve() as south:
        other = site.model_copy(update={"server": ServerSettings(url=south.url)})
        with pytest.raises(LakeOfAnotherServerError, match=r"holds the tags of the Data Archive PISIM.*is SOUTH"):
            refresh(other)
    assert all(row["is_active"] for row in rows(site).values())


def refresh_while(site: Site, change: Callable[[], object]) -> PointsReport:
    """List the tags, by threes, while somebody changes them once the first page has been read."""
    server = site.server.model_copy(update={"max_items_per_call": 3})
    with PIWebAPISource(server) as source:
        get, changes = source.transport.get, [change]

        def get_and_change(path: str, *asked: Any) -> object:
            answer = get(path, *asked)
            if path.endswith("/points") and changes:
                changes.pop()()
            return answer

        source.transport.get = get_and_change  # type: ignore[method-assign, assignment]
        return refresh_points(site, source, Lake(site.lake.uri), run_id="test")


def test_a_point_deleted_while_the_pages_are_read_hides_no_other(site: Site, base: MemoryBase) -> None:
    """It moves the points behind it up by one, and the next page would pass one over."""
    refresh_while(site, lambda: base.drop(1))
    assert set(NAMES[1:]) <= rows(site).keys()


def test_a_point_created_while_the_pages_are_read_is_no_list_without_end(site: Site, base: MemoryBase) -> None:
    base.drop(1)
    refresh_while(site, lambda: base.add(point(1, NAMES[0])))
    assert set(NAMES[1:]) <= rows(site).keys()


@pytest.mark.parametrize("span", ['"NaN"', "NaN", '"Infinity"', "1e400"])
def test_a_point_whose_span_is_no_number_is_listed_without_one(span: str) -> None:
    body = f'{{"Items":[{{"WebId":"I1DPa","Name":"A","Span":{span}}},{{"WebId":"I1DPb","Name":"B","Span":2.0}}]}}'
    listed = [
        point_row(one, data_server="S", tag_group=None, tag_group_since=CREATED, first_seen=CREATED, last_seen=CREATED)
        for one in rows_of(objects.Point)(body.encode())
    ]
    assert [(row["tag_name"], row["span"]) for row in listed] == [("A", None), ("B", 2.0)]


def test_a_list_that_comes_with_errors_is_not_taken_for_whole() -> None:
    body = b'{"Items":[{"WebId":"I1DPa","Name":"A"}],"Errors":["The search was given up."]}'
    with pytest.raises(BrokenAnswerError, match=r"only a part of what it has \(The search was given up\.\)"):
        rows_of(objects.Point)(body)
