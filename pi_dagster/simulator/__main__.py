"""`python -m pi_dagster.simulator`: serve a simulated PI Web API until interrupted."""

from __future__ import annotations

import argparse
import os
import sys
from datetime import date
from pathlib import Path

from pi_dagster.simulator.files import UnreadableFolderError
from pi_dagster.simulator.plant import PROFILES
from pi_dagster.simulator.server import PortError
from pi_dagster.simulator.serving import serve_forever


def main(arguments: list[str] | None = None) -> int:
    """Read the options and serve; returns the exit code, 2 for a mistake in the options."""
    parser = argparse.ArgumentParser(
        prog="python -m pi_dagster.simulator",
        description="A PI Web API server with made-up or recorded data. The first line it prints is its base URL.",
        epilog="Example: python -m pi_dagster.simulator --port 8080 --tags 500",
    )
    parser.add_argument("--port", type=int, default=0, help="port to listen on; 0 takes a free one (default)")
    parser.add_argument("--tags", type=int, default=200, help="number of generated tags (default 200)")
    parser.add_argument("--seed", type=int, default=1, help="the same seed gives the same data (default 1)")
    parser.add_argument("--data", type=Path, help="folder of CSV files in the SKAB layout, instead of generated tags")
    parser.add_argument("--user", help="account for basic login; without it everyone is let in")
    parser.add_argument("--password", help="its password; or set the environment variable PI_SIMULATOR_PASSWORD")
    parser.add_argument("--admin-port", type=int, help="open the admin door on this port; 0 takes a free one")
    parser.add_argument("--latency-ms", type=float, default=0.0, help="milliseconds added to every answer")
    parser.add_argument("--profile", choices=sorted(PROFILES), default="plant", help="what the tags are like")
    parser.add_argument(
        "--elements", type=int, default=0, help="number of generated AF elements; 0: a few, of the tags"
    )
    parser.add_argument("--attributes-per-element", type=int, default=8, help="attributes of each of them (default 8)")
    parser.add_argument("--event-frames", type=int, default=0, help="number of generated event frames (default 0)")
    parser.add_argument("--event-frame-days", type=int, default=30, help="days back that they begin (default 30)")
    parser.add_argument("--event-frames-until", type=date.fromisoformat, help="day before which they end; default: now")
    options = parser.parse_args(arguments)
    try:
        serve_forever(
            port=options.port,
            tags=options.tags,
            seed=options.seed,
            data=options.data,
            user=options.user,
            password=options.password or (os.environ.get("PI_SIMULATOR_PASSWORD") if options.user else None),
            admin_port=options.admin_port,
            latency_ms=options.latency_ms,
            profile=options.profile,
            elements=options.elements,
            attributes_per_element=options.attributes_per_element,
            event_frames=options.event_frames,
            event_frame_days=options.event_frame_days,
            event_frames_until=options.event_frames_until,
        )
    except (UnreadableFolderError, PortError, ValueError) as error:
        print(f"The simulator cannot start: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
