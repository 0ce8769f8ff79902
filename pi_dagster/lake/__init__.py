"""The Delta tables: schemas, atomic replacement of windows, reading back.

    lake = Lake("/data/pi")
    table = TimeseriesTable.open(lake)
    table.replace_window(partition_date=day, tag_group="boilers", start=..., end=..., batches=..., commit_info={})

A window is replaced by its new rows in one Delta commit, so that a process killed at any moment leaves the old
rows or the new ones. Commits go through delta-rs, which must not be used in forked processes: use `spawn`.
"""

from pi_dagster.lake.errors import (
    CommitUncertainError,
    ForeignTableError,
    LakeAccessError,
    LakeError,
    LakeNotWritableError,
    RowsRefusedError,
    TableMissingError,
    WindowConflictError,
)
from pi_dagster.lake.event_frames import DayOfFrames, EventFramesTable
from pi_dagster.lake.location import Lake
from pi_dagster.lake.partition_window import PartitionWindow
from pi_dagster.lake.quality_findings import QualityFindingsTable
from pi_dagster.lake.replacement import NewRows, WindowCommit
from pi_dagster.lake.schemas import (
    ASSET_ATTRIBUTES_SCHEMA,
    ASSET_HIERARCHY_SCHEMA,
    PARTITION_COLUMNS,
    POINTS_SCHEMA,
    TIMESERIES_FILE_SCHEMA,
    TIMESERIES_SCHEMA,
    column_descriptions,
)
from pi_dagster.lake.snapshot import AssetAttributesTable, AssetHierarchyTable, PointsTable
from pi_dagster.lake.tag_errors import TagErrorsTable
from pi_dagster.lake.timeseries import TimeseriesTable
from pi_dagster.lake.timeseries_daily import TimeseriesDailyTable

__all__ = [
    "ASSET_ATTRIBUTES_SCHEMA",
    "ASSET_HIERARCHY_SCHEMA",
    "PARTITION_COLUMNS",
    "POINTS_SCHEMA",
    "TIMESERIES_FILE_SCHEMA",
    "TIMESERIES_SCHEMA",
    "AssetAttributesTable",
    "AssetHierarchyTable",
    "CommitUncertainError",
    "DayOfFrames",
    "EventFramesTable",
    "ForeignTableError",
    "Lake",
    "LakeAccessError",
    "LakeError",
    "LakeNotWritableError",
    "NewRows",
    "PartitionWindow",
    "PointsTable",
    "QualityFindingsTable",
    "RowsRefusedError",
    "TableMissingError",
    "TagErrorsTable",
    "TimeseriesDailyTable",
    "TimeseriesTable",
    "WindowCommit",
    "WindowConflictError",
    "column_descriptions",
]
