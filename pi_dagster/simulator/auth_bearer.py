"""Bearer tokens, and the identity provider that issues them; it can be told to issue bad ones."""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
import time
from collections import deque
from collections.abc import Mapping
from urllib.parse import parse_qs, unquote_plus

import msgspec
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from pi_dagster.simulator.auth import Admission, LoginMethod, NotAdmittedError

TOKEN_PATH = "/identitymanager/connect/token"  # noqa: S105 - where tokens are issued


class TokenIssuer:
    """An identity provider with the grant type client_credentials.

    Args:
        clients: secret of each client id.
        lifetime_seconds: of a token.
        scopes: that a client may ask for.
        clock_ahead_seconds: how far its clock is ahead of the PI Web API server's.

    Attributes:
        issued: how many tokens it was asked for and issued.
        refused: how often it was asked in vain.
        answers: answers to give in turn instead of a token.
    """

    def __init__(
        self,
        clients: Mapping[str, str],
        *,
        lifetime_seconds: float = 3600.0,
        scopes: tuple[str, ...] = ("system",),
        clock_ahead_seconds: float = 0.0,
    ) -> None:
        self._clients = dict(clients)
        self._scopes = scopes
        self._key = secrets.token_bytes(32)
        self._clock_ahead = clock_ahead_seconds
        self.lifetime_seconds = lifetime_seconds
        self.issued = 0
        self.refused = 0
        self.answers: deque[Response] = deque()

    def token(self, client: str, *, lifetime_seconds: float | None = None) -> str:
        """A token for `client`, a JWT that only this issuer can check."""
        life = self.lifetime_seconds if lifetime_seconds is None else lifetime_seconds
        claims = {"sub": client, "exp": time.time() + self._clock_ahead + life, "jti": secrets.token_hex(8)}
        body = f"{_encoded(b'{}')}.{_encoded(msgspec.json.encode(claims))}"
        return f"{body}.{self._signature(body)}"

    def revoke_all(self) -> None:
        """No token that was issued so far is good any more."""
        self._key = secrets.token_bytes(32)

    def bearer_of(self, token: str) -> str:
        """The client that a token was issued to.

        Raises:
            ValueError: it is not ours, or expired; the text says so.
        """
        body, _, signature = token.rpartition(".")
        if not hmac.compare_digest(signature, self._signature(body)):
            raise ValueError("The signature is invalid")
        claims = msgspec.json.decode(base64.urlsafe_b64decode(body.partition(".")[2] + "=="))
        if claims["exp"] <= time.time():
            raise ValueError("The token is expired")
        return str(claims["sub"])

    async def grant(self, request: Request) -> Response:
        """Answer a request for a token (RFC 6749, 4.4)."""
        form = {name: values[0] for name, values in parse_qs((await request.body()).decode()).items()}
        if self.answers:
            return self.answers.popleft()
        client, secret = form.get("client_id", ""), form.get("client_secret", "")
        scheme, _, text = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() == "basic":
            client, secret = (unquote_plus(part) for part in base64.b64decode(text).decode().split(":", 1))
        if not hmac.compare_digest(self._clients.get(client, "").encode(), secret.encode()) or not secret:
            return self._refused(401, "invalid_client")
        if form.get("grant_type") != "client_credentials":
            return self._refused(400, "unsupported_grant_type")
        if form.get("scope") not in self._scopes:
            return self._refused(400, "invalid_scope")
        self.issued += 1
        return JSONResponse(
            {"access_token": self.token(client), "token_type": "Bearer", "expires_in": self.lifetime_seconds}
        )

    def _refused(self, status: int, error: str) -> Response:
        self.refused += 1
        return JSONResponse({"error": error}, status)

    def _signature(self, body: str) -> str:
        return _encoded(hmac.digest(self._key, body.encode(), hashlib.sha256))


class BearerMethod(LoginMethod):
    """Takes tokens of one issuer, which it serves at TOKEN_PATH.

    Args:
        issuer: the identity provider.
        base_path: path of PI Web API, below which the place of the issuer is told.
        auth_methods: how clients may tell their secret there.
        token_endpoint: what is told instead of the issuer's place.
    """

    def __init__(
        self,
        issuer: TokenIssuer,
        *,
        base_path: str = "/piwebapi",
        auth_methods: tuple[str, ...] = ("client_secret_basic",),
        token_endpoint: str | None = None,
    ) -> None:
        self._issuer = issuer
        self._auth_methods = auth_methods
        self._token_endpoint = token_endpoint
        self.routes = [
            Route(f"{base_path}/.well-known/openid-configuration", self._discovery),
            Route(TOKEN_PATH, issuer.grant, methods=["POST"]),
        ]

    def admit(self, authorization: str, connection: object) -> Admission:
        """The client of the token."""
        scheme, _, token = authorization.partition(" ")
        if scheme.lower() != "bearer":
            raise NotAdmittedError("Bearer")
        try:
            return Admission(self._issuer.bearer_of(token))
        except (ValueError, msgspec.DecodeError) as error:
            raise NotAdmittedError(f'Bearer error="invalid_token", error_description="{error}"') from None

    async def _discovery(self, request: Request) -> Response:
        here = f"{request.url.scheme}://{request.url.netloc}"
        return JSONResponse(
            {
                "issuer": f"{here}/identitymanager",
                "token_endpoint": self._token_endpoint or here + TOKEN_PATH,
                "token_endpoint_auth_methods_supported": list(self._auth_methods),
            }
        )


def _encoded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")
