"""A job cut into tasks of even work, which together ask the server no harder than one process may.

How dense a tag is nobody knows before it is read. Tags whose names are neighbours tend to be as dense as each other, so
they are dealt out like cards. Where there are fewer tags than tasks, the time is cut as well.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import pairwise

from pyspark.sql.datasource import InputPartition

from pi_dagster.piwebapi import StreamRef
from pi_dagster.piwebapi.asset_framework import AssetDatabase
from pi_dagster.site import ServerSettings


@dataclass(frozen=True)
class Tag:
    """A tag to read, and what the rows say of it."""

    stream: StreamRef
    units: str | None
    tag_group: str | None


@dataclass(frozen=True)
class ReadTask(InputPartition):
    """What one Spark task reads.

    Args:
        server: with this task's share of what the whole job may ask.
        tags: in the order of their WebIDs, which is the order of the rows.
        start: first instant, aware, UTC.
        end: first instant that no longer belongs, aware, UTC.
        window: start and end of what the whole job reads.
    """

    server: ServerSettings
    tags: tuple[Tag, ...] = field(repr=False)
    start: datetime
    end: datetime
    window: tuple[datetime, datetime]


@dataclass(frozen=True)
class FramesTask(InputPartition):
    """What one Spark task reads of event frames.

    Args:
        server: with this task's share of what the whole job may ask.
        databases: where the frames are.
        start: first instant, aware, UTC, at which a frame may start.
        end: first instant that no longer belongs, aware, UTC.
    """

    server: ServerSettings
    databases: tuple[AssetDatabase, ...]
    start: datetime
    end: datetime


def cut_into_tasks(
    tags: Sequence[Tag], start: datetime, end: datetime, *, server: ServerSettings, tasks: int
) -> list[ReadTask]:
    """The tasks of a job; none for no tags or no time.

    Args:
        tags: which.
        start: first instant, aware, UTC.
        end: first instant that no longer belongs, aware, UTC.
        server: what the whole job may ask.
        tasks: at most so many; never more than requests may be in flight.
    """
    if not tags or end <= start:
        return []
    most = min(tasks, server.max_requests_in_flight)
    shards = min(most, len(tags))
    slices = max(1, most // shards)
    dealt = sorted(tags, key=lambda tag: tag.stream.name)
    pieces = [
        (tuple(sorted(dealt[shard::shards], key=lambda tag: tag.stream.web_id)), *piece)
        for shard in range(shards)
        for piece in _slices(start, end, slices)
    ]
    return [
        ReadTask(share, *piece, (start, end)) for share, piece in zip(_shares(server, len(pieces)), pieces, strict=True)
    ]


def cut_time(
    start: datetime, end: datetime, databases: Sequence[AssetDatabase], *, server: ServerSettings, tasks: int
) -> list[FramesTask]:
    """The tasks of a job that reads event frames; none for no time.

    Args:
        start: first instant, aware, UTC.
        end: first instant that no longer belongs, aware, UTC.
        databases: where the frames are.
        server: what the whole job may ask.
        tasks: at most so many; never more than requests may be in flight.
    """
    if end <= start:
        return []
    pieces = _slices(start, end, min(tasks, server.max_requests_in_flight))
    shares = _shares(server, len(pieces))
    return [FramesTask(share, tuple(databases), *piece) for share, piece in zip(shares, pieces, strict=True)]


def _slices(start: datetime, end: datetime, count: int) -> list[tuple[datetime, datetime]]:
    length = (end - start) / count
    return list(pairwise([start + length * number for number in range(count)] + [end]))


def _shares(server: ServerSettings, tasks: int) -> list[ServerSettings]:
    """What each of some tasks may ask, so that all of them together keep to `server`."""
    each, left_over = divmod(server.max_requests_in_flight, tasks)
    return [
        server.model_copy(
            update={
                "max_requests_in_flight": each + (number < left_over),
                "max_requests_per_second": server.max_requests_per_second / tasks,
            }
        )
        for number in range(tasks)
    ]
