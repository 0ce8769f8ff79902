"""A refused password is remembered on this machine, so that the next run does not try it again.

Schedules and sensors begin anew every few minutes, each in a process or with a connection of its own, and domains lock
an account after five or ten wrong passwords within half an hour. So a small file tells when which login was refused. Of
the password it holds a salted, slow hash only: enough to see that it is still the same one.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
import tempfile
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from pathlib import Path

import msgspec

from pi_dagster.piwebapi.errors import LoginRefusedError, SecretRefusedError
from pi_dagster.site import ServerSettings

STATE_VARIABLE = "PI_DAGSTER_STATE_DIR"
"""Names the folder of these files; default: one of this user in the machine's folder for temporary files."""

_WAITS = (timedelta(minutes=10), timedelta(hours=1), timedelta(hours=6), timedelta(hours=24))
"""Until the same password is tried again, for the refusal may not have been its fault: twice in half an hour, four
times in a day. After that once a day."""

_HASH_ROUNDS = 600_000
"""What OWASP's password storage cheat sheet asks of PBKDF2 with SHA-256; a quarter of a second a refusal."""


class _Refusal(msgspec.Struct, kw_only=True):
    salt: str
    secret_hash: str
    refused_at: datetime
    times: int
    message: str

    @property
    def next_try(self) -> datetime:
        return self.refused_at + _WAITS[min(self.times, len(_WAITS)) - 1]

    def is_of(self, secret: bytes) -> bool:
        return hmac.compare_digest(self.secret_hash, _hashed(secret, self.salt))


class RefusalMemory:
    """What is known of earlier refusals of one login.

    Args:
        settings: the server and the login.
        secret: gives what an account may be locked for, or None where nothing can be.
    """

    def __init__(self, settings: ServerSettings, secret: Callable[[], bytes | None]) -> None:
        self._path = _path(settings)
        self._secret = secret

    def check(self) -> None:
        """To be asked before a login is tried.

        Raises:
            LoginRefusedError: the same secret was refused a short while ago.
        """
        refusal = self._same_refusal()
        if refusal is not None and refusal.refused_at <= _now() < refusal.next_try:
            raise LoginRefusedError(
                f"{refusal.message} So it was answered at {_shown(refusal.refused_at)}; nothing was sent this time."
            )

    def refused(self, error: SecretRefusedError) -> SecretRefusedError:
        """Remember a refusal; the error to raise says until when."""
        secret = self._secret()
        if secret is None:
            return error
        before = self._same_refusal()
        salt = before.salt if before else secrets.token_hex(16)
        refusal = _Refusal(
            salt=salt,
            secret_hash=before.secret_hash if before else _hashed(secret, salt),
            refused_at=_now(),
            times=before.times + 1 if before else 1,
            message="",
        )
        refusal.message = (
            f"{error} As accounts are locked after a few wrong passwords, runs do not send it again before "
            f"{_shown(refusal.next_try)} unless it or the login's settings change; `pi-dagster check` tries it at once."
        )
        try:
            _write(self._path, msgspec.json.encode(refusal))
        except OSError as trouble:
            return SecretRefusedError(
                f"{error} The next run will send it again, as no file can be written in {self._path.parent} "
                f"({trouble.strerror}): until it is right switch schedules and sensors off, or set {STATE_VARIABLE} to "
                "a folder that can be written."
            )
        return SecretRefusedError(refusal.message)

    def accepted(self) -> None:
        """Forget what was, as the server has let this login in."""
        _forget(self._path)

    def _same_refusal(self) -> _Refusal | None:
        try:
            refusal = msgspec.json.decode(self._path.read_bytes(), type=_Refusal)
        except (OSError, msgspec.DecodeError):
            return None
        secret = self._secret()
        return refusal if secret is not None and refusal.is_of(secret) else None


def forget_refusal(settings: ServerSettings) -> None:
    """Let a login be tried again at once, for somebody who asks for it by hand."""
    _forget(_path(settings))


def _path(settings: ServerSettings) -> Path:
    """The file of a login: another server, account or setting has another."""
    login = hashlib.sha256(f"{settings.url}\n{settings.login.model_dump_json()}".encode()).hexdigest()
    return _folder() / f"refused-{login[:32]}.json"


def _folder() -> Path:
    named = os.environ.get(STATE_VARIABLE)
    return Path(named) if named else Path(tempfile.gettempdir()) / f"pi_dagster-{os.getuid()}"


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    if STATE_VARIABLE not in os.environ:
        # In a folder that all may write, another user may have put something of that name.
        there = path.parent.lstat()
        if there.st_uid != os.getuid() or path.parent.is_symlink():
            raise PermissionError(0, "it belongs to somebody else")
    handle, name = tempfile.mkstemp(dir=path.parent)
    with os.fdopen(handle, "wb") as file:
        file.write(content)
    Path(name).replace(path)


def _forget(path: Path) -> None:
    try:
        path.unlink(missing_ok=True)
    except OSError:
        # A folder that can only be read remembers nothing that could be wrong for long.
        return


def _hashed(secret: bytes, salt: str) -> str:
    return hashlib.pbkdf2_hmac("sha256", secret, bytes.fromhex(salt), _HASH_ROUNDS).hex()


def _now() -> datetime:
    return datetime.now(timezone.utc)


def _shown(instant: datetime) -> str:
    return f"{instant:%Y-%m-%d %H:%M} UTC"
