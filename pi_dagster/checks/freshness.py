"""Is today in the table, in every tag group, up to a short while ago?

Judged by how far the table reaches, not by when something was loaded last: a backfill of old days loads a lot and
brings today no further.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta

from pi_dagster.checks.verdict import MOST_NAMED, Verdict, counted, duration

NAME = "today_is_up_to_date"

DESCRIPTION = """
Every tag group of today is loaded up to {minutes:g} minutes ago (`checks.freshness_minutes`). It goes by the watermark
of today's partition, so loading older days changes nothing. Just after midnight yesterday's counts.
"""


def judge_freshness(reached: Mapping[str, datetime | None], *, now: datetime, limit: timedelta) -> Verdict:
    """Whether each tag group reaches to `limit` before now.

    Args:
        reached: tag group to the instant up to which its events of today, or else of yesterday, are loaded; None where
            neither is.
        now: the present, by the clock of this machine, which goes on when the server is away.
        limit: how far behind a group may be.
    """
    behind = {group: None if until is None else max(now - until, timedelta(0)) for group, until in reached.items()}
    late = [group for group, span in behind.items() if span is None or span > limit]
    never = [group for group in late if behind[group] is None]
    known = [span for span in behind.values() if span is not None]
    worst = max(known, default=None)
    if not late:
        said = (
            f"Today is loaded up to {duration(worst or timedelta(0))} ago in all {counted(len(reached), 'tag group')}."
        )
    else:
        said = f"Today is behind in {len(late)} of {counted(len(reached), 'tag group')}"
        late_spans = [span for group in late if (span := behind[group]) is not None]
        said += f", by up to {duration(max(late_spans))}." if late_spans else "."
        if never:
            said += f" {counted(len(never), 'group has', 'groups have')} nothing of today or yesterday."
    late.sort(key=lambda group: (behind[group] is not None, -(behind[group] or timedelta(0)), group))
    return Verdict(
        passed=not late,
        said=said,
        numbers={
            "pi/tag_groups": len(reached),
            "pi/late_tag_groups": len(late),
            **({} if worst is None else {"pi/minutes_behind": round(worst / timedelta(minutes=1), 1)}),
        },
        offenders=[
            {
                "tag group": group,
                "loaded up to": reached[group],
                "minutes behind": _minutes(behind[group]),
                "what to do": _NEVER if behind[group] is None else _LATE,
            }
            for group in late
        ],
        tables={
            "pi/by_tag_group": [
                {"tag group": group, "loaded up to": reached[group], "minutes behind": _minutes(span)}
                for group, span in list(behind.items())[:MOST_NAMED]
            ]
        },
    )


_NEVER = (
    "Switch on pi_timeseries_schedule, or materialize today's partition. If its runs fail, they say why, such as a tag "
    "group that no tag is in."
)
_LATE = (
    "Look at the last runs of pi_timeseries for this group: failed (the run says why), waiting in the queue, or none "
    "at all because pi_timeseries_schedule or the daemon is off."
)


def _minutes(span: timedelta | None) -> float | None:
    return None if span is None else round(span / timedelta(minutes=1), 1)
