"""A Spark cluster of processes on loopback, and a driver in a process of its own, so that each can be killed."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from datetime import date
from pathlib import Path

import pyspark

from pi_dagster.ingest.errors import IngestError
from pi_dagster.lake import Lake
from pi_dagster.piwebapi import PIWebAPISource
from pi_dagster.site import Site
from pi_dagster.spark.engine import partitions_in_spark
from pi_dagster.spark.session import find_java, open_session

SPARK_HOME = Path(pyspark.__file__).parent


class Cluster:
    """A master and its workers, each with one executor for the application that runs."""

    def __init__(self, url: str, workers: list[subprocess.Popen[str]]) -> None:
        self.url = url
        self._workers = workers

    def executors(self) -> list[int]:
        """Process ids of the executors that are alive."""
        files = [file for worker in self._workers for file in Path(f"/proc/{worker.pid}/task").glob("*/children")]
        children = {pid for file in files for pid in file.read_text().split()}
        return [
            int(child)
            for child in children
            if b"CoarseGrainedExecutorBackend" in Path(f"/proc/{child}/cmdline").read_bytes()
        ]


@contextmanager
def cluster(folder: Path, *, workers: int, cores: int) -> Iterator[Cluster]:
    """Run a standalone cluster while the block lasts."""
    with ExitStack() as stack:
        deploy = "org.apache.spark.deploy"
        master = stack.enter_context(
            _spark_class(folder, f"{deploy}.master.Master", "--host", "127.0.0.1", "--port", "0")
        )
        url = _first_match(master, r"Starting Spark master at (spark://\S+)")
        started = []
        for number in range(workers):
            arguments = ["--host", "127.0.0.1", "--cores", str(cores), "--memory", "1g"]
            arguments += ["--work-dir", str(folder / f"work{number}"), url]
            worker = stack.enter_context(_spark_class(folder, f"{deploy}.worker.Worker", *arguments))
            _first_match(worker, r"(Successfully registered with master)")
            started.append(worker)
        yield Cluster(url, started)


@contextmanager
def driver(site: Site, folder: Path) -> Iterator[subprocess.Popen[str]]:
    """Run this module while the block lasts: a line on its input loads a day, and it answers with a line."""
    (folder / "site.json").write_text(site.model_dump_json())
    log = (folder / "driver.log").open("w")
    process = subprocess.Popen(
        [sys.executable, "-m", __name__, str(folder / "site.json")],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True, start_new_session=True,
    )  # fmt: skip
    try:
        yield process
    finally:
        kill(process)
        log.close()


def kill(process: subprocess.Popen[str]) -> None:
    """SIGKILL for a process and for those that it started."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


@contextmanager
def _spark_class(folder: Path, name: str, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    folder.mkdir(parents=True, exist_ok=True)
    of_spark = {"SPARK_HOME": str(SPARK_HOME), "JAVA_HOME": str(find_java()), "SPARK_LOCAL_IP": "127.0.0.1"}
    process = subprocess.Popen(
        [SPARK_HOME / "bin" / "spark-class", name, "--webui-port", "0", *arguments],
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env={**os.environ, **of_spark}, cwd=folder,
        start_new_session=True,
    )  # fmt: skip
    try:
        yield process
    finally:
        kill(process)


def _first_match(process: subprocess.Popen[str], pattern: str) -> str:
    assert process.stderr is not None
    seen = []
    for line in process.stderr:
        if match := re.search(pattern, line):
            # Whoever writes into a full pipe waits.
            threading.Thread(target=deque, args=(process.stderr, 0), daemon=True).start()
            return match[1]
        seen.append(line)
    raise RuntimeError(f"a Spark process ended: {''.join(seen)[-2000:]}")


def main(site_file: Path) -> None:
    """Load a day of the site, `YYYY-MM-DD`, for each line on standard input."""
    site = Site.model_validate_json(site_file.read_text())
    session = open_session(site.spark.master, site.spark.settings)
    print("ready", flush=True)
    for line in sys.stdin:
        with PIWebAPISource(site.server) as source:
            partitions = [(date.fromisoformat(line.strip()), "all")]
            [load] = partitions_in_spark(site, source, Lake(site.lake.uri), session, partitions, run_id="driver")
            try:
                print(load.run().rows, flush=True)
            except IngestError as error:
                print(error, flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
