"""How Spark calls a table of the lake, by its path or by its name in a catalog, and how it makes one.

A name is one more way to a table that lies at its path in the lake all the same, so that delta-rs and Spark continue
one table. In Unity Catalog that is an external table.
"""

from __future__ import annotations

from dataclasses import dataclass

from delta import DeltaTable
from pyspark.sql import SparkSession

from pi_dagster.ingest.errors import IngestError
from pi_dagster.lake import Lake
from pi_dagster.lake.schemas import TableDefinition
from pi_dagster.site import LakeSettings
from pi_dagster.spark.columns import spark_schema


class NameTakenError(IngestError):
    """The name that the site gives a table belongs to another one."""


@dataclass(frozen=True)
class TableAddress:
    """Where a Delta table is, and the name that a catalog has for it; one of them may be missing.

    Args:
        path: a folder or URI.
        name: with its catalog and schema, such as `main.pi.pi_timeseries`.
    """

    path: str | None = None
    name: str | None = None

    @classmethod
    def of(cls, text: str) -> TableAddress:
        """What a user wrote: a path has a slash, a name has none."""
        return cls(path=text) if "/" in text else cls(name=text)

    @classmethod
    def in_lake(cls, settings: LakeSettings, table_name: str) -> TableAddress:
        """A table of a site's lake, with its name where the site names a schema."""
        schema = settings.catalog_schema
        return cls(Lake(settings.uri).table_uri(table_name), f"{schema}.{table_name}" if schema else None)

    @property
    def identifier(self) -> str:
        """What SQL calls the table."""
        if self.name is None:
            return f"delta.`{self.path}`"
        return ".".join(f"`{part}`" for part in self.name.split("."))


def ensure_table(spark: SparkSession, table: TableAddress, definition: TableDefinition) -> None:
    """Make an empty table with the columns, comments and properties of `definition` unless there is one.

    A table that is at the path already gets the name.

    Args:
        spark: the session.
        table: where.
        definition: what the table is like.

    Raises:
        NameTakenError: the name belongs to a table at another path.
    """
    is_there = table.path is not None and DeltaTable.isDeltaTable(spark, table.path)
    if table.name is not None and spark.catalog.tableExists(table.identifier):
        if table.path is not None:
            _check_is_at(spark, table)
        return
    if is_there and table.name is None:
        return
    text = f"CREATE TABLE IF NOT EXISTS {table.identifier}"
    if is_there:
        # The columns and all else are in the table's own log.
        spark.sql(f"{text} USING delta LOCATION {sql_text(str(table.path))}")
        return
    columns = ", ".join(
        f"`{field.name}` {field.dataType.simpleString()} COMMENT {sql_text(field.metadata['comment'])}"
        for field in spark_schema(definition.schema)
    )
    text += f" ({columns}) USING delta"
    if definition.partition_columns:
        text += f" PARTITIONED BY ({', '.join(definition.partition_columns)})"
    if table.name is not None and table.path is not None:
        text += f" LOCATION {sql_text(table.path)}"
    text += f" COMMENT {sql_text(definition.description)}"
    if definition.properties:
        properties = (f"{sql_text(name)} = {sql_text(value)}" for name, value in definition.properties.items())
        text += f" TBLPROPERTIES ({', '.join(properties)})"
    spark.sql(text)


def sql_text(text: str) -> str:
    """A text as SQL writes it."""
    escaped = text.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"


def _check_is_at(spark: SparkSession, table: TableAddress) -> None:
    # Not `DeltaTable.forName`, which forgets the catalog in a name.
    [detail] = spark.sql(f"DESCRIBE DETAIL {table.identifier}").select("location").collect()
    if _comparable(detail.location) != _comparable(str(table.path)):
        raise NameTakenError(
            f"The name {table.name} belongs to a table at {detail.location}, not to the one at {table.path}. "
            "Nothing was written. Correct `lake.catalog_schema` or `lake.uri`, or drop that name."
        )


def _comparable(location: str) -> str:
    """A path as others write it too: `file:/a` is `/a`, and S3 has several names among Hadoop's file systems."""
    scheme, _, rest = location.rpartition(":/")
    return f"{scheme.replace('s3a', 's3').removeprefix('file')}/{rest.strip('/')}"
