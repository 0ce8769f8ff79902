from __future__ import annotations

import gzip
import threading
import zlib

import pytest
import requests

from pi_dagster.simulator import SimulatorSettings
from pi_dagster_tests.planted_archive import FLOW, READ_ALL, planted, server_web_id, web_id

NO_REFILL = {"rate_limit_seconds": 1e9}


@pytest.mark.parametrize("status", [400, 403])
def test_a_post_without_the_csrf_header_is_refused(status: int) -> None:
    with planted(csrf_status=status) as pi:
        answer = pi.session.post(f"{pi.running.url}/batch", json={}, timeout=10)
    assert answer.status_code == status
    assert "X-Requested-With" in answer.json()["Errors"][0]


def test_without_csrf_defense_the_header_is_not_missed() -> None:
    with planted(csrf_defense=False) as pi:
        assert pi.session.post(f"{pi.running.url}/batch", json={}, timeout=10).status_code == 207


@pytest.mark.parametrize(("key", "retry_after"), [("Errors", None), ("Message", "2")])
def test_one_request_too_many_is_told_so(key: str, retry_after: str | None) -> None:
    with planted(rate_limit_requests=3, denial_key=key, retry_after=retry_after, **NO_REFILL) as pi:
        statuses = [pi.get("system").status_code for _ in range(3)]
        answer = pi.get("system")
    assert statuses == [200] * 3
    assert answer.status_code == 429
    assert "Rate limit was reached" in answer.json()[key]
    assert answer.headers.get("Retry-After") == retry_after


def test_searches_have_a_limit_of_their_own() -> None:
    with planted(rate_limit_searches=1, **NO_REFILL) as pi:
        query = {"dataServerWebId": server_web_id(), "query": "BLR"}
        assert [pi.get("points/search", **query).status_code for _ in range(2)] == [200, 429]
        assert pi.get("system").status_code == 200


@pytest.mark.parametrize(("counts", "status"), [(False, 207), (True, 429)])
def test_whether_the_requests_of_a_batch_count_is_a_switch(counts: bool, status: int) -> None:
    batch = {str(i): {"Method": "GET", "Resource": "/piwebapi/system"} for i in range(5)}
    with planted(rate_limit_requests=4, batch_counts_each_request=counts, **NO_REFILL) as pi:
        assert pi.post("batch", batch).status_code == status


def test_a_body_above_the_limit_is_413() -> None:
    with planted(max_body_bytes=1000) as pi:
        assert pi.post("batch", {"a": {"Content": "x" * 1000}}).status_code == 413


def test_a_url_too_long_for_the_web_server_is_an_html_page() -> None:
    with planted() as pi:
        answer = pi.get("streamsets/value", webId=[web_id(FLOW)] * 600)
        assert answer.status_code == 400
        assert answer.headers["Content-Type"].startswith("text/html")
        assert pi.get("streamsets/value", webId=[web_id(FLOW)] * 300).status_code == 200


def test_a_path_segment_too_long_for_the_web_server_is_an_html_page() -> None:
    with planted() as pi:
        answer = pi.get(f"points/{'x' * 261}")
    assert answer.status_code == 400
    assert "Invalid URL" in answer.text


@pytest.mark.parametrize("login", [None, ("PLANT\\op", "wrong"), ("other", "s3cret:ä")])
def test_a_missing_or_wrong_login_is_denied(login: tuple[str, str] | None) -> None:
    with planted(user="PLANT\\op", password="s3cret:ä") as pi:
        pi.session.auth = (login[0].encode(), login[1].encode()) if login else None
        answer = pi.get("system/userinfo")
    assert answer.status_code == 401
    assert answer.headers["WWW-Authenticate"].startswith("Basic")
    assert answer.json() == {"Errors": ["Authorization has been denied for this request."]}


def test_a_login_is_the_user_that_userinfo_names() -> None:
    with planted(user="PLANT\\op", password="s3cret:ä") as pi:
        pi.session.auth = (b"plant\\op", "s3cret:ä".encode())
        assert pi.json("system/userinfo")["Name"] == "PLANT\\op"


def test_the_password_is_in_no_repr() -> None:
    assert "s3cret" not in repr(SimulatorSettings(user="op", password="s3cret"))


def test_half_a_login_is_no_setting() -> None:
    with pytest.raises(ValueError, match="both"):
        SimulatorSettings(user="op")


def test_a_read_only_server_refuses_writes_and_serves_batches() -> None:
    with planted(disable_writes=True) as pi:
        assert pi.post(f"streams/{web_id(FLOW)}/value", {"Value": 1}).status_code == 403
        assert pi.post("batch", {"1": {"Method": "GET", "Resource": "/piwebapi/system"}}).status_code == 207


@pytest.mark.parametrize("level", [None, 0, 3])
def test_a_body_is_compressed_for_clients_that_can_read_it(level: int | None) -> None:
    with planted(gzip_level=level) as pi:
        url = f"{pi.running.url}/streams/{web_id(FLOW)}/recorded"
        plain = requests.get(url, READ_ALL, headers={"Accept-Encoding": "identity"}, timeout=10)
        packed = requests.get(url, READ_ALL, headers={"Accept-Encoding": "gzip"}, stream=True, timeout=10)
        raw = packed.raw.read(decode_content=False)
    assert int(packed.headers["Content-Length"]) == len(raw)
    assert "Content-Encoding" not in plain.headers
    assert packed.headers.get("Content-Encoding") == (None if level is None else "gzip")
    assert (raw if level is None else gzip.decompress(raw)) == plain.content
    if level is not None:
        assert zlib.decompressobj(31).decompress(raw) == plain.content


def test_latency_is_shared_by_requests_in_flight() -> None:
    with planted(latency_seconds=0.2) as pi:
        threads = [
            threading.Thread(target=requests.get, args=(f"{pi.running.url}/system",), kwargs={"timeout": 10})
            for _ in range(8)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert pi.running.requests.max_in_flight > 1
        assert pi.running.requests.total == 8
        assert pi.running.requests.per_route["GET system"] == 8


def test_what_clients_sent_is_kept_for_tests_to_look_at() -> None:
    with planted() as pi:
        pi.get("dataservers", name="PISIM")
        seen = pi.running.requests.recent[-1]
    assert (seen.method, seen.path, seen.query_text, seen.status) == (
        "GET",
        "dataservers",
        "name=PISIM",
        200,
    )


def test_paths_that_the_vendor_does_not_have_are_not_found() -> None:
    with planted() as pi:
        assert pi.get("digitalstatesets").status_code == 404
        assert pi.get("faults").status_code == 404
        assert pi.session.get(pi.running.url.replace("/piwebapi", "/"), timeout=10).status_code == 404
        assert pi.post("dataservers", {}).status_code == 405


def test_paths_and_parameters_are_not_case_sensitive_and_unknown_ones_are_ignored() -> None:
    with planted() as pi:
        path = f"DataServers/{server_web_id()}/Points"
        assert len(pi.json(path, MAXCOUNT=2, webIdFormat="short")["Items"]) == 2
