"""NTLM: three messages over one connection, which is then logged in.

Each session has one connection and one request under way, so that no other request comes between the messages. The
password is tried once: a refusal of the third message is final.
"""

from __future__ import annotations

import base64
import binascii
import struct
from typing import Any
from urllib.parse import urlsplit

import requests
from requests.auth import AuthBase

from pi_dagster.piwebapi.auth.authentication import Authentication
from pi_dagster.piwebapi.auth.resending import sent_again
from pi_dagster.piwebapi.errors import LoginRefusedError
from pi_dagster.site import NtlmLogin, secret_from_environment

try:
    import spnego
    from spnego.channel_bindings import GssChannelBindings
    from spnego.exceptions import SpnegoError

    from pi_dagster.piwebapi.auth.channel_binding import channel_binding
except ImportError as error:
    raise LoginRefusedError(
        "NTLM logins need a library that is not installed: pip install 'pi-dagster[ntlm]', or uv sync --extra ntlm."
    ) from error

_SCHEMES = ("NTLM", "Negotiate")


class NtlmAuthentication(Authentication):
    """NTLM with a Windows account.

    Args:
        login: whose.

    Raises:
        SecretMissingError: the environment variable with the password is not set.
    """

    name = "NTLM"
    schemes = frozenset(scheme.lower() for scheme in _SCHEMES)
    sends_password = True

    def __init__(self, login: NtlmLogin) -> None:
        self._login = login
        self._password = secret_from_environment(login.password_env, setting="server.login.password_env")

    def of_session(self) -> AuthBase:
        """What logs in the connection of one session, whenever the server asks for it."""
        return _Connection(self._login.username, self._password)

    def secret(self) -> bytes:
        """The password."""
        return self._password.encode()

    def remedy(self, response: requests.Response) -> str:
        """Name the account and where its password comes from."""
        return (
            f"Check the user name and the password: {self._login.username} and the one in the environment variable "
            f"{self._login.password_env}; the account may also be locked, its password expired, or NTLM be switched "
            "off in the domain. It was tried once."
        )


class _Connection(AuthBase):
    def __init__(self, username: str, password: str) -> None:
        self._username = username
        self._password = password

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        request.headers["Connection"] = "Keep-Alive"
        request.register_hook("response", self._logged_in)  # type: ignore[no-untyped-call]
        return request

    def _logged_in(self, response: requests.Response, **how: Any) -> requests.Response:
        scheme = next((name for name in _SCHEMES if _token_of(response, name) is not None), None)
        if response.status_code != 401 or scheme is None:
            return response
        binding = channel_binding(response)
        try:
            client = spnego.client(
                self._username,
                self._password,
                hostname=urlsplit(response.url).hostname or "",
                service="http",
                channel_bindings=GssChannelBindings(application_data=binding) if binding else None,
                protocol="ntlm",
                options=spnego.NegotiateOptions.use_ntlm,
            )
            challenge = sent_again(response, f"{scheme} {_encoded(client.step())}", how)
            token = _token_of(challenge, scheme)
            if challenge.status_code != 401 or not token:
                return challenge
            return sent_again(challenge, f"{scheme} {_encoded(client.step(token))}", how)
        except (SpnegoError, ValueError, LookupError, struct.error) as error:
            response.close()
            raise LoginRefusedError(
                f"{response.url.partition('?')[0]} does not speak NTLM as it should, so nobody is logged in ({error})."
            ) from None


def _token_of(response: requests.Response, scheme: str) -> bytes | None:
    """What the server says in that scheme, empty for its mere offer; None where it does not offer the scheme."""
    for part in response.headers.get("WWW-Authenticate", "").split(","):
        name, _, token = part.strip().partition(" ")
        if name.lower() == scheme.lower():
            try:
                return base64.b64decode(token.strip())
            except binascii.Error:
                return b""
    return None


def _encoded(message: bytes | None) -> str:
    return base64.b64encode(message or b"").decode()
