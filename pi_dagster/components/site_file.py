"""The site file: a `defs.yaml` read into a `Site`, or refused with the file, line and column of each mistake.

Plant people edit this file, so a mistake has to be told in their words at the place where they made it. The
component and the command line read it through the same code, so they refuse the same files in the same words.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import dagster as dg
from pydantic import ValidationError

from pi_dagster.site import ScheduleSettings, Site
from pi_dagster.site_mistakes import (
    COMPONENT_TYPE,
    KeyPath,
    SiteFileError,
    mistakes_told,
    name_of,
    place_of,
    read_document,
    refuse_repeated_settings,
    suggestion,
)

_FILE_KEYS = ("type", "attributes")


def load_site(path: Path) -> Site:
    """The site that the `defs.yaml` at `path` describes.

    Raises:
        SiteFileError: the file is missing, is not YAML, is not a site, or holds a wrong setting.
    """
    content, positions = read_document(path)
    for key in content:
        if key not in _FILE_KEYS:
            hint = suggestion(str(key), _FILE_KEYS)
            raise SiteFileError(f"{place_of(positions, (key,))}: `{key}` does not belong here; {hint}")
    if content.get("type") != COMPONENT_TYPE:
        raise SiteFileError(f"{place_of(positions, ('type',))}: the `type` of a site is {COMPONENT_TYPE}.")
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
        refuse_repeated_settings(positions.position.filename)
    if not isinstance(attributes, Mapping) or not attributes:
        raise SiteFileError(f"{place_of(positions, ('attributes',))}: `attributes` must hold the site's settings.")
    rendered = _render(attributes, ("attributes",), context)
    try:
        site = Site.model_validate(rendered)
    except ValidationError as error:
        raise SiteFileError(mistakes_told(error, attributes, positions)) from None
    for name in ScheduleSettings.model_fields:
        cron = getattr(site.schedules, name)
        if not _dagster_accepts(cron):
            place = place_of(positions, ("attributes", "schedules", name))
            raise SiteFileError(
                f"{place}: setting `schedules.{name}`: {cron!r} is no time that ever comes, or a part of it is out of "
                "range: minute 0-59, hour 0-23, day 1-31, month 1-12, weekday 0-6. Every five minutes is `*/5 * * * *`."
            )
    return site


def _dagster_accepts(cron: str) -> bool:
    try:
        dg.ScheduleDefinition(name="probe", job_name="probe", cron_schedule=cron)
    except dg.DagsterInvalidDefinitionError:
        return False
    return True


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
            f"{place_of(context.source_position_tree, path)}: setting `{name_of(path[1:])}`: "
            f"the template {value} could not be filled in: {reason}"
        ) from error
