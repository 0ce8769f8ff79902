"""Is an event frame still open although such things do not last so long?

Mostly the end was never recorded: a trigger that was never reset, or an analysis that was stopped or edited meanwhile.
"""

from __future__ import annotations

from datetime import datetime, timedelta

import pyarrow as pa
import pyarrow.compute as pc

from pi_dagster.checks.verdict import MOST_NAMED, Verdict, counted, duration
from pi_dagster.lake import AssetHierarchyTable, EventFramesTable, Lake, LakeError

NAME = "no_frame_open_too_long"

DESCRIPTION = """
No event frame has been open for more than {hours:g} hours (`checks.open_frame_hours`).
"""


def read_open_frames(lake: Lake) -> pa.Table:
    """The frames that are open, the oldest first, the first of them with the path of their element.

    Raises:
        TableMissingError: pi_event_frames has not been loaded.
        LakeAccessError: the storage failed.
    """
    frames = (
        EventFramesTable.open(lake, create=False)
        .to_arrow(["start_time", "event_name", "template_name", "primary_element_id"], where=pc.field("is_open"))
        .sort_by("start_time")
    )
    elements = pc.unique(frames.slice(0, MOST_NAMED)["primary_element_id"].drop_null()).to_pylist()
    paths: dict[str, str] = {}
    if elements:
        try:
            found = AssetHierarchyTable.open(lake, create=False).to_arrow(
                ["element_id", "element_path"], where=pc.field("element_id").isin(elements)
            )
            paths = dict(zip(*(found[name].to_pylist() for name in ("element_id", "element_path")), strict=True))
        except LakeError:
            # Their ids will do.
            pass
    about = [paths.get(element, element) for element in frames["primary_element_id"].to_pylist()]
    return frames.append_column("element", pa.array(about, pa.string()))


def judge_open_frames(frames: pa.Table, *, now: datetime, limit: timedelta) -> Verdict:
    """Whether no open frame is older than `limit`.

    Args:
        frames: the open ones, as `read_open_frames` returns them.
        now: the present.
        limit: how long a frame may be open.
    """
    too_old = frames.filter(pc.less(frames["start_time"], pa.scalar(now - limit, pa.timestamp("us", "UTC"))))
    oldest = now - frames["start_time"][0].as_py() if frames.num_rows else None
    open_now = f"{counted(frames.num_rows, 'event frame is', 'event frames are')} open"
    if too_old.num_rows and oldest is not None:
        said = f"{open_now}, {too_old.num_rows:,} for more than {duration(limit)}; the oldest for {duration(oldest)}."
    else:
        said = f"{open_now}, none for more than {duration(limit)}." if frames.num_rows else "No frame is open."
    return Verdict(
        passed=not too_old.num_rows,
        said=said,
        numbers={
            "pi/open_frames": frames.num_rows,
            "pi/frames_open_too_long": too_old.num_rows,
            **({} if oldest is None else {"pi/oldest_open_hours": round(oldest / timedelta(hours=1), 1)}),
        },
        offenders=[
            {
                "event frame": frame["event_name"],
                "template": frame["template_name"],
                "element": frame["element"],
                "open since": frame["start_time"],
                "hours": round((now - frame["start_time"]) / timedelta(hours=1), 1),
                "what to do": "If it is over, close the frame in PI System Explorer and see why its analysis did not. "
                "If such frames may last so long, raise checks.open_frame_hours.",
            }
            for frame in too_old.slice(0, MOST_NAMED).to_pylist()
        ],
    )
