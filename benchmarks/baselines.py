"""What is done without this project: a script that asks tag by tag, and a connector that asks in batches.

Both are written as such programs are, without slips that would make them slower than they must be. They keep fewer
columns than pi_dagster, neither retry nor page, and append, so that a second run doubles what is there.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from datetime import datetime, timezone
from itertools import islice
from typing import Any
from urllib.parse import urlencode

import pyarrow as pa
import requests
from deltalake import write_deltalake

from benchmarks.loads import Load
from benchmarks.measuring import cost_of, peak_megabytes

BATCH_SIZE = 100
_SCHEMA = pa.schema(
    [
        ("tag_webid", pa.string()),
        ("timestamp", pa.timestamp("us", "UTC")),
        ("value", pa.float64()),
        ("quality_good", pa.bool_()),
        ("quality_questionable", pa.bool_()),
        ("units", pa.string()),
        ("ingestion_timestamp", pa.timestamp("us", "UTC")),
    ]
)


def naive(url: str, web_ids: Sequence[str], start: datetime, end: datetime) -> Load:
    """One `requests.get` a tag, stdlib json, a dict a row, one append a tag."""

    def load(folder: str) -> tuple[int, int]:
        rows_written = bytes_received = 0
        for web_id in web_ids:
            response = requests.get(f"{url}/streams/{web_id}/recorded", params=_parameters(start, end), timeout=60)
            response.raise_for_status()
            now = datetime.now(timezone.utc)
            rows: list[dict[str, Any]] = []
            for item in json.loads(response.content)["Items"]:
                value = item["Value"]
                rows.append(
                    {
                        "tag_webid": web_id,
                        "timestamp": datetime.fromisoformat(item["Timestamp"].rstrip("Z")[:26] + "+00:00"),
                        "value": value if isinstance(value, float) else None,
                        "quality_good": item["Good"],
                        "quality_questionable": item["Questionable"],
                        "units": item["UnitsAbbreviation"],
                        "ingestion_timestamp": now,
                    }
                )
            write_deltalake(folder, pa.Table.from_pylist(rows, _SCHEMA), mode="append")
            rows_written += len(rows)
            bytes_received += len(response.content)
        return rows_written, bytes_received

    return _measured(load, len(web_ids))


def batch(url: str, web_ids: Sequence[str], start: datetime, end: datetime) -> Load:
    """100 tags a `POST /batch`, one after the other, stdlib json, pandas, one append a batch."""
    import pandas as pd  # here, as it must be in no other process

    query = urlencode(_parameters(start, end))

    def load(folder: str) -> tuple[int, int]:
        rows_written = bytes_received = 0
        remaining = iter(web_ids)
        session = requests.Session()
        while tags := list(islice(remaining, BATCH_SIZE)):
            calls = {tag: {"Method": "GET", "Resource": f"{url}/streams/{tag}/recorded?{query}"} for tag in tags}
            response = session.post(f"{url}/batch", json=calls, headers={"X-Requested-With": "benchmark"}, timeout=60)
            response.raise_for_status()
            frames = []
            for tag, answer in json.loads(response.content).items():
                frame = pd.DataFrame(answer["Content"]["Items"])
                frame["tag_webid"] = tag
                frames.append(frame)
            events = pd.concat(frames, ignore_index=True)
            table = pd.DataFrame(
                {
                    "tag_webid": events["tag_webid"],
                    "timestamp": pd.to_datetime(events["Timestamp"], format="ISO8601", utc=True),
                    "value": pd.to_numeric(events["Value"], errors="coerce"),
                    "quality_good": events["Good"],
                    "quality_questionable": events["Questionable"],
                    "units": events["UnitsAbbreviation"],
                    "ingestion_timestamp": pd.Timestamp.now("UTC"),
                }
            )
            write_deltalake(folder, pa.Table.from_pandas(table, _SCHEMA, preserve_index=False), mode="append")
            rows_written += len(table)
            bytes_received += len(response.content)
        return rows_written, bytes_received

    return _measured(load, -(-len(web_ids) // BATCH_SIZE))


def _parameters(start: datetime, end: datetime) -> dict[str, str]:
    return {
        "startTime": start.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "endTime": end.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "boundaryType": "Inside",
        "maxCount": "150000",
    }


def _measured(load: Any, requests_sent: int) -> Load:
    with tempfile.TemporaryDirectory() as folder:
        (rows, received), cost = cost_of(lambda: load(folder))
    return Load(rows, cost, requests_sent, received, peak_megabytes())
