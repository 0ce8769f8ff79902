"""One day of one tag group, judged by all rules of the site in one pass over its rows."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta, timezone

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pi_dagster.lake import Lake, QualityFindingsTable, TimeseriesTable
from pi_dagster.lake.schemas import QUALITY_FINDINGS_FILE_SCHEMA
from pi_dagster.quality.findings import Findings, nothing, stretches
from pi_dagster.quality.judging import MINUTE_US, Day, TagFacts, judge, silent_all_day
from pi_dagster.quality.rule_tags import JudgedTag, RuleTags, TagPair
from pi_dagster.quality.tag_rows import COLUMNS, Integers, Numbers, in_whole_tags, read_ahead
from pi_dagster.quality_rules import AnyRule, DifferenceRule, GapRule
from pi_dagster.site import Site

_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
_MICROSECOND = timedelta(microseconds=1)
_DAY_US = timedelta(days=1) // _MICROSECOND
_PAIRS_AT_ONCE = 20
_NO_FACTS = TagFacts(None, None, None)


@dataclass(frozen=True)
class JudgedPartition:
    """What judging a partition came to."""

    rows: int
    """Rows of pi_timeseries that were looked at."""
    findings: pa.Table
    """As QUALITY_FINDINGS_FILE_SCHEMA."""
    seconds: float
    table_version: int
    """Version of pi_quality_findings that holds them."""

    def count(self, rule: str) -> int:
        """Findings of a rule."""
        return int(pc.sum(pc.equal(self.findings["rule"], rule)).as_py() or 0)


def judge_partition(
    site: Site, lake: Lake, tags: RuleTags, day: date, tag_group: str, *, is_loaded: bool = False, run_id: str
) -> JudgedPartition | None:
    """Judge a partition and replace its findings, in one commit. Memory does not grow with the rows.

    Args:
        site: has the rules.
        lake: where the tables are.
        tags: what the rules are about; used again for the next partition.
        day: the UTC day.
        tag_group: the tag group.
        is_loaded: pi_timeseries was loaded with all of the day, so that a day without rows is one without events.
        run_id: kept in the commit.

    Returns:
        The findings; None where pi_timeseries has no rows of a day that is not loaded, which is not called a gap.

    Raises:
        IngestError: a table that a rule goes by has not been loaded.
        LakeError: the storage failed.
    """
    began = time.monotonic()
    judged = _Judged(site.quality_rules, tags, day, tag_group)
    table = TimeseriesTable.open(lake)
    sorted_rows = table.sorted_rows(partition_date=day, tag_group=tag_group, columns=COLUMNS)
    for rows in read_ahead(in_whole_tags(sorted_rows)):
        judged.take(rows.web_ids)
        for rule in judged.rules:
            if not isinstance(rule, DifferenceRule):
                wanted = np.array([web_id in judged.chosen[rule.name] for web_id in rows.web_ids], bool)
                if wanted.any():
                    found = judge(rule, rows, wanted, judged.facts(rows.web_ids), judged.stretch)
                    judged.add(rule, rows.web_ids, found)
        judged.rows += rows.table.num_rows
    if not (judged.rows or is_loaded):
        return None
    judged.add_silent()
    for rule in judged.rules:
        if isinstance(rule, DifferenceRule):
            for pair, found in _differences(rule, table, tags.pairs(rule, tag_group), day):
                judged.add(rule, [pair.first.web_id], found)
    findings = judged.table()
    version = QualityFindingsTable.open(lake).replace_partition(day, tag_group, findings, {"run_id": run_id})
    return JudgedPartition(judged.rows, findings, time.monotonic() - began, version)


class _Judged:
    """What has been found in a partition so far."""

    def __init__(self, rules: Sequence[AnyRule], tags: RuleTags, day: date, tag_group: str) -> None:
        self.rules = rules
        self.chosen = {rule.name: tags.chosen(rule, tag_group) for rule in rules}
        self.rows = 0
        start_us = (datetime(day.year, day.month, day.day, tzinfo=timezone.utc) - _EPOCH) // _MICROSECOND
        now_us = (datetime.now(timezone.utc) - _EPOCH) // _MICROSECOND
        self.stretch = Day(start_us, min(start_us + _DAY_US, max(start_us, now_us)))
        self._tags: Mapping[str, JudgedTag] = {tag.web_id: tag for tag in tags.of_partition(tag_group)}
        self._with_events: set[str] = set()
        self._batches: list[pa.RecordBatch] = []
        self._judged_at = datetime.now(timezone.utc)

    def take(self, web_ids: Sequence[str]) -> None:
        self._with_events.update(web_ids)

    def facts(self, web_ids: Sequence[str]) -> Sequence[TagFacts]:
        return [self._tags[web_id].facts if web_id in self._tags else _NO_FACTS for web_id in web_ids]

    def add_silent(self) -> None:
        """A gap of the whole day for each tag that has no event at all."""
        for rule in self.rules:
            if isinstance(rule, GapRule) and self.stretch.end_us - self.stretch.start_us > (
                rule.longest_minutes * MINUTE_US
            ):
                silent = sorted(self.chosen[rule.name] - self._with_events)
                self.add(rule, silent, silent_all_day(self.stretch, range(len(silent))))

    def add(self, rule: AnyRule, web_ids: Sequence[str], found: Findings) -> None:
        if not len(found):
            return
        names = [self._tags[web_id].name for web_id in (web_ids[int(tag)] for tag in found.tag)]
        count = len(found)
        self._batches.append(
            pa.RecordBatch.from_pydict(
                {
                    "rule": [rule.name] * count,
                    "kind": [rule.kind] * count,
                    "severity": [rule.severity] * count,
                    "tag_webid": [web_ids[int(tag)] for tag in found.tag],
                    "tag_name": names,
                    "finding_start": pa.array(found.first_us).cast(pa.timestamp("us", "UTC")),
                    "finding_end": pa.array(found.last_us).cast(pa.timestamp("us", "UTC")),
                    "event_count": found.events,
                    "worst_value": pa.array(found.worst, from_pandas=True),
                    "worst_text": pa.array(found.worst_text or [None] * count, pa.string()),
                    "judged_at": pa.repeat(pa.scalar(self._judged_at, pa.timestamp("us", "UTC")), count),
                },
                QUALITY_FINDINGS_FILE_SCHEMA,
            )
        )

    def table(self) -> pa.Table:
        found = pa.Table.from_batches(self._batches, QUALITY_FINDINGS_FILE_SCHEMA)
        return found.sort_by([("rule", "ascending"), ("tag_name", "ascending"), ("finding_start", "ascending")])


def _differences(
    rule: DifferenceRule, table: TimeseriesTable, pairs: Sequence[TagPair], day: date
) -> Iterator[tuple[TagPair, Findings]]:
    for start in range(0, len(pairs), _PAIRS_AT_ONCE):
        some = pairs[start : start + _PAIRS_AT_ONCE]
        wanted = {web_id for pair in some for web_id in (pair.first.web_id, pair.other_web_id)}
        numbers = _numbers_of(table, wanted, day)
        for pair in some:
            yield pair, _difference(rule, numbers[pair.first.web_id], numbers[pair.other_web_id])


def _numbers_of(table: TimeseriesTable, web_ids: set[str], day: date) -> Mapping[str, tuple[Integers, Numbers]]:
    """Instants and good numbers of some tags on a day, whatever their tag group."""
    is_good_number = pc.field("value").is_valid() & pc.field("quality_good")
    rows = table.to_arrow(
        ["tag_webid", "timestamp", "value"],
        partition_date=day,
        where=pc.field("tag_webid").isin(sorted(web_ids)) & is_good_number,
    ).sort_by([("tag_webid", "ascending"), ("timestamp", "ascending")])
    encoded = rows["tag_webid"].combine_chunks().dictionary_encode()
    codes = encoded.indices.to_numpy()
    instants = rows["timestamp"].combine_chunks().cast(pa.int64()).to_numpy()
    values = rows["value"].combine_chunks().to_numpy()
    found = {web_id: (np.empty(0, np.int64), np.empty(0)) for web_id in web_ids}
    for code, web_id in enumerate(encoded.dictionary.to_pylist()):
        low, high = np.searchsorted(codes, [code, code + 1])
        found[web_id] = instants[low:high], values[low:high]
    return found


def _difference(rule: DifferenceRule, first: tuple[Integers, Numbers], other: tuple[Integers, Numbers]) -> Findings:
    instants, values = first
    other_instants, other_values = other
    if not len(instants) or not len(other_instants):
        return nothing()
    before = np.searchsorted(other_instants, instants, side="right") - 1
    is_comparable = (before >= 0) & (instants - other_instants[before] <= rule.longest_minutes * MINUTE_US)
    difference = np.where(is_comparable, values - other_values[before], 0.0)
    is_fault = np.abs(difference) > rule.most
    return stretches(np.zeros(len(instants), np.int64), instants, is_fault, worst=difference).bounded()
