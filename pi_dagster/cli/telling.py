"""How a command tells: facts to stdout so that they can be piped, paragraphs to stderr, and the exit code.

An expected error is one paragraph on stderr; a stack trace is always a defect of ours. How commands end is in
`EXIT_CODES`.
"""

from __future__ import annotations

import importlib.util
import json
import sys
import textwrap
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from typing import Any

import typer

from pi_dagster.server_text import printable

OTHER_TROUBLE = 1
USERS_MISTAKE = 2
INTERRUPTED = 130

EXIT_CODES = {
    0: "All is well; `audit`: the table equals the archive; `backfill`: every partition is loaded.",
    OTHER_TROUBLE: "Trouble that may pass by itself, such as a server that does not answer in time; `audit`: the table "
    "differs; `backfill`: some partition is not loaded.",
    USERS_MISTAKE: "Something to be put in order: a setting, a login, a right, a wrong option.",
    INTERRUPTED: "Interrupted by Ctrl-C, or by SIGTERM where it loads.",
}
"""What each exit code means, the same in all commands. `simulate`, which only ends so, ends with 0 when interrupted."""


_SIMULATOR_PACKAGES = ("starlette", "uvicorn", "jsonpath_ng", "dateutil")
_LONGEST_FACT = 4000


@contextmanager
def errors_told_plainly() -> Iterator[None]:
    """End the command with the paragraph and the exit code that an expected error calls for."""
    try:
        from pi_dagster.assets.failures import EXPECTED_ERRORS
        from pi_dagster.diagnosis import is_users_mistake
        from pi_dagster.site_mistakes import SiteFileError

        try:
            yield
        except (SiteFileError, *EXPECTED_ERRORS) as error:
            complain(f"Error: {error}")
            raise typer.Exit(USERS_MISTAKE if is_users_mistake(error) else OTHER_TROUBLE) from None
    except (KeyboardInterrupt, typer.Abort):
        complain("Interrupted.")
        raise typer.Exit(INTERRUPTED) from None


def exit_codes_told() -> str:
    """The exit codes for the command line's own help."""
    return "\b\nExit codes:\n" + "\n".join(
        textwrap.fill(meaning, 74, initial_indent=f"  {code:>3}  ", subsequent_indent=" " * 7)
        for code, meaning in EXIT_CODES.items()
    )


def require_simulator() -> None:
    """End the command where the packages of the simulator are not installed."""
    missing = [name for name in _SIMULATOR_PACKAGES if importlib.util.find_spec(name) is None]
    if missing:
        complain(
            f"Error: the simulated PI server needs packages that are not installed ({', '.join(missing)}). They come "
            "with the extra `simulator`: pip install 'pi-dagster[simulator]'."
        )
        raise typer.Exit(USERS_MISTAKE)


def complain(paragraph: str) -> None:
    """A paragraph for the person, on stderr."""
    print(paragraph, file=sys.stderr)


def print_json(document: Any) -> None:
    """The result for programs, on stdout."""
    print(json.dumps(document, indent=2, ensure_ascii=False, default=_json_value))


def _json_value(value: Any) -> str:
    if isinstance(value, datetime):
        return value.isoformat().replace("+00:00", "Z")
    raise TypeError(f"no JSON for {type(value).__name__}")


def print_facts(facts: Mapping[str, str]) -> None:
    """A line a fact, names and facts below each other."""
    width = max(len(name) for name in facts)
    for name, fact in facts.items():
        print(f"{name.ljust(width)}  {printable(fact, _LONGEST_FACT)}")
