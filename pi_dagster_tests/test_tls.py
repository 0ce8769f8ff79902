"""TLS, proxies and plain HTTP: what is refused by default, and that each refusal names its cause and its remedy."""

from __future__ import annotations

import datetime
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import dagster as dg
import pytest
import trustme
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)
from pydantic import ValidationError

from pi_dagster.diagnosis import diagnose
from pi_dagster.piwebapi import objects
from pi_dagster.piwebapi.connection import dangers
from pi_dagster.piwebapi.errors import CertificateError, ConnectionFailedError
from pi_dagster.piwebapi.retrying import RetryPolicy
from pi_dagster.piwebapi.transport import Transport
from pi_dagster.resources import PIServerResource
from pi_dagster.simulator import Fault, FaultKind, RunningSimulator, Simulator, SimulatorSettings
from pi_dagster.simulator.archive import Archive
from pi_dagster.simulator.auth import LoginMethod
from pi_dagster.simulator.generator import GeneratedBase
from pi_dagster.site import LakeSettings, ServerSettings, Site, TagGroup
from pi_dagster_tests.test_piwebapi_transport import QUICK, Script, answer, serving
from pi_dagster_tests.waiting import wait_until

LONG_AGO = datetime.datetime(2001, 1, 1, tzinfo=datetime.timezone.utc)


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def ca_bundle(authority: trustme.CA, tmp_path: Path) -> str:
    path = tmp_path / "plant-ca.pem"
    authority.cert_pem.write_to_path(path)
    return str(path)


def serving_tls(
    certificate: trustme.LeafCert, *, clients_of: trustme.CA | None = None, login: LoginMethod | None = None
) -> RunningSimulator:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certificate.configure_cert(context)
    if clients_of is not None:
        clients_of.configure_trust(context)
        context.verify_mode = ssl.CERT_REQUIRED
    return Simulator(archive=Archive(GeneratedBase(tags=3)), settings=SimulatorSettings(login=login)).serve(tls=context)


@contextmanager
def shaking_hands(context: ssl.SSLContext) -> Iterator[str]:
    """A server that says why it refuses a handshake; asyncio's, which the simulator uses, only hangs up."""

    def shake_hands() -> None:
        with suppress(OSError), listener:
            while True:
                connection, _ = listener.accept()
                with suppress(ssl.SSLError), connection, context.wrap_socket(connection, server_side=True):
                    pass

    listener = socket.create_server(("127.0.0.1", 0))
    thread = threading.Thread(target=shake_hands)
    thread.start()
    try:
        yield f"https://127.0.0.1:{listener.getsockname()[1]}/piwebapi"
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()


@pytest.fixture
def simulator(authority: trustme.CA) -> Iterator[RunningSimulator]:
    with serving_tls(authority.issue_cert("127.0.0.1")) as running:
        yield running


def ask(url: str, **settings: object) -> str:
    with Transport(ServerSettings(url=url, **settings), retry=QUICK) as transport:
        return objects.system_status(transport).state


def test_a_server_whose_authority_the_site_names_is_trusted(simulator: RunningSimulator, ca_bundle: str) -> None:
    assert simulator.url.startswith("https://")
    assert ask(simulator.url, ca_bundle=ca_bundle) == "Running"


@pytest.mark.parametrize("is_encrypted", [False, True])
def test_who_stops_does_not_wait_for_answers(authority: trustme.CA, ca_bundle: str, *, is_encrypted: bool) -> None:
    failures: list[BaseException] = []

    def ask_for_the_status(transport: Transport) -> None:
        try:
            objects.system_status(transport)
        except ConnectionFailedError as error:
            failures.append(error)

    plain = Simulator(archive=Archive(GeneratedBase(tags=3)))
    with serving_tls(authority.issue_cert("127.0.0.1")) if is_encrypted else plain.serve() as running:
        running.faults.add(Fault(kind=FaultKind.SLOW, seconds=600.0))
        with Transport(ServerSettings(url=running.url, ca_bundle=ca_bundle)) as transport:
            waiting = threading.Thread(target=ask_for_the_status, args=[transport])
            waiting.start()
            wait_until(lambda: running.requests.in_flight)
            transport.stop()
            waiting.join(timeout=30)
            assert len(failures) == 1
        running.faults.clear()


def test_the_authority_may_come_from_the_environment(
    simulator: RunningSimulator, ca_bundle: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", ca_bundle)
    assert ask(simulator.url) == "Running"


def test_an_unknown_authority_is_refused_by_default(simulator: RunningSimulator) -> None:
    with pytest.raises(CertificateError, match=r"unable to get local issuer.*Set `server\.ca_bundle`"):
        ask(simulator.url)
    assert simulator.requests.total == 0, "nothing may be sent to a server that nobody vouches for"


def test_another_authority_than_the_sites_is_refused(simulator: RunningSimulator, tmp_path: Path) -> None:
    trustme.CA().cert_pem.write_to_path(tmp_path / "other.pem")
    with pytest.raises(CertificateError, match=r"not accepted.*Set `server\.ca_bundle`"):
        ask(simulator.url, ca_bundle=str(tmp_path / "other.pem"))


def test_a_certificate_for_another_host_is_refused(authority: trustme.CA, ca_bundle: str) -> None:
    with (
        serving_tls(authority.issue_cert("pi.example.com")) as running,
        pytest.raises(CertificateError, match=r"127\.0\.0\.1.*issued for another name: write `server\.url`"),
    ):
        ask(running.url, ca_bundle=ca_bundle)


def test_an_expired_certificate_is_refused(authority: trustme.CA, ca_bundle: str) -> None:
    with (
        serving_tls(authority.issue_cert("127.0.0.1", not_after=LONG_AGO)) as running,
        pytest.raises(CertificateError, match=r"expired.*needs a new one; or the clock of this machine is wrong"),
    ):
        ask(running.url, ca_bundle=ca_bundle)


def test_a_certificate_of_tomorrow_is_refused(authority: trustme.CA, ca_bundle: str) -> None:
    tomorrow = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(days=1)
    with (
        serving_tls(authority.issue_cert("127.0.0.1", not_before=tomorrow)) as running,
        pytest.raises(CertificateError, match=r"not yet valid.*clock of this machine or of the one that made it"),
    ):
        ask(running.url, ca_bundle=ca_bundle)


def test_a_server_that_speaks_no_tls_is_told_so() -> None:
    with (
        Simulator(archive=Archive(GeneratedBase(tags=1))).serve() as running,
        pytest.raises(CertificateError, match=r"speaks no TLS; check the port"),
    ):
        ask(running.url.replace("http:", "https:"))


def test_tls_1_1_is_too_old(authority: trustme.CA, ca_bundle: str) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    context.minimum_version = ssl.TLSVersion.TLSv1_1
    context.maximum_version = ssl.TLSVersion.TLSv1_1
    context.set_ciphers("ALL:@SECLEVEL=0")
    with (
        shaking_hands(context) as url,
        pytest.raises(CertificateError, match=r"protocol.*too old for TLS 1\.2"),
    ):
        ask(url, ca_bundle=ca_bundle)


def test_verify_false_works_and_is_told_as_a_danger(simulator: RunningSimulator) -> None:
    assert ask(simulator.url, verify=False) == "Running"
    [danger] = dangers(ServerSettings(url=simulator.url, verify=False))
    assert "`server.verify: false`" in danger
    assert dangers(ServerSettings(url=simulator.url)) == []


def test_a_check_warns_of_a_certificate_that_is_not_verified(simulator: RunningSimulator, tmp_path: Path) -> None:
    site = Site(
        server=ServerSettings(url=simulator.url, verify=False),
        lake=LakeSettings(uri=str(tmp_path)),
        start_date=datetime.date(2026, 1, 1),
        tag_groups=(TagGroup(name="all", tag_filter="*"),),
    )
    assert any("`server.verify: false`" in note for note in diagnose(site).notes)


def key_with_password(certificate: trustme.LeafCert, password: str) -> bytes:
    key = load_pem_private_key(certificate.private_key_pem.bytes(), None)
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(password.encode()))


def test_a_server_that_asks_for_a_certificate_gets_the_sites(
    authority: trustme.CA, ca_bundle: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = authority.issue_cert("pi-dagster@plant.example")
    own.cert_chain_pems[0].write_to_path(tmp_path / "client.pem")
    (tmp_path / "client.key").write_bytes(key_with_password(own, "of the key"))
    monkeypatch.setenv("PI_KEY_PASSWORD", "of the key")
    settings = {
        "ca_bundle": ca_bundle,
        "client_certificate": str(tmp_path / "client.pem"),
        "client_key": str(tmp_path / "client.key"),
    }
    with serving_tls(authority.issue_cert("127.0.0.1"), clients_of=authority) as running:
        assert ask(running.url, **settings, client_key_password_env="PI_KEY_PASSWORD") == "Running"
        with pytest.raises(CertificateError, match=r"cannot be used.*`server\.client_key_password_env`"):
            ask(running.url, **settings)


def test_a_server_that_misses_a_certificate_of_ours_is_told_with_the_setting(
    authority: trustme.CA, ca_bundle: str
) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.verify_mode = ssl.CERT_REQUIRED
    with (
        shaking_hands(context) as url,
        pytest.raises(CertificateError, match=r"handshake failure.*set `server\.client_certificate`"),
    ):
        ask(url, ca_bundle=ca_bundle)


@pytest.mark.parametrize("setting", ["ca_bundle", "client_certificate"])
def test_a_file_that_holds_no_certificate_is_named_with_its_setting(setting: str, tmp_path: Path) -> None:
    path = tmp_path / "no.pem"
    path.write_text("no certificate")
    with pytest.raises(CertificateError, match=rf"`server\.{setting}`.*no\.pem.*PEM file"):
        ask("https://127.0.0.1:1/piwebapi", **{setting: str(path)})


@pytest.mark.parametrize("url", ["http://pi.example.com/piwebapi", "http://10.0.0.7/piwebapi"])
def test_plain_http_to_another_machine_must_be_written_out(url: str) -> None:
    with pytest.raises(ValidationError, match=r"is not encrypted.*`allow_plain_http: true`"):
        ServerSettings(url=url)
    [danger] = dangers(ServerSettings(url=url, allow_plain_http=True))
    assert "is not encrypted" in danger


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:5450", "127.0.0.1", "127.7.7.7", "[::1]:5450"])
def test_plain_http_within_this_machine_is_no_danger(host: str) -> None:
    assert dangers(ServerSettings(url=f"http://{host}/piwebapi")) == []


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"verify": False, "ca_bundle": "ca.pem"}, "means nothing with `verify: false`"),
        ({"client_key": "client.key"}, "need `client_certificate`"),
        ({"proxy": "proxy:3128"}, "like http://proxy.example.com:3128"),
        ({"proxy": "http://me:hunter2@proxy:3128"}, "must not hold a login"),
        ({"proxy": "http://proxy:99999"}, "a port is a number up to 65535"),
    ],
)
def test_settings_that_do_not_fit_together_are_refused(settings: dict[str, object], told: str) -> None:
    with pytest.raises(ValidationError, match=told) as caught:
        ServerSettings(url="https://pi.example.com/piwebapi", **settings)
    assert "hunter2" not in str(caught.value)


def test_the_sites_proxy_is_used_and_none_goes_past_that_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    proxy, server = Script(answer(200, b"by way of the proxy")), Script(answer(200, b"directly"))
    with serving(proxy) as proxy_url, serving(server) as url:
        proxy_url = proxy_url.removesuffix("/piwebapi")
        for settings, of_environment, expected in (
            ({"url": "http://pi.invalid/piwebapi"}, proxy_url, b"by way of the proxy"),
            ({"url": url, "proxy": proxy_url}, "", b"by way of the proxy"),
            ({"url": url, "proxy": "none"}, proxy_url, b"directly"),
        ):
            monkeypatch.delenv("no_proxy", raising=False)
            monkeypatch.setenv("http_proxy", of_environment)
            with Transport(ServerSettings(**settings, allow_plain_http=True), retry=QUICK) as transport:
                assert transport.get("x", [], bytes) == expected


def test_what_is_on_this_machine_is_not_sent_to_a_proxy_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is not encrypted, so the login would be readable there."""
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    with serving(Script(answer())) as url, Transport(ServerSettings(url=url), retry=QUICK) as transport:
        assert transport.get("x", [], bytes) == b"{}"


def test_plain_http_to_a_proxy_must_be_written_out_even_for_this_machine() -> None:
    settings = {"url": "http://127.0.0.1/piwebapi", "proxy": "http://proxy.example.com:3128"}
    with pytest.raises(ValidationError, match="allow_plain_http: true"):
        ServerSettings(**settings)
    assert "not encrypted" in dangers(ServerSettings(**settings, allow_plain_http=True))[0]


def test_a_proxys_login_of_the_environment_shows_in_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("https_proxy", "http://me:s3cret-of-proxy@127.0.0.1:1")
    monkeypatch.delenv("no_proxy", raising=False)
    settings = ServerSettings(url="https://pi.example.com/piwebapi")
    with (
        Transport(settings, retry=RetryPolicy(budget_seconds=0)) as transport,
        pytest.raises(Exception, match="No answer") as caught,
    ):
        transport.get("x", [], bytes)
    assert "s3cret-of-proxy" not in str(caught.value)
    assert caught.value.__suppress_context__


def test_a_run_warns_of_a_certificate_that_is_not_verified(simulator: RunningSimulator) -> None:
    @dg.op(required_resource_keys={"pi"})
    def ask_server(context) -> None:  # type: ignore[no-untyped-def]
        with context.resources.pi.open() as source:
            source.server_time()

    @dg.job(resource_defs={"pi": PIServerResource.from_settings(ServerSettings(url=simulator.url, verify=False))})
    def ask_once() -> None:
        ask_server()

    with dg.DagsterInstance.ephemeral() as instance:
        run = ask_once.execute_in_process(instance=instance)
        told = [entry.user_message for entry in instance.all_logs(run.run_id)]
    assert any("`server.verify: false`" in message for message in told)
