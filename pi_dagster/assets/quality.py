"""pi_quality_findings: what the rules of the site found, one partition for each day and tag group, a check a rule."""

# Without `from __future__ import annotations`: Dagster wants the annotation of `context` as a class.

from collections.abc import Collection, Iterator, Sequence
from datetime import date

import dagster as dg
import pyarrow as pa
import pyarrow.compute as pc

from pi_dagster.assets.failures import errors_told_plainly
from pi_dagster.assets.materializations import materialized
from pi_dagster.assets.metadata import judged_metadata, table_metadata
from pi_dagster.assets.metadata_tables import findings_table
from pi_dagster.automation.partitions import (
    build_timeseries_partitions,
    run_keys,
    split_partition_key,
)
from pi_dagster.automation.reconcile import last_loads
from pi_dagster.ingest.load_plans import Partition
from pi_dagster.lake import Lake, QualityFindingsTable
from pi_dagster.lake.schemas import PI_QUALITY_FINDINGS
from pi_dagster.quality.partition import judge_partition
from pi_dagster.quality.rule_tags import RuleTags
from pi_dagster.quality_rules import AnyRule
from pi_dagster.resources import SiteResources
from pi_dagster.site import Site

_MOST_NAMED = 5
_COLUMNS = ["rule", "tag_name", "finding_start", "finding_end", "event_count", "worst_value", "worst_text"]

DESCRIPTION = """
What the `quality_rules` of the site found in `pi_timeseries`: **one row for each stretch of events of a tag that breaks
a rule**, such as an hour at 140 % or six hours without an event.

- A partition is one day (UTC) of one tag group. Judging it again replaces what was found before.
- Each rule is a check of this asset. It fails while the newest day that was judged has findings; the check's table
  names the tags, and `SELECT` on this table the rest.
- The schedule judges yesterday, once the day has settled. Judge older days by hand, or with a backfill.
"""


def build_pi_quality_findings(
    site: Site, resources: SiteResources, *, timeseries: dg.AssetsDefinition, upstream: Sequence[dg.AssetKey]
) -> dg.AssetsDefinition:
    """The asset pi_quality_findings of a site that has rules.

    Args:
        site: the settings.
        resources: the names of the resources.
        timeseries: what is judged.
        upstream: what else the rules go by.
    """
    partitions = build_timeseries_partitions(site)
    key = dg.AssetKey([*site.asset_key_prefix, PI_QUALITY_FINDINGS.name])

    @dg.asset(
        key=key,
        deps=[timeseries.key, *upstream],
        partitions_def=partitions,
        backfill_policy=dg.BackfillPolicy.multi_run(site.max_partitions_per_run),
        output_required=False,
        group_name="pi",
        kinds={"python", "deltalake"},
        description=DESCRIPTION,
        metadata=table_metadata(PI_QUALITY_FINDINGS, site.lake),
        check_specs=[
            dg.AssetCheckSpec(rule.name, asset=key, description=_what_it_says(rule), metadata={"kind": rule.kind})
            for rule in site.quality_rules
        ],
        required_resource_keys=resources.keys,
    )
    def pi_quality_findings(
        context: dg.AssetExecutionContext,
    ) -> Iterator[dg.MaterializeResult[None] | dg.AssetCheckResult]:
        judged: set[Partition] = set()
        keys = [str(key) for key in run_keys(context, partitions)]
        with errors_told_plainly():
            lake = resources.lake(context).open()
            tags = RuleTags(site, lake)
            loads = last_loads(context.instance, timeseries.key, map(split_partition_key, keys))
            settled = {partition for partition, load in loads.items() if load.is_settled}
            for key_text in keys:
                day, tag_group = split_partition_key(key_text)
                is_loaded = (day, tag_group) in settled
                outcome = judge_partition(
                    site, lake, tags, day, tag_group, is_loaded=is_loaded, run_id=context.run.run_id
                )
                if outcome is None:
                    context.log.warning(
                        f"{key_text}: pi_timeseries has no rows of it and was not loaded with it since it settled, so "
                        "there is nothing to judge"
                    )
                    continue
                judged.add((day, tag_group))
                found = f"{outcome.findings.num_rows:,} findings in {outcome.rows:,} rows in {outcome.seconds:.1f} s"
                yield from materialized(
                    context, key_text, f"{key_text}: {found}", judged_metadata(outcome, site.quality_rules)
                )
            if not judged:
                raise dg.Failure(
                    f"There is nothing to judge: pi_timeseries has no rows of {', '.join(keys[:_MOST_NAMED])}"
                    f"{' ...' if len(keys) > _MOST_NAMED else ''} and was not loaded with them since they settled. "
                    "Load those partitions first."
                )
            # A clean day leaves no row in the table, so Dagster's record tells what was judged.
            recorded = context.instance.get_materialized_partitions(key)
            judged = {*judged, *map(split_partition_key, recorded)}
            newest = max(day for day, _ in judged)
            yield from _checks(site, lake, newest, {tag_group for day, tag_group in judged if day == newest})

    return pi_quality_findings


def _checks(site: Site, lake: Lake, newest: date, judged_groups: Collection[str]) -> Iterator[dg.AssetCheckResult]:
    """A result for each rule, about the newest day that was judged, in the tag groups of it that were."""
    findings = QualityFindingsTable.open(lake).to_arrow(_COLUMNS, partition_date=newest)
    findings = findings.sort_by([("tag_name", "ascending"), ("finding_start", "ascending")])
    for rule in site.quality_rules:
        of_rule = findings.filter(pc.equal(findings["rule"], rule.name))
        yield dg.AssetCheckResult(
            check_name=rule.name,
            passed=not of_rule.num_rows,
            severity=dg.AssetCheckSeverity.ERROR if rule.severity == "error" else dg.AssetCheckSeverity.WARN,
            description=f"{_in_words(of_rule, newest)}; {_how_many_groups(site, rule, judged_groups)} judged.",
            metadata={
                "pi/day": dg.MetadataValue.text(newest.isoformat()),
                "pi/findings": dg.MetadataValue.int(of_rule.num_rows),
                "pi/tags_with_findings": dg.MetadataValue.int(pc.count_distinct(of_rule["tag_name"]).as_py()),
                "pi/offenders": findings_table(of_rule),
            },
        )


def _in_words(findings: pa.Table, day: date) -> str:
    if not findings.num_rows:
        return f"No finding on {day}"
    tags = pc.unique(findings["tag_name"])
    more = f" and {len(tags) - 1} more" if len(tags) > 1 else ""
    return f"{findings.num_rows} findings on {day}: {tags[0]}{more}"


def _how_many_groups(site: Site, rule: AnyRule, judged: Collection[str]) -> str:
    """Of the tag groups that a rule is about, those that were judged."""
    named = rule.tag_groups
    of_rule = [
        name for group in site.tag_groups if named is None or group.name in named for name in group.partition_names()
    ]
    were_judged = sum(name in judged for name in of_rule)
    return f"{were_judged} of {len(of_rule)} tag group{'' if len(of_rule) == 1 else 's'}"


def _what_it_says(rule: AnyRule) -> str:
    settings = rule.model_dump(exclude={"name", "severity", "kind"}, exclude_none=True)
    said = "; ".join(
        f"{name} {', '.join(value) if isinstance(value, tuple) else value}" for name, value in settings.items()
    )
    summary = " ".join((type(rule).__doc__ or "").split("\n\n")[0].split())
    return f"{summary} Here: {said or 'all tags'}."
