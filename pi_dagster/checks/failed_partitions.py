"""Has a partition been left failed?

The schedule tries failed closed days of its look-back again each hour. What stays failed for long, or is older than that
look-back, waits for a person.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta

from pi_dagster.checks.verdict import MOST_NAMED, Verdict, counted, duration

NAME = "no_partition_left_failed"

DESCRIPTION = """
No partition has been failing for more than {hours:g} hours (`checks.failed_partition_hours`), counted from the first load
that failed since it was last loaded well.
"""


def judge_failed(failing_since: Mapping[str, datetime], *, partitions: int, now: datetime, limit: timedelta) -> Verdict:
    """Whether no partition has been failing for longer than `limit`.

    Args:
        failing_since: each partition that failed, and since when.
        partitions: how many there are in all.
        now: the present.
        limit: how long a partition may fail.
    """
    left = sorted((since, partition) for partition, since in failing_since.items() if now - since > limit)
    if left:
        said = (
            f"{counted(len(left), 'partition has', 'partitions have')} been failing for more than {duration(limit)}, the "
            f"first for {duration(now - left[0][0])}."
        )
    elif failing_since:
        said = f"{counted(len(failing_since), 'partition')} failed, none more than {duration(limit)} ago."
    else:
        said = f"None of {counted(partitions, 'partition')} is failed."
    return Verdict(
        passed=not left,
        said=said,
        numbers={
            "pi/partitions": partitions,
            "pi/failed_partitions": len(failing_since),
            "pi/partitions_left_failed": len(left),
        },
        offenders=[
            {
                "partition": partition,
                "failing since": since,
                "hours": round((now - since) / timedelta(hours=1), 1),
                "what to do": "Open its last run, which says why it failed. When the cause is gone, materialize with "
                "`Backfill only failed and missing partitions`.",
            }
            for since, partition in left[:MOST_NAMED]
        ],
    )
