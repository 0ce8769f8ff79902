"""What the page about a day tells, read from the lake's tables."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta, timezone

import pyarrow as pa
import pyarrow.compute as pc

from pi_dagster.ingest.errors import IngestError
from pi_dagster.lake import (
    EventFramesTable,
    Lake,
    QualityFindingsTable,
    TableMissingError,
    TagErrorsTable,
    TimeseriesDailyTable,
)
from pi_dagster.lake.table import LakeTable
from pi_dagster.pictures.daily_numbers import read_points, silent_tags
from pi_dagster.quality_rules import AnyRule
from pi_dagster.site import Site

DAYS_SHOWN = 14
"""The day of the page and those before it, so that it shows what is usual."""

_MOST_TAGS = 15
_MOST_FINDINGS = 20
_MOST_SILENT = 60
_MOST_FRAMES = 300


class NumbersMissingError(IngestError):
    """The numbers that a page is made from have not been computed."""


@dataclass(frozen=True)
class Numbers:
    """The events of a day, of all tags or those of a tag group."""

    tags: int
    """Tags that the server lists now."""
    tags_with_events: int
    events: int
    bad_events: int
    system_states: int

    @property
    def bad_share(self) -> float:
        """Bad events in all events, 0 to 1."""
        return self.bad_events / self.events if self.events else 0.0

    @property
    def complete_share(self) -> float:
        """Tags with events in all tags, 0 to 1; 1 where there are no tags."""
        return min(1.0, self.tags_with_events / self.tags) if self.tags else 1.0


@dataclass(frozen=True)
class TagNumbers:
    """A tag that has bad events."""

    name: str
    tag_group: str
    events: int
    bad_events: int


@dataclass(frozen=True)
class UnreadTag:
    """A tag that could not be read whole."""

    name: str
    kind: str
    start: datetime
    end: datetime
    reason: str


@dataclass(frozen=True)
class RuleFindings:
    """What a rule of the site found."""

    rule: AnyRule
    findings: int
    tags: int


@dataclass(frozen=True)
class Finding:
    """A stretch that breaks a rule."""

    rule: str
    severity: str
    tag: str
    start: datetime
    end: datetime
    events: int
    worst: float | str | None


@dataclass(frozen=True)
class Frame:
    """An event frame that the day, or part of it, lies in."""

    name: str
    template: str
    start: datetime
    end: datetime | None
    """None while it is open."""
    severity: str


@dataclass(frozen=True)
class Lag:
    """How far a load of the day left a tag group behind the server's clock."""

    at: datetime
    tag_group: str
    seconds: float


@dataclass(frozen=True, kw_only=True)
class ReportFacts:
    """Everything that the page about a day tells."""

    site: str
    day: date
    made_at: datetime
    numbers: Numbers
    """Of the day."""
    by_day: Mapping[date, Numbers | None]
    """The day and those before it, the oldest first; None for a day without numbers."""
    by_group: Mapping[str, Mapping[date, Numbers | None]]
    """The same by tag group, its shards together."""
    lags: Sequence[Lag]
    bad_tags: Sequence[TagNumbers]
    silent: Sequence[str]
    silent_count: int
    unread: Sequence[UnreadTag]
    unread_count: int
    has_rules: bool
    """Whether the site has any."""
    rules: Sequence[RuleFindings] | None
    """None where no rule has judged anything of the day."""
    judged_groups: int
    """The tag groups that the rules have judged on the day, each shard for itself."""
    all_groups: int
    """The tag groups of the site, likewise."""
    findings: Sequence[Finding]
    frames: Sequence[Frame] | None
    """None where the site has no event frames."""
    frame_count: int

    @property
    def finding_count(self) -> int:
        """Findings of all rules."""
        return sum(found.findings for found in self.rules or ())

    @property
    def usual_events(self) -> int | None:
        """The median of the days before that have numbers; None without such days."""
        before = sorted(numbers.events for day, numbers in self.by_day.items() if numbers and day != self.day)
        return before[len(before) // 2] if before else None


def gather_facts(
    site: Site, lake: Lake, day: date, *, lags: Sequence[Lag], judged_groups: Collection[str]
) -> ReportFacts:
    """Read what the page about a day tells.

    Args:
        site: says which tag groups and rules there are.
        lake: where the tables are.
        day: the UTC day.
        lags: of the loads of that day, in time order, as Dagster's record has them.
        judged_groups: those that the rules have judged on that day, by Dagster's record: a clean one has no rows.

    Raises:
        NumbersMissingError: pi_timeseries_daily has no numbers of that day.
        PointsMissingError: pi_points has not been loaded.
        LakeError: the storage failed.
    """
    points = read_points(lake)
    listed = points.filter(points["is_active"])
    days = [day - timedelta(days=back) for back in range(DAYS_SHOWN - 1, -1, -1)]
    daily = _rows_of(
        TimeseriesDailyTable,
        lake,
        ["tag_webid", "tag_name", "tag_group", "events", "bad_events", "system_states", "partition_date"],
        (pc.field("partition_date") >= days[0]) & (pc.field("partition_date") <= day),
    )
    by_group = _by_group(site, daily, listed, days)
    by_day = {of_day: _sum([groups[of_day] for groups in by_group.values()]) for of_day in days}
    numbers = by_day[day]
    if daily is None or numbers is None:
        raise NumbersMissingError(
            f"pi_timeseries_daily has no numbers of {day}, which the page is made from: materialize its partition "
            f"{day} first, or switch its schedule on."
        )
    of_day = daily.filter(pc.equal(daily["partition_date"], day))
    bad = of_day.filter(pc.greater(of_day["bad_events"], 0))
    bad = bad.sort_by([("bad_events", "descending"), ("tag_name", "ascending")])
    silent = silent_tags(site, of_day, listed)["tag_name"].to_pylist()
    unread = _unread(lake, day)
    rules, findings, judged = _judged(site, lake, day, judged_groups)
    frames = _frames(site, lake, day)
    return ReportFacts(
        site=site.name,
        day=day,
        made_at=datetime.now(timezone.utc),
        numbers=numbers,
        by_day=by_day,
        by_group=by_group,
        lags=lags,
        bad_tags=[
            TagNumbers(row["tag_name"], row["tag_group"], row["events"], row["bad_events"])
            for row in bad.slice(0, _MOST_TAGS).to_pylist()
        ],
        silent=silent[:_MOST_SILENT],
        silent_count=len(silent),
        unread=unread[:_MOST_TAGS],
        unread_count=len(unread),
        has_rules=bool(site.quality_rules),
        rules=rules,
        judged_groups=len(judged),
        all_groups=len(site.partition_names()),
        findings=findings,
        frames=None if frames is None else frames[:_MOST_FRAMES],
        frame_count=len(frames or ()),
    )


def _rows_of(table: type[LakeTable], lake: Lake, columns: Sequence[str], where: pc.Expression) -> pa.Table | None:
    """Rows of a table; None where there is no such table."""
    try:
        return table.open(lake, create=False).to_arrow(columns, where=where)
    except TableMissingError:
        return None


def _by_group(
    site: Site, daily: pa.Table | None, listed: pa.Table, days: Sequence[date]
) -> Mapping[str, Mapping[date, Numbers | None]]:
    tags = {row["values"]: row["counts"] for row in listed["tag_group"].value_counts().to_pylist()}
    found: dict[tuple[str, date], Numbers] = {}
    if daily is not None:
        # The numbers of a day are computed for all shards at once: one without rows has no events.
        for day in daily["partition_date"].unique().to_pylist():
            found.update({(shard, day): Numbers(tags.get(shard, 0), 0, 0, 0, 0) for shard in site.partition_names()})
        sums = daily.group_by(["tag_group", "partition_date"]).aggregate(
            [("tag_webid", "count"), ("events", "sum"), ("bad_events", "sum"), ("system_states", "sum")]
        )
        for row in sums.to_pylist():
            found[row["tag_group"], row["partition_date"]] = Numbers(
                tags.get(row["tag_group"], 0),
                *(row[name] for name in ("tag_webid_count", "events_sum", "bad_events_sum", "system_states_sum")),
            )
    return {
        group.name: {day: _sum([found.get((shard, day)) for shard in group.partition_names()]) for day in days}
        for group in site.tag_groups
    }


def _sum(parts: Sequence[Numbers | None]) -> Numbers | None:
    known = [part for part in parts if part is not None]
    if not known:
        return None
    return Numbers(
        sum(part.tags for part in known),
        sum(part.tags_with_events for part in known),
        sum(part.events for part in known),
        sum(part.bad_events for part in known),
        sum(part.system_states for part in known),
    )


def _unread(lake: Lake, day: date) -> list[UnreadTag]:
    columns = ["tag_name", "kind", "window_start", "window_end", "error"]
    errors = _rows_of(TagErrorsTable, lake, columns, pc.field("partition_date") == day)
    if errors is None:
        return []
    return [UnreadTag(*(row[name] for name in columns)) for row in errors.sort_by("tag_name").to_pylist()]


def _judged(
    site: Site, lake: Lake, day: date, recorded: Collection[str]
) -> tuple[list[RuleFindings] | None, list[Finding], set[str]]:
    """What each rule found, the first findings, and the tag groups that were judged."""
    if not site.quality_rules:
        return None, [], set()
    columns = ["rule", "severity", "tag_group", "tag_name", "finding_start", "finding_end", "event_count"]
    columns += ["worst_value", "worst_text"]
    found = _rows_of(QualityFindingsTable, lake, columns, pc.field("partition_date") == day)
    judged = {*recorded, *(found["tag_group"].to_pylist() if found else ())} & {*site.partition_names()}
    if found is None or not judged:
        return None, [], set()
    rows = sorted(found.to_pylist(), key=lambda row: (row["severity"] != "error", row["rule"], row["finding_start"]))
    of_rule: defaultdict[str, list[str]] = defaultdict(list)
    for row in rows:
        of_rule[row["rule"]].append(row["tag_name"])
    rules = [RuleFindings(rule, len(of_rule[rule.name]), len(set(of_rule[rule.name]))) for rule in site.quality_rules]
    findings = [
        Finding(
            rule=row["rule"],
            severity=row["severity"],
            tag=row["tag_name"],
            start=row["finding_start"],
            end=row["finding_end"],
            events=row["event_count"],
            worst=row["worst_text"] if row["worst_value"] is None else row["worst_value"],
        )
        for row in rows[:_MOST_FINDINGS]
    ]
    return rules, findings, judged


def _frames(site: Site, lake: Lake, day: date) -> list[Frame] | None:
    midnight = datetime.combine(day, time(), timezone.utc)
    columns = ["event_name", "template_name", "start_time", "end_time", "severity"]
    overlaps = (pc.field("start_time") < midnight + timedelta(days=1)) & (
        pc.field("end_time").is_null() | (pc.field("end_time") > midnight)
    )
    rows = _rows_of(EventFramesTable, lake, columns, overlaps) if site.asset_framework else None
    if rows is None:
        return None
    return [
        Frame(
            row["event_name"] or "",
            row["template_name"] or "",
            row["start_time"],
            row["end_time"],
            row["severity"] or "",
        )
        for row in rows.sort_by("start_time").to_pylist()
    ]
