"""Commits: what one costs on a table that is young and on one that is old, and what replacing costs over appending.

The old table's log is made up as 20,000 commits leave it: a checkpoint with the files of 70 days, the commits since,
and those before that are kept for as long as the table says. The commits that are measured are real.
"""

from __future__ import annotations

import json
import re
import tempfile
import time
import uuid
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
from deltalake import DeltaTable, write_deltalake
from deltalake.transaction import AddAction

from benchmarks.loads import ALL
from benchmarks.measuring import cost_of, in_turn, own_process
from benchmarks.plants import DAY, MIDNIGHT
from benchmarks.results import Figure, Row, Scale, Section, at_most
from pi_dagster.lake import Lake, TimeseriesTable
from pi_dagster.lake.schemas import TIMESERIES_FILE_SCHEMA

YOUNG, OLD = 20, 20_000
GROUPS, COMMITS_A_DAY = 16, 288
COMMITS = {Scale.SMOKE: 1, Scale.QUICK: 8, Scale.FULL: 20}
REPLACED_ROWS = {Scale.SMOKE: 1_000, Scale.QUICK: 500_000, Scale.FULL: 500_000}
_ROWS = 100
_DEFAULT_INTERVAL, _DEFAULT_DAYS_KEPT = 100, 30


def run(scale: Scale) -> Section:
    """Measure both."""
    with own_process() as call:
        seconds = call(commit_in_turn, COMMITS[scale])
        rows = REPLACED_ROWS[scale]
        rewriting = call(append_and_replace, rows, 3)
    commit = {name: Figure.of(rounds) for name, rounds in seconds.items()}
    return Section(
        title="Commits to Delta",
        rows=[
            *(
                Row(
                    f"commit of {_ROWS} rows at version {OLD:,} / at version {YOUNG}, {name}",
                    Figure.of([commit["old"].median / commit[name].median]),
                    measured=", ".join(
                        f"{which} {commit[which].median * 1e3:.0f} ms (slowest {commit[which].high * 1e3:.0f})"
                        for which in (name, "old")
                    ),
                    target=at_most(1.5),
                )
                for name in ("young with as many files", "young and small")
            ),
            Row(
                f"replacing a partition of {rows:,} rows / appending the same rows with delta-rs",
                Figure.ratio(rewriting["replace"], rewriting["append"]),
                measured=", ".join(
                    f"{name} {Figure.of(rounds).median * 1e3:.0f} ms" for name, rounds in rewriting.items()
                ),
                target=at_most(1.5),
            ),
        ],
        notes=[
            f"The old table's log is made up: {GROUPS} tag groups, {COMMITS_A_DAY} commits a day, one file for each "
            "closed day and group, and the entries of a week; the commits that are measured are real, and one of them "
            "writes a checkpoint. A small young table has only the files of those commits, so that its ratio is what "
            "70 days of files cost too."
        ],
        facts={f"commit, {name}, s": figure.median for name, figure in commit.items()},
    )


def commit_in_turn(rounds: int) -> dict[str, list[float]]:
    """Seconds of each commit, to young tables and to the old one in turn."""
    with tempfile.TemporaryDirectory() as folder:
        names = ("young and small", "young with as many files", "old")
        tables = {name: TimeseriesTable.open(Lake(f"{folder}/{name}")) for name in names}
        _fill(tables["young with as many files"], OLD)
        _age(tables["old"], OLD - YOUNG - rounds // 2)
        for number in range(YOUNG):
            for name in names:
                _commit(tables[name], number)
        numbers = dict.fromkeys(names, YOUNG)

        def commit(name: str) -> float:
            numbers[name] += 1
            return _commit(tables[name], numbers[name])

        return in_turn({name: partial(commit, name) for name in names}, rounds=rounds)


def append_and_replace(rows: int, rounds: int) -> dict[str, list[float]]:
    """Seconds to append a partition's rows with delta-rs, and to replace them by themselves."""
    table_rows = rows_of(MIDNIGHT, timedelta(days=1), rows, tags=100)
    whole = table_rows.append_column("partition_date", pa.repeat(pa.scalar(DAY), rows)).append_column(
        "tag_group", pa.repeat(ALL, rows)
    )
    with tempfile.TemporaryDirectory() as folder:
        table = TimeseriesTable.open(Lake(folder))

        def replace() -> float:
            return cost_of(lambda: _replace(table, table_rows, timedelta(), timedelta(days=1)))[1].seconds

        def append() -> float:
            return cost_of(lambda: write_deltalake(f"{folder}/appended", whole, mode="append"))[1].seconds

        # The first replacement only fills the partition.
        in_turn({"replace": replace, "append": append}, rounds=1)
        return in_turn({"replace": replace, "append": append}, rounds=rounds)


def rows_of(start: datetime, duration: timedelta, rows: int, *, tags: int) -> pa.Table:
    """Made-up rows of pi_timeseries, evenly over some tags and a stretch of time, in the order of the table."""
    each = max(1, rows // tags)
    count = each * tags
    step = duration // each
    first = np.datetime64(start.replace(tzinfo=None), "us")
    times = np.tile(first + np.arange(each) * np.timedelta64(step // timedelta(microseconds=1), "us"), tags)
    names = pa.array([f"TAG{number:06d}" for number in range(tags)])
    tag = pa.DictionaryArray.from_arrays(pa.array(np.repeat(np.arange(tags, dtype=np.int32), each)), names)
    columns = {
        "tag_webid": tag,
        "tag_name": tag,
        "timestamp": pa.array(times).cast(pa.timestamp("us", "UTC")),
        "value": pa.array(np.random.default_rng(1).standard_normal(count)),
        "quality_good": pa.array(np.ones(count, bool)),
        "event_ordinal": pa.array(np.zeros(count, np.int32)),
        "ingestion_timestamp": pa.repeat(pa.scalar(start, pa.timestamp("us", "UTC")), count),
    }
    for field in TIMESERIES_FILE_SCHEMA:
        if field.name not in columns:
            nothing = pa.array(np.zeros(count, bool)) if field.type == pa.bool_() else pa.nulls(count, field.type)
            columns[field.name] = nothing
    return pa.table({name: columns[name] for name in TIMESERIES_FILE_SCHEMA.names})


def _commit(table: TimeseriesTable, number: int) -> float:
    start = timedelta(minutes=5 * number)
    rows = rows_of(MIDNIGHT + start, timedelta(minutes=5), _ROWS, tags=10)
    return cost_of(lambda: _replace(table, rows, start, timedelta(minutes=5)))[1].seconds


def _replace(table: TimeseriesTable, rows: pa.Table, start: timedelta, duration: timedelta) -> None:
    table.replace_window(
        partition_date=DAY,
        tag_group=ALL,
        start=MIDNIGHT + start,
        end=MIDNIGHT + start + duration,
        batches=rows.to_batches(),
        commit_info={"run_id": "benchmark"},
    )


def _fill(table: TimeseriesTable, version: int) -> None:
    """Commit, at once, the files that the days of `version` commits leave in an empty table."""
    days = version // COMMITS_A_DAY
    files = [
        (DAY - timedelta(days=day + 1), f"{ALL}-{group:02d}") for day in range(max(1, days)) for group in range(GROUPS)
    ]
    delta = table.snapshot()
    delta.create_write_transaction(
        [_add(f"{day}-{group}.parquet", str(day), group) for day, group in files],
        "append",
        delta.schema(),
        delta.metadata().partition_columns,
    )


def _age(table: TimeseriesTable, version: int) -> None:
    """Make the log of an empty table look as if `version` commits had been made to it."""
    _fill(table, version)
    delta = DeltaTable(table.uri)
    delta.create_checkpoint()
    configuration = delta.metadata().configuration
    interval = int(configuration.get("delta.checkpointInterval", _DEFAULT_INTERVAL))
    checkpoint = (version // interval) * interval - (interval if version % interval == 0 else 0)
    log = Path(table.uri) / "_delta_log"
    for file in log.glob("*.json"):
        file.unlink()
    (made,) = log.glob("*.checkpoint.parquet")
    made.rename(log / f"{checkpoint:020}.checkpoint.parquet")
    last = log / "_last_checkpoint"
    last.write_text(json.dumps({**json.loads(last.read_text()), "version": checkpoint}))
    now = int(time.time() * 1000)
    for number in range(max(0, version - _commits_kept(configuration)), version + 1):
        path = f"partition_date={DAY}/tag_group=other/{number}.parquet"
        entries = [
            {"commitInfo": {"timestamp": now, "operation": "WRITE"}},
            {"add": {**_json_add(path, str(DAY), "other"), "modificationTime": now}},
        ]
        (log / f"{number:020}.json").write_text("".join(json.dumps(entry) + "\n" for entry in entries))


def _commits_kept(configuration: dict[str, str]) -> int:
    kept = re.search(r"(\d+)\s+(day|hour)", configuration.get("delta.logRetentionDuration", ""))
    days = _DEFAULT_DAYS_KEPT if kept is None else int(kept[1]) / (24 if kept[2] == "hour" else 1)
    return int(days * COMMITS_A_DAY)


def _statistics() -> str:
    bounds = {"tag_webid": "F1DP", "timestamp": "2026-11-01T00:00:00.000Z", "value": 1.5}
    return json.dumps({"numRecords": 1_000_000, "minValues": bounds, "maxValues": bounds, "nullCount": {"value": 0}})


def _add(name: str, day: str, group: str) -> AddAction:
    path = f"partition_date={day}/tag_group={group}/{uuid.uuid4()}-{name}"
    values = {"partition_date": day, "tag_group": group}
    return AddAction(path, 7_000_000, values, int(time.time() * 1000), True, _statistics())


def _json_add(path: str, day: str, group: str) -> dict[str, object]:
    return {
        "path": path,
        "size": 7_000_000,
        "partitionValues": {"partition_date": day, "tag_group": group},
        "dataChange": True,
        "stats": _statistics(),
    }
