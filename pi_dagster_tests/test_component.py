"""A `defs.yaml` in any Dagster project becomes the same definitions as the site in Python."""

from __future__ import annotations

import re
from typing import Any

import dagster as dg
import pytest
from dagster.components.testing import create_defs_folder_sandbox

from pi_dagster.components import PISystemComponent
from pi_dagster.components.pi_system import SiteAttributes
from pi_dagster.factory import build_pi_definitions
from pi_dagster.site import Site

ATTRIBUTES: dict[str, Any] = {
    "server": {"url": "{{ env('PI_TEST_URL', 'https://pi.example.com/piwebapi') }}"},
    "lake": {"uri": "/data/pi"},
    "start_date": "2026-01-01",
    "tag_groups": [{"name": "boilers", "tag_filter": "BLR*"}],
}


def load(attributes: dict[str, Any], *, more: str = "") -> tuple[PISystemComponent, dg.Definitions]:
    """The component of a `defs.yaml` with these attributes, after the text `more`."""
    with create_defs_folder_sandbox() as sandbox:
        folder = sandbox.scaffold_component(
            component_cls=PISystemComponent,
            defs_yaml_contents={"type": "pi_dagster.components.PISystemComponent", "attributes": attributes},
        )
        file = folder / "defs.yaml"
        file.write_text(file.read_text().replace("attributes:\n", f"attributes:\n{more}"))
        with sandbox.load_component_and_build_defs(defs_path=folder) as (component, defs):
            assert isinstance(component, PISystemComponent)
            return component, defs


def asset_keys(defs: dg.Definitions) -> set[dg.AssetKey]:
    return set(defs.resolve_asset_graph().get_all_asset_keys())


def test_a_defs_yaml_gives_what_the_factory_gives() -> None:
    component, defs = load(ATTRIBUTES)
    assert component.site.server.url == "https://pi.example.com/piwebapi"
    assert asset_keys(defs) == asset_keys(build_pi_definitions(component.site))


def test_the_component_leaves_the_executor_of_the_project_alone() -> None:
    _, defs = load(ATTRIBUTES)
    assert defs.executor is None


def refusal(attributes: dict[str, Any], *, more: str = "") -> str:
    with pytest.raises(Exception, match="Error while") as refused:
        load(attributes, more=more)
    cause = refused.value
    while cause.__cause__ is not None:
        cause = cause.__cause__  # type: ignore[assignment]
    return str(cause)


def test_a_typo_is_refused_with_file_line_and_column() -> None:
    told = refusal({**ATTRIBUTES, "lak": 1})
    assert "there is no setting `lak`; did you mean `lake`?" in told
    assert "defs.yaml:" in told


def test_a_setting_that_stands_twice_is_refused_with_file_line_and_column() -> None:
    told = refusal(ATTRIBUTES, more="  lake: {uri: /data/other}\n")
    assert re.search(r"defs\.yaml:\d+:3: setting `lake` stands in line \d+ already", told)


def test_editors_and_dg_see_the_settings_of_the_site() -> None:
    schema, site = SiteAttributes.model_json_schema(), Site.model_json_schema()
    properties = schema["$defs"]["Site"]["properties"] if "$ref" in schema else schema["properties"]
    assert properties == site["properties"]


def test_two_sites_live_in_one_code_location() -> None:
    def site(name: str) -> Site:
        settings = {**ATTRIBUTES, "server": {"url": "https://pi.example.com/piwebapi"}}
        return Site.model_validate({**settings, "name": name, "asset_key_prefix": [name]})

    both = dg.Definitions.merge(build_pi_definitions(site("north")), build_pi_definitions(site("south")))
    dg.Definitions.validate_loadable(both)
    assert dg.AssetKey(["north", "pi_timeseries"]) in asset_keys(both)
    assert dg.AssetKey(["south", "pi_timeseries"]) in asset_keys(both)


def test_no_secret_is_in_a_resource(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PI_PASSWORD", "hunter2")
    login = {"kind": "basic", "username": "me", "password_env": "PI_PASSWORD"}
    component, _ = load({**ATTRIBUTES, "server": {"url": "https://pi.example.com/piwebapi", "login": login}})
    resources = build_pi_definitions(component.site).resources or {}
    assert "PI_PASSWORD" in repr(resources)
    assert "hunter2" not in repr(resources)
