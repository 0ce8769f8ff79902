"""With PI_DAGSTER_NO_SKIPS set, as .ci/run does, a test that is skipped fails: what it needs should be installed.

Tests of the data in the sibling folder `../shared` may be skipped where that folder does not exist.
"""

from __future__ import annotations

import os
import signal
import uuid
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, settings

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

SHARED = Path(__file__).parents[2] / "shared"

# Dagster's instances in memory have telemetry on, and would leave its log in the home of whoever runs the tests.
os.environ["DAGSTER_DISABLE_TELEMETRY"] = "yes"

# A shell that starts the tests in the background has them ignore Ctrl-C, and so would the commands that they start.
signal.signal(signal.SIGINT, signal.default_int_handler)

# How long a test takes says nothing about what it tests.
settings.register_profile("without_a_clock", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("without_a_clock")


@pytest.fixture(autouse=True)
def _forgetful(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    """A password that one test has refused may be tried by the next."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path_factory.getbasetemp() / f"state-{uuid.uuid4().hex}"))


LOCAL_SPARK = {
    "spark.ui.enabled": "false",
    "spark.driver.bindAddress": "127.0.0.1",
    "spark.driver.host": "127.0.0.1",
    "spark.sql.shuffle.partitions": "2",
    "spark.log.level": "ERROR",
    # A clock that is not UTC's, as those of plants are.
    "spark.driver.extraJavaOptions": "-Duser.timezone=America/New_York",
}


@pytest.fixture(scope="session")
def spark(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SparkSession]:
    """The one session of all Spark tests: a JVM takes a quarter of a minute to start."""
    pytest.importorskip("pyspark", reason="the extra `spark` is not installed")
    from pi_dagster.spark.session import SparkStartError, open_session

    try:
        warehouse = str(tmp_path_factory.mktemp("warehouse"))
        session = open_session("local[2]", {**LOCAL_SPARK, "spark.sql.warehouse.dir": warehouse})
    except SparkStartError as error:
        pytest.skip(str(error))
    yield session
    session.stop()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    _refuse_to_skip(report)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    report = yield
    _refuse_to_skip(report)
    return report


def _refuse_to_skip(report: Any) -> None:
    if not os.environ.get("PI_DAGSTER_NO_SKIPS") or not report.skipped or hasattr(report, "wasxfail"):
        return
    reason = str(report.longrepr[2])
    if ("../shared" in reason or str(SHARED) in reason) and not SHARED.exists():
        return
    report.outcome = "failed"
    report.longrepr = f"{report.nodeid} may not be skipped here: {reason}"
