"""The job that loads partitions on Databricks: started by Dagster through Pipes, or by itself with a site file.

Dagster leaves the site and the partitions in a file of a Unity Catalog volume, and the job leaves what became of each
partition beside it, as soon as that is known. Neither holds a secret: the site names environment variables, which the
cluster has, or, on serverless compute, which has none, references to a secret scope, which are resolved here.

    pi-dagster-job --site /Workspace/pi/defs.yaml --first-day 2026-11-02 --last-day 2026-11-03
"""

from __future__ import annotations

import argparse
import logging
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import date, datetime, timedelta, timezone
from typing import Any

from dagster_pipes import (
    PipesCliArgsParamsLoader,
    PipesParamsLoader,
    PipesUnityCatalogVolumesContextLoader,
    PipesUnityCatalogVolumesMessageWriter,
    open_dagster_pipes,
)
from pyspark.sql import SparkSession

from pi_dagster.ingest.errors import PARTITION_ERRORS, IngestError
from pi_dagster.ingest.load_plans import Partition
from pi_dagster.ingest.outcomes import outcome_message
from pi_dagster.ingest.source import open_source
from pi_dagster.ingest.timeseries import Outcome, run_in_turn
from pi_dagster.lake import Lake
from pi_dagster.site import Serverless, Site, secret_from_environment
from pi_dagster.spark.data_source import register
from pi_dagster.spark.engine import partitions_in_spark
from pi_dagster.spark.options import OptionError, read_site

_MESSAGE_SECONDS = 2

_log = logging.getLogger(__name__)


class PartitionsFailedError(IngestError):
    """Not every partition was loaded; it ends the job, so that Databricks shows it as failed."""


def main() -> None:
    """What the entry point `pi-dagster-job` runs.

    Raises:
        PartitionsFailedError: a partition was not loaded; those before it were.
    """
    parameters: PipesParamsLoader = PipesCliArgsParamsLoader()  # type: ignore[no-untyped-call]
    if parameters.is_dagster_pipes_process():
        _run_for_dagster(parameters)
    else:
        _run_by_itself()


def load(site: Site, partitions: Sequence[Partition], *, run_id: str) -> Iterator[Outcome]:
    """Load whole days with the session that Databricks has made, each with a commit of its own.

    Args:
        site: the settings.
        partitions: which, in order.
        run_id: kept in the commits' metadata.
    """
    spark = SparkSession.builder.getOrCreate()
    staging = None
    if site.databricks is not None and isinstance(site.databricks.compute, Serverless):
        register(spark, variables=_resolved(site.databricks.secrets))
        # Its executors cannot keep rows.
        staging = f"{site.databricks.volume_path}/rows"
    else:
        register(spark)
    lake = Lake(site.lake.uri, site.lake.resolve_storage_options())
    with open_source(site.server) as source:
        loads = partitions_in_spark(site, source, lake, spark, partitions, run_id=run_id, staging=staging)
        yield from run_in_turn(loads, goes_on_after=PARTITION_ERRORS)


def _run_for_dagster(parameters: PipesParamsLoader) -> None:
    with open_dagster_pipes(
        params_loader=parameters,
        context_loader=PipesUnityCatalogVolumesContextLoader(),
        message_writer=PipesUnityCatalogVolumesMessageWriter(interval=_MESSAGE_SECONDS),
    ) as pipes:
        site = Site.model_validate(pipes.extras["site"])
        partitions = [(date.fromisoformat(day), tag_group) for day, tag_group in pipes.extras["partitions"]]

        def tell(outcome: Outcome) -> None:
            pipes.report_custom_message(outcome_message(*outcome))

        _finish(load(site, partitions, run_id=pipes.run_id), len(partitions), tell)


def _run_by_itself() -> None:
    site, partitions = _of_arguments()
    _finish(load(site, partitions, run_id=os.environ.get("DATABRICKS_JOB_RUN_ID", "job")), len(partitions))


def _finish(outcomes: Iterator[Outcome], asked: int, tell: Callable[[Outcome], None] = lambda outcome: None) -> None:
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    failed = []
    loaded = 0
    for (day, tag_group), outcome in outcomes:
        if isinstance(outcome, Exception):
            failed.append(f"{day}|{tag_group}: {outcome}")
            _log.error("%s", failed[-1])
        else:
            loaded += 1
            _log.info(
                "%s|%s: %d rows in %.1f s (%d of %d)", day, tag_group, outcome.rows, outcome.seconds, loaded, asked
            )
        tell(((day, tag_group), outcome))
    if failed:
        raise PartitionsFailedError(f"{loaded} of {asked} partitions were loaded and stay. {' '.join(failed)}")


def _resolved(references: Mapping[str, str]) -> dict[str, str]:
    """The secrets that `scope/key` stand for, as the workspace has them."""
    # What Databricks' runtime has, and other machines need not.
    from databricks.sdk import WorkspaceClient

    secrets = WorkspaceClient().dbutils.secrets
    for variable, reference in references.items():
        os.environ[variable] = secrets.get(*reference.split("/", 1))
    return {
        variable: secret_from_environment(variable, setting="databricks.compute.secrets") for variable in references
    }


def _of_arguments() -> tuple[Site, list[Partition]]:
    yesterday = datetime.now(timezone.utc).date() - timedelta(days=1)
    parser = argparse.ArgumentParser(
        prog="pi-dagster-job",
        description="Load whole days of pi_timeseries with Databricks' Spark session. pi_points has to be loaded.",
    )
    parser.add_argument("--site", required=True, help="path of a site file without templates, or its JSON")
    parser.add_argument("--first-day", type=date.fromisoformat, default=yesterday, help="default: yesterday (UTC)")
    parser.add_argument("--last-day", type=date.fromisoformat, default=yesterday, help="default: yesterday (UTC)")
    arguments: Any = parser.parse_args()
    days = (arguments.last_day - arguments.first_day).days + 1
    if days < 1:
        parser.error(f"the last day, {arguments.last_day}, is before the first, {arguments.first_day}")
    try:
        site = read_site(arguments.site)
    except OptionError as error:
        parser.error(str(error))
    return site, [
        (arguments.first_day + timedelta(days=number), tag_group)
        for number in range(days)
        for tag_group in site.partition_names()
    ]
