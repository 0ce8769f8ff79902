"""What the account of a request may do with an AF database, and with the objects in it.

Source: PI Web API reference, controller `assetdatabase`, action `getsecurity`.
"""

from __future__ import annotations

from pi_dagster.simulator.af_bodies import Bodies
from pi_dagster.simulator.af_lookup import bodies, find_database
from pi_dagster.simulator.af_model import AssetDatabase
from pi_dagster.simulator.calls import Call
from pi_dagster.simulator.service import Route, Service

_RIGHTS = (
    "Annotate", "Delete", "Execute", "Read", "ReadData", "Subscribe", "SubscribeOthers", "Write", "WriteData",
)  # fmt: skip


def _database_security(service: Service, call: Call) -> object:
    """`GET assetdatabases/{webId}/security`: the same for every item of it and every user."""
    database = find_database(service, call, service.parse_web_id(call.params["webId"], "RD"))
    users = call.query.all("userIdentity") or [call.user or r"NT AUTHORITY\ANONYMOUS LOGON"]
    items = call.query.all("securityItem") or ["Default"]
    written = bodies(service, call)
    return {
        "Links": {},
        "Items": [_rights(service, call, written, database, item, user) for item in items for user in users],
    }


def _rights(
    service: Service, call: Call, written: Bodies, database: AssetDatabase, item: str, user: str
) -> dict[str, object]:
    owner, granted = written.database_web_id(database), service.settings.af_rights
    return {
        "OwnerWebId": owner,
        "SecurityItem": item,
        "UserIdentity": user,
        **{f"Can{right}": right in granted or "Admin" in granted for right in _RIGHTS},
        "HasAdmin": "Admin" in granted,
        "Rights": list(granted),
        "Links": {
            "Self": call.link("assetdatabases", owner, "security"),
            "Owner": call.link("assetdatabases", owner),
        },
    }


ROUTES = (Route("GET", "assetdatabases/{webId}/security", _database_security),)
