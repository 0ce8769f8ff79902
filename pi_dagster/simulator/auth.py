"""How a server knows who asks: one class for each authentication method, and HTTP Basic, the simplest.

Source: AVEVA PI Web API user guide, authentication methods.
"""

from __future__ import annotations

import base64
import binascii
import secrets
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from starlette.routing import Route


class NotAdmittedError(Exception):
    """401.

    Args:
        challenge: value of `WWW-Authenticate`.
    """

    def __init__(self, challenge: str) -> None:
        super().__init__(challenge)
        self.challenge = challenge


@dataclass(frozen=True)
class Admission:
    """Who is let in, None for nobody in particular, and headers that belong to the answer."""

    user: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)


class LoginMethod(ABC):
    """An authentication method of the server.

    Attributes:
        routes: what it serves beside PI Web API, open to all, such as an endpoint that issues tokens.
    """

    routes: Sequence[Route] = ()

    @abstractmethod
    def admit(self, authorization: str, connection: object) -> Admission:
        """Who sent a request.

        Args:
            authorization: its header of that name, empty where there is none.
            connection: what it came by; some methods log in a connection.

        Raises:
            NotAdmittedError: nobody who is known.
        """


class AnonymousMethod(LoginMethod):
    """Everybody is let in."""

    def admit(self, authorization: str, connection: object) -> Admission:
        """Nobody in particular."""
        return Admission()


class BasicMethod(LoginMethod):
    """One account with a password.

    Args:
        user: the account; upper and lower case count as the same.
        password: its password.
    """

    def __init__(self, user: str, password: str) -> None:
        self._user = user
        self._password = password

    def admit(self, authorization: str, connection: object) -> Admission:
        """The account, if the password is right."""
        scheme, _, credentials = authorization.partition(" ")
        if scheme.lower() == "basic":
            try:
                user, _, password = base64.b64decode(credentials, validate=True).decode().partition(":")
            except (binascii.Error, UnicodeDecodeError):
                user, password = "", ""
            user_is_right = secrets.compare_digest(user.lower().encode(), self._user.lower().encode())
            if secrets.compare_digest(password.encode(), self._password.encode()) and user_is_right:
                return Admission(self._user)
        raise NotAdmittedError('Basic realm="PI Web API"')
