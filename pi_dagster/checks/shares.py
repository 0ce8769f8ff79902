"""How much of a tag group's day is bad, or states of the PI system instead of values?"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import date

import pyarrow as pa
import pyarrow.compute as pc

from pi_dagster.checks.verdict import MOST_NAMED, Verdict, counted

_DIGITS = 2
_MOST_DIGITS = 12
"""Behind the point; a group would need as many events to need more."""


@dataclass(frozen=True)
class Share:
    """A kind of events of which there should be few."""

    name: str
    description: str
    column: str
    """Of TAG_DAYS_SCHEMA: how many of them a tag's day has."""
    events: str
    """What they are called in a sentence."""
    what_to_do: str


BAD_VALUES = Share(
    name="few_bad_values",
    description="""
At most {percent:g} % of the events of each tag group are bad values (`checks.bad_percent`), today so far and yesterday.
States of the PI system are not counted here but by `few_system_states`.
""",
    column="bad",
    events="bad values",
    what_to_do="Look at the instrument and at its interface: PI marks a value as bad when the source does, or when it "
    "is out of range. Queries should ask for quality_good.",
)

SYSTEM_STATES = Share(
    name="few_system_states",
    description="""
At most {percent:g} % of the events of each tag group are states of the PI system, such as `I/O Timeout`, `No Data` or
`Shutdown` (`checks.system_state_percent`), today so far and yesterday.
""",
    column="system_states",
    events="system states",
    what_to_do="Look at the interface or the source: `I/O Timeout` and `Bad Input` mean that it brings no values, "
    "`Shutdown` that the archive or the interface was stopped.",
)


def judge_share(
    share: Share,
    facts: pa.Table,
    *,
    tag_groups: Collection[str],
    names: Mapping[str, str],
    too_young: Collection[date],
    most_percent: float,
) -> Verdict:
    """Whether no day of a tag group has a larger share of such events.

    Args:
        share: which events.
        facts: tags and days, as TAG_DAYS_SCHEMA.
        tag_groups: the partitions of the site; others are not judged.
        names: names of tags by WebID.
        too_young: days that have just begun, so that a few events say little.
        most_percent: the largest share that is all right.
    """
    is_judged = pc.is_in(facts["tag_group"], pa.array(sorted(tag_groups), pa.string()))
    for day in too_young:
        is_judged = pc.and_(is_judged, pc.not_equal(facts["partition_date"], pa.scalar(day, pa.date32())))
    facts = facts.filter(is_judged)
    sums = facts.group_by(["partition_date", "tag_group"]).aggregate([("events", "sum"), (share.column, "sum")])
    days = [
        {
            "partition": f"{row['partition_date']}|{row['tag_group']}",
            "key": (row["partition_date"], row["tag_group"]),
            "events": row["events_sum"],
            share.events: row[f"{share.column}_sum"],
            "percent": _percent(row[f"{share.column}_sum"], row["events_sum"]),
        }
        for row in sums.to_pylist()
    ]
    days.sort(key=lambda row: (-row["percent"], row["partition"]))
    too_many = [row for row in days if row["percent"] > most_percent]
    events, found = sum(row["events"] for row in days), sum(row[share.events] for row in days)
    overall_percent = _rounded(_percent(found, events), most_percent)
    worst_percent = _rounded(max((row["percent"] for row in days), default=0.0), most_percent)
    overall = f"{_digits(overall_percent)} % of {counted(events, 'event')} are {share.events}"
    if too_many:
        said = (
            f"{counted(len(too_many), 'partition has', 'partitions have')} more than {most_percent:g} % "
            f"{share.events}; the worst, {too_many[0]['partition']}, {_digits(worst_percent)} %. Over all {overall}."
        )
    else:
        said = (
            f"{overall}, in no partition more than {most_percent:g} %."
            if events
            else "There are no events to judge yet."
        )
    return Verdict(
        passed=not too_many,
        said=said,
        numbers={
            "pi/events": events,
            f"pi/{share.column}": found,
            f"pi/{share.column}_percent": overall_percent,
            f"pi/worst_{share.column}_percent": worst_percent,
        },
        offenders=_tags(share, facts, [row["key"] for row in too_many], names, most_percent),
        tables={
            "pi/by_partition": [
                {
                    **{name: cell for name, cell in row.items() if name != "key"},
                    "percent": _rounded(row["percent"], most_percent),
                }
                for row in days[:MOST_NAMED]
            ]
        },
    )


def _tags(
    share: Share,
    facts: pa.Table,
    partitions: Collection[tuple[date, str]],
    names: Mapping[str, str],
    most_percent: float,
) -> list[Mapping[str, object]]:
    """The tags of some partitions that have the most of these events."""
    found: list[Mapping[str, object]] = []
    for day, tag_group in partitions:
        in_partition = pc.and_(
            pc.equal(facts["partition_date"], pa.scalar(day, pa.date32())), pc.equal(facts["tag_group"], tag_group)
        )
        of_partition = facts.filter(pc.and_(in_partition, pc.greater(facts[share.column], 0)))
        worst = of_partition.sort_by([(share.column, "descending"), ("tag_webid", "ascending")]).slice(0, MOST_NAMED)
        found += [
            {
                "partition": f"{day}|{tag_group}",
                "tag": names.get(row["tag_webid"], row["tag_webid"]),
                "events": row["events"],
                share.events: row[share.column],
                "percent": _rounded(_percent(row[share.column], row["events"]), most_percent),
                "what to do": share.what_to_do,
            }
            for row in worst.to_pylist()
        ]
    return sorted(found, key=lambda row: (-int(str(row[share.events])), str(row["partition"]), str(row["tag"])))[
        :MOST_NAMED
    ]


def _percent(part: int, whole: int) -> float:
    return 100 * part / whole if whole else 0.0


def _rounded(percent: float, most_percent: float) -> float:
    """To two digits, or as many more as it takes to stay on its side of the limit, and of nothing."""
    for digits in range(_DIGITS, _MOST_DIGITS):
        rounded = round(percent, digits)
        if (rounded > most_percent, rounded > 0) == (percent > most_percent, percent > 0):
            return rounded
    return percent


def _digits(percent: float) -> str:
    """A rounded percentage for a sentence, without an exponent."""
    return f"{percent:.{_MOST_DIGITS}f}".rstrip("0").rstrip(".")
