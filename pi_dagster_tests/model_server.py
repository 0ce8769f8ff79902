"""A model of how PI Web API answers, over instants in memory: to count requests without sending any."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import Future
from datetime import datetime, timedelta, timezone

import numpy as np
import pyarrow as pa

from pi_dagster.piwebapi.answers import Answer, EventBlock, StreamEvents
from pi_dagster.piwebapi.decode import EVENT_SCHEMA
from pi_dagster.piwebapi.planning import Request
from pi_dagster.piwebapi.recorded import ReadWindow, RecordedReader, RecordedReading, StreamRef
from pi_dagster.piwebapi.transport import Transport
from pi_dagster.site import ServerSettings

DAY = datetime(2026, 11, 2, tzinfo=timezone.utc)
DAY_US = 86_400_000_000
_DAY_STARTS_US = int(DAY.timestamp()) * 1_000_000


class ModelReader(RecordedReader):
    """Answers at once from `instants`, microseconds of the day by WebID in ascending order; keeps the requests.

    Any number of days looks the same.
    """

    def __init__(self, instants: Mapping[str, np.ndarray], **settings: object) -> None:
        server = ServerSettings(url="http://127.0.0.1/piwebapi", **settings)
        super().__init__(Transport(server), server)
        self.instants = instants
        self.requests: list[Request] = []
        self.answered_events = 0

    def submit(self, request: Request) -> Future[Answer]:
        assert request.page_size * len(request.web_ids) <= max(self.limits.events, 2 * len(request.web_ids))
        assert request.start_us < request.end_us
        self.requests.append(request)
        answer: Future[Answer] = Future()
        answer.set_result(Answer({web_id: self._events(web_id, request) for web_id in request.web_ids}, {}))
        return answer

    def _events(self, web_id: str, request: Request) -> StreamEvents:
        day_us = (request.start_us - _DAY_STARTS_US) // DAY_US * DAY_US + _DAY_STARTS_US
        instants = self.instants[web_id]
        first = int(np.searchsorted(instants, request.start_us - day_us))
        last = int(np.searchsorted(instants, request.end_us - day_us, side="right"))
        rows = min(last - first, request.page_size)
        self.answered_events += rows
        columns = {
            "timestamp": pa.array(instants[first : first + rows] + day_us).cast(pa.timestamp("us", "UTC")),
            "value": pa.array(np.arange(first, first + rows, dtype=float)),
        }
        table = pa.table(
            [columns.get(field.name, pa.nulls(rows, field.type)) for field in EVENT_SCHEMA],
            schema=pa.schema([field.with_nullable(True) for field in EVENT_SCHEMA]),
        )
        return StreamEvents(EventBlock(table.cast(EVENT_SCHEMA) if not rows else table), 0, rows, "")

    def read_day(self, number: int = 0) -> RecordedReading:
        """A reading of all streams over one day."""
        return self.read(self.window(number))

    def window(self, number: int = 0, *, hours: int = 24) -> ReadWindow:
        """All streams over the first hours of one day."""
        streams = [StreamRef(web_id, web_id) for web_id in self.instants]
        start = DAY + timedelta(days=number)
        return ReadWindow(streams, start, start + timedelta(hours=hours))

    def events(self) -> int:
        """How many events a day has."""
        return sum(map(len, self.instants.values()))


def least_possible(events: int, per_request: int = 150_000) -> float:
    """Requests that would do if each were full."""
    return events / per_request
