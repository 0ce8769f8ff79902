"""pi_points: the list of tags."""

from __future__ import annotations

from pi_dagster.lake.schemas import PI_POINTS
from pi_dagster.lake.snapshot import SnapshotTable


class PointsTable(SnapshotTable):
    """The Delta table pi_points."""

    definition = PI_POINTS
