"""How streams and time are cut into requests: each filled as well as it can be foreseen, and none larger than allowed.

Sparse streams share a request for the whole window. Dense ones share requests with a few others as dense as they
are, because all streams of a request have the same `maxCount`, and the window is cut into slices that just fit. How
dense a stream is, is learned from the answers; one that is not known yet is asked for as if it were sparse, and its
first page tells.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

from pi_dagster.site import ServerSettings

MAX_WEBID_BYTES = 6000
"""Bytes of `webId=` parameters in one URL: HTTP.sys, which PI Web API runs on, takes 16 KB for the request line and
all headers together by default, and a Kerberos ticket may need most of that."""

_ALIKE = 1.25
"""How many times denser than another a stream may be that shares its sliced requests."""
_MOST_STREAMS_SLICED = 8
_MOST_PAGES_HELD = 4
"""Streams that share sliced requests, and full requests' worth of their events: the events of all but the first
wait in memory until the first is complete, as events come in the order of tag, then time."""
_GOOD_ENOUGH = 1.05
_TRUSTED = 8
_TRUSTED_IN_PAGES = 2
"""How many times the events seen so far an estimate may reach, within a page and beyond."""
_BURST = 2.0
"""How many times denser than before events are that are taken for a burst."""
_MOST_HEADROOM = 1.25
_EVENTS_THAT_TELL_A_RATE = 1000
_MOST_SLICES = 1000
_SPARSE = 0
"""The class of streams of which as many as allowed fit one request; the others have their own for each density."""


class Density(NamedTuple):
    """How many events a stream had in a stretch of time that was read, and the highest rate within it."""

    events: int = 0
    duration_us: int = 0
    peak: float = 0.0

    @classmethod
    def of(cls, events: int, duration_us: int) -> Density:
        """The density over one stretch."""
        tells = events >= _EVENTS_THAT_TELL_A_RATE and duration_us > 0
        return cls(events, duration_us, events / duration_us if tells else 0.0)

    def joined(self, other: Density) -> Density:
        """The density over two stretches together."""
        return Density(self.events + other.events, self.duration_us + other.duration_us, max(self.peak, other.peak))

    def followed_by(self, other: Density, page_size: int) -> Density:
        """The density over both, or over the other alone where that is a burst after more than a page of events:
        how much came before says nothing about how long a burst lasts."""
        if self.events > page_size and other.foreseen(self.duration_us) > _BURST * self.events:
            return other
        return self.joined(other)

    def backed_by(self, other: Density) -> Density:
        """This rate, trusted as if as many events had been seen as of `other`."""
        return Density(other.events, self.duration_us * other.events // max(1, self.events))

    def foreseen(self, duration_us: int) -> float:
        """Events in `duration_us` if it goes on as it was."""
        return self.events * duration_us / max(1, self.duration_us)

    def trusted(self, duration_us: int, page_size: int) -> float:
        """The same, as far as what was seen allows to say.

        Events close together may be a burst, not a habit: to try a single page more costs little, but then only as
        much is asked for at once as would be two times what came so far.
        """
        reach = min(_TRUSTED * self.events, max(page_size, _TRUSTED_IN_PAGES * self.events))
        return min(self.foreseen(duration_us), reach)

    def headroom(self, page_size: int) -> float:
        """How many times larger than foreseen a page should be so that it is rarely cut.

        Three standard deviations of events that come independently of each other, and as much as the rate was seen
        to vary; but where it varies much, a page cut now and then costs less than many that are not filled.
        """
        chance = 1 + 3 * math.sqrt(1 / page_size + 1 / max(1, self.events))
        variation = self.peak * self.duration_us / max(1, self.events)
        return min(_MOST_HEADROOM, max(chance, variation if variation <= _MOST_HEADROOM else 1.0))


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
        """The limits that the site sets.

        MaxReturnedItemsPerCall is taken as the limit of the sum over all streams also in a batch, where each
        sub-request is a call of its own to the server: more at once would not fit this machine's memory better.
        """
        most = min(settings.max_count_per_request or settings.max_items_per_call, settings.max_items_per_call)
        return cls(
            streams=max(1, min(settings.batch_size, settings.max_items_per_call // 2)),
            events_per_stream=max(2, most),
            events=settings.max_items_per_call,
        )

    def page_size(self, streams: int) -> int:
        """The `maxCount` for a request of this many streams; two at least, or a page could not be turned."""
        return max(2, min(self.events_per_stream, self.events // streams))


class Request(NamedTuple):
    """Recorded values of some streams over `[start_us, end_us)`, microseconds since 1970."""

    web_ids: tuple[str, ...]
    start_us: int
    end_us: int
    page_size: int


def plan_requests(
    starts_us: Mapping[str, int], *, end_us: int, densities: Mapping[str, Density], limits: RequestLimits
) -> list[list[Request]]:
    """The requests that read each stream from its start to `end_us`.

    Args:
        starts_us: by WebID, in the order of the streams; those put together are read from the earliest of theirs.
        end_us: end of the half-open window.
        densities: what is known of the streams.
        limits: what a request may ask for.

    Returns:
        Groups of requests. Those of a group have the same streams, in order, and follow one another in time.
    """
    largest_page = limits.page_size(1)
    sparse = (limits.page_size(limits.streams) - 1) / _MOST_HEADROOM
    alike: dict[int, list[str]] = {}
    for web_id, start_us in starts_us.items():
        density = densities.get(web_id, UNKNOWN)
        level = _SPARSE
        if density.events * _TRUSTED >= sparse:
            expected = density.trusted(end_us - start_us, largest_page)
            if expected >= sparse:
                level = _SPARSE + 1 + int(math.log(expected / sparse, _ALIKE))
        alike.setdefault(level, []).append(web_id)
    plan = []
    for level, web_ids in alike.items():
        streams = limits.streams
        if level != _SPARSE:
            expected, densest = max(
                (densities[web_id].trusted(end_us - starts_us[web_id], largest_page), web_id) for web_id in web_ids
            )
            streams = _streams_together(expected, densities[densest], limits, most=len(web_ids))
        for group in _runs(web_ids, streams):
            start_us = min(starts_us[web_id] for web_id in group)
            if level == _SPARSE:
                plan.append([Request(group, start_us, end_us, limits.page_size(len(group)))])
            else:
                plan.append(_sliced(group, start_us, end_us, densities=densities, limits=limits))
    return plan


def _streams_together(expected: float, density: Density, limits: RequestLimits, *, most: int) -> int:
    """How many streams with `expected` events are best read together: the fewest that cost few requests each."""
    costs = {}
    for streams in range(1, min(most, limits.streams) + 1):
        slices = _slices(expected, density, limits.page_size(streams))
        fits_memory = streams <= _MOST_STREAMS_SLICED and streams * expected <= _MOST_PAGES_HELD * limits.events
        if streams == 1 or slices == 1 or fits_memory:
            costs[streams] = slices / streams
    least = min(costs.values())
    return next(streams for streams, cost in costs.items() if cost <= _GOOD_ENOUGH * least)


def _slices(expected: float, density: Density, page_size: int) -> int:
    # One event less than a page: a full page is asked for again, as it cannot be told from a cut one.
    return max(1, math.ceil(expected * density.headroom(page_size) / (page_size - 1)))


def _runs(web_ids: Sequence[str], most: int) -> Iterator[tuple[str, ...]]:
    """Neighbours together, as many as a request and its URL can take."""
    run: list[str] = []
    url_bytes = 0
    for web_id in web_ids:
        size = len(web_id) + len("webId=&")
        if run and (len(run) >= most or url_bytes + size > MAX_WEBID_BYTES):
            yield tuple(run)
            run, url_bytes = [], 0
        run.append(web_id)
        url_bytes += size
    if run:
        yield tuple(run)


def _sliced(
    group: tuple[str, ...], start_us: int, end_us: int, *, densities: Mapping[str, Density], limits: RequestLimits
) -> list[Request]:
    page_size = limits.page_size(len(group))
    duration_us = end_us - start_us
    known = [densities[web_id] for web_id in group]
    densest = max(known, key=lambda density: density.trusted(duration_us, limits.page_size(1)))
    trusted, foreseen = densest.trusted(duration_us, limits.page_size(1)), densest.foreseen(duration_us)
    slices = sent = _slices(foreseen, densest, page_size)
    if trusted < foreseen:
        # Where trust ends the last slice takes all the rest: its page will be full, or nothing more comes.
        sent = 1 + int(slices * trusted / foreseen)
    bounds = sorted({start_us + duration_us * index // slices for index in range(min(sent, _MOST_SLICES))})
    return [Request(group, first, last, page_size) for first, last in pairwise([*bounds, end_us])]
