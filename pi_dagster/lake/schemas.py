"""The Delta tables' columns: names, types and what they mean.

This is the one list of columns. Tables are created from it, files are written by it, and the descriptions
(each field's metadata `comment`) become Delta column comments and what Dagster shows.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import pyarrow as pa

_STRING = pa.string()
_TIMESTAMP = pa.timestamp("us", tz="UTC")


def _column(name: str, kind: pa.DataType, description: str) -> pa.Field:
    return pa.field(name, kind, metadata={"comment": description})


TIMESERIES_SCHEMA: pa.Schema = pa.schema(
    [
        _column("tag_webid", _STRING, "The tag's IDOnly WebID; stays the same when the tag is renamed."),
        _column("timestamp", _TIMESTAMP, "When the event happened, UTC, cut (not rounded) to microseconds."),
        _column("value", pa.float64(), "The recorded number; null unless the archive holds a real number."),
        _column("quality_good", pa.bool_(), "False when PI marks the value as bad."),
        _column("quality_questionable", pa.bool_(), "True when there is reason to doubt the value."),
        _column("units", _STRING, "Engineering units of the value, as PI abbreviates them."),
        _column("ingestion_timestamp", _TIMESTAMP, "When this row was read from PI, UTC."),
        _column("partition_date", pa.date32(), "UTC day of `timestamp`; partition column."),
        _column("tag_group", _STRING, "The tag group, or shard of one, that the tag belongs to; partition column."),
        _column("tag_name", _STRING, "The tag's name when the row was read."),
        _column(
            "value_string",
            _STRING,
            "Name of the digital or system state, the string, or the exact text of a value that is not a number.",
        ),
        _column("digital_state_code", pa.int32(), "Offset of the digital state in its set; null for other values."),
        _column(
            "is_system_state",
            pa.bool_(),
            "True when PI recorded a system state (such as `No Data` or `Shutdown`) instead of a value.",
        ),
        _column("quality_substituted", pa.bool_(), "True when the value was changed after it was first recorded."),
        _column("quality_annotated", pa.bool_(), "True when somebody attached a comment to the event."),
        _column(
            "event_ordinal",
            pa.int32(),
            "Counts a tag's events within one microsecond, in archive order; 0 for nearly all.",
        ),
    ]
)
"""Columns of pi_timeseries; its key is (tag_webid, timestamp, event_ordinal)."""

TIMESERIES_KEY = ("tag_webid", "timestamp", "event_ordinal")

PARTITION_COLUMNS = ("partition_date", "tag_group")

TIMESERIES_FILE_SCHEMA: pa.Schema = pa.schema(
    [field for field in TIMESERIES_SCHEMA if field.name not in PARTITION_COLUMNS]
)
"""Columns of the record batches that `TimeseriesTable.replace_window` takes: all but the partition columns."""

POINTS_SCHEMA: pa.Schema = pa.schema(
    [
        _column("tag_webid", _STRING, "The tag's IDOnly WebID; stays the same when the tag is renamed."),
        _column("tag_name", _STRING, "The tag's name."),
        _column("path", _STRING, r"The tag's path, `\\server\tag`."),
        _column("descriptor", _STRING, "What the tag measures, in the words of whoever created it."),
        _column("point_type", _STRING, "Type of the tag's values, such as Float32, Digital or String."),
        _column("point_class", _STRING, "Point class, such as classic or base."),
        _column("digital_set_name", _STRING, "Name of the tag's digital state set; empty for other types."),
        _column("engineering_units", _STRING, "Engineering units of the tag's values."),
        _column("span", pa.float64(), "Width of the tag's expected range of values."),
        _column("zero", pa.float64(), "Lowest value of the tag's expected range."),
        _column("step", pa.bool_(), "True when a value holds until the next event instead of being interpolated."),
        _column("future", pa.bool_(), "True when the tag can hold events in the future."),
        _column("display_digits", pa.int32(), "Digits to show; negative ones count significant digits."),
        _column("data_server", _STRING, "Name of the PI Data Archive."),
        _column("tag_group", _STRING, "Partition of pi_timeseries the tag is loaded into; null when none matches."),
        _column(
            "tag_group_since",
            _TIMESTAMP,
            "When the tag came into that group, UTC; as `first_seen` if it was in no other before.",
        ),
        _column("first_seen", _TIMESTAMP, "When pi_dagster first saw the tag, UTC."),
        _column("last_seen", _TIMESTAMP, "When the server last listed the tag, UTC."),
        _column("is_active", pa.bool_(), "False when the server no longer lists the tag."),
    ]
)
"""Columns of pi_points, one row a tag."""

_STRINGS = pa.list_(_STRING)
_TEXT_BY_NAME = pa.map_(_STRING, _STRING)

ASSET_HIERARCHY_SCHEMA: pa.Schema = pa.schema(
    [
        _column("element_id", _STRING, "The element's GUID; key of the table, the same after a rename or a move."),
        _column("element_name", _STRING, "The element's name."),
        _column("element_path", _STRING, "Its primary path below the database: /Enterprise/Site1/Unit2/Pump-101."),
        _column("parent_id", _STRING, "The element that its primary path leads through; null at the first level."),
        _column("template_name", _STRING, "The template it was made from; null for none."),
        _column(
            "element_type",
            _STRING,
            "None for an ordinary element; Measurement, Flow, Transfer, Boundary ...",
        ),
        _column("description", _STRING, "Its description."),
        _column("element_webid", _STRING, "Its IDOnly WebID."),
        _column("database_name", _STRING, "The AF database that holds it."),
        _column("asset_server", _STRING, "Name of the AF server."),
        _column("depth", pa.int32(), "Level of its primary path; 1 is the first level of the database."),
        _column("has_children", pa.bool_(), "True when PI says that there are elements below it, readable or not."),
        _column("category_names", _STRINGS, "Its categories."),
        _column("all_paths", _STRINGS, "Every path that leads to it, the primary one first."),
        _column(
            "all_parent_ids",
            _STRINGS,
            "Every element of this table that has it as a child, the primary parent first; weak references too, so "
            "that there may be cycles.",
        ),
        _column("ingestion_timestamp", _TIMESTAMP, "When the snapshot was read from PI, UTC."),
    ]
)
"""Columns of pi_asset_hierarchy, one row an AF element."""

ASSET_ATTRIBUTES_SCHEMA: pa.Schema = pa.schema(
    [
        _column(
            "attribute_id",
            _STRING,
            "The attribute's GUID; elements of one template share it, so the key is (element_id, attribute_id).",
        ),
        _column("element_id", _STRING, "The element it belongs to, as in pi_asset_hierarchy."),
        _column("attribute_name", _STRING, "The attribute's name."),
        _column("attribute_path", _STRING, "Path of its element and, after |, its name: /Site1/Pump-101|Flow|Limit."),
        _column("parent_attribute_id", _STRING, "The attribute it is nested in; null at the top."),
        _column("data_reference", _STRING, "Where its values come from, such as PI Point; null for a static value."),
        _column("config_string", _STRING, "Configuration of the data reference."),
        _column("tag_webid", _STRING, "The tag it refers to, as in pi_points; null for none."),
        _column("value_type", _STRING, "Type of its values, such as Double or EnumerationValue; null for any."),
        _column("units", _STRING, "Unit of its values, as PI abbreviates it."),
        _column("is_hidden", pa.bool_(), "True when PI's own tools hide it."),
        _column("is_excluded", pa.bool_(), "True when its element leaves it out."),
        _column("static_value", _STRING, "The value of a static attribute as text; states by name."),
        _column("categories", _STRINGS, "Its categories."),
        _column("trait", _STRING, "Its trait, such as LimitHi; null for none."),
    ]
)
"""Columns of pi_asset_attributes, one row an attribute of an element."""

EVENT_FRAMES_SCHEMA: pa.Schema = pa.schema(
    [
        _column("event_frame_id", _STRING, "The event frame's GUID; key of the table."),
        _column("event_name", _STRING, "The frame's name; not unique."),
        _column("template_name", _STRING, "The template it was made from; null for none."),
        _column("start_time", _TIMESTAMP, "When it began, UTC, cut to microseconds."),
        _column("end_time", _TIMESTAMP, "When it ended, UTC; null while it is open."),
        _column("duration_minutes", pa.float64(), "Minutes from start to end; null while it is open."),
        _column("primary_element_id", _STRING, "The element it is about, as in pi_asset_hierarchy; null for none."),
        _column(
            "event_attributes",
            _TEXT_BY_NAME,
            "Attribute name to value as text: numbers as PI prints them, digital states by name, null where PI gives "
            "no value. An attribute below another is `Parent|Child`. Units are in attribute_units.",
        ),
        _column("event_frame_webid", _STRING, "The frame's IDOnly WebID."),
        _column("database_name", _STRING, "The AF database that holds it."),
        _column("parent_event_frame_id", _STRING, "The frame it is a part of; null at the top."),
        _column("is_open", pa.bool_(), "True while it has not ended."),
        _column("severity", _STRING, "None, Information, Warning, Minor, Major or Critical."),
        _column("category_names", _STRINGS, "Its categories."),
        _column("referenced_element_ids", _STRINGS, "All elements it refers to, sorted."),
        _column("is_acknowledged", pa.bool_(), "True when somebody has acknowledged it."),
        _column("acknowledged_by", _STRING, "Who did; null while nobody has."),
        _column("acknowledged_at", _TIMESTAMP, "When they did, UTC; null while nobody has."),
        _column("description", _STRING, "Its description."),
        _column("start_date", pa.date32(), "UTC day of `start_time`; partition column."),
        _column("ingestion_timestamp", _TIMESTAMP, "When the frame was first read as this row tells it, UTC."),
        _column(
            "attribute_units",
            _TEXT_BY_NAME,
            "Attribute name to the unit of its value, as PI abbreviates it, for the attributes that have one.",
        ),
        _column(
            "values_captured",
            pa.bool_(),
            "True when PI has stored the attribute values with the frame; else they were worked out when read.",
        ),
    ]
)
"""Columns of pi_event_frames, one row an event frame."""

TAG_ERRORS_SCHEMA: pa.Schema = pa.schema(
    [
        _column("tag_webid", _STRING, "The tag's IDOnly WebID."),
        _column("tag_name", _STRING, "The tag's name."),
        _column("tag_group", _STRING, "The tag group, or shard of one, that was loaded without it."),
        _column(
            "kind",
            _STRING,
            "`gone`: the server has no such tag (deleted, or hidden from this login); it is asked for again when the "
            "list of tags shows it. `refused`: this login may not read it. `broken`: the server could not send it.",
        ),
        _column("partition_date", pa.date32(), "UTC day that lacks events of the tag; null for a tag that is gone."),
        _column("window_start", _TIMESTAMP, "From when on its events may be missing or old, UTC."),
        _column("window_end", _TIMESTAMP, "Until when, UTC; of a tag that is gone, what was last asked for."),
        _column("error", _STRING, "What the server said, or what was wrong with its answer."),
        _column("first_seen", _TIMESTAMP, "Since when the tag cannot be read, UTC."),
        _column("last_seen", _TIMESTAMP, "When it was last tried, UTC."),
    ]
)
"""Columns of pi_tag_errors, one row a tag and day, and one a tag that is gone."""

EVENT_FRAMES_FILE_SCHEMA: pa.Schema = pa.schema([field for field in EVENT_FRAMES_SCHEMA if field.name != "start_date"])
"""Columns of the rows that `EventFramesTable.replace_day` takes: all but the partition column."""


QUALITY_FINDINGS_SCHEMA: pa.Schema = pa.schema(
    [
        _column("rule", _STRING, "Name of the rule of the site that was broken."),
        _column("kind", _STRING, "Kind of the rule, such as range or gap."),
        _column("severity", _STRING, "warn or error, as the rule says."),
        _column("tag_webid", _STRING, "The tag's IDOnly WebID."),
        _column("tag_name", _STRING, "The tag's name when it was judged."),
        _column("finding_start", _TIMESTAMP, "The first event that breaks the rule, or the begin of a gap, UTC."),
        _column("finding_end", _TIMESTAMP, "The last event that breaks the rule, or the end of a gap, UTC."),
        _column("event_count", pa.int64(), "How many events in a row break the rule; 0 for a gap."),
        _column(
            "worst_value",
            pa.float64(),
            "The worst value; a rate is a minute's, a gap in minutes, a difference or a counter's fall as it is.",
        ),
        _column("worst_text", _STRING, "The state or unit that is wrong; null for rules about numbers."),
        _column("judged_at", _TIMESTAMP, "When the day was judged, UTC."),
        _column("partition_date", pa.date32(), "The UTC day; partition column."),
        _column("tag_group", _STRING, "The tag group, or shard of one; partition column."),
    ]
)
"""Columns of pi_quality_findings, one row a stretch of a tag's events that breaks a rule."""

QUALITY_FINDINGS_FILE_SCHEMA: pa.Schema = pa.schema(
    [field for field in QUALITY_FINDINGS_SCHEMA if field.name not in PARTITION_COLUMNS]
)
"""Columns of the rows that `QualityFindingsTable.replace_partition` takes: all but the partition columns."""

TIMESERIES_DAILY_SCHEMA: pa.Schema = pa.schema(
    [
        _column("tag_webid", _STRING, "The tag's IDOnly WebID."),
        _column("tag_name", _STRING, "The tag's name in the newest event of the day."),
        _column("tag_group", _STRING, "The partition of pi_timeseries that holds the events."),
        _column("events", pa.int64(), "Recorded values of the day."),
        _column("good_events", pa.int64(), "Those that PI marks as good."),
        _column("bad_events", pa.int64(), "Those that it marks as bad."),
        _column("system_states", pa.int64(), "Those that are a system state instead of a value, such as `No Data`."),
        _column("number_count", pa.int64(), "Those that are a good number; the columns from here on tell of these."),
        _column("min_value", pa.float64(), "The smallest; null without any, as for digital states and texts."),
        _column("max_value", pa.float64(), "The largest."),
        _column("mean_value", pa.float64(), "Their mean, each event counting the same."),
        _column(
            "time_weighted_mean",
            pa.float64(),
            "Their mean over time, from the first event of the day to the last: a number holds until the next event "
            "where the tag has `step`, else a straight line leads to the next number. Time after an event that is no "
            "good number is left out. Null where no time is left.",
        ),
        _column("first_value", pa.float64(), "The first one."),
        _column("last_value", pa.float64(), "The last one."),
        _column("first_event", _TIMESTAMP, "When the first event of any kind was, UTC."),
        _column("last_event", _TIMESTAMP, "When the last event of any kind was, UTC."),
        _column(
            "longest_gap_seconds",
            pa.float64(),
            "Seconds of the longest pause between two events of the day; null for a single event.",
        ),
        _column(
            "source_files",
            _STRING,
            "Digest of the files of pi_timeseries that the day was computed from; once they are others the schedule "
            "computes it again.",
        ),
        _column("partition_date", pa.date32(), "The UTC day; partition column."),
    ]
)
"""Columns of pi_timeseries_daily, one row a tag, day and tag group."""

TIMESERIES_DAILY_FILE_SCHEMA: pa.Schema = pa.schema(
    [field for field in TIMESERIES_DAILY_SCHEMA if field.name != "partition_date"]
)
"""Columns of the rows that `TimeseriesDailyTable.replace_day` takes: all but the partition column."""


@dataclass(frozen=True)
class TableDefinition:
    """What a table is called, what it holds and how it is partitioned."""

    name: str
    description: str
    schema: pa.Schema
    partition_columns: tuple[str, ...] = ()
    properties: Mapping[str, str] = field(default_factory=dict)
    """Table properties at creation; they do not make a table ours or not."""


CHECKPOINT_INTERVAL = 20
"""Commits between two checkpoints. A commit reads each log entry since the last checkpoint twice: on a table at version
20,000 it took 48 ms with delta-rs's 100 and 27 ms with 20, where writing a checkpoint took 5 to 61 ms."""


def log_properties(retention_days: int) -> Mapping[str, str]:
    """Table properties that keep the log and the entries of deleted files in it for so many days, and quick to read."""
    return {
        "delta.checkpointInterval": str(CHECKPOINT_INTERVAL),
        "delta.logRetentionDuration": f"interval {retention_days} days",
        "delta.deletedFileRetentionDuration": f"interval {retention_days} days",
    }


PI_TIMESERIES = TableDefinition(
    name="pi_timeseries",
    description="Recorded values of PI tags, one row an archive event.",
    schema=TIMESERIES_SCHEMA,
    partition_columns=PARTITION_COLUMNS,
    properties=log_properties(7),
)

PI_POINTS = TableDefinition(
    name="pi_points",
    description="The tags of the PI Data Archive, one row a tag, as the server last listed them.",
    schema=POINTS_SCHEMA,
)

PI_ASSET_HIERARCHY = TableDefinition(
    name="pi_asset_hierarchy",
    description="The elements of PI Asset Framework, one row an element, as the server last listed them.",
    schema=ASSET_HIERARCHY_SCHEMA,
)

PI_ASSET_ATTRIBUTES = TableDefinition(
    name="pi_asset_attributes",
    description="The attributes of the elements of PI Asset Framework, and the tag each refers to.",
    schema=ASSET_ATTRIBUTES_SCHEMA,
)

PI_EVENT_FRAMES = TableDefinition(
    name="pi_event_frames",
    description="Event frames of PI Asset Framework, one row a frame, as the server last listed them.",
    schema=EVENT_FRAMES_SCHEMA,
    partition_columns=("start_date",),
    properties=log_properties(7),
)


PI_TAG_ERRORS = TableDefinition(
    name="pi_tag_errors",
    description="Tags that could not be read, and what pi_timeseries lacks of them; a row goes when it was read.",
    schema=TAG_ERRORS_SCHEMA,
    properties=log_properties(7),
)


PI_QUALITY_FINDINGS = TableDefinition(
    name="pi_quality_findings",
    description="What the rules of the site found in the recorded values, one row a stretch that breaks a rule.",
    schema=QUALITY_FINDINGS_SCHEMA,
    partition_columns=PARTITION_COLUMNS,
    properties=log_properties(7),
)


PI_TIMESERIES_DAILY = TableDefinition(
    name="pi_timeseries_daily",
    description="Recorded values of PI tags in numbers, one row a tag and day.",
    schema=TIMESERIES_DAILY_SCHEMA,
    partition_columns=("partition_date",),
    properties=log_properties(7),
)


ALL_TABLES = (
    PI_POINTS,
    PI_TIMESERIES,
    PI_TIMESERIES_DAILY,
    PI_TAG_ERRORS,
    PI_ASSET_HIERARCHY,
    PI_ASSET_ATTRIBUTES,
    PI_EVENT_FRAMES,
    PI_QUALITY_FINDINGS,
)
"""The tables that a lake may have."""


def column_descriptions(schema: pa.Schema) -> dict[str, str]:
    """What each column of `schema` means, by column name."""
    return {field.name: field.metadata[b"comment"].decode() for field in schema}
