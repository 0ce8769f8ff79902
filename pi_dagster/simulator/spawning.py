"""The simulator in a process of its own, so that it shares no interpreter with the client that is measured."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from pathlib import Path


@dataclass(frozen=True)
class SpawnedSimulator:
    """Where a spawned simulator is: base URL (ending in `/piwebapi`), admin door if it is open, process id."""

    url: str
    admin_url: str | None
    pid: int


@contextmanager
def spawned(
    *,
    port: int = 0,
    tags: int = 200,
    seed: int = 1,
    data: Path | str | None = None,
    user: str | None = None,
    password: str | None = None,
    admin_port: int | None = None,
    latency_ms: float = 0.0,
    profile: str = "plant",
    elements: int = 0,
    attributes_per_element: int = 8,
    event_frames: int = 0,
    event_frame_days: int = 30,
    event_frames_until: date | None = None,
) -> Iterator[SpawnedSimulator]:
    """Run `python -m pi_dagster.simulator` while the block lasts.

    The arguments are the command's options; see its `--help`.

    Raises:
        RuntimeError: it could not start; what it printed says why.
    """
    options = {
        "--port": port,
        "--tags": tags,
        "--seed": seed,
        "--data": data,
        "--user": user,
        "--admin-port": admin_port,
        "--latency-ms": latency_ms,
        "--profile": profile,
        "--elements": elements,
        "--attributes-per-element": attributes_per_element,
        "--event-frames": event_frames,
        "--event-frame-days": event_frame_days,
        "--event-frames-until": event_frames_until,
    }
    command = [sys.executable, "-m", "pi_dagster.simulator"]
    for name, value in options.items():
        if value is not None:
            command += [name, str(value)]
    environment = dict(os.environ)
    if password is not None:
        environment["PI_SIMULATOR_PASSWORD"] = password
    # Its own session: Ctrl-C in the terminal then reaches only this process, which stops it in order.
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment, start_new_session=True)
    try:
        assert process.stdout is not None
        url = process.stdout.readline().strip()
        admin_url = process.stdout.readline().strip().removeprefix("admin door: ") if admin_port is not None else None
        if not url.startswith("http"):
            raise RuntimeError(f"the simulator did not start (exit code {process.wait()}): {url}")
        yield SpawnedSimulator(url, admin_url, process.pid)
    finally:
        process.terminate()
        try:
            process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        if process.stdout is not None:
            process.stdout.close()
