"""`pi-dagster tags`: every tag of the server and the partition that it falls into."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import typer

from pi_dagster.cli.options import JsonOption, SiteOption, chosen_site
from pi_dagster.cli.telling import USERS_MISTAKE, complain, errors_told_plainly, print_facts, print_json
from pi_dagster.server_text import printable

if TYPE_CHECKING:
    from pi_dagster.tag_survey import TagSurvey


def tags(site: SiteOption = None, as_json: JsonOption = False) -> None:
    """List the server's tags with their partitions.

    `-` marks tags that fall in none, and will not be loaded.

    \b
    Examples:
      pi-dagster tags --site plant1/defs.yaml | less -S
      pi-dagster tags --json | jq .tags_by_partition
    """
    with errors_told_plainly():
        loaded = chosen_site(site)
        from pi_dagster.diagnosis import open_for_a_person
        from pi_dagster.ingest.asset_tags import AssetTags
        from pi_dagster.lake import Lake
        from pi_dagster.tag_survey import TagSurvey

        asset_tags = (
            AssetTags.read(Lake(loaded.lake.uri, loaded.lake.resolve_storage_options()))
            if loaded.has_groups_by_assets
            else None
        )
        with open_for_a_person(loaded.server) as source:
            survey = TagSurvey(loaded, source.list_points(), asset_tags)
    if as_json:
        print_json(_survey_as_json(survey))
    else:
        _print_survey(survey)
    problems = survey.problems()
    for problem in problems:
        complain(f"Error: {problem}")
    if problems:
        raise typer.Exit(USERS_MISTAKE)


def _print_survey(survey: TagSurvey) -> None:
    rows = [
        (tag.partition or "-", *(printable(text or "") for text in (
            tag.point.name, tag.point.point_type, tag.point.engineering_units, tag.point.descriptor)))
        for tag in survey.tags
    ]  # fmt: skip
    header = ("PARTITION", "TAG", "TYPE", "UNITS", "DESCRIPTION")
    widths = [max(len(row[column]) for row in [header, *rows]) for column in range(len(header))]
    for row in [header, *rows]:
        print("  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip())
    print()
    print_facts(
        {
            **{name: f"{count:,} tags" for name, count in survey.tags_by_partition.items()},
            "in no tag group": f"{survey.tags_in_no_group:,} tags",
        }
    )


def _survey_as_json(survey: TagSurvey) -> Mapping[str, Any]:
    return {
        "tags": [
            {
                "tag_name": tag.point.name,
                "tag_webid": tag.point.web_id,
                "partition": tag.partition,
                "point_type": tag.point.point_type,
                "engineering_units": tag.point.engineering_units,
                "descriptor": tag.point.descriptor,
            }
            for tag in survey.tags
        ],
        "tags_by_partition": survey.tags_by_partition,
        "tags_in_no_group": survey.tags_in_no_group,
        "problems": survey.problems(),
    }
