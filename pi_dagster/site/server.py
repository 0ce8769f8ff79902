"""The settings of the PI Web API server: how it is reached, and how hard it may be asked."""

from __future__ import annotations

import ipaddress
from typing import Literal
from urllib.parse import SplitResult, urlsplit

from pydantic import Field, field_validator, model_validator

from pi_dagster.settings_model import SettingsModel
from pi_dagster.site.logins import AnonymousLogin, Login

NO_PROXY = "none"
"""What the setting `proxy` says to reach the server directly, whatever the environment says."""


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
    batch_size: int = Field(
        default=150, ge=1, le=1000, description="Tags a request; of more than about 150 the URL becomes too long."
    )
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
        default=256, ge=1, le=4096, description="An answer larger than this (decompressed, MiB) is refused."
    )
    compress: bool = Field(
        default=True, description="Ask for gzip; switch off only where the server is on this machine."
    )
    select_fields: bool = Field(
        default=True,
        description="Ask only for the fields that are stored (`selectedFields`); about a fifth less to send.",
    )

    @property
    def can_be_read_on_the_way(self) -> bool:
        """Whether what is sent leaves this machine without encryption."""
        parts = urlsplit(self.url)
        stays_here = is_loopback(parts.hostname or "") and self.proxy in (None, NO_PROXY)
        return parts.scheme == "http" and not stays_here

    @field_validator("url")
    @classmethod
    def _url_is_a_base_url(cls, url: str) -> str:
        parts = _parts_of(url)
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
        parts = _parts_of(proxy)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError("a proxy is written like http://proxy.example.com:3128, or `none`")
        if parts.username or parts.password:
            raise ValueError(
                "the proxy's URL must not hold a login; leave `proxy` out and set HTTPS_PROXY in the environment"
            )
        return proxy

    @model_validator(mode="after")
    def _is_encrypted_on_the_way(self) -> ServerSettings:
        if self.can_be_read_on_the_way and not self.allow_plain_http:
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


def _parts_of(url: str) -> SplitResult:
    """The parts of a URL with a host and a port that can be; messages do not repeat it, as it may hold a login."""
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        raise ValueError(
            "the URL has a host or a port that cannot be; a port is a number up to 65535, as in "
            "https://pi.example.com:8443/piwebapi"
        ) from None
    if parts.hostname and any(letter.isspace() for letter in url):
        raise ValueError("the URL must not have blanks in it")
    return parts


def is_loopback(host: str) -> bool:
    """True for a host name or address that never leaves this machine."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
