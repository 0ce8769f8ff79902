"""What became of a partition as a message between processes: a report or an error, in JSON and back.

A load that another machine runs tells by these what it did, so that what Dagster shows of it, and what goes on after an
error, is decided by the same code as for a load of this machine.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date
from typing import Any

import msgspec
import pyarrow as pa

from pi_dagster.ingest.errors import IngestError, TagsFailedError
from pi_dagster.ingest.load_plans import Partition
from pi_dagster.ingest.report import FailedTag, WindowReport
from pi_dagster.ingest.window import Window
from pi_dagster.lake.errors import LakeError
from pi_dagster.piwebapi import PIWebAPIError
from pi_dagster.redaction import redacted
from pi_dagster.site import SecretMissingError

TOLD_ERRORS = (IngestError, LakeError, PIWebAPIError, SecretMissingError)
"""Errors that have a message of their own; others are defects, and end the process."""

_UNREAD_TAGS: Mapping[str, Any] = {
    "window": Window | None,
    "failed_tags": tuple[FailedTag, ...],
    "gone_tags": tuple[FailedTag, ...],
}


@dataclass(frozen=True, kw_only=True)
class ToldError:
    """An error by the name of its class."""

    kind: str
    args: tuple[str, ...]
    details: Mapping[str, Any] = field(default_factory=dict)
    """Its attributes."""


@dataclass(frozen=True, kw_only=True)
class OutcomeMessage:
    """What became of one partition, or why there was none to begin with."""

    partition: tuple[date, str] | None
    report: WindowReport | None = None
    error: ToldError | None = None


def message_of(partition: Partition | None, outcome: WindowReport | Exception) -> Any:
    """An outcome as plain JSON values.

    Args:
        partition: which; None for an error that came before the first.
        outcome: one of TOLD_ERRORS where it is an error.
    """
    if isinstance(outcome, WindowReport):
        message = OutcomeMessage(partition=partition, report=outcome)
    else:
        told = ToldError(
            kind=type(outcome).__name__,
            args=tuple(redacted(str(argument)) for argument in outcome.args),
            details=msgspec.to_builtins(vars(outcome)),
        )
        message = OutcomeMessage(partition=partition, error=told)
    return msgspec.to_builtins(message, enc_hook=_table_to_bytes)


def outcome_in(message: Any) -> tuple[Partition | None, WindowReport | Exception]:
    """The outcome that `message_of` told.

    Raises:
        ValueError: the message is none of these, as from another version of pi_dagster.
    """
    try:
        told = msgspec.convert(message, OutcomeMessage, dec_hook=_table_from_bytes)
        if told.report is not None:
            return told.partition, told.report
        if told.error is not None:
            return told.partition, _error(told.error)
    except msgspec.ValidationError as error:
        raise ValueError(f"it is not what this version of pi_dagster tells: {error}") from None
    raise ValueError("it holds neither a report nor an error")


def error_kinds(names: Iterator[str] | tuple[str, ...]) -> tuple[type[Exception], ...]:
    """The classes of TOLD_ERRORS by these names."""
    known = _classes()
    return tuple(known[name] for name in names if name in known)


def _error(told: ToldError) -> Exception:
    kind = _classes().get(told.kind, IngestError)
    # Not by calling it, as each has arguments of its own; what they left in the error is told.
    error = kind.__new__(kind)
    error.args = told.args
    types = _UNREAD_TAGS if kind is TagsFailedError else {}
    for name, value in told.details.items():
        setattr(error, name, msgspec.convert(value, types.get(name, Any)))
    return error


def _classes() -> dict[str, type[Exception]]:
    def below(kind: type[Exception]) -> Iterator[type[Exception]]:
        yield kind
        for child in kind.__subclasses__():
            yield from below(child)

    return {kind.__name__: kind for root in TOLD_ERRORS for kind in below(root)}


def _table_to_bytes(value: Any) -> bytes:
    if not isinstance(value, pa.Table):
        raise NotImplementedError(f"{type(value).__name__} has no form in a message")
    sink = io.BytesIO()
    with pa.ipc.new_stream(sink, value.schema) as writer:
        writer.write_table(value)
    return sink.getvalue()


def _table_from_bytes(wanted: type, value: Any) -> Any:
    if wanted is not pa.Table:
        raise NotImplementedError(f"{wanted.__name__} has no form in a message")
    return pa.ipc.open_stream(msgspec.convert(value, bytes)).read_all()
