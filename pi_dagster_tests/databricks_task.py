"""What a cluster does for a task of a job: a Spark session, then the entry point that the task names.

    python -m pi_dagster_tests.databricks_task FOLDER TASK

`FOLDER/Volumes` is mounted at `/Volumes`, as far as the job goes: where its parameters or its settings name a volume,
it finds that folder.
"""

from __future__ import annotations

import functools
import json
import sys
from importlib.metadata import distribution
from typing import Any

from dagster_pipes import decode_param, encode_param

from pi_dagster.spark.session import open_session
from pi_dagster_tests.conftest import LOCAL_SPARK

_JAVA_OPTIONS = "spark.driver.extraJavaOptions"
# The JVM lives for a minute: code that it would compile a second time, better, does not earn that back.
_SPARK = {**LOCAL_SPARK, _JAVA_OPTIONS: f"{LOCAL_SPARK[_JAVA_OPTIONS]} -XX:TieredStopAtLevel=1 -XX:+UseSerialGC"}


def main(folder: str, task: str) -> None:
    """Run the task."""
    wheel = json.loads(task)["python_wheel_task"]
    [entry_point] = distribution(wheel["package_name"]).entry_points.select(name=wheel["entry_point"])
    session = open_session("local[2]", _SPARK)
    sys.argv = [wheel["entry_point"], *(_mounted(folder, parameter) for parameter in wheel["parameters"])]
    run = entry_point.load()

    from pi_dagster.spark import job

    job.partitions_in_spark = functools.partial(_with_staging, folder, job.partitions_in_spark)  # type: ignore[assignment]
    try:
        run()
    finally:
        session.stop()


def _mounted(folder: str, parameter: str) -> str:
    if parameter.startswith("--"):
        return parameter
    told = decode_param(parameter)
    return encode_param({**told, "path": f"{folder}{told['path']}"})


def _with_staging(folder: str, partitions_in_spark: Any, *arguments: Any, staging: str | None, **named: Any) -> Any:
    return partitions_in_spark(*arguments, staging=staging and f"{folder}{staging}", **named)


if __name__ == "__main__":
    main(*sys.argv[1:])
