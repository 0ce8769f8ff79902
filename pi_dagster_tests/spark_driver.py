"""A Spark application in a process of its own, so that it can be killed: it takes orders as lines of JSON."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import date
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.feather as feather
import pytest

from pi_dagster.site import Site


class Driver:
    """The process of an application, seen from the test."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def send(self, order: str, **arguments: Any) -> None:
        """Give an order, and do not wait for it."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps([order, arguments]) + "\n")
        self._process.stdin.flush()

    def answer(self) -> Any:
        """What came of the last order."""
        assert self._process.stdout is not None
        answer = json.loads(self._process.stdout.readline())
        assert "error" not in answer, answer
        return answer["result"]

    def load(self, site: Site, day: date) -> int:
        """Load a day of the partition `all`; returns the rows that were committed."""
        self.send("load", site=site.model_dump_json(), day=day.isoformat())
        return int(self.answer())

    def read(self, uri: str, folder: Path) -> pa.Table:
        """The rows of a Delta table, as Spark reads them."""
        self.send("read", uri=uri, file=str(folder / "read.arrow"))
        self.answer()
        return feather.read_table(folder / "read.arrow")

    def kill(self) -> None:
        """SIGKILL for the application: for Python and for its JVM."""
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()


@contextmanager
def driver(master: str, settings: dict[str, str], folder: Path) -> Iterator[Driver]:
    """Run an application while the block lasts; skips the test where Spark cannot be started."""
    log = (folder / "driver.log").open("a")
    settings = {"spark.sql.warehouse.dir": str(folder / "warehouse"), **settings}
    process = subprocess.Popen(
        [sys.executable, "-m", __name__, master, json.dumps(settings)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True, start_new_session=True,
    )  # fmt: skip
    application = Driver(process)
    try:
        assert process.stdout is not None
        begun = json.loads(process.stdout.readline())
        if "error" in begun:
            pytest.skip(begun["error"])
        yield application
    finally:
        application.kill()
        log.close()


def main(master: str, settings: dict[str, str]) -> None:
    """Start Spark, then follow the orders on standard input."""
    from pi_dagster.spark.session import SparkStartError, open_session

    try:
        session = open_session(master, settings)
    except SparkStartError as error:
        _tell(error=str(error))
        return
    _tell(result="ready")
    for line in sys.stdin:
        order, arguments = json.loads(line)
        try:
            _tell(result=_ORDERS[order](session, **arguments))
        except Exception as error:
            _tell(error=f"{type(error).__name__}: {error}")


def _tell(**answer: Any) -> None:
    print(json.dumps(answer), flush=True)


def _load(session: Any, *, site: str, day: str) -> int:
    from pi_dagster.lake import Lake
    from pi_dagster.piwebapi import PIWebAPISource
    from pi_dagster.spark.engine import partitions_in_spark

    plant = Site.model_validate_json(site)
    with PIWebAPISource(plant.server) as source:
        partitions = [(date.fromisoformat(day), "all")]
        [load] = partitions_in_spark(plant, source, Lake(plant.lake.uri), session, partitions, run_id="driver")
        return load.run().rows


def _read(session: Any, *, uri: str, file: str) -> None:
    feather.write_feather(session.read.format("delta").load(uri).toArrow(), file)


def follow(session: Any, *, options: dict[str, str], table: str, checkpoint: str) -> int:
    """Run a stream into a table up to the server's clock; returns how many micro-batches brought something."""
    from pi_dagster.spark.sink import window_sink

    query = (
        session.readStream.format("pi_web_api")
        .options(**options)
        .load()
        .writeStream.foreachBatch(window_sink(table))
        .option("checkpointLocation", checkpoint)
        .trigger(availableNow=True)
        .start()
    )
    query.awaitTermination()
    return len([progress for progress in query.recentProgress if progress["numInputRows"]])


_ORDERS = {"load": _load, "read": _read, "follow": follow}

if __name__ == "__main__":
    main(sys.argv[1], json.loads(sys.argv[2]))
