"""Which partitions are no longer what the archive holds, as the server's own list of changes tells.

The server tells every new event as it tells a late, edited or deleted one. What the tail reads anyway is nothing to
ask for: its next run begins `tail_overlap_minutes` before where the last one ended, and that was later than the lag
before the change. An older change of a day concerns the partition of its tag on that day, as a whole.

Where the changes of a tag are not known, because it was registered just now or its marker was lost, any day may have
changed and nobody can say which: its partitions of the last `reread_days` and of today are taken for changed.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta

import pyarrow as pa
import pyarrow.compute as pc

from pi_dagster.ingest.errors import IngestError, PointsMissingError
from pi_dagster.ingest.load_plans import CLOCKS_DIFFER, Partition
from pi_dagster.ingest.window import Window
from pi_dagster.lake import Lake, PointsTable
from pi_dagster.piwebapi import PIWebAPISource
from pi_dagster.piwebapi.stream_updates import REFRESH, Registration, Updates, register, updates_since
from pi_dagster.site import Site, StreamUpdateSettings

REFUSED_PAUSE_SECONDS = 900.0
"""How long a tag is left alone that the server did not register, such as one that was deleted."""

_EPOCH = date(1970, 1, 1)
_MICROSECONDS_A_DAY = 86_400_000_000


class NoTagFollowedError(IngestError):
    """The server registers none of the tags whose changes are to be followed."""


@dataclass(frozen=True)
class Following:
    """What the server keeps for us, as far as we know.

    Args:
        markers: by WebID; those that were not asked for the longest come first.
        refused: by WebID, when the tag could not be registered the last time, by the monotonic clock.
    """

    markers: Mapping[str, str] = field(default_factory=dict)
    refused: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Followed:
    """What one look at the changes brought.

    Args:
        following: where the next look begins.
        partitions: those to be loaded again.
        actions: how many changes of each kind the server told, live events included.
        unknown: how many tags' changes were not known, by tag group.
        refused: by tag name, why the server does not register it; those that were tried now.
        tags: how many tags are followed.
        waiting: how many had to be left for the next look, for want of time.
        server_now: the server's clock.
    """

    following: Following
    partitions: frozenset[Partition]
    actions: Mapping[str, int]
    unknown: Mapping[str, int]
    refused: Mapping[str, str]
    tags: int
    waiting: int
    server_now: datetime


@dataclass(frozen=True)
class _Tag:
    name: str
    tag_group: str


def follow(
    site: Site,
    settings: StreamUpdateSettings,
    source: PIWebAPISource,
    lake: Lake,
    following: Following,
    *,
    goes_on: Callable[[], bool],
) -> Followed:
    """Register the tags whose marker is missing, and ask for the changes of the others since the last look.

    Nothing is lost when it fails or its result is: the same look can be taken again.

    Args:
        site: the settings.
        settings: its `stream_updates`.
        source: the server.
        lake: where pi_points is.
        following: what the last look left; empty when nothing is known of it.
        goes_on: asked before each request, which are many where there are many tags; what is left when it says no
            comes first in the next look.

    Raises:
        PointsMissingError: pi_points has not been loaded yet.
        NoTagFollowedError: the server registers none of the tags.
        StreamUpdatesMissingError: the server has no Stream Updates.
        PIWebAPIError: the server cannot be asked.
        LakeError: pi_points cannot be read.
    """
    tags = _followed_tags(site, settings, lake)
    in_flight = site.server.max_requests_in_flight
    seen = _Seen(tags)
    known = {web_id: marker for web_id, marker in following.markers.items() if web_id in tags}
    now = time.monotonic()
    refused = {web_id: at for web_id, at in following.refused.items() if web_id in tags and web_id not in known}
    resting = {web_id for web_id, at in refused.items() if now - at < REFUSED_PAUSE_SECONDS}

    def register_missing(web_ids: Collection[str]) -> int:
        # Those that were refused before come last, or many of them would keep the others waiting. By group, so that
        # where time runs out in between few groups are taken for changed twice.
        missing = sorted(web_ids, key=lambda web_id: (web_id in refused, tags[web_id].tag_group, web_id))
        for registration in register(source.transport, missing, in_flight=in_flight, goes_on=goes_on):
            seen.add_registration(registration)
        return len(missing)

    # First those that have waited for it: asking for the changes of all others may take all the time of each look.
    unregistered = register_missing(tags.keys() - known.keys() - resting)
    for updates in updates_since(
        source.transport, known, in_flight=in_flight, goes_on=goes_on, select_fields=site.server.select_fields
    ):
        seen.add_updates(updates)
    not_asked = {web_id: marker for web_id, marker in known.items() if web_id not in seen.asked}
    unregistered += register_missing(known.keys() - seen.markers.keys() - not_asked.keys())
    # The clock last: no change that was told is from after it.
    server_now = source.server_time()
    if seen.refused and not seen.markers and not not_asked:
        web_id, reason = next(iter(seen.refused.items()))
        raise NoTagFollowedError(
            f"{source.transport.url} registers none of the tags for updates; of {tags[web_id].name} it says: {reason} "
            "Give the login the right to read these tags, or write `stream_updates: null` in the site."
        )
    return Followed(
        following=Following(
            {**not_asked, **seen.markers},
            {
                **{web_id: at for web_id, at in refused.items() if web_id not in seen.markers},
                **dict.fromkeys(seen.refused, now),
            },
        ),
        partitions=frozenset(
            {
                *seen.partitions_to_load(site, server_now),
                *_recent(site, settings, seen.unknown.keys(), server_now.date()),
            }
        ),
        actions=seen.actions,
        unknown=seen.unknown,
        refused={tags[web_id].name: reason for web_id, reason in seen.refused.items()},
        tags=len(seen.markers) + len(not_asked),
        waiting=len(not_asked) + unregistered - seen.registrations,
        server_now=server_now,
    )


def has_to_be_loaded_again(site: Site, day: date, oldest_change: datetime, server_now: datetime) -> bool:
    """Whether a change of an event of `day` is one that no other load is sure to bring.

    Args:
        site: says what the tail and the settling of a day read.
        day: the UTC day of the events that were changed.
        oldest_change: the oldest instant among them.
        server_now: the server's clock, not before the change was made.
    """
    if not site.start_date <= day <= server_now.date():
        return False
    read_by_the_tail = server_now - timedelta(seconds=site.lag_seconds, minutes=site.tail_overlap_minutes)
    settles_at = Window.of_day(day).end + timedelta(hours=site.settle_hours) - CLOCKS_DIFFER
    # The tail may be done with a day that is over, so the settling of that day, which reads all, has to come yet.
    return not (oldest_change >= read_by_the_tail and server_now < settles_at)


class _Seen:
    """What the answers of one look say, put together as they come: there may be millions of changes."""

    def __init__(self, tags: Mapping[str, _Tag]) -> None:
        self._tags = tags
        self._oldest_us: dict[Partition, int] = {}
        self.asked: set[str] = set()
        self.markers: dict[str, str] = {}
        self.actions: Counter[str] = Counter()
        self.unknown: Counter[str] = Counter()
        self.refused: dict[str, str] = {}
        self.registrations = 0

    def add_updates(self, updates: Updates) -> None:
        self.asked |= updates.markers.keys() | updates.lost.keys()
        self.markers.update(updates.markers)
        changes = updates.changes
        if not changes.num_rows:
            return
        for counted in pc.value_counts(changes["action"]).to_pylist():
            self.actions[counted["values"]] += counted["counts"]
        is_refresh = pc.equal(changes["action"], REFRESH)
        self._unknown_of(changes["tag_webid"].filter(is_refresh).unique().to_pylist())
        instants = changes["timestamp"].cast(pa.int64()).to_numpy()
        oldest = (
            pa.table({"tag_webid": changes["tag_webid"], "day": instants // _MICROSECONDS_A_DAY, "instant": instants})
            .group_by(["tag_webid", "day"])
            .aggregate([("instant", "min")])
        )
        for row in oldest.to_pylist():
            partition = (_EPOCH + timedelta(days=row["day"]), self._tags[row["tag_webid"]].tag_group)
            instant = row["instant_min"]
            self._oldest_us[partition] = min(instant, self._oldest_us.get(partition, instant))

    def add_registration(self, registration: Registration) -> None:
        self.registrations += len(registration.markers) + len(registration.refused)
        self.markers.update(registration.markers)
        self.refused.update(registration.refused)
        self._unknown_of(registration.markers)

    def partitions_to_load(self, site: Site, server_now: datetime) -> set[Partition]:
        midnight = Window.of_day(_EPOCH).start
        return {
            partition
            for partition, oldest_us in self._oldest_us.items()
            if has_to_be_loaded_again(site, partition[0], midnight + timedelta(microseconds=oldest_us), server_now)
        }

    def _unknown_of(self, web_ids: Collection[str]) -> None:
        self.unknown.update(self._tags[web_id].tag_group for web_id in web_ids)


def _followed_tags(site: Site, settings: StreamUpdateSettings, lake: Lake) -> Mapping[str, _Tag]:
    """By WebID, the tags that the server lists of the groups that are followed."""
    points = PointsTable.open(lake).to_arrow(["tag_webid", "tag_name", "tag_group", "is_active"])
    if not points.num_rows:
        raise PointsMissingError("The list of tags is empty: materialize pi_points first, then pi_timeseries.")
    groups = [
        name
        for group in site.tag_groups
        if settings.tag_groups is None or group.name in settings.tag_groups
        for name in group.partition_names()
    ]
    points = points.filter(pc.and_(points["is_active"], pc.is_in(points["tag_group"], pa.array(groups))))
    columns = (points[name].to_pylist() for name in ("tag_webid", "tag_name", "tag_group"))
    return {web_id: _Tag(name, group) for web_id, name, group in zip(*columns, strict=True)}


def _recent(site: Site, settings: StreamUpdateSettings, groups: Collection[str], today: date) -> Sequence[Partition]:
    days = [today - timedelta(days=back) for back in range(settings.reread_days + 1)]
    return [(day, group) for day in days if day >= site.start_date for group in groups]
