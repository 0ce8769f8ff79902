"""A message: plain text that says what is wrong, where, since when, why, what to do, and where to look."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timezone

from pi_dagster.notifications.problems import MOST_PROBLEMS, Due, KnownProblem
from pi_dagster.redaction import redacted
from pi_dagster.server_text import printable
from pi_dagster.site import Site

_MOST_TOLD = 20
_LONGEST_REASON = 600


@dataclass(frozen=True)
class Message:
    """What is sent.

    Args:
        title: the subject of a mail.
        body: plain text.
    """

    title: str
    body: str


def message_of(site: Site, due: Due) -> Message:
    """The one message for all that an address is to be told."""
    assert site.notifications is not None
    parts = [
        *([f"{len(due.new)} new problem{'s' * (len(due.new) > 1)}"] if due.new else []),
        *([f"{len(due.over)} over"] if due.over else []),
    ]
    lines = [f"Site {site.name}, PI server {site.server.url}, lake {site.lake.uri}"]
    for known in due.new[:_MOST_TOLD]:
        lines += ["", *_told(known, site.notifications.dagster_url)]
    if len(due.new) > _MOST_TOLD:
        lines += ["", f"And {len(due.new) - _MOST_TOLD} more: see Runs and the checks in Dagster's UI."]
    if due.over:
        lines += ["", "Over:"]
        lines += [f"- {_in_one_line(known)}" for known in due.over[:_MOST_TOLD]]
        if len(due.over) > _MOST_TOLD:
            lines.append(f"- and {len(due.over) - _MOST_TOLD} more")
    if due.still_open:
        lines += ["", f"Told before and still open: {due.still_open}."]
    if len(due.new) + due.still_open >= MOST_PROBLEMS:
        lines += ["", f"No more than {MOST_PROBLEMS} problems are followed at once; there may be others."]
    return Message(f"pi_dagster {site.name}: {', '.join(parts)}", redacted("\n".join(lines)))


def trial_message(site: Site) -> Message:
    """What `pi-dagster check --notify` sends."""
    return Message(
        f"pi_dagster {site.name}: a trial",
        f"Site {site.name}, PI server {site.server.url}\n\nNothing is wrong: somebody tried whether messages arrive.",
    )


def _told(known: KnownProblem, dagster_url: str | None) -> Iterator[str]:
    problem = known.problem
    yield f"{problem.what}"
    if problem.where:
        yield f"  Where: {printable(problem.where)}"
    yield f"  Since: {_from_to(known)}"
    yield f"  Why: {printable(problem.why, _LONGEST_REASON)}"
    yield f"  What to do: {problem.remedy}"
    if dagster_url is not None:
        yield f"  See: {dagster_url}{problem.path}"


def _in_one_line(known: KnownProblem) -> str:
    where = [printable(known.problem.where)] if known.problem.where else []
    return ", ".join([known.problem.what, *where, _from_to(known)])


def _from_to(known: KnownProblem) -> str:
    began = f"{_instant(known.problem.since)}{f', {known.times} times' if known.times > 1 else ''}"
    return began if known.over_at is None else f"{began}; over since {_instant(known.over_at)}"


def _instant(seconds: float) -> str:
    return f"{datetime.fromtimestamp(seconds, timezone.utc):%Y-%m-%d %H:%M} UTC"
