"""What every kind of login can do: give `requests` an authenticator, and explain a refusal."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

import requests
from requests.auth import AuthBase


class Authentication(ABC):
    """One login, shared by all threads of a transport.

    What goes wrong is raised as a LoginRefusedError where a repeat cannot clear it, else as a TransientError, such as
    for an identity provider that does not answer.

    Attributes:
        name: how people call the kind.
        schemes: what a server's `WWW-Authenticate` may call it, in lower case; empty for no login.
        sends_password: whether a 401 means that a password was tried.
    """

    name: ClassVar[str]
    schemes: ClassVar[frozenset[str]]
    sends_password: ClassVar[bool] = False

    @abstractmethod
    def of_session(self) -> AuthBase | None:
        """What `requests` calls for each request of a session.

        A session has one request under way at a time and one connection: NTLM logs in a connection, not a request.
        """

    @abstractmethod
    def remedy(self, response: requests.Response) -> str:
        """What to do about a 401: one or two sentences.

        Args:
            response: the refusal; its headers may say more.
        """

    def secret(self) -> bytes | None:
        """What an account may be locked for when it is wrong too often; None where nothing can be."""
        return None

    def __repr__(self) -> str:
        return f"{type(self).__name__}(...)"
