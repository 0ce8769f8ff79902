"""Extended protection: a server that wants logins tied to the TLS connection gets them so, of Kerberos and of NTLM."""

from __future__ import annotations

import hashlib
import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme

from pi_dagster.piwebapi.errors import LoginRefusedError
from pi_dagster.simulator.auth_ntlm import NtlmMethod
from pi_dagster_tests.kerberos_realm import HOST, kerberos_realm, skip_without_kerberos
from pi_dagster_tests.logged_in_plant import ask, ask_at_once, server
from pi_dagster_tests.test_tls import serving_tls

NTLM = {"kind": "ntlm", "username": "PLANT\\svc", "password_env": "PI_TEST_PASSWORD"}


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="module")
def certificate(authority: trustme.CA) -> trustme.LeafCert:
    return authority.issue_cert("127.0.0.1")


@pytest.fixture(scope="module")
def ca_bundle(authority: trustme.CA, tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("authority") / "ca.pem"
    authority.cert_pem.write_to_path(str(path))
    return str(path)


@pytest.fixture(scope="module")
def binding(certificate: trustme.LeafCert) -> bytes:
    der = ssl.PEM_cert_to_DER_cert(certificate.cert_chain_pems[0].bytes().decode())
    return b"tls-server-end-point:" + hashlib.sha256(der).digest()


@pytest.fixture(params=[True, False], ids=["right", "of another connection"])
def wanted(request: pytest.FixtureRequest, binding: bytes) -> tuple[bytes, bool]:
    return (binding, True) if request.param else (binding[:-1] + bytes([binding[-1] ^ 1]), False)


def test_an_ntlm_login_is_tied_to_its_connection(
    wanted: tuple[bytes, bool],
    certificate: trustme.LeafCert,
    ca_bundle: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PI_TEST_PASSWORD", "right-one")
    (tmp_path / "accounts").write_text("PLANT:svc:right-one\n")
    expected, is_let_in = wanted
    with serving_tls(certificate, login=NtlmMethod(tmp_path / "accounts", channel_binding=expected)) as running:
        settings = server(running, **NTLM).model_copy(update={"ca_bundle": ca_bundle})
        if is_let_in:
            assert ask_at_once(settings) == [None] * 8
        else:
            with pytest.raises(LoginRefusedError):
                ask(settings)


@pytest.fixture(scope="module")
def keytabs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, Path]]:
    skip_without_kerberos()
    with kerberos_realm(tmp_path_factory.mktemp("realm")) as realm, realm.kdc():
        yield realm.keytab(f"HTTP/{HOST}"), realm.keytab("svc_dagster")


def test_a_kerberos_login_is_tied_to_its_connection_once_a_server_wants_that(
    wanted: tuple[bytes, bool], keytabs: tuple[Path, Path], certificate: trustme.LeafCert, ca_bundle: str
) -> None:
    from pi_dagster.simulator.auth_kerberos import KerberosMethod

    expected, is_let_in = wanted
    with serving_tls(certificate, login=KerberosMethod(keytabs[0], channel_binding=expected)) as running:
        settings = server(running, kind="kerberos", keytab=str(keytabs[1]), service_host=HOST)
        settings = settings.model_copy(update={"ca_bundle": ca_bundle})
        if is_let_in:
            ask(settings, times=3)
            assert [request.status for request in running.requests.recent] == [401, 200, 200, 200]
            assert ask_at_once(settings) == [None] * 8
        else:
            with pytest.raises(LoginRefusedError):
                ask(settings)
