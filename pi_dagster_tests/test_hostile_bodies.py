"""No body brings the client down: what cannot be used is one of our errors, whatever it is.

The bodies are real ones, caught on their way from a simulated server to what parses them, and bent. The number of
cases is small here; HOSTILE_CASES in the environment makes it larger.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path
from random import Random
from typing import Any

import pyarrow.compute as pc
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pi_dagster.assets.failures import EXPECTED_ERRORS
from pi_dagster.ingest.assets import refresh_assets
from pi_dagster.ingest.points import refresh_points
from pi_dagster.lake import Lake
from pi_dagster.piwebapi import PIWebAPISource, StreamRef, objects
from pi_dagster.piwebapi.answers import _parse_batch, _parse_streamset
from pi_dagster.piwebapi.asset_framework import find_asset_server, list_databases
from pi_dagster.piwebapi.decode import decode_streamset, event_table
from pi_dagster.piwebapi.errors import BrokenAnswerError, PIWebAPIError
from pi_dagster.piwebapi.event_frame_attributes import read_attributes
from pi_dagster.piwebapi.event_frames import FrameSearch, find_event_frames
from pi_dagster.piwebapi.planning import Request
from pi_dagster.piwebapi.refusals import error_text
from pi_dagster.piwebapi.retrying import RetryPolicy
from pi_dagster.piwebapi.transport import Parameters, Transport
from pi_dagster.simulator import RunningSimulator, Simulator, SimulatorSettings
from pi_dagster.site import LakeSettings, ServerSettings, Site, TagGroup
from pi_dagster.webid import point_webid
from pi_dagster_tests.hostile_bodies import CORPUS, NAMES, NUMBERS, TIMES, WEB_IDS, events_body, mutated
from pi_dagster_tests.mixed_plant import DAY, NEXT_DAY, mixed_archive
from pi_dagster_tests.test_piwebapi_transport import Script, answer, serving

CASES = int(os.environ.get("HOSTILE_CASES", "300"))
ONCE = RetryPolicy(budget_seconds=0)
MODES = ("streamset", "batch")

hostile = settings(max_examples=CASES, suppress_health_check=list(HealthCheck))


@dataclass(frozen=True)
class Caught:
    """A body on its way, and what was to parse it."""

    name: str
    parse: Callable[[bytes], Any]
    body: bytes


@pytest.fixture(scope="module")
def simulator() -> Iterator[RunningSimulator]:
    settings = SimulatorSettings(rate_limit_requests=None, rate_limit_searches=None)
    with Simulator(archive=mixed_archive(dense_tag_events=300), settings=settings).serve() as running:
        yield running


@pytest.fixture(scope="module")
def site(simulator: RunningSimulator) -> Site:
    return Site(
        server=ServerSettings(url=simulator.url, max_items_per_call=2000, max_requests_per_second=1000),
        lake=LakeSettings(uri=tempfile.gettempdir()),
        start_date=DAY.date(),
        tag_groups=(TagGroup(name="all", tag_filter="*"),),
    )


@contextmanager
def through(source: PIWebAPISource, bend: Callable[[str, Callable[[bytes], Any], bytes], bytes]) -> Iterator[None]:
    """Let `bend` stand between the server and what parses its answers."""
    transport = source.transport
    get, batch = transport.get, transport.batch

    def bent_get(path: str, parameters: Parameters, parse: Callable[[bytes], Any]) -> Any:
        return get(path, parameters, lambda body: parse(bend(path, parse, body)))

    def bent_batch(resources: Sequence[Any], parse: Callable[[bytes], Any]) -> Any:
        return batch(resources, lambda body: parse(bend(f"batch of {resources[0][1]}", parse, body)))

    transport.get, transport.batch = bent_get, bent_batch  # type: ignore[method-assign]
    try:
        yield
    finally:
        transport.get, transport.batch = get, batch  # type: ignore[method-assign]


def streams_of(simulator: RunningSimulator) -> list[StreamRef]:
    archive = simulator.archive
    web_ids = [
        point_webid(archive.server_id, point.id, archive.server_name, point.name).identity for point in archive.points()
    ]
    return [StreamRef(web_id, web_id) for web_id in web_ids]


def ask_all(source: PIWebAPISource, site: Site, simulator: RunningSimulator, folder: str) -> None:
    """Every kind of question the product asks, short of Dagster."""
    transport = source.transport
    lake = Lake(folder)
    questions: list[Callable[[], object]] = [
        lambda: objects.landing(transport),
        source.server_time,
        lambda: objects.user_info(transport),
        lambda: objects.system_versions(transport),
        lambda: objects.configured_item_limit(transport),
        lambda: refresh_points(site, source, lake, run_id="test"),
        lambda: refresh_assets(site, source, lake, run_id="test"),
        lambda: ask_for_frames(transport),
    ]
    for question in questions:
        with suppress(*EXPECTED_ERRORS):
            question()
    read(source, streams_of(simulator)[:8])


def ask_for_frames(transport: Transport) -> None:
    server = find_asset_server(transport, None)
    now = datetime.now(timezone.utc)
    searches = [
        FrameSearch(database=database, start=now - timedelta(days=2), end=now)
        for database in list_databases(transport, server)
    ]
    frames = list(find_event_frames(transport, searches, page_size=50, largest_page=2000))[:20]
    list(read_attributes(transport, frames))


def read(source: PIWebAPISource, streams: Sequence[StreamRef]) -> int:
    """Read the values of a day; what comes must be whole, in order and inside the day, or be told as a failure."""
    reading = source.read(streams, DAY, NEXT_DAY)
    rows = 0
    try:
        for table in reading:
            table.validate(full=True)
            times = table["timestamp"]
            assert pc.min(times).as_py() >= DAY
            assert pc.max(times).as_py() < NEXT_DAY
            rows += table.num_rows
    except PIWebAPIError:
        pass
    assert all(isinstance(error, PIWebAPIError) for error in reading.failures.values())
    return rows


def refusal_of(one: Caught, body: bytes) -> str:
    """What is said against `body` in place of the one that was caught; empty when it can be read."""
    try:
        one.parse(body)
    except PIWebAPIError as error:
        return str(error)
    return ""


@pytest.fixture(scope="module")
def caught(simulator: RunningSimulator, site: Site) -> Iterator[list[Caught]]:
    """A body of each kind of answer, with its parser, whose threads live as long as the tests need them."""
    found: dict[str, Caught] = {}

    def keep(name: str, parse: Callable[[bytes], Any], body: bytes) -> bytes:
        kind = "/".join(part for part in name.split("/") if len(part) < 20)
        if kind not in found or len(found[kind].body) < len(body) < 6000:
            found[kind] = Caught(kind, parse, body)
        return body

    with tempfile.TemporaryDirectory() as folder:
        sources = [PIWebAPISource(site.server.model_copy(update={"read_mode": mode}), retry=ONCE) for mode in MODES]
        for source in sources:
            with through(source, keep):
                ask_all(source, site, simulator, folder)
        yield list(found.values())
        for source in sources:
            source.__exit__(None, None, None)


def test_the_bodies_are_of_every_kind(caught: list[Caught]) -> None:
    kinds = {one.name for one in caught}
    assert {"streamsets/recorded", "batch of streams/recorded", "dataservers/points", "system/status"} <= kinds
    assert any("attributes" in kind for kind in kinds)
    assert any("eventframes" in kind for kind in kinds)


@hostile
@given(random=st.randoms(use_true_random=False))
def test_a_bent_body_is_read_or_refused_in_our_words(caught: list[Caught], random: Random) -> None:
    one = random.choice(caught)
    refusal_of(one, mutated(one.body, random))


@pytest.mark.parametrize("body", CORPUS.values(), ids=CORPUS)
def test_the_corpus_is_read_or_refused_in_our_words(caught: list[Caught], body: bytes) -> None:
    for one in caught:
        assert len(refusal_of(one, body)) < 1500
    assert len(error_text(body)) < 600


@pytest.mark.parametrize("seed", range(max(4, CASES // 50)))
def test_a_load_whose_answers_are_bent_on_the_way_ends_in_our_errors(
    simulator: RunningSimulator, site: Site, tmp_path: Path, seed: int
) -> None:
    random = Random(seed)

    def bend(name: str, parse: Callable[[bytes], Any], body: bytes) -> bytes:
        return mutated(body, random) if random.random() < 0.3 else body

    server = site.server.model_copy(update={"read_mode": MODES[seed % 2], "max_items_per_call": 200})
    with PIWebAPISource(server, retry=ONCE) as source, through(source, bend):
        ask_all(source, site, simulator, str(tmp_path))


@pytest.mark.parametrize("name", range(len(NAMES)))
def test_a_hostile_value_is_kept_as_it_is(name: int) -> None:
    text = NAMES[name]
    body = events_body("x", ["2026-11-02T06:00:00Z"], [json.dumps(text)])
    table = event_table(decode_streamset(body))
    assert table["value_string"].to_pylist() == [text]


@pytest.mark.parametrize("number", NUMBERS)
def test_a_number_that_is_none_is_text_or_refused(number: str) -> None:
    try:
        table = event_table(decode_streamset(events_body("x", ["2026-11-02T06:00:00Z"], [number])))
    except BrokenAnswerError:
        assert len(number) > 1000
        return
    [row] = table.to_pylist()
    assert row["value"] is None or abs(row["value"]) <= 1e31
    assert row["value"] is not None or row["value_string"] == number


@pytest.mark.parametrize("time", TIMES)
@pytest.mark.parametrize("mode", MODES)
def test_an_event_of_no_time_or_another_is_never_taken_for_one_of_the_window(mode: str, time: str) -> None:
    request = Request(("x",), (DAY - datetime(1970, 1, 1, tzinfo=timezone.utc)) // timedelta(microseconds=1), 2**60, 10)
    body = events_body("x", [time], ["1"])
    if mode == "batch":
        body = b'{"x":{"Status":200,"Content":' + body[len(b'{"Links":{},"Items":[') : -2] + b"}}"
    try:
        answer = _parse_batch("url", body, request) if mode == "batch" else _parse_streamset(body, request)
    except PIWebAPIError:
        return
    assert answer.streams["x"].times_us()[0] >= request.start_us


@pytest.mark.parametrize("web_id", [web_id for web_id in WEB_IDS if web_id])
def test_an_id_that_is_a_path_leads_nowhere(simulator: RunningSimulator, web_id: str) -> None:
    server = objects.DataServer(web_id=web_id, name="hostile")
    simulator.requests.clear()
    with (
        Transport(ServerSettings(url=simulator.url), retry=ONCE) as transport,
        pytest.raises(BrokenAnswerError, match="gave an id that is none"),
    ):
        objects.list_points(transport, server)
    assert simulator.requests.total == 0


def test_a_server_that_always_sends_the_same_page_is_given_up() -> None:
    """It ignores `startTime`, so the rest of the day would be asked for without end."""
    times = [f"2026-11-02T06:00:{second:02d}Z" for second in range(10)]
    with serving(Script(answer(200, events_body("x", times, ["1"] * 10)))) as url:
        server = ServerSettings(url=url, max_items_per_call=10, max_requests_per_second=1000)
        with PIWebAPISource(server, retry=ONCE) as source:
            reading = source.read([StreamRef("x", "SAME PAGE")], DAY, NEXT_DAY)
            list(reading)
    assert "from before the time" in str(reading.failures["x"])
