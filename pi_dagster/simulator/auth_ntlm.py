"""NTLM: three messages log in a connection, not a request; checked by pyspnego's acceptor."""

from __future__ import annotations

import base64
import binascii
import os
from pathlib import Path
from weakref import WeakKeyDictionary

import spnego
from spnego.channel_bindings import GssChannelBindings
from spnego.exceptions import SpnegoError

from pi_dagster.simulator.auth import Admission, LoginMethod, NotAdmittedError


class NtlmMethod(LoginMethod):
    """Takes NTLM, under the names of NTLM and of Negotiate.

    Args:
        accounts: file with a line `DOMAIN:user:password` for each; pyspnego reads it, so this process has just one.
        scheme: what the server calls it.
        keeps_connections: False for servers that want the messages before each request (HttpListener's
            UnsafeConnectionNtlmAuthentication, which is off unless it is switched on).
        channel_binding: what logins must be tied to (extended protection, "Always"); None asks for nothing.

    Attributes:
        passwords_tried: how often a password was tried, right or wrong.
    """

    def __init__(
        self,
        accounts: Path,
        *,
        scheme: str = "NTLM",
        keeps_connections: bool = True,
        channel_binding: bytes | None = None,
    ) -> None:
        os.environ["NTLM_USER_FILE"] = str(accounts)
        self._scheme = scheme
        self._keeps_connections = keeps_connections
        self._binding = GssChannelBindings(application_data=channel_binding) if channel_binding else None
        self._begun: WeakKeyDictionary[object, spnego.ContextProxy] = WeakKeyDictionary()
        self._users: WeakKeyDictionary[object, str] = WeakKeyDictionary()
        self.passwords_tried = 0

    def admit(self, authorization: str, connection: object) -> Admission:
        """The account that this connection is logged in as."""
        scheme, _, text = authorization.partition(" ")
        if scheme.lower() != self._scheme.lower():
            if connection in self._users:
                return Admission(self._users[connection])
            raise NotAdmittedError(self._scheme)
        self._users.pop(connection, None)
        context = self._begun.pop(connection, None)
        is_last = context is not None
        context = context or spnego.server(
            protocol="ntlm", options=spnego.NegotiateOptions.use_ntlm, channel_bindings=self._binding
        )
        self.passwords_tried += is_last
        try:
            answer = context.step(base64.b64decode(text, validate=True))
        except (SpnegoError, ValueError, binascii.Error):
            raise NotAdmittedError(self._scheme) from None
        if not context.complete:
            self._begun[connection] = context
            raise NotAdmittedError(f"{self._scheme} {base64.b64encode(answer or b'').decode()}")
        user = str(context.client_principal)
        if self._keeps_connections:
            self._users[connection] = user
        return Admission(user)
