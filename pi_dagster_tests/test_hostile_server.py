"""A server that is hostile, broken or not what it seems: it gets no login, no file, no endless wait and no way out."""

from __future__ import annotations

import gzip
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest
from deltalake import DeltaTable

from pi_dagster.assets.metadata import hierarchy_metadata
from pi_dagster.diagnosis import diagnose
from pi_dagster.ingest.asset_tree import tree_excerpt
from pi_dagster.ingest.assets import refresh_assets
from pi_dagster.ingest.points import refresh_points
from pi_dagster.ingest.timeseries import load_partition
from pi_dagster.lake import Lake
from pi_dagster.piwebapi import PIWebAPISource, adapter
from pi_dagster.piwebapi.asset_framework import find_asset_server, list_databases
from pi_dagster.piwebapi.errors import (
    BrokenAnswerError,
    LoginRefusedError,
    PIWebAPIError,
    RequestRefusedError,
    RequestTimeoutError,
    ServerTroubleError,
)
from pi_dagster.piwebapi.event_frames import FrameSearch, find_event_frames
from pi_dagster.piwebapi.transport import Transport
from pi_dagster.server_text import as_code_block, printable
from pi_dagster.simulator import RunningSimulator, Simulator, SimulatorSettings
from pi_dagster.simulator.af_model import AttributeTemplate
from pi_dagster.simulator.af_tree import TreeDatabase
from pi_dagster.simulator.archive import Archive, MemoryBase
from pi_dagster.simulator.events import Events, to_ticks
from pi_dagster.simulator.points import Point
from pi_dagster.site import BasicLogin, LakeSettings, ServerSettings, Site, TagGroup
from pi_dagster_tests.hostile_bodies import NAMES
from pi_dagster_tests.test_piwebapi_transport import QUICK, Respond, Script, answer, get, serving

NOON = datetime.now(timezone.utc).replace(hour=0, minute=0, second=0, microsecond=0) - timedelta(hours=12)
USER, PASSWORD = "svc", "the password of svc"
TAGS = [name for name in NAMES if name.isprintable()]
"""Other names cannot be written into a URL by the simulator's own archive."""


def hostile_archive() -> Archive:
    points = [
        Point(id=number, name=name, descriptor=name, engineering_units=name[:20]) for number, name in enumerate(TAGS, 1)
    ]
    return Archive(MemoryBase(points, {p.id: Events.of("Float32", [to_ticks(NOON)], [float(p.id)]) for p in points}))


def hostile_tree() -> TreeDatabase:
    tree = TreeDatabase("Plant")
    for name in NAMES:
        tree.add(
            name,
            description=name,
            attributes=[AttributeTemplate(name="Note", value_type="String", value=name)],
        )
    return tree


@pytest.fixture
def elsewhere() -> Iterator[tuple[Script, str]]:
    script = Script(answer(200, b'{"Items":[]}'))
    with serving(script) as url:
        yield script, url


@pytest.fixture
def simulator(elsewhere: tuple[Script, str]) -> Iterator[RunningSimulator]:
    settings = SimulatorSettings(user=USER, password=PASSWORD, links_to=elsewhere[1])
    with Simulator(archive=hostile_archive(), settings=settings, assets=[hostile_tree()]).serve() as running:
        yield running


@pytest.fixture
def site(simulator: RunningSimulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Site:
    monkeypatch.setenv("PI_TEST_PASSWORD", PASSWORD)
    return Site(
        server=ServerSettings(url=simulator.url, login=BasicLogin(username=USER, password_env="PI_TEST_PASSWORD")),
        lake=LakeSettings(uri=str(tmp_path / "outer" / "lake")),
        start_date=NOON.date(),
        tag_groups=(TagGroup(name="all", tag_filter="*", shards=3),),
    )


def load_all(site: Site) -> Any:
    lake = Lake(site.lake.uri)
    with PIWebAPISource(site.server, retry=QUICK) as source:
        refresh_points(site, source, lake, run_id="test")
        for group in site.partition_names():
            load_partition(site, source, lake, day=NOON.date(), tag_group=group, run_id="test")
        report = refresh_assets(site, source, lake, run_id="test")
        server = find_asset_server(source.transport, None)
        searches = [
            FrameSearch(database=database, start=NOON - timedelta(days=2), end=NOON + timedelta(days=1))
            for database in list_databases(source.transport, server)
        ]
        list(find_event_frames(source.transport, searches, page_size=2, largest_page=1000))
    return report


def test_links_to_another_host_are_not_followed_and_nothing_is_missing(
    site: Site, elsewhere: tuple[Script, str], simulator: RunningSimulator
) -> None:
    load_all(site)
    assert elsewhere[0].requests == []
    assert simulator.requests.total > 5
    rows = DeltaTable(f"{site.lake.uri}/pi_timeseries").to_pyarrow_table().to_pylist()
    assert sorted(row["tag_name"] for row in rows) == sorted(TAGS)


def test_names_of_tags_and_elements_are_kept_as_they_are_and_lead_out_of_no_folder(site: Site, tmp_path: Path) -> None:
    load_all(site)
    elements = DeltaTable(f"{site.lake.uri}/pi_asset_hierarchy").to_pyarrow_table().to_pylist()
    assert sorted(row["element_name"] for row in elements) == sorted(NAMES)
    attributes = DeltaTable(f"{site.lake.uri}/pi_asset_attributes").to_pyarrow_table().to_pylist()
    assert sorted(row["static_value"] for row in attributes) == sorted(NAMES)
    lake = tmp_path / "outer" / "lake"
    assert [path for path in tmp_path.rglob("*") if path != lake.parent and lake not in (path, *path.parents)] == []
    folders = {path.relative_to(lake).parts[:3] for path in lake.rglob("*.parquet") if "_delta_log" not in path.parts}
    day = f"partition_date={NOON.date()}"
    groups = {f"tag_group={group}" for group in site.partition_names()}
    assert {parts[:2] for parts in folders if parts[0] == "pi_timeseries"} == {("pi_timeseries", day)}
    assert {parts[2] for parts in folders if parts[0] == "pi_timeseries"} <= groups
    assert {parts[0] for parts in folders} == {
        "pi_timeseries",
        "pi_points",
        "pi_asset_hierarchy",
        "pi_asset_attributes",
    }


def test_names_of_elements_cannot_leave_the_code_block_that_shows_them(site: Site) -> None:
    metadata = hierarchy_metadata(load_all(site))
    shown = metadata["pi/tree"].value
    assert isinstance(shown, str)
    fence, *lines, end = shown.split("\n")
    assert fence == f"{end}text"
    assert not any(end in line for line in lines)
    assert "\x1b" not in shown


@pytest.mark.parametrize("name", NAMES)
def test_a_name_is_one_line_of_the_tree(name: str) -> None:
    row = {"element_id": "1", "parent_id": None, "element_name": name, "template_name": name}
    assert "\n" not in tree_excerpt([row])
    assert "\x1b" not in tree_excerpt([row])


def test_a_code_block_is_closed_by_nothing_in_it() -> None:
    for text in ("plain", "```", "a\n`````\nb", "`" * 100):
        fence, *_, end = as_code_block(text).split("\n")
        assert fence == f"{end}text"
        assert end not in text


def test_what_is_printed_gives_a_terminal_no_orders() -> None:
    assert printable("\x1b]0;title\x07BLR01\r\n.FLOW\x9b2J") == "]0;title BLR01 .FLOW 2J"
    assert printable("x" * 1000, 10) == "x" * 10 + "..."
    assert printable("Ünits & $igns / 100 %") == "Ünits & $igns / 100 %"


def test_a_redirect_does_not_take_the_login_along(
    elsewhere: tuple[Script, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PI_TEST_PASSWORD", PASSWORD)
    script = Script(answer(307, b"", Location=elsewhere[1]))
    with pytest.raises(RequestRefusedError, match="Redirects are not followed"):
        get(script, login=BasicLogin(username=USER, password_env="PI_TEST_PASSWORD"))
    assert "Authorization" in script.requests[0][2]
    assert elsewhere[0].requests == []


@pytest.mark.parametrize(
    "refusal",
    [
        answer(401, b"no gzip at all", Content_Encoding="gzip"),
        answer(401, gzip.compress(bytes(5 << 20)), Content_Encoding="gzip"),
        answer(401, b"{}", Content_Encoding="br"),
        answer(401, b'{"Errors":' + b"[" * 100_000),
    ],
    ids=["broken gzip", "gzip bomb", "unknown encoding", "deep JSON"],
)
def test_a_refused_login_is_one_whatever_its_body_is(refusal: Respond, monkeypatch: pytest.MonkeyPatch) -> None:
    """Were it taken for a broken answer, the wrong password would be sent again and lock the account."""
    monkeypatch.setenv("PI_TEST_PASSWORD", PASSWORD)
    script = Script(refusal)
    with pytest.raises(LoginRefusedError):
        get(script, login=BasicLogin(username=USER, password_env="PI_TEST_PASSWORD"), max_body_mebibytes=4)
    assert len(script.requests) == 1


BODY = b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n"
CHUNKS = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


@pytest.mark.parametrize(
    ("start", "drop"),
    [
        pytest.param(BODY, b" ", id="a byte of a body"),
        pytest.param(CHUNKS, b"1\r\n \r\n", id="a chunk of a byte"),
        pytest.param(CHUNKS, b"0", id="the size of a chunk"),
        pytest.param(CHUNKS + b"2\r\n{}\r\n0\r\n", b"X: y\r\n", id="headers behind the body"),
        pytest.param(b"", b"H", id="the status"),
        pytest.param(b"HTTP/1.1 200 OK\r\nX-Header: ", b"x", id="a header"),
        pytest.param(b"", b"HTTP/1.1 100 Continue\r\n\r\n", id="that there will be an answer"),
        pytest.param(b"HTTP/1.1 401 No\r\nContent-Length: 1000\r\n\r\n", b" ", id="a refusal"),
    ],
)
def test_an_answer_that_drips_is_given_up(start: bytes, drop: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(adapter, "_WAITS_FOR_AN_ANSWER", 2)
    stop = threading.Event()

    def drip(request: BaseHTTPRequestHandler) -> None:
        request.close_connection = True
        request.wfile.write(start)
        with suppress(OSError):
            for _ in range(1000):
                if stop.wait(0.01):
                    break
                request.wfile.write(drop)

    try:
        with pytest.raises(RequestTimeoutError, match=r"so slowly that it was not there after 1 s.*batch_size"):
            get(Script(drip), retry=replace(QUICK, tries_after_timeouts=1), read_timeout_seconds=0.5)
    finally:
        stop.set()


def test_of_an_endless_refusal_only_the_beginning_is_read() -> None:
    def endless(request: BaseHTTPRequestHandler) -> None:
        request.send_response(503)
        request.end_headers()
        request.close_connection = True
        try:
            while True:
                request.wfile.write(b"Try later. " * 10_000)
        except OSError:
            pass

    with pytest.raises(ServerTroubleError, match=r"503 \(Try later") as caught:
        get(Script(endless), retry=replace(QUICK, budget_seconds=0))
    assert len(str(caught.value)) < 1000


@pytest.mark.parametrize("encoding", ["br", "deflate", "gzip, gzip", "zstd", "\x1b[2J"])
def test_a_compression_that_nobody_asked_for_is_named(encoding: str) -> None:
    with pytest.raises(BrokenAnswerError, match="not asked for") as caught:
        get(Script(answer(200, b"{}", Content_Encoding=encoding)))
    assert "\x1b" not in str(caught.value)


def test_the_type_that_a_server_gives_its_json_does_not_matter() -> None:
    assert get(Script(answer(200, b"fine", Content_Type="text/html; charset=utf-7"))) == b"fine"


def test_a_check_warns_where_the_login_may_do_more_than_read(tmp_path: Path) -> None:
    point = Point(id=1, name="OPEN", security="piadmin: A(r,w) | PIWorld: A(r,w)")
    archive = Archive(MemoryBase([point, replace(point, id=2, name="SHUT", security="PIWorld: A(r)")], {}))
    notes = {}
    for rights in (("Read", "ReadData"), ("Read", "ReadData", "Write", "Delete")):
        with Simulator(archive=archive, settings=SimulatorSettings(af_rights=rights)).serve() as running:
            site = Site(
                server=ServerSettings(url=running.url),
                lake=LakeSettings(uri=str(tmp_path)),
                start_date=NOON.date(),
                tag_groups=(TagGroup(name="all", tag_filter="*"),),
            )
            notes[rights] = diagnose(site).notes
    [about_tags] = notes["Read", "ReadData"]
    assert "of 2 that were looked at OPEN." in about_tags
    about_af = [note for note in notes["Read", "ReadData", "Write", "Delete"] if note != about_tags]
    assert any("may do more in the AF database" in note and "Delete, Write" in note for note in about_af)


def test_a_login_that_may_only_read_gets_no_warning(site: Site) -> None:
    assert [note for note in diagnose(site).notes if "may" in note] == []


def test_what_servers_set_as_cookies_is_not_kept() -> None:
    script = Script(answer(Set_Cookie=f"a={'b' * 60_000}"))
    with serving(script) as url, Transport(ServerSettings(url=url), retry=QUICK) as transport:
        for _ in range(2):
            transport.get("x", [], bytes)
    assert [headers.get("Cookie") for _, _, headers in script.requests] == [None, None]


@pytest.mark.parametrize(
    "pause", ["9" * 400, "²", "inf", "-1", "Fri, 31 Dec 9999 23:59:59 GMT", "Fri, 31 Dec 9999 23:59:59 -2359", "\x00"]
)
def test_a_pause_that_is_none_or_without_end_is_not_waited_for(pause: str) -> None:
    busy = answer(503, b"busy", Retry_After=pause)
    with pytest.raises(ServerTroubleError, match="503"):
        get(Script(busy), retry=replace(QUICK, budget_seconds=0.1))


def nested(opened: bytes, closed: bytes, mebibytes: int) -> bytes:
    """Many times less on the wire."""
    return gzip.compress(opened + b"{}," * ((mebibytes << 20) // 3) + b"{}" + closed, 1)


@pytest.mark.parametrize(
    "responses",
    [
        pytest.param(answer(403, nested(b'{"Errors":[', b"]}", 64), Content_Encoding="gzip"), id="a refusal"),
        pytest.param(answer(401, nested(b'{"Errors":[', b"]}", 64), Content_Encoding="gzip"), id="no login"),
        pytest.param(
            answer(200, nested(b'{"Items":[{"WebId":"a","Items":[', b"]}]}", 64), Content_Encoding="gzip"), id="events"
        ),
    ],
)
def test_a_small_answer_does_not_take_gigabytes(responses: Respond) -> None:
    """Empty objects of three bytes, which Python keeps in seventy."""
    with serving(Script(responses)) as url:
        program = (
            "import re; from pathlib import Path; from pi_dagster.piwebapi.transport import Transport\n"
            "from pi_dagster.piwebapi.decode import decode_streamset; from pi_dagster.site import ServerSettings\n"
            "from pi_dagster.piwebapi.errors import PIWebAPIError\n"
            "from pi_dagster.piwebapi.retrying import RetryPolicy\n"
            f"transport = Transport(ServerSettings(url={url!r}), retry=RetryPolicy(budget_seconds=0))\n"
            "try: transport.get('x', [], decode_streamset)\n"
            # Not `ru_maxrss`, which begins with what the parent held when it started this process.
            "except PIWebAPIError: print(re.search(r'VmHWM:\\s+(\\d+)', Path('/proc/self/status').read_text())[1])"
        )
        told = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert int(told.stdout) >> 10 < 700, told


OK = b"HTTP/1.1 200 OK\r\n"


@pytest.mark.parametrize(
    "said",
    [
        pytest.param(OK + b"Content-Length: " + b"9" * 5000 + b"\r\n\r\n{}", id="a length of 5,000 digits"),
        pytest.param(OK + b"Content-Length: \xb2\r\n\r\n{}", id="a length of another script"),
        pytest.param(OK + b"Content-Length: 2\r\nContent-Length: 7\r\n\r\n{}", id="two lengths"),
        pytest.param(CHUNKS + b"-1\r\n{}\r\n0\r\n\r\n", id="a chunk of less than nothing"),
        pytest.param(CHUNKS + b"f" * 18 + b"\r\n{}", id="a chunk of 4 zebibytes"),
        pytest.param(CHUNKS + b"1" * 70_000, id="the size of a chunk without end"),
        pytest.param(OK + b"X: " + b"y" * 70_000, id="a header without end"),
        pytest.param(OK + b"X: y\r\n" * 200 + b"\r\n{}", id="200 headers"),
        pytest.param(b"HTTP/1.1 200\x1b[2J\r\n\r\n", id="orders to a terminal for a status"),
        pytest.param(
            b'HTTP/1.1 401 No\r\nWWW-Authenticate: ,\x1b[2J =, \xff,"\r\nDate: never\r\n\r\n', id="orders for a login"
        ),
        pytest.param(b"HTTP/1.1 101 Switching\r\n\r\n", id="another protocol"),
        pytest.param(b"", id="nothing"),
    ],
)
def test_what_is_hardly_http_is_refused_in_our_words(said: bytes) -> None:
    def say(request: BaseHTTPRequestHandler) -> None:
        request.close_connection = True
        with suppress(OSError):
            request.wfile.write(said)

    try:
        told = get(Script(say), retry=replace(QUICK, budget_seconds=0)).decode()
    except PIWebAPIError as error:
        told = str(error)
    assert told.isprintable()
    assert len(told) < 1000
