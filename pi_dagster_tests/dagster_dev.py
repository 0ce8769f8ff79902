"""`dagster dev` on the default site, a simulated plant behind it and a browser in front, as users have them."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import requests
import tenacity

from pi_dagster.simulator import spawned

if TYPE_CHECKING:
    from playwright.sync_api import Page

PROJECT = Path(__file__).parents[1]
DAYS = [(datetime.now(timezone.utc) - timedelta(days=back)).date().isoformat() for back in (4, 3, 2, 1)]
"""The closed days that the site offers, the oldest first."""

SCREENSHOTS_VARIABLE = "PI_DAGSTER_SCREENSHOTS"
"""Environment variable with the folder for screenshots, such as `docs/images`; without it they are thrown away."""

_START_SECONDS = 300
_QUIET_CHROMIUM = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@dataclass(frozen=True)
class DagsterUI:
    """Dagster's UI in a browser."""

    url: str
    page: Page
    screenshots: Path

    def open(self, path: str) -> Page:
        """Go to a page of the UI."""
        self.page.goto(f"{self.url}{path}")
        return self.page

    def photograph(self, name: str) -> None:
        """Keep what the browser shows."""
        self.page.screenshot(path=self.screenshots / f"{name}.png")

    def ask(self, query: str, **variables: Any) -> Any:
        """Ask Dagster's GraphQL, as the UI does."""
        answer = requests.post(f"{self.url}/graphql", json={"query": query, "variables": variables}, timeout=30).json()
        assert "errors" not in answer, answer["errors"]
        return answer["data"]


@contextmanager
def dagster_ui(folder: Path) -> Iterator[DagsterUI]:
    """Serve the UI of the default site from a folder that holds only the project's Dagster files."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="the dependency group `ui` is not installed")
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if chromium is None:
        pytest.skip("there is no Chromium on the path")
    screenshots = Path(os.environ.get(SCREENSHOTS_VARIABLE) or folder)
    with (
        spawned(tags=60, elements=60, event_frames=30, event_frame_days=4) as simulator,
        dagster_dev(folder, PI_WEB_API_URL=simulator.url, PI_LAKE="lake", PI_START_DATE=DAYS[0]) as url,
        sync_api.sync_playwright() as playwright,
        playwright.chromium.launch(executable_path=chromium, args=_QUIET_CHROMIUM) as browser,
    ):
        page = browser.new_page(viewport={"width": 1440, "height": 900})
        page.set_default_timeout(60_000)
        yield DagsterUI(url, page, screenshots)


@contextmanager
def dagster_dev(folder: Path, **variables: str) -> Iterator[str]:
    """Run `dagster dev` in a folder that gets the project's Dagster files; the URL of its UI, once that answers.

    Args:
        folder: where it is started.
        variables: its environment, beside what this process has.
    """
    for name in ("dagster.yaml", "workspace.yaml"):
        shutil.copy(PROJECT / name, folder)
    port = _free_port()
    command = [sys.executable, "-m", "dagster", "dev", "-w", "workspace.yaml", "-h", "127.0.0.1", "-p", str(port)]
    log = folder / "dagster_dev.log"
    with log.open("w") as output:
        child = subprocess.Popen(
            command, cwd=folder, env=_environment(variables), stdout=output, stderr=output, start_new_session=True
        )
    try:
        url = f"http://127.0.0.1:{port}"
        try:
            tenacity.Retrying(
                retry=tenacity.retry_if_exception_type(requests.RequestException),
                wait=tenacity.wait_fixed(0.3),
                stop=lambda state: child.poll() is not None or (state.seconds_since_start or 0) > _START_SECONDS,
                reraise=True,
            )(requests.get, f"{url}/server_info", timeout=5)
        except requests.RequestException:
            pytest.fail(f"dagster dev did not come up:\n{log.read_text()}")
        yield url
    finally:
        child.send_signal(signal.SIGINT)
        try:
            child.wait(30)
        except subprocess.TimeoutExpired:
            os.killpg(child.pid, signal.SIGKILL)
            child.wait()


def _environment(variables: Mapping[str, str]) -> Mapping[str, str]:
    environment = {name: value for name, value in os.environ.items() if name not in ("DAGSTER_HOME", "PI_DAGSTER_SITE")}
    return {**environment, **variables}


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
