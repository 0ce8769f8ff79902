"""`python -m benchmarks.skab FOLDER`: quality rules on real sensor data whose anomalies are known.

The data is the Skoltech Anomaly Benchmark: eight sensors of a water loop at 1 Hz, one recording of normal running and
others with closed valves, leaks and the like, whose rows are labelled. The rules are made by the recipe below from the
normal recording alone; no label is looked at before the rules have judged. Each recording is judged by itself, as a
plant's tags of their own.

A row counts as flagged when a finding of any sensor covers it. F1, the false alarm rate and the missing alarm rate are
those of the benchmark's authors.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.csv
import typer

from benchmarks.loads import benchmark_site
from benchmarks.measuring import cost_of
from benchmarks.planted_faults import Signal, signal_rows
from benchmarks.report import print_section, wide_screen
from benchmarks.results import Figure, Row, Section, Table
from pi_dagster.lake import Lake, PointsTable, TimeseriesTable
from pi_dagster.lake.schemas import POINTS_SCHEMA
from pi_dagster.quality.partition import judge_partition
from pi_dagster.quality.rule_tags import RuleTags
from pi_dagster.simulator.files import SENSORS

GROUP = "all"
NORMAL = "anomaly-free"
MARGIN = 0.1
"""By how much of what the normal recording shows a limit is wider than it."""

_MINUTE_US = 60_000_000


@dataclass(frozen=True)
class Recording:
    """A file."""

    name: str
    instant: npt.NDArray[np.int64]
    """Microseconds since 1970."""
    values: Mapping[str, npt.NDArray[np.float64]]
    is_anomaly: npt.NDArray[np.bool_]

    def tag(self, sensor: str) -> str:
        """The tag of one of its sensors."""
        return f"{self.name}.{sensor}"


@dataclass(frozen=True)
class Verdict:
    """What some rules said of all recordings with labels."""

    anomalies: int
    found: int
    normal: int
    false: int
    recordings: int
    recordings_found: int
    """With an anomaly of which at least a row is flagged."""
    recordings_alarmed: int
    """With a flagged row that is normal."""

    @property
    def recall(self) -> float:
        """Flagged rows in those with an anomaly."""
        return self.found / self.anomalies

    @property
    def false_alarms(self) -> float:
        """Flagged rows in the normal ones."""
        return self.false / self.normal

    @property
    def f1(self) -> float:
        """The harmonic mean of precision and recall."""
        return 2 * self.found / (self.anomalies + self.found + self.false)


def main(
    folder: Annotated[Path, typer.Argument(help="The SKAB data: folders with CSV files, one of them anomaly-free.")],
) -> None:
    """Write rules from the anomaly-free recording, judge the others, and compare with their labels."""
    if not (folder / NORMAL).is_dir():
        print(f"Skipped: {folder} has no folder {NORMAL}; give the folder of the SKAB data.", file=sys.stderr)
        raise typer.Exit(2)
    begun = time.monotonic()
    print_section(run(folder), time.monotonic() - begun, wide_screen())


def run(folder: Path) -> Section:
    """Judge the recordings of a folder."""
    recordings = [_read(path) for path in sorted(folder.glob("*/*.csv"))]
    normal = [recording for recording in recordings if recording.name.startswith(f"{NORMAL}.")]
    others = [recording for recording in recordings if recording not in normal]
    rules = rules_from(normal[0])
    with tempfile.TemporaryDirectory() as lake:
        findings, cost = cost_of(lambda: _judge(recordings, rules, lake))
    kinds = list(dict.fromkeys(rule["kind"] for rule in rules))
    # Ranges are told apart from the rest, as the normal recording was made in another state of the loop.
    chosen = {"all kinds": set(kinds), **{kind: {kind} for kind in kinds}, "all but range": set(kinds) - {"range"}}
    verdicts = {name: verdict_on(others, findings, kinds_of) for name, kinds_of in chosen.items()}
    labelled = verdicts["all kinds"]
    flag_all = replace(labelled, found=labelled.anomalies, false=labelled.normal)
    own = verdict_on(normal, findings, set(kinds))
    rows = [
        Row(
            f"{name}: F1",
            Figure.of([verdict.f1]),
            measured=f"recall {verdict.recall:.0%}, false alarms {verdict.false_alarms:.0%}",
        )
        for name, verdict in verdicts.items()
    ]
    return Section(
        title="Rules written from the anomaly-free recording of SKAB",
        rows=rows,
        tables=[
            Table(
                f"{len(others)} recordings, {sum(len(one.instant) for one in others):,} rows",
                ["rules", "recall", "false alarms", "missed", "F1", "anomalies found", "recordings with a false alarm"],
                [
                    [
                        name,
                        f"{verdict.recall:.1%}",
                        f"{verdict.false_alarms:.1%}",
                        f"{1 - verdict.recall:.1%}",
                        f"{verdict.f1:.2f}",
                        f"{verdict.recordings_found} of {verdict.recordings}",
                        f"{verdict.recordings_alarmed} of {verdict.recordings}",
                    ]
                    for name, verdict in verdicts.items()
                ],
            ),
            Table("The rules", ["name", "setting", "value"], [_as_row(rule) for rule in rules]),
        ],
        notes=[
            f"Of the anomaly-free recording itself {own.false} of {own.normal:,} rows are flagged.",
            f"Flagging every row would have F1 {flag_all.f1:.2f}.",
        ],
        facts={"rules": len(rules), "seconds": cost.seconds},
    )


def rules_from(normal: Recording) -> list[dict[str, Any]]:
    """The rules: for each sensor what the normal recording shows, and a tenth more.

    Range: its smallest and largest number, wider by a tenth of the distance between them. Rate of change: its largest.
    Stuck: its longest stretch of one number, at least a minute. Spike: the rule's own defaults.
    """
    rules: list[dict[str, Any]] = []
    minutes = np.diff(normal.instant) / _MINUTE_US
    for number, (sensor, values) in enumerate(normal.values.items()):
        about = {"tags": [f"*.{sensor}"]}
        low, high = float(values.min()), float(values.max())
        margin = MARGIN * (high - low)
        changes = np.abs(np.diff(values))[minutes > 0] / minutes[minutes > 0]
        rules += [
            {"name": f"range_{number}", "kind": "range", "low": low - margin, "high": high + margin, **about},
            {
                "name": f"rate_{number}",
                "kind": "rate_of_change",
                "most_per_minute": float(changes.max()) * (1 + MARGIN),
                **about,
            },
            {
                "name": f"stuck_{number}",
                "kind": "stuck",
                "longest_minutes": max(1.0, _longest_stuck(normal.instant, values) * (1 + MARGIN)),
                **about,
            },
            {"name": f"spike_{number}", "kind": "spike", **about},
        ]
    return rules


def verdict_on(recordings: Sequence[Recording], findings: pa.Table, kinds: set[str]) -> Verdict:
    """Compare the findings of some kinds of rules with the labels."""
    spans: dict[str, list[tuple[int, int]]] = {}
    epoch = datetime(1970, 1, 1, tzinfo=timezone.utc)
    for row in findings.to_pylist():
        if row["kind"] in kinds:
            bounds = (row["finding_start"] - epoch, row["finding_end"] - epoch)
            first, last = (bound // timedelta(microseconds=1) for bound in bounds)
            spans.setdefault(row["tag_name"], []).append((first, last))
    counts = []
    for recording in recordings:
        is_flagged = np.zeros(len(recording.instant), bool)
        for sensor in recording.values:
            for first, last in spans.get(recording.tag(sensor), ()):
                is_flagged |= (recording.instant >= first) & (recording.instant <= last)
        is_found, is_false = is_flagged & recording.is_anomaly, is_flagged & ~recording.is_anomaly
        counts.append((int(recording.is_anomaly.sum()), int(is_found.sum()), int(is_false.sum()), len(is_flagged)))
    return Verdict(
        anomalies=sum(anomalies for anomalies, _, _, _ in counts),
        found=sum(found for _, found, _, _ in counts),
        normal=sum(rows - anomalies for anomalies, _, _, rows in counts),
        false=sum(false for _, _, false, _ in counts),
        recordings=len(counts),
        recordings_found=sum(found > 0 for _, found, _, _ in counts),
        recordings_alarmed=sum(false > 0 for _, _, false, _ in counts),
    )


def _read(path: Path) -> Recording:
    table = pyarrow.csv.read_csv(path, parse_options=pyarrow.csv.ParseOptions(delimiter=";"))
    instant = table["datetime"].cast(pa.timestamp("us")).cast(pa.int64()).to_numpy()
    order = np.argsort(instant, kind="stable")
    labels = table["anomaly"].to_numpy() == 1 if "anomaly" in table.column_names else np.zeros(len(instant), bool)
    return Recording(
        name=f"{path.parent.name}.{path.stem}",
        instant=instant[order],
        values={sensor: table[sensor].to_numpy().astype(np.float64)[order] for sensor in SENSORS},
        is_anomaly=labels[order],
    )


def _judge(recordings: Sequence[Recording], rules: Sequence[Mapping[str, Any]], folder: str) -> pa.Table:
    """Write the recordings into a lake and judge each of their days."""
    lake = Lake(folder)
    tags = sorted((recording.tag(sensor), recording, sensor) for recording in recordings for sensor in SENSORS)
    now = datetime.now(timezone.utc)
    seen = {"tag_group": GROUP, "is_active": True, "first_seen": now, "last_seen": now}
    points = [{"tag_webid": tag, "tag_name": tag, **seen} for tag, _, _ in tags]
    PointsTable.open(lake).replace(pa.Table.from_pylist(points, POINTS_SCHEMA), {})
    days = sorted(
        {
            datetime.fromtimestamp(at / 1e6, timezone.utc).date()
            for recording in recordings
            for at in recording.instant[[0, -1]]
        }
    )
    site = benchmark_site("http://localhost/piwebapi", folder, quality_rules=rules, start_date=days[0])
    judged = []
    for day in days:
        midnight = datetime(day.year, day.month, day.day, tzinfo=timezone.utc)
        TimeseriesTable.open(lake).replace_window(
            partition_date=day,
            tag_group=GROUP,
            start=midnight,
            end=midnight + timedelta(days=1),
            batches=_rows_of(tags, int(midnight.timestamp()) * 1_000_000),
            commit_info={},
        )
        found = judge_partition(site, lake, RuleTags(site, lake), day, GROUP, run_id="skab")
        if found is not None:
            judged.append(found.findings)
    return pa.concat_tables(judged)


def _rows_of(tags: Sequence[tuple[str, Recording, str]], midnight_us: int) -> Sequence[pa.RecordBatch]:
    batches = []
    for tag, recording, sensor in tags:
        of_day = (recording.instant >= midnight_us) & (recording.instant < midnight_us + 1440 * _MINUTE_US)
        if of_day.any():
            instant = recording.instant[of_day]
            none = np.full(len(instant), None, object)
            batches.append(signal_rows(tag, Signal(instant, recording.values[sensor][of_day], none, none)))
    return batches


def _longest_stuck(instant: npt.NDArray[np.int64], values: npt.NDArray[np.float64]) -> float:
    """Minutes of the longest stretch of one number."""
    starts = np.flatnonzero(np.diff(values, prepend=np.nan) != 0)
    ends = np.append(starts[1:], len(values)) - 1
    return float((instant[ends] - instant[starts]).max()) / _MINUTE_US


def _as_row(rule: Mapping[str, Any]) -> list[str]:
    settings = {name: value for name, value in rule.items() if name not in ("name", "kind", "tags")}
    told = ", ".join(f"{name} {value:.4g}" for name, value in settings.items()) or "as by default"
    return [str(rule["kind"]), str(rule["tags"][0]), told]


if __name__ == "__main__":
    typer.run(main)
