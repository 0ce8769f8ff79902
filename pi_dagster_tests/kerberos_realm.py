"""A Kerberos realm of its own: MIT's KDC on loopback, with its database, keytabs and configuration in one folder.

Needs Debian's packages krb5-kdc, krb5-admin-server and krb5-user, faketime for clocks that are wrong, and gssapi.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

REALM = "PLANT.TEST"
HOST = "pi.plant.test"
"""What the simulator is called in the realm; its address is 127.0.0.1."""

_PATH = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
_PROGRAMS = ("krb5kdc", "kdb5_util", "kadmin.local", "kinit", "faketime")

CLIENT_CONF = """\
[libdefaults]
    default_realm = {realm}
    dns_lookup_kdc = false
    dns_lookup_realm = false
    dns_canonicalize_hostname = false
    rdns = false
    clockskew = 300
    kdc_timesync = 0
[realms]
    {realm} = {{
        kdc = 127.0.0.1:{port}
    }}
[domain_realm]
    .plant.test = {realm}
    localhost = {realm}
"""

KDC_CONF = """\
[kdcdefaults]
    kdc_listen = 127.0.0.1:{port}
    kdc_tcp_listen = 127.0.0.1:{port}
[realms]
    {realm} = {{
        database_name = {folder}/principal
        key_stash_file = {folder}/stash
    }}
[logging]
    kdc = FILE:{folder}/kdc.log
"""


def skip_without_kerberos() -> None:
    """Skip the module where something is not installed."""
    missing = [program for program in _PROGRAMS if shutil.which(program, path=_PATH) is None]
    if missing:
        pytest.skip(
            f"{', '.join(missing)} missing: apt install krb5-kdc krb5-admin-server krb5-user faketime",
            allow_module_level=True,
        )
    pytest.importorskip("gssapi", reason="gssapi missing: uv sync --extra kerberos (needs gcc and libkrb5-dev)")


@dataclass(frozen=True)
class KerberosRealm:
    """A realm whose KDC answers.

    Args:
        folder: where everything of it is.
        port: of its KDC.
    """

    folder: Path
    port: int

    def admin(self, query: str) -> None:
        """Run a query of `kadmin.local`, such as `addprinc -randkey somebody`."""
        _run("kadmin.local", "-r", REALM, "-q", query)

    def keytab(self, principal: str, *, ticket_life: str = "1h") -> Path:
        """Add a principal and give its keytab."""
        path = self.folder / f"{principal.replace('/', '_')}.keytab"
        self.admin(f'addprinc -randkey +requires_preauth -maxlife "{ticket_life}" {principal}')
        self.admin(f"ktadd -k {path} {principal}")
        return path

    def kinit(self, keytab: Path, principal: str, cache: Path, *, life: str = "1h") -> None:
        """Fetch a ticket into a cache, as a user would."""
        _run("kinit", "-c", f"FILE:{cache}", "-l", life, "-k", "-t", str(keytab), principal)

    @contextmanager
    def kdc(self, *, clock: str | None = None) -> Iterator[None]:
        """Run the KDC while the block lasts.

        Args:
            clock: how far its clock is wrong, as `+1h`.
        """
        log = self.folder / "kdc.log"
        log.unlink(missing_ok=True)
        fake = [_program("faketime"), "-f", clock] if clock else []
        # A session of its own, as faketime starts the KDC as its child.
        process = subprocess.Popen(
            [*fake, _program("krb5kdc"), "-n"], stderr=subprocess.DEVNULL, start_new_session=True
        )
        try:
            while process.poll() is None:
                with socket.socket() as probe:
                    if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                        break
            assert process.poll() is None, log.read_text()
            yield
        finally:
            os.killpg(process.pid, signal.SIGTERM)
            process.wait(timeout=10)


@contextmanager
def kerberos_realm(folder: Path) -> Iterator[KerberosRealm]:
    """A realm in `folder` that this process and those it starts know of; its KDC is still to be started."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    known = {"realm": REALM, "port": port, "folder": folder}
    (folder / "krb5.conf").write_text(CLIENT_CONF.format(**known))
    (folder / "kdc.conf").write_text(KDC_CONF.format(**known))
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("KRB5_CONFIG", str(folder / "krb5.conf"))
        environment.setenv("KRB5_KDC_PROFILE", str(folder / "kdc.conf"))
        environment.setenv("KRB5CCNAME", f"FILE:{folder}/no-tickets")
        environment.setenv("KRB5RCACHENAME", f"file2:{folder}/replays")
        _run("kdb5_util", "create", "-s", "-r", REALM, "-P", "master")
        yield KerberosRealm(folder, port)


def _program(name: str) -> str:
    path = shutil.which(name, path=_PATH)
    assert path is not None
    return path


def _run(program: str, *arguments: str) -> None:
    done = subprocess.run([_program(program), *arguments], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
