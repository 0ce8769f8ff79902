"""What the assets tell Dagster: reports of ingest as typed metadata that the UI shows, links and plots.

Keys that begin with `dagster/` have a meaning to Dagster; `pi/` is about the plant's data, `load/` about the work,
`lake/` about the Delta table. Every number becomes a line in the Plots tab.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from datetime import timedelta

import dagster as dg
import pyarrow as pa

from pi_dagster.assets.metadata_tables import (
    MOST_NAMED,
    failed_tags_table,
    table_of_counts,
    table_of_records,
    table_of_rows,
)
from pi_dagster.automation.frame_days import (
    FAILED_FRAMES,
    FRAMES,
    FRAMES_DIGEST,
    FRAMES_FILES,
    OPEN_FRAMES_DIGEST,
)
from pi_dagster.automation.partitions import (
    COMPLETE,
    FAILED_TAGS,
    READ_TO_SETTLE,
    SETTLED,
    TABLE_VERSION,
    TAGS_DIGEST,
    UNREAD_SINCE,
    WATERMARK,
)
from pi_dagster.ingest.report import (
    AssetsReport,
    FramesReport,
    PointsReport,
    Traffic,
    WindowReport,
)
from pi_dagster.ingest.window import Window
from pi_dagster.lake.location import Lake
from pi_dagster.lake.schemas import TableDefinition, column_descriptions
from pi_dagster.pictures.daily_numbers import DailyNumbers
from pi_dagster.pictures.sparkline import sparkline_markdown
from pi_dagster.quality.partition import JudgedPartition
from pi_dagster.quality_rules import AnyRule
from pi_dagster.server_text import as_code_block
from pi_dagster.site import LakeSettings

Metadata = dict[str, dg.MetadataValue]


def table_metadata(table: TableDefinition, lake: LakeSettings) -> Metadata:
    """What is known of a Delta table before anything is loaded: where it is and what its columns mean."""
    descriptions = column_descriptions(table.schema)
    columns = [
        dg.TableColumn(name=field.name, type=_delta_type(field.type), description=descriptions[field.name])
        for field in table.schema
    ]
    return {
        "dagster/uri": dg.MetadataValue.text(Lake(lake.uri).table_uri(table.name)),
        "dagster/table_name": dg.MetadataValue.text(table.name),
        "dagster/column_schema": dg.MetadataValue.table_schema(dg.TableSchema(columns)),
    }


def _delta_type(arrow_type: pa.DataType) -> str:
    if pa.types.is_timestamp(arrow_type):
        return "timestamp"
    if pa.types.is_map(arrow_type):
        return f"map<{_delta_type(arrow_type.key_type)},{_delta_type(arrow_type.item_type)}>"
    if pa.types.is_list(arrow_type):
        return f"array<{_delta_type(arrow_type.value_type)}>"
    return {"bool": "boolean", "int32": "integer", "int64": "long", "date32[day]": "date"}.get(
        str(arrow_type), str(arrow_type)
    )


def window_metadata(report: WindowReport, *, is_tail: bool = False) -> Metadata:
    """The metadata of one partition of pi_timeseries.

    Args:
        report: what was loaded of it.
        is_tail: without tables, as a tail tells every few minutes, and all of it is kept for ever.
    """
    metadata: Metadata = {
        WATERMARK: dg.MetadataValue.timestamp(report.watermark),
        COMPLETE: dg.MetadataValue.bool(report.complete),
        SETTLED: dg.MetadataValue.bool(report.settled),
        "pi/tags": dg.MetadataValue.int(report.tags),
        TAGS_DIGEST: dg.MetadataValue.text(report.tags_digest),
        "pi/tags_with_events": dg.MetadataValue.int(report.tags_with_events),
        FAILED_TAGS: dg.MetadataValue.int(len(report.failed_tags)),
        "load/rows": dg.MetadataValue.int(report.rows),
        "load/seconds": dg.MetadataValue.float(round(report.seconds, 3)),
        "load/events_per_second": dg.MetadataValue.float(round(report.events_per_second, 1)),
        **_traffic(report.traffic),
        TABLE_VERSION: dg.MetadataValue.int(report.table_version),
        "lake/files": dg.MetadataValue.int(report.files),
        "lake/file_bytes": dg.MetadataValue.int(report.file_bytes),
        "lake/live_files": dg.MetadataValue.int(report.live_files),
    }
    if report.job_page is not None:
        metadata["load/job"] = dg.MetadataValue.url(report.job_page)
    if report.partition_rows is not None:
        metadata["dagster/partition_row_count"] = dg.MetadataValue.int(report.partition_rows)
    if not report.complete:
        metadata["pi/lag_seconds"] = dg.MetadataValue.float(round(report.lag_seconds, 1))
    if report.last_event is not None:
        metadata["pi/last_event"] = dg.MetadataValue.timestamp(report.last_event)
    if report.unread_since is not None:
        metadata[UNREAD_SINCE] = dg.MetadataValue.timestamp(report.unread_since)
    if report.read_to_settle:
        metadata[READ_TO_SETTLE] = dg.MetadataValue.bool(True)
    if report.failed_tags:
        metadata["pi/failed_tags_and_reasons"] = failed_tags_table(report.failed_tags)
    if report.gone_tags:
        metadata["pi/gone_tags_and_reasons"] = failed_tags_table(report.gone_tags)
    return metadata if is_tail else {**metadata, **_what_was_read(report)}


def _what_was_read(report: WindowReport) -> Metadata:
    rows_read = sum(report.rows_by_type.values())
    hours_read = (report.window.end - Window.of_day(report.window.start.date()).start) // timedelta(hours=1)
    sparkline = sparkline_markdown(report.events_by_hour, report.bad_by_hour, hours_read=hours_read)
    metadata: Metadata = {
        "pi/events_by_hour": dg.MetadataValue.md(sparkline),
        "pi/rows_by_type": table_of_counts(report.rows_by_type, "value holds"),
        "pi/bad_share": dg.MetadataValue.float(_share(report.bad_rows, rows_read)),
        "pi/questionable_share": dg.MetadataValue.float(_share(report.questionable_rows, rows_read)),
        "pi/system_state_share": dg.MetadataValue.float(_share(sum(report.rows_by_system_state.values()), rows_read)),
        "pi/substituted_rows": dg.MetadataValue.int(report.substituted_rows),
        "pi/annotated_rows": dg.MetadataValue.int(report.annotated_rows),
        "pi/sample": table_of_rows(report.sample, ("tag_name", "timestamp", "value", "value_string", "units")),
    }
    if report.first_event is not None:
        metadata["pi/first_event"] = dg.MetadataValue.timestamp(report.first_event)
    if report.rows_by_system_state:
        metadata["pi/rows_by_system_state"] = table_of_counts(report.rows_by_system_state, "system state")
    if (difference := report.difference) is not None:
        metadata["pi/added_events"] = dg.MetadataValue.int(difference.added)
        metadata["pi/changed_events"] = dg.MetadataValue.int(difference.changed)
        metadata["pi/removed_events"] = dg.MetadataValue.int(difference.removed)
        if difference.tags:
            metadata["pi/changes_by_tag"] = table_of_records(
                [
                    {"tag": tag.tag_name, "added": tag.added, "changed": tag.changed, "removed": tag.removed}
                    for tag in difference.tags
                ]
            )
    return metadata


def points_metadata(report: PointsReport) -> Metadata:
    """The metadata of one refresh of pi_points."""
    metadata: Metadata = {
        "pi/tags": dg.MetadataValue.int(report.tags),
        "pi/new_tags": dg.MetadataValue.int(report.new_tags),
        "pi/gone_tags": dg.MetadataValue.int(len(report.gone_tags)),
        "pi/moved_tags": dg.MetadataValue.int(len(report.moved_tags)),
        "pi/tags_in_no_group": dg.MetadataValue.int(report.tags_in_no_group_count),
        "pi/tags_by_partition": table_of_counts(report.tags_by_partition, "tag group", "tags"),
        "load/seconds": dg.MetadataValue.float(round(report.seconds, 3)),
        **_traffic(report.traffic),
        "lake/table_version": dg.MetadataValue.int(report.table_version),
        "lake/changed": dg.MetadataValue.bool(report.changed),
    }
    if report.groups_without_tags:
        metadata["pi/groups_without_tags"] = dg.MetadataValue.text(", ".join(report.groups_without_tags))
    for key, names in (
        ("pi/names_of_tags_in_no_group", report.tags_in_no_group),
        ("pi/names_of_missing_tags", report.missing_tags),
        ("pi/names_of_gone_tags", report.gone_tags[:MOST_NAMED]),
        ("pi/names_of_moved_tags", report.moved_tags[:MOST_NAMED]),
    ):
        if names:
            metadata[key] = table_of_records([{"tag": name} for name in names])
    columns = ("tag_name", "descriptor", "point_type", "engineering_units", "tag_group")
    metadata["pi/sample"] = table_of_rows(report.sample, columns)
    return metadata


def frames_metadata(report: FramesReport) -> Metadata:
    """The metadata of one day of pi_event_frames."""
    metadata: Metadata = {
        FRAMES: dg.MetadataValue.int(report.frames),
        "pi/new_frames": dg.MetadataValue.int(report.new_frames),
        "pi/changed_frames": dg.MetadataValue.int(report.changed_frames),
        "pi/gone_frames": dg.MetadataValue.int(report.gone_frames),
        "pi/moved_frames": dg.MetadataValue.int(report.moved_frames),
        "pi/open_frames": dg.MetadataValue.int(report.open_frames),
        "pi/frames_by_template": table_of_counts(report.frames_by_template, "template", "frames"),
        "pi/frames_by_severity": table_of_counts(report.frames_by_severity, "severity", "frames"),
        FAILED_FRAMES: dg.MetadataValue.int(len(report.failed_frames)),
        FRAMES_DIGEST: dg.MetadataValue.text(report.frames_digest),
        OPEN_FRAMES_DIGEST: dg.MetadataValue.text(report.open_frames_digest),
        "load/frames_read": dg.MetadataValue.int(report.frames_read),
        "load/seconds": dg.MetadataValue.float(round(report.seconds, 3)),
        **_traffic(report.traffic),
        "lake/changed": dg.MetadataValue.bool(report.changed),
        FRAMES_FILES: dg.MetadataValue.text(report.day_files),
        TABLE_VERSION: dg.MetadataValue.int(report.table_version),
        "lake/files": dg.MetadataValue.int(report.files),
        "lake/file_bytes": dg.MetadataValue.int(report.file_bytes),
    }
    if report.unread_attributes:
        metadata["pi/unread_attributes"] = table_of_counts(report.unread_attributes, "attribute", "frames")
    if report.kept_frames:
        metadata["pi/kept_frames"] = dg.MetadataValue.int(report.kept_frames)
        metadata["pi/lost_databases"] = dg.MetadataValue.text(", ".join(report.lost_databases))
    metadata["pi/sample"] = table_of_rows(
        report.sample, ("event_name", "template_name", "start_time", "end_time", "duration_minutes", "severity")
    )
    return metadata


def hierarchy_metadata(report: AssetsReport) -> Metadata:
    """The metadata of one snapshot of pi_asset_hierarchy."""
    metadata: Metadata = {
        "dagster/row_count": dg.MetadataValue.int(report.elements),
        "pi/asset_server": dg.MetadataValue.text(report.asset_server),
        "pi/databases": dg.MetadataValue.text(", ".join(report.databases)),
        "pi/elements": dg.MetadataValue.int(report.elements),
        "pi/levels": dg.MetadataValue.int(report.levels),
        "pi/elements_with_several_parents": dg.MetadataValue.int(report.elements_with_several_parents),
        **{f"pi/{change}_elements": dg.MetadataValue.int(count) for change, count in report.changes.items()},
        "pi/unreadable_elements": dg.MetadataValue.int(len(report.unreadable_elements)),
        "pi/tree": dg.MetadataValue.md(as_code_block(report.tree)),
        "load/seconds": dg.MetadataValue.float(round(report.seconds, 3)),
        **_traffic(report.traffic),
        "lake/table_version": dg.MetadataValue.int(report.hierarchy_version),
        "lake/changed": dg.MetadataValue.bool(report.hierarchy_changed),
    }
    if report.changed_elements:
        rows = [{"change": one.change, "element": one.element, "before": one.before} for one in report.changed_elements]
        metadata["pi/changed_elements"] = table_of_records(rows)
    if report.unreadable_elements:
        paths = report.unreadable_elements[:MOST_NAMED]
        metadata["pi/paths_of_unreadable_elements"] = table_of_records([{"element": path} for path in paths])
    columns = ("element_path", "template_name", "description", "element_id")
    metadata["pi/sample"] = table_of_rows(report.hierarchy_sample, columns)
    return metadata


def attributes_metadata(report: AssetsReport) -> Metadata:
    """The metadata of one snapshot of pi_asset_attributes."""
    metadata: Metadata = {
        "dagster/row_count": dg.MetadataValue.int(report.attributes),
        "pi/attributes": dg.MetadataValue.int(report.attributes),
        "pi/tags": dg.MetadataValue.int(report.tags),
        "pi/unread_values": dg.MetadataValue.int(report.unread_value_count),
        "load/seconds": dg.MetadataValue.float(round(report.seconds, 3)),
        "lake/table_version": dg.MetadataValue.int(report.attributes_version),
        "lake/changed": dg.MetadataValue.bool(report.attributes_changed),
    }
    if report.unread_values:
        metadata["pi/names_of_unread_values"] = table_of_records([{"attribute": name} for name in report.unread_values])
    columns = ("attribute_path", "data_reference", "tag_webid", "value_type", "units", "static_value")
    metadata["pi/sample"] = table_of_rows(report.attributes_sample, columns)
    return metadata


def _traffic(traffic: Traffic) -> Metadata:
    return {
        "load/requests": dg.MetadataValue.int(traffic.requests),
        "load/retries": dg.MetadataValue.int(traffic.retries),
        "load/bytes_received": dg.MetadataValue.int(traffic.bytes_received),
        "load/refusals": dg.MetadataValue.int(traffic.refusals),
        "load/seconds_held_back": dg.MetadataValue.float(round(traffic.seconds_held_back, 3)),
    }


def _share(part: int, whole: int) -> float:
    return round(part / whole, 6) if whole else 0.0


def judged_metadata(judged: JudgedPartition, rules: Sequence[AnyRule]) -> Metadata:
    """The metadata of one partition of pi_quality_findings: how many findings in all, and by rule."""
    return {
        "pi/findings": dg.MetadataValue.int(judged.findings.num_rows),
        **{f"pi/findings/{rule.name}": dg.MetadataValue.int(judged.count(rule.name)) for rule in rules},
        "load/rows": dg.MetadataValue.int(judged.rows),
        "load/seconds": dg.MetadataValue.float(round(judged.seconds, 3)),
        TABLE_VERSION: dg.MetadataValue.int(judged.table_version),
    }


def daily_metadata(numbers: DailyNumbers) -> Metadata:
    """The metadata of one day of pi_timeseries_daily: the plant's numbers as lines, those of tag groups as a table."""
    totals, by_group = numbers.totals, numbers.by_group
    metadata: Metadata = {
        "dagster/partition_row_count": dg.MetadataValue.int(numbers.rows.num_rows),
        "pi/events": dg.MetadataValue.int(totals.events),
        "pi/bad_events": dg.MetadataValue.int(totals.bad_events),
        "pi/bad_share": dg.MetadataValue.float(_share(totals.bad_events, totals.events)),
        "pi/system_state_share": dg.MetadataValue.float(_share(totals.system_states, totals.events)),
        "pi/tags": dg.MetadataValue.int(totals.tags),
        "pi/tags_with_events": dg.MetadataValue.int(totals.tags_with_events),
        "pi/silent_tags": dg.MetadataValue.int(len(numbers.silent_tags)),
        "pi/by_tag_group": table_of_records(
            [{"tag group": group, **asdict(found)} for group, found in by_group.items()]
        ),
        "load/seconds": dg.MetadataValue.float(round(numbers.seconds, 3)),
        TABLE_VERSION: dg.MetadataValue.int(numbers.table_version),
    }
    if numbers.silent_tags:
        metadata["pi/names_of_silent_tags"] = table_of_records(
            [{"tag": name} for name in numbers.silent_tags[:MOST_NAMED]]
        )
    return metadata
