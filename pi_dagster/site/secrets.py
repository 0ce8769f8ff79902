"""Secrets are not settings: a site names the environment variables that hold them, read when a run needs them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

from pydantic import Field

from pi_dagster.redaction import remember_secret

VariableName = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]
"""The name of an environment variable, which holds a secret that must not stand in a site."""


class SecretMissingError(Exception):
    """An environment variable that the site names is not set."""


def secret_from_environment(variable: str, *, setting: str) -> str:
    """The secret in environment variable `variable`, which `setting` of the site names; no message shows it again.

    Or in the file that the variable `{variable}_FILE` names, as container platforms mount secrets.

    Raises:
        SecretMissingError: neither is set, or empty, or the file cannot be read.
    """
    secret = os.environ.get(variable)
    file = os.environ.get(f"{variable}_FILE")
    if not secret and file:
        try:
            secret = Path(file).read_text(encoding="utf-8").rstrip("\r\n")
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
            raise SecretMissingError(
                f"The environment variable {variable}_FILE names {file}, which cannot be read ({reason}). The site's "
                f"setting {setting} wants the secret in it."
            ) from None
    if not secret:
        raise SecretMissingError(
            f"The environment variable {variable} is not set. The site's setting {setting} names it; "
            "set it where the run executes; `dagster dev` and pi-dagster read .env in the folder that they are "
            "started in."
        )
    remember_secret(secret)
    return secret
