"""How streams and time are cut into requests: as much as the server allows in each, and no more.

Dense tags are read few at a time and in slices of time, sparse ones many at a time. What is dense is learned from
the answers, so the first window of a tag is asked for as if it were sparse.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from pi_dagster.site import ServerSettings

MAX_WEBID_BYTES = 6000
"""Bytes of `webId=` parameters in one URL: HTTP.sys, which PI Web API runs on, takes 16 KB for the request line and
all headers together by default, and a Kerberos ticket may need most of that."""

_HEADROOM = 1.2
"""How much denser than before a tag may become before its page is cut."""
_MOST_SLICES = 1000


@dataclass(frozen=True)
class Density:
    """How many events a stream had in a stretch of time that was read."""

    events: int = 0
    duration_us: int = 0

    def and_then(self, events: int, duration_us: int) -> Density:
        """The density over this stretch and a further one."""
        return Density(self.events + events, self.duration_us + duration_us)

    def expected(self, duration_us: int) -> float:
        """Events to reckon with in `duration_us`, with some headroom.

        A few events close together are a burst more often than a habit, so an estimate reaches the further the more
        events it rests on.
        """
        if not self.events:
            return 0.0
        by_rate = _HEADROOM * self.events * duration_us / max(1, self.duration_us)
        return min(by_rate, self.events * (16 + self.events / 10))


UNKNOWN = Density()


@dataclass(frozen=True, kw_only=True)
class RequestLimits:
    """What one request may ask for.

    Args:
        streams: streams in one request.
        events_per_stream: the most that `maxCount` may be.
        events: events of all streams together.
    """

    streams: int
    events_per_stream: int
    events: int

    @classmethod
    def of(cls, settings: ServerSettings) -> RequestLimits:
        """The limits that the site sets."""
        most = min(settings.max_count_per_request or settings.max_items_per_call, settings.max_items_per_call)
        return cls(
            streams=max(1, min(settings.batch_size, settings.max_items_per_call // 2)),
            events_per_stream=max(2, most),
            events=settings.max_items_per_call,
        )

    def page_size(self, streams: int) -> int:
        """The `maxCount` for a request of this many streams; two at least, or a page could not be turned."""
        return max(2, min(self.events_per_stream, self.events // streams))


@dataclass(frozen=True, kw_only=True)
class Request:
    """Recorded values of some streams over `[start_us, end_us)`, microseconds since 1970."""

    web_ids: tuple[str, ...]
    start_us: int
    end_us: int
    page_size: int


def group_streams(
    web_ids: Sequence[str], *, duration_us: int, densities: Mapping[str, Density], limits: RequestLimits
) -> list[tuple[str, ...]]:
    """Cut `web_ids` into runs, in their order, of which each fits one request over `duration_us`."""
    groups: list[tuple[str, ...]] = []
    group: list[str] = []
    url_bytes = 0
    most_expected = 0.0
    for web_id in web_ids:
        size = len(web_id) + len("webId=&")
        expected = densities.get(web_id, UNKNOWN).expected(duration_us)
        fits = (
            len(group) < limits.streams
            and url_bytes + size <= MAX_WEBID_BYTES
            and max(most_expected, expected) < limits.page_size(len(group) + 1)
        )
        if group and not fits:
            groups.append(tuple(group))
            group, url_bytes, most_expected = [], 0, 0.0
        group.append(web_id)
        url_bytes += size
        most_expected = max(most_expected, expected)
    if group:
        groups.append(tuple(group))
    return groups


def plan_requests(
    group: tuple[str, ...], *, start_us: int, end_us: int, densities: Mapping[str, Density], limits: RequestLimits
) -> list[Request]:
    """The requests that read one group over `[start_us, end_us)`, in time order: several only for a dense stream."""
    page_size = limits.page_size(len(group))
    slices = 1
    if len(group) == 1:
        expected = densities.get(group[0], UNKNOWN).expected(end_us - start_us)
        slices = max(1, min(_MOST_SLICES, -int(-expected // page_size), end_us - start_us))
    bounds = [start_us + (end_us - start_us) * index // slices for index in range(slices + 1)]
    return [Request(web_ids=group, start_us=a, end_us=b, page_size=page_size) for a, b in pairwise(bounds)]
