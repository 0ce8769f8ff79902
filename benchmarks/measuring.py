"""Fair measuring: alternatives take turns, each in a process of its own.

Whatever disturbs the machine then disturbs all alternatives alike. A process of its own keeps apart what they import
and what memory they keep; pandas is hidden from ours, because pyarrow imports it where it is installed.
"""

from __future__ import annotations

import gc
import multiprocessing
import os
import resource
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.abc import MetaPathFinder
from pathlib import Path
from typing import Any, TypeVar

Result = TypeVar("Result")
Call = Callable[..., Any]
"""Runs a function of a module, with arguments that can be pickled, in another process."""


@dataclass(frozen=True)
class Cost:
    """Wall time and CPU time of this process, both in seconds."""

    seconds: float
    cpu_seconds: float


def cost_of(work: Callable[[], Result]) -> tuple[Result, Cost]:
    """Do `work` once and say what it cost this process."""
    gc.collect()
    wall, cpu = time.perf_counter(), time.process_time()
    result = work()
    return result, Cost(time.perf_counter() - wall, time.process_time() - cpu)


def in_turn(alternatives: Mapping[str, Callable[[], Result]], *, rounds: int) -> dict[str, list[Result]]:
    """What each alternative returned in each round; every round begins with another one."""
    results: dict[str, list[Result]] = {name: [] for name in alternatives}
    names = list(alternatives)
    for number in range(rounds):
        first = number % len(names)
        for name in [*names[first:], *names[:first]]:
            results[name].append(alternatives[name]())
    return results


@contextmanager
def own_process(*, with_pandas: bool = False) -> Iterator[Call]:
    """A process that lasts for the block and runs what it is called with."""
    with ProcessPoolExecutor(
        1, mp_context=multiprocessing.get_context("spawn"), initializer=_prepare, initargs=(with_pandas,)
    ) as executor:
        yield lambda work, *args, **kwargs: executor.submit(work, *args, **kwargs).result()


class _WithoutPandas(MetaPathFinder):
    """Makes pandas look as if it were not installed, as it is where only pi_dagster is."""

    def find_spec(self, name: str, path: Any, target: Any = None) -> None:
        if name == "pandas":
            raise ModuleNotFoundError("pandas is hidden from what is measured", name=name)


def _prepare(with_pandas: bool) -> None:
    if not with_pandas:
        sys.meta_path.insert(0, _WithoutPandas())
    # A proxy that the environment names for the world outside cannot reach servers on this machine.
    os.environ["NO_PROXY"] = os.environ["no_proxy"] = "127.0.0.1,localhost"


def peak_megabytes() -> float:
    """The most memory this process ever held at once.

    `ru_maxrss` on Linux begins with what the parent held when it started this process, so the kernel's own mark of
    this process is read where there is one.
    """
    status = Path("/proc/self/status")
    if status.exists():
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def resident_megabytes() -> float:
    """The memory this process holds now."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 2**20
