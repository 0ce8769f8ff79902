"""`pi-dagster backfill`: which partitions are loaded, by Dagster where it is running, otherwise in this process."""

from __future__ import annotations

import time
import uuid
import warnings
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from datetime import time as time_of_day
from typing import Any

import dagster as dg
from dagster._core.definitions.selector import PartitionRangeSelector, PartitionsByAssetSelector, PartitionsSelector
from dagster._core.errors import DagsterAssetBackfillDataLoadError
from dagster._core.execution.backfill import BulkActionStatus, PartitionBackfill
from dagster._core.storage.tags import BACKFILL_ID_TAG

from pi_dagster.automation.last_loads import last_load_ids, last_try_ids, loads_by_id
from pi_dagster.automation.partitions import COMPLETE, FAILED_TAGS, partition_key, split_partition_key
from pi_dagster.automation.reload import PartitionBlock, partition_blocks, partitions_of_run
from pi_dagster.automation.run_failures import failed_partitions, reason_of, step_failures
from pi_dagster.automation.schedules import STOPPED_TAG, list_began
from pi_dagster.dagster_record import SIGN_OF_LIFE_SECONDS, DagsterRecord
from pi_dagster.factory import build_pi_definitions
from pi_dagster.ingest.load_plans import Partition
from pi_dagster.lake.schemas import PI_ASSET_ATTRIBUTES, PI_ASSET_HIERARCHY, PI_POINTS, PI_TIMESERIES
from pi_dagster.runs_here import RunFailedError, RunInterruptedError, run_here
from pi_dagster.site import Site

_LOAD_ASSETS = "load_pi_assets"
_LOAD_POINTS = "load_pi_points"
_ROWS = "dagster/partition_row_count"

_OTHER_SITE = (
    "The Dagster that is running does not know these partitions: it runs with an older version of the site, or could "
    "not load it. Restart it (`dagster dev`) after each change of the site; it says then what it cannot load."
)
"""Why a backfill is refused that asks for partitions which the site of the running Dagster has not."""

_SECONDS_BETWEEN_LOOKS = 2.0
_UNFINISHED = (BulkActionStatus.REQUESTED, BulkActionStatus.CANCELING, BulkActionStatus.FAILING)


class DaemonStoppedError(Exception):
    """Dagster's daemon, which was to do a backfill, runs no more; the message says what becomes of it."""


@dataclass
class BackfillResult:
    """What became of the partitions.

    Args:
        partitions: those that were asked for, the oldest first.
        backfill_id: of Dagster's backfill, where Dagster loads them.
        loaded: the rows of each that is loaded.
        with_unread_tags: the keys of those that are loaded without tags that could not be read.
        failed: the keys of those that failed.
        reasons: why, as the failed runs told.
    """

    partitions: Sequence[Partition]
    backfill_id: str | None = None
    loaded: dict[str, int] = field(default_factory=dict)
    with_unread_tags: set[str] = field(default_factory=set)
    failed: set[str] = field(default_factory=set)
    reasons: list[str] = field(default_factory=list)

    @property
    def wanted(self) -> Sequence[str]:
        """The keys of all partitions."""
        return [str(partition_key(*partition)) for partition in self.partitions]

    @property
    def not_tried(self) -> Sequence[str]:
        """The partitions that no run came to."""
        return [key for key in self.wanted if key not in self.loaded and key not in self.failed]

    @property
    def left(self) -> Sequence[Partition]:
        """The partitions that are not loaded."""
        return [partition for partition in self.partitions if str(partition_key(*partition)) not in self.loaded]

    @property
    def all_loaded(self) -> bool:
        """True when nothing is left."""
        return len(self.loaded) == len(self.wanted)

    @property
    def rows(self) -> int:
        """Rows of all loaded partitions."""
        return sum(self.loaded.values())

    def add(self, materialization: dg.AssetMaterialization) -> None:
        """Count a materialization of pi_timeseries."""
        key = str(materialization.partition)
        rows, unread = materialization.metadata.get(_ROWS), materialization.metadata.get(FAILED_TAGS)
        self.loaded[key] = int(str(rows.value)) if rows is not None else 0
        if unread is not None and unread.value:
            self.with_unread_tags.add(key)

    def add_failure(self, failure: RunFailedError) -> None:
        """Count a run of this process that failed."""
        self.failed.update(failure.partitions)
        self.reasons.append(str(failure))

    def as_json(self) -> Mapping[str, Any]:
        """For programs."""
        return {
            "backfill_id": self.backfill_id,
            "partitions": len(self.wanted),
            "loaded": len(self.loaded),
            "rows": self.rows,
            "with_unread_tags": sorted(self.with_unread_tags),
            "failed": sorted(self.failed),
            "not_tried": self.not_tried,
            "reasons": self.reasons,
        }


class Backfill:
    """Partitions of pi_timeseries that somebody wants to be loaded, and what they need first.

    Args:
        site: the settings.
        record: Dagster's.
    """

    def __init__(self, site: Site, record: DagsterRecord) -> None:
        self._site = site
        self._record = record
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", category=dg.BetaWarning)
            self._definitions = build_pi_definitions(site)
        self._prefix = "".join(f"{part}_" for part in site.asset_key_prefix)
        self._timeseries, self._points, self._hierarchy, self._attributes = (
            dg.AssetKey([*site.asset_key_prefix, table.name])
            for table in (PI_TIMESERIES, PI_POINTS, PI_ASSET_HIERARCHY, PI_ASSET_ATTRIBUTES)
        )
        self._assets_of = {_LOAD_POINTS: [self._points], _LOAD_ASSETS: [self._hierarchy, self._attributes]}

    def not_loaded(self, partitions: Sequence[Partition]) -> Sequence[Partition]:
        """Those of `partitions` that the last run for them did not load to the day's end, for every tag.

        Whoever had a day loaded again wanted what the older load lacks, so that one does not count.
        """
        keys = [str(partition_key(*partition)) for partition in partitions]
        instance = self._record.instance
        ids = last_load_ids(instance, self._timeseries, keys)
        tried = last_try_ids(instance, self._timeseries, keys)
        whole: set[Partition] = set()
        for load in loads_by_id(instance, self._timeseries, list(ids.values())):
            told = load.asset_materialization.metadata.get(COMPLETE) if load.asset_materialization else None
            key = load.partition_key
            if told is not None and told.value is True and key is not None and load.storage_id > tried.get(key, 0):
                whole.add(split_partition_key(key))
        return [partition for partition in partitions if partition not in whole]

    def untouched(self, result: BackfillResult) -> Sequence[Partition]:
        """Those that `result` has not loaded although it wants them, and that are not among `not_loaded` either.

        They were loaded before, and no run was asked for them since.
        """
        left = result.left
        missing = set(self.not_loaded(left))
        return [partition for partition in left if partition not in missing]

    def load_here(self, result: BackfillResult, on_progress: Callable[[], None]) -> None:
        """Load the partitions that `result` wants in this process, oldest first, and go on after one that fails.

        Args:
            result: kept up to date.
            on_progress: told after each partition.

        Raises:
            RunFailedError: the list of tags could not be read.
            RunInterruptedError: Ctrl-C.
        """
        instance, groups = self._record.instance, self._site.partition_names()

        def on_materialization(materialization: dg.AssetMaterialization) -> None:
            if materialization.asset_key == self._timeseries:
                result.add(materialization)
                on_progress()

        for job in self._needed_first(result.partitions):
            run_here(self._job(job), instance, {}, on_materialization)
        blocks = partition_blocks(result.partitions, groups, longest=self._site.max_partitions_per_run)
        for block in sorted(blocks, key=lambda block: (block.first_day, groups.index(block.first_group))):
            goes_on = self._load_block(block, result, on_materialization)
            on_progress()
            if not goes_on:
                break

    def launch(self, result: BackfillResult) -> None:
        """Ask the running Dagster for them: a backfill as one that is launched in the UI.

        Args:
            result: is told the id of the backfill.
        """
        instance = self._record.instance
        needed = [key for job in self._needed_first(result.partitions) for key in self._assets_of[job]]
        keys = PartitionsSelector([PartitionRangeSelector(key, key) for key in result.wanted])
        backfill = PartitionBackfill.from_partitions_by_assets(
            backfill_id=uuid.uuid4().hex[:8],
            asset_graph=self._definitions.get_repository_def().asset_graph,
            backfill_timestamp=time.time(),
            tags={},
            dynamic_partitions_store=instance,
            partitions_by_assets=[
                *(PartitionsByAssetSelector(asset_key=key) for key in needed),
                PartitionsByAssetSelector(asset_key=self._timeseries, partitions=keys),
            ],
            title=None,
            description="Launched by pi-dagster backfill.",
            run_config=None,
        )
        instance.add_backfill(backfill)
        result.backfill_id = backfill.backfill_id

    def follow(self, result: BackfillResult, pause: Callable[[float], None]) -> Iterator[None]:
        """Keep a launched `result` up to date until its backfill has ended; one step a look.

        Args:
            result: kept up to date.
            pause: waits so many seconds.

        Raises:
            DaemonStoppedError: nobody goes on with it.
        """
        backfill_id = str(result.backfill_id)
        looked_at: set[int] = set()
        while True:
            began = time.monotonic()
            backfill = self._record.instance.get_backfill(backfill_id)
            has_ended = backfill is None or backfill.status not in _UNFINISHED
            self._count_loads(result, looked_at)
            yield
            if has_ended:
                break
            if not self._record.has_running_daemon():
                self._count_hidden_loads(result)
                self._count_failures(result)
                raise DaemonStoppedError(
                    f"Dagster's daemon has stopped: no sign of life of it for {SIGN_OF_LIFE_SECONDS:g} s. Its "
                    f"backfill {backfill_id} goes on when Dagster is started again; Runs, Backfills in its UI show it."
                )
            # A look at a hundred thousand partitions takes longer than one at ten.
            pause(max(_SECONDS_BETWEEN_LOOKS, 10 * (time.monotonic() - began)))
        if backfill is None or backfill.status is BulkActionStatus.CANCELED:
            result.reasons.append("The backfill was canceled in Dagster.")
        elif backfill.error is not None:
            is_of_another_site = backfill.error.cls_name == DagsterAssetBackfillDataLoadError.__name__
            result.reasons.append(_OTHER_SITE if is_of_another_site else backfill.error.message.strip())
        self._count_hidden_loads(result)
        self._count_failures(result)

    def _load_block(
        self,
        block: PartitionBlock,
        result: BackfillResult,
        on_materialization: Callable[[dg.AssetMaterialization], None],
    ) -> bool:
        """One run; returns whether the next may fare better, so false where the server or the lake is in trouble."""
        instance = self._record.instance
        try:
            run_here(self._job("load_pi_timeseries"), instance, block.run_tags(), on_materialization)
        except RunInterruptedError as interrupt:
            if interrupt.failure is not None:
                result.add_failure(interrupt.failure)
            raise
        except RunFailedError as failure:
            result.add_failure(failure)
            run = instance.get_run_by_id(failure.run_id)
            return bool(failure.partitions) and not (run is not None and STOPPED_TAG in run.tags)
        return True

    def _job(self, name: str) -> dg.JobDefinition:
        return self._definitions.resolve_job_def(f"{self._prefix}{name}")

    def _needed_first(self, partitions: Collection[Partition]) -> Sequence[str]:
        """Jobs: for the list of tags where it is not newer than the days, for AF elements that tag groups go by.

        A tag that was made during a day is in no older list.
        """
        instance = self._record.instance
        if self._site.has_groups_by_assets and not instance.get_latest_materialization_event(self._attributes):
            return [_LOAD_ASSETS, _LOAD_POINTS]
        last = max(day for day, _ in partitions)
        day_end = datetime.combine(last, time_of_day(), timezone.utc) + timedelta(days=1)
        since = min(day_end, datetime.now(timezone.utc) - timedelta(hours=1))
        listed = instance.get_latest_materialization_event(self._points)
        return [] if listed is not None and list_began(listed) >= since.timestamp() else [_LOAD_POINTS]

    def _count_loads(self, result: BackfillResult, looked_at: set[int]) -> None:
        open_keys = [key for key in result.wanted if key not in result.loaded]
        if not open_keys:
            return
        instance = self._record.instance
        ids = set(last_load_ids(instance, self._timeseries, open_keys).values()) - looked_at
        looked_at |= ids
        run_ids = {run.run_id for run in instance.get_runs(dg.RunsFilter(tags=_runs_of(result)))}
        for load in loads_by_id(instance, self._timeseries, ids):
            if load.run_id in run_ids and load.asset_materialization is not None:
                result.add(load.asset_materialization)

    def _count_hidden_loads(self, result: BackfillResult) -> None:
        """Count loads that were never the last ones of their partitions at a look, as a tail of today followed them."""
        instance, left = self._record.instance, frozenset(result.left)
        if not left:
            return
        groups = self._site.partition_names()
        for run in instance.get_runs(dg.RunsFilter(tags=_runs_of(result))):
            if left.isdisjoint(partitions_of_run(run, groups)):
                continue
            for entry in instance.all_logs(run.run_id, of_type=dg.DagsterEventType.ASSET_MATERIALIZATION):
                load = entry.asset_materialization
                if load is not None and load.asset_key == self._timeseries:
                    result.add(load)

    def _count_failures(self, result: BackfillResult) -> None:
        instance = self._record.instance
        for run in instance.get_runs(dg.RunsFilter(tags=_runs_of(result), statuses=[dg.DagsterRunStatus.FAILURE])):
            for failure in step_failures(instance, run.run_id):
                # A run that was repeated may have loaded them in the end.
                if failed := [key for key in failed_partitions(failure) if key not in result.loaded]:
                    result.failed.update(failed)
                    result.reasons.append(reason_of(failure))


def _runs_of(result: BackfillResult) -> Mapping[str, str]:
    return {BACKFILL_ID_TAG: str(result.backfill_id)}
