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
    web_ids: Sequence[str], *, duration_us: int, rates: Mapping[str, float], limits: RequestLimits
) -> list[tuple[str, ...]]:
    """Cut `web_ids` into runs, in their order, of which each fits one request over `duration_us`.

    Args:
        rates: events a microsecond of the streams that are known.
    """
    groups: list[tuple[str, ...]] = []
    group: list[str] = []
    url_bytes = 0
    densest = 0.0
    for web_id in web_ids:
        size = len(web_id) + len("webId=&")
        would_be_densest = max(densest, rates.get(web_id, 0.0))
        expected = would_be_densest * duration_us * _HEADROOM
        fits = (
            len(group) < limits.streams
            and url_bytes + size <= MAX_WEBID_BYTES
            and expected < limits.page_size(len(group) + 1)
        )
        if group and not fits:
            groups.append(tuple(group))
            group, url_bytes, would_be_densest = [], 0, rates.get(web_id, 0.0)
        group.append(web_id)
        url_bytes += size
        densest = would_be_densest
    if group:
        groups.append(tuple(group))
    return groups


def plan_requests(
    group: tuple[str, ...], *, start_us: int, end_us: int, rates: Mapping[str, float], limits: RequestLimits
) -> list[Request]:
    """The requests that read one group over `[start_us, end_us)`, in time order: several only for a dense stream."""
    page_size = limits.page_size(len(group))
    slices = 1
    if len(group) == 1:
        expected = rates.get(group[0], 0.0) * (end_us - start_us) * _HEADROOM
        slices = max(1, min(_MOST_SLICES, -int(-expected // page_size), end_us - start_us))
    bounds = [start_us + (end_us - start_us) * index // slices for index in range(slices + 1)]
    return [Request(web_ids=group, start_us=a, end_us=b, page_size=page_size) for a, b in pairwise(bounds)]
