"""Logins: one small class a kind, each turning the site's settings into what `requests` wants."""

from __future__ import annotations

from requests.auth import AuthBase, HTTPBasicAuth

from pi_dagster.site import AnonymousLogin, BasicLogin, Login, secret_from_environment


def request_auth(login: Login) -> AuthBase | None:
    """The authenticator for `login`, its secret read from the environment now.

    Raises:
        SecretMissingError: the environment variable that the login names is not set.
    """
    if isinstance(login, AnonymousLogin):
        return None
    return _Basic(login)


class _Basic(HTTPBasicAuth):
    """HTTP Basic, sent with every request: PI Web API impersonates the account, so no delegation is needed.

    UTF-8 encoded as RFC 7617 recommends; `requests` would send Latin-1 and fail for other letters.
    """

    def __init__(self, login: BasicLogin) -> None:
        password = secret_from_environment(login.password_env, setting="server.login.password_env")
        super().__init__(login.username.encode(), password.encode())

    def __repr__(self) -> str:
        return "_Basic(...)"
