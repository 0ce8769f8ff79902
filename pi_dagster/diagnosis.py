"""What `pi-dagster check` finds: what a site's server and lake say of themselves, and what is wrong, in plain words.

Every step is tried that can be tried, so that one look shows all of it: a wrong password does not hide a lake that
cannot be written. Nothing is loaded; the lake gets one small object that is deleted again.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone

from pi_dagster.assets.failures import EXPECTED_ERRORS
from pi_dagster.ingest.asset_tags import AssetTags
from pi_dagster.ingest.errors import AssetsMissingError
from pi_dagster.ingest.groups import TagAssigner
from pi_dagster.ingest.source import open_source
from pi_dagster.lake import (
    AssetAttributesTable,
    AssetHierarchyTable,
    CommitUncertainError,
    EventFramesTable,
    Lake,
    LakeAccessError,
    PointsTable,
    TableMissingError,
    TagErrorsTable,
    TimeseriesTable,
    WindowConflictError,
)
from pi_dagster.lake.table import LakeTable
from pi_dagster.notifications.delivery import trouble_of_address
from pi_dagster.piwebapi import PIWebAPISource, StreamRef, objects
from pi_dagster.piwebapi.asset_framework import find_asset_server, list_databases
from pi_dagster.piwebapi.auth import forget_refusal
from pi_dagster.piwebapi.connection import dangers
from pi_dagster.piwebapi.errors import (
    BrokenAnswerError,
    ListKeepsChangingError,
    RequestTimeoutError,
    ServerTroubleError,
)
from pi_dagster.piwebapi.retrying import RetryPolicy
from pi_dagster.piwebapi.rights import rights_beyond_reading, tags_that_everybody_may_change
from pi_dagster.site import ServerSettings, Site, TagGroup
from pi_dagster.tag_survey import TagSurvey

_NOT_THE_USERS = (
    RequestTimeoutError,
    ServerTroubleError,
    BrokenAnswerError,
    ListKeepsChangingError,
    LakeAccessError,
    WindowConflictError,
    CommitUncertainError,
)

SHORT_RETRIES = RetryPolicy(budget_seconds=4.0, first_wait_seconds=0.5, longest_wait_seconds=2.0, tries_when_unlikely=2)
"""Somebody is waiting: ride out one hiccup, no more."""

_CONNECT_SECONDS = 5.0
_READ_SECONDS = 30.0
_NOTABLE_SKEW = timedelta(seconds=30)
_TAGS_READ = 5
_TABLES: tuple[type[LakeTable], ...] = (PointsTable, TimeseriesTable, TagErrorsTable)
_ASSET_TABLES: tuple[type[LakeTable], ...] = (AssetHierarchyTable, AssetAttributesTable, EventFramesTable)
_READ_BACK = timedelta(hours=1)
_MOST_NAMES_ASKED = 20


@dataclass(frozen=True)
class Problem:
    """Something that is wrong: one paragraph."""

    message: str
    is_users_mistake: bool = True
    """False for trouble that may pass by itself, such as a server that is overloaded."""

    @classmethod
    def of(cls, error: Exception) -> Problem:
        """The problem that an expected error tells."""
        return cls(str(error), is_users_mistake(error))


def is_users_mistake(error: Exception) -> bool:
    """True for what a setting or a right puts in order, false for trouble of the server or the storage."""
    return not isinstance(error, _NOT_THE_USERS)


@dataclass(kw_only=True)
class ServerFacts:
    """What the server says of itself; None or empty for what it did not tell this login."""

    url: str
    state: str | None = None
    server_time: datetime | None = None
    clock_skew_seconds: float | None = None
    """Server's clock minus this machine's."""
    user: str | None = None
    identity_type: str | None = None
    versions: dict[str, str] = field(default_factory=dict)
    max_items_per_call: int | None = None
    data_servers: list[str] = field(default_factory=list)
    data_server: str | None = None
    asset_server: str | None = None
    asset_databases: list[str] = field(default_factory=list)
    """AF databases that the site reads."""
    tags_visible: int | None = None
    all_tags_listed: bool = False
    """False when the server has more tags than a first page holds."""
    tags_by_group: dict[str, int] = field(default_factory=dict)
    """Of the tags of the first page."""
    tags_in_no_group: int = 0
    tags_read: int = 0
    events_read: int = 0
    """Events of the last hour of `tags_read` tags."""


@dataclass(kw_only=True)
class LakeFacts:
    """What the lake is like."""

    uri: str
    is_writable: bool = False
    table_versions: dict[str, int | None] = field(default_factory=dict)
    """Delta version by table; None for a table that does not exist yet."""
    refused_tables: list[str] = field(default_factory=list)
    """Tables that are there and cannot be used, as the problems tell."""


@dataclass(kw_only=True)
class Diagnosis:
    """Facts, what is wrong, and what is merely worth knowing."""

    site: str
    server: ServerFacts
    lake: LakeFacts
    problems: list[Problem] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def open_for_a_person(server: ServerSettings) -> PIWebAPISource:
    """A connection for somebody who waits for the answer: short timeouts, few retries.

    Raises:
        SecretMissingError: the environment variable that the login names is not set.
    """
    return open_source(
        server.model_copy(
            update={
                "connect_timeout_seconds": min(_CONNECT_SECONDS, server.connect_timeout_seconds),
                "read_timeout_seconds": min(_READ_SECONDS, server.read_timeout_seconds),
            }
        ),
        retry=SHORT_RETRIES,
    )


def diagnose(site: Site) -> Diagnosis:
    """Look at the site's server and lake; never raises for what a user can cause."""
    diagnosis = Diagnosis(
        site=site.name, server=ServerFacts(url=site.server.url), lake=LakeFacts(uri=Lake(site.lake.uri).uri)
    )
    asset_tags: AssetTags | None = None
    if site.has_groups_by_assets:
        with _noting_problems(diagnosis):
            try:
                asset_tags = AssetTags.read(Lake(site.lake.uri, site.lake.resolve_storage_options()))
            except AssetsMissingError as error:
                # So it is at every new site; the schedule loads them first.
                diagnosis.notes.append(str(error))
    diagnosis.notes += dangers(site.server)
    forget_refusal(site.server)
    with _noting_problems(diagnosis), open_for_a_person(site.server) as source:
        _look_at_server(site, source, diagnosis)
        data_server = _look_at_data_servers(site, source, diagnosis)
        points = _look_at_tags(site, source, data_server, asset_tags, diagnosis)
        _read_values(source, points, diagnosis)
        _look_at_assets(site, source, diagnosis)
    with _noting_problems(diagnosis):
        _look_at_lake(site, diagnosis)
    _look_at_addresses(site, diagnosis)
    return diagnosis


@contextmanager
def _noting_problems(diagnosis: Diagnosis) -> Iterator[None]:
    try:
        yield
    except EXPECTED_ERRORS as error:
        diagnosis.problems.append(Problem.of(error))


def _look_at_server(site: Site, source: PIWebAPISource, diagnosis: Diagnosis) -> None:
    facts, transport = diagnosis.server, source.transport
    objects.landing(transport)
    facts.state = objects.system_status(transport).state
    asked = datetime.now(timezone.utc)
    facts.server_time = source.server_time()
    skew = facts.server_time - (asked + (datetime.now(timezone.utc) - asked) / 2)
    facts.clock_skew_seconds = round(skew.total_seconds(), 3)
    user = objects.user_info(transport)
    facts.user, facts.identity_type = user.name, user.identity_type
    facts.versions = objects.system_versions(transport)
    facts.max_items_per_call = objects.configured_item_limit(transport)
    if abs(skew) > _NOTABLE_SKEW:
        side = "ahead of" if skew > timedelta(0) else "behind"
        diagnosis.notes.append(
            f"The server's clock is {abs(skew).total_seconds():,.0f} s {side} this machine's. "
            "Loads go by the server's clock, so no data is lost, but freshness looks wrong by as much; check the "
            "time service of both."
        )
    if facts.max_items_per_call is not None and facts.max_items_per_call < site.server.max_items_per_call:
        diagnosis.problems.append(
            Problem(
                f"{transport.url} allows {facts.max_items_per_call:,} events a call and the site asks for up to "
                f"{site.server.max_items_per_call:,}. Set `server.max_items_per_call` to {facts.max_items_per_call}."
            )
        )


def _look_at_data_servers(site: Site, source: PIWebAPISource, diagnosis: Diagnosis) -> objects.DataServer:
    facts = diagnosis.server
    facts.data_servers = [server.name for server in objects.data_servers(source.transport)]
    data_server = objects.find_data_server(source.transport, site.server.data_server)
    facts.data_server = data_server.name
    if not data_server.is_connected:
        diagnosis.problems.append(
            Problem(
                f"PI Web API at {source.transport.url} is not connected to the Data Archive {data_server.name}, so "
                "values cannot be read. Its administrator has to look why; it may be down.",
                is_users_mistake=False,
            )
        )
    return data_server


def _look_at_tags(
    site: Site,
    source: PIWebAPISource,
    data_server: objects.DataServer,
    asset_tags: AssetTags | None,
    diagnosis: Diagnosis,
) -> Sequence[objects.Point]:
    """The first page of tags; a group that has none there is asked for by its own filter."""
    facts = diagnosis.server
    most = min(objects.POINTS_PAGE, site.server.max_items_per_call)
    points = source.first_points(most)
    facts.tags_visible = len(points)
    facts.all_tags_listed = len(points) < most
    if not points:
        diagnosis.problems.append(
            Problem(
                f"The Data Archive {data_server.name} shows this login no tag. Give it read access to the points (the "
                "point database and each point have their own security), or use another login."
            )
        )
        return []
    survey = TagSurvey(site, points, asset_tags)
    facts.tags_by_group = {group.name: survey.count_of(group) for group in site.tag_groups}
    facts.tags_in_no_group = survey.tags_in_no_group
    if facts.all_tags_listed:
        diagnosis.problems += [Problem(message) for message in survey.problems()]
    else:
        diagnosis.problems += [
            Problem(
                f"The tag group {group.name!r} gets no tag: none matches it, or groups before it take them all. "
                "`pi-dagster tags` lists every tag with its group."
            )
            for group in survey.empty_groups()
            if not _finds_a_tag(site, group, source, asset_tags)
        ]
    if survey.tags_in_no_group:
        diagnosis.notes.append(
            f"{survey.tags_in_no_group:,} of {len(points):,} tags are in no tag group and will not be loaded; "
            "`pi-dagster tags` lists them."
        )
    return [tag.point for tag in survey.tags if tag.partition is not None] or points


def _finds_a_tag(site: Site, group: TagGroup, source: PIWebAPISource, asset_tags: AssetTags | None) -> bool:
    if group.uses_assets:
        return asset_tags is None or bool(asset_tags.of_group(group))
    assigner = TagAssigner(site.tag_groups, asset_tags)
    filters = (group.tag_filter,) if group.tag_filter is not None else group.tags or ()
    return any(
        assigner.partition_of(point.name, point.web_id) in group.partition_names()
        for name_filter in filters[:_MOST_NAMES_ASKED]
        for point in source.list_points(name_filter)
    )


def _read_values(source: PIWebAPISource, points: Sequence[objects.Point], diagnosis: Diagnosis) -> None:
    """Read the last hour of a few tags: a tag may be listed to a login that may not read its data.

    One by one, as a request for one tag asks for as many events as the site allows, which shows whether the server
    allows that too: its own word on the limit is for administrators only.
    """
    facts = diagnosis.server
    if facts.server_time is None:
        return
    looked_at = points[:: max(1, len(points) // _TAGS_READ)][:_TAGS_READ]
    if open_to_all := tags_that_everybody_may_change(source.transport, looked_at):
        diagnosis.notes.append(
            f"Everybody who can log in to the Data Archive may change tags, this login too: of {len(looked_at)} that "
            f"were looked at {', '.join(open_to_all)}. Take the right to write from PIWorld in their point and data "
            "security."
        )
    for point in looked_at:
        reading = source.read([StreamRef(point.web_id, point.name)], facts.server_time - _READ_BACK, facts.server_time)
        facts.events_read += sum(events.num_rows for events in reading)
        facts.tags_read += not reading.failures
        diagnosis.problems += [
            Problem(
                f"The tag {point.name} is listed, but its values cannot be read: {error}",
                is_users_mistake(error),
            )
            for error in reading.failures.values()
        ]


def _look_at_assets(site: Site, source: PIWebAPISource, diagnosis: Diagnosis) -> None:
    """What this login may see of AF; nothing where the site has it switched off."""
    if site.asset_framework is None:
        return
    server = find_asset_server(source.transport, site.asset_framework.asset_server)
    diagnosis.server.asset_server = server.name
    databases = list_databases(source.transport, server, site.asset_framework.databases)
    diagnosis.server.asset_databases = [database.name for database in databases]
    if diagnosis.server.user is None:
        return
    for database in databases:
        if rights := rights_beyond_reading(source.transport, database, diagnosis.server.user):
            diagnosis.notes.append(
                f"This login may do more in the AF database {database.name} than read: {', '.join(rights)}. pi_dagster "
                "never writes to PI; give it a login that may only read, so that nobody who gets hold of it can."
            )


def _look_at_lake(site: Site, diagnosis: Diagnosis) -> None:
    lake = Lake(site.lake.uri, site.lake.resolve_storage_options())
    lake.check_writable()
    diagnosis.lake.is_writable = True
    for table in (*_TABLES, *(_ASSET_TABLES if site.asset_framework else ())):
        with _noting_problems(diagnosis):
            try:
                diagnosis.lake.table_versions[table.definition.name] = table.open(lake, create=False).version
            except TableMissingError:
                diagnosis.lake.table_versions[table.definition.name] = None
        if table.definition.name not in diagnosis.lake.table_versions:
            diagnosis.lake.refused_tables.append(table.definition.name)


def _look_at_addresses(site: Site, diagnosis: Diagnosis) -> None:
    for variable in site.notifications.targets_env if site.notifications is not None else ():
        if (trouble := trouble_of_address(variable)) is not None:
            diagnosis.problems.append(Problem(trouble))
