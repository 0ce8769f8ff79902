"""How a job is cut into tasks that together ask no more than one process; no JVM is needed for that."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from itertools import pairwise

import pytest

pytest.importorskip("pyspark", reason="the extra `spark` is not installed")

from pi_dagster.piwebapi import StreamRef
from pi_dagster.site import ServerSettings
from pi_dagster.spark.options import ReadOptions
from pi_dagster.spark.tasks import Tag, cut_into_tasks, cut_time

URL = "https://pi.example.com/piwebapi"
START = datetime(2026, 11, 2, tzinfo=timezone.utc)
END = START + timedelta(days=1)


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


def test_event_frames_are_cut_into_windows_that_join() -> None:
    server = ServerSettings(url=URL, max_requests_in_flight=3)
    cut = cut_time(START, END, [], server=server, tasks=8)
    assert [cut[0].start, cut[-1].end] == [START, END]
    assert all(before.end == after.start for before, after in pairwise(cut))
    assert [task.server.max_requests_in_flight for task in cut] == [1, 1, 1]
    assert cut_time(START, START, [], server=server, tasks=8) == []
