"""What the assets reach out to: the PI server and the lake, as Dagster resources that show in the UI."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast
from urllib.parse import urlsplit

import dagster as dg

from pi_dagster.resources.lake import LakeResource
from pi_dagster.resources.pi_server import PIServerResource
from pi_dagster.site import Site

__all__ = ["LakeResource", "PIServerResource", "SiteResources"]


@dataclass(frozen=True)
class SiteResources:
    """The names under which the resources and the pool of one site are known to Dagster.

    One code location may hold several sites, so the names hold the asset key prefix of the site.
    """

    server_key: str
    lake_key: str
    pool: str

    @classmethod
    def of(cls, site: Site) -> SiteResources:
        """The names for this site."""
        prefix = "".join(f"{part}_" for part in site.asset_key_prefix)
        # By host, so that sites on one PI Web API server share its pool and others do not.
        host = re.sub(r"[^A-Za-z0-9]+", "_", urlsplit(site.server.url).netloc)
        pool = f"pi_web_api_{host}"
        return cls(server_key=f"{prefix}pi_server", lake_key=f"{prefix}lake", pool=pool)

    @property
    def keys(self) -> set[str]:
        """Both resource keys."""
        return {self.server_key, self.lake_key}

    def definitions(self, site: Site) -> Mapping[str, dg.ConfigurableResource[object]]:
        """The resources, by key."""
        return {
            self.server_key: PIServerResource.from_settings(site.server),
            self.lake_key: LakeResource.from_settings(site.lake),
        }

    def server(
        self,
        context: dg.AssetExecutionContext
        | dg.AssetCheckExecutionContext
        | dg.OpExecutionContext
        | dg.SensorEvaluationContext,
    ) -> PIServerResource:
        """The PI server of this run or tick."""
        return cast(PIServerResource, getattr(context.resources, self.server_key))

    def lake(
        self,
        context: dg.AssetExecutionContext
        | dg.AssetCheckExecutionContext
        | dg.OpExecutionContext
        | dg.ScheduleEvaluationContext
        | dg.SensorEvaluationContext,
    ) -> LakeResource:
        """The lake of this run or tick."""
        return cast(LakeResource, getattr(context.resources, self.lake_key))
