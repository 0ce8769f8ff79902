"""A planted archive served by a process of its own, for tests that send too many requests for one interpreter."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection

from pi_dagster.simulator import Simulator, SimulatorSettings
from pi_dagster.simulator.archive import Archive


@contextmanager
def served_apart(build_archive: Callable[[], Archive]) -> Iterator[str]:
    """Serve what `build_archive`, a function of a module, makes; yields the base URL."""
    spawn = multiprocessing.get_context("spawn")
    here, there = spawn.Pipe()
    process = spawn.Process(target=_serve, args=(build_archive, there))
    process.start()
    there.close()
    try:
        yield here.recv()
    finally:
        here.close()
        process.join()


def _serve(build_archive: Callable[[], Archive], parent: Connection) -> None:
    settings = SimulatorSettings(rate_limit_requests=None)
    with Simulator(archive=build_archive(), settings=settings).serve() as running:
        parent.send(running.url)
        try:
            parent.recv()
        except EOFError:
            return
