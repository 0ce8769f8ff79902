"""The site: one strict model of every setting a plant configures, from the PI server to the Delta tables.

A site is written as the `attributes` of a `defs.yaml` (see `docs/example-site/defs.yaml`) or built in Python. A
wrong or unknown setting is refused when the site is loaded, never at the first run. Secrets are not settings: the
site names the environment variables that hold them, and they are read when a run needs them.
"""

from __future__ import annotations

import ipaddress
import os
import re
from datetime import date, datetime, timezone
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import Field, field_validator, model_validator

from pi_dagster.quality_rules import AnyRule, DifferenceRule
from pi_dagster.redaction import is_secret_name, remember_secret
from pi_dagster.settings_model import SettingsModel

NAME_PATTERN = r"^[A-Za-z0-9_.-]+$"
"""What a site or tag group may be called: the name becomes a partition key, a folder name and part of a
predicate, and Dagster cannot show partitions whose key holds `| [ ] ,`."""

ELEMENT_PATH_PATTERN = r"^/[^/].*$"
"""Element paths begin at the database's first level: `/Enterprise/Site1`."""

PRINCIPAL_PATTERN = r"^[^@\s]+(@[^@\s]+)?$"
"""Kerberos principals: `svc_dagster@PLANT.EXAMPLE.COM`, or without the realm."""

HOST_PATTERN = r"^[A-Za-z0-9.-]+$"
"""A host name alone, without `https://`, port or path."""

VariableName = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]
"""The name of an environment variable, which holds a secret that must not stand in a site."""

MAX_SHARDS = 1000

NO_PROXY = "none"
"""What the setting `proxy` says to reach the server directly, whatever the environment says."""

_MOST_NAMED = 5

WAYS_TO_MATCH = ("tag_filter", "tags", "af_template", "element_path")
"""The settings of a tag group that say which tags belong to it; each group has one of them."""


class SecretMissingError(Exception):
    """An environment variable that the site names is not set."""


def secret_from_environment(variable: str, *, setting: str) -> str:
    """The secret in environment variable `variable`, which `setting` of the site names; no message shows it again.

    Or in the file that the variable `{variable}_FILE` names, as container platforms mount secrets.

    Raises:
        SecretMissingError: neither is set, or empty, or the file cannot be read.
    """
    secret = os.environ.get(variable)
    file = os.environ.get(f"{variable}_FILE")
    if not secret and file:
        try:
            secret = Path(file).read_text(encoding="utf-8").rstrip("\r\n")
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
            raise SecretMissingError(
                f"The environment variable {variable}_FILE names {file}, which cannot be read ({reason}). The site's "
                f"setting {setting} wants the secret in it."
            ) from None
    if not secret:
        raise SecretMissingError(
            f"The environment variable {variable} is not set. The site's setting {setting} names it; "
            f"set it where the run executes (a .env file beside the project is read by `dagster dev`)."
        )
    remember_secret(secret)
    return secret


class AnonymousLogin(SettingsModel):
    """No login: for the simulator, or a PI Web API whose authentication methods include Anonymous."""

    kind: Literal["anonymous"] = "anonymous"


class BasicLogin(SettingsModel):
    """HTTP Basic with a Windows account that PI Web API impersonates."""

    kind: Literal["basic"] = "basic"
    username: str = Field(
        min_length=1, description=r"The account, as `user`, `DOMAIN\user` or `user@domain`; it cannot hold a colon."
    )
    password_env: VariableName = Field(description="Name of the environment variable that holds the password.")

    @field_validator("username")
    @classmethod
    def _can_be_sent(cls, username: str) -> str:
        if ":" in username:
            raise ValueError("HTTP Basic ends the user name at the first colon, so it cannot hold one")
        return username


class KerberosLogin(SettingsModel):
    """Kerberos (Negotiate) with a keytab, or with the tickets that `kinit` or the machine's login has fetched."""

    kind: Literal["kerberos"] = "kerberos"
    principal: str | None = Field(
        default=None,
        pattern=PRINCIPAL_PATTERN,
        description="Who logs in, as `user@REALM`; default: whom the keytab or the ticket cache is for.",
    )
    keytab: str | None = Field(
        default=None,
        min_length=1,
        description="Path of a keytab, from which tickets are fetched and renewed; default: the ticket cache is used.",
    )
    ticket_cache: str | None = Field(
        default=None,
        min_length=1,
        description="The ticket cache, as in KRB5CCNAME; default: with a keytab one in memory, else the machine's own.",
    )
    service_host: str | None = Field(
        default=None,
        pattern=HOST_PATTERN,
        description="Host name in the server's service principal `HTTP/<host>`, where the URL has an alias of it.",
    )
    mutual_authentication: bool = Field(
        default=True,
        description="Use no answer of a server that does not prove who it is; false where a proxy removes the proof.",
    )


class NtlmLogin(SettingsModel):
    """NTLM with a Windows account, where Kerberos cannot be had."""

    kind: Literal["ntlm"] = "ntlm"
    username: str = Field(min_length=1, description=r"The account, as `DOMAIN\user` or `user@domain`.")
    password_env: VariableName = Field(description="Name of the environment variable that holds the password.")


class BearerLogin(SettingsModel):
    """A token that somebody else fetches and renews."""

    kind: Literal["bearer"] = "bearer"
    token_env: VariableName | None = Field(
        default=None, description="Name of the environment variable that holds the token."
    )
    token_file: str | None = Field(
        default=None, min_length=1, description="Path of a file with the token; a new one in it is used at once."
    )

    @model_validator(mode="after")
    def _has_one_source(self) -> BearerLogin:
        if (self.token_env is None) == (self.token_file is None):
            raise ValueError("a bearer login needs one of `token_env` and `token_file`")
        return self


class OidcLogin(SettingsModel):
    """OpenID Connect client credentials, such as of AVEVA Identity Manager: tokens are fetched and renewed."""

    kind: Literal["oidc"] = "oidc"
    client_id: str = Field(min_length=1, description="The client's id at the identity provider.")
    client_secret_env: VariableName = Field(
        description="Name of the environment variable that holds the client's secret."
    )
    scope: str = Field(default="system", min_length=1, description="What the token is for; PI Web API wants `system`.")
    token_url: str | None = Field(
        default=None,
        pattern=r"^https?://[^/]",
        description="Where tokens are issued; default: what the server's .well-known/openid-configuration says.",
    )


Login = Annotated[
    AnonymousLogin | BasicLogin | KerberosLogin | NtlmLogin | BearerLogin | OidcLogin, Field(discriminator="kind")
]


class ServerSettings(SettingsModel):
    """The PI Web API server and how hard it may be asked."""

    url: str = Field(description="Base URL of PI Web API, ending in `/piwebapi`.")
    login: Login = Field(default_factory=AnonymousLogin, description="How to log in.")
    data_server: str | None = Field(
        default=None,
        description="Name of the PI Data Archive; may be left out where PI Web API knows just one.",
    )
    ca_bundle: str | None = Field(
        default=None,
        description="Path of a PEM file with the certificate authority that signed the server's certificate.",
    )
    verify: bool = Field(
        default=True,
        description="False accepts any certificate, so that anybody on the way can be the server; every run warns.",
    )
    client_certificate: str | None = Field(
        default=None, description="Path of a PEM file with our own certificate, for servers that ask for one."
    )
    client_key: str | None = Field(
        default=None, description="Path of a PEM file with its private key, where that is a file of its own."
    )
    client_key_password_env: str | None = Field(
        default=None,
        pattern=r"^[A-Za-z_][A-Za-z0-9_]*$",
        description="Name of the environment variable that holds the private key's password.",
    )
    proxy: str | None = Field(
        default=None,
        description=(
            "URL of the proxy, without a login, or `none`; default: what HTTPS_PROXY, HTTP_PROXY and NO_PROXY say, "
            "which may hold a login."
        ),
    )
    allow_plain_http: bool = Field(
        default=False,
        description="Allow `http` to another machine, where everybody on the way can read and change all.",
    )
    read_mode: Literal["streamset", "batch"] = Field(
        default="streamset",
        description="`streamset`: many tags in one GET. `batch`: many GETs in one POST, for proxies that cut URLs.",
    )
    batch_size: int = Field(default=100, ge=1, le=1000, description="Tags a request.")
    max_count_per_request: int | None = Field(
        default=None,
        ge=2,
        description="Events asked of one tag in one request; default: an equal share of `max_items_per_call`.",
    )
    max_items_per_call: int = Field(
        default=150_000,
        ge=2,
        description="The server's configuration item MaxReturnedItemsPerCall; no request asks for more events in all.",
    )
    max_requests_in_flight: int = Field(
        default=8,
        ge=1,
        le=128,
        description="The most requests under way at once; fewer are sent while the server refuses or slows down.",
    )
    max_requests_per_second: float = Field(
        default=200.0, gt=0, le=1000, description="Requests started a second, over all threads."
    )
    connect_timeout_seconds: float = Field(default=10.0, gt=0, le=300, description="Seconds to wait for a connection.")
    read_timeout_seconds: float = Field(
        default=150.0, gt=0, le=3600, description="Seconds to wait for the next byte of an answer."
    )
    retry_budget_seconds: float = Field(
        default=300.0,
        ge=0,
        le=86_400,
        description="Seconds that one request may spend on retries before it is given up.",
    )
    max_body_mebibytes: int = Field(
        default=512, ge=1, le=4096, description="An answer larger than this (decompressed, MiB) is refused."
    )
    compress: bool = Field(
        default=True, description="Ask for gzip; switch off only where the server is on this machine."
    )
    select_fields: bool = Field(
        default=True,
        description="Ask only for the fields that are stored (`selectedFields`); about a fifth less to send.",
    )

    @field_validator("url")
    @classmethod
    def _url_is_a_base_url(cls, url: str) -> str:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(f"{url!r} is not a URL; write it like https://pi.example.com/piwebapi")
        if parts.username or parts.password:
            raise ValueError("the URL must not hold a user name or password; use the `login` setting")
        if parts.query or parts.fragment:
            raise ValueError(f"{url!r} must be the base URL only, without ? or #")
        if not parts.path.rstrip("/").lower().endswith("/piwebapi"):
            raise ValueError(f"{url!r} does not end in /piwebapi; write it like https://{parts.netloc}/piwebapi")
        return url.rstrip("/")

    @field_validator("proxy")
    @classmethod
    def _proxy_is_a_url_without_a_login(cls, proxy: str | None) -> str | None:
        if proxy is None or proxy == NO_PROXY:
            return proxy
        parts = urlsplit(proxy)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError("a proxy is written like http://proxy.example.com:3128, or `none`")
        if parts.username or parts.password:
            raise ValueError(
                "the proxy's URL must not hold a login; leave `proxy` out and set HTTPS_PROXY in the environment"
            )
        return proxy

    @model_validator(mode="after")
    def _is_encrypted_on_the_way(self) -> ServerSettings:
        parts = urlsplit(self.url)
        if parts.scheme == "http" and not is_loopback(parts.hostname or "") and not self.allow_plain_http:
            raise ValueError(
                f"{self.url} is not encrypted, so that everybody on the way can read and change what is sent; use "
                "https, or write `allow_plain_http: true`"
            )
        return self

    @model_validator(mode="after")
    def _tls_settings_fit_together(self) -> ServerSettings:
        if not self.verify and self.ca_bundle is not None:
            raise ValueError("`ca_bundle` means nothing with `verify: false`; leave out one of them")
        if self.client_certificate is None and (self.client_key or self.client_key_password_env):
            raise ValueError("`client_key` and `client_key_password_env` need `client_certificate`")
        return self


def is_loopback(host: str) -> bool:
    """True for a host name or address that never leaves this machine."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


class LakeSettings(SettingsModel):
    """Where the Delta tables are: a folder, or a prefix in S3, ADLS or GCS; one folder in it is one table."""

    uri: str = Field(
        min_length=1,
        description="Folder or URI, such as `/data/pi`, `s3://bucket/pi`, `abfss://container@account.dfs.core.windows.net/pi`.",
    )
    storage_options: dict[str, str] = Field(
        default_factory=dict,
        description="Options for the object store, passed through to delta-rs; no secrets here.",
    )
    storage_options_env: dict[str, str] = Field(
        default_factory=dict,
        description="Secret options: option name -> name of the environment variable that holds its value.",
    )

    @field_validator("storage_options")
    @classmethod
    def _holds_no_secret(cls, options: dict[str, str]) -> dict[str, str]:
        secret = sorted(name for name in options if is_secret_name(name))
        if secret:
            raise ValueError(
                f"{', '.join(secret)} would show in the Dagster UI; name the environment variable that holds it in "
                "`storage_options_env`"
            )
        return options

    def resolve_storage_options(self) -> dict[str, str]:
        """All storage options, the secret ones read from the environment now.

        Raises:
            SecretMissingError: a named variable is not set.
        """
        secrets = {
            option: secret_from_environment(variable, setting=f"lake.storage_options_env.{option}")
            for option, variable in self.storage_options_env.items()
        }
        return {**self.storage_options, **secrets}


class AssetFrameworkSettings(SettingsModel):
    """Which AF elements are copied, with all of their attributes; without filters all that the login may see."""

    asset_server: str | None = Field(
        default=None, description="Name of the AF server; may be left out where PI Web API knows just one."
    )
    databases: tuple[str, ...] | None = Field(
        default=None, min_length=1, description="AF databases by name; default: all that the login may see."
    )
    root_path: str | None = Field(
        default=None,
        pattern=ELEMENT_PATH_PATTERN,
        description="Only this element of each database and those below it, such as `/Enterprise/Site1`.",
    )
    templates: tuple[str, ...] | None = Field(
        default=None, min_length=1, description="Only elements of these templates or of ones derived from them."
    )
    categories: tuple[str, ...] | None = Field(
        default=None, min_length=1, description="Only elements that have one of these categories."
    )
    page_size: int = Field(default=10_000, ge=10, le=150_000, description="Elements asked for in one request.")
    elements_per_batch: int = Field(
        default=100, ge=1, le=1000, description="Elements whose attributes are asked for in one request."
    )
    max_lost_share: float = Field(
        default=0.3,
        ge=0,
        le=1,
        description=(
            "Share of the elements that may be gone at once; more fails the run, as a lost right to read looks like "
            "a deletion."
        ),
    )


class EventFrameSettings(SettingsModel):
    """Which event frames are copied, and how the sensor looks for changes of them."""

    templates: tuple[str, ...] | None = Field(
        default=None,
        min_length=1,
        description="Only event frames of these templates or of ones derived from them; default: all.",
    )
    lookback_days: int = Field(
        default=7,
        ge=1,
        le=366,
        description=(
            "Days before today, by start, in which frames are looked for that were created late, changed or deleted; "
            "open frames are followed however old they are."
        ),
    )
    sensor_interval_seconds: int = Field(
        default=60, ge=10, le=86_400, description="Seconds between two looks at the server for changes."
    )
    page_size: int = Field(default=10_000, ge=2, le=150_000, description="Event frames asked for in one request.")


class StreamUpdateSettings(SettingsModel):
    """How late, edited and deleted events are followed by PI Web API's Stream Updates."""

    tag_groups: tuple[str, ...] | None = Field(
        default=None,
        min_length=1,
        description="Tag groups that are followed, by name; default: all. The server sends each of their events twice.",
    )
    sensor_interval_seconds: int = Field(
        default=60, ge=10, le=600, description="Seconds between two looks; a server forgets who does not ask."
    )
    reread_days: int = Field(
        default=3,
        ge=0,
        le=366,
        description=(
            "Days before today that are read whole again where it is not known what has changed, as after a restart of "
            "PI Web API or of Dagster; today always is."
        ),
    )


class TagGroup(SettingsModel):
    """Tags that are read together and share partitions; the first group that matches a tag owns it."""

    name: str = Field(
        pattern=NAME_PATTERN,
        max_length=64,
        description="The group's name; becomes a partition key and a folder name.",
    )
    tag_filter: str | None = Field(
        default=None,
        min_length=1,
        description="Tag name pattern with `*` and `?`, not case-sensitive, such as `BLR*`.",
    )
    tags: tuple[str, ...] | None = Field(default=None, min_length=1, description="The tag names, written out.")
    af_template: str | None = Field(
        default=None,
        min_length=1,
        description="The tags of all AF elements of this template; `*` and `?` as in `tag_filter`, such as `Pump*`.",
    )
    element_path: str | None = Field(
        default=None,
        pattern=ELEMENT_PATH_PATTERN,
        description="The tags of the AF element at this path and of all below it, such as `/Enterprise/Site1/Unit*`.",
    )
    shards: int = Field(
        default=1,
        ge=1,
        le=MAX_SHARDS,
        description="Spread the group's tags by a stable hash over this many partitions.",
    )

    @model_validator(mode="after")
    def _has_one_way_to_match(self) -> TagGroup:
        given = [name for name in WAYS_TO_MATCH if getattr(self, name) is not None]
        if len(given) != 1:
            ways = ", ".join(f"`{name}`" for name in WAYS_TO_MATCH)
            found = " and ".join(f"`{name}`" for name in given) or "none"
            raise ValueError(f"tag group {self.name!r} needs exactly one of {ways}; it has {found}")
        return self

    @property
    def chosen_by(self) -> str:
        """How it matches tags, in the words of the site: `tag_filter: BLR*`."""
        if self.tags is not None:
            more = f" and {len(self.tags) - _MOST_NAMED} more" if len(self.tags) > _MOST_NAMED else ""
            return f"`tags`: {', '.join(self.tags[:_MOST_NAMED])}{more}"
        return next(f"`{name}: {value}`" for name in WAYS_TO_MATCH if (value := getattr(self, name)) is not None)

    @property
    def uses_assets(self) -> bool:
        """True when the group is chosen by AF elements, so that it needs pi_asset_attributes."""
        return self.af_template is not None or self.element_path is not None

    def partition_names(self) -> tuple[str, ...]:
        """The group's partition keys: its name, or `name-00 ... name-(n-1)` when it has shards."""
        if self.shards == 1:
            return (self.name,)
        width = max(2, len(str(self.shards - 1)))
        return tuple(f"{self.name}-{shard:0{width}d}" for shard in range(self.shards))


_CRON_FIELD = re.compile(r"^[\d*/,\-A-Za-z]+$")


def _check_cron(text: str) -> str:
    if len(text.split()) != 5 or not all(_CRON_FIELD.match(part) for part in text.split()):
        raise ValueError(f"{text!r} is not a cron expression of five fields such as `*/5 * * * *`")
    return text


class ScheduleSettings(SettingsModel):
    """When Dagster runs what, as cron expressions in UTC."""

    timeseries: str = Field(default="*/5 * * * *", description="Today's partitions of pi_timeseries.")
    points: str = Field(default="15 0 * * *", description="The list of tags, pi_points.")
    assets: str = Field(default="5 0 * * *", description="The AF elements and their attributes.")
    event_frames: str = Field(
        default="30 0 * * *", description="All event frames of `event_frames.lookback_days`, read again."
    )
    maintenance: str = Field(default="45 3 * * *", description="Old files of the Delta tables are deleted.")
    quality: str = Field(default="30 4 * * *", description="Yesterday is judged by the site's `quality_rules`.")

    @field_validator("timeseries", "points", "assets", "event_frames", "maintenance")
    @classmethod
    def _is_cron(cls, text: str) -> str:
        return _check_cron(text)


class SparkSettings(SettingsModel):
    """How Spark is started, and how a partition is cut, where the site's engine is `spark`."""

    master: str = Field(
        default="local[*]",
        min_length=1,
        description="Where Spark runs, such as `spark://host:7077`; not looked at where there is a session already.",
    )
    tasks: int = Field(
        default=4,
        ge=1,
        le=128,
        description="Tasks that read a partition at once; they share `server.max_requests_in_flight`.",
    )
    settings: dict[str, str] = Field(
        default_factory=dict,
        description="Settings of Spark itself, such as `spark.driver.memory: 4g`; no secrets here.",
    )


class Site(SettingsModel):
    """One PI system and where its data goes: everything a user configures."""

    name: str = Field(
        default="pi",
        pattern=NAME_PATTERN,
        max_length=64,
        description="The site's name, for people and for commit metadata.",
    )
    asset_key_prefix: tuple[Annotated[str, Field(pattern=r"^[A-Za-z0-9_]+$")], ...] = Field(
        default=(),
        description="Put in front of every asset key, so that one Dagster code location can hold several sites.",
    )
    server: ServerSettings
    lake: LakeSettings
    start_date: date = Field(description="First day (UTC) that can be loaded, such as 2026-01-01.")
    tag_groups: tuple[TagGroup, ...] = Field(
        min_length=1, description="Which tags are read and how they share partitions."
    )
    asset_framework: AssetFrameworkSettings | None = Field(
        default_factory=AssetFrameworkSettings,
        description="Which AF elements are copied; `null` where there is no AF, which switches off event frames too.",
    )
    event_frames: EventFrameSettings = Field(
        default_factory=EventFrameSettings,
        description="Which event frames are copied, from the databases of `asset_framework`.",
    )
    stream_updates: StreamUpdateSettings | None = Field(
        default=None,
        description="Follow late, edited and deleted events by Stream Updates (PI Web API 2019 on); `null` is off.",
    )
    incremental_window_days: int = Field(
        default=30,
        ge=1,
        le=3660,
        description="Closed days that the schedule looks back for on its own when nothing was loaded yet.",
    )
    lag_seconds: float = Field(
        default=10.0,
        ge=0,
        le=3600,
        description="Today is read up to server time minus this: the newest event is provisional.",
    )
    tail_overlap_minutes: float = Field(
        default=10.0,
        ge=0,
        le=1440,
        description="The schedule reads today again from this long before where it ended, for events that came late.",
    )
    settle_hours: float = Field(
        default=2.0,
        ge=0,
        le=24,
        description="Hours after its end that a day is read whole once more, for what came late or was edited.",
    )
    reconcile_days: int = Field(
        default=35,
        ge=0,
        le=3660,
        description="Settled days whose event counts are compared with the server's, each once a day; 0 is none.",
    )
    reconcile_requests_per_run: int = Field(
        default=100,
        ge=1,
        le=100_000,
        description="Requests after which one run of that comparison leaves the rest to the next, half an hour later.",
    )
    retention_days: int = Field(
        default=7,
        ge=7,
        le=3660,
        description="Days that replaced files and the log of pi_timeseries and pi_event_frames are kept.",
    )
    on_tag_error: Literal["fail", "keep"] = Field(
        default="fail",
        description=(
            "When a tag, or an event frame's attributes, cannot be read: `fail` fails the partition; `keep` commits "
            "the others, and what was there of this one stays."
        ),
    )
    max_partitions_per_run: int = Field(
        default=30, ge=1, le=1000, description="Partitions that one run of a backfill takes."
    )
    engine: Literal["local", "spark"] = Field(
        default="local",
        description=(
            "Where whole days of pi_timeseries are read and written: `local` is this machine, with delta-rs; `spark` "
            "is Spark, with delta-spark. The schedule's steps through today, and all other tables, stay local."
        ),
    )
    spark: SparkSettings = Field(default_factory=SparkSettings, description="For the engine `spark`.")
    schedules: ScheduleSettings = Field(default_factory=ScheduleSettings)
    quality_rules: tuple[AnyRule, ...] = Field(
        default=(), description="Rules that each closed day is judged by; what they find is in pi_quality_findings."
    )

    @field_validator("start_date", mode="after")
    @classmethod
    def _start_is_not_in_the_future(cls, start: date) -> date:
        today = datetime.now(timezone.utc).date()
        if start > today:
            raise ValueError(f"start_date {start} is in the future (today is {today} UTC); it is the first day to load")
        return start

    @field_validator("tag_groups", mode="after")
    @classmethod
    def _names_are_unique(cls, groups: tuple[TagGroup, ...]) -> tuple[TagGroup, ...]:
        owner: dict[str, TagGroup] = {}
        names: set[str] = set()
        for group in groups:
            if group.name.lower() in names:
                raise ValueError(
                    f"two tag groups are named {group.name!r} (upper and lower case count as the same); rename one"
                )
            names.add(group.name.lower())
            for partition in group.partition_names():
                # Partitions are folders, and a file system that ignores case must not mix two of them up.
                other = owner.setdefault(partition.lower(), group)
                if other is not group:
                    raise ValueError(
                        f"the tag groups {other.name!r} and {group.name!r} would share the partition {partition!r} "
                        "(upper and lower case count as the same); rename one of them"
                    )
        return groups

    @model_validator(mode="after")
    def _groups_have_what_they_match_by(self) -> Site:
        for group in self.tag_groups:
            if group.uses_assets and self.asset_framework is None:
                raise ValueError(
                    f"tag group {group.name!r} is chosen by AF elements, and `asset_framework` is switched off; "
                    "leave that setting out to have it on"
                )
        return self

    @model_validator(mode="after")
    def _followed_groups_are_there(self) -> Site:
        followed = self.stream_updates.tag_groups or () if self.stream_updates else ()
        unknown = sorted(set(followed) - {group.name for group in self.tag_groups})
        if unknown:
            raise ValueError(
                f"`stream_updates.tag_groups` names {', '.join(unknown)}, which are no tag groups of this site; "
                "names are written as in `tag_groups`, without a shard's number"
            )
        return self

    @model_validator(mode="after")
    def _rules_fit_the_site(self) -> Site:
        names = [rule.name.lower() for rule in self.quality_rules]
        groups = [group.name for group in self.tag_groups]
        for rule in self.quality_rules:
            if names.count(rule.name.lower()) > 1:
                raise ValueError(f"two quality rules are named {rule.name!r}; rename one")
            unknown = sorted(set(rule.tag_groups or ()) - set(groups))
            if unknown:
                raise ValueError(
                    f"quality rule {rule.name!r} names the tag group {unknown[0]!r}, which the site does not have; "
                    f"it has {', '.join(groups)}"
                )
            if self.asset_framework is None and (rule.af_template or isinstance(rule, DifferenceRule)):
                raise ValueError(
                    f"quality rule {rule.name!r} goes by AF elements, and `asset_framework` is switched off; "
                    "leave that setting out to have it on"
                )
        return self

    @property
    def has_groups_by_assets(self) -> bool:
        """True when a tag group is chosen by AF elements."""
        return any(group.uses_assets for group in self.tag_groups)

    def partition_names(self) -> tuple[str, ...]:
        """All keys of the partition dimension `tag_group`, in the order of the site."""
        return tuple(name for group in self.tag_groups for name in group.partition_names())

    def describe(self) -> dict[str, Any]:
        """The settings as plain JSON; holds no secret, as the site holds only names of variables."""
        return self.model_dump(mode="json")
