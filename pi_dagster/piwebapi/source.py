"""A PI system as the rest of the project sees it: list its tags, read recorded values; no URL, no JSON."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import date, datetime
from types import TracebackType

from pi_dagster.piwebapi import missing, objects
from pi_dagster.piwebapi.recorded import ReadWindow, RecordedReader, RecordedReading, StreamRef
from pi_dagster.piwebapi.retrying import RetryPolicy
from pi_dagster.piwebapi.summaries import EventCounter, ServerCounts
from pi_dagster.piwebapi.transport import TrafficCount, Transport
from pi_dagster.site import ServerSettings


class PIWebAPISource:
    """An open connection to the PI Web API server of a site; a context manager.

    Args:
        settings: the server of the site.
        retry: when to repeat a request; by default as the site says.

    Raises:
        SecretMissingError: the environment variable that the login names is not set.
    """

    def __init__(self, settings: ServerSettings, *, retry: RetryPolicy | None = None) -> None:
        self._settings = settings
        self._transport = Transport(settings, retry=retry)
        self._reader = RecordedReader(self._transport, settings)
        self._counter = EventCounter(self._transport, settings)

    def __enter__(self) -> PIWebAPISource:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._transport.stop()
        self._reader.close()
        self._transport.__exit__(exc_type, exc, traceback)

    @property
    def transport(self) -> Transport:
        """The connection, for what `objects` asks beyond tags and values."""
        return self._transport

    @property
    def traffic(self) -> TrafficCount:
        """What has gone over the wire since the source was opened."""
        return self._transport.traffic

    def server_time(self) -> datetime:
        """The server's clock, in UTC; windows end by it, as ours may be wrong."""
        return objects.server_time(self._transport)

    def data_server(self) -> objects.DataServer:
        """The Data Archive of the site.

        Raises:
            DataServerNotFoundError: the site's `data_server` fits none, or not just one.
        """
        return objects.find_data_server(self._transport, self._settings.data_server)

    def list_points(self, name_filter: str | None = None) -> Sequence[objects.Point]:
        """All tags of the site's Data Archive that this login may see, or those that match a `*` and `?` pattern."""
        page_size = min(objects.POINTS_PAGE, self._settings.max_items_per_call)
        return objects.list_points(self._transport, self.data_server(), name_filter, page_size=page_size)

    def first_points(self, most: int) -> Sequence[objects.Point]:
        """The first tags of that list, not more than the server gives at once."""
        return objects.some_points(self._transport, self.data_server(), count=most)

    def has_point(self, web_id: str) -> bool:
        """Whether the server shows this login the tag with that WebID."""
        return missing.has_point(self._transport, web_id)

    def read(self, streams: Sequence[StreamRef], start: datetime, end: datetime) -> RecordedReading:
        """The recorded values of `streams` over `[start, end)`; see RecordedReading."""
        return self._reader.read(ReadWindow(streams, start, end))

    def read_in_turn(self, readings: Iterable[ReadWindow]) -> Iterator[RecordedReading]:
        """One reading after the other, in order; each is to be iterated, or given up, before the next is asked for.

        The requests of the next readings run while one is iterated that has no more to send, and while the caller
        does something else between two of them. A reading that is given up half-way, or fails, leaves those after
        it as they are.

        Args:
            readings: what to read; looked at only as far ahead as requests are sent.
        """
        return self._reader.read_in_turn(readings)

    def count_events(self, expected: Mapping[str, int], *, first_day: date, days: int) -> ServerCounts:
        """How many events the server itself counts, by tag and day, without sending them; see `EventCounter.count`."""
        return self._counter.count(expected, first_day=first_day, days=days)
