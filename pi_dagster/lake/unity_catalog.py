"""Tables of the lake in Unity Catalog: registered there as external tables, with the meaning of every column.

Databricks' Unity Catalog and the open-source server have the same REST API, of which this needs three calls (Unity
Catalog's `api/all.yaml`: Tables). What is registered is where a table is and what its columns are; the rows stay where
they are, and whoever reads by name sees every later commit.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

import requests
from deltalake import DeltaTable

from pi_dagster.lake.errors import LakeError
from pi_dagster.lake.location import Lake
from pi_dagster.lake.schemas import ALL_TABLES, TableDefinition, column_descriptions
from pi_dagster.redaction import redacted, remember_secret

_TIMEOUT_SECONDS = 30
_SQL_NAMES = {"integer": "int", "long": "bigint"}


class CatalogError(LakeError):
    """Unity Catalog cannot be reached, or refuses; the tables themselves are as they were."""


class Registration(str, Enum):
    """What was done about a table."""

    NEW = "registered"
    AGAIN = "registered again"
    """Its columns or its place were others than the catalog said."""
    SAME = "unchanged"


@dataclass(frozen=True)
class UnityCatalog:
    """A schema of a catalog, in which the tables of a lake are known by name.

    Args:
        url: of the workspace or the server, without a path.
        catalog: must be there.
        schema: must be there.
        token: of a login that may create tables in it; None where the server asks for none. Never shown.
    """

    url: str
    catalog: str
    schema: str
    token: str | None = None

    def __post_init__(self) -> None:
        if self.token:
            remember_secret(self.token)

    def __repr__(self) -> str:
        return f"UnityCatalog({self.url}, {self.catalog}.{self.schema})"

    def register(self, lake: Lake) -> Mapping[str, Registration]:
        """Make every table that the lake has known by name, or bring what is known of it up to date.

        An external table has no more in the catalog than that, so one that has changed is taken out and put in again;
        its rows and its history are not touched, but rights that were granted on the table itself are lost.

        Args:
            lake: an object store, at the address that readers will use, or a folder that they see too.

        Returns:
            What was done, by full name.

        Raises:
            CatalogError: the catalog cannot be reached or refuses.
        """
        return {self._full_name(table): self._register(lake, table) for table in ALL_TABLES if _is_there(lake, table)}

    def _register(self, lake: Lake, definition: TableDefinition) -> Registration:
        wanted = table_description(lake, definition, catalog=self.catalog, schema=self.schema)
        path = f"tables/{self._full_name(definition)}"
        known = self._call("GET", path)
        if known is not None and _is_same(known, wanted):
            return Registration.SAME
        if known is not None:
            if known.get("table_type") != "EXTERNAL":
                raise CatalogError(
                    f"{self._full_name(definition)} is a {known.get('table_type', 'table')} of Unity Catalog's own, "
                    "not one of this lake; name another schema in `lake.catalog_schema`."
                )
            self._call("DELETE", path)
        self._call("POST", "tables", wanted)
        return Registration.NEW if known is None else Registration.AGAIN

    def _full_name(self, definition: TableDefinition) -> str:
        return f"{self.catalog}.{self.schema}.{definition.name}"

    def _call(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> dict[str, Any] | None:
        """The answer; None for what is not there."""
        url = f"{self.url}/api/2.1/unity-catalog/{path}"
        headers = {"Authorization": f"Bearer {self.token}"} if self.token else {}
        try:
            answer = requests.request(
                method, url, json=body, headers=headers, timeout=_TIMEOUT_SECONDS, allow_redirects=False
            )
        except requests.RequestException as error:
            raise CatalogError(f"Unity Catalog at {self.url} does not answer: {redacted(str(error))}") from None
        if answer.status_code == requests.codes.not_found and method == "GET":
            return None
        if not answer.ok or answer.is_redirect:
            raise CatalogError(
                f"Unity Catalog at {self.url} refuses {method} {path} with status {answer.status_code}: "
                f"{redacted(_reason(answer))}. The catalog {self.catalog} and the schema {self.schema} have to be "
                "there, and the login needs the right to create tables in it."
            )
        if method != "GET":
            # The open-source server's answer to DELETE is `200 OK`, which is no JSON.
            return {}
        try:
            content: dict[str, Any] = answer.json()
        except ValueError:
            raise CatalogError(
                f"What answers at {self.url} is no Unity Catalog: {method} {path} gave no JSON. Correct "
                "`lake.unity_catalog.url`."
            ) from None
        return content


def table_description(lake: Lake, definition: TableDefinition, *, catalog: str, schema: str) -> dict[str, Any]:
    """A table as Unity Catalog is told of it.

    Args:
        lake: which has the table.
        definition: what its columns mean.
        catalog: the catalog's name.
        schema: the schema's name.
    """
    uri = lake.table_uri(definition.name)
    with lake.explaining(f"looking at {uri}"):
        table = DeltaTable(uri, storage_options=dict(lake.storage_options))
        fields: Sequence[Mapping[str, Any]] = json.loads(table.schema().to_json())["fields"]
        partitioned_by = table.metadata().partition_columns
    meanings = column_descriptions(definition.schema)
    columns = []
    for position, field in enumerate(fields):
        name, kind = str(field["name"]), field["type"]
        column: dict[str, Any] = {
            "name": name,
            "type_text": _type_text(kind),
            "type_json": json.dumps({**field, "metadata": {}}),
            "type_name": _type_name(kind),
            "position": position,
            "nullable": bool(field["nullable"]),
        }
        if name in meanings:
            column["comment"] = meanings[name]
        if name in partitioned_by:
            column["partition_index"] = partitioned_by.index(name)
        columns.append(column)
    return {
        "name": definition.name,
        "catalog_name": catalog,
        "schema_name": schema,
        "table_type": "EXTERNAL",
        "data_source_format": "DELTA",
        "storage_location": f"file://{uri}" if lake.is_local else uri,
        "comment": definition.description,
        "columns": columns,
    }


def _is_there(lake: Lake, definition: TableDefinition) -> bool:
    with lake.explaining(f"looking for {definition.name}"):
        return DeltaTable.is_deltatable(lake.table_uri(definition.name), dict(lake.storage_options))


def _is_same(known: Mapping[str, Any], wanted: Mapping[str, Any]) -> bool:
    def told(table: Mapping[str, Any]) -> tuple[object, ...]:
        columns = sorted(table.get("columns") or (), key=lambda column: int(column["position"]))
        facts = ("name", "type_text", "comment", "nullable", "partition_index")
        place = str(table.get("storage_location", "")).removeprefix("file://").rstrip("/")
        return table.get("comment"), place, [[column.get(fact) for fact in facts] for column in columns]

    return told(known) == told(wanted)


def _type_text(kind: Any) -> str:
    """A type of Delta's log in SQL."""
    if isinstance(kind, str):
        return _SQL_NAMES.get(kind, kind)
    if kind["type"] == "array":
        return f"array<{_type_text(kind['elementType'])}>"
    return f"map<{_type_text(kind['keyType'])},{_type_text(kind['valueType'])}>"


def _type_name(kind: Any) -> str:
    if not isinstance(kind, str):
        return str(kind["type"]).upper()
    return {"integer": "INT"}.get(kind, kind.upper())


def _reason(answer: requests.Response) -> str:
    try:
        return str(answer.json()["message"]).rstrip(".")
    except (ValueError, KeyError, TypeError):
        return answer.reason or "no reason given"
