"""The settings of the engine `databricks`: the compute that a load runs on, and what it has to have there.

The workspace and the login to it are no settings: Databricks' own SDK finds them as all its tools do, in
DATABRICKS_HOST and DATABRICKS_TOKEN (or DATABRICKS_CLIENT_ID and DATABRICKS_CLIENT_SECRET), or in `~/.databrickscfg`.
Secrets that the job needs are references to a secret scope, which Databricks resolves on its side.
"""

from __future__ import annotations

import math
import re
from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from pi_dagster.settings_model import SettingsModel
from pi_dagster.site.secrets import VariableName

OLDEST_RUNTIME = (17, 3)
"""Databricks Runtime 17.3 LTS has Spark 4.0, the first whose data sources can be written in Python."""

SecretReference = Annotated[str, Field(pattern=r"^[A-Za-z0-9_.@-]{1,128}/[A-Za-z0-9_.-]{1,128}$")]
"""The scope and the key of a secret of the workspace, such as `pi/password`."""

_REQUIREMENT = re.compile(r"^[A-Za-z0-9][A-Za-z0-9._-]*(\[(?P<extras>[A-Za-z0-9._, -]*)\])?\s*([=<>~!]=?.*)?$")


class NewCluster(SettingsModel):
    """A cluster that Databricks makes for each run, and takes down after it."""

    kind: Literal["new_cluster"]
    spark_version: str = Field(
        pattern=r"^\d+\.\S+$",
        description="Databricks Runtime, such as `18.x-scala2.13`; `databricks clusters spark-versions` lists them.",
    )
    node_type_id: str = Field(
        min_length=1, description="The machines, such as `Standard_D4ds_v5`; `databricks clusters list-node-types`."
    )
    workers: int = Field(default=2, ge=1, le=1000, description="Machines beside the driver.")
    policy_id: str | None = Field(
        default=None, min_length=1, description="The cluster policy, where the workspace wants one."
    )
    secrets: dict[VariableName, SecretReference] = Field(
        default_factory=dict,
        description=(
            "The variables that `server` and `lake` name, each with its secret as scope/key, such as `PI_PASSWORD: "
            "pi/password`."
        ),
    )

    @field_validator("spark_version")
    @classmethod
    def _has_a_spark_that_can(cls, version: str) -> str:
        major, minor = version.split(".")[:2]
        # `18.x` is the newest of 18.
        if (int(major), int(minor) if minor.isdecimal() else math.inf) < OLDEST_RUNTIME:
            oldest = ".".join(map(str, OLDEST_RUNTIME))
            raise ValueError(f"Databricks Runtime {version} has too old a Spark; use {oldest} LTS or newer")
        return version


class ExistingCluster(SettingsModel):
    """A cluster that is there; its own configuration has the environment variables that the job needs."""

    kind: Literal["existing_cluster"]
    cluster_id: str = Field(
        pattern=r"^\d{4}-\d{6}-\w+$", description="As in the cluster's URL, such as `1102-060000-boiler12`."
    )


class Serverless(SettingsModel):
    """Compute that Databricks keeps ready; it has no environment variables."""

    kind: Literal["serverless"]
    environment_version: str = Field(
        pattern=r"^\d+$", description="Databricks' version of the Python environment, such as `5`."
    )
    secrets: dict[VariableName, SecretReference] = Field(
        default_factory=dict, description="As for `new_cluster`; the job asks the workspace for them."
    )


class DatabricksSettings(SettingsModel):
    """Where and with what a load runs, where the site's engine is `databricks`."""

    compute: NewCluster | ExistingCluster | Serverless = Field(discriminator="kind")
    volume_path: str = Field(
        pattern=r"^/Volumes/[^/]+/[^/]+/[^/]+(/[^/]+)*$",
        description=(
            "A folder of a Unity Catalog volume, such as `/Volumes/main/pi/dagster`, where Dagster and the job leave "
            "each other messages, and serverless compute keeps rows until they are committed."
        ),
    )
    libraries: tuple[str, ...] = Field(
        default=(),
        description=(
            "What the job needs: the wheel of pi_dagster in a volume or the workspace, such as "
            "`/Volumes/main/pi/dagster/pi_dagster-0.1.0-py3-none-any.whl`, or requirements as for pip. May be left out "
            "where an existing cluster has it."
        ),
    )
    timeout_minutes: int = Field(
        default=1440, ge=1, le=10_080, description="Databricks ends a job that takes longer; a day by default."
    )
    poll_interval_seconds: float = Field(
        default=5.0, ge=0.1, le=300, description="How often the job is looked after while it runs."
    )

    @field_validator("libraries")
    @classmethod
    def _can_be_had_there(cls, libraries: tuple[str, ...]) -> tuple[str, ...]:
        for library in libraries:
            if library.endswith(".whl"):
                if not library.startswith(("/Volumes/", "/Workspace/")):
                    raise ValueError(
                        f"{library} is no file that Databricks can see; copy the wheel into a volume and name it "
                        "/Volumes/..."
                    )
                continue
            requirement = _REQUIREMENT.match(library)
            if requirement is None:
                raise ValueError(f"{library!r} is neither a wheel nor a requirement such as `pi-dagster==0.1.0`")
            if "spark" in (requirement["extras"] or "").replace(" ", "").split(","):
                raise ValueError(
                    f"{library!r} would put another Spark in the place of Databricks' own; leave the extra `spark` out"
                )
        return libraries

    @model_validator(mode="after")
    def _brings_pi_dagster(self) -> DatabricksSettings:
        if not self.libraries and not isinstance(self.compute, ExistingCluster):
            raise ValueError(
                f"`libraries` has to name the wheel of pi_dagster for the compute `{self.compute.kind}`, which begins "
                "empty"
            )
        return self

    @property
    def secrets(self) -> dict[str, str]:
        """The secrets that the job is given, as scope/key by environment variable."""
        return {} if isinstance(self.compute, ExistingCluster) else dict(self.compute.secrets)
