"""Rules in the site file: a mistake in one is told with its line; a site without rules has nothing of them."""

from __future__ import annotations

from pathlib import Path

import dagster as dg
import pytest

from pi_dagster.components.site_file import load_site
from pi_dagster.factory import build_pi_definitions
from pi_dagster.quality_rules import RESERVED_RULE_NAMES, GapRule, RangeRule
from pi_dagster.site_mistakes import SiteFileError

SITE_FILE = """\
type: pi_dagster.components.PISystemComponent
attributes:
  server: {url: "https://pi.example.com/piwebapi"}
  lake: {uri: /data/pi}
  start_date: 2026-01-01
  tag_groups:
    - {name: boilers, tag_filter: BLR*}
  quality_rules:
    - name: steam_flow
      kind: range
      tags: ["BLR*.FLOW"]
      low: 0
      high: 120
    - {name: silence, kind: gap, longest_minutes: 30, severity: error}
"""


def load(folder: Path, text: str = SITE_FILE) -> tuple[object, ...]:
    path = folder / "defs.yaml"
    path.write_text(text, encoding="utf-8")
    return load_site(path).quality_rules


def test_rules_are_read(tmp_path: Path) -> None:
    assert load(tmp_path) == (
        RangeRule(name="steam_flow", kind="range", tags=("BLR*.FLOW",), low=0, high=120),
        GapRule(name="silence", kind="gap", longest_minutes=30, severity="error"),
    )


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("kind: range", "kind: rage", "defs.yaml:9:7: setting `quality_rules[0]"),
        ("low: 0", "lwo: 0", "defs.yaml:12:7: there is no setting `quality_rules[0].lwo`; did you mean `low`?"),
        ("low: 0", "low: 200", "setting `quality_rules[0]`: `low` (200) must be less than `high` (120)"),
        ("high: 120", "high: .nan", "setting `quality_rules[0].high`: write a number; .nan and .inf are none"),
        ("high: 120", "high: .inf", "setting `quality_rules[0].high`: write a number; .nan and .inf are none"),
        ("name: silence", "name: steam_flow", "two quality rules are named 'steam_flow'; rename one"),
        ("name: silence", "name: Columns_as_designed", "is named 'Columns_as_designed', as a check that"),
        ("longest_minutes: 30", "longest_minutes: 0", "defs.yaml:14:34: setting `quality_rules[1].longest_minutes`"),
        ("longest_minutes: 30, ", "", "setting `quality_rules[1].longest_minutes` is missing"),
        ("severity: error", "tag_groups: [pumps]", "names the tag group 'pumps', which the site does not have"),
        ("name: silence", "name: sil-ence", "quality_rules[1].name`"),
        ("severity: error", "severity: fatal", "defs.yaml:14:55: setting `quality_rules[1].severity`"),
        ("low: 0", "af_template: Pump\n      low: 0", None),
    ],
)
def test_a_mistake_in_a_rule_is_told_with_its_line(tmp_path: Path, old: str, new: str, expected: str | None) -> None:
    text = SITE_FILE.replace(old, new)
    assert text != SITE_FILE
    if expected is None:
        text, expected = (
            text + "  asset_framework: null\n",
            "goes by AF elements, and `asset_framework` is switched off",
        )
    with pytest.raises(SiteFileError) as refused:
        load(tmp_path, text)
    assert expected in str(refused.value)


def test_no_rule_may_have_the_name_of_another_check_of_the_findings(tmp_path: Path) -> None:
    (tmp_path / "defs.yaml").write_text(SITE_FILE, encoding="utf-8")
    site = load_site(tmp_path / "defs.yaml")
    graph = build_pi_definitions(site).get_repository_def().asset_graph
    findings = dg.AssetKey("pi_quality_findings")
    checks = {check.name for check in graph.asset_check_keys if check.asset_key == findings}
    assert checks - {rule.name for rule in site.quality_rules} == set(RESERVED_RULE_NAMES)


def test_a_site_without_rules_has_no_asset_for_them(tmp_path: Path) -> None:
    text, rules = SITE_FILE.split("  quality_rules:")
    assert rules
    (tmp_path / "defs.yaml").write_text(text, encoding="utf-8")
    definitions = build_pi_definitions(load_site(tmp_path / "defs.yaml"))
    names = {key.to_user_string() for key in definitions.get_repository_def().asset_graph.get_all_asset_keys()}
    assert "pi_timeseries" in names
    assert "pi_quality_findings" not in names
