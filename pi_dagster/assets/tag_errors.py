"""pi_tag_errors: the tags that could not be read, as a table that the loads of pi_timeseries keep, and a check of it.

The check is about the whole table, not about the run: a partition that was loaded without a tag stays told until it is
read whole, however many other partitions are loaded well meanwhile.
"""

from __future__ import annotations

from datetime import datetime, timezone

import dagster as dg

from pi_dagster.assets.metadata import table_metadata
from pi_dagster.assets.metadata_tables import tag_errors_table
from pi_dagster.ingest.report import WindowReport
from pi_dagster.ingest.tag_errors import Loaded, OpenErrors, record_tag_errors
from pi_dagster.lake import Lake
from pi_dagster.lake.errors import LakeError
from pi_dagster.lake.schemas import PI_TAG_ERRORS
from pi_dagster.site import Site

EVERY_TAG_READ = "every_tag_read"

DESCRIPTION = """
Tags that could not be read: **one row for each tag and day that lacks something**, since when, and what the server
said.

- Each load of `pi_timeseries` brings it up to date; a row goes when what it tells of was read. No rows are good news.
- `kind` tells what to do. `refused`: give the login the right to read the tag. `broken`: the server cannot send it;
  look there. `gone`: the server has no such tag any more, or hides it.
- A tag that is `gone` has one row without a day. It holds nothing up, is not asked for until `pi_points` lists it
  again, and its rows in `pi_timeseries` stay.
"""


def build_pi_tag_errors(site: Site, *, timeseries: dg.AssetsDefinition) -> dg.AssetSpec:
    """The table in the graph; nobody materializes it but the loads of pi_timeseries."""
    return dg.AssetSpec(
        key=[*site.asset_key_prefix, PI_TAG_ERRORS.name],
        deps=[timeseries],
        group_name="pi",
        kinds={"deltalake"},
        description=DESCRIPTION,
        metadata=table_metadata(PI_TAG_ERRORS, site.lake),
    )


def every_tag_read(site: Site) -> dg.AssetCheckSpec:
    """The check of pi_timeseries that fails while a day lacks something of a tag."""
    return dg.AssetCheckSpec(
        EVERY_TAG_READ,
        asset=[*site.asset_key_prefix, "pi_timeseries"],
        description=(
            "No loaded day lacks anything of a tag: `pi_tag_errors` has no row but for tags that are gone. Where the "
            "site says `on_tag_error: keep` the other tags of such a day are loaded, else the day as it was stays."
        ),
    )


class TagErrorsOfRun:
    """Tells pi_tag_errors, and Dagster, what became of the tags of a run.

    What goes wrong with that table is told and fails no load: the loads' own metadata has it too.

    Args:
        site: the settings.
        context: of the run.
        lake: where the table is.
    """

    def __init__(self, site: Site, context: dg.AssetExecutionContext, lake: Lake) -> None:
        self._site = site
        self._context = context
        self._lake = lake
        self._untold: list[Loaded] = []
        self._version: int | None = None
        self._trouble: LakeError | None = None

    def add(self, load: Loaded, *, tell_at_once: bool) -> None:
        """Take what became of a partition, to be told by `record`.

        Args:
            load: the partition and what came of it.
            tell_at_once: do not keep an error to oneself. What went well can wait for the end of the run: looking
                whether there is anything to tell of it costs as much as Dagster does for a partition.
        """
        self._untold.append(load)
        _, outcome = load
        if tell_at_once and (not isinstance(outcome, WindowReport) or outcome.failed_tags or outcome.gone_tags):
            self.record()

    def record(self) -> None:
        """Bring the table up to date; at most one commit. What cannot be told now is told by the next call."""
        try:
            version = record_tag_errors(
                self._lake,
                self._untold,
                now=datetime.now(timezone.utc),
                commit_info={"site": self._site.name, "run_id": self._context.run.run_id},
            )
        except LakeError as error:
            self._trouble = error
            self._context.log.warning(
                f"{PI_TAG_ERRORS.name} does not tell what became of the last tags, as it cannot be written: {error}"
            )
        else:
            self._untold, self._trouble = [], None
            self._version = version if version is not None else self._version

    def check_result(self) -> dg.AssetCheckResult:
        """The check of the whole table; where the run has changed it, that is told too."""
        errors = OpenErrors.read(self._lake)
        lacking, gone = errors.of_groups(self._site.partition_names())
        if self._version is not None:
            self._context.log_event(
                dg.AssetMaterialization(
                    [*self._site.asset_key_prefix, PI_TAG_ERRORS.name],
                    metadata={
                        "dagster/row_count": errors.rows.num_rows,
                        "pi/unread_tags_and_days": lacking.num_rows,
                        "pi/gone_tags": gone.num_rows,
                        "lake/table_version": self._version,
                    },
                )
            )
        trouble = self._trouble or errors.trouble
        return dg.AssetCheckResult(
            check_name=EVERY_TAG_READ,
            passed=not lacking.num_rows and trouble is None,
            description=None if trouble is None else f"{PI_TAG_ERRORS.name} may be out of date: {trouble}",
            metadata={
                "pi/unread_tags_and_days": lacking.num_rows,
                "pi/unread_tags": tag_errors_table(lacking),
                "pi/gone_tags": tag_errors_table(gone),
            },
        )
