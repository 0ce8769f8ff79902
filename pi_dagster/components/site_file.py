"""The site file: a `defs.yaml` read into a `Site`, or refused with the file, line and column of each mistake.

Plant people edit this file, so a mistake has to be told in their words at the place where they made it. The
component and the command line read it through the same code, so they refuse the same files in the same words.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

import dagster as dg
import yaml
from dagster_shared.yaml_utils import parse_yamls_with_source_position
from dagster_shared.yaml_utils.source_position import SourcePosition, SourcePositionTree
from pydantic import ValidationError
from pydantic_core import ErrorDetails

from pi_dagster.components.plain_words import plain_words, yaml_in_plain_words
from pi_dagster.settings_model import SettingsModel
from pi_dagster.site import ScheduleSettings, Site

COMPONENT_TYPE = "pi_dagster.components.PISystemComponent"
"""What a site file gives as its `type`."""

_FILE_KEYS = ("type", "attributes")

KeyPath = tuple[str | int, ...]


class SiteFileError(Exception):
    """A site file that cannot be used; its message is one paragraph that says where and why."""


def load_site(path: Path) -> Site:
    """The site that the `defs.yaml` at `path` describes.

    Raises:
        SiteFileError: the file is missing, is not YAML, is not a site, or holds a wrong setting.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise SiteFileError(f"The site file {path} cannot be read: {reason}.") from error
    try:
        documents = parse_yamls_with_source_position(text, str(path))
    except yaml.MarkedYAMLError as error:
        mark = error.context_mark if "alias" in (error.context or "") else error.problem_mark
        where = f"{path}:{mark.line + 1}:{mark.column + 1}" if mark else str(path)
        raise SiteFileError(f"{where}: this is not valid YAML: {yaml_in_plain_words(error)}.") from error
    except TypeError as error:
        # What the YAML parser makes of `url: {{ env.X }}`: a mapping in a mapping's key.
        raise SiteFileError(
            f"{path}: this is not valid YAML: a {{ at the beginning of a value means something else in YAML; put "
            'templates in quotes, like "{{ env.NAME }}".'
        ) from error
    except yaml.YAMLError as error:
        raise SiteFileError(f"{path}: this is not valid YAML: {error}.") from error
    if len(documents) != 1 or not isinstance(documents[0].value, dict):
        raise SiteFileError(
            f"{path} must hold one site: the keys `type: {COMPONENT_TYPE}` and `attributes:` with its settings."
        )
    content, positions = documents[0].value, documents[0].source_position_tree
    for key in content:
        if key not in _FILE_KEYS:
            suggestion = _suggestion(str(key), _FILE_KEYS)
            raise SiteFileError(f"{_place(positions, (key,))}: `{key}` does not belong here; {suggestion}")
    if content.get("type") != COMPONENT_TYPE:
        raise SiteFileError(f"{_place(positions, ('type',))}: the `type` of a site is {COMPONENT_TYPE}.")
    return site_from_attributes(content.get("attributes"), dg.ResolutionContext.default(positions))


def site_from_attributes(attributes: Any, context: dg.ResolutionContext) -> Site:
    """The site in the `attributes` of a `defs.yaml`, after its templates such as `{{ env.X }}` are filled in.

    Templates are filled in first and the result is checked once, so that any setting may be a template.

    Args:
        attributes: what YAML holds under `attributes`.
        context: the scope of the templates and the positions of the whole file, as Dagster made them.

    Raises:
        SiteFileError: a template or a setting is wrong, or a setting stands twice.
    """
    positions = context.source_position_tree
    if positions is not None:
        _refuse_repeated_settings(positions.position.filename)
    if not isinstance(attributes, Mapping) or not attributes:
        raise SiteFileError(f"{_place(positions, ('attributes',))}: `attributes` must hold the site's settings.")
    rendered = _render(attributes, ("attributes",), context)
    try:
        site = Site.model_validate(rendered)
    except ValidationError as error:
        # A misspelt name comes before the setting that is missing because of it.
        found = sorted(error.errors(include_url=False), key=lambda problem: problem["type"] != "extra_forbidden")
        problems = [_problem(problem, attributes, positions) for problem in found if not _is_consequence(problem)]
        raise SiteFileError(" ".join(problems)) from None
    for name in ScheduleSettings.model_fields:
        cron = getattr(site.schedules, name)
        if not _dagster_accepts(cron):
            place = _place(positions, ("attributes", "schedules", name))
            raise SiteFileError(
                f"{place}: setting `schedules.{name}`: {cron!r} is no time that ever comes, or a part of it is out of "
                "range: minute 0-59, hour 0-23, day 1-31, month 1-12, weekday 0-6. Every five minutes is `*/5 * * * *`."
            )
    return site


def _refuse_repeated_settings(filename: str) -> None:
    """Read the file once more, as the parser lets the last of two equal keys win without a word."""
    text = Path(filename).read_text(encoding="utf-8")
    problems = [
        f"{filename}:{again.start_mark.line + 1}:{again.start_mark.column + 1}: {_name_in_file(path)} stands in line "
        f"{first.start_mark.line + 1} already, and YAML would keep only the last; write all of it in one place."
        for document in yaml.compose_all(text, yaml.SafeLoader)
        for path, first, again in _repeated_keys(document, ())
    ]
    if problems:
        raise SiteFileError(" ".join(problems))


def _repeated_keys(node: yaml.Node, path: KeyPath) -> Iterator[tuple[KeyPath, yaml.Node, yaml.Node]]:
    """Each key that its mapping has already: where it is, its first node and this one."""
    if isinstance(node, yaml.SequenceNode):
        for index, item in enumerate(node.value):
            yield from _repeated_keys(item, (*path, index))
    elif isinstance(node, yaml.MappingNode):
        first: dict[tuple[str, str], yaml.Node] = {}
        for key, value in node.value:
            before = first.setdefault((key.tag, str(key.value)), key)
            if before is not key:
                yield (*path, key.value), before, key
            yield from _repeated_keys(value, (*path, key.value))


def _name_in_file(path: KeyPath) -> str:
    return f"setting `{_name(path[1:])}`" if path[0] == "attributes" and path[1:] else f"`{_name(path)}`"


def _dagster_accepts(cron: str) -> bool:
    try:
        dg.ScheduleDefinition(name="probe", job_name="probe", cron_schedule=cron)
    except dg.DagsterInvalidDefinitionError:
        return False
    return True


def _is_consequence(problem: ErrorDetails) -> bool:
    """True for a list that is empty only because every item of it was refused, which is told for each."""
    return problem["type"] == "too_short" and bool(problem["input"])


def _render(value: Any, path: KeyPath, context: dg.ResolutionContext) -> Any:
    if isinstance(value, Mapping):
        return {key: _render(item, (*path, key), context) for key, item in value.items()}
    if isinstance(value, list):
        return [_render(item, (*path, index), context) for index, item in enumerate(value)]
    # Dagster renders every text as a native template, which would turn the tag name "0001" into a number.
    if not isinstance(value, str) or "{{" not in value:
        return value
    try:
        return context.resolve_value(value)
    except Exception as error:
        reason = str(error).strip().splitlines()[-1].split("Exception: ")[-1]
        raise SiteFileError(
            f"{_place(context.source_position_tree, path)}: setting `{_name(path[1:])}`: "
            f"the template {value} could not be filled in: {reason}"
        ) from error


def _problem(problem: ErrorDetails, attributes: Mapping[str, Any], positions: SourcePositionTree | None) -> str:
    kind, loc, message = problem["type"], problem["loc"], plain_words(problem)
    place = _place(positions, ("attributes", *loc))
    if kind == "missing":
        return f"{place}: setting `{_name((*_path_in(attributes, loc[:-1]), loc[-1]))}` is missing."
    path = _path_in(attributes, loc)
    if not path:
        return f"{place}: {message}."
    if kind == "extra_forbidden":
        known = sorted(name for model in _models_at(loc[:-1]) for name in model.model_fields)
        return f"{place}: there is no setting `{_name(path)}`; {_suggestion(str(loc[-1]), known)}"
    given = _value_at(attributes, path)
    if isinstance(given, str) and "{{" in given:
        message = f"{message} (this comes from the template {given})"
    return f"{place}: setting `{_name(path)}`: {message}."


def _suggestion(given: str, known: Sequence[str]) -> str:
    nearest = difflib.get_close_matches(given, known, n=1)
    return f"did you mean `{nearest[0]}`?" if nearest else f"known are {', '.join(f'`{name}`' for name in known)}."


def _name(path: KeyPath) -> str:
    """`tag_groups[0].name`"""
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path)
    return text.removeprefix(".")


def _path_in(attributes: Any, loc: KeyPath) -> KeyPath:
    """The part of pydantic's `loc` that stands in the file: without the names of union members such as `basic`."""
    path: KeyPath = ()
    here = attributes
    for part in loc:
        is_in_file = part in here if isinstance(here, Mapping) else isinstance(here, list) and isinstance(part, int)
        if is_in_file:
            here = here[part]
            path = (*path, part)
    return path


def _value_at(attributes: Mapping[str, Any], path: KeyPath) -> Any:
    here: Any = attributes
    for part in path:
        here = here[part]
    return here


def _models_at(loc: KeyPath) -> list[type[SettingsModel]]:
    """The settings models that may stand at `loc` of a site."""
    models: list[type[SettingsModel]] = [Site]
    for part in loc:
        fields = [model.model_fields[part] for model in models if isinstance(part, str) and part in model.model_fields]
        if fields:
            models = [model for field in fields for model in _models_in(field.annotation)]
    return models


def _models_in(annotation: Any) -> Iterator[type[SettingsModel]]:
    if isinstance(annotation, type) and issubclass(annotation, SettingsModel):
        yield annotation
    for argument in get_args(annotation):
        yield from _models_in(argument)


def _place(positions: SourcePositionTree | None, path: KeyPath) -> str:
    """`file:line:column` of the deepest part of `path` that stands in the file."""
    if positions is None:
        return "site"
    tree = positions
    for part in path:
        tree = tree.children.get(part, tree)
    position: SourcePosition = tree.position
    return f"{position.filename}:{position.start.line}:{position.start.col}"
