"""Loads in child processes that die at a chosen step, run out of disk, or may not write.

A step is a call to the storage that changes it, or the return from one: a file is opened, closed or deleted, a commit
is made. Between two of them at most a part of a file is written that no commit names. Python's profiler sees the calls,
so nothing is put into the way of the load.
"""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import resource
import signal
import sys
from collections.abc import Callable, Sequence
from datetime import date
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from types import FrameType
from typing import Any

from pi_dagster.ingest.load_plans import Partition
from pi_dagster.ingest.source import open_source
from pi_dagster.ingest.tail import Watermark, load_tail
from pi_dagster.ingest.timeseries import load_partition
from pi_dagster.lake import Lake, LakeError
from pi_dagster.site import Site

Load = Callable[..., object]
_CALLS_OF_STORAGE = frozenset({"open_output_stream", "delete_file", "create_write_transaction"})
_OWN_CALLS = frozenset({"close"})
FORKED = multiprocessing.get_context("forkserver")
FORKED.set_forkserver_preload([__name__])


def tail(site: Site, watermarks: dict[Partition, Watermark], day: date) -> dict[Partition, Watermark]:
    """Bring the day's partitions forward; returns the watermarks that they have then."""
    partitions = [(day, group) for group in site.partition_names()]
    with open_source(site.server) as source:
        outcomes = load_tail(
            site, source, Lake(site.lake.uri), partitions, watermarks=watermarks, run_id="tail", goes_on_after=()
        )
        left = dict(watermarks)
        for partition, outcome in outcomes:
            if isinstance(outcome, Exception):
                raise outcome
            left[partition] = Watermark.of(outcome, "tail")
    return left


def whole_day(site: Site, watermarks: dict[Partition, Watermark], day: date) -> None:
    """Read the day's first partition whole, as a backfill does."""
    with open_source(site.server) as source:
        load_partition(site, source, Lake(site.lake.uri), day=day, tag_group=site.partition_names()[0], run_id="day")


def steps_of(load: Load, *arguments: Any) -> int:
    """How many steps a load has."""
    here, there = FORKED.Pipe()
    _join([FORKED.Process(target=_count, args=(there, load, arguments))])
    return int(here.recv())


def die_at(step: int, load: Load, *arguments: Any) -> int | None:
    """Load in a process that kills itself at a step; its exit code."""
    return _join([FORKED.Process(target=_die, args=(step, load, arguments))])[0]


def with_files_of_at_most(size: int, load: Load, *arguments: Any) -> int | None:
    """Load in a process whose files cannot grow beyond `size` bytes; 1 where that was an error of the lake."""
    return _join([FORKED.Process(target=_limited, args=(size, load, arguments))])[0]


def without_privileges(load: Load, *arguments: Any) -> int | None:
    """Load in a process for which permissions of files hold, as for root they do not; 1 for an error of the lake."""
    return _join([FORKED.Process(target=_unprivileged, args=(load, arguments))])[0]


def at_once(loads: Sequence[Load], *arguments: Any) -> list[int | None]:
    """Several loads at the same time, each in a process of its own; their exit codes."""
    return _join([FORKED.Process(target=load, args=arguments) for load in loads])


def _join(processes: Sequence[BaseProcess]) -> list[int | None]:
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    return [process.exitcode for process in processes]


def _count(parent: Connection, load: Load, arguments: tuple[Any, ...]) -> None:
    steps = _watch_steps(lambda step: None)
    load(*arguments)
    sys.setprofile(None)
    parent.send(len(steps))


def _die(step: int, load: Load, arguments: tuple[Any, ...]) -> None:
    def die(number: int) -> None:
        if number == step:
            os.kill(os.getpid(), signal.SIGKILL)

    _watch_steps(die)
    load(*arguments)


def _limited(size: int, load: Load, arguments: tuple[Any, ...]) -> None:
    # Ignored, so that a write too many is an error, as on a full disk, and not the end of the process.
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))
    _exit_1_where_the_lake_fails(load, arguments)


def _unprivileged(load: Load, arguments: tuple[Any, ...]) -> None:
    version_3, this_process = 0x20080522, 0
    header, no_capabilities = (ctypes.c_uint32 * 2)(version_3, this_process), (ctypes.c_uint32 * 6)()
    assert ctypes.CDLL(None).capset(header, no_capabilities) == 0
    _exit_1_where_the_lake_fails(load, arguments)


def _exit_1_where_the_lake_fails(load: Load, arguments: tuple[Any, ...]) -> None:
    try:
        load(*arguments)
    except LakeError:
        sys.exit(1)
    except BaseException:
        os._exit(2)


def _watch_steps(at_step: Callable[[int], object]) -> list[str]:
    steps: list[str] = []

    def profile(frame: FrameType, event: str, argument: Any) -> None:
        is_of_storage = event in ("c_call", "c_return") and argument.__name__ in _CALLS_OF_STORAGE
        is_own = event in ("call", "return") and frame.f_code.co_name in _OWN_CALLS
        place = str(frame.f_globals.get("__name__"))
        if (is_of_storage and place.startswith("deltalake")) or (is_own and place.startswith("pi_dagster.lake")):
            steps.append(f"{event} in {place}")
            at_step(len(steps))

    sys.setprofile(profile)
    return steps
