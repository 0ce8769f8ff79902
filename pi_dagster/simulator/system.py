"""The landing page and the system controller: who is asking whom, and what time it is there.

Source: PI Web API reference, controllers `home` and `system`.
"""

from __future__ import annotations

from pi_dagster.simulator.calls import Call
from pi_dagster.simulator.events import TICKS_PER_SECOND, iso_timestamp
from pi_dagster.simulator.service import Route, Service

PRODUCT_VERSION = "1.19.1.28"
"""PI Web API 2023 SP1 Patch 1."""


def landing(service: Service, call: Call) -> object:
    """`GET /`."""
    names = {"AssetServers": "assetservers", "DataServers": "dataservers", "Search": "search", "System": "system"}
    return {"Links": {"Self": call.link(""), **{name: call.link(path) for name, path in names.items()}}}


def system(service: Service, call: Call) -> object:
    """`GET /system`."""
    names = {"Status": "status", "UserInfo": "userinfo", "Versions": "versions"}
    return {
        "ProductTitle": "PI Web API",
        "ProductVersion": PRODUCT_VERSION,
        "Links": {"Self": call.link("system"), **{name: call.link("system", path) for name, path in names.items()}},
    }


def status(service: Service, call: Call) -> object:
    """`GET /system/status`."""
    now = service.settings.now()
    return {
        "UpTimeInMinutes": (now - service.started) / (60 * TICKS_PER_SECOND),
        "State": "Running",
        "CacheInstances": 1,
        "ServerTime": iso_timestamp(now),
    }


def user_info(service: Service, call: Call) -> object:
    """`GET /system/userinfo`: the account the request runs as."""
    return {
        "IdentityType": "WindowsIdentity",
        "Name": call.user or r"NT AUTHORITY\ANONYMOUS LOGON",
        "IsAuthenticated": call.user is not None,
        "SID": "S-1-5-21-1004336348-1177238915-682003330-1000" if call.user else "S-1-5-7",
        "ImpersonationLevel": "Impersonation",
    }


def versions(service: Service, call: Call) -> object:
    """`GET /system/versions`."""
    major, minor, revision, build = PRODUCT_VERSION.split(".")
    version = {
        "FullVersion": PRODUCT_VERSION,
        "MajorMinorRevision": f"{major}.{minor}.{revision}",
        "Build": build,
    }
    return {"OSIsoft.REST.Host": version, "OSIsoft.REST.Services": version}


ROUTES = (
    Route("GET", "", landing, selects_fields=False),
    Route("GET", "system", system, selects_fields=False),
    Route("GET", "system/status", status, selects_fields=False),
    Route("GET", "system/userinfo", user_info, selects_fields=False),
    Route("GET", "system/versions", versions, selects_fields=False),
)
