"""A site file is read whole, or refused in one paragraph that says where and why."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import pytest
from pydantic import BaseModel

from pi_dagster.components.site_file import load_site
from pi_dagster.plain_words import LETTERS_OF_PATTERN
from pi_dagster.settings_model import SettingsModel
from pi_dagster.site import BasicLogin, ExistingCluster, Login, Serverless, Site, TagGroup
from pi_dagster.site_mistakes import SiteFileError

EXAMPLE = Path(__file__).parents[1] / "docs" / "example-site" / "defs.yaml"

SITE_FILE = """\
type: pi_dagster.components.PISystemComponent
attributes:
  server:
    url: https://pi.example.com/piwebapi
    login: {kind: basic, username: me, password_env: PI_PASSWORD}
  lake:
    uri: /data/pi
  start_date: 2026-01-01
  tag_groups:
    - name: boilers
      tag_filter: BLR*
    - name: pumps
      tags: ["0001", PMP2]
"""


LOGIN = "login: {kind: basic, username: me, password_env: PI_PASSWORD}"


def load(folder: Path, text: str) -> Site:
    path = folder / "defs.yaml"
    path.write_text(text, encoding="utf-8")
    return load_site(path)


def refusal(folder: Path, old: str, new: str) -> str:
    """Why the site file is refused after the text `old` in it became `new`, without the folder."""
    assert old in SITE_FILE
    with pytest.raises(SiteFileError) as refused:
        load(folder, SITE_FILE.replace(old, new))
    message = str(refused.value)
    assert "\n" not in message
    return message.replace(f"{folder}/", "")


def test_a_site_file_becomes_a_site(tmp_path: Path) -> None:
    site = load(tmp_path, SITE_FILE)
    assert site.server.login == BasicLogin(username="me", password_env="PI_PASSWORD")
    assert site.partition_names() == ("boilers", "pumps")


def test_a_tag_name_made_of_digits_stays_a_text(tmp_path: Path) -> None:
    assert load(tmp_path, SITE_FILE).tag_groups[1].tags == ("0001", "PMP2")


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        (
            "tag_filter: BLR*",
            "tag_filtr: BLR*",
            "defs.yaml:11:7: there is no setting `tag_groups[0].tag_filtr`; did you mean `tag_filter`?",
        ),
        (
            "password_env",
            "pasword_env",
            "defs.yaml:5:40: there is no setting `server.login.pasword_env`; did you mean `password_env`? "
            "defs.yaml:5:5: setting `server.login.password_env` is missing.",
        ),
        ("uri: /data/pi", "zzz: 1", "defs.yaml:7:5: there is no setting `lake.zzz`; known are `catalog_schema`, "),
        ("  start_date: 2026-01-01\n", "", "defs.yaml:2:1: setting `start_date` is missing."),
        ("2026-01-01", "2126-01-01", "defs.yaml:8:3: setting `start_date`: start_date 2126-01-01 is in the future"),
        ("/piwebapi", "/", "defs.yaml:4:5: setting `server.url`: 'https://pi.example.com/' does not end in /piwebapi"),
        ("pumps", "boilers", "defs.yaml:9:3: setting `tag_groups`: two tag groups are named 'boilers'"),
        (
            LOGIN,
            "login: {kind: digest}",
            "`server.login`: there is no login kind 'digest'; known are 'anonymous',",
        ),
        (LOGIN, "login: {username: me}", "defs.yaml:5:5: setting `server.login`: say of which `kind` the login is."),
        (LOGIN, "login: basic", "setting `server.login`: write its settings as `name: value` lines."),
        (
            "PI_PASSWORD",
            "hunter 2",
            "`server.login.password_env`: this is the name of an environment variable, not",
        ),
        (
            "  lake:\n    uri: /data/pi",
            "  lake: /data/pi",
            "setting `lake`: write its settings as `name: value` lines",
        ),
        ("/data/pi", '""', "defs.yaml:7:5: setting `lake.uri`: must not be empty."),
        ("uri: /data/pi", "uri:", "defs.yaml:7:5: setting `lake.uri`: has no value."),
        ("2026-01-01", "01.02.2026", "defs.yaml:8:3: setting `start_date`: write a date like 2026-01-01."),
        ("2026-01-01", "2026-13-01", "defs.yaml:8:3: setting `start_date`: write a date like 2026-01-01."),
        (
            "name: boilers",
            "name: the boilers",
            "`tag_groups[0].name`: use only letters A to Z, digits and _ . - and",
        ),
        ("name: boilers", f"name: {'x' * 65}", "`tag_groups[0].name`: must not have more than 64 characters."),
        ("name: boilers", "name: 5", "`tag_groups[0].name`: write a text, and put it in quotes where it looks like"),
        ('["0001", PMP2]', "[]", "`tag_groups[1].tags`: must not be empty; name at least one."),
        ('["0001", PMP2]', "PMP2", "`tag_groups[1].tags`: write a list, such as [a, b]."),
        ("BLR*", "BLR*\n      shards: many", "`tag_groups[0].shards`: write a whole number."),
        ("BLR*", "BLR*\n      shards: 0", "`tag_groups[0].shards`: must be at least 1."),
        ("BLR*", "BLR*\n      shards: 5000", "`tag_groups[0].shards`: must not be more than 1000."),
        ("  lake:", "    compress: perhaps\n  lake:", "`server.compress`: write true or false."),
        (
            "  lake:",
            "    max_requests_per_second: 0\n  lake:",
            "`server.max_requests_per_second`: must be more than 0",
        ),
        (
            "  lake:",
            "  checks: {bad_percent: .nan}\n  lake:",
            "`checks.bad_percent`: write a number; .nan and .inf are",
        ),
        ("  lake:", "  settle_hours: .inf\n  lake:", "setting `settle_hours`: write a number; .nan and .inf are none."),
        ("  lake:", "    read_mode: stream\n  lake:", "`server.read_mode`: known are 'streamset' or 'batch'."),
        (
            "  lake:",
            "  checks: {freshness_minute: 5}\n  lake:",
            "there is no setting `checks.freshness_minute`; did you mean `freshness_minutes`?",
        ),
        ("  lake:", "  checks: {bad_percent: 120}\n  lake:", "`checks.bad_percent`: must not be more than 100."),
        ("  lake:", "  checks: {silent_factor: 0.5}\n  lake:", "`checks.silent_factor`: must be at least 1."),
        ("  lake:", "  schedules: {checks: hourly}\n  lake:", "'hourly' is not a cron expression of five fields"),
        ("BLR*", "*", "defs.yaml:11:19: this is not valid YAML: a * at the beginning of a value means something else"),
        ("BLR*", "*FLAME", "; put it in quotes"),
        ("username: me", r'username: "PLANT\svc"', "; put a value with a backslash in single quotes"),
        ("username: me", "username: @me", "; put the value in quotes"),
        ("/data/pi", "{{ env.LAKE }}", 'put templates in quotes, like "{{ env.NAME }}".'),
        ("attributes:", "atributes:", "defs.yaml:2:1: `atributes` does not belong here; did you mean `attributes`?"),
        ("PISystemComponent", "Pump", "defs.yaml:1:1: the `type` of a site is pi_dagster.components.PISystemComponent"),
        ("  tag_groups:", " tag_groups:", "defs.yaml:9:2: this is not valid YAML"),
    ],
)
def test_a_mistake_is_told_with_its_line_and_column(tmp_path: Path, old: str, new: str, expected: str) -> None:
    assert expected in refusal(tmp_path, old, new)


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        (
            "PMP2]\n",
            "PMP2]\n  tag_groups:\n    - {name: tanks, tag_filter: TNK*}\n",
            "defs.yaml:14:3: setting `tag_groups` stands in line 9 already, and YAML would keep only the last; "
            "write all of it in one place.",
        ),
        ("    uri: /data/pi", "    uri: /data/pi\n    uri: /data/other", "defs.yaml:8:5: setting `lake.uri` stands in"),
        ("name: boilers", "name: boilers\n      name: drums", "setting `tag_groups[0].name` stands in line 10"),
        (LOGIN, "login: {kind: anonymous, kind: ntlm}", "setting `server.login.kind` stands in line 5 already"),
        ("attributes:\n", "attributes: {}\nattributes:\n", "defs.yaml:3:1: `attributes` stands in line 2 already"),
    ],
)
def test_a_setting_that_stands_twice_is_refused(tmp_path: Path, old: str, new: str, expected: str) -> None:
    assert expected in refusal(tmp_path, old, new)


def test_a_setting_that_is_inherited_may_be_written_anew(tmp_path: Path) -> None:
    text = SITE_FILE.replace("- name: boilers", "- &group\n      name: boilers")
    groups = load(tmp_path, text + "    - {<<: *group, name: drums, shards: 2}\n").tag_groups
    assert groups[2] == TagGroup(name="drums", tag_filter="BLR*", shards=2)


@pytest.mark.parametrize("cron", ["99 * * * *", "a * * * *", "*/0 * * * *", "0 0 31 2 *"])
def test_a_schedule_that_dagster_would_refuse_is_refused(tmp_path: Path, cron: str) -> None:
    told = refusal(tmp_path, "  start_date", f'  schedules:\n    timeseries: "{cron}"\n  start_date')
    assert told.startswith(f"defs.yaml:9:5: setting `schedules.timeseries`: {cron!r} is no time that ever comes")


def test_a_list_whose_every_item_is_wrong_is_not_called_empty(tmp_path: Path) -> None:
    assert "empty" not in refusal(tmp_path, '["0001", PMP2]', "[1, 2]")


def patterns_in(schema: object) -> Iterator[str]:
    if isinstance(schema, dict):
        yield from (value for key, value in schema.items() if key == "pattern" and isinstance(value, str))
        for value in schema.values():
            yield from patterns_in(value)
    elif isinstance(schema, list):
        for value in schema:
            yield from patterns_in(value)


def test_every_pattern_of_a_setting_is_told_in_words() -> None:
    assert set(patterns_in(Site.model_json_schema())) == set(LETTERS_OF_PATTERN)


def test_a_file_without_settings_is_refused(tmp_path: Path) -> None:
    assert "defs.yaml:2:1: `attributes` must hold the site's settings." in refusal(
        tmp_path, SITE_FILE[SITE_FILE.index("  server") :], ""
    )


@pytest.mark.parametrize("text", ["", "- 1\n", "just text\n", SITE_FILE + "---\n" + SITE_FILE])
def test_a_file_that_does_not_hold_one_site_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(SiteFileError, match="must hold one site"):
        load(tmp_path, text)


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SiteFileError, match=r"none\.yaml cannot be read: No such file"):
        load_site(tmp_path / "none.yaml")


def test_a_template_may_stand_for_any_setting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("START", "2026-02-03")
    monkeypatch.setenv("DAYS", "7")
    text = SITE_FILE.replace("2026-01-01", '"{{ env.START }}"\n  incremental_window_days: "{{ env(\'DAYS\') }}"')
    site = load(tmp_path, text)
    assert (site.start_date.isoformat(), site.incremental_window_days) == ("2026-02-03", 7)


def test_a_template_without_its_variable_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LAKE", raising=False)
    told = refusal(tmp_path, "/data/pi", "\"{{ env('LAKE') }}\"")
    assert told.startswith("defs.yaml:7:5: setting `lake.uri`: the template {{ env('LAKE') }} could not be filled in")
    assert "Environment variable LAKE is not set" in told
    told = refusal(tmp_path, "/data/pi", '"{{ env.LAKE }}"')
    assert "setting `lake.uri`" in told
    assert "this comes from the template {{ env.LAKE }}" in told


def test_a_wrong_value_from_a_template_names_the_template(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("URL", "http://pi.example.com")
    told = refusal(tmp_path, "https://pi.example.com/piwebapi", '"{{ env.URL }}"')
    assert "'http://pi.example.com' does not end in /piwebapi" in told
    assert told.endswith("(this comes from the template {{ env.URL }}).")


def test_the_example_site_is_valid(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PI_WEB_API_URL", raising=False)
    assert load_site(EXAMPLE).name == "plant1"


def owner(model: type[BaseModel], name: str) -> type[BaseModel]:
    """The model that brings in a setting, which others may inherit."""
    return next(base for base in reversed(model.__mro__) if name in getattr(base, "__annotations__", {}))


def models_below(model: type[SettingsModel]) -> Iterator[type[SettingsModel]]:
    for below in model.__subclasses__():
        yield below
        yield from models_below(below)


def settings_of(model: BaseModel) -> Iterator[tuple[type[BaseModel], str]]:
    """Every setting that is written out in `model`, with the model it belongs to."""
    for name in model.model_fields_set:
        yield owner(type(model), name), name
        value = getattr(model, name)
        for part in value if isinstance(value, tuple) else (value,):
            if isinstance(part, BaseModel):
                yield from settings_of(part)


def test_the_example_site_shows_every_setting() -> None:
    shown = set(settings_of(load_site(EXAMPLE)))
    every = {(owner(model, name), name) for model in models_below(SettingsModel) for name in model.model_fields}
    # Of the logins it shows one, and docs/logins.md all; of the computes of Databricks one, and docs/databricks.md all.
    others = {kind for kind in get_args(get_args(Login)[0]) if kind is not BasicLogin} | {ExistingCluster, Serverless}
    assert shown == {(model, name) for model, name in every if model not in others}


def test_the_defaults_that_the_example_site_names_are_the_defaults() -> None:
    text = EXAMPLE.read_text(encoding="utf-8")
    defaults = re.findall(r"Default: (\d+(?:\.\d+)?)[^\n]*\n(?: *#[^\n]*\n)* *(\w+):", text)
    assert len(defaults) >= 7
    fields = {name: field for model in SettingsModel.__subclasses__() for name, field in model.model_fields.items()}
    assert {name: float(default) for default, name in defaults} == {name: fields[name].default for _, name in defaults}
