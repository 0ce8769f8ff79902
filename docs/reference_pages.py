"""The pages of the reference that are made from the code when the documentation is built, so that they cannot be wrong.

A hook of MkDocs (`hooks` in mkdocs.yml). Nothing of it is committed: the settings come from the model that a site is
checked against, the columns from the schemas that tables are created from, the options from the command line itself.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import typer
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

from pi_dagster import cli
from pi_dagster.cli.telling import EXIT_CODES
from pi_dagster.lake import schemas
from pi_dagster.site import Site

Schema = Mapping[str, Any]

_UNITS_OF_TYPE = {"string": "text", "integer": "whole number", "number": "number", "boolean": "`true` or `false`"}


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages to those of the folder `docs`."""
    for name, page in (
        ("site-settings.md", settings_page()),
        ("tables.md", tables_page()),
        ("command-line.md", command_line_page()),
        ("example-site.md", example_site_page(Path(config.docs_dir) / "example-site" / "defs.yaml")),
    ):
        files.append(File.generated(config, name, content=page))
    return files


def settings_page() -> str:
    """All settings of a site, a section for each group of them."""
    schema = Site.model_json_schema()
    parts = [
        "# Site settings",
        "Every setting of a site, made from the model that a site file is checked against. They stand under "
        "`attributes` of the site file; [the example site](example-site.md) shows each in its place. Any value may be "
        "a template such as `{{ env.NAME }}`. Secrets are no settings: those that end in `_env` name variables.",
        "## The site",
        *_settings_of(schema, schema["$defs"], ""),
    ]
    return "\n\n".join(parts) + "\n"


def _settings_of(model: Schema, models: Mapping[str, Schema], path: str) -> Iterator[str]:
    rows = ["| setting | what | value | default |", "|---|---|---|---|"]
    below: list[tuple[str, Schema]] = []
    for name, setting in model["properties"].items():
        full_name = f"{path}{name}"
        models_in_it = list(_models_in(setting, models))
        value = f"[see below](#{_anchor(full_name)})" if models_in_it else _value_of(setting)
        default = "required" if name in model.get("required", ()) else _default_of(setting, is_group=bool(models_in_it))
        described = next((one for one in (setting, *models_in_it) if "description" in one), {"description": ""})
        rows.append(f"| `{name}` | {_in_a_cell(described['description'])} | {value} | {default} |")
        below += [(full_name, found) for found in models_in_it]
    yield "\n".join(rows)
    told: set[str] = set()
    for full_name, found in below:
        if full_name not in told:
            told.add(full_name)
            yield f"## {full_name}"
        kind = found["properties"].get("kind", {}).get("const")
        if kind:
            yield f"### {full_name}: {kind}"
        yield _in_a_cell(found["description"])
        yield from _settings_of(found, models, f"{full_name}.")


def _models_in(setting: Schema, models: Mapping[str, Schema]) -> Iterator[Schema]:
    if "$ref" in setting:
        yield models[setting["$ref"].rpartition("/")[2]]
    for option in (*setting.get("anyOf", ()), *setting.get("oneOf", ())):
        yield from _models_in(option, models)
    if isinstance(setting.get("items"), dict):
        yield from _models_in(setting["items"], models)


def _value_of(setting: Schema) -> str:
    if "const" in setting:
        return f"`{setting['const']}`"
    if "enum" in setting:
        return " or ".join(f"`{value}`" for value in setting["enum"])
    if "anyOf" in setting:
        return " or ".join(_value_of(option) for option in setting["anyOf"] if option.get("type") != "null")
    if setting["type"] == "array":
        return f"list of {_value_of(setting['items'])}"
    if setting["type"] == "object":
        return "names and values"
    if setting.get("format") == "date":
        return "a date"
    return _UNITS_OF_TYPE[setting["type"]] + _limits_of(setting)


def _limits_of(setting: Schema) -> str:
    lowest, above, highest = (setting.get(name) for name in ("minimum", "exclusiveMinimum", "maximum"))
    limits = [
        words.format(limit)
        for words, limit in (("at least {:,g}", lowest), ("more than {:,g}", above), ("at most {:,g}", highest))
        if limit is not None
    ]
    return "".join(f", {limit}" for limit in limits)


def _default_of(setting: Schema, *, is_group: bool) -> str:
    default = setting.get("default")
    if is_group and default is None and "default" not in setting:
        return "its defaults"
    if default is None or default in ([], {}):
        return "none"
    if isinstance(default, dict):
        return "its defaults"
    return f"`{default if isinstance(default, str) else json.dumps(default)}`"


def _anchor(heading: str) -> str:
    return heading.replace(".", "").lower()


def example_site_page(file: Path) -> str:
    """The site file that explains every setting."""
    return f"# A site with every setting\n\n```yaml\n{file.read_text(encoding='utf-8')}```\n"


def _in_a_cell(text: str) -> str:
    return inspect.cleandoc(text).replace("\n", " ").replace("|", "\\|")


def tables_page() -> str:
    """The Delta tables with all of their columns."""
    parts = [
        "# Tables",
        "The Delta tables of a lake, made from the schemas that they are created with. A column's description is in "
        "the table itself too, as the comment of the column, and in Dagster.",
    ]
    tables = (value for value in vars(schemas).values() if isinstance(value, schemas.TableDefinition))
    for table in tables:
        parts += [f"## {table.name}", table.description]
        if table.partition_columns:
            names = " and ".join(f"`{name}`" for name in table.partition_columns)
            parts.append(f"Partitioned by {names}; a condition on them makes a query fast.")
        descriptions = schemas.column_descriptions(table.schema)
        rows = [f"| `{field.name}` | {_type_of(field.type)} | {_in_a_cell(descriptions[field.name])} |"
                for field in table.schema]  # fmt: skip
        parts.append("\n".join(["| column | type | what |", "|---|---|---|", *rows]))
    return "\n\n".join(parts) + "\n"


def _type_of(kind: pa.DataType) -> str:
    if pa.types.is_timestamp(kind):
        return "timestamp (UTC)"
    if pa.types.is_map(kind):
        return f"map of {_type_of(kind.key_type)} to {_type_of(kind.item_type)}"
    if pa.types.is_list(kind):
        return f"list of {_type_of(kind.value_type)}"
    names = {"bool": "boolean", "int32": "integer", "int64": "long", "date32[day]": "date"}
    return names.get(str(kind), str(kind))


def command_line_page() -> str:
    """All commands of `pi-dagster` with their options."""
    # Typer carries a copy of click of its own, so there are no types of click's to go by.
    program: Any = typer.main.get_command(cli.app)
    parts = [
        "# Options of pi-dagster",
        "Every command and option, made from the command line itself; `pi-dagster COMMAND --help` says the same. "
        "`pi-dagster --install-completion` makes the shell complete them. Facts go to stdout, what is wrong to "
        "stderr.",
        "## Exit codes",
        "\n".join(
            ["| code | what |", "|---|---|", *(f"| {code} | {_in_a_cell(what)} |" for code, what in EXIT_CODES.items())]
        ),
    ]
    for name, command in program.commands.items():
        text, _, examples = inspect.cleandoc(command.help or "").partition("\b\nExamples:\n")
        parts += [f"## pi-dagster {name}", text.strip()]
        if rows := [_option_row(parameter) for parameter in command.params]:
            parts.append("\n".join(["| option | what | default |", "|---|---|---|", *rows]))
        if examples:
            parts.append(f"```text\n{inspect.cleandoc(examples)}\n```")
    return "\n\n".join(parts) + "\n"


def _option_row(parameter: Any) -> str:
    is_argument = parameter.param_type_name == "argument"
    names = [parameter.metavar or parameter.name.upper()] if is_argument else parameter.opts
    if parameter.metavar and not is_argument:
        names = [f"{name} {parameter.metavar}" for name in names]
    default = parameter.default
    shown = "" if default is None or default is False or callable(default) else f"`{default}`"
    return f"| {', '.join(f'`{name}`' for name in names)} | {_in_a_cell(parameter.help or '')} | {shown} |"
