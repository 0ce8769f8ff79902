"""Is an event in the table more than once?

Loads replace what they load, so it takes another writer; or a tag that is in two partitions of a day, as after its tag
group was renamed or it moved to another one.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date

import pyarrow as pa
import pyarrow.compute as pc

from pi_dagster.checks.verdict import MOST_NAMED, Row, Verdict, counted
from pi_dagster.lake import TimeseriesTable
from pi_dagster.lake.tag_days import repeated_keys

NAME = "no_event_twice"

DESCRIPTION = """
No two rows of today or yesterday have the same tag, timestamp and event_ordinal, in all partitions of the table.
"""

_ROWS_AT_A_TIME = 2_000_000
_MOST_ROWS_COUNTED = 20_000_000
"""Rows of tags that are looked at once more, in some 20 s. Only a table that others have written to has so many."""


@dataclass(frozen=True)
class Repeats:
    """Rows that are too many."""

    by_tag: Mapping[tuple[date, str], int]
    """How many, by day and WebID."""
    partitions: Mapping[tuple[date, str], Sequence[str]]
    """The tag groups that such a tag has rows in on that day."""
    rows: int
    """Rows that were looked at."""
    not_looked_at: int
    """Tags and days that may have some and were too many to look at."""


def count_repeats(table: TimeseriesTable, facts: pa.Table) -> Repeats:
    """Count the rows whose key another row has too.

    Tags with all rows in one partition, in order, are counted already. The rows of the others are read once more.

    Args:
        table: the table.
        facts: its tags and days, as TAG_DAYS_SCHEMA.

    Raises:
        LakeAccessError: the storage failed.
    """
    by_tag = facts.group_by(["partition_date", "tag_webid"]).aggregate(
        [("tag_group", "list"), ("pieces", "sum"), ("repeated", "sum"), ("events", "sum")]
    )
    is_counted = pc.equal(by_tag["pieces_sum"], 1)
    found = _tags(by_tag.filter(pc.and_(is_counted, pc.greater(by_tag["repeated_sum"], 0))).to_pylist())
    left = by_tag.filter(pc.invert(is_counted)).sort_by("events_sum").to_pylist()
    not_looked_at = 0
    rows_counted = 0
    for day in sorted({row["partition_date"] for row in left}):
        for some in _portions([row for row in left if row["partition_date"] == day]):
            rows_counted += sum(row["events_sum"] for row in some)
            if rows_counted > _MOST_ROWS_COUNTED:
                not_looked_at += len(some)
                continue
            repeated = repeated_keys(table, day, [row["tag_webid"] for row in some])
            counts = dict(zip(*(repeated[name].to_pylist() for name in ("tag_webid", "repeated")), strict=True))
            found.update(
                _tags({**row, "repeated_sum": counts[row["tag_webid"]]} for row in some if row["tag_webid"] in counts)
            )
    return Repeats(
        by_tag={tag: count for tag, (count, _) in found.items()},
        partitions={tag: groups for tag, (_, groups) in found.items()},
        rows=pc.sum(facts["events"]).as_py() or 0,
        not_looked_at=not_looked_at,
    )


def judge_repeats(repeats: Repeats, *, tag_groups: Collection[str], names: Mapping[str, str]) -> Verdict:
    """Whether there are none.

    Args:
        repeats: what was counted.
        tag_groups: the partitions that the site has.
        names: names of tags by WebID.
    """
    rows = sum(repeats.by_tag.values())
    unknown = repeats.not_looked_at
    if rows:
        tags = len({web_id for _, web_id in repeats.by_tag})
        said = f"{counted(rows, 'row')} of {counted(tags, 'tag')} are in the table once more, of {repeats.rows:,} rows."
    else:
        said = f"None of {counted(repeats.rows, 'row')} is in the table twice."
    if unknown:
        said += f" {counted(unknown, 'tag')} of others' files or of two partitions were too many to be looked at."
    return Verdict(
        passed=not rows and not unknown,
        said=said,
        numbers={"pi/rows_checked": repeats.rows, "pi/rows_too_many": rows, "pi/tags_not_looked_at": unknown},
        offenders=list(_offenders(repeats, tag_groups, names))[:MOST_NAMED],
    )


def _offenders(repeats: Repeats, tag_groups: Collection[str], names: Mapping[str, str]) -> Iterator[Row]:
    for (day, web_id), count in sorted(repeats.by_tag.items(), key=lambda item: (-item[1], item[0])):
        groups = repeats.partitions[day, web_id]
        strange = [group for group in groups if group not in tag_groups]
        if strange:
            remedy = (
                f"The site has no tag group {', '.join(strange)} any more. Once its days are loaded under the new "
                "name, delete its rows from pi_timeseries."
            )
        elif len(groups) > 1:
            remedy = "The tag is in two partitions, as after it moved. Materialize both."
        else:
            remedy = (
                "Another writer has added rows. Materialize the partition, which replaces them, and stop that writer."
            )
        yield {
            "partition": ", ".join(f"{day}|{group}" for group in groups),
            "tag": names.get(web_id, web_id),
            "rows too many": count,
            "what to do": remedy,
        }


def _tags(rows: Iterable[Row]) -> dict[tuple[date, str], tuple[int, Sequence[str]]]:
    return {
        (row["partition_date"], row["tag_webid"]): (row["repeated_sum"], sorted(row["tag_group_list"])) for row in rows
    }


def _portions(rows: Sequence[Row]) -> Iterator[list[Row]]:
    """A few tags at a time, so that their rows fit into memory."""
    some: list[Row] = []
    held = 0
    for row in rows:
        if some and held + row["events_sum"] > _ROWS_AT_A_TIME:
            yield some
            some, held = [], 0
        some.append(row)
        held += row["events_sum"]
    if some:
        yield some
