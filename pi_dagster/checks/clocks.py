"""Do the clocks of the PI server and of this machine agree?

Windows end by the server's clock, schedules start by this machine's. Where they differ, today lags or days are settled
too early, and lags that are shown are wrong by as much.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone

from pi_dagster.checks.verdict import Verdict, duration

NAME = "clocks_agree"

DESCRIPTION = """
The clock of PI Web API and that of the machine that runs the check differ by at most {seconds:g} seconds
(`checks.clock_skew_seconds`). It costs the server one small request.
"""


@dataclass(frozen=True)
class ClockReading:
    """The server's clock, read between two looks at our own."""

    before: datetime
    server: datetime
    after: datetime

    @classmethod
    def take(cls, server_time: Callable[[], datetime]) -> ClockReading:
        """Read the clocks now."""
        before = datetime.now(timezone.utc)
        server = server_time()
        return cls(before, server, datetime.now(timezone.utc))

    @property
    def ahead(self) -> timedelta:
        """By how much the server is ahead at least; negative when it is behind."""
        if self.server > self.after:
            return self.server - self.after
        return self.server - self.before if self.server < self.before else timedelta(0)


def judge_clocks(reading: ClockReading, *, limit: timedelta) -> Verdict:
    """Whether the clocks differ by more than `limit`; the time that the answer took counts for the clocks."""
    skew = abs(reading.ahead)
    side = "ahead of" if reading.ahead > timedelta(0) else "behind"
    passed = skew <= limit
    same = "The clocks of the PI server and of this machine agree"
    differ = f"The PI server's clock is {duration(skew)} {side} that of this machine"
    return Verdict(
        passed=passed,
        said=f"{same}." if not skew else f"{same} to {duration(skew)}." if passed else f"{differ}.",
        numbers={
            "pi/server_seconds_ahead": round(reading.ahead.total_seconds(), 3),
            "pi/server_time": reading.server,
            "pi/answer_seconds": round((reading.after - reading.before).total_seconds(), 3),
        },
        offenders=[]
        if passed
        else [
            {
                "server's clock": reading.server,
                "this machine's clock": reading.after,
                "what to do": "Find out which is wrong (`w32tm /query /status` on Windows, `timedatectl` on Linux) and "
                "have it follow a time server. Where the server was ahead, load the days since then again.",
            }
        ],
    )
