"""A token that somebody else fetches and renews; a new one is used as soon as it is there."""

from __future__ import annotations

import base64
import binascii
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import msgspec
import requests
from requests.auth import AuthBase

from pi_dagster.piwebapi.auth.authentication import Authentication
from pi_dagster.piwebapi.auth.resending import sent_again
from pi_dagster.piwebapi.auth.server_clock import server_time
from pi_dagster.redaction import remember_secret
from pi_dagster.site import BearerLogin, SecretMissingError, secret_from_environment


class BearerAuthentication(Authentication, AuthBase):
    """The token of an environment variable or a file, read anew for each request.

    Args:
        login: where the token is.

    Raises:
        SecretMissingError: it is not there.
    """

    name = "Bearer"
    schemes = frozenset({"bearer"})

    def __init__(self, login: BearerLogin) -> None:
        self._login = login
        self._source = f"the environment variable {login.token_env}" if login.token_env else f"{login.token_file}"
        self._last = ""
        self._last = self._token()

    def of_session(self) -> AuthBase:
        """The header for each request."""
        return self

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        """Put the token of now into the request, and a newer one when that is refused."""
        token = self._token()
        request.headers["Authorization"] = f"Bearer {token}"

        def again_with_a_new_token(response: requests.Response, **how: Any) -> requests.Response:
            newer = self._token()
            if response.status_code != 401 or newer == token:
                return response
            return sent_again(response, f"Bearer {newer}", how)

        request.register_hook("response", again_with_a_new_token)  # type: ignore[no-untyped-call]
        return request

    def remedy(self, response: requests.Response) -> str:
        """Say whether the token is expired, where it tells."""
        expiry = expiry_of(self._last)
        told = f" It expired at {expiry:%Y-%m-%d %H:%M:%S} UTC." if expiry and expiry <= server_time(response) else ""
        return (
            f"The token in {self._source} is not accepted.{told} Put a new one there, or let tokens be fetched by "
            "`kind: oidc`. The server accepts tokens of the issuer in its configuration item BearerIssuer only."
        )

    def _token(self) -> str:
        if self._login.token_env is not None:
            token = secret_from_environment(self._login.token_env, setting="server.login.token_env")
        else:
            token = self._token_of_file(Path(self._login.token_file or ""))
        if token != self._last:
            remember_secret(token, is_passing=True)
            self._last = token
        return token

    def _token_of_file(self, path: Path) -> str:
        try:
            # A file that is being replaced may be empty for a moment.
            token = path.read_text(encoding="ascii").strip() or self._last
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it holds more than ASCII letters"
            raise SecretMissingError(
                f"`server.login.token_file` names {path}, which cannot be read ({reason})."
            ) from None
        if not token:
            raise SecretMissingError(f"`server.login.token_file` names {path}, which is empty; a token belongs there.")
        return token


def expiry_of(token: str) -> datetime | None:
    """When a token that is a JWT expires; None for any other text. Its signature is the server's to check."""
    parts = token.split(".")
    try:
        padded = parts[1] + "=" * (-len(parts[1]) % 4)
        return datetime.fromtimestamp(float(msgspec.json.decode(base64.urlsafe_b64decode(padded))["exp"]), timezone.utc)
    except (LookupError, TypeError, ValueError, OverflowError, OSError, binascii.Error, msgspec.DecodeError):
        return None
