"""How an asset fails: in words for the plant, and without taking down partitions that could still be loaded."""

from __future__ import annotations

import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import dagster as dg

from pi_dagster.assets.metadata import Metadata
from pi_dagster.assets.metadata_tables import failed_tags_table
from pi_dagster.automation.run_failures import FAILED_PARTITIONS
from pi_dagster.ingest.errors import IngestError, TagsFailedError
from pi_dagster.ingest.report import FailedTag
from pi_dagster.lake.errors import LakeError
from pi_dagster.piwebapi import errors as piwebapi
from pi_dagster.redaction import redacted
from pi_dagster.site import SecretMissingError

EXPECTED_ERRORS = (piwebapi.PIWebAPIError, IngestError, LakeError, SecretMissingError)
"""Errors whose message tells the user what to do; everything else is a defect and keeps its stack trace."""


@dataclass(frozen=True)
class FailedPartition:
    """A partition that was not loaded, and why."""

    key: str
    error: Exception

    @property
    def failed_tags(self) -> Sequence[FailedTag]:
        """The tags that could not be read, where that was the reason."""
        return self.error.failed_tags if isinstance(self.error, TagsFailedError) else ()


@contextmanager
def errors_told_plainly() -> Iterator[None]:
    """Turn an expected error into a `dagster.Failure`, which the UI shows without a stack trace.

    Dagster keeps what is raised, and what that was raised from, in its event log; no secret may be in it.
    """
    try:
        yield
    except EXPECTED_ERRORS as error:
        raise dg.Failure(redacted(str(error))) from without_secrets(error)
    except Exception as error:
        if (harmless := without_secrets(error)) is not error:
            raise harmless from None
        raise


def without_secrets(error: Exception) -> Exception:
    """`error` itself, or, where it or what led to it tells a secret, another that tells all but that."""
    told = "".join(traceback.format_exception(error))
    return error if redacted(told) == told else RuntimeError(redacted(told))


def partitions_failure(failed: Sequence[FailedPartition], *, not_tried: Sequence[str], loaded: int) -> dg.Failure:
    """The end of a run in which not every partition was loaded.

    Args:
        failed: at least one partition that failed.
        not_tried: partitions left out because the last failure concerns the whole server or lake.
        loaded: how many partitions were loaded; they stay loaded.
    """
    total = loaded + len(failed) + len(not_tried)
    reasons = " ".join(f"{partition.key}: {partition.error}" for partition in failed)
    left_out = f" Not tried after that: {len(not_tried)} ({not_tried[0]} to {not_tried[-1]})." if not_tried else ""
    metadata: Metadata = {FAILED_PARTITIONS: dg.MetadataValue.text(", ".join(partition.key for partition in failed))}
    for partition in failed:
        if partition.failed_tags:
            metadata[f"pi/failed_tags/{partition.key}"] = failed_tags_table(partition.failed_tags)
    return dg.Failure(
        f"{len(failed)} of {total} partitions failed; {loaded} were loaded and stay. {reasons}{left_out}",
        metadata=metadata,
    )
