"""Negotiate with Kerberos: the ticket of each request is checked with a keytab, by the Kerberos library itself."""

from __future__ import annotations

import base64
import binascii
from pathlib import Path
from typing import Literal

import gssapi

from pi_dagster.simulator.auth import Admission, LoginMethod, NotAdmittedError


class KerberosMethod(LoginMethod):
    """Takes Kerberos tickets; like HTTP.sys it does not say why it refuses one.

    Args:
        keytab: keys of the service principals `HTTP/<host>` that tickets may be for.
        channel_binding: what logins must be tied to (extended protection, "Always"); None asks for nothing.
        proof: whether answers prove who the server is; behind some proxies they do not.
    """

    def __init__(
        self,
        keytab: Path,
        *,
        proof: Literal["right", "wrong", "none"] = "right",
        channel_binding: bytes | None = None,
    ) -> None:
        self._store = {"keytab": str(keytab)}
        self._binding = gssapi.raw.ChannelBindings(application_data=channel_binding) if channel_binding else None
        self._proof = proof

    def admit(self, authorization: str, connection: object) -> Admission:
        """The principal of the ticket."""
        scheme, _, token = authorization.partition(" ")
        if scheme.lower() != "negotiate":
            raise NotAdmittedError("Negotiate")
        try:
            credentials = gssapi.Credentials(usage="accept", store=self._store)
            context = gssapi.SecurityContext(creds=credentials, usage="accept", channel_bindings=self._binding)
            proof = context.step(base64.b64decode(token, validate=True))
            is_complete = context.complete
            is_bound = gssapi.RequirementFlag.channel_bound in context.actual_flags
        except (gssapi.exceptions.GSSError, binascii.Error):
            raise NotAdmittedError("Negotiate") from None
        if not is_complete or proof is None or (self._binding is not None and not is_bound):
            raise NotAdmittedError("Negotiate")
        if self._proof == "none":
            return Admission(str(context.initiator_name))
        if self._proof == "wrong":
            proof = proof[:-1] + bytes([proof[-1] ^ 1])
        answer = {"WWW-Authenticate": f"Negotiate {base64.b64encode(proof).decode()}"}
        return Admission(str(context.initiator_name), answer)
