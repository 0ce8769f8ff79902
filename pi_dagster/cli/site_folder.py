"""The files of a site folder: a `defs.yaml`, where its secrets go, and what `dagster dev` wants to find beside it.

Nothing that is there already is touched: a site that holds data must not change because somebody typed `init` again.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

import pi_dagster
from pi_dagster.default_site import SITE_VARIABLE

SITE_FILE = "defs.yaml"
SECRETS_FILE = ".env"
_ONLY_FOR_ITS_OWNER = 0o600
_FOR_ALL = 0o666

_DAGSTER_SETTINGS = tuple(
    # In a wheel it is inside the package, in a clone beside it.
    folder / "dagster.yaml"
    for folder in (Path(pi_dagster.__file__).parent, Path(pi_dagster.__file__).parents[1])
)

_WORKSPACE = """\
# What Dagster loads in this folder: the site that PI_DAGSTER_SITE names in .env.
load_from:
  - python_module:
      module_name: pi_dagster.definitions
      location_name: pi_dagster
"""

_GITIGNORE = """\
.env
.dagster_home/
.tmp_dagster_home_*/
"""


@dataclass(frozen=True)
class NewSite:
    """What `pi-dagster init` was told.

    Args:
        name: the site's name.
        server: `url`, and other settings of the server but its login.
        login: `kind` and its settings.
        lake: where the tables go.
        start_date: the first day, like 2026-01-01.
        tag_groups: `name` and `tag_filter` of each.
        has_assets: False where there is no Asset Framework.
        secrets: environment variables that the login names, each with what it holds, for people.
        values: those of them that the person has typed in.
    """

    name: str
    server: Mapping[str, str]
    login: Mapping[str, str]
    lake: str
    start_date: str
    tag_groups: Sequence[Mapping[str, str]]
    has_assets: bool
    secrets: Mapping[str, str]
    values: Mapping[str, str] = field(default_factory=dict, repr=False)

    def site_file(self) -> str:
        """The text of the `defs.yaml`."""
        lines = [
            "# A site: one PI system and where its data goes. docs/example-site/defs.yaml of pi_dagster explains every",
            "# setting there is; `pi-dagster check` says whether this one works.",
            "type: pi_dagster.components.PISystemComponent",
            "",
            "attributes:",
            f"  name: {_flow(self.name)}",
            "  server:",
            *(f"    {name}: {_flow(value)}" for name, value in self.server.items()),
            *(["    # The secret is in the environment variable, never in this file."] if self.secrets else []),
            f"    login: {_flow(self.login)}",
            "  lake:",
            f"    uri: {_flow(self.lake)}",
            "  # The first day (UTC) that can be loaded: the oldest day you will ever want.",
            f"  start_date: {self.start_date}",
            "  # A tag belongs to the first group that matches it; `pi-dagster tags` shows which. Do not rename a",
            "  # group that holds data.",
            "  tag_groups:",
            *(f"    - {_flow(group)}" for group in self.tag_groups),
            *([] if self.has_assets else ["  asset_framework: null"]),
        ]
        return "\n".join([*lines, ""])

    def environment_file(self, *, is_example: bool) -> str:
        """The text of `.env`, or of the example that may be kept in git.

        Without a value a variable is left out of `.env`, where an empty one would win over the shell's.
        """
        lines = [
            "# Copy this to .env, which git is to ignore, and fill it in."
            if is_example
            else "# Secrets: not for git, and only for the account that runs Dagster.",
            "# `dagster dev` and pi-dagster read .env in the folder that they are started in; it wins over the shell.",
            f"{SITE_VARIABLE}={SITE_FILE}",
        ]
        for variable, holds in self.secrets.items():
            value = self.values.get(variable)
            lines.append(f"# {holds}")
            if is_example:
                lines.append(f"{variable}=")
            else:
                lines.append(f"{variable}={_quoted(value)}" if value else f"# {variable}=")
        return "\n".join([*lines, ""])


def write_site_folder(folder: Path, site: NewSite) -> tuple[list[str], list[str]]:
    """Write the files that are not there yet.

    Returns:
        The names of the files that were written, and of those that were there and stay as they are.

    Raises:
        FileExistsError: there is a site in the folder already; nothing is written then.
        OSError: the folder cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    _write_new(folder / SITE_FILE, site.site_file())
    settings = next(path for path in _DAGSTER_SETTINGS if path.exists())
    others = {
        ".env.example": site.environment_file(is_example=True),
        SECRETS_FILE: site.environment_file(is_example=False),
        "workspace.yaml": _WORKSPACE,
        "dagster.yaml": settings.read_text(encoding="utf-8"),
        ".gitignore": _GITIGNORE,
    }
    kept = [name for name in others if (folder / name).exists()]
    written = [name for name in others if name not in kept]
    for name in written:
        _write_new(folder / name, others[name], mode=_ONLY_FOR_ITS_OWNER if name == SECRETS_FILE else _FOR_ALL)
    return [SITE_FILE, *written], kept


def can_stand_in_environment_file(value: str) -> bool:
    """False for what would be read back from a `.env` as something else, in whatever quotes."""
    return value.isprintable() and "${" not in value


def _write_new(path: Path, text: str, *, mode: int = _FOR_ALL) -> None:
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "w", encoding="utf-8") as file:
        file.write(text)


def _flow(value: Any) -> str:
    """`value` as YAML on one line."""
    text = yaml.safe_dump(value, default_flow_style=True, sort_keys=False, allow_unicode=True, width=10_000)
    return text.removesuffix("\n").removesuffix("\n...")


def _quoted(value: str) -> str:
    escaped = value.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"
