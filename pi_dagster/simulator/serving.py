"""Serving until interrupted, for the command line: from plain options to a running simulator."""

from __future__ import annotations

import signal
import threading
from datetime import date
from pathlib import Path
from types import FrameType

from pi_dagster.simulator.af_plant import PlantDatabase
from pi_dagster.simulator.af_tags import database_of
from pi_dagster.simulator.archive import Archive
from pi_dagster.simulator.event_frame_experiments import event_frames_of
from pi_dagster.simulator.event_frame_history import recent_history
from pi_dagster.simulator.files import SkabBase
from pi_dagster.simulator.generator import GeneratedBase
from pi_dagster.simulator.plant import PROFILES
from pi_dagster.simulator.server import Simulator
from pi_dagster.simulator.settings import SimulatorSettings


def serve_forever(
    *,
    port: int = 0,
    tags: int = 200,
    seed: int = 1,
    data: Path | str | None = None,
    user: str | None = None,
    password: str | None = None,
    admin_port: int | None = None,
    latency_ms: float = 0.0,
    profile: str = "plant",
    elements: int = 0,
    attributes_per_element: int = 8,
    event_frames: int = 0,
    event_frame_days: int = 30,
    event_frames_until: date | None = None,
) -> None:
    """Serve until SIGINT or SIGTERM; prints the base URL as the first line, then that of an open admin door.

    Args:
        port: port to listen on; 0 takes a free one.
        tags: number of generated tags.
        seed: the same seed gives the same data.
        data: folder of CSV files in the SKAB layout, instead of generated tags.
        user: account for basic login; None lets everyone in.
        password: its password.
        admin_port: port of the admin door, 0 for a free one; None keeps it shut.
        latency_ms: milliseconds added to every answer.
        profile: name of the mix of generated tags (`plant.PROFILES`).
        elements: number of generated AF elements; 0 makes a small asset model of the tags.
        attributes_per_element: number of attributes of each generated element.
        event_frames: number of generated event frames.
        event_frame_days: how many days back from today they begin; the last ones are of this hour.
        event_frames_until: a day (UTC) that they end before, instead of now.

    Raises:
        PortError: a port cannot be had.
        UnreadableFolderError: `data` is no such folder.
        ValueError: a login without its other half, or more elements than a plant can have.
    """
    base = SkabBase(data) if data is not None else GeneratedBase(tags=tags, seed=seed, mix=PROFILES[profile])
    settings = SimulatorSettings(user=user, password=password, latency_seconds=latency_ms / 1000)
    archive = Archive(base)
    databases = [
        PlantDatabase(archive, elements=elements, attributes_per_element=attributes_per_element, seed=seed)
        if elements
        else database_of(archive)
    ]
    histories = (
        [recent_history(databases[0], event_frames, event_frame_days, seed, until=event_frames_until)]
        if event_frames
        else []
    )
    simulator = Simulator(
        archive=archive,
        settings=settings,
        assets=databases,
        event_frames=event_frames_of(archive, databases, histories),
    )
    interrupted = threading.Event()

    def interrupt(signal_number: int, frame: FrameType | None) -> None:
        interrupted.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, interrupt)
    with simulator.serve(port=port, admin_port=admin_port) as running:
        print(running.url, flush=True)
        if running.admin_url is not None:
            print(f"admin door: {running.admin_url}", flush=True)
        interrupted.wait()
