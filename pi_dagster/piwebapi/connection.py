"""The way to the server: certificates, proxies, and what it means when TLS does not come about.

`requests` would look at the environment again for every request and take a login from ~/.netrc; here the environment
is read once, for proxies and certificate authorities only.
"""

from __future__ import annotations

import os
import ssl
from http.cookiejar import DefaultCookiePolicy
from pathlib import Path
from urllib.parse import unquote, urlsplit

import requests

from pi_dagster.piwebapi.adapter import OpenSockets, ServerAdapter
from pi_dagster.piwebapi.errors import CertificateError
from pi_dagster.redaction import remember_secret
from pi_dagster.site import NO_PROXY, ServerSettings, is_loopback, secret_from_environment

_EXPIRED, _NOT_YET_VALID, _WRONG_HOST, _WRONG_ADDRESS = 10, 9, 62, 64
"""X509_V_ERR_... of OpenSSL."""

_BROKEN_OFF = (ssl.SSLEOFError, ssl.SSLZeroReturnError, ssl.SSLSyscallError)


def check_certificates(settings: ServerSettings) -> None:
    """Look at the certificate files of the site, once for all sessions: a bundle of authorities takes long to load.

    Args:
        settings: the server of the site.

    Raises:
        CertificateError: a certificate file is not there, or holds something else.
        SecretMissingError: the environment variable with the private key's password is not set.
    """
    if settings.verify and (bundle := _ca_bundle(settings)) is not None:
        setting, path = bundle
        _check_ca_bundle(setting, Path(path))
    if settings.client_certificate is not None:
        _check_client_certificate(settings.client_certificate, settings.client_key, _key_password(settings))


def open_session(settings: ServerSettings, sockets: OpenSockets) -> requests.Session:
    """A session with a pool of connections, certificates and proxies as the site says; without a login.

    TLS 1.2 is the oldest version that it speaks, as urllib3 has it by default.

    Args:
        settings: the server of the site, with certificates that were checked.
        sockets: is told each that the session opens.
    """
    session = requests.Session()
    session.trust_env = False
    # No login needs cookies, and what a server sets in each answer would pile up.
    session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=()))
    session.proxies = _proxies(settings)
    session.verify = settings.verify
    if settings.verify and (bundle := _ca_bundle(settings)) is not None:
        session.verify = bundle[1]
    key_password = None
    if settings.client_certificate is not None:
        key_password = _key_password(settings)
        session.cert = (settings.client_certificate, settings.client_key or settings.client_certificate)
    adapter = ServerAdapter(settings.max_requests_in_flight, key_password, sockets)
    session.mount("http://", adapter)
    session.mount("https://", adapter)
    return session


def dangers(settings: ServerSettings) -> list[str]:
    """What a site allows that somebody on the way to the server could make use of: a sentence each."""
    told = []
    if not settings.verify:
        told.append(
            f"The certificate of {settings.url} is not verified (`server.verify: false`), nor is that of an identity "
            "provider: whoever is on the way can pose as the server, read the login and change the data. Set "
            "`server.ca_bundle` instead."
        )
    if settings.can_be_read_on_the_way:
        told.append(
            f"What is sent to {settings.url} is not encrypted (`server.allow_plain_http: true`): whoever is on the way "
            "can read the login and change the data. Use https."
        )
    return told


def tls_failure(url: str, error: BaseException) -> CertificateError | None:
    """What to tell about a failed request to `url` when TLS is the reason and a repeat cannot clear it; else None."""
    cause = _innermost_tls_error(error)
    if cause is None or isinstance(cause, _BROKEN_OFF) or "EOF" in (cause.reason or ""):
        return None
    if isinstance(cause, ssl.SSLCertVerificationError):
        return CertificateError(
            f"The TLS certificate of {url} was not accepted ({cause.verify_message}). {_remedy(cause)}"
        )
    reason = cause.reason or str(cause)
    if reason == "WRONG_VERSION_NUMBER":
        remedy = "What answers there speaks no TLS; check the port in `server.url`."
    elif "PROTOCOL" in reason:
        remedy = "The server is too old for TLS 1.2, the oldest version that is spoken here; it has to be updated."
    else:
        remedy = "If the server asks for a certificate of ours, set `server.client_certificate` to one that it accepts."
    return CertificateError(f"There is no TLS connection to {url} ({reason.replace('_', ' ').lower()}). {remedy}")


def _remedy(cause: ssl.SSLCertVerificationError) -> str:
    if cause.verify_code == _EXPIRED:
        return "It is out of date: the server needs a new one; or the clock of this machine is wrong."
    if cause.verify_code == _NOT_YET_VALID:
        return "It is not valid yet: the clock of this machine or of the one that made it is wrong."
    if cause.verify_code in (_WRONG_HOST, _WRONG_ADDRESS):
        return "It was issued for another name: write `server.url` with the name that is in it."
    return (
        "Set `server.ca_bundle` to a PEM file with the certificate authority that signed it (with the certificate "
        "itself where it is self-signed)."
    )


def _innermost_tls_error(error: BaseException) -> ssl.SSLError | None:
    """The TLS error that `requests` and urllib3 have wrapped, which they hold as cause, context or argument."""
    waiting: list[object] = [error]
    seen: set[int] = set()
    while waiting:
        one = waiting.pop()
        if not isinstance(one, BaseException) or id(one) in seen:
            continue
        if isinstance(one, ssl.SSLError):
            return one
        seen.add(id(one))
        waiting += [one.__cause__, one.__context__, getattr(one, "reason", None), *one.args]
    return None


def _proxies(settings: ServerSettings) -> dict[str, str]:
    # What does not leave this machine is not encrypted: a proxy of the environment would read the login.
    if settings.proxy == NO_PROXY or (settings.proxy is None and is_loopback(urlsplit(settings.url).hostname or "")):
        return {}
    if settings.proxy is not None:
        return {"http": settings.proxy, "https": settings.proxy}
    proxies = requests.utils.get_environ_proxies(settings.url)
    for proxy in proxies.values():
        if password := urlsplit(proxy).password:
            remember_secret(unquote(password))
            remember_secret(password)
    return proxies


def _ca_bundle(settings: ServerSettings) -> tuple[str, str] | None:
    """The trusted certificate authorities that the site or, as for other programs, the environment names, after the
    name of what names them."""
    named = {
        "`server.ca_bundle`": settings.ca_bundle,
        **{name: os.environ.get(name) for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")},
    }
    return next(((setting, path) for setting, path in named.items() if path), None)


def _key_password(settings: ServerSettings) -> str | None:
    name = settings.client_key_password_env
    return None if name is None else secret_from_environment(name, setting="server.client_key_password_env")


def _check_ca_bundle(setting: str, path: Path) -> None:
    if not path.exists():
        raise CertificateError(f"{setting} names the file {path}, which does not exist.")
    if path.is_dir():
        return
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(path)
    except OSError as error:
        raise CertificateError(
            f"{setting} names {path}, which cannot be used as a PEM file with certificates ({error.strerror or error})."
        ) from None


def _check_client_certificate(certificate: str, key: str | None, password: str | None) -> None:
    for setting, path in {"server.client_certificate": certificate, "server.client_key": key}.items():
        if path is not None and not Path(path).is_file():
            raise CertificateError(f"`{setting}` names the file {path}, which does not exist.")
    try:
        # An empty password, as OpenSSL would ask for one on the terminal.
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_cert_chain(certificate, key, password or "")
    except OSError as error:
        raise CertificateError(
            f"`server.client_certificate` {certificate} cannot be used ({error.strerror or error}). It must be a PEM "
            "file with the certificate and, unless `server.client_key` names it, its private key; a key with a "
            "password needs `server.client_key_password_env`."
        ) from None
