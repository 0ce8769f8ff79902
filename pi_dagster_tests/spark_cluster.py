"""A standalone Spark cluster of processes on loopback, whose executors can be found and killed."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pytest


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
    """Run a cluster while the block lasts; skips the test where there is no Spark or no Java.

    Args:
        folder: for its files.
        workers: processes that start executors.
        cores: tasks that each of them runs at once, however many cores this machine has.
    """
    with ExitStack() as stack:
        deploy = "org.apache.spark.deploy"
        master = stack.enter_context(
            _spark_class(folder, f"{deploy}.master.Master", "--host", "127.0.0.1", "--port", "0")
        )
        url = _first_match(master, r"Starting Spark master at (spark://\S+)")
        arguments = ["--host", "127.0.0.1", "--cores", str(cores), "--memory", "1g"]
        started = [
            stack.enter_context(
                _spark_class(
                    folder, f"{deploy}.worker.Worker", *arguments, "--work-dir", str(folder / f"work{number}"), url
                )
            )
            for number in range(workers)
        ]
        for worker in started:
            _first_match(worker, r"(Successfully registered with master)")
        yield Cluster(url, started)


@contextmanager
def _spark_class(folder: Path, name: str, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    pyspark = pytest.importorskip("pyspark", reason="the extra `spark` is not installed")
    from pi_dagster.spark.session import SparkStartError, find_java

    try:
        java = find_java()
    except SparkStartError as error:
        pytest.skip(str(error))
    home = Path(pyspark.__file__).parent
    folder.mkdir(parents=True, exist_ok=True)
    of_spark = {"SPARK_HOME": str(home), "JAVA_HOME": str(java), "SPARK_LOCAL_IP": "127.0.0.1"}
    process = subprocess.Popen(
        [home / "bin" / "spark-class", name, "--webui-port", "0", *arguments],
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env={**os.environ, **of_spark}, cwd=folder,
        start_new_session=True,
    )  # fmt: skip
    try:
        yield process
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


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
