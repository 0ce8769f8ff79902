"""A Databricks workspace in place of the real one: its REST API on loopback, as far as its SDK is used here.

Jobs really run: the entry point that a task names is run by another process with a Spark session, as a cluster would
(`databricks_task.py`). Volumes are folders. What it cannot show is in docs/databricks.md.
"""

from __future__ import annotations

import base64
import json
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

TOKEN = "dapi-of-the-workspace"


class FakeWorkspace:
    """The workspace while it is served.

    Args:
        folder: where its volumes and logs are.
        secrets: by `scope/key`.
        cluster_variables: environment variables of the existing cluster.
    """

    def __init__(self, folder: Path, secrets: dict[str, str], cluster_variables: dict[str, str]) -> None:
        self.folder = folder
        self.secrets = secrets
        self.cluster_variables = cluster_variables
        self.submitted: list[dict[str, Any]] = []
        """The bodies of `jobs/runs/submit`."""
        self.passed: list[bytes] = []
        """What clients sent, and the files that they were given."""
        self.cancelled: list[int] = []
        self.refuses: dict[str, int] = {}
        """The status that a call, such as `jobs/runs/get`, is answered with instead."""
        self.url = ""
        self._timed_out: set[int] = set()
        self._processes: list[subprocess.Popen[bytes]] = []

    def local(self, volume_path: str) -> Path:
        """Where the file of a volume is on this machine."""
        return self.folder / volume_path.lstrip("/")

    def log_of(self, run_id: int) -> str:
        """What a job wrote to its standard output and error."""
        return (self.folder / f"run{run_id}.log").read_text()

    def submit(self, body: dict[str, Any]) -> int:
        """Start a job, as `jobs/runs/submit` does."""
        from databricks.sdk.service import jobs

        [task] = body["tasks"]
        # What the vendor's types do not know, the vendor's service would ignore or refuse.
        assert jobs.SubmitTask.from_dict(task).as_dict() == task
        self.submitted.append(body)
        run_id = len(self.submitted)
        log = (self.folder / f"run{run_id}.log").open("wb")
        process = subprocess.Popen(
            [sys.executable, "-m", "pi_dagster_tests.databricks_task", str(self.folder), json.dumps(task)],
            stdout=log, stderr=subprocess.STDOUT, env=self._environment(task), start_new_session=True,
        )  # fmt: skip
        log.close()
        self._processes.append(process)
        watch = threading.Timer(body["timeout_seconds"], self._time_out, [run_id])
        watch.daemon = True
        watch.start()
        return run_id

    def run(self, run_id: int) -> dict[str, Any]:
        """The state of a job, as `jobs/runs/get` tells it."""
        code = self._processes[run_id - 1].poll()
        ending = "SUCCESS" if code == 0 else "FAILED"
        if run_id in self.cancelled:
            ending = "CANCELED"
        elif run_id in self._timed_out:
            ending = "TIMEDOUT"
        told = {
            "SUCCESS": "",
            "FAILED": "Workload failed, see run output for details",
            "CANCELED": "Run cancelled.",
            "TIMEDOUT": "Run failed because it took too long.",
        }
        state = {"life_cycle_state": "RUNNING"}
        if code is not None:
            state = {"life_cycle_state": "TERMINATED", "result_state": ending, "state_message": told[ending]}
        return {
            "run_id": run_id,
            "run_page_url": f"{self.url}/jobs/1/runs/{run_id}",
            "state": state,
            "tasks": [{"run_id": run_id, "task_key": "pi_timeseries", "state": state}],
        }

    def output(self, run_id: int) -> dict[str, Any]:
        """The error of a task, as `jobs/runs/get-output` tells it: its last line, unless it was killed."""
        code = self._processes[run_id - 1].poll()
        lines = self.log_of(run_id).strip().splitlines()
        return {"error": lines[-1]} if code is not None and code > 0 and lines else {}

    def cancel(self, run_id: int) -> None:
        """Kill a job, as `jobs/runs/cancel` does, Python and JVM."""
        self.cancelled.append(run_id)
        self._kill(self._processes[run_id - 1])

    def _time_out(self, run_id: int) -> None:
        process = self._processes[run_id - 1]
        if process.poll() is None:
            self._timed_out.add(run_id)
            self._kill(process)

    def kill_all(self) -> None:
        """End what still runs."""
        for process in self._processes:
            self._kill(process)

    def _kill(self, process: subprocess.Popen[bytes]) -> None:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()

    def _environment(self, task: dict[str, Any]) -> dict[str, str]:
        kept = ("PATH", "HOME", "JAVA_HOME", "TMPDIR", "LANG")
        variables = {name: os.environ[name] for name in kept if name in os.environ}
        if "new_cluster" in task:
            variables |= task["new_cluster"].get("spark_env_vars", {})
        elif "existing_cluster_id" in task:
            variables |= self.cluster_variables
        else:
            variables |= {"DATABRICKS_HOST": self.url, "DATABRICKS_TOKEN": TOKEN}
        return {
            name: re.sub(r"^\{\{secrets/(.+)\}\}$", lambda found: self.secrets[found[1]], value)
            for name, value in variables.items()
        }


@contextmanager
def fake_workspace(
    folder: Path, *, secrets: dict[str, str] | None = None, cluster_variables: dict[str, str] | None = None
) -> Iterator[FakeWorkspace]:
    """Serve a workspace while the block lasts; what still runs then is killed."""
    workspace = FakeWorkspace(folder, secrets or {}, cluster_variables or {})
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"workspace": workspace}))
    workspace.url = f"http://127.0.0.1:{server.server_address[1]}"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield workspace
    finally:
        server.shutdown()
        server.server_close()
        workspace.kill_all()


class _Handler(BaseHTTPRequestHandler):
    workspace: FakeWorkspace
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *arguments: Any) -> None:
        """Nothing on standard error."""

    def _answer(self) -> None:
        content = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.workspace.passed.append(content)
        if self.headers.get("Authorization") != f"Bearer {TOKEN}":
            self._send(403, {"error_code": "PERMISSION_DENIED", "message": "Invalid access token."})
            return
        parts = urlsplit(self.path)
        query = {name: values[0] for name, values in parse_qs(parts.query).items()}
        found = re.match(
            r"/api/2\.\d/(jobs/runs/[a-z-]+|secrets/get|fs/files|fs/directories)(.*)$", unquote(parts.path)
        )
        if found is None:
            self._send(404, {"error_code": "ENDPOINT_NOT_FOUND", "message": f"No API found for {parts.path}"})
        elif found[1] in self.workspace.refuses:
            self._send(self.workspace.refuses[found[1]], {"error_code": "REFUSED", "message": "Not now."})
        elif found[1].startswith("fs/"):
            self._files(found[1], self.workspace.local(found[2]), content)
        else:
            self._send(200, self._called(found[1], json.loads(content) if content else query))

    do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = _answer  # noqa: N815 - http.server's names

    def _called(self, name: str, arguments: dict[str, Any]) -> dict[str, Any]:
        workspace = self.workspace
        if name == "jobs/runs/submit":
            return {"run_id": workspace.submit(arguments)}
        if name == "secrets/get":
            secret = workspace.secrets[f"{arguments['scope']}/{arguments['key']}"]
            return {"key": arguments["key"], "value": base64.b64encode(secret.encode()).decode()}
        run_id = int(arguments["run_id"])
        if name == "jobs/runs/cancel":
            workspace.cancel(run_id)
            return {}
        return workspace.run(run_id) if name == "jobs/runs/get" else workspace.output(run_id)

    def _files(self, kind: str, path: Path, content: bytes) -> None:
        if self.command == "PUT":
            if kind == "fs/directories":
                path.mkdir(parents=True, exist_ok=True)
            else:
                path.write_bytes(content)
            self._send(204, None)
        elif not path.exists() or (kind == "fs/files" and not _is_whole(path)):
            self._send(404, {"error_code": "NOT_FOUND", "message": f"{path} does not exist"})
        elif self.command == "DELETE":
            path.rmdir() if kind == "fs/directories" else path.unlink()
            self._send(204, None)
        elif kind == "fs/directories":
            contents = [
                {"name": entry.name, "path": str(entry), "is_directory": entry.is_dir()} for entry in path.iterdir()
            ]
            self._send(200, {"contents": contents})
        else:
            content = path.read_bytes()
            self.workspace.passed.append(content)
            self._send(200, content)

    def _send(self, status: int, body: dict[str, Any] | bytes | None) -> None:
        content = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/octet-stream" if isinstance(body, bytes) else "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


def _is_whole(path: Path) -> bool:
    """A file of a volume is there once it was closed; one of JSON that was not ends anywhere."""
    return path.read_bytes().endswith(b"}")
