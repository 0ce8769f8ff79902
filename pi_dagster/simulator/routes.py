"""Everything the simulator serves outside of its admin door: actions of the vendor's and nothing else."""

from __future__ import annotations

from pi_dagster.simulator import batch, dataservers, point_routes, streams, streamsets, system, writes

ROUTES = (
    *system.ROUTES,
    *dataservers.ROUTES,
    *point_routes.ROUTES,
    *streams.ROUTES,
    *streamsets.ROUTES,
    *writes.ROUTES,
    *batch.ROUTES,
)
