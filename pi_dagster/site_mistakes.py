"""What is wrong in a site file, told with the file, line and column of each mistake.

The component, the command line and the job on Databricks read site files in different ways, and refuse them in the same
words. The job has no Dagster around it, so there is none in here.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

import yaml
from dagster_shared.yaml_utils import parse_yamls_with_source_position
from dagster_shared.yaml_utils.source_position import SourcePosition, SourcePositionTree
from pydantic import ValidationError
from pydantic_core import ErrorDetails

from pi_dagster.plain_words import plain_words, yaml_in_plain_words
from pi_dagster.settings_model import SettingsModel
from pi_dagster.site import Site

COMPONENT_TYPE = "pi_dagster.components.PISystemComponent"
"""What a site file gives as its `type`."""

KeyPath = tuple[str | int, ...]


class SiteFileError(Exception):
    """A site file that cannot be used; its message is one paragraph that says where and why."""


def read_document(path: Path) -> tuple[dict[Any, Any], SourcePositionTree]:
    """What YAML holds in the file, and where each part of it stands.

    Raises:
        SiteFileError: the file is missing, is not YAML, or is not one mapping.
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
    return documents[0].value, documents[0].source_position_tree


def mistakes_told(
    error: ValidationError,
    attributes: Any,
    positions: SourcePositionTree | None,
    *,
    at: KeyPath = ("attributes",),
) -> str:
    """What pydantic found, one sentence a mistake.

    Args:
        error: of the site.
        attributes: the settings as they stand in the file.
        positions: of the whole file.
        at: where the settings stand in it.
    """
    # A misspelt name comes before the setting that is missing because of it.
    found = sorted(error.errors(include_url=False), key=lambda problem: problem["type"] != "extra_forbidden")
    return " ".join(_problem(problem, attributes, positions, at) for problem in found if not _is_consequence(problem))


def refuse_repeated_settings(filename: str) -> None:
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
    return f"setting `{name_of(path[1:])}`" if path[0] == "attributes" and path[1:] else f"`{name_of(path)}`"


def _is_consequence(problem: ErrorDetails) -> bool:
    """True for a list that is empty only because every item of it was refused, which is told for each."""
    return problem["type"] == "too_short" and bool(problem["input"])


def _problem(
    problem: ErrorDetails, attributes: Mapping[str, Any], positions: SourcePositionTree | None, at: KeyPath
) -> str:
    kind, loc, message = problem["type"], problem["loc"], plain_words(problem)
    place = place_of(positions, (*at, *loc))
    if kind == "missing":
        return f"{place}: setting `{name_of((*_path_in(attributes, loc[:-1]), loc[-1]))}` is missing."
    path = _path_in(attributes, loc)
    if not path:
        return f"{place}: {message}."
    if kind == "extra_forbidden":
        known = sorted(name for model in _models_at(loc[:-1]) for name in model.model_fields)
        return f"{place}: there is no setting `{name_of(path)}`; {suggestion(str(loc[-1]), known)}"
    given = _value_at(attributes, path)
    if isinstance(given, str) and "{{" in given:
        message = f"{message} (this comes from the template {given})"
    return f"{place}: setting `{name_of(path)}`: {message}."


def suggestion(given: str, known: Sequence[str]) -> str:
    """What somebody may have meant with a name that is not known."""
    nearest = difflib.get_close_matches(given, known, n=1)
    return f"did you mean `{nearest[0]}`?" if nearest else f"known are {', '.join(f'`{name}`' for name in known)}."


def name_of(path: KeyPath) -> str:
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


def place_of(positions: SourcePositionTree | None, path: KeyPath) -> str:
    """`file:line:column` of the deepest part of `path` that stands in the file."""
    if positions is None:
        return "site"
    tree = positions
    for part in path:
        tree = tree.children.get(part, tree)
    position: SourcePosition = tree.position
    return f"{position.filename}:{position.start.line}:{position.start.col}"
