"""The component `pi_dagster.components.PISystemComponent`: the YAML face of `build_pi_definitions`."""

from __future__ import annotations

from typing import Any

import dagster as dg
from pydantic import BaseModel, GetJsonSchemaHandler, RootModel
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from pi_dagster.components.site_file import site_from_attributes
from pi_dagster.factory import build_pi_definitions
from pi_dagster.site import Site


class SiteAttributes(RootModel[Any]):
    """The settings of a site before its templates are filled in; its JSON schema is that of `Site`.

    Dagster checks the attributes before it fills in templates, when a number or a date may still be text like
    `{{ env.START_DATE }}`. So nothing is checked here, and `Site` checks everything once, afterwards.
    """

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        return handler(Site.__pydantic_core_schema__)


class PISystemComponent(dg.Component):
    """One PI system brought into Delta Lake: its tags and their recorded values, one site per component.

    Args:
        site: the checked settings.
    """

    def __init__(self, site: Site) -> None:
        self.site = site

    @classmethod
    def get_model_cls(cls) -> type[BaseModel]:
        """The model whose JSON schema describes the attributes."""
        return SiteAttributes

    @classmethod
    def load(cls, attributes: BaseModel | None, context: dg.ComponentLoadContext) -> PISystemComponent:
        """The component for these attributes.

        Raises:
            SiteFileError: a setting is wrong; the message says where.
        """
        settings = attributes.root if isinstance(attributes, SiteAttributes) else None
        return cls(site_from_attributes(settings, context.resolution_context))

    def build_defs(self, context: dg.ComponentLoadContext) -> dg.Definitions:
        """The site's assets, jobs, schedules and resources."""
        return build_pi_definitions(self.site)
