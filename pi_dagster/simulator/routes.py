"""Everything the simulator serves outside of its admin door: actions of the vendor's and nothing else."""

from __future__ import annotations

from pi_dagster.simulator import (
    af_attribute_routes,
    af_database_routes,
    af_element_routes,
    af_security,
    batch,
    dataservers,
    enumerations,
    event_frame_routes,
    point_routes,
    stream_updates,
    streams,
    streamsets,
    system,
    writes,
)

ROUTES = (
    *system.ROUTES,
    *dataservers.ROUTES,
    *enumerations.ROUTES,
    *point_routes.ROUTES,
    *af_database_routes.ROUTES,
    *af_element_routes.ROUTES,
    *af_security.ROUTES,
    *af_attribute_routes.ROUTES,
    *event_frame_routes.ROUTES,
    *streams.ROUTES,
    *streamsets.ROUTES,
    *stream_updates.ROUTES,
    *writes.ROUTES,
    *batch.ROUTES,
)
