"""From the login of the site to the class that knows how; a kind's libraries are loaded when it is used."""

from __future__ import annotations

from collections.abc import Callable

import requests

from pi_dagster.piwebapi.auth.authentication import Authentication
from pi_dagster.piwebapi.auth.basic import AnonymousAuthentication, BasicAuthentication
from pi_dagster.piwebapi.auth.bearer import BearerAuthentication
from pi_dagster.piwebapi.auth.oidc import OidcAuthentication
from pi_dagster.site import AnonymousLogin, BasicLogin, BearerLogin, KerberosLogin, NtlmLogin, ServerSettings


def authentication_for(settings: ServerSettings, open_session: Callable[[], requests.Session]) -> Authentication:
    """The login of a site.

    Args:
        settings: the server of the site.
        open_session: a session without a login, with certificates and proxies as the site says.

    Raises:
        SecretMissingError: the environment variable that the login names is not set.
        LoginRefusedError: what the login needs is not installed, or a file that it names is not there.
    """
    login = settings.login
    if isinstance(login, AnonymousLogin):
        return AnonymousAuthentication()
    if isinstance(login, BasicLogin):
        return BasicAuthentication(login)
    if isinstance(login, BearerLogin):
        return BearerAuthentication(login)
    if isinstance(login, KerberosLogin):
        from pi_dagster.piwebapi.auth.kerberos import KerberosAuthentication

        return KerberosAuthentication(login, settings.url)
    if isinstance(login, NtlmLogin):
        from pi_dagster.piwebapi.auth.ntlm import NtlmAuthentication

        return NtlmAuthentication(login)
    return OidcAuthentication(login, settings, open_session)
