"""What a run of checks looks at: the tables, Dagster's record, the server's clock; read when it is first asked for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import date, datetime, timedelta, timezone
from functools import cached_property

import dagster as dg
import pyarrow as pa

from pi_dagster.assets.watermarks import last_watermarks
from pi_dagster.checks.clocks import ClockReading
from pi_dagster.lake import Lake, PointsTable, TimeseriesTable
from pi_dagster.lake.schemas import PI_TIMESERIES
from pi_dagster.lake.tag_days import tag_days
from pi_dagster.piwebapi import PIWebAPISource
from pi_dagster.site import Site


class Look:
    """One run's look at a site.

    Args:
        site: the settings.
        instance: Dagster's record.
        open_lake: opens the lake.
        open_server: opens a connection to the PI server.
    """

    def __init__(
        self,
        site: Site,
        instance: dg.DagsterInstance,
        open_lake: Callable[[], Lake],
        open_server: Callable[[], PIWebAPISource],
    ) -> None:
        self.site = site
        self.instance = instance
        self.now = datetime.now(timezone.utc)
        self._open_lake = open_lake
        self._open_server = open_server

    @property
    def days(self) -> tuple[date, date]:
        """Today and yesterday."""
        return self.now.date(), self.now.date() - timedelta(days=1)

    @cached_property
    def lake(self) -> Lake:
        """Where the tables are."""
        return self._open_lake()

    @cached_property
    def timeseries(self) -> TimeseriesTable:
        """The table pi_timeseries; a site that is not loaded yet is told to begin with the list of tags."""
        PointsTable.open(self.lake, create=False)
        return TimeseriesTable.open(self.lake, create=False)

    @cached_property
    def tag_days(self) -> pa.Table:
        """The tags of today and yesterday, as TAG_DAYS_SCHEMA; the one thing here that takes seconds."""
        return tag_days(self.timeseries, self.days)

    @cached_property
    def tag_names(self) -> Mapping[str, str]:
        """By WebID."""
        tags = PointsTable.open(self.lake, create=False).to_arrow(["tag_webid", "tag_name"])
        return dict(zip(tags["tag_webid"].to_pylist(), tags["tag_name"].to_pylist(), strict=True))

    @cached_property
    def reached(self) -> Mapping[str, datetime | None]:
        """Up to which instant today, or else yesterday, is loaded in each tag group; None where neither is.

        A watermark of a version that the table does not have any more, as after it was put back, tells nothing.
        """
        key = dg.AssetKey([*self.site.asset_key_prefix, PI_TIMESERIES.name])
        version = self.timeseries.version
        groups = self.site.partition_names()
        marks = last_watermarks(self.instance, key, [(day, group) for day in self.days for group in groups])
        found: dict[str, datetime | None] = {}
        for group in groups:
            of_group = [marks[day, group] for day in self.days if (day, group) in marks]
            found[group] = next((mark.instant for mark in of_group if mark.table_version <= version), None)
        return found

    def clocks(self) -> ClockReading:
        """The server's clock beside our own."""
        with self._open_server() as source:
            return ClockReading.take(source.server_time)
