"""The site: one strict model of every setting a plant configures, from the PI server to the Delta tables.

A site is written as the `attributes` of a `defs.yaml` (see `docs/example-site/defs.yaml`) or built in Python. A
wrong or unknown setting is refused when the site is loaded, never at the first run. Secrets are not settings: the
site names the environment variables that hold them, and they are read when a run needs them.
"""

from pi_dagster.site.asset_framework import ELEMENT_PATH_PATTERN, AssetFrameworkSettings, EventFrameSettings
from pi_dagster.site.automation import ScheduleSettings, StreamUpdateSettings
from pi_dagster.site.checks import CheckSettings
from pi_dagster.site.databricks import DatabricksSettings, ExistingCluster, NewCluster, Serverless
from pi_dagster.site.engines import SparkSettings
from pi_dagster.site.lake import LakeSettings
from pi_dagster.site.logins import (
    HOST_PATTERN,
    PRINCIPAL_PATTERN,
    AnonymousLogin,
    BasicLogin,
    BearerLogin,
    KerberosLogin,
    Login,
    NtlmLogin,
    OidcLogin,
)
from pi_dagster.site.notifications import NotificationSettings
from pi_dagster.site.secrets import SecretMissingError, VariableName, secret_from_environment
from pi_dagster.site.server import NO_PROXY, ServerSettings, is_loopback
from pi_dagster.site.site import Site
from pi_dagster.site.tag_groups import MAX_SHARDS, NAME_PATTERN, WAYS_TO_MATCH, TagGroup
from pi_dagster.site.unity_catalog import UnityCatalogSettings

__all__ = [
    "ELEMENT_PATH_PATTERN",
    "HOST_PATTERN",
    "MAX_SHARDS",
    "NAME_PATTERN",
    "NO_PROXY",
    "PRINCIPAL_PATTERN",
    "WAYS_TO_MATCH",
    "AnonymousLogin",
    "AssetFrameworkSettings",
    "BasicLogin",
    "BearerLogin",
    "CheckSettings",
    "DatabricksSettings",
    "EventFrameSettings",
    "ExistingCluster",
    "KerberosLogin",
    "LakeSettings",
    "Login",
    "NewCluster",
    "NotificationSettings",
    "NtlmLogin",
    "OidcLogin",
    "ScheduleSettings",
    "SecretMissingError",
    "ServerSettings",
    "Serverless",
    "Site",
    "SparkSettings",
    "StreamUpdateSettings",
    "TagGroup",
    "UnityCatalogSettings",
    "VariableName",
    "is_loopback",
    "secret_from_environment",
]
