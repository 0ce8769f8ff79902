"""Refreshing pi_asset_hierarchy and pi_asset_attributes: read AF once, commit each table in one step if it changed.

PI hides what a login may not read, so that a lost right looks like a deletion. What can be known: a database that is
no longer shown, a large share of the elements gone at once (both fail the run), the server saying 403, and a parent
that has children and shows none (both keep the old rows). Anything else that is gone counts as deleted.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime, timezone
from itertools import chain, islice

import msgspec
import pyarrow as pa
import pyarrow.compute as pc

from pi_dagster.ingest.asset_changes import changes_between
from pi_dagster.ingest.asset_reading import ROWS_AT_ONCE, AssetReading, nothing_found, reading_assets
from pi_dagster.ingest.asset_rows import Fingerprint, FoundTree, Row, attributes_batch, hierarchy_batch
from pi_dagster.ingest.asset_tree import tree_excerpt
from pi_dagster.ingest.errors import AssetsLostError, NoElementsError
from pi_dagster.ingest.report import AssetsReport, Traffic
from pi_dagster.lake import AssetAttributesTable, AssetHierarchyTable, Lake
from pi_dagster.lake.schemas import ASSET_HIERARCHY_SCHEMA
from pi_dagster.lake.snapshot import NextSnapshot
from pi_dagster.piwebapi import PIWebAPISource
from pi_dagster.piwebapi.asset_framework import AssetDatabase, AssetServer
from pi_dagster.site import AssetFrameworkSettings, Site

CONTENT = "pi_dagster.content"
"""In a commit's metadata: the hash of the rows, by which a run sees that nothing has changed."""

SCOPE = "pi_dagster.af_scope"
"""In a commit's metadata: the settings that chose the elements; when they change, elements go that are not lost."""

_COMPARED = (
    "element_id",
    "element_name",
    "element_path",
    "parent_id",
    "database_name",
    "element_webid",
    "template_name",
)
_SAMPLE_ROWS = 10
_MOST_NAMED = 100
_FORBIDDEN = 403


def refresh_assets(site: Site, source: PIWebAPISource, lake: Lake, *, run_id: str) -> AssetsReport:
    """Read the AF elements that the site wants, with their attributes, and make them the snapshots.

    Args:
        site: says which elements are wanted; its `asset_framework` must not be switched off.
        source: the server to read.
        lake: where the tables are.
        run_id: kept in the commits' metadata.

    Raises:
        NoElementsError: there is no element, or none that the site wants.
        AssetsLostError: more is gone than is likely to be deleted at once.
        PIWebAPIError: the server cannot be read from.
        LakeError: a table cannot be written.
    """
    if site.asset_framework is None:
        raise ValueError("AF is switched off in this site")
    with (
        ThreadPoolExecutor(1, thread_name_prefix="af-before") as aside,
        reading_assets(site.asset_framework, site.server, source.transport) as reading,
    ):
        return _Refresh(site, site.asset_framework, source, lake, reading, aside, run_id=run_id).run()


@dataclass(frozen=True)
class _Before:
    """The last snapshot of pi_asset_hierarchy."""

    rows: Mapping[str, Row]
    same_scope: bool
    """False when the site has since chosen its elements anew, so that missing ones mean nothing."""


class _Refresh:
    def __init__(
        self,
        site: Site,
        settings: AssetFrameworkSettings,
        source: PIWebAPISource,
        lake: Lake,
        reading: AssetReading,
        aside: Executor,
        *,
        run_id: str,
    ) -> None:
        self._site = site
        self._aside = aside
        self._settings = settings
        self._source = source
        self._run_id = run_id
        self._hierarchy = AssetHierarchyTable.open(lake)
        self._attributes = AssetAttributesTable.open(lake)
        self._reading = reading
        self._attribute_count = 0
        self._tag_webids: set[str] = set()
        self._attributes_sample: list[Row] = []

    def run(self) -> AssetsReport:
        begun, traffic = time.monotonic(), self._source.traffic
        # Meanwhile the server is asked; the first look into a table of a process costs it most of a second.
        rows_before = self._aside.submit(self._read_before)
        server, databases = self._reading.databases()
        scope = _scope(self._settings, server)
        tree = self._reading.find(server, databases)
        before = _Before(rows_before.result(), self._hierarchy.commit_info(SCOPE) in (scope, None))
        _check_databases(server, databases, before)
        missing = self._missing(before, tree)
        kept = self._forbidden(missing)
        now = datetime.now(timezone.utc)
        info = {"site": self._site.name, "run_id": self._run_id, SCOPE: scope}
        with self._attributes.next_snapshot() as attributes:
            content = Fingerprint()
            for rows in self._reading.attributes(tree):
                self._write_attributes(rows, attributes, content)
            # Once more: elements that were listed may have gone while their attributes were read.
            self._missing(before, tree)
            hidden_below = self._reading.hidden_below
            kept |= _branches(missing, {one for one, row in missing.items() if row["parent_id"] in hidden_below})
            kept |= self._reading.refused & before.rows.keys()
            kept -= tree.elements.keys()
            self._keep_attributes(kept, attributes, content)
            elements = self._reading.elements(tree, now)
            hierarchy, hierarchy_content = _as_table(chain(elements, self._kept_elements(kept)))
            if not hierarchy.num_rows:
                raise NoElementsError(nothing_found(server, databases))
            attributes_changed = self._attributes.commit_info(CONTENT) != content.hexdigest()
            attributes_version = (
                attributes.commit({**info, CONTENT: content.hexdigest()})
                if attributes_changed
                else self._attributes.version
            )
        # The hierarchy is last, so that whoever finds elements finds their attributes too.
        hierarchy_changed = (
            self._hierarchy.commit_info(CONTENT) != hierarchy_content or self._hierarchy.commit_info(SCOPE) != scope
        )
        hierarchy_version = (
            self._hierarchy.replace(hierarchy, {**info, CONTENT: hierarchy_content})
            if hierarchy_changed
            else self._hierarchy.version
        )
        rows = hierarchy.select(_COMPARED).to_pylist()
        rows.sort(key=lambda row: (row["database_name"], row["element_path"]))
        changes = changes_between(before.rows, rows)
        return AssetsReport(
            asset_server=server.name,
            databases=tuple(database.name for database in databases),
            elements=len(rows),
            attributes=self._attribute_count,
            tags=len(self._tag_webids),
            levels=pc.max(hierarchy["depth"]).as_py(),
            elements_with_several_parents=pc.sum(
                pc.greater(pc.list_value_length(hierarchy["all_parent_ids"]), 1)
            ).as_py(),
            changes=changes.counts,
            changed_elements=changes.examples,
            unreadable_elements=tuple(before.rows[element_id]["element_path"] for element_id in sorted(kept)),
            unread_values=tuple(self._reading.unread_values[:_MOST_NAMED]),
            unread_value_count=len(self._reading.unread_values),
            traffic=Traffic.between(traffic, self._source.traffic),
            seconds=time.monotonic() - begun,
            hierarchy_version=hierarchy_version,
            hierarchy_content=hierarchy_content,
            hierarchy_changed=hierarchy_changed,
            attributes_version=attributes_version,
            attributes_content=content.hexdigest(),
            attributes_changed=attributes_changed,
            tree=tree_excerpt(rows),
            hierarchy_sample=hierarchy.slice(0, _SAMPLE_ROWS),
            attributes_sample=pa.Table.from_batches([attributes_batch(self._attributes_sample)]),
        )

    def _read_before(self) -> dict[str, Row]:
        return {row["element_id"]: row for row in self._hierarchy.to_arrow(_COMPARED).to_pylist()}

    def _missing(self, before: _Before, tree: FoundTree) -> dict[str, Row]:
        """The elements that a snapshot of the same scope held and that are not found now.

        Raises:
            AssetsLostError: they are too many.
        """
        if not before.same_scope:
            return {}
        missing = {element_id: row for element_id, row in before.rows.items() if element_id not in tree.elements}
        allowed = self._settings.max_lost_share
        if len(missing) > allowed * len(before.rows):
            named = ", ".join(sorted(row["element_path"] for row in missing.values())[:5])
            raise AssetsLostError(
                f"{len(missing):,} of {len(before.rows):,} AF elements are gone since the last snapshot ({named} ...), "
                f"more than `asset_framework.max_lost_share` ({allowed:g}) allows. Nothing was committed. To PI, an "
                "element that a login may no longer read looks deleted: check the login's rights in AF. If they are "
                "deleted, set `max_lost_share: 1` for one run."
            )
        return missing

    def _forbidden(self, missing: Mapping[str, Row]) -> set[str]:
        """The missing elements that the server says are there but not for this login, and all below them.

        Of a missing branch only the uppermost element is asked for.
        """
        uppermost = [row for row in missing.values() if row["parent_id"] not in missing]
        answers = self._reading.look_at([row["element_webid"] for row in uppermost])
        return _branches(
            missing, {row["element_id"] for row in uppermost if answers[row["element_webid"]] == _FORBIDDEN}
        )

    def _kept_elements(self, kept: set[str]) -> list[Row]:
        if not kept:
            return []
        rows = self._hierarchy.to_arrow(where=pc.field("element_id").isin(sorted(kept)))
        return list(rows.to_pylist())

    def _write_attributes(self, rows: list[Row], attributes: NextSnapshot, content: Fingerprint) -> None:
        content.add(rows)
        attributes.write(attributes_batch(rows))
        self._attribute_count += len(rows)
        self._tag_webids.update(row["tag_webid"] for row in rows if row["tag_webid"] is not None)
        self._attributes_sample += rows[: _SAMPLE_ROWS - len(self._attributes_sample)]

    def _keep_attributes(self, kept: set[str], attributes: NextSnapshot, content: Fingerprint) -> None:
        if kept:
            rows = self._attributes.to_arrow(where=pc.field("element_id").isin(sorted(kept)))
            self._write_attributes(rows.to_pylist(), attributes, content)


def _check_databases(server: AssetServer, databases: Sequence[AssetDatabase], before: _Before) -> None:
    if not before.same_scope:
        return
    shown = {database.name for database in databases}
    lost = sorted({row["database_name"] for row in before.rows.values()} - shown)
    if lost:
        raise AssetsLostError(
            f"The AF server {server.name} no longer shows this login the database {', '.join(lost)}, of which "
            "the last snapshot holds elements. Nothing was committed. Give the login read access again, or, if "
            f"that database is meant to go, write `asset_framework.databases: [{', '.join(sorted(shown))}]`."
        )


def _as_table(rows: Iterable[Row]) -> tuple[pa.Table, str]:
    """Rows of pi_asset_hierarchy as Arrow, a few at a time, and their hash."""
    content = Fingerprint()
    batches = []
    ahead = iter(rows)
    while some := list(islice(ahead, ROWS_AT_ONCE)):
        content.add(some)
        batches.append(hierarchy_batch(some))
    return pa.Table.from_batches(batches, ASSET_HIERARCHY_SCHEMA), content.hexdigest()


def _scope(settings: AssetFrameworkSettings, server: AssetServer) -> str:
    chosen = settings.model_dump(mode="json", include={"databases", "root_path", "templates", "categories"})
    return msgspec.json.encode({"asset_server": server.name, **chosen}).decode()


def _branches(missing: Mapping[str, Row], uppermost: set[str]) -> set[str]:
    """Of the missing elements, these and all below them."""
    below: dict[str | None, list[str]] = {}
    for element_id, row in missing.items():
        below.setdefault(row["parent_id"], []).append(element_id)
    found: set[str] = set()
    open_ends = list(uppermost)
    while open_ends:
        element_id = open_ends.pop()
        if element_id not in found:
            found.add(element_id)
            open_ends += below.get(element_id, [])
    return found
