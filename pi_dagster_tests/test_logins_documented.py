"""What docs/logins.md shows is what a site takes, and it shows every setting of every login."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, get_args

import pytest
import yaml

from pi_dagster.site import Login, ServerSettings

DOCUMENT = Path(__file__).parents[1] / "docs" / "logins.md"
BLOCKS = [yaml.safe_load(block) for block in re.findall(r"```yaml\n(.*?)```", DOCUMENT.read_text("utf-8"), re.DOTALL)]
KINDS = get_args(get_args(Login)[0])


@pytest.mark.parametrize("block", BLOCKS, ids=[block["login"]["kind"] for block in BLOCKS])
def test_a_block_is_part_of_a_valid_site(block: dict[str, Any]) -> None:
    settings = ServerSettings(url="https://pi.example.com/piwebapi", **block)
    assert settings.login.kind == block["login"]["kind"]


@pytest.mark.parametrize("kind", KINDS, ids=[kind.__name__ for kind in KINDS])
def test_every_setting_of_a_kind_is_shown(kind: Any) -> None:
    name = kind.model_fields["kind"].default
    shown = {setting for block in BLOCKS if block["login"]["kind"] == name for setting in block["login"]}
    assert shown == set(kind.model_fields)
