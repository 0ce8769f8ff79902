"""pi_timeseries_daily: each tag's day in numbers, one partition a day, so that Dagster's plots have one line each."""

# Without `from __future__ import annotations`: Dagster wants the annotation of `context` as a class.

from collections.abc import Iterator
from datetime import date

import dagster as dg

from pi_dagster.assets.failures import errors_told_plainly
from pi_dagster.assets.materializations import materialized
from pi_dagster.assets.metadata import daily_metadata, table_metadata
from pi_dagster.automation.partitions import build_day_partitions, run_keys
from pi_dagster.lake.schemas import PI_TIMESERIES_DAILY
from pi_dagster.pictures.daily_numbers import compute_day
from pi_dagster.resources import SiteResources
from pi_dagster.site import Site

_MOST_NAMED = 5

DESCRIPTION = """
`pi_timeseries` in numbers, **one row a tag and day**: events, how many are good, bad and system states, and of the good
numbers the smallest, largest, mean, mean over time, first and last.

- A partition is one day (UTC) of all tag groups. Its numbers in *Plots* are those of the whole plant.
- The schedule computes each closed day again whose rows have changed since, by whomever they were loaded. Today is
  computed when you materialize it by hand.
- It reads the table and asks nothing of the PI server.
"""


def build_pi_timeseries_daily(
    site: Site, resources: SiteResources, *, timeseries: dg.AssetsDefinition
) -> dg.AssetsDefinition:
    """The asset pi_timeseries_daily of a site.

    Args:
        site: the settings.
        resources: the names of the resources.
        timeseries: what the numbers are of.
    """
    partitions = build_day_partitions(site)
    key = dg.AssetKey([*site.asset_key_prefix, PI_TIMESERIES_DAILY.name])

    @dg.asset(
        key=key,
        deps=[timeseries.key],
        partitions_def=partitions,
        backfill_policy=dg.BackfillPolicy.multi_run(site.max_partitions_per_run),
        output_required=False,
        group_name="pi",
        kinds={"python", "deltalake"},
        description=DESCRIPTION,
        metadata=table_metadata(PI_TIMESERIES_DAILY, site.lake),
        required_resource_keys={resources.lake_key},
    )
    def pi_timeseries_daily(context: dg.AssetExecutionContext) -> Iterator[dg.MaterializeResult[None]]:
        keys = run_keys(context, partitions)
        computed = 0
        with errors_told_plainly():
            lake = resources.lake(context).open()
            for day in keys:
                numbers = compute_day(site, lake, date.fromisoformat(day), run_id=context.run.run_id)
                if numbers is None:
                    context.log.warning(f"{day}: pi_timeseries has no rows of it, so there is nothing to compute")
                    continue
                computed += 1
                told = f"{day}: {numbers.rows.num_rows:,} tags with events, in {numbers.seconds:.1f} s"
                yield from materialized(context, day, told, daily_metadata(numbers))
        if not computed:
            raise dg.Failure(
                f"There is nothing to compute: pi_timeseries has no rows of {', '.join(keys[:_MOST_NAMED])}"
                f"{' ...' if len(keys) > _MOST_NAMED else ''}. Load those days first."
            )

    return pi_timeseries_daily
