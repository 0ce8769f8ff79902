"""Projection: from what was measured in this run to larger jobs, under the limits that a PI server documents.

For each job, the time that each resource would need if it were alone; the largest is the time of the job, and that
resource is what saturates first. How fast a real PI server is nobody can say from here, so the rate that it would have
to deliver is given beside it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from benchmarks.results import Scale, Section, Table

NEEDS = ("end_to_end", "tail")

ITEMS_A_CALL = 150_000
REQUESTS_A_SECOND = 1_000
"""PI Web API's defaults of MaxReturnedItemsPerCall and RateLimitMaxRequests (docs.aveva.com)."""
LATENCY_SECONDS = 0.2
IN_FLIGHT = 8
"""The default of `server.max_requests_in_flight`."""
WIRE_BYTES_A_SECOND = 125e6
FILL = 1.3
"""Requests used for one that would be enough, at most."""
INTERVAL_SECONDS, READ_SECONDS = 300, 900
"""A tail run every five minutes reads those and ten minutes of overlap."""


@dataclass(frozen=True)
class Job:
    """Some tags over some time.

    Args:
        name: what the report calls it.
        events: in all.
        requests: for all of them.
        due_seconds: when it has to be done; None where there is no hurry.
    """

    name: str
    events: float
    requests: float
    due_seconds: float | None = None


def run(scale: Scale, found: Mapping[str, Section]) -> Section:
    """Project the figures of this run."""
    facts, tail = found["end_to_end"].facts, found["tail"].facts
    seconds_an_event = facts["seconds an event"]
    tail_seconds_an_event = tail["CPU seconds"] / tail["rows"]
    bytes_an_event = facts["bytes a row on the wire"]
    jobs = [
        *(
            Job(f"30,000 tags x {name} at 1 s", 30_000 * seconds, FILL * 30_000 * seconds / ITEMS_A_CALL)
            for name, seconds in (("10 min", 600), ("1 h", 3_600), ("1 day", 86_400))
        ),
        Job(
            "100,000 tags at 1 s, each run of the tail",
            100_000 * READ_SECONDS,
            FILL * 100_000 * READ_SECONDS / ITEMS_A_CALL,
            INTERVAL_SECONDS,
        ),
    ]
    slow = Job(
        "100,000 tags at 20 s, each run of the tail",
        100_000 * READ_SECONDS / 20,
        tail["requests"] * 100_000 / tail["tags"],
        INTERVAL_SECONDS,
    )
    rows = [_row(job, seconds_an_event, bytes_an_event) for job in jobs]
    rows.append(_row(slow, tail_seconds_an_event, tail["bytes received"] / tail["rows"]))
    header = [
        "job",
        "events",
        "requests",
        "this machine",
        f"{LATENCY_SECONDS * 1000:.0f} ms, {IN_FLIGHT} in flight",
        f"{REQUESTS_A_SECOND:,} requests/s",
        "1 Gbit/s",
        "saturates first",
        "the server must give",
    ]
    return Section(
        title="Projection to larger jobs",
        rows=[],
        tables=[Table("Time that each resource alone would need", header, rows)],
        notes=[
            f"One process on this machine, at the rates of this run: {1 / seconds_an_event / 1e6:.2f} M events/s "
            f"through the assets once a run has started, {tail_seconds_an_event * 1e6:.2f} us of CPU an event in the "
            f"tail; {bytes_an_event:.0f} bytes an event on the wire, compressed.",
            f"Requests of {ITEMS_A_CALL:,} items at most, {FILL} for each that would be enough. Not projected: how "
            "fast a PI server reads its archive and writes JSON, which nothing here can tell.",
        ],
    )


def _row(job: Job, seconds_an_event: float, bytes_an_event: float) -> list[str]:
    needs = {
        "this machine": job.events * seconds_an_event,
        "latency": job.requests * LATENCY_SECONDS / IN_FLIGHT,
        "requests a second": job.requests / REQUESTS_A_SECOND,
        "the wire": job.events * bytes_an_event / WIRE_BYTES_A_SECOND,
    }
    first = max(needs, key=lambda name: needs[name])
    rate = job.events / needs[first]
    due = f" of {job.due_seconds:.0f} s" if job.due_seconds else ""
    return [
        job.name,
        f"{job.events:,.0f}",
        f"{job.requests:,.0f}",
        *(f"{_time(seconds)}" for seconds in needs.values()),
        f"{first}: {_time(needs[first])}{due}",
        f"{rate / 1e6:.2f} M events/s, {rate * bytes_an_event / 1e6:.0f} MB/s",
    ]


def _time(seconds: float) -> str:
    return f"{seconds:,.1f} s" if seconds < 600 else f"{seconds / 60:,.0f} min"
