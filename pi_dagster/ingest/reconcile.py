"""Comparing, tag by tag and day by day, how many events the server counts with how many the table holds.

Counting costs the server little and this side next to nothing, so all settled days of weeks can be looked at every day.
A count that differs is only a suspicion: what the server counts beside good values, and whether it counts the newest
event of a tag, is documented nowhere. So the recorded values of that tag and day are read and counted as a load would
count them, and only what differs from these is a difference.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from functools import cached_property
from typing import NamedTuple

from pi_dagster.ingest.load_plans import Partition
from pi_dagster.ingest.tags import PartitionTags, TagList
from pi_dagster.ingest.window import Window
from pi_dagster.lake import Lake, PointsTable, TimeseriesTable
from pi_dagster.lake.event_counts import NOTHING, EventCount, count_rows, counts_elsewhere, event_counts
from pi_dagster.piwebapi import PIWebAPISource, ReadWindow, StreamRef
from pi_dagster.piwebapi.summaries import MOST_EVENTS_COUNTED
from pi_dagster.site import Site

MOST_READ_A_PARTITION = 100
"""Suspected tags of a partition whose events are read. Where there are more, these stand for all: a partition is loaded
again for one tag as for a thousand, and to read them all would cost as much."""

_VOTES_THAT_DECIDE = 5


@dataclass(frozen=True, order=True)
class CountDifference:
    """A tag and day of which the server has other events than the table.

    Args:
        day: the UTC day.
        tag_group: the partition that the tag belongs to.
        tag_name: the tag's name.
        tag_webid: its IDOnly WebID.
        server: events at the server.
        table: events in the table.
        also_in: other partitions of that day that hold rows of the tag, as it belonged to them before.
    """

    day: date
    tag_group: str
    tag_name: str
    tag_webid: str
    server: int
    table: int
    also_in: Sequence[str] = ()

    @property
    def partitions(self) -> Sequence[Partition]:
        """The partitions to load again."""
        return [(self.day, group) for group in (self.tag_group, *self.also_in)]


@dataclass(frozen=True)
class UncountedTag:
    """A tag that could not be compared, and why."""

    tag_group: str
    tag_name: str
    error: str


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """What the comparison of some days of one tag group found.

    Args:
        partitions: what was compared.
        tag_days: how many counts were compared.
        events: that the server counted.
        differences: where server and table differ, in order.
        uncounted: tags that the server does not count, or whose events it does not send.
        suspects: tag-days whose counts differ from the table's.
        read: how many of them were read, event by event.
        not_looked_at: how many were not read, although none that was read of their day does differ.
        requests: sent to the server.
    """

    partitions: Sequence[Partition]
    tag_days: int
    events: int
    differences: Sequence[CountDifference]
    uncounted: Sequence[UncountedTag]
    suspects: int
    read: int
    not_looked_at: int
    requests: int


TagDay = tuple[date, str]
"""A day and a WebID."""


class Reconciler:
    """Compares the server with the table.

    Args:
        site: the settings.
        source: the server.
        lake: where pi_points and pi_timeseries are.
    """

    def __init__(self, site: Site, source: PIWebAPISource, lake: Lake) -> None:
        self._source = source
        self._lake = lake
        self._tags = TagList(site, lake)
        self._batch_size = site.server.batch_size
        self._has_other_groups = len(site.partition_names()) > 1
        self._rules = _CountingRules()

    def compare(self, tag_group: str, days: Collection[date], *, requests: int) -> Iterator[Comparison]:
        """Compare days of a tag group, the oldest first, as many at once as take about so many requests.

        Args:
            tag_group: the partition key of the group, or of a shard of one.
            days: days that are over and settled.
            requests: how much the caller wants to ask of the server before it looks whether to go on.

        Raises:
            PIWebAPIError: the server as a whole does not answer.
            LakeError: the tables cannot be read.
            IngestError: the tags of the group are not known.
        """
        tags = self._tags.of(tag_group)
        left = sorted(days)
        held = self._held(tag_group, left)
        events = sum(count.events for of_day in held.values() for count in of_day.values())
        few = max(requests, len(tags.streams) // self._batch_size) * MOST_EVENTS_COUNTED
        at_once = len(left) if events <= few else max(1, len(left) * few // events)
        while left:
            now, left = left[:at_once], left[at_once:]
            yield self._compare(tag_group, tags, {day: held[day] for day in now})

    def _compare(
        self, tag_group: str, tags: PartitionTags, held: Mapping[date, Mapping[str, EventCount]]
    ) -> Comparison:
        sent_before = self._source.traffic.requests
        counted, failures = self._count([stream.web_id for stream in tags.streams], held)
        suspects = self._suspects(tag_group, tags, held, counted)
        # A count of all events or of the good ones is a suspicion only until it is known which of them are counted.
        explained = {
            (day, web_id)
            for (day, web_id), number in counted.items()
            if (day, web_id) in suspects and number in suspects[day, web_id].total
        }
        read, failures_of_reading = self._read(sorted(suspects, key=lambda tag_day: (tag_day in explained, tag_day)))
        failures.update(failures_of_reading)
        real = {tag_day for tag_day, count in read.items() if count != suspects[tag_day].total}
        if real:
            # What was loaded while the server was asked differs from what was held before.
            now = self._held(tag_group, {day for day, _ in real})
            for day, web_id in [*real]:
                old, new = held[day].get(web_id, NOTHING), now[day].get(web_id, NOTHING)
                suspects[day, web_id] = suspects[day, web_id].plus(new.minus(old))
                if read[day, web_id] == suspects[day, web_id].total:
                    real.remove((day, web_id))
        # Where only some of a day were read, and one of these is real, the others are what they look like. What came
        # from another group is not counted, and leaves with the load of the day.
        days = {day for day, _ in real}
        left = {(day, web_id) for day, web_id in suspects.keys() - read.keys() if web_id not in failures}
        real |= {(day, web_id) for day, web_id in left & counted.keys() - explained if day in days}
        return Comparison(
            partitions=[(day, tag_group) for day in held],
            tag_days=len(counted),
            events=sum(counted.values()),
            differences=sorted(
                CountDifference(
                    day=day,
                    tag_group=tag_group,
                    tag_name=self._points[web_id].name,
                    tag_webid=web_id,
                    server=read[day, web_id].events if (day, web_id) in read else counted[day, web_id],
                    table=suspects[day, web_id].total.events,
                    also_in=suspects[day, web_id].also_in,
                )
                for day, web_id in real
            ),
            uncounted=[UncountedTag(tag_group, self._points[web_id].name, error) for web_id, error in failures.items()],
            suspects=len(suspects),
            read=len(read),
            not_looked_at=sum(day not in days for day, _ in left),
            requests=self._source.traffic.requests - sent_before,
        )

    def _held(self, tag_group: str, days: Collection[date]) -> Mapping[date, Mapping[str, EventCount]]:
        """The table's counts by day, then WebID."""
        counts = event_counts(TimeseriesTable.open(self._lake), [(day, tag_group) for day in days])
        return {day: of_partition for (day, _), of_partition in counts.items()}

    def _count(
        self, web_ids: Sequence[str], held: Mapping[date, Mapping[str, EventCount]]
    ) -> tuple[dict[TagDay, int], dict[str, str]]:
        """What the server counts, and why it does not count the events of some tags."""
        counted: dict[TagDay, int] = {}
        failures: dict[str, str] = {}
        for days in _without_gaps(held):
            expected = {web_id: sum(held[day].get(web_id, NOTHING).events for day in days) for web_id in web_ids}
            counts = self._source.count_events(expected, first_day=days[0], days=len(days))
            failures.update((web_id, str(error)) for web_id, error in counts.failures.items())
            for web_id, by_day in counts.by_day.items():
                counted.update(((day, web_id), number) for day, number in zip(days, by_day, strict=True))
        return counted, failures

    def _suspects(
        self,
        tag_group: str,
        tags: PartitionTags,
        held: Mapping[date, Mapping[str, EventCount]],
        counted: Mapping[TagDay, int],
    ) -> dict[TagDay, _Held]:
        """What the server seems to count otherwise than the table, and what the table holds of it.

        A tag that came from another group still has its rows of older days there, and has them twice where the days
        were loaded since for only one of the two groups.
        """
        for (day, web_id), number in counted.items():
            self._rules.learn(self._points[web_id].type, number, held[day].get(web_id, NOTHING))
        tags_here = {stream.web_id for stream in tags.streams} | tags.gone
        strays = {(day, web_id) for day, of_day in held.items() for web_id in of_day if web_id not in tags_here}
        seen = {
            (day, web_id)
            for (day, web_id), number in counted.items()
            if not self._agree(web_id, number, held[day].get(web_id, NOTHING))
        }
        elsewhere = self._elsewhere(tag_group, seen | strays)
        suspects = {}
        for day, web_id in seen | strays:
            others = elsewhere.get((day, web_id), {})
            held_of_tag = _Held(held[day].get(web_id, NOTHING), sorted(others))
            for count in others.values():
                held_of_tag = held_of_tag.plus(count)
            if others if (day, web_id) in strays else not self._agree(web_id, counted[day, web_id], held_of_tag.total):
                suspects[day, web_id] = held_of_tag
        return suspects

    def _agree(self, web_id: str, counted: int, held: EventCount) -> bool:
        return self._rules.agree(self._points[web_id].type, counted, held)

    def _elsewhere(self, tag_group: str, tag_days: Collection[TagDay]) -> Mapping[TagDay, Mapping[str, EventCount]]:
        """What other partitions of the same day hold of some tags."""
        found: dict[TagDay, Mapping[str, EventCount]] = {}
        by_day: dict[date, list[str]] = defaultdict(list)
        for day, web_id in tag_days if self._has_other_groups else ():
            by_day[day].append(web_id)
        for day, web_ids in by_day.items():
            others = counts_elsewhere(TimeseriesTable.open(self._lake), day, tag_group, web_ids)
            found.update(((day, web_id), counts) for web_id, counts in others.items())
        return found

    def _read(self, tag_days: Sequence[TagDay]) -> tuple[dict[TagDay, EventCount], dict[str, str]]:
        """The recorded values of the first tags of each day, counted; and why those of some tags could not be read."""
        by_day: dict[date, list[str]] = defaultdict(list)
        for day, web_id in tag_days:
            if len(by_day[day]) < MOST_READ_A_PARTITION:
                by_day[day].append(web_id)
        windows = [
            ReadWindow(
                [StreamRef(web_id, self._points[web_id].name) for web_id in web_ids],
                Window.of_day(day).start,
                Window.of_day(day).end,
            )
            for day, web_ids in by_day.items()
        ]
        read: dict[TagDay, EventCount] = {}
        failures: dict[str, str] = {}
        for (day, web_ids), reading in zip(by_day.items(), self._source.read_in_turn(windows), strict=True):
            counts: dict[str, EventCount] = defaultdict(EventCount)
            for events in reading:
                for batch in events.to_batches():
                    count_rows(batch, counts)
            failures.update((web_id, str(error)) for web_id, error in reading.failures.items())
            read.update(((day, web_id), counts[web_id]) for web_id in web_ids if web_id not in reading.failures)
        return read, failures

    @cached_property
    def _points(self) -> Mapping[str, _Point]:
        rows = PointsTable.open(self._lake).to_arrow(["tag_webid", "tag_name", "point_type"]).to_pylist()
        points = {row["tag_webid"]: _Point(row["tag_name"], row["point_type"] or "") for row in rows}
        return _WithUnknown(points)


def _without_gaps(days: Collection[date]) -> Sequence[Sequence[date]]:
    """Days that follow one another, together."""
    together: list[list[date]] = []
    for day in sorted(days):
        if together and together[-1][-1] + timedelta(days=1) == day:
            together[-1].append(day)
        else:
            together.append([day])
    return together


class _Point(NamedTuple):
    name: str
    type: str


class _WithUnknown(dict[str, _Point]):
    """Rows of the table may be of tags that pi_points never had, such as those of a restored table."""

    def __missing__(self, web_id: str) -> _Point:
        return _Point(web_id, "")


class _Held(NamedTuple):
    """What the table holds of a tag and day in all partitions, and in which others than its own."""

    total: EventCount
    also_in: Sequence[str]

    def plus(self, more: EventCount) -> _Held:
        return self._replace(total=self.total.plus(more.events, more.good))


class _CountingRules:
    """Whether the server's counts hold bad values, learned by type of point from those of which the table has some.

    As long as too few have told, a count of a tag with bad values agrees with nothing.
    """

    def __init__(self) -> None:
        self._votes: Counter[tuple[str, bool]] = Counter()

    def learn(self, point_type: str, counted: int, held: EventCount) -> None:
        """Look at a count."""
        if held.events != held.good:
            self._votes[point_type, True] += counted == held.events
            self._votes[point_type, False] += counted == held.good

    def agree(self, point_type: str, counted: int, held: EventCount) -> bool:
        """Whether the server counts as many as the table holds of the same kind."""
        if held.events == held.good:
            return counted == held.events
        with_bad, without = self._votes[point_type, True], self._votes[point_type, False]
        if max(with_bad, without) < _VOTES_THAT_DECIDE or min(with_bad, without) * 10 > max(with_bad, without):
            return False
        return counted == (held.events if with_bad > without else held.good)
