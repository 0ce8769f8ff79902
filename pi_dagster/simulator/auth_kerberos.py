"""Negotiate with Kerberos: the ticket of each request is checked with a keytab, by the Kerberos library itself."""

from __future__ import annotations

import base64
import binascii
from pathlib import Path

import gssapi

from pi_dagster.simulator.auth import Admission, LoginMethod, NotAdmittedError


class KerberosMethod(LoginMethod):
    """Takes Kerberos tickets.

    Args:
        keytab: keys of the service principals `HTTP/<host>` that tickets may be for.
        proves_itself: whether answers say who the server is; behind some proxies they do not.
        says_why: whether a refusal carries Kerberos's own error; HTTP.sys keeps it to itself.
    """

    def __init__(self, keytab: Path, *, proves_itself: bool = True, says_why: bool = True) -> None:
        self._store = {"keytab": str(keytab)}
        self._proves_itself = proves_itself
        self._says_why = says_why

    def admit(self, authorization: str, connection: object) -> Admission:
        """The principal of the ticket."""
        scheme, _, token = authorization.partition(" ")
        if scheme.lower() != "negotiate":
            raise NotAdmittedError("Negotiate")
        try:
            context = gssapi.SecurityContext(
                creds=gssapi.Credentials(usage="accept", store=self._store), usage="accept"
            )
            proof = context.step(base64.b64decode(token, validate=True))
        except binascii.Error:
            raise NotAdmittedError("Negotiate") from None
        except gssapi.exceptions.GSSError as error:
            why = error.token if self._says_why else None
            raise NotAdmittedError(_negotiate(why)) from error
        if not context.complete:
            raise NotAdmittedError(_negotiate(proof))
        return Admission(str(context.initiator_name), self._proof(proof))

    def _proof(self, proof: bytes | None) -> dict[str, str]:
        return {"WWW-Authenticate": _negotiate(proof)} if self._proves_itself and proof else {}


def _negotiate(token: bytes | None) -> str:
    return f"Negotiate {base64.b64encode(token).decode()}" if token else "Negotiate"
