"""The ways to log in to PI Web API, a class each."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from pi_dagster.settings_model import SettingsModel
from pi_dagster.site.secrets import VariableName

PRINCIPAL_PATTERN = r"^[^@\s]+(@[^@\s]+)?$"
"""Kerberos principals: `svc_dagster@PLANT.EXAMPLE.COM`, or without the realm."""

HOST_PATTERN = r"^[A-Za-z0-9.-]+$"
"""A host name alone, without `https://`, port or path."""


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
