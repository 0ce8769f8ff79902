"""A refused password is remembered on this machine, so that the next run does not try it again.

Schedules and sensors begin anew every few minutes, each run in a process of its own, and domains lock an account after
five or ten wrong passwords within half an hour. So a small file tells when which login was refused. Of the password it
holds a salted, slow hash only: enough to see that it is still the same one.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
import tempfile
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Annotated

import msgspec

from pi_dagster.piwebapi.auth.authentication import Authentication
from pi_dagster.piwebapi.errors import LoginRefusedError, SecretRefusedError
from pi_dagster.site import ServerSettings

_WAIT = timedelta(hours=1)
"""Until the same password is tried again, for the refusal may not have been its fault. Domains commonly forget wrong
passwords after a quarter or half of an hour."""

_HASH_ROUNDS = 600_000
"""What OWASP's password storage cheat sheet asks of PBKDF2 with SHA-256; a quarter of a second a refusal."""


class _Refusal(msgspec.Struct, kw_only=True):
    refused_at: Annotated[datetime, msgspec.Meta(tz=True)]
    message: str
    salt: bytes
    secret_hash: bytes

    @property
    def next_try(self) -> datetime:
        return self.refused_at + _WAIT


class RefusalMemory:
    """What is known of an earlier refusal of one login.

    Args:
        settings: the server and the login; another server, account or setting has a file of its own.
        login: knows the secret that may lock an account, if there is one.
    """

    def __init__(self, settings: ServerSettings, login: Authentication) -> None:
        self._settings = settings
        self._login = login

    def check(self) -> None:
        """To be asked before a login is tried.

        Raises:
            LoginRefusedError: the same secret was refused less than an hour ago.
        """
        refusal = self._remembered()
        if refusal is not None and refusal.refused_at <= _now() < refusal.next_try and self._is_the_secret_of(refusal):
            raise LoginRefusedError(
                f"{refusal.message} So it was answered at {_shown(refusal.refused_at)}, and nothing was sent this time."
            )

    def refused(self, error: SecretRefusedError) -> SecretRefusedError:
        """Remember a refusal.

        Args:
            error: the refusal.

        Returns:
            the error to raise, which says until when the login is not tried again.
        """
        secret = self._login.secret()
        if secret is None:
            return error
        salt = secrets.token_bytes(16)
        now = _now()
        told = SecretRefusedError(
            f"{error} As accounts are locked after a few wrong passwords, no run sends it again before "
            f"{_shown(now + _WAIT)} unless it or the login's settings are changed; `pi-dagster check` tries it at once."
        )
        refusal = _Refusal(refused_at=now, message=str(told), salt=salt, secret_hash=_hash(secret, salt))
        try:
            _write(_path(self._settings), msgspec.json.encode(refusal))
        except (OSError, RuntimeError) as trouble:
            return SecretRefusedError(
                f"{error} The next run will send it again, as this cannot be noted for it ({trouble}). Before a domain "
                "locks the account, switch schedules and sensors off, or let XDG_STATE_HOME name a folder that can be "
                "written."
            )
        return told

    def accepted(self) -> None:
        """The server has let this login in, whatever was before."""
        forget_refusal(self._settings)

    def _remembered(self) -> _Refusal | None:
        try:
            return msgspec.json.decode(_path(self._settings).read_bytes(), type=_Refusal)
        except (OSError, RuntimeError, msgspec.DecodeError):
            return None

    def _is_the_secret_of(self, refusal: _Refusal) -> bool:
        secret = self._login.secret()
        return secret is not None and hmac.compare_digest(refusal.secret_hash, _hash(secret, refusal.salt))


def forget_refusal(settings: ServerSettings) -> None:
    """Let the login of a site be tried at once, as for somebody who asks for it by hand."""
    try:
        _path(settings).unlink(missing_ok=True)
    except (OSError, RuntimeError):
        # Where nothing can be removed nothing was written.
        return


def _path(settings: ServerSettings) -> Path:
    login = hashlib.sha256(f"{settings.url}\n{settings.login.model_dump_json()}".encode()).hexdigest()
    return _folder() / f"refused-{login[:32]}.json"


def _folder() -> Path:
    """Of this user, as the XDG Base Directory Specification has it; a RuntimeError where a user has no home."""
    state_home = os.environ.get("XDG_STATE_HOME")
    return (Path(state_home) if state_home else Path.home() / ".local" / "state") / "pi_dagster"


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    # Readable for this user only, and there as a whole or not at all.
    handle, name = tempfile.mkstemp(dir=path.parent)
    with os.fdopen(handle, "wb") as file:
        file.write(content)
    Path(name).replace(path)


def _hash(secret: bytes, salt: bytes) -> bytes:
    return hashlib.pbkdf2_hmac("sha256", secret, salt, _HASH_ROUNDS)


def _now() -> datetime:
    return datetime.now(timezone.utc)


def _shown(instant: datetime) -> str:
    return f"{instant:%Y-%m-%d %H:%M} UTC"
