"""What a 401 means for the login of the site."""

from __future__ import annotations

import re

import requests

from pi_dagster.piwebapi.auth.authentication import Authentication
from pi_dagster.piwebapi.errors import LoginRefusedError, SecretRefusedError
from pi_dagster.server_text import printable

_DESCRIPTION = re.compile(r'error_description="([^"]*)"')


def refused_login(url: str, login: Authentication, response: requests.Response, said: str) -> LoginRefusedError:
    """The error for a 401.

    Args:
        url: base URL of the server, for the message.
        login: what was refused.
        response: the 401; its `WWW-Authenticate` says which kinds of login the server takes.
        said: what its body says.
    """
    header = response.headers.get("WWW-Authenticate", "")
    first_words = [part.split()[0] for part in header.split(",") if part.strip()]
    offered = [word for word in first_words if "=" not in word]
    description = _DESCRIPTION.search(header)
    if description:
        said = f"{said} {printable(description[1])}"
    error = LoginRefusedError
    if offered and login.schemes and login.schemes.isdisjoint(word.lower() for word in offered):
        remedy = f"It takes no {login.name} login: set `server.login` to a kind that it takes."
    else:
        remedy = login.remedy(response)
        error = SecretRefusedError if login.sends_password else LoginRefusedError
    kinds = printable(", ".join(offered), 200) or "not said"
    return error(f"{url} refused the login (401: {said}). {remedy} Kinds of login that the server accepts: {kinds}.")
