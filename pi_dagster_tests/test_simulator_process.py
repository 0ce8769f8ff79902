from __future__ import annotations

import subprocess
import sys

import pytest
import requests

from pi_dagster.simulator import spawned

MODULE = [sys.executable, "-m", "pi_dagster.simulator"]


def test_a_spawned_simulator_serves_what_its_options_say() -> None:
    with spawned(tags=3, user="op", password="s3cret", admin_port=0) as simulator:
        assert simulator.url.endswith("/piwebapi")
        assert requests.get(f"{simulator.url}/dataservers", timeout=10).status_code == 401
        session = requests.Session()
        session.auth = ("op", "s3cret")
        server = session.get(f"{simulator.url}/dataservers", timeout=10).json()["Items"][0]
        assert len(session.get(server["Links"]["Points"], timeout=10).json()["Items"]) == 3
        assert requests.get(f"{simulator.admin_url}/requests", timeout=10).json()["total"] == 3
    with pytest.raises(requests.ConnectionError):
        requests.get(simulator.url, timeout=10)


@pytest.mark.parametrize(
    "options", [["--data", "/nowhere"], ["--user", "op"], ["--port", "99999"], ["--profile", "moon"]]
)
def test_a_mistake_in_the_options_is_exit_code_2_and_a_sentence(options: list[str]) -> None:
    done = subprocess.run([*MODULE, *options], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    assert done.stderr.strip()
