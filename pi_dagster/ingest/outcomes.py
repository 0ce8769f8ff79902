"""What became of a partition, as a message that one machine sends to another.

The machine that loads is not always the one that tells Dagster: a job on Databricks sends each outcome as soon as it is
known, and the asset treats it as if it had loaded the partition itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from typing import Any

import msgspec
import pyarrow as pa

from pi_dagster.ingest.errors import PARTITION_ERRORS, IngestError, RemotePartitionError, TagsFailedError
from pi_dagster.ingest.load_plans import Partition
from pi_dagster.ingest.report import FailedTag, WindowReport
from pi_dagster.ingest.timeseries import Outcome
from pi_dagster.ingest.window import Window


class _Error(msgspec.Struct, frozen=True, kw_only=True):
    message: str
    of_partition: bool
    """False when the next partition would fail in the same way."""
    partition: str = ""
    window: Window | None = None
    failed_tags: tuple[FailedTag, ...] = ()
    gone_tags: tuple[FailedTag, ...] = ()


class _Message(msgspec.Struct, frozen=True, kw_only=True):
    day: date
    tag_group: str
    report: WindowReport | None = None
    error: _Error | None = None


def outcome_message(partition: Partition, outcome: WindowReport | Exception) -> dict[str, Any]:
    """An outcome as plain JSON values.

    Args:
        partition: whose it is.
        outcome: the report of its load, or why it failed; messages of our own errors hold no secret.
    """
    day, tag_group = partition
    if isinstance(outcome, WindowReport):
        message = _Message(day=day, tag_group=tag_group, report=outcome)
    else:
        message = _Message(day=day, tag_group=tag_group, error=_error(partition, outcome))
    plain: dict[str, Any] = msgspec.to_builtins(message, enc_hook=_encoded)
    return plain


def outcome_of(message: Mapping[str, Any]) -> Outcome:
    """The partition and what became of it, from a message of `outcome_message`.

    An error comes back as one that the asset treats in the same way: a TagsFailedError as itself, another error of a
    partition as RemotePartitionError, any other as IngestError.

    Raises:
        msgspec.ValidationError: it is no such message, as from another version of pi_dagster.
    """
    told = msgspec.convert(message, _Message, dec_hook=_decoded)
    partition = (told.day, told.tag_group)
    if told.report is not None:
        return partition, told.report
    if told.error is None:
        raise msgspec.ValidationError("the message tells neither a report nor an error")
    return partition, _exception(told.error)


def _error(partition: Partition, error: Exception) -> _Error:
    of_partition = isinstance(error, PARTITION_ERRORS)
    if not isinstance(error, TagsFailedError):
        return _Error(message=str(error), of_partition=of_partition)
    day, tag_group = partition
    return _Error(
        message=str(error),
        of_partition=of_partition,
        partition=f"{tag_group} on {day}",
        window=error.window,
        failed_tags=error.failed_tags,
        gone_tags=error.gone_tags,
    )


def _exception(error: _Error) -> IngestError:
    if error.failed_tags:
        return TagsFailedError(error.partition, error.failed_tags, window=error.window, gone_tags=error.gone_tags)
    return RemotePartitionError(error.message) if error.of_partition else IngestError(error.message)


def _encoded(value: Any) -> bytes:
    """A sample of rows in Arrow's own format, which msgspec writes as base64."""
    if not isinstance(value, pa.Table):
        raise NotImplementedError(f"{type(value).__name__} has no place in a message")
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, value.schema) as writer:
        writer.write_table(value)
    return bytes(sink.getvalue())


def _decoded(wanted: type, value: Any) -> Any:
    if wanted is not pa.Table:
        raise NotImplementedError(f"{wanted.__name__} has no place in a message")
    content = msgspec.convert(value, bytes)
    with pa.ipc.open_stream(content) as reader:
        return reader.read_all()
