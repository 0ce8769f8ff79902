"""pi_asset_hierarchy and pi_asset_attributes: the elements of PI Asset Framework and their attributes."""

from __future__ import annotations

from pi_dagster.lake.schemas import PI_ASSET_ATTRIBUTES, PI_ASSET_HIERARCHY
from pi_dagster.lake.snapshot import SnapshotTable


class AssetHierarchyTable(SnapshotTable):
    """The Delta table pi_asset_hierarchy."""

    definition = PI_ASSET_HIERARCHY


class AssetAttributesTable(SnapshotTable):
    """The Delta table pi_asset_attributes."""

    definition = PI_ASSET_ATTRIBUTES
