"""`pi-dagster backfill`: what it loads, by whom, what it says in a log, and how it ends."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.errors import DagsterAssetBackfillDataLoadError
from dagster._core.execution.backfill import BulkActionStatus
from dagster._core.instance.ref import InstanceRef
from dagster._core.storage.tags import BACKFILL_ID_TAG
from dagster._daemon.types import DaemonHeartbeat
from dagster._utils.error import serializable_error_info_from_exc_info
from typer.testing import CliRunner, Result

from pi_dagster.automation.partitions import TAIL_TAG, range_tags
from pi_dagster.backfill import Backfill, BackfillResult
from pi_dagster.cli import app
from pi_dagster.components.site_file import load_site
from pi_dagster.dagster_record import open_record
from pi_dagster.simulator import Fault, FaultKind
from pi_dagster.webid import point_webid
from pi_dagster_tests.ctrl_c import press_at, press_where_the_exception_is_lost
from pi_dagster_tests.small_plant import DAYS, GROUPS, KEYS, ROWS_PER_PARTITION, TODAY, SmallPlant, small_plant

COMMAND = [sys.executable, "-c", "from pi_dagster.cli import main; main()"]
ALL_DAYS = ("--from", DAYS[0])
TIMESERIES = dg.AssetKey("pi_timeseries")


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    home = tmp_path / "dagster_home"
    home.mkdir()
    monkeypatch.setenv("DAGSTER_HOME", str(home))
    return home


@pytest.fixture
def plant(tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[SmallPlant]:
    with small_plant(tmp_path) as plant:
        monkeypatch.chdir(tmp_path)
        monkeypatch.setenv("PI_DAGSTER_SITE", str(plant.site_file))
        yield plant


def backfill(*options: object) -> Result:
    return CliRunner().invoke(app, ["backfill", *map(str, options)])


def facts(*options: object) -> dict[str, object]:
    return dict(json.loads(backfill(*options, "--json").stdout))


def materialized(home: Path) -> set[str]:
    with dg.DagsterInstance.from_ref(InstanceRef.from_dir(str(home))) as instance:
        return set(instance.get_materialized_partitions(TIMESERIES))


def test_it_loads_the_days_and_groups_and_dagster_knows_of_it(plant: SmallPlant, home: Path) -> None:
    result = backfill(*ALL_DAYS, "--group", "pumps", "--group", "tanks")
    assert result.exit_code == 0, result.output
    assert plant.rows() == plant.expected_rows(DAYS, ["pumps", "tanks"])
    assert materialized(home) == {key for key in KEYS if not key.endswith("boilers")}
    assert f"6 of 6 partitions loaded, {6 * ROWS_PER_PARTITION} rows" in result.stderr


def test_without_a_choice_it_is_yesterday(plant: SmallPlant, home: Path) -> None:
    assert backfill().exit_code == 0
    assert materialized(home) == {f"{DAYS[2]}|{group}" for group in GROUPS}


def test_a_partition_that_fails_leaves_the_others_loaded_and_missing_brings_it_in(plant: SmallPlant) -> None:
    plant.forbid_tag("PMP01.SPEED")
    result = backfill(*ALL_DAYS, "--json")
    told = json.loads(result.stdout)
    assert result.exit_code == 1
    assert (told["partitions"], told["loaded"], told["not_tried"]) == (9, 6, [])
    assert told["failed"] == sorted(key for key in KEYS if key.endswith("pumps"))
    assert "PMP01.SPEED" in result.stderr
    assert "the same command with --missing loads what is left" in result.stderr
    plant.running.faults.clear()
    assert facts(*ALL_DAYS, "--missing")["partitions"] == 3
    assert plant.rows() == plant.expected_rows(DAYS)
    again = backfill(*ALL_DAYS, "--missing")
    assert (again.exit_code, again.stderr.splitlines()[-1][:16]) == (0, "Nothing to load:")


def test_a_reload_that_failed_is_missing(plant: SmallPlant) -> None:
    assert backfill("--from", DAYS[1]).exit_code == 0
    plant.forbid_tag("PMP01.SPEED")
    result = backfill("--from", DAYS[1])
    assert "the same command with --missing loads what is left" in result.stderr
    plant.running.faults.clear()
    told = facts("--from", DAYS[1], "--missing")
    assert (told["partitions"], told["loaded"]) == (2, 2)
    assert backfill("--from", DAYS[1], "--missing").stderr.startswith("Nothing to load:")


def test_a_partition_that_an_interrupted_reload_left_out_is_missing(
    plant: SmallPlant, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert backfill("--from", DAYS[1], "--group", "tanks").exit_code == 0
    with monkeypatch.context() as while_loading:
        press_at(while_loading, dg.DagsterEventType.ASSET_MATERIALIZATION)
        # One run, as the site takes two partitions a run.
        result = backfill("--from", DAYS[1], "--group", "tanks")
    assert "They stay; the same command with --missing loads what is left." in result.stderr
    told = facts("--from", DAYS[1], "--group", "tanks", "--missing")
    assert (told["partitions"], told["loaded"]) == (1, 1)


def test_where_missing_would_leave_out_what_no_run_was_asked_for_that_is_told(plant: SmallPlant) -> None:
    assert backfill(*ALL_DAYS, "--group", "tanks").exit_code == 0
    plant.running.faults.add(Fault(kind=FaultKind.STATUS, status=503, route="*recorded"))
    result = backfill(*ALL_DAYS, "--group", "tanks")
    # The first run is for one partition, and the second, for two, is not asked for.
    assert (
        f"the same command with --from {DAYS[0]} loads what is left; with --missing it would leave out 2 partitions "
        "loaded before, for which no run was asked this time."
    ) in result.stderr
    assert facts(*ALL_DAYS, "--group", "tanks", "--missing")["partitions"] == 1


def test_a_partition_that_is_kept_without_a_tag_is_told(plant: SmallPlant) -> None:
    plant.keep_on_tag_errors()
    plant.forbid_tag("PMP02.SPEED")
    result = backfill("--json")
    told = json.loads(result.stdout)
    assert (result.exit_code, told["loaded"], told["with_unread_tags"]) == (0, 3, [f"{DAYS[2]}|pumps"])
    (note,) = [line for line in result.stderr.splitlines() if line.startswith("Note: ")]
    assert note.startswith(f"Note: 1 partition is loaded without tags that could not be read ({DAYS[2]}|pumps); ")


def test_a_server_that_goes_away_ends_it_after_one_run(plant: SmallPlant) -> None:
    assert backfill("--group", "tanks").exit_code == 0
    plant.running.faults.add(Fault(kind=FaultKind.STATUS, status=503, route="*recorded"))
    told = facts(*ALL_DAYS, "--group", "boilers")
    # The site takes two partitions a run; the second of the first run is not tried, nor is the second run.
    assert len(list(told["failed"])) == 1  # type: ignore[call-overload]
    assert len(list(told["not_tried"])) == 2  # type: ignore[call-overload]


def test_what_every_run_would_be_refused_is_told_before_any(plant: SmallPlant, tmp_path: Path) -> None:
    plant.lake.write_text("a file where the folder should be")
    result = backfill()
    assert result.exit_code == 2
    assert "cannot be written" in result.stderr


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--to", f"{TODAY + timedelta(days=1):%Y-%m-%d}"], "is in the future"),
        (["--from", DAYS[1], "--to", DAYS[0]], f"--from {DAYS[1]} is after --to {DAYS[0]}"),
        (["--from", "2001-01-01"], "is before the site's `start_date`"),
        (["--from", "yesterday"], "Invalid value for '--from': write a day like 2026-11-01"),
        (["--group", "boiler"], "the site has no tag group 'boiler' (it has: boilers, pumps, tanks)"),
    ],
)
def test_a_choice_that_cannot_be_is_the_users_mistake(plant: SmallPlant, options: list[str], said: str) -> None:
    result = backfill(*options)
    assert result.exit_code == 2
    assert said in result.stderr


@pytest.mark.parametrize("named", ["nowhere", "/nowhere/at/all"])
def test_a_dagster_home_that_is_not_there(plant: SmallPlant, monkeypatch: pytest.MonkeyPatch, named: str) -> None:
    monkeypatch.setenv("DAGSTER_HOME", named)
    result = backfill()
    assert result.exit_code == 2
    assert f"Error: DAGSTER_HOME is {named}, which must be the absolute path of a folder" in result.stderr


def test_settings_of_dagster_that_are_wrong(plant: SmallPlant, home: Path) -> None:
    (home / "dagster.yaml").write_text("storage: {mongodb: {}}\n")
    result = backfill()
    assert result.exit_code == 2
    assert f"Error: Dagster's record cannot be opened by {home / 'dagster.yaml'}: " in result.stderr


def test_without_a_place_for_dagsters_record_that_is_said(plant: SmallPlant, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DAGSTER_HOME")
    result = backfill("--group", "tanks")
    assert result.exit_code == 0
    assert "Note: Dagster will not know of it" in result.stderr


def test_without_a_place_for_dagsters_record_missing_is_not_offered_and_said_to_load_all(
    plant: SmallPlant, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("DAGSTER_HOME")
    plant.keep_on_tag_errors()
    plant.forbid_tag("PMP01.SPEED")
    unread = backfill("--group", "pumps")
    assert (unread.exit_code, "--missing" in unread.stderr) == (0, False)
    assert "When that is put right, the same command reads them." in unread.stderr
    plant.running.faults.add(Fault(kind=FaultKind.STATUS, status=503, route="*recorded"))
    failed = backfill("--from", DAYS[1], "--group", "pumps")
    assert (failed.exit_code, "--missing" in failed.stderr) == (1, False)
    assert f"the same command with --from {DAYS[1]} loads what is left" in failed.stderr
    plant.running.faults.clear()
    again = backfill("--group", "tanks", "--missing", "--json")
    assert json.loads(again.stdout)["loaded"] == 1
    assert "--missing leaves out nothing" in again.stderr


def test_ctrl_c_keeps_what_is_loaded_and_missing_loads_the_rest(plant: SmallPlant, home: Path) -> None:
    tank = plant.base.point_by_name("TNK01.LEVEL")
    assert tank is not None
    archive = plant.running.archive
    web_id = point_webid(archive.server_id, tank.id, archive.server_name, tank.name).identity
    plant.running.faults.add(Fault(kind=FaultKind.SLOW, seconds=600.0, route="*recorded", web_id=web_id))
    with subprocess.Popen(
        [*COMMAND, "backfill", *ALL_DAYS, "--json"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as command:
        while len(materialized(home)) < 2:
            assert command.poll() is None
        command.send_signal(signal.SIGINT)
        output, errors = command.communicate(timeout=60)
    assert command.returncode == 130, errors
    assert "Traceback" not in errors
    loaded = json.loads(output)["loaded"]
    assert loaded == 2
    assert f"Interrupted. {loaded} of 9 partitions loaded" in errors
    plant.running.faults.clear()
    assert facts(*ALL_DAYS, "--missing")["loaded"] == 9 - loaded
    assert plant.rows() == plant.expected_rows(DAYS)


def test_ctrl_c_while_a_partition_is_recorded_leaves_the_next_for_later(
    plant: SmallPlant, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert backfill("--group", "tanks").exit_code == 0
    press_at(monkeypatch, dg.DagsterEventType.ASSET_MATERIALIZATION)
    # One run, as the site takes two partitions a run.
    result = backfill("--from", DAYS[1], "--group", "tanks", "--json")
    assert result.exit_code == 130, result.output
    told = json.loads(result.stdout)
    assert (told["loaded"], told["not_tried"]) == (1, [f"{DAYS[2]}|tanks"])


def test_ctrl_c_after_a_failure_hides_nothing(plant: SmallPlant, monkeypatch: pytest.MonkeyPatch) -> None:
    press_at(monkeypatch, dg.DagsterEventType.STEP_FAILURE)
    plant.forbid_tag("PMP01.SPEED")
    result = backfill("--group", "pumps", "--json")
    told = json.loads(result.stdout)
    assert result.exit_code == 130
    assert (told["failed"], told["not_tried"]) == ([f"{DAYS[2]}|pumps"], [])
    assert "PMP01.SPEED" in told["reasons"][0]


def test_a_log_gets_no_control_characters(plant: SmallPlant) -> None:
    done = subprocess.run([*COMMAND, "backfill", *ALL_DAYS], capture_output=True, check=True)
    assert not re.search(rb"[\r\x1b]", done.stdout + done.stderr)


def test_the_list_of_tags_is_read_again_where_it_is_older_than_the_days(plant: SmallPlant, home: Path) -> None:
    def lists() -> int:
        with dg.DagsterInstance.from_ref(InstanceRef.from_dir(str(home))) as instance:
            return len(instance.fetch_materializations(dg.AssetKey("pi_points"), limit=10).records)

    backfill("--group", "tanks")
    backfill("--group", "tanks")
    assert lists() == 1
    with dg.DagsterInstance.from_ref(InstanceRef.from_dir(str(home))) as instance:
        instance.report_runless_asset_event(dg.AssetMaterialization("pi_points", metadata={"load/seconds": 100_000.0}))
    backfill("--group", "tanks")
    assert lists() == 3


def _sign_of_life(timestamp: float) -> DaemonHeartbeat:
    return DaemonHeartbeat(timestamp=timestamp, daemon_type="BACKFILL", daemon_id="of a test", errors=[])


def test_where_dagster_runs_a_backfill_of_its_is_launched(plant: SmallPlant, home: Path) -> None:
    with dg.DagsterInstance.from_ref(InstanceRef.from_dir(str(home))) as instance:
        instance.add_daemon_heartbeat(_sign_of_life(datetime.now(timezone.utc).timestamp()))
        told = facts(*ALL_DAYS, "--group", "tanks", "--no-wait")
        (launched,) = instance.get_backfills()
        assert launched.backfill_id == told["backfill_id"]
        assert [key.to_user_string() for key in launched.asset_selection or ()] == ["pi_points", "pi_timeseries"]
    assert materialized(home) == set()
    assert facts(*ALL_DAYS, "--group", "tanks", "--here")["loaded"] == 3


def test_ctrl_c_is_heard_wherever_the_waiting_is(
    plant: SmallPlant, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    get_backfill = dg.DagsterInstance.get_backfill
    looks = []

    def look(instance: dg.DagsterInstance, backfill_id: str) -> object:
        looks.append(backfill_id)
        assert len(looks) == 1, "it has not heard and looks again"
        press_where_the_exception_is_lost()
        return get_backfill(instance, backfill_id)

    monkeypatch.setattr(dg.DagsterInstance, "get_backfill", look)
    with dg.DagsterInstance.from_ref(InstanceRef.from_dir(str(home))) as instance:
        instance.add_daemon_heartbeat(_sign_of_life(datetime.now(timezone.utc).timestamp()))
        result = backfill("--group", "tanks")
    assert result.exit_code == 130
    assert "Interrupted. 0 of 1 partition loaded, 0 rows. Dagster goes on with its backfill" in result.stderr


def test_a_daemon_that_stops_is_not_waited_for(plant: SmallPlant, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    get_backfill = dg.DagsterInstance.get_backfill
    looks = []

    def look(instance: dg.DagsterInstance, backfill_id: str) -> object:
        looks.append(backfill_id)
        assert len(looks) == 1, "it has not noticed and looks again"
        instance.add_daemon_heartbeat(_sign_of_life(0.0))
        return get_backfill(instance, backfill_id)

    with dg.DagsterInstance.from_ref(InstanceRef.from_dir(str(home))) as instance:
        instance.add_daemon_heartbeat(_sign_of_life(datetime.now(timezone.utc).timestamp()))
        with monkeypatch.context() as while_waiting:
            while_waiting.setattr(dg.DagsterInstance, "get_backfill", look)
            result = backfill("--group", "tanks", "--json")
        (launched,) = instance.get_backfills()
    assert result.exit_code == 1, result.output
    (reason,) = json.loads(result.stdout)["reasons"]
    assert f"Its backfill {launched.backfill_id} goes on when Dagster is started again" in reason
    assert reason in result.stderr
    assert "--missing" not in result.stderr
    assert launched.status is BulkActionStatus.REQUESTED


def test_a_dagster_that_was_not_restarted_since_the_site_was_edited_is_told_as_that(plant: SmallPlant) -> None:
    with open_record() as record:
        record.instance.add_daemon_heartbeat(_sign_of_life(datetime.now(timezone.utc).timestamp()))
        work, result = Backfill(load_site(plant.site_file), record), BackfillResult([(TODAY.date(), "tanks")])
        work.launch(result)

        def the_daemon_refuses(seconds: float) -> None:
            launched = record.instance.get_backfill(str(result.backfill_id))
            assert launched is not None
            try:
                raise DagsterAssetBackfillDataLoadError("Targeted partitions have been removed")
            except DagsterAssetBackfillDataLoadError:
                error = serializable_error_info_from_exc_info(sys.exc_info())
            record.instance.update_backfill(launched.with_status(BulkActionStatus.FAILED).with_error(error))

        list(work.follow(result, the_daemon_refuses))
    (reason,) = result.reasons
    assert "it runs with an older version of the site, or could not load it. Restart it (`dagster dev`)" in reason


def test_a_load_that_a_tail_followed_before_the_next_look_is_counted(plant: SmallPlant, home: Path) -> None:
    assert backfill("--group", "tanks").exit_code == 0
    today = range_tags(TODAY.date(), "tanks", "tanks")
    with open_record() as record:
        record.instance.add_daemon_heartbeat(_sign_of_life(datetime.now(timezone.utc).timestamp()))
        work, result = Backfill(load_site(plant.site_file), record), BackfillResult([(TODAY.date(), "tanks")])
        work.launch(result)
        job = plant.definitions().resolve_job_def("load_pi_timeseries")

        def both_run(seconds: float) -> None:
            for tags in ({BACKFILL_ID_TAG: str(result.backfill_id)}, {TAIL_TAG: "true"}):
                assert job.execute_in_process(instance=record.instance, tags={**today, **tags}).success
            launched = record.instance.get_backfill(str(result.backfill_id))
            assert launched is not None
            record.instance.update_backfill(launched.with_status(BulkActionStatus.COMPLETED_SUCCESS))

        list(work.follow(result, both_run))
    assert result.all_loaded
