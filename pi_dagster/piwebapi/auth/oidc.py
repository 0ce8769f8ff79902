"""OpenID Connect client credentials: a token is fetched, renewed before it expires, and fetched once for all threads.

PI Web API says where tokens are issued, by AVEVA Identity Manager, at `.well-known/openid-configuration`
(docs.aveva.com/bundle/pi-web-api-reference/page/help/topics/bearer-authentication.html). One POST is all that the
grant needs (RFC 6749, 4.4); libraries for it share no token between threads.
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, TypeVar
from urllib.parse import quote_plus, urlsplit

import msgspec
import requests
import urllib3
from requests.auth import AuthBase, HTTPBasicAuth

from pi_dagster.piwebapi.auth.authentication import Authentication
from pi_dagster.piwebapi.auth.bearer import expiry_of
from pi_dagster.piwebapi.auth.resending import sent_again
from pi_dagster.piwebapi.auth.server_clock import server_time
from pi_dagster.piwebapi.connection import tls_failure
from pi_dagster.piwebapi.errors import (
    BrokenAnswerError,
    ConnectionFailedError,
    LoginRefusedError,
    RequestTimeoutError,
    SecretRefusedError,
    ServerTroubleError,
    TransientError,
)
from pi_dagster.redaction import remember_secret
from pi_dagster.server_text import printable
from pi_dagster.site import OidcLogin, ServerSettings, is_loopback, secret_from_environment

Answer = TypeVar("Answer")

_RENEWED_BEFORE_SECONDS = 60.0
_RENEWED_AT_LEAST_AT = 0.8
"""A token is renewed a minute before it expires, but not before four fifths of a short life are over."""

_LIFE_IF_NOT_TOLD_SECONDS = 300.0
_MOST_BYTES = 1 << 20
_TOKEN_LETTERS = re.compile(r"[A-Za-z0-9._~+/-]+=*")
"""What may stand in the header (RFC 6750, 2.1); anything else could begin a header of its own."""

_TRANSIENT = frozenset({408, 429, 500, 502, 503, 504})

_REMEDIES = {
    "invalid_client": "Check `server.login.client_id` and the secret in the environment variable {variable}.",
    "unauthorized_client": "The client must be allowed the grant type client_credentials at the identity provider.",
    "invalid_scope": "Set `server.login.scope` to one that the client may ask for; PI Web API wants `system`.",
}


class _Discovery(msgspec.Struct):
    token_endpoint: str
    token_endpoint_auth_methods_supported: list[str] | None = None


class _Grant(msgspec.Struct):
    access_token: str
    token_type: str = "Bearer"  # noqa: S105 - a kind of token, not one
    expires_in: float | None = None


class _Refusal(msgspec.Struct):
    error: str
    error_description: str = ""


@dataclass(frozen=True)
class _Token:
    text: str = field(repr=False)
    renew_at: float
    expires_at: float
    """By `time.monotonic`, so that a wrong clock does not matter."""


class OidcAuthentication(Authentication, AuthBase):
    """Tokens by client credentials.

    Args:
        login: the client.
        settings: the server, which says where its tokens are issued.
        open_session: a session without a login, with certificates and proxies as the site says.

    Raises:
        SecretMissingError: the environment variable with the client's secret is not set.
    """

    name = "Bearer"
    schemes = frozenset({"bearer"})

    def __init__(
        self, login: OidcLogin, settings: ServerSettings, open_session: Callable[[], requests.Session]
    ) -> None:
        self._login = login
        self._settings = settings
        self._open_session = open_session
        self._secret = secret_from_environment(login.client_secret_env, setting="server.login.client_secret_env")
        self._lock = threading.Lock()
        self._token: _Token | None = None

    def of_session(self) -> AuthBase:
        """The header for each request."""
        return self

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        """Put a token that is good for a while into the request, and a new one when that is refused."""
        token = self._current()
        request.headers["Authorization"] = f"Bearer {token.text}"

        def again_with_a_new_token(response: requests.Response, **how: Any) -> requests.Response:
            if response.status_code != 401:
                return response
            # It may have been revoked, or issued before the server was restarted.
            return sent_again(response, f"Bearer {self._current(refused=token).text}", how)

        request.register_hook("response", again_with_a_new_token)  # type: ignore[no-untyped-call]
        return request

    def secret(self) -> bytes:
        """The client's secret; identity providers lock clients too."""
        return self._secret.encode()

    def remedy(self, response: requests.Response) -> str:
        """Say what the server and the identity provider have to agree on."""
        token = self._token
        expiry = expiry_of(token.text) if token else None
        if expiry is not None and expiry <= server_time(response) + timedelta(seconds=1):
            return (
                f"The token that was just issued had expired at {expiry:%Y-%m-%d %H:%M:%S} UTC by the server's clock: "
                "check the clocks of the PI Web API server and of the identity provider, and the lifetime of tokens."
            )
        return (
            f"A token that was just issued to the client {self._login.client_id} is not accepted: the client must be "
            "mapped to an identity on the AF server and on the Data Archive, its token be for the scope that PI Web "
            f"API wants (it was {self._login.scope}), and the server's configuration item BearerIssuer name its issuer."
        )

    def _current(self, refused: _Token | None = None) -> _Token:
        """A token that is good for a while; `refused` is one that is not, whatever it says."""
        with self._lock:
            token = self._token
            if token is not None and token is not refused and time.monotonic() < token.renew_at:
                return token
            try:
                self._token = self._fetched()
            except TransientError:
                if token is None or token is refused or time.monotonic() >= token.expires_at:
                    raise
                # The next request tries to renew it again.
                return token
            return self._token

    def _fetched(self) -> _Token:
        with self._open_session() as session:
            endpoint, posts_secret = self._endpoint(session)
            form = {"grant_type": "client_credentials", "scope": self._login.scope}
            basic = None
            if posts_secret:
                form |= {"client_id": self._login.client_id, "client_secret": self._secret}
            else:
                # Form-encoded first: RFC 6749, 2.3.1.
                basic = HTTPBasicAuth(quote_plus(self._login.client_id), quote_plus(self._secret))
            asked = time.monotonic()
            status, body = self._answer(session, "POST", endpoint, data=form, auth=basic)
        if status != 200:
            raise self._refusal(endpoint, status, body)
        grant = _read(body, _Grant, endpoint)
        if grant.token_type.lower() != "bearer":
            raise LoginRefusedError(
                f"{endpoint} issued a token of the type {printable(grant.token_type, 40)}; only Bearer is known."
            )
        if not _TOKEN_LETTERS.fullmatch(grant.access_token):
            raise BrokenAnswerError(f"{endpoint} issued a token that cannot be sent: it is empty or holds odd letters.")
        remember_secret(grant.access_token, is_passing=True)
        life = _LIFE_IF_NOT_TOLD_SECONDS if grant.expires_in is None else max(0.0, grant.expires_in)
        renewed_after = max(life - _RENEWED_BEFORE_SECONDS, life * _RENEWED_AT_LEAST_AT)
        return _Token(grant.access_token, asked + renewed_after, asked + life)

    def _endpoint(self, session: requests.Session) -> tuple[str, bool]:
        """Where tokens are issued, and whether the secret goes into the form there."""
        if self._login.token_url is not None:
            self._check_encrypted(self._login.token_url, "`server.login.token_url`")
            return self._login.token_url, False
        url = f"{self._settings.url}/.well-known/openid-configuration"
        status, body = self._answer(session, "GET", url)
        if status in _TRANSIENT:
            raise ServerTroubleError(f"{url} answered {status}.", status=status)
        if status != 200:
            raise LoginRefusedError(
                f"{url} answered {status} instead of saying where tokens are issued. The server may not take Bearer "
                "logins (configuration item AuthenticationMethods); if it does, set `server.login.token_url`."
            )
        discovery = _read(body, _Discovery, url)
        self._check_encrypted(discovery.token_endpoint, url)
        self._check_trusted(discovery.token_endpoint, url)
        methods = discovery.token_endpoint_auth_methods_supported or ["client_secret_basic"]
        return discovery.token_endpoint, "client_secret_basic" not in methods

    def _check_encrypted(self, endpoint: str, source: str) -> None:
        parts = urlsplit(endpoint)
        is_hidden = parts.scheme == "https" or is_loopback(parts.hostname or "") or self._settings.allow_plain_http
        if parts.scheme not in ("http", "https") or not is_hidden:
            raise LoginRefusedError(
                f"{source} says that tokens are issued at {printable(endpoint, 200)}, which is not https: the client's "
                "secret would be readable on the way. Have it corrected, or set `server.login.token_url`."
            )

    def _check_trusted(self, endpoint: str, source: str) -> None:
        """The secret is the provider's to know, and not for whoever a server names (RFC 9728, 7.6, warns of that)."""
        host = urlsplit(endpoint).hostname
        if host != urlsplit(self._settings.url).hostname:
            raise LoginRefusedError(
                f"{source} says that tokens are issued at {printable(endpoint, 200)}, which is another machine, and it "
                "would get the client's secret. If it is the plant's identity provider, name it in the site: "
                f"`server.login.token_url: {printable(endpoint, 200)}`."
            )

    def _answer(self, session: requests.Session, method: str, url: str, **what: Any) -> tuple[int, bytes]:
        settings = self._settings
        try:
            with session.request(
                method,
                url,
                headers={"Accept": "application/json", "Accept-Encoding": "identity"},
                timeout=(settings.connect_timeout_seconds, settings.read_timeout_seconds),
                stream=True,
                allow_redirects=False,
                **what,
            ) as response:
                body = response.raw.read(_MOST_BYTES + 1, decode_content=False)
        except (requests.exceptions.RequestException, urllib3.exceptions.HTTPError, OSError) as error:
            certificate = tls_failure(url, error)
            if certificate is not None:
                raise certificate from error
            if isinstance(error, (requests.exceptions.Timeout, urllib3.exceptions.TimeoutError)):
                raise RequestTimeoutError(
                    f"{url} did not answer in time, so there is no token to log in with."
                ) from error
            raise ConnectionFailedError(
                f"No answer from {url}, so there is no token to log in with. Check that this machine reaches it."
            ) from error
        if len(body) > _MOST_BYTES:
            raise BrokenAnswerError(f"{url} sent more than {_MOST_BYTES:,} bytes.")
        return response.status_code, body

    def _refusal(self, endpoint: str, status: int, body: bytes) -> LoginRefusedError | ServerTroubleError:
        if status in _TRANSIENT:
            return ServerTroubleError(f"{endpoint} issued no token: it answered {status}.", status=status)
        try:
            refusal = msgspec.json.decode(body, type=_Refusal)
        except msgspec.DecodeError:
            refusal = _Refusal("no reason given")
        reason = f"{refusal.error}: {refusal.error_description}" if refusal.error_description else refusal.error
        reason = printable(reason)
        code = "invalid_client" if status == 401 else refusal.error
        remedy = _REMEDIES.get(code, "Check `server.login` with whoever runs the identity provider.")
        kind = SecretRefusedError if code == "invalid_client" else LoginRefusedError
        return kind(
            f"{endpoint} issued no token to the client {self._login.client_id} ({status}: {reason}). "
            + remedy.format(variable=self._login.client_secret_env)
        )


def _read(body: bytes, kind: type[Answer], url: str) -> Answer:
    try:
        # Not strict: some providers write numbers as texts.
        return msgspec.json.decode(body, type=kind, strict=False)
    except msgspec.DecodeError as error:
        raise BrokenAnswerError(f"{url} sent something else than OpenID Connect says ({error}).") from None
