"""Days of pi_timeseries that a job on Databricks loads: it is started, watched, told of, and cancelled with the run.

Dagster Pipes carries what both sides say through files of a Unity Catalog volume, as DBFS is off in many workspaces.
The job sends the outcome of each partition as soon as it is known, and the asset records it as if it had loaded the
partition itself. Hence the job is submitted here, with Databricks' SDK, and not by `PipesDatabricksClient.run`: that
returns when all is over, and takes a cancelled run for one that went well (dagster-databricks 0.29.27).
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from queue import Empty, SimpleQueue
from typing import Any

import dagster as dg
from dagster_databricks.pipes import PipesUnityCatalogVolumesContextInjector, PipesUnityCatalogVolumesMessageReader
from databricks.sdk import WorkspaceClient
from databricks.sdk.errors import DatabricksError
from databricks.sdk.service import compute, jobs
from msgspec import ValidationError

from pi_dagster.ingest.errors import PARTITION_ERRORS, IngestError
from pi_dagster.ingest.load_plans import Partition
from pi_dagster.ingest.outcomes import outcome_of
from pi_dagster.ingest.report import WindowReport
from pi_dagster.ingest.timeseries import Outcome
from pi_dagster.redaction import redacted
from pi_dagster.site import DatabricksSettings, ExistingCluster, NewCluster, Site

_ENDED = (
    jobs.RunLifeCycleState.TERMINATED,
    jobs.RunLifeCycleState.SKIPPED,
    jobs.RunLifeCycleState.INTERNAL_ERROR,
)
_TASK = "pi_timeseries"
_NO_ANSWER = (DatabricksError, TimeoutError)
"""Of the SDK's requests; one that it repeated in vain ends with the second."""


class DatabricksJobError(IngestError):
    """The workspace did not take the job, or the job did not do all that it was to do."""


def days_on_databricks(
    site: Site, context: dg.AssetExecutionContext, partitions: Sequence[Partition]
) -> Iterator[Outcome]:
    """Load whole days in one job; each partition is given as soon as the job tells of it.

    When the run is cancelled, or whoever takes the partitions stops, the job is cancelled.

    Args:
        site: the settings, with the section `databricks`.
        context: of the run that shows the job.
        partitions: which, in order.
    """
    settings = site.databricks
    assert settings is not None
    untold = deque(partitions)
    try:
        workspace = WorkspaceClient()
    except ValueError as error:
        yield untold[0], DatabricksJobError(f"There is no login to a Databricks workspace: {redacted(str(error))}")
        return
    # A session of Pipes makes Dagster insist on an output of the whole run; ours are events, partition by partition.
    setattr(context, "set_requires_typed_event_stream", lambda **_: None)  # noqa: B010 - a method
    reader = _OutcomeReader(workspace, settings)
    last: WindowReport | Exception | None = None
    trouble: DatabricksJobError | None = None
    try:
        with dg.open_pipes_session(
            context=context,
            context_injector=PipesUnityCatalogVolumesContextInjector(
                client=workspace, volume_path=settings.volume_path
            ),
            message_reader=reader,
            extras={
                "site": site.describe(),
                "partitions": [[day.isoformat(), tag_group] for day, tag_group in partitions],
            },
        ) as session:
            job = _Job.submit(workspace, site, context, session.get_bootstrap_cli_arguments())
            try:
                job.look()
                context.log_event(
                    dg.AssetObservation(context.asset_key, metadata={"databricks/run": dg.MetadataValue.url(job.page)})
                )
                context.log.info(f"{len(partitions)} partitions are loaded by a job on Databricks: {job.page}")
                while not job.has_ended():
                    for partition, last in reader.arrived(settings.poll_interval_seconds):
                        untold.remove(partition)
                        yield partition, _with_page(last, job)
            finally:
                job.cancel()
        for partition, last in reader.arrived(0):
            untold.remove(partition)
            yield partition, _with_page(last, job)
        trouble = job.trouble()
    except DatabricksError as error:
        trouble = DatabricksJobError(f"Databricks refused: {redacted(str(error)).rstrip('.')}.")
    except TimeoutError as error:
        trouble = DatabricksJobError(
            f"The workspace of Databricks did not answer in time ({redacted(str(error))}). Run again once it does."
        )
    except ValidationError as error:
        trouble = DatabricksJobError(
            f"The job on Databricks tells what is not understood here ({error}). Install the same version of "
            "pi_dagster there, by `databricks.libraries`."
        )
    gave_up = isinstance(last, Exception) and not isinstance(last, PARTITION_ERRORS)
    if untold and not gave_up:
        yield untold[0], trouble or DatabricksJobError("The job on Databricks ended without a word of this partition.")


class _OutcomeReader(PipesUnityCatalogVolumesMessageReader):  # type: ignore[misc]
    """Reads what the job says, and keeps the outcomes among it as they come."""

    def __init__(self, workspace: WorkspaceClient, settings: DatabricksSettings) -> None:
        super().__init__(
            interval=settings.poll_interval_seconds,
            client=workspace,
            volume_path=settings.volume_path,
            # It is on the job's own page, where nobody has to wonder what else it holds.
            include_stdio_in_messages=False,
        )
        self._messages: SimpleQueue[dict[str, Any]] = SimpleQueue()

    def download_messages_chunk(self, index: int, params: Any) -> str | None:
        chunk: str | None = super().download_messages_chunk(index, params)
        for line in (chunk or "").splitlines():
            message = json.loads(line)
            if message["method"] == "report_custom_message":
                self._messages.put(message["params"]["payload"])
        return chunk

    def arrived(self, seconds: float) -> Iterator[Outcome]:
        """What has come, and what comes within some seconds of the one before.

        Raises:
            ValidationError: a message of another version of pi_dagster.
        """
        while True:
            try:
                message = self._messages.get(timeout=seconds) if seconds else self._messages.get_nowait()
            except Empty:
                return
            yield outcome_of(message)


class _Job:
    """A run of the job in the workspace."""

    def __init__(self, workspace: WorkspaceClient, run_id: int, log: dg.DagsterLogManager) -> None:
        self._workspace = workspace
        self._run_id = run_id
        self._log = log
        # Not asked yet, as it has to be cancelled even when the workspace does not tell of it.
        self._run = jobs.Run()

    @classmethod
    def submit(
        cls,
        workspace: WorkspaceClient,
        site: Site,
        context: dg.AssetExecutionContext,
        arguments: Mapping[str, str],
    ) -> _Job:
        """Start it.

        Args:
            workspace: where.
            site: the settings.
            context: of the run in Dagster.
            arguments: how the job finds what Dagster left for it.

        Raises:
            DatabricksError: the workspace does not take it.
        """
        settings = site.databricks
        assert settings is not None
        task = submit_task(site, [part for argument in arguments.items() for part in argument])
        submitted = workspace.jobs.submit(
            run_name=f"{site.name}: pi_timeseries",
            tasks=[task],
            environments=job_environments(settings),
            timeout_seconds=settings.timeout_minutes * 60,
            # The SDK repeats a request whose answer was lost.
            idempotency_token=f"{context.run.run_id}-{context.retry_number}",
        )
        return cls(workspace, submitted.bind()["run_id"], context.log)

    @property
    def page(self) -> str:
        """Where a browser shows it."""
        return self._run.run_page_url or f"{self._workspace.config.host}/#job/runs/{self._run_id}"

    def look(self) -> None:
        """Ask the workspace how it is."""
        self._run = self._workspace.jobs.get_run(self._run_id)

    def has_ended(self) -> bool:
        """Ask the workspace whether it has."""
        self.look()
        return self._state.life_cycle_state in _ENDED

    def cancel(self) -> None:
        """End it, unless it has ended."""
        if self._state.life_cycle_state in _ENDED:
            return
        try:
            self._workspace.jobs.cancel_run(self._run_id)
        except _NO_ANSWER as error:
            # What made us cancel it is to be told, not this.
            self._log.warning(f"The job on Databricks could not be cancelled: {redacted(str(error))}. See {self.page}")

    def trouble(self) -> DatabricksJobError | None:
        """Why it did not end well, in the words of Databricks and of the task."""
        state = self._state
        if state.result_state == jobs.RunResultState.SUCCESS:
            return None
        ending = (state.result_state or state.life_cycle_state or jobs.RunResultState.FAILED).value
        reasons = [state.state_message or "", *map(self._error_of, self._run.tasks or [])]
        told = " ".join(redacted(reason.strip()) for reason in reasons if reason.strip())
        return DatabricksJobError(f"The job on Databricks ended as {ending}. {told} Its page is {self.page}.")

    @property
    def _state(self) -> jobs.RunState:
        return self._run.state or jobs.RunState()

    def _error_of(self, task: jobs.RunTask) -> str:
        try:
            return self._workspace.jobs.get_run_output(task.run_id or 0).error or ""
        except _NO_ANSWER:
            return ""


def submit_task(site: Site, parameters: Sequence[str]) -> jobs.SubmitTask:
    """The job's one task.

    Args:
        site: the settings, with the section `databricks`. Of secrets it has references, which Databricks resolves.
        parameters: what the entry point is given.
    """
    settings = site.databricks
    assert settings is not None
    task = jobs.SubmitTask(
        task_key=_TASK,
        python_wheel_task=jobs.PythonWheelTask(
            package_name="pi_dagster", entry_point="pi-dagster-job", parameters=list(parameters)
        ),
    )
    where = settings.compute
    if isinstance(where, NewCluster):
        task.new_cluster = compute.ClusterSpec(
            spark_version=where.spark_version,
            node_type_id=where.node_type_id,
            num_workers=where.workers,
            policy_id=where.policy_id,
            data_security_mode=compute.DataSecurityMode.SINGLE_USER,
            spark_conf=dict(site.spark.settings) or None,
            spark_env_vars={name: f"{{{{secrets/{secret}}}}}" for name, secret in where.secrets.items()} or None,
        )
    elif isinstance(where, ExistingCluster):
        task.existing_cluster_id = where.cluster_id
    else:
        task.environment_key = _TASK
        return task
    task.libraries = [
        compute.Library(whl=library)
        if library.endswith(".whl")
        else compute.Library(pypi=compute.PythonPyPiLibrary(package=library))
        for library in settings.libraries
    ]
    return task


def job_environments(settings: DatabricksSettings) -> list[jobs.JobEnvironment] | None:
    """The Python environment of serverless compute, which clusters do not have."""
    where = settings.compute
    if isinstance(where, NewCluster | ExistingCluster):
        return None
    spec = compute.Environment(environment_version=where.environment_version, dependencies=list(settings.libraries))
    return [jobs.JobEnvironment(environment_key=_TASK, spec=spec)]


def _with_page(outcome: WindowReport | Exception, job: _Job) -> WindowReport | Exception:
    return replace(outcome, job_page=job.page) if isinstance(outcome, WindowReport) else outcome
