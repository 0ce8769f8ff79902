"""The SKAB experiments as event frames: one for each file, about the pump loop, with what its labels say."""

from __future__ import annotations

from collections.abc import Sequence

from pi_dagster.simulator.af_model import AssetDatabase
from pi_dagster.simulator.archive import Archive
from pi_dagster.simulator.event_frame_history import FrameHistory
from pi_dagster.simulator.event_frames import EventFrameStore
from pi_dagster.simulator.events import iso_timestamp
from pi_dagster.simulator.files import SkabBase


def event_frames_of(
    archive: Archive, databases: Sequence[AssetDatabase], histories: Sequence[FrameHistory] = ()
) -> EventFrameStore:
    """The event frames that follow from an archive: the experiments of SKAB's, of others none.

    Args:
        archive: the archive.
        databases: the databases that follow from it.
        histories: made-up frames beside them.
    """
    store = EventFrameStore(databases, histories)
    if isinstance(archive.base, SkabBase):
        database = databases[0].snapshot()
        loop = [database.element(number).id for number in database.children(None)]
        for experiment in archive.base.experiments:
            first_anomaly = experiment.first_anomaly
            frame = store.open(
                f"Experiment {experiment.name}",
                start=experiment.start,
                template=experiment.folder,
                elements=loop,
                attributes={
                    "File": f"{experiment.name}.csv",
                    "Rows": experiment.rows,
                    "Anomaly Rows": experiment.anomalies,
                    "Changepoint Rows": experiment.changepoints,
                    "First Anomaly": None if first_anomaly is None else iso_timestamp(first_anomaly),
                },
            )
            store.close(frame.id, experiment.end)
    return store
