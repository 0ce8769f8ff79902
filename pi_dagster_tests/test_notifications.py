"""People are told of failed runs and red checks: once each, in few messages, and nothing is lost on the way."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from aiosmtpd.controller import Controller
from typer.testing import CliRunner

from pi_dagster.automation.frame_days import day_range_tags
from pi_dagster.automation.partitions import RANGE_END_TAG, RANGE_START_TAG, partition_key, range_tags
from pi_dagster.automation.schedules import LOAD_TAG
from pi_dagster.cli import app
from pi_dagster.components.site_file import load_site
from pi_dagster.factory import build_pi_definitions
from pi_dagster.notifications.delivery import trouble_of_address, trouble_of_sending
from pi_dagster.notifications.message import Message, message_of
from pi_dagster.notifications.problems import MOST_PROBLEMS, Problem, Problems, SensorMemory
from pi_dagster.site import Site
from pi_dagster.site_mistakes import SiteFileError
from pi_dagster_tests.sensor_daemon import SensorDaemon, sensor_daemon

SENSOR = "pi_notification_sensor"
HOOK = "PI_ALERTS_HOOK"
MAIL = "PI_ALERTS_MAIL"
TOKEN = "9f8e7d6c5b4a"
TODAY = {LOAD_TAG: "pi_timeseries: today"}
CHECK = dg.AssetCheckKey(dg.AssetKey("pi_timeseries"), "every_tag_read")

SITE_FILE = """\
type: pi_dagster.components.PISystemComponent
attributes:
  name: plant1
  server: {{url: "http://127.0.0.1:1/piwebapi", retry_budget_seconds: 0, connect_timeout_seconds: 1}}
  lake: {{uri: "{lake}"}}
  start_date: 2026-01-01
  asset_framework: null
  tag_groups: [{{name: all, tag_filter: "*"}}]
  notifications:
    targets_env: [{targets}]
    dagster_url: https://dagster.example.com/
    quiet_minutes: {quiet}
"""


def load_of_day(day: int, what: str = "closed day") -> dict[str, str]:
    return {LOAD_TAG: f"pi_timeseries: {what}", **range_tags(date(2026, 1, day), "all", "all")}


@dataclass
class Webhook:
    """A web server that takes messages, or says that it cannot."""

    url: str = ""
    status: int = 200
    messages: list[dict[str, Any]] = field(default_factory=list)

    def last(self) -> str:
        return str(self.messages[-1]["message"])


@pytest.fixture
def webhook(monkeypatch: pytest.MonkeyPatch) -> Iterator[Webhook]:
    hook = Webhook()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if hook.status == 200:
                hook.messages.append(json.loads(body))
            self.send_response(hook.status)
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        hook.url = f"json://127.0.0.1:{server.server_port}/{TOKEN}"
        monkeypatch.setenv(HOOK, hook.url)
        yield hook
        server.shutdown()


@dataclass
class Mailbox:
    """What a mail server has taken."""

    mails: list[str] = field(default_factory=list)

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:  # noqa: N802
        self.mails.append(envelope.content.decode())
        return "250 OK"


class MailServer(Controller):
    """On a free port, which the controller asks the operating system for but then does not look at."""

    def _trigger_server(self) -> None:
        assert self.server is not None
        self.port = self.server.sockets[0].getsockname()[1]
        super()._trigger_server()


@pytest.fixture
def mailbox(monkeypatch: pytest.MonkeyPatch) -> Iterator[Mailbox]:
    box = Mailbox()
    controller = MailServer(box, hostname="127.0.0.1", port=0, ready_timeout=60)
    controller.start()
    monkeypatch.setenv(MAIL, f"mailto://127.0.0.1:{controller.port}?from=pi@plant.example&to=shift@plant.example")
    yield box
    controller.stop()


@dataclass
class Watched:
    """A site, what Dagster knows of it, and its sensor."""

    site: Site
    instance: dg.DagsterInstance
    cursor: str | None = None
    said: str = ""

    def __post_init__(self) -> None:
        self.definitions = build_pi_definitions(self.site)
        self.repository = self.definitions.get_repository_def()
        self.tick()

    def tick(self) -> None:
        context = dg.build_sensor_context(
            instance=self.instance, cursor=self.cursor, repository_def=self.repository, sensor_name=SENSOR
        )
        result = self.repository.get_sensor_def(SENSOR)(context)
        assert isinstance(result, dg.SensorResult)
        self.cursor, self.said = result.cursor, str(result.skip_reason.skip_message if result.skip_reason else "")

    def later(self) -> None:
        """The addresses' quiet minutes pass."""
        memory = SensorMemory.load(self.cursor, now=0)
        memory.last_sent.clear()
        self.cursor = memory.dump()

    def run(self, *, works: bool | None, tags: dict[str, str] | None = None, job: str = "load_pi_timeseries") -> None:
        run = self.instance.create_run_for_job(
            self.definitions.resolve_job_def(job), tags=tags, status=dg.DagsterRunStatus.STARTED
        )
        if works is None:
            return
        kind = dg.DagsterEventType.RUN_SUCCESS if works else dg.DagsterEventType.RUN_FAILURE
        self.instance.report_dagster_event(dg.DagsterEvent(kind.value, job_name=job), run.run_id)

    def materialize(self, day: int) -> None:
        key = partition_key(date(2026, 1, day), "all")
        self.instance.report_runless_asset_event(dg.AssetMaterialization(CHECK.asset_key, partition=key))

    def check(self, *, passed: bool, severity: dg.AssetCheckSeverity = dg.AssetCheckSeverity.ERROR) -> None:
        self.instance.report_runless_asset_event(
            dg.AssetCheckEvaluation(
                asset_key=CHECK.asset_key,
                check_name=CHECK.name,
                passed=passed,
                severity=severity,
                metadata={"pi/unread_tags_and_days": dg.MetadataValue.int(3)},
            )
        )


def site_of(folder: Path, *, targets: str = HOOK, quiet: float = 0) -> Path:
    path = folder / "defs.yaml"
    path.write_text(SITE_FILE.format(lake=folder / "lake", targets=targets, quiet=quiet))
    return path


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as instance:
        yield instance


@pytest.fixture
def watched(tmp_path: Path, webhook: Webhook, instance: dg.DagsterInstance) -> Watched:
    return Watched(load_site(site_of(tmp_path)), instance)


def test_without_the_section_there_is_no_sensor_and_with_it_it_is_on(tmp_path: Path, webhook: Webhook) -> None:
    site = load_site(site_of(tmp_path))
    sensors = {sensor.name: sensor.default_status for sensor in build_pi_definitions(site).sensors or ()}
    assert sensors[SENSOR] is dg.DefaultSensorStatus.RUNNING
    without = site.model_copy(update={"notifications": None})
    assert SENSOR not in {sensor.name for sensor in build_pi_definitions(without).sensors or ()}


def test_a_failed_run_is_told_with_all_that_somebody_needs(watched: Watched, webhook: Webhook) -> None:
    job = watched.definitions.resolve_job_def("load_pi_points")
    failed = job.execute_in_process(instance=watched.instance, raise_on_error=False)
    watched.tick()
    (message,) = webhook.messages
    assert message["title"] == "pi_dagster plant1: 1 new problem"
    told = webhook.last()
    for part in (
        "Site plant1, PI server http://127.0.0.1:1/piwebapi",
        "A run of load_pi_points failed",
        "  Since: 20",
        "  Why: No answer from http://127.0.0.1:1/piwebapi",
        "  What to do: put right what the reason names, and repeat the run.",
        f"  See: https://dagster.example.com/runs/{failed.run_id}",
    ):
        assert part in told


def test_a_load_that_fails_every_five_minutes_is_told_once_and_once_more_when_it_works(
    watched: Watched, webhook: Webhook
) -> None:
    for _ in range(3):
        watched.run(works=False, tags=TODAY)
        watched.tick()
    assert len(webhook.messages) == 1
    watched.run(works=True, tags={LOAD_TAG: "pi_timeseries: closed day"})
    watched.tick()
    assert len(webhook.messages) == 1
    watched.run(works=True, tags=TODAY)
    watched.tick()
    assert webhook.messages[-1]["title"] == "pi_dagster plant1: 1 over"
    assert "- A load failed (pi_timeseries: today), " in webhook.last()
    assert ", 3 times; over since " in webhook.last()
    watched.tick()
    assert len(webhook.messages) == 2
    watched.run(works=False, tags=TODAY)
    watched.tick()
    assert "1 new problem" in webhook.messages[-1]["title"]


def test_a_day_that_failed_is_over_once_it_is_loaded_by_whatever_run(watched: Watched, webhook: Webhook) -> None:
    watched.run(works=False, tags=load_of_day(27))
    watched.tick()
    watched.run(works=True, tags=load_of_day(28))
    watched.tick()
    assert [message["title"] for message in webhook.messages] == ["pi_dagster plant1: 1 new problem"]
    watched.materialize(27)
    watched.tick()
    assert webhook.messages[-1]["title"] == "pi_dagster plant1: 1 over"
    assert "- A load failed (pi_timeseries: closed day), 2026-01-27|all, 20" in webhook.last()


def test_a_day_that_is_tried_again_and_fails_is_the_same_problem(watched: Watched, webhook: Webhook) -> None:
    watched.run(works=False, tags=load_of_day(27))
    watched.tick()
    watched.run(works=False, tags=load_of_day(27, "failed day"))
    watched.tick()
    assert len(webhook.messages) == 1


def test_a_day_that_is_being_tried_again_is_not_over(watched: Watched, webhook: Webhook) -> None:
    watched.run(works=False, tags=load_of_day(27))
    watched.run(works=None, tags=load_of_day(27, "failed day"))
    watched.tick()
    assert "; over since " not in webhook.last()


def test_days_without_tag_groups_are_over_once_they_are_loaded(watched: Watched, webhook: Webhook) -> None:
    daily = dg.AssetKey("pi_timeseries_daily")
    days = {LOAD_TAG: "pi_timeseries_daily: days", **day_range_tags(date(2026, 1, 26), date(2026, 1, 27))}
    watched.run(works=False, tags=days, job="compute_pi_timeseries_daily")
    watched.tick()
    watched.instance.report_runless_asset_event(dg.AssetMaterialization(daily, partition="2026-01-26"))
    watched.tick()
    assert len(webhook.messages) == 1
    watched.instance.report_runless_asset_event(dg.AssetMaterialization(daily, partition="2026-01-27"))
    watched.tick()
    assert webhook.messages[-1]["title"] == "pi_dagster plant1: 1 over"


def test_each_day_that_failed_is_a_problem_of_its_own(watched: Watched, webhook: Webhook) -> None:
    for day in (27, 28):
        watched.run(works=False, tags=load_of_day(day))
    watched.tick()
    assert webhook.messages[-1]["title"] == "pi_dagster plant1: 2 new problems"
    watched.materialize(28)
    watched.tick()
    assert webhook.messages[-1]["title"] == "pi_dagster plant1: 1 over"
    assert "Told before and still open: 1." in webhook.last()


def test_a_run_that_dagster_repeats_by_itself_is_not_told(watched: Watched, webhook: Webhook) -> None:
    watched.run(works=False, tags={**TODAY, "dagster/will_retry": "true"})
    watched.tick()
    assert webhook.messages == []


def test_what_happened_before_the_sensor_is_not_told(
    tmp_path: Path, webhook: Webhook, instance: dg.DagsterInstance
) -> None:
    site = load_site(site_of(tmp_path))
    watched = Watched(site, instance)
    watched.run(works=False, tags=TODAY)
    later = Watched(site, instance, cursor=SensorMemory(Problems(), looked_until=2**31).dump())
    later.tick()
    assert webhook.messages == []


def test_a_burst_is_two_messages(tmp_path: Path, webhook: Webhook, instance: dg.DagsterInstance) -> None:
    watched = Watched(load_site(site_of(tmp_path, quiet=15)), instance)
    watched.run(works=False, tags={LOAD_TAG: "the first"})
    watched.tick()
    for number in range(150):
        watched.run(works=False, tags={LOAD_TAG: f"number {number}"})
        if number % 30 == 0:
            watched.tick()
    watched.tick()
    assert len(webhook.messages) == 1
    assert f"{HOOK} is told in " in watched.said
    watched.later()
    watched.tick()
    assert len(webhook.messages) == 2
    assert webhook.messages[-1]["title"] == f"pi_dagster plant1: {MOST_PROBLEMS - 1} new problems"
    assert webhook.last().count("What to do:") == 20
    assert f"No more than {MOST_PROBLEMS} problems are followed at once" in webhook.last()
    assert len(str(watched.cursor)) < 200_000


def test_a_backfill_is_one_problem_until_it_ends(watched: Watched, webhook: Webhook) -> None:
    for works in (False, True, False):
        watched.run(works=works, tags={"dagster/backfill": "abcdefgh"})
        watched.tick()
    assert "The backfill abcdefgh has partitions that failed" in str(webhook.messages[0]["message"])


def test_how_to_repeat_what_failed_of_a_backfill_is_told_with_its_days(watched: Watched, webhook: Webhook) -> None:
    days = {RANGE_START_TAG: "2026-03-01|all", RANGE_END_TAG: "2026-03-30|all"}
    watched.run(works=False, tags={"dagster/backfill": "abcdefgh", **days})
    watched.tick()
    assert "`pi-dagster backfill --from 2026-03-01 --to 2026-03-30 --missing`" in webhook.last()


def test_no_command_is_told_for_a_backfill_of_what_it_does_not_load(watched: Watched, webhook: Webhook) -> None:
    watched.run(works=False, tags={"dagster/backfill": "abcdefgh"}, job="load_pi_points")
    watched.tick()
    assert 'then "Backfill only failed and missing partitions" in the UI repeats what failed.' in webhook.last()


def test_a_red_check_is_told_once_until_it_is_green(watched: Watched, webhook: Webhook) -> None:
    watched.check(passed=False)
    watched.tick()
    watched.check(passed=False)
    watched.tick()
    (message,) = webhook.messages
    assert "The check every_tag_read of pi_timeseries is red" in message["message"]
    assert "  Why: unread_tags_and_days: 3" in message["message"]
    assert (
        "  See: https://dagster.example.com/assets/pi_timeseries?view=checks&checkDetail=every_tag_read"
        in message["message"]
    )
    watched.check(passed=True)
    watched.tick()
    assert webhook.messages[-1]["title"] == "pi_dagster plant1: 1 over"


@pytest.mark.parametrize(("least", "messages"), [("error", 0), ("warn", 1)])
def test_warnings_are_told_where_the_site_wants_them(
    tmp_path: Path, webhook: Webhook, instance: dg.DagsterInstance, least: str, messages: int
) -> None:
    path = site_of(tmp_path)
    path.write_text(path.read_text() + f"    least_severity: {least}\n")
    watched = Watched(load_site(path), instance)
    watched.check(passed=False, severity=dg.AssetCheckSeverity.WARN)
    watched.tick()
    assert len(webhook.messages) == messages


def test_a_webhook_that_is_down_fails_nothing_and_gets_the_message_later(watched: Watched, webhook: Webhook) -> None:
    webhook.status = 503
    watched.run(works=False, tags=TODAY)
    watched.tick()
    assert f"The message to {HOOK} could not be delivered: " in watched.said
    assert "503" in watched.said
    watched.run(works=True, tags=TODAY)
    watched.tick()
    webhook.status = 200
    watched.tick()
    (message,) = webhook.messages
    assert "A load failed (pi_timeseries: today)" in message["message"]
    assert "; over since " in message["message"]
    watched.tick()
    assert len(webhook.messages) == 1


def test_one_address_that_is_down_does_not_hold_up_the_other(
    tmp_path: Path, webhook: Webhook, mailbox: Mailbox, instance: dg.DagsterInstance
) -> None:
    webhook.status = 500
    watched = Watched(load_site(site_of(tmp_path, targets=f"{HOOK}, {MAIL}")), instance)
    watched.run(works=False, tags=TODAY)
    watched.tick()
    watched.tick()
    assert len(mailbox.mails) == 1
    webhook.status = 200
    watched.tick()
    assert len(webhook.messages) == len(mailbox.mails) == 1


def test_a_mail_is_plain_text_with_a_subject(tmp_path: Path, mailbox: Mailbox, instance: dg.DagsterInstance) -> None:
    watched = Watched(load_site(site_of(tmp_path, targets=MAIL)), instance)
    watched.run(works=False, tags=TODAY)
    watched.tick()
    (mail,) = mailbox.mails
    assert "Subject: pi_dagster plant1: 1 new problem" in mail
    assert "Content-Type: text/plain" in mail
    assert "To: shift@plant.example" in mail


@pytest.mark.parametrize("value", ["", "hooks.slack.com/services/T/B/C", "https://example.com/hook"])
def test_a_variable_without_an_address_is_told_and_fails_nothing(
    watched: Watched, monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    monkeypatch.setenv(HOOK, value)
    watched.run(works=False, tags=TODAY)
    watched.tick()
    assert f"The environment variable {HOOK} " in watched.said
    assert value not in watched.said or not value


def test_no_part_of_an_address_is_told_when_nobody_answers_there(monkeypatch: pytest.MonkeyPatch) -> None:
    for value in (f"json://user:{TOKEN}@127.0.0.1:1/{TOKEN}", TOKEN):
        monkeypatch.setenv(HOOK, value)
        trouble = trouble_of_sending(Message("title", "body"), HOOK)
        assert trouble is not None
        assert TOKEN not in trouble


def test_check_names_an_address_that_is_none_and_sends_trials(
    tmp_path: Path, webhook: Webhook, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = site_of(tmp_path)
    told = [trouble_of_address(HOOK)]
    monkeypatch.setenv(HOOK, "nothing that is known")
    result = CliRunner().invoke(app, ["check", "--site", str(path)])
    assert f"Error: The environment variable {HOOK} holds no address" in result.stderr
    monkeypatch.setenv(HOOK, webhook.url)
    result = CliRunner().invoke(app, ["check", "--site", str(path), "--notify"])
    assert f"Note: {HOOK} was sent a trial message." in result.stderr
    assert [message["title"] for message in webhook.messages] == ["pi_dagster plant1: a trial"]
    assert told == [None]


def test_memory_that_cannot_be_read_begins_anew() -> None:
    for cursor in (None, "", "{}", "[1]", '{"problems": [{}]}', "no JSON"):
        assert SensorMemory.load(cursor, now=5.0).looked_until == 5.0


def test_what_is_over_before_anybody_was_told_is_told_as_both(tmp_path: Path) -> None:
    problems = Problems()
    problems.has(Problem("key", "It broke", "here", 0.0, "because", "mend it", "/runs/1"))
    problems.is_over("key", 60.0)
    message = message_of(load_site(site_of(tmp_path)), problems.due(HOOK))
    assert "1970-01-01 00:00 UTC; over since 1970-01-01 00:01 UTC" in message.body
    problems.tell(HOOK, problems.due(HOOK))
    problems.forget([HOOK], now=61.0)
    assert list(problems) == []


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        (f"[{HOOK}]", "[]", "`notifications.targets_env`: must not be empty; name at least one"),
        (f"[{HOOK}]", "[https://hooks.slack.com/services/T/B/C]", "this is the name of an environment variable"),
        (f"[{HOOK}]", f"[{HOOK}, {HOOK}]", "names a variable twice"),
        ("https://dagster.example.com/", "dagster", "is not an address for browsers"),
        ("quiet_minutes: 0", "quiet_minutes: -1", "`notifications.quiet_minutes`: must be at least 0"),
    ],
)
def test_a_wrong_setting_is_refused(tmp_path: Path, old: str, new: str, said: str) -> None:
    path = site_of(tmp_path)
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))
    with pytest.raises(SiteFileError) as refused:
        load_site(path)
    assert said in str(refused.value)


def test_dagsters_daemon_tells_and_remembers(tmp_path: Path, webhook: Webhook, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PI_DAGSTER_SITE", str(site_of(tmp_path)))
    with sensor_daemon(SensorDaemon, SENSOR, tmp_path) as daemon:
        daemon.runs_of_tick()
        job = build_pi_definitions(load_site(tmp_path / "defs.yaml")).resolve_job_def("load_pi_points")
        job.execute_in_process(instance=daemon.instance, raise_on_error=False)
        daemon.runs_of_tick()
        daemon.restart()
        daemon.runs_of_tick()
    assert [message["title"] for message in webhook.messages] == ["pi_dagster plant1: 1 new problem"]
