"""The login with a name and a password in every request, and none at all."""

from __future__ import annotations

import requests
from requests.auth import AuthBase, HTTPBasicAuth

from pi_dagster.piwebapi.auth.authentication import Authentication
from pi_dagster.site import BasicLogin, secret_from_environment


class AnonymousAuthentication(Authentication):
    """No login."""

    name = "anonymous"
    schemes = frozenset[str]()

    def of_session(self) -> AuthBase | None:
        """Nothing."""
        return None

    def remedy(self, response: requests.Response) -> str:
        """Choose a login."""
        return "The site has no login: set `server.login` to a kind that the server accepts."


class BasicAuthentication(Authentication):
    """HTTP Basic, sent with every request: PI Web API impersonates the account, so no delegation is needed.

    UTF-8 encoded as RFC 7617 recommends; `requests` would send Latin-1 and fail for other letters.

    Args:
        login: whose.

    Raises:
        SecretMissingError: the environment variable with the password is not set.
    """

    name = "Basic"
    schemes = frozenset({"basic"})
    sends_password = True

    def __init__(self, login: BasicLogin) -> None:
        self._login = login
        self._password = secret_from_environment(login.password_env, setting="server.login.password_env")

    def of_session(self) -> AuthBase:
        """The header, made anew for each request, as it is cheap."""
        return HTTPBasicAuth(self._login.username.encode(), self._password.encode())

    def secret(self) -> bytes:
        """The password."""
        return self._password.encode()

    def remedy(self, response: requests.Response) -> str:
        """Name the account and where its password comes from."""
        return (
            f"Check the user name and the password: {self._login.username} and the one in the environment variable "
            f"{self._login.password_env}; the account may also be locked or its password expired."
        )
