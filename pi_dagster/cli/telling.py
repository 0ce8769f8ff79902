"""How a command tells: facts to stdout so that they can be piped, paragraphs to stderr, and the exit code.

Exit codes: 0 when all is well, 2 for what the user can put in order (a setting, a login, a right, a wrong option), 1
for anything else. An expected error is one paragraph on stderr; a stack trace is always a defect of ours.
"""

from __future__ import annotations

import importlib.util
import json
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from typing import Any

import typer

from pi_dagster.server_text import printable

USERS_MISTAKE = 2
OTHER_TROUBLE = 1

_SIMULATOR_PACKAGES = ("starlette", "uvicorn", "jsonpath_ng", "dateutil")
_LONGEST_FACT = 4000


@contextmanager
def errors_told_plainly() -> Iterator[None]:
    """End the command with the paragraph and the exit code that an expected error calls for."""
    try:
        from pi_dagster.assets.failures import EXPECTED_ERRORS
        from pi_dagster.components.site_file import SiteFileError
        from pi_dagster.diagnosis import is_users_mistake

        try:
            yield
        except (SiteFileError, *EXPECTED_ERRORS) as error:
            complain(f"Error: {error}")
            raise typer.Exit(USERS_MISTAKE if is_users_mistake(error) else OTHER_TROUBLE) from None
    except KeyboardInterrupt:
        complain("Interrupted.")
        raise typer.Exit(OTHER_TROUBLE) from None


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
