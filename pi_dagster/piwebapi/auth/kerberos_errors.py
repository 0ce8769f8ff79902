"""Why there is no Kerberos ticket, or why one is refused, and what to do: MIT's error numbers as our messages.

The numbers are those of RFC 4120, 7.5.9, and of MIT krb5's own table above them (src/lib/krb5/error_tables).
"""

from __future__ import annotations

from enum import Enum

from pi_dagster.piwebapi.errors import ConnectionFailedError, LoginRefusedError, SecretRefusedError
from pi_dagster.site import KerberosLogin

_TABLE = -1765328384 & 0xFFFFFFFF
"""Where the numbers of the error table `krb5` begin."""


class KerberosFailure(Enum):
    """What is wrong, with the numbers that say so."""

    UNKNOWN_CLIENT = (6,)
    NO_SUCH_SERVICE = (7,)
    ENCRYPTION = (14,)
    LOCKED = (18,)
    PASSWORD_EXPIRED = (23,)
    WRONG_KEY = (24, 31)
    EXPIRED = (32,)
    CLOCK = (33, 37, 148)
    NO_TICKETS = (141, 181, 195)
    NO_REALM = (154,)
    KDC_UNREACHABLE = (156,)
    OTHER = ()

    @classmethod
    def of_code(cls, minor: int) -> KerberosFailure:
        """The failure with this minor status of GSSAPI, an unsigned number."""
        number = minor - _TABLE
        return next((failure for failure in cls if number in failure.value), cls.OTHER)


def error_told(
    failure: KerberosFailure, text: str, login: KerberosLogin, *, host: str, url: str
) -> LoginRefusedError | ConnectionFailedError:
    """The error for a failure.

    Args:
        failure: what is wrong.
        text: what the Kerberos library says.
        login: whose ticket, and from where.
        host: of the service.
        url: base URL of the server.
    """
    message = f"There is no Kerberos login to {url} ({text}). {_remedy(failure, login, host)}"
    if failure is KerberosFailure.KDC_UNREACHABLE:
        return ConnectionFailedError(message)
    if failure is KerberosFailure.WRONG_KEY:
        return SecretRefusedError(message)
    return LoginRefusedError(message)


def not_installed(error: Exception) -> LoginRefusedError:
    """The error for a machine without the library, or without what that needs itself."""
    return LoginRefusedError(
        f"Kerberos logins need a library that is not there ({error}). It is compiled when it is installed: first "
        "`apt install gcc python3-dev libkrb5-dev krb5-user` (Debian, Ubuntu) or `dnf install gcc python3-devel "
        "krb5-devel krb5-workstation` (Red Hat and its like), then `pip install 'pi-dagster[kerberos]'` or `uv sync "
        "--extra kerberos`. Where it only runs, libgssapi-krb5-2 or krb5-libs is enough."
    )


def _remedy(failure: KerberosFailure, login: KerberosLogin, host: str) -> str:
    who = login.principal or "the account"
    if failure is KerberosFailure.EXPIRED:
        if login.keytab is not None:
            return f"It could not be renewed with the keytab {login.keytab}; `kinit -k -t {login.keytab}` tries it."
        return (
            "The ticket in the ticket cache is expired: run `kinit`. For loads that nobody watches set "
            "`server.login.keytab`, from which tickets are renewed."
        )
    if failure is KerberosFailure.NO_TICKETS:
        if login.keytab is not None:
            return (
                f"The keytab {login.keytab} holds no key of {who}; `klist -k {login.keytab}` shows of whom. Set "
                "`server.login.principal` to one of them, in the same letters."
            )
        cache = login.ticket_cache or "the ticket cache"
        return (
            f"There is no ticket in {cache}: run `kinit` as the user who executes runs, or set `server.login.keytab`."
        )
    return {
        KerberosFailure.UNKNOWN_CLIENT: (
            f"The domain does not know {who}: correct `server.login.principal`, as user@REALM with the realm in "
            "capitals, or have a new keytab made."
        ),
        KerberosFailure.NO_SUCH_SERVICE: (
            f"The domain has no service principal HTTP/{host}. If {host} is an alias, set `server.login.service_host` "
            f"to the server's own name; else its administrator has to run `setspn -S HTTP/{host} ACCOUNT` for the "
            "account that PI Web API runs as."
        ),
        KerberosFailure.ENCRYPTION: (
            "Domain and keytab have no kind of encryption in common: have a keytab with AES keys made (`ktpass /crypto "
            "AES256-SHA1`)."
        ),
        KerberosFailure.LOCKED: f"Ask the domain's administrator why {who} is locked, disabled or without tickets.",
        KerberosFailure.PASSWORD_EXPIRED: f"The password of {who} is expired: have it renewed and a new keytab made.",
        KerberosFailure.WRONG_KEY: (
            "The password was changed after the keytab was made, so its key is wrong: have a new keytab made. It was "
            "tried once."
        ),
        KerberosFailure.CLOCK: (
            "The clocks of this machine, of the domain controller and of the server must agree within five minutes: "
            "set them right (`timedatectl` or `chronyc tracking` shows this machine's)."
        ),
        KerberosFailure.NO_REALM: (
            "This machine does not know the domain controllers of that realm: name them, or the realm, in "
            "/etc/krb5.conf (KRB5_CONFIG names another file)."
        ),
        KerberosFailure.KDC_UNREACHABLE: "No domain controller answers: check the network, and port 88 of firewalls.",
        KerberosFailure.OTHER: "`kinit` and `kvno HTTP/" + host + "` show whether tickets can be had on this machine.",
    }[failure]
