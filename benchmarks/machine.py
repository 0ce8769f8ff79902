"""The machine that the figures are from, and whether it was quiet."""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

PACKAGES = ("dagster", "deltalake", "isal", "msgspec", "numpy", "orjson", "pandas", "pyarrow", "requests", "urllib3")
BUSY = 0.5
"""Load average from which on other programs are felt in the figures."""


@dataclass(frozen=True)
class Machine:
    """What the figures depend on."""

    cpu: str
    cores: int
    memory_gigabytes: float
    system: str
    python: str
    packages: dict[str, str]
    load_average: float
    """Over the last minute, before the first benchmark."""

    @property
    def is_busy(self) -> bool:
        """Whether something else was running."""
        return self.load_average > BUSY

    def describe(self) -> str:
        """The machine in one line."""
        return (
            f"{self.cpu}, {self.cores} cores, {self.memory_gigabytes:.0f} GB, {self.system}, Python {self.python}, "
            f"load average at the start {self.load_average:.2f}"
        )


def this_machine() -> Machine:
    """This machine, now."""
    return Machine(
        cpu=_cpu_model(),
        cores=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
        memory_gigabytes=os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9,
        system=platform.system(),
        python=platform.python_version(),
        packages={name: version(name) for name in PACKAGES},
        load_average=os.getloadavg()[0],
    )


def _cpu_model() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())
