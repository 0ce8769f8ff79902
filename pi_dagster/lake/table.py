"""One Delta table of the lake: created once with its columns' comments, refused when it is not ours, and read."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from functools import reduce
from operator import and_
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import pyarrow as pa
import pyarrow.compute as pc
from deltalake import CommitProperties, DeltaTable
from deltalake import Schema as DeltaSchema
from deltalake.exceptions import TableNotFoundError

from pi_dagster.lake.errors import ForeignTableError, TableMissingError
from pi_dagster.lake.location import STORAGE_ERRORS, Lake
from pi_dagster.lake.schemas import TableDefinition

READABLE_FEATURES = frozenset({"timestampNtz", "v2Checkpoint", "vacuumProtocolCheck"})
"""Delta reader features under which a live file's rows are exactly the table's rows. With the others (deletion
vectors, column mapping ...) they are not, and copying kept rows from a file would bring deleted rows back."""

AnyTable = TypeVar("AnyTable", bound="LakeTable")


class LakeTable:
    """A table of the lake, opened and found to be ours; subclasses say which table and how it is written."""

    definition: ClassVar[TableDefinition]

    def __init__(self, lake: Lake) -> None:
        self.lake = lake

    @classmethod
    def open(cls: type[AnyTable], lake: Lake, create: bool = True) -> AnyTable:
        """Open the table.

        Args:
            lake: where it is.
            create: make an empty table when there is none.

        Raises:
            LakeNotWritableError: the table had to be created and the lake cannot be written.
            TableMissingError: there is none and `create` is false.
            ForeignTableError: there is one with other columns, partitioning or Delta features.
            LakeAccessError: the storage failed.
        """
        table = cls(lake)
        try:
            table.snapshot()
        except TableMissingError:
            if not create:
                raise
            table._create()
            table.snapshot()
        return table

    @property
    def uri(self) -> str:
        """Where the table is, for any Delta reader."""
        return self.lake.table_uri(self.definition.name)

    @property
    def version(self) -> int:
        """The table's newest version."""
        return int(self.snapshot().version())

    def snapshot(self) -> DeltaTable:
        """The table's newest version, loaded now and checked to be ours.

        Raises:
            TableMissingError: there is no table.
            ForeignTableError: it is not ours.
            LakeAccessError: the storage failed.
        """
        table = self._load()
        self._check_is_ours(table)
        return table

    @classmethod
    def differences(cls, lake: Lake) -> list[str]:
        """What makes the table in the lake another one than it should be, in words; nothing where it is ours.

        Raises:
            TableMissingError: there is no table.
            LakeAccessError: the storage failed.
        """
        table = cls(lake)
        return table._differences(table._load())

    def _load(self) -> DeltaTable:
        missing = TableMissingError(
            f"There is no Delta table {self.definition.name} at {self.uri} yet; materialize it first."
        )
        if self.lake.is_local and not (Path(self.uri) / "_delta_log").is_dir():
            raise missing
        with self.lake.explaining(f"opening the Delta table {self.uri}"):
            try:
                return DeltaTable(self.uri, storage_options=dict(self.lake.storage_options))
            except TableNotFoundError:
                raise missing from None

    def to_arrow(
        self,
        columns: Sequence[str] | None = None,
        *,
        partition_date: date | None = None,
        tag_group: str | None = None,
        where: pc.Expression | None = None,
        snapshot: DeltaTable | None = None,
    ) -> pa.Table:
        """Rows of the newest version, for checks and samples; the whole answer is held in memory.

        Args:
            columns: which columns; default all.
            partition_date: only this day.
            tag_group: only this partition's tags.
            where: a further condition on columns.
            snapshot: the version to read, where it is not to be the newest.

        Raises:
            LakeAccessError: the storage failed.
        """
        table = snapshot or self.snapshot()
        with self.lake.explaining(f"reading the Delta table {self.uri}"):
            rows = table.to_pyarrow_dataset(schema=self.definition.schema)
            # Without threads: pyarrow's scan threads call into delta-rs, and a process that ends while they
            # do aborts (delta-io/delta-rs#2184).
            return rows.to_table(
                columns=None if columns is None else list(columns),
                filter=_condition(partition_date, tag_group, where),
                use_threads=False,
            )

    def count(self, *, partition_date: date | None = None, tag_group: str | None = None) -> int:
        """How many rows the newest version holds, or one day or partition of it."""
        return int(self.to_arrow([], partition_date=partition_date, tag_group=tag_group).num_rows)

    def _create(self) -> None:
        self.lake.check_writable()
        with self.lake.explaining(f"creating the Delta table {self.uri}"):
            try:
                DeltaTable.create(
                    self.uri,
                    DeltaSchema.from_arrow(self.definition.schema),
                    name=self.definition.name,
                    description=self.definition.description,
                    partition_by=list(self.definition.partition_columns),
                    configuration=dict(self.definition.properties),
                    storage_options=dict(self.lake.storage_options),
                    # With retries, delta-rs commits a second creation on top of one that came first.
                    commit_properties=CommitProperties(max_commit_retries=0),
                )
            except STORAGE_ERRORS:
                if not DeltaTable.is_deltatable(self.uri, dict(self.lake.storage_options)):
                    raise

    def _differences(self, table: DeltaTable) -> list[str]:
        return [*self._column_differences(table), *self._layout_differences(table)]

    def _check_is_ours(self, table: DeltaTable) -> None:
        if differences := self._differences(table):
            raise ForeignTableError(
                f"The Delta table {self.uri} is not a {self.definition.name} table of pi_dagster: "
                f"{'; '.join(differences)}. Nothing was written. If an earlier version made it, add the columns, as "
                'the page "Upgrade" of the documentation says; if another program did, point `lake.uri` elsewhere.'
            )

    def _column_differences(self, table: DeltaTable) -> list[str]:
        expected = {field.name: field.type for field in DeltaSchema.from_arrow(self.definition.schema).fields}
        found = {field.name: field.type for field in table.schema().fields}
        return [
            *(f"it lacks the column {name}" for name in expected if name not in found),
            *(f"it has the unknown column {name}" for name in found if name not in expected),
            *(
                f"its column {name} has the type {_type_name(found[name])} instead of {_type_name(kind)}"
                for name, kind in expected.items()
                if name in found and found[name] != kind
            ),
        ]

    def _layout_differences(self, table: DeltaTable) -> list[str]:
        differences = []
        partitioning = tuple(table.metadata().partition_columns)
        if partitioning != self.definition.partition_columns:
            differences.append(
                f"it is partitioned by ({', '.join(partitioning)}) "
                f"instead of ({', '.join(self.definition.partition_columns)})"
            )
        protocol = table.protocol()
        unknown = sorted(set(protocol.reader_features or ()) - READABLE_FEATURES)
        if unknown or protocol.min_reader_version == 2:
            differences.append(f"it uses the Delta features {', '.join(unknown) or 'columnMapping'}")
        return differences


def _condition(partition_date: date | None, tag_group: str | None, where: pc.Expression | None) -> pc.Expression | None:
    wanted = {"partition_date": partition_date, "tag_group": tag_group}
    conditions = [pc.field(name) == value for name, value in wanted.items() if value is not None]
    if where is not None:
        conditions.append(where)
    return reduce(and_, conditions) if conditions else None


def _type_name(delta_type: Any) -> str:
    return str(getattr(delta_type, "type", delta_type))
