"""What `pi-dagster init` asks, in its order, and what it makes of the answers."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timezone
from pathlib import Path

import typer

from pi_dagster.cli.questions import Questions, fits
from pi_dagster.cli.site_folder import NewSite, can_stand_in_environment_file
from pi_dagster.cli.telling import complain

_NO_LETTERS = re.compile(r"[^a-z0-9_.-]+")


@dataclass(frozen=True)
class _Kind:
    """What a kind of login needs.

    Args:
        asked: settings and their questions.
        may_be_empty: whether these may be left out.
        secret: the setting that names a secret's variable, that variable, and what it holds; none for Kerberos.
    """

    asked: Mapping[str, str] = field(default_factory=dict)
    may_be_empty: bool = False
    secret: tuple[str, str, str] | None = None


_ACCOUNT = {"username": r"User name, such as PLANT\svc_dagster"}
_KINDS = {
    "basic": _Kind(_ACCOUNT, secret=("password_env", "PI_PASSWORD", "Password")),
    "kerberos": _Kind(
        {
            "principal": "Principal (empty: whom the keytab or ticket is for)",
            "keytab": "Keytab (empty: the tickets of `kinit`)",
        },
        may_be_empty=True,
    ),
    "ntlm": _Kind(_ACCOUNT, secret=("password_env", "PI_PASSWORD", "Password")),
    "bearer": _Kind(secret=("token_env", "PI_TOKEN", "Bearer token")),
    "oidc": _Kind(
        {"client_id": "Client id at the identity provider"},
        secret=("client_secret_env", "PI_CLIENT_SECRET", "Client secret"),
    ),
    "anonymous": _Kind(),
}

LOGIN_KINDS = ", ".join(_KINDS)


@dataclass(frozen=True, kw_only=True)
class GivenAnswers:
    """What the options of the command say; None for what they leave open."""

    url: str | None
    ca_bundle: str | None
    login: str | None
    login_settings: Mapping[str, str | None]
    secret_env: str | None
    tags: Sequence[str]
    lake: str | None
    start_date: str | None
    has_assets: bool
    name: str | None


def ask_for_site(questions: Questions, folder: Path, given: GivenAnswers) -> NewSite:
    """Everything a site needs.

    Raises:
        typer.BadParameter: an option cannot be so, or is missing where nobody can be asked.
    """
    server = {
        "url": questions.answer(
            "PI Web API, its base URL (ends in /piwebapi)", _server_url, given=given.url, option="--url", default=None
        )
    }
    if given.ca_bundle is not None:
        server["ca_bundle"] = str(Path(given.ca_bundle).resolve())
    kind = questions.answer(f"Login ({LOGIN_KINDS})", _login_kind, given=given.login, option="--login", default="basic")
    login = {"kind": kind, **_ask_for_login(questions, _KINDS[kind], given)}
    secrets, values = _ask_for_secret(questions, _KINDS[kind], login, given.secret_env)
    return NewSite(
        name=_site_name(given.name, folder),
        server=server,
        login=login,
        secrets=secrets,
        values=values,
        tag_groups=questions.answer(
            "Tags, as NAME=PATTERN with * and ?, several with commas",
            _tag_groups,
            given=",".join(given.tags) or None,
            option="--tags",
            default="all=*",
        ),
        lake=questions.answer(
            "Lake, a folder or s3://, gs://, abfss://",
            _lake_uri_in(folder),
            given=given.lake,
            option="--lake",
            default=str((folder / "lake").resolve()),
        ),
        start_date=questions.answer(
            "First day that can be loaded",
            _first_day,
            given=given.start_date,
            option="--start-date",
            default=f"{datetime.now(timezone.utc).year}-01-01",
        ),
        has_assets=given.has_assets,
    )


def is_set(variable: str) -> bool:
    """Whether the environment has that secret, or names a file with it."""
    return bool(os.environ.get(variable) or os.environ.get(f"{variable}_FILE"))


def _ask_for_login(questions: Questions, kind: _Kind, given: GivenAnswers) -> dict[str, str]:
    def understand(text: str) -> str:
        if not text and not kind.may_be_empty:
            raise ValueError("must not be empty")
        return text

    answers = {
        name: questions.answer(
            question,
            understand,
            given=given.login_settings[name],
            option=f"--{name.replace('_', '-')}",
            default="" if kind.may_be_empty else None,
        )
        for name, question in kind.asked.items()
    }
    return {name: answer for name, answer in answers.items() if answer}


def _ask_for_secret(
    questions: Questions, kind: _Kind, login: dict[str, str], given_variable: str | None
) -> tuple[Mapping[str, str], Mapping[str, str]]:
    """Name the secret's variable in `login`; returns that variable with what it holds, and with what was typed in."""
    if kind.secret is None:
        return {}, {}
    setting, usual_variable, holds = kind.secret
    variable = given_variable or usual_variable
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", variable):
        raise typer.BadParameter(
            "is the name of an environment variable, not the secret: letters A to Z, digits and _ only",
            param_hint="--secret-env",
        )
    login[setting] = variable
    if is_set(variable):
        return {variable: holds}, {}
    secret = questions.secret(f"{holds} (not shown; kept in .env; empty: later)")
    if secret and not can_stand_in_environment_file(secret):
        complain(
            f"  A .env file cannot hold this one. Set {variable} in the shell, or {variable}_FILE to a file with it."
        )
        secret = None
    return {variable: holds}, {variable: secret} if secret else {}


def _server_url(text: str) -> str:
    from pi_dagster.site import ServerSettings

    fits(ServerSettings, {"url": text})
    return text.rstrip("/")


def _login_kind(text: str) -> str:
    if text not in _KINDS:
        raise ValueError(f"there is no login kind {text!r}; known are {LOGIN_KINDS}")
    return text


def _lake_uri_in(folder: Path) -> Callable[[str], str]:
    from pi_dagster.site import LakeSettings

    def understand(text: str) -> str:
        fits(LakeSettings, {"uri": text})
        # A relative one would be another folder wherever Dagster is started.
        return text if "://" in text else str((folder / Path(text).expanduser()).resolve())

    return understand


def _tag_groups(text: str) -> Sequence[Mapping[str, str]]:
    groups = [_tag_group(part.strip()) for part in text.split(",") if part.strip()]
    if not groups:
        raise ValueError("name at least one, such as all=*")
    names = [group["name"].lower() for group in groups]
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"two tag groups are named {name!r}; give one another name, as in NAME=PATTERN")
    return groups


def _tag_group(text: str) -> Mapping[str, str]:
    from pi_dagster.site import TagGroup

    name, has_name, pattern = text.partition("=")
    if not has_name:
        name, pattern = _NO_LETTERS.sub("_", text.lower()).strip("_") or "all", text
    group = {"name": name.strip(), "tag_filter": pattern.strip()}
    fits(TagGroup, group)
    return group


def _first_day(text: str) -> str:
    try:
        day = date.fromisoformat(text)
    except ValueError:
        raise ValueError("write a date like 2026-01-01") from None
    if day > datetime.now(timezone.utc).date():
        raise ValueError(f"{day} is in the future; it is the first day to load")
    return day.isoformat()


def _site_name(given: str | None, folder: Path) -> str:
    from pi_dagster.site import NAME_PATTERN

    if given is None:
        return _NO_LETTERS.sub("_", folder.resolve().name.lower()).strip("_")[:64] or "pi"
    if not re.fullmatch(NAME_PATTERN, given):
        raise typer.BadParameter("use only letters A to Z, digits and _ . - and no blanks", param_hint="--name")
    return given
