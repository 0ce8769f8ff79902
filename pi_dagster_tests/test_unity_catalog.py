"""The lake's tables in Unity Catalog: what it is told of them, and that another reader finds them there by name.

Maven Central has no jar of the open-source server, so a server of ours stands in for it. It takes what Unity Catalog's
specification (`api/all.yaml`, 0.6) has and nothing else; Delta in Spark compares what was registered with the table.
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from deltalake import DeltaTable
from pydantic import ValidationError
from typer.testing import CliRunner, Result

from pi_dagster.cli import app
from pi_dagster.ingest.points import refresh_points
from pi_dagster.ingest.report import WindowReport
from pi_dagster.ingest.source import open_source
from pi_dagster.ingest.timeseries import load_partition
from pi_dagster.lake import Lake
from pi_dagster.lake.schemas import PI_TIMESERIES
from pi_dagster.lake.unity_catalog import CatalogError, Registration, UnityCatalog
from pi_dagster.site import LakeSettings, ServerSettings, Site, TagGroup, UnityCatalogSettings
from pi_dagster_tests.logged_in_plant import DAY, plant, server

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

TOKEN = "uc-token-of-the-test"


# What the specification has of `CreateTable`, `ColumnInfo` and `ColumnTypeName`.
OF_TABLE = {
    "name", "catalog_name", "schema_name", "table_type", "data_source_format", "columns", "storage_location", "comment",
    "properties", "view_definition", "view_dependencies",
}  # fmt: skip
OF_COLUMN = {
    "name", "type_text", "type_json", "type_name", "type_precision", "type_scale", "type_interval_type", "position",
    "comment", "nullable", "partition_index",
}  # fmt: skip
TYPE_NAMES = {
    "BOOLEAN", "BYTE", "SHORT", "INT", "LONG", "FLOAT", "DOUBLE", "DATE", "TIMESTAMP", "TIMESTAMP_NTZ", "STRING",
    "BINARY", "DECIMAL", "INTERVAL", "ARRAY", "STRUCT", "MAP", "CHAR", "NULL", "USER_DEFINED_TYPE", "TABLE_TYPE",
    "VARIANT",
}  # fmt: skip


class Catalog:
    """What the server holds: the schema `main.pi`, and the tables in it."""

    def __init__(self) -> None:
        self.url = ""
        self.tables: dict[str, dict[str, Any]] = {}
        self.calls: list[str] = []
        self.is_a_web_page = False

    def call(self, method: str, path: str, body: Any) -> tuple[int, dict[str, Any]]:
        self.calls.append(f"{method} {path}")
        if method == "POST" and path == "tables":
            return self._create(body)
        if path == "tables?catalog_name=main&schema_name=pi":
            return 200, {"tables": list(self.tables.values())}
        found = re.fullmatch(r"tables/([\w.]+)", path)
        if found is None or found[1] not in self.tables:
            return 404, {"error_code": "TABLE_NOT_FOUND", "message": f"Table not found: {path}"}
        return 200, self.tables.pop(found[1]) if method == "DELETE" else self.tables[found[1]]

    def _create(self, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        if (body["catalog_name"], body["schema_name"]) != ("main", "pi"):
            return 404, {"error_code": "SCHEMA_NOT_FOUND", "message": "Schema not found: " + body["schema_name"]}
        assert body.keys() <= OF_TABLE
        assert body.keys() >= {"name", "catalog_name", "schema_name", "table_type", "columns"}
        for column in body["columns"]:
            assert column.keys() <= OF_COLUMN
            assert column["type_name"] in TYPE_NAMES
            assert json.loads(column["type_json"])["name"] == column["name"]
        name = f"main.pi.{body['name']}"
        if name in self.tables:
            return 400, {"error_code": "TABLE_ALREADY_EXISTS", "message": f"Table already exists: {name}"}
        self.tables[name] = {
            **body,
            "properties": {},
            "table_id": "5f5f4b0e-0000-4000-8000-000000000001",
            "created_at": 1,
            "updated_at": 1,
        }
        return 200, self.tables[name]


@pytest.fixture
def catalog() -> Iterator[Catalog]:
    with served() as catalog:
        yield catalog


@contextmanager
def served() -> Iterator[Catalog]:
    catalog = Catalog()

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, format: str, *arguments: Any) -> None:
            """Nothing on standard error."""

        def _answer(self) -> None:
            content = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            status, body = 401, {"error_code": "UNAUTHENTICATED", "message": "No authorization found."}
            if self.headers.get("Authorization") == f"Bearer {TOKEN}":
                path = self.path.removeprefix("/api/2.1/unity-catalog/")
                status, body = catalog.call(self.command, path, json.loads(content) if content else None)
            # As the open-source server answers, whose DELETE gives no JSON.
            encoded = b"200 OK" if self.command == "DELETE" and status == 200 else json.dumps(body).encode()
            if catalog.is_a_web_page:
                status, encoded = 200, b"<html>Welcome</html>"
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(encoded)))
            self.end_headers()
            self.wfile.write(encoded)

        do_GET = do_POST = do_DELETE = _answer  # noqa: N815 - http.server's names

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    catalog.url = f"http://127.0.0.1:{http.server_address[1]}"
    threading.Thread(target=http.serve_forever, daemon=True).start()
    try:
        yield catalog
    finally:
        http.shutdown()
        http.server_close()


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    """What the local engine loads of a day of a hundred tags."""
    with plant() as running:
        load_locally(server(running, kind="anonymous"), tmp_path)
    return Lake(str(tmp_path / "lake"))


def load_locally(settings: ServerSettings, folder: Path) -> WindowReport:
    """A day of a plant in `folder / "lake"`."""
    site = Site(
        server=settings,
        lake=LakeSettings(uri=str(folder / "lake")),
        start_date=DAY.date(),
        tag_groups=(TagGroup(name="all", tag_filter="*"),),
    )
    lake = Lake(site.lake.uri)
    with open_source(site.server) as source:
        refresh_points(site, source, lake, run_id="points")
        return load_partition(site, source, lake, day=DAY.date(), tag_group="all", run_id="day")


def unity(catalog: Catalog, **changed: Any) -> UnityCatalog:
    return UnityCatalog(**{"url": catalog.url, "catalog": "main", "schema": "pi", "token": TOKEN, **changed})


def test_what_the_local_engine_wrote_is_registered_with_the_meaning_of_every_column(
    catalog: Catalog, lake: Lake
) -> None:
    done = unity(catalog).register(lake)
    assert done == {"main.pi.pi_points": Registration.NEW, "main.pi.pi_timeseries": Registration.NEW}
    _, listed = catalog.call("GET", "tables?catalog_name=main&schema_name=pi", None)
    table = next(table for table in listed["tables"] if table["name"] == "pi_timeseries")
    assert (table["table_type"], table["data_source_format"]) == ("EXTERNAL", "DELTA")
    assert table["storage_location"] == f"file://{lake.uri}/pi_timeseries"
    assert table["comment"] == PI_TIMESERIES.description
    columns = {column["name"]: column for column in table["columns"]}
    assert list(columns) == PI_TIMESERIES.schema.names
    assert all(column["comment"] for column in columns.values())
    types = {name: (column["type_name"], column["type_text"]) for name, column in columns.items()}
    assert types["timestamp"] == ("TIMESTAMP", "timestamp")
    assert types["event_ordinal"] == ("INT", "int")
    assert {name: column.get("partition_index") for name, column in columns.items() if "partition_index" in column} == {
        "partition_date": 0,
        "tag_group": 1,
    }


@pytest.mark.spark
def test_spark_reads_by_name_a_table_made_of_what_was_registered(
    catalog: Catalog, lake: Lake, spark: SparkSession
) -> None:
    unity(catalog).register(lake)
    for table in catalog.tables.values():
        spark.sql(f"CREATE TABLE {table['name']} USING delta LOCATION '{table['storage_location']}'")
        told = {column["name"]: column["type_text"] for column in table["columns"]}
        assert {field.name: field.dataType.simpleString() for field in spark.table(table["name"]).schema} == told
    try:
        [[count]] = spark.sql("SELECT count(*) FROM pi_timeseries JOIN pi_points USING (tag_webid)").collect()
    finally:
        for table in catalog.tables.values():
            spark.sql(f"DROP TABLE IF EXISTS {table['name']}")
    assert count == DeltaTable(lake.table_uri("pi_timeseries")).to_pyarrow_table().num_rows


def test_a_second_registration_changes_nothing_and_one_after_a_change_brings_it_up_to_date(
    catalog: Catalog, lake: Lake
) -> None:
    unity(catalog).register(lake)
    catalog.calls.clear()
    assert set(unity(catalog).register(lake).values()) == {Registration.SAME}
    assert not [call for call in catalog.calls if not call.startswith("GET ")]

    catalog.tables["main.pi.pi_points"]["columns"].pop()
    done = unity(catalog).register(lake)
    assert done["main.pi.pi_points"] is Registration.AGAIN
    assert done["main.pi.pi_timeseries"] is Registration.SAME
    assert len(catalog.tables["main.pi.pi_points"]["columns"]) == len(
        DeltaTable(lake.table_uri("pi_points")).schema().fields
    )


def test_a_table_that_is_not_the_lakes_is_left_alone(catalog: Catalog, lake: Lake) -> None:
    unity(catalog).register(lake)
    catalog.tables["main.pi.pi_points"] |= {"table_type": "MANAGED", "comment": "ours"}
    with pytest.raises(CatalogError, match="is a MANAGED of Unity Catalog's own"):
        unity(catalog).register(lake)
    assert catalog.tables["main.pi.pi_points"]["comment"] == "ours"


def test_a_missing_schema_a_refused_token_and_a_server_that_is_away_are_told(catalog: Catalog, lake: Lake) -> None:
    with pytest.raises(CatalogError, match=r"404: Schema not found: nowhere\. The catalog main and the schema nowhere"):
        unity(catalog, schema="nowhere").register(lake)
    with pytest.raises(CatalogError, match="status 401: No authorization found") as refused:
        unity(catalog, token="another-token").register(lake)
    assert "another-token" not in str(refused.value)
    with pytest.raises(CatalogError, match="does not answer"):
        unity(catalog, url="http://127.0.0.1:9").register(lake)
    catalog.is_a_web_page = True
    with pytest.raises(CatalogError, match=r"is no Unity Catalog.*Correct `lake\.unity_catalog\.url`"):
        unity(catalog).register(lake)
    assert "token" not in repr(unity(catalog))


def test_the_command_registers_the_tables_of_a_site(
    catalog: Catalog, lake: Lake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PI_TEST_TOKEN", TOKEN)
    settings = {"url": catalog.url, "token_env": "PI_TEST_TOKEN"}
    assert json.loads(register(tmp_path, lake.uri, settings).stdout) == {
        "main.pi.pi_points": "registered",
        "main.pi.pi_timeseries": "registered",
    }
    empty = register(tmp_path, str(tmp_path / "empty"), settings)
    assert empty.exit_code == 2
    assert "has no tables yet" in empty.stderr
    without = register(tmp_path, lake.uri, None)
    assert without.exit_code == 2
    assert "write `lake.unity_catalog`" in without.stderr


def register(folder: Path, lake: str, settings: dict[str, str] | None) -> Result:
    site = {
        "server": {"url": "https://pi.example.com/piwebapi"},
        "lake": {"uri": lake, "catalog_schema": "main.pi", "unity_catalog": settings},
        "start_date": "2026-01-01",
        "tag_groups": [{"name": "all", "tag_filter": "*"}],
    }
    file = folder / "defs.yaml"
    file.write_text(yaml.safe_dump({"type": "pi_dagster.components.PISystemComponent", "attributes": site}))
    return CliRunner().invoke(app, ["register", "--json", "--site", str(file)])


@pytest.mark.parametrize(
    ("setting", "wrong", "reason"),
    [
        ("url", "https://user:pw@uc.example.com", "must not hold a login"),
        ("url", "http://uc.example.com", "is not encrypted"),
        ("url", "https://uc.example.com/api", "is not the address of a server"),
        ("token_env", "dapi 123", "match pattern"),
    ],
)
def test_a_wrong_setting_is_refused(setting: str, wrong: str, reason: str) -> None:
    right = {"url": "https://uc.example.com"}
    with pytest.raises(ValidationError, match=reason):
        UnityCatalogSettings.model_validate({**right, setting: wrong})


def test_names_need_a_schema() -> None:
    with pytest.raises(ValidationError, match="needs `catalog_schema`"):
        LakeSettings(uri="/data/pi", unity_catalog=UnityCatalogSettings(url="https://uc.example.com"))
