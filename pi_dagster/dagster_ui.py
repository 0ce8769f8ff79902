"""Dagster's UI and daemon as a child process of the demo: started, waited for, and stopped with it.

The history is in the demo's own DAGSTER_HOME, so that the runs of the demo are in it and no other project's are.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import dagster as dg
import requests
import tenacity
from dagster._core.instance.ref import InstanceRef

_INSTANCE_SETTINGS = """\
telemetry: {enabled: false}
nux: {enabled: false}
concurrency:
  runs:
    max_concurrent_runs: 4
    tag_concurrency_limits:
      - {key: dagster/partition, limit: 1, value: {applyLimitPerUniqueValue: true}}
  pools: {default_limit: 2, granularity: run}
"""
_WORKSPACE = """\
load_from:
  - python_module: {module_name: pi_dagster.definitions, location_name: pi_dagster}
"""

_PREFERRED_PORT = 3000
_START_SECONDS = 120.0
_STOP_SECONDS = 20.0


class DagsterUIError(Exception):
    """The UI did not come up, or ended by itself; the message names its log."""


def prepare_home(home: Path) -> dg.DagsterInstance:
    """Make `home` a DAGSTER_HOME and open it for runs in this process.

    Args:
        home: the folder; its settings are written anew, its history stays.
    """
    home.mkdir(parents=True, exist_ok=True)
    (home / "dagster.yaml").write_text(_INSTANCE_SETTINGS, encoding="utf-8")
    (home / "workspace.yaml").write_text(_WORKSPACE, encoding="utf-8")
    # Capturing the output of a run in this process would capture the demo's own.
    no_capture = {
        "compute_logs": {
            "module": "dagster._core.storage.noop_compute_log_manager",
            "class": "NoOpComputeLogManager",
        }
    }
    return dg.DagsterInstance.from_ref(InstanceRef.from_dir(str(home), overrides=no_capture))


def serve_ui(home: Path, *, on_ready: Callable[[str], None]) -> None:
    """Serve the UI of the site that the environment names until this process is interrupted.

    Args:
        home: a prepared DAGSTER_HOME, as an absolute path.
        on_ready: told the UI's address as soon as it answers.

    Raises:
        DagsterUIError: it did not come up, or ended by itself.
    """
    port = _free_port()
    log = home / "dagster_dev.log"
    command = [sys.executable, "-m", "dagster", "dev", "--workspace", str(home / "workspace.yaml")]
    with log.open("w") as output:
        # In its home, as Dagster lets the .env of the current folder win over the environment, and that names
        # somebody's real plant. Its own session: Ctrl-C then reaches only this process, which stops it in order.
        child = subprocess.Popen(
            [*command, "--host", "127.0.0.1", "--port", str(port)],
            cwd=home,
            env={**os.environ, "DAGSTER_HOME": str(home)},
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        _wait_until_it_answers(child, f"http://127.0.0.1:{port}/server_info", log)
        on_ready(f"http://127.0.0.1:{port}")
        child.wait()
        raise DagsterUIError(f"Dagster's UI ended by itself; the reason is in {log}.")
    except KeyboardInterrupt:
        return
    finally:
        _stop(child)


def _free_port() -> int:
    for port in (_PREFERRED_PORT, 0):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    raise DagsterUIError("This machine has no free port on 127.0.0.1 for Dagster's UI.")


def _wait_until_it_answers(child: subprocess.Popen[bytes], url: str, log: Path) -> None:
    def should_stop(state: tenacity.RetryCallState) -> bool:
        return child.poll() is not None or (state.seconds_since_start or 0.0) > _START_SECONDS

    try:
        tenacity.Retrying(
            retry=tenacity.retry_if_exception_type(requests.RequestException),
            wait=tenacity.wait_fixed(0.3),
            stop=should_stop,
            reraise=True,
        )(requests.get, url, timeout=5)
    except requests.RequestException as error:
        raise DagsterUIError(
            f"Dagster's UI did not come up within {_START_SECONDS:.0f} s; the reason is in {log}."
        ) from error


def _stop(child: subprocess.Popen[bytes]) -> None:
    """Interrupt it, as Ctrl-C would, so that it stops its own children; kill what is left."""
    if child.poll() is None:
        child.send_signal(signal.SIGINT)
    try:
        child.wait(_STOP_SECONDS)
    except subprocess.TimeoutExpired:
        os.killpg(child.pid, signal.SIGKILL)
        child.wait()
