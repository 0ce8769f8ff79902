"""How runs are launched on one machine: as Dagster does, and a run whose process is gone does not stay `Started`.

The code server launches a run and watches its process. When both are killed at once, by a power cut or a kernel short
of memory, Dagster's own launcher leaves the run `Started` for ever, and with it waits what waits for it: the backfill
that it belongs to, and the schedule, which does not ask for today while today is being loaded.
"""

from __future__ import annotations

from typing import Any

import grpc
from dagster import DagsterRun
from dagster._core.errors import DagsterUserCodeUnreachableError
from dagster._core.launcher import CheckRunHealthResult, DefaultRunLauncher, WorkerStatus
from dagster._grpc.types import CanCancelExecutionRequest, CanCancelExecutionResult
from dagster._serdes import deserialize_value

_SECONDS_TO_ANSWER = 15
"""Run monitoring asks for one run after the other."""


class WatchingRunLauncher(DefaultRunLauncher):
    """Dagster's default launcher, with which run monitoring also finds runs that nobody watches any more.

    `dagster.yaml` names it. Run monitoring fails such a run, and run retries start it anew. Should its process live on
    without its code server, that does no harm: a window is committed whole or not at all, by whichever run.
    """

    @property
    def supports_check_run_worker_health(self) -> bool:
        """True, so that run monitoring asks."""
        return True

    def check_run_worker_health(self, run: DagsterRun) -> CheckRunHealthResult:
        """Whether the code server that launched the run still watches it; a server that is only slow counts as so."""
        launcher: Any = self
        code_server = launcher._get_grpc_client_for_termination(run.run_id)
        if code_server is None:
            return CheckRunHealthResult(WorkerStatus.UNKNOWN, "it is not known which code server launched the run")
        try:
            answer = code_server.can_cancel_execution(
                CanCancelExecutionRequest(run_id=run.run_id), timeout=_SECONDS_TO_ANSWER
            )
        except DagsterUserCodeUnreachableError as error:
            cause = error.__cause__
            if isinstance(cause, grpc.RpcError) and cause.code() is grpc.StatusCode.UNAVAILABLE:
                return CheckRunHealthResult(WorkerStatus.NOT_FOUND, "the code server that launched the run is gone")
            return CheckRunHealthResult(WorkerStatus.RUNNING)
        if deserialize_value(answer, CanCancelExecutionResult).can_cancel:
            return CheckRunHealthResult(WorkerStatus.RUNNING)
        return CheckRunHealthResult(WorkerStatus.NOT_FOUND, "the code server has no such run any more")
