"""Kerberos with a real KDC: tickets from a keytab or a cache, renewed while a load goes on, and what goes wrong."""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from email.utils import format_datetime
from pathlib import Path

import pytest
import requests

from pi_dagster.piwebapi.errors import ConnectionFailedError, LoginRefusedError
from pi_dagster.piwebapi.retrying import RetryPolicy
from pi_dagster.piwebapi.transport import Transport
from pi_dagster.simulator import RunningSimulator
from pi_dagster.site import KerberosLogin, ServerSettings
from pi_dagster_tests.kerberos_realm import HOST, REALM, KerberosRealm, kerberos_realm, skip_without_kerberos
from pi_dagster_tests.logged_in_plant import QUICK, ask, ask_at_once, check, checked_user, load_a_day, plant, server

skip_without_kerberos()

from pi_dagster.simulator.auth_kerberos import KerberosMethod  # noqa: E402  # needs gssapi

TICKET_SECONDS = 3


@pytest.fixture(scope="module")
def realm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KerberosRealm]:
    with kerberos_realm(tmp_path_factory.mktemp("realm")) as realm, realm.kdc():
        yield realm


@pytest.fixture(scope="module")
def service_keytab(realm: KerberosRealm) -> Path:
    return realm.keytab(f"HTTP/{HOST}")


@pytest.fixture(scope="module")
def keytab(realm: KerberosRealm) -> Path:
    return realm.keytab("svc_dagster")


@pytest.fixture(scope="module")
def running(service_keytab: Path) -> Iterator[RunningSimulator]:
    with plant(KerberosMethod(service_keytab)) as running:
        yield running


@pytest.fixture
def login(keytab: Path) -> dict[str, object]:
    return {"kind": "kerberos", "keytab": str(keytab), "service_host": HOST}


def refused(running: RunningSimulator, **login: object) -> str:
    with pytest.raises(LoginRefusedError) as caught:
        ask(server(running, **{"kind": "kerberos", "service_host": HOST, **login}))
    return str(caught.value)


def refusal_in_the_end(settings: ServerSettings) -> str:
    """What is told when a ticket that is still good has expired."""
    end = time.monotonic() + 20
    try:
        while time.monotonic() < end:
            ask(settings)
    except LoginRefusedError as error:
        return str(error)
    return "it never expired"


def test_a_day_is_loaded_with_a_keytab(running: RunningSimulator, login: dict[str, object], tmp_path: Path) -> None:
    load_a_day(running, server(running, **login), tmp_path)


def test_a_day_is_loaded_with_the_tickets_of_a_cache(
    running: RunningSimulator, realm: KerberosRealm, keytab: Path, tmp_path: Path
) -> None:
    realm.kinit(keytab, "svc_dagster", tmp_path / "tickets")
    cache = f"FILE:{tmp_path / 'tickets'}"
    load_a_day(running, server(running, kind="kerberos", ticket_cache=cache, service_host=HOST), tmp_path)


def test_check_says_whom_the_server_takes_us_for(
    running: RunningSimulator, login: dict[str, object], tmp_path: Path
) -> None:
    principal = f"svc_dagster@{REALM}"
    assert checked_user(check(running, tmp_path, **login, principal=principal)) == principal


def test_eight_requests_at_once_are_all_proven(running: RunningSimulator, login: dict[str, object]) -> None:
    assert ask_at_once(server(running, **login)) == [None] * 8


def test_a_load_outlives_its_tickets(running: RunningSimulator, realm: KerberosRealm) -> None:
    keytab = realm.keytab("short", ticket_life=f"{TICKET_SECONDS} seconds")
    login = {"kind": "kerberos", "keytab": str(keytab), "service_host": HOST}
    end = time.monotonic() + 2.5 * TICKET_SECONDS
    asked = 0
    with Transport(server(running, **login, principal="short"), retry=QUICK) as transport:
        while time.monotonic() < end:
            transport.get("system/status", [], bytes)
            asked += 1
    fetched = (realm.folder / "kdc.log").read_text().count("ISSUE: authtime")
    assert asked > 10
    assert fetched >= 3


def test_an_expired_ticket_in_a_cache_is_called_so(
    running: RunningSimulator, realm: KerberosRealm, keytab: Path, tmp_path: Path
) -> None:
    realm.kinit(keytab, "svc_dagster", tmp_path / "tickets", life="1s")
    login = {"kind": "kerberos", "ticket_cache": f"FILE:{tmp_path / 'tickets'}", "service_host": HOST}
    told = refusal_in_the_end(server(running, **login))
    assert "is expired: run `kinit`" in told
    assert "server.login.keytab" in told


def test_a_service_that_the_realm_does_not_know_is_named(running: RunningSimulator, keytab: Path) -> None:
    told = refused(running, keytab=str(keytab), service_host="alias.plant.test")
    assert "no service principal HTTP/alias.plant.test" in told
    assert "server.login.service_host" in told
    assert "setspn -S HTTP/alias.plant.test ACCOUNT" in told


def test_a_ticket_for_the_account_of_another_service_is_refused_with_advice(
    running: RunningSimulator, realm: KerberosRealm, keytab: Path
) -> None:
    realm.keytab("HTTP/other.plant.test")
    told = refused(running, keytab=str(keytab), service_host="other.plant.test")
    assert "did not take the Kerberos ticket for HTTP/other.plant.test" in told
    assert "must belong to the account that PI Web API runs as (`setspn -Q`" in told


def test_a_refusal_by_a_server_whose_clock_is_wrong_says_so(login: dict[str, object]) -> None:
    from pi_dagster.piwebapi.auth.kerberos import KerberosAuthentication

    refusal = requests.Response()
    refusal.headers["Date"] = format_datetime(datetime.now(timezone.utc) - timedelta(hours=1), usegmt=True)
    authentication = KerberosAuthentication(KerberosLogin(**login), "https://pi.plant.test/piwebapi")
    assert re.search(r"clock is 3,\d\d\d s behind this machine's.*five minutes", authentication.remedy(refusal))


def test_a_password_changed_after_the_keytab_was_made_is_tried_once(
    running: RunningSimulator, realm: KerberosRealm
) -> None:
    keytab = realm.keytab("changed")
    realm.admin("cpw -randkey changed")
    told = [
        str(failure) for failure in ask_at_once(server(running, kind="kerberos", keytab=str(keytab), service_host=HOST))
    ]
    assert all("password was changed after the keytab was made" in one for one in told)
    assert (realm.folder / "kdc.log").read_text().count(f"PREAUTH_FAILED: changed@{REALM}") == 1


def test_an_account_that_the_realm_does_not_know_is_named(running: RunningSimulator, realm: KerberosRealm) -> None:
    keytab = realm.keytab("gone")
    realm.admin("delprinc -force gone")
    told = refused(running, keytab=str(keytab), principal="gone")
    assert "does not know gone" in told
    assert "server.login.principal" in told


def test_a_locked_account_is_called_so(running: RunningSimulator, realm: KerberosRealm) -> None:
    keytab = realm.keytab("locked")
    realm.admin("modprinc -allow_tix locked")
    assert "locked, disabled" in refused(running, keytab=str(keytab))


def test_a_principal_that_is_not_in_the_keytab_is_named(running: RunningSimulator, keytab: Path) -> None:
    told = refused(running, keytab=str(keytab), principal=f"SVC_DAGSTER@{REALM}")
    assert f"holds no key of SVC_DAGSTER@{REALM}" in told
    assert "klist -k" in told


def test_without_tickets_the_error_says_where_to_get_some(running: RunningSimulator) -> None:
    told = refused(running)
    assert "run `kinit`" in told
    assert "server.login.keytab" in told


@pytest.mark.parametrize(("content", "told"), [(None, "cannot be read"), (b"-----BEGIN", "is no keytab")])
def test_a_keytab_that_is_none_is_named(
    running: RunningSimulator, tmp_path: Path, content: bytes | None, told: str
) -> None:
    path = tmp_path / "svc.keytab"
    if content is not None:
        path.write_bytes(content)
    assert f"`server.login.keytab` names {path}, which {told}" in refused(running, keytab=str(path))


def test_a_realm_that_is_not_configured_is_told_with_the_file(running: RunningSimulator, keytab: Path) -> None:
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("KRB5_CONFIG", str(keytab.parent / "nothing.conf"))
        told = refused(running, keytab=str(keytab))
    assert "/etc/krb5.conf" in told


def test_a_server_that_does_not_prove_itself_is_not_believed(service_keytab: Path, login: dict[str, object]) -> None:
    with plant(KerberosMethod(service_keytab, proof="none")) as unproven:
        told = refused(unproven, **login)
        assert f"did not prove that it is HTTP/{HOST}" in told
        assert "mutual_authentication: false" in told
        ask(server(unproven, **login, mutual_authentication=False))


def test_a_wrong_proof_is_never_accepted(service_keytab: Path, login: dict[str, object]) -> None:
    with plant(KerberosMethod(service_keytab, proof="wrong")) as wrong:
        assert "did not prove" in refused(wrong, **login, mutual_authentication=False)


def test_clocks_that_are_apart_are_called_so(running: RunningSimulator, tmp_path: Path) -> None:
    with kerberos_realm(tmp_path) as other, other.kdc(clock="+1h"):
        told = refused(running, keytab=str(other.keytab("svc_dagster")))
    assert "clocks of this machine, of the domain controller and of the server must agree" in told
    assert "timedatectl" in told


def test_no_domain_controller_is_no_mistake_of_the_login(running: RunningSimulator, tmp_path: Path) -> None:
    with kerberos_realm(tmp_path) as other:
        settings = server(running, kind="kerberos", keytab=str(other.keytab("svc_dagster")), service_host=HOST)
        with (
            Transport(settings, retry=RetryPolicy(budget_seconds=0)) as transport,
            pytest.raises(ConnectionFailedError, match=r"No domain controller answers.*port 88"),
        ):
            transport.get("system/status", [], bytes)


def test_without_its_library_the_error_says_what_to_install(
    running: RunningSimulator, login: dict[str, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "gssapi", None)
    monkeypatch.delitem(sys.modules, "pi_dagster.piwebapi.auth.kerberos", raising=False)
    told = refused(running, **login)
    assert "apt install gcc python3-dev libkrb5-dev" in told
    assert "dnf install gcc python3-devel krb5-devel" in told
    assert "pip install 'pi-dagster[kerberos]'" in told
