"""The event frame sensor: what a tick costs when the look-back holds 100,000 frames and nothing has changed.

uv run python -m benchmarks.event_frame_sensor
"""

from __future__ import annotations

import tempfile
import time
from datetime import datetime, timedelta, timezone
from pathlib import Path

import dagster as dg

from pi_dagster.automation.frame_days import day_range_tags
from pi_dagster.factory import build_pi_definitions
from pi_dagster.simulator import spawned
from pi_dagster.site import Site

FRAMES, DAYS, TICKS = 100_000, 7, 8


def main() -> None:
    """Load the look-back once, then let the sensor look at it; a line a tick."""
    today = datetime.now(timezone.utc).date()
    with (
        spawned(elements=500, event_frames=FRAMES, event_frame_days=DAYS) as simulator,
        tempfile.TemporaryDirectory() as folder,
    ):
        site = Site.model_validate(
            {
                "server": {"url": simulator.url},
                "lake": {"uri": str(Path(folder) / "lake")},
                "start_date": today - timedelta(days=400),
                "tag_groups": [{"name": "all", "tag_filter": "*"}],
                "event_frames": {"lookback_days": DAYS},
            }
        )
        repository = build_pi_definitions(site).get_repository_def()
        with dg.DagsterInstance.local_temp(folder, overrides={"telemetry": {"enabled": False}}) as instance:
            begun = time.monotonic()
            tags = day_range_tags(today - timedelta(days=DAYS), today)
            job = repository.get_job("load_pi_event_frames")
            assert job.execute_in_process(instance=instance, tags=tags).success
            print(f"{FRAMES:,} frames of {DAYS} days loaded in {time.monotonic() - begun:.1f} s")
            cursor = None
            for _ in range(TICKS):
                wall, cpu = time.monotonic(), time.process_time()
                with dg.build_sensor_context(
                    instance,
                    cursor=cursor,
                    repository_def=repository,
                    resources=repository.get_top_level_resources(),
                ) as context:
                    tick = repository.get_sensor_def("pi_event_frame_sensor").evaluate_tick(context)
                cursor = tick.cursor
                wall, cpu = time.monotonic() - wall, time.process_time() - cpu
                print(
                    f"{wall:.2f} s, {cpu:.2f} s of CPU, cursor of {len(cursor or '')} characters: {tick.skip_message}"
                )


if __name__ == "__main__":
    main()
