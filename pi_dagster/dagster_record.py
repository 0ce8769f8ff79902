"""Dagster's record as a command finds it: that of DAGSTER_HOME, or of the dagster.yaml in the current folder.

That is how `dagster dev` finds it too, so that a command started beside it sees the same runs.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import dagster as dg
from dagster._core.instance.ref import InstanceRef
from sqlalchemy.exc import SQLAlchemyError

from pi_dagster.redaction import redacted

_NO_CAPTURE = {
    "compute_logs": {"module": "dagster._core.storage.noop_compute_log_manager", "class": "NoOpComputeLogManager"}
}
"""Capturing the output of a run in this process would capture the command's own."""

SIGN_OF_LIFE_SECONDS = 90.0
"""Dagster's daemon leaves one every 30 s."""

_BACKFILL_DAEMON = "BACKFILL"


class DagsterRecordError(Exception):
    """Dagster's record cannot be opened; the message says which setting is wrong."""


@dataclass(frozen=True)
class DagsterRecord:
    """Dagster's runs and materializations.

    Args:
        instance: Dagster's own face of it.
        is_kept: False where nothing names a place for it, so that it ends with this process.
    """

    instance: dg.DagsterInstance
    is_kept: bool

    def has_running_daemon(self) -> bool:
        """Whether Dagster's daemon, which executes backfills, has shown a sign of life a short while ago."""
        sign = self.instance.get_daemon_heartbeats().get(_BACKFILL_DAEMON)
        return sign is not None and time.time() - sign.timestamp < SIGN_OF_LIFE_SECONDS


@contextmanager
def open_record() -> Iterator[DagsterRecord]:
    """The record, for runs in this process as well.

    Raises:
        DagsterRecordError: there is no folder that DAGSTER_HOME names, or its dagster.yaml cannot be used.
    """
    home = os.environ.get("DAGSTER_HOME")
    settings = Path(home or ".", "dagster.yaml").absolute()
    if home and not (Path(home).is_absolute() and Path(home).is_dir()):
        raise DagsterRecordError(f"DAGSTER_HOME is {home}, which must be the absolute path of a folder that exists.")
    with ExitStack() as stack:
        if not home and not settings.exists():
            yield DagsterRecord(stack.enter_context(dg.DagsterInstance.ephemeral()), is_kept=False)
            return
        # Dagster wants a home for what the settings give no place.
        folder = home or stack.enter_context(TemporaryDirectory())
        try:
            place = InstanceRef.from_dir(folder, config_dir=str(settings.parent), overrides=_NO_CAPTURE)
            instance = stack.enter_context(dg.DagsterInstance.from_ref(place))
        except (dg.DagsterError, ImportError, SQLAlchemyError) as error:
            reason = redacted(str(error).strip().splitlines()[0])
            raise DagsterRecordError(
                f"Dagster's record cannot be opened by {settings}: {reason} Correct that file; `dagster dev` "
                "refuses it too."
            ) from None
        yield DagsterRecord(instance, is_kept=True)
