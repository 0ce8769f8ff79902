"""A PI Web API server that runs anywhere: for the demo, for tests through a real socket, for benchmarks.

It holds a PI Data Archive (generated or read from files) with an AF server beside it, and answers as AVEVA's
server does, its traps included. `Simulator(...).serve()` runs it in this process, `spawned(...)` in one of its own.
"""

from pi_dagster.simulator.faults import Fault, FaultKind
from pi_dagster.simulator.server import RunningSimulator, Simulator
from pi_dagster.simulator.serving import serve_forever
from pi_dagster.simulator.settings import SimulatorSettings
from pi_dagster.simulator.spawning import SpawnedSimulator, spawned

__all__ = [
    "Fault",
    "FaultKind",
    "RunningSimulator",
    "Simulator",
    "SimulatorSettings",
    "SpawnedSimulator",
    "serve_forever",
    "spawned",
]
