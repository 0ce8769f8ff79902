"""Kerberos: every request carries a ticket's proof, so that no connection has to be logged in first.

gssapi is used as it is: requests-gssapi and requests-kerberos keep one security context for a host, which threads mix
up, and tell a failed login without its cause. With a keytab the Kerberos library renews tickets by itself when half of
their life is over (MIT krb5, "client keytab": web.mit.edu/kerberos/krb5-latest/doc/basic/keytab_def.html).
"""

from __future__ import annotations

import base64
import binascii
import threading
import uuid
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import requests
from requests.auth import AuthBase

from pi_dagster.piwebapi.auth.authentication import Authentication
from pi_dagster.piwebapi.auth.kerberos_errors import KerberosFailure, error_told, not_installed
from pi_dagster.piwebapi.auth.resending import sent_again
from pi_dagster.piwebapi.auth.server_clock import clock_ahead_of_ours
from pi_dagster.piwebapi.errors import ConnectionFailedError, LoginRefusedError
from pi_dagster.site import KerberosLogin

try:
    import gssapi

    from pi_dagster.piwebapi.auth.channel_binding import channel_binding
except (ImportError, OSError) as error:
    raise not_installed(error) from error

_SPNEGO = gssapi.OID.from_int_seq("1.3.6.1.5.5.2")
_ALLOWED_SKEW = timedelta(minutes=5)
"""What domains allow unless they are told otherwise."""


class _Context(gssapi.SecurityContext):  # type: ignore[misc]  # gssapi has no types for mypy
    """A context of which a failed step raises at once, not at the next look at it."""

    __DEFER_STEP_ERRORS__ = False


class KerberosAuthentication(Authentication, AuthBase):
    """Negotiate with a Kerberos ticket for the service `HTTP/<host>`.

    Args:
        login: whose ticket, and from where.
        url: the server's base URL.

    Raises:
        LoginRefusedError: the keytab cannot be read.
    """

    name = "Kerberos"
    schemes = frozenset({"negotiate", "kerberos"})

    def __init__(self, login: KerberosLogin, url: str) -> None:
        self._login = login
        self._url = url
        self._host = login.service_host or urlsplit(url).hostname or ""
        self._store: dict[str, str] = {}
        if login.ticket_cache is not None:
            self._store["ccache"] = login.ticket_cache
        if login.keytab is not None:
            _check_readable(Path(login.keytab))
            self._store["client_keytab"] = login.keytab
            self._store.setdefault("ccache", f"MEMORY:pi_dagster_{uuid.uuid4().hex}")
        # Tickets are renewed in a cache that is empty for a moment then.
        self._lock = threading.Lock()
        self._binding: bytes | None = None

    def of_session(self) -> AuthBase:
        """The proof for each request."""
        return self

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        """Put a ticket's proof into the request, and look at the server's proof in the answer.

        It is tied to the TLS connection once a server has refused one that is not. Before a connection there is nothing
        to tie it to, and a batch would have to be sent twice.
        """
        tied_to = self._binding
        context, request.headers["Authorization"] = self._proof(tied_to)

        def proven(response: requests.Response, **how: Any) -> requests.Response:
            nonlocal context
            if response.status_code == 401 and tied_to is None and (binding := channel_binding(response)):
                context, authorization = self._proof(binding)
                response = sent_again(response, authorization, how)
                if response.status_code != 401:
                    self._binding = binding
            try:
                self._check_proof(context, response)
            except LoginRefusedError:
                response.close()
                raise
            return response

        request.register_hook("response", proven)  # type: ignore[no-untyped-call]
        return request

    def secret(self) -> bytes | None:
        """The keytab, whose key is made of the account's password."""
        try:
            return Path(self._login.keytab).read_bytes() if self._login.keytab else None
        except OSError:
            return None

    def remedy(self, response: requests.Response) -> str:
        """Look at the clocks; a server does not say why it refuses a ticket."""
        skew = clock_ahead_of_ours(response)
        if abs(skew) > _ALLOWED_SKEW:
            side = "ahead of" if skew > timedelta(0) else "behind"
            return (
                f"The server's clock is {abs(skew).total_seconds():,.0f} s {side} this machine's, and Kerberos allows "
                "five minutes: set the clocks right (`timedatectl` or `chronyc tracking` shows this machine's)."
            )
        return (
            f"It did not take the Kerberos ticket for HTTP/{self._host}. That service principal must belong to the "
            "account that PI Web API runs as (`setspn -Q` tells to whom it does), `Kerberos` be among the server's "
            "AuthenticationMethods, and the account be allowed to log in there."
        )

    def _proof(self, binding: bytes | None) -> tuple[_Context, str]:
        """A security context, and the header with its first token."""
        with self._lock:
            context, token = self._begun(binding)
        return context, f"Negotiate {base64.b64encode(token).decode()}"

    def _begun(self, binding: bytes | None) -> tuple[_Context, bytes]:
        """A security context and its first token.

        Args:
            binding: of the connection, if it is to be tied to one.

        Raises:
            LoginRefusedError: there is no ticket; says why.
            ConnectionFailedError: no domain controller answers.
        """
        try:
            # Kerberos first and alone: SPNEGO would try a wrong key twice, and tell failures without their cause.
            kerberos = self._credentials(gssapi.MechType.kerberos)
            negotiate = self._credentials(_SPNEGO)
            try:
                return self._stepped(negotiate, _SPNEGO, binding)
            except gssapi.exceptions.GSSError:
                self._stepped(kerberos, gssapi.MechType.kerberos, binding)
                raise
        except gssapi.exceptions.GSSError as error:
            raise self._told(error) from None

    def _credentials(self, mechanism: Any) -> Any:
        principal = self._login.principal
        return gssapi.Credentials(
            name=gssapi.Name(principal, gssapi.NameType.kerberos_principal) if principal else None,
            usage="initiate",
            mechs=[mechanism],
            store=self._store or None,
        )

    def _stepped(self, credentials: Any, mechanism: Any, binding: bytes | None) -> tuple[_Context, bytes]:
        context = _Context(
            name=gssapi.Name(f"HTTP@{self._host}", gssapi.NameType.hostbased_service),
            creds=credentials,
            mech=mechanism,
            flags=[gssapi.RequirementFlag.mutual_authentication],
            usage="initiate",
            channel_bindings=gssapi.raw.ChannelBindings(application_data=binding) if binding else None,
        )
        return context, context.step()

    def _check_proof(self, context: _Context, response: requests.Response) -> None:
        """See whether an answer that would be used comes from the service that the ticket is for.

        Raises:
            LoginRefusedError: the proof is wrong, or there is none and the site wants one.
        """
        if not response.ok:
            return
        try:
            token = _token_in(response)
            if token:
                context.step(token)
            is_proven = context.complete
        except gssapi.exceptions.GSSError:
            is_proven = False
        if not is_proven and (token or self._login.mutual_authentication):
            raise LoginRefusedError(
                f"{self._url} did not prove that it is HTTP/{self._host}, so its answer is not used. Where a proxy "
                "on the way removes the proof (the header WWW-Authenticate) and https is used, set "
                "`server.login.mutual_authentication: false`."
            )

    def _told(self, error: Any) -> LoginRefusedError | ConnectionFailedError:
        is_expired = isinstance(error, gssapi.exceptions.ExpiredCredentialsError)
        text = error.get_all_statuses(error.min_code, False)[0].strip("\x00")
        failure = KerberosFailure.EXPIRED if is_expired else KerberosFailure.of_code(error.min_code)
        return error_told(failure, text, self._login, host=self._host, url=self._url)


def _check_readable(keytab: Path) -> None:
    try:
        with keytab.open("rb") as file:
            is_keytab = file.read(1) == b"\x05"
    except OSError as error:
        raise LoginRefusedError(
            f"`server.login.keytab` names {keytab}, which cannot be read ({error.strerror}). It has to be there, and "
            "readable for the user who executes runs."
        ) from None
    if not is_keytab:
        raise LoginRefusedError(f"`server.login.keytab` names {keytab}, which is no keytab; `klist -k {keytab}` shows.")


def _token_in(response: requests.Response) -> bytes:
    scheme, _, token = response.headers.get("WWW-Authenticate", "").strip().partition(" ")
    try:
        return base64.b64decode(token, validate=True) if scheme.lower() == "negotiate" else b""
    except binascii.Error:
        return b""
