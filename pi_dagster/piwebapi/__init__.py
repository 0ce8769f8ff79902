"""The PI Web API client: bytes to Arrow.

Two faces: `PIWebAPISource.read` for the recorded values of many streams over a window, and the lists of objects.
It sends GET, `POST /batch` of GETs and the registration for Stream Updates, and refuses to send anything else.
"""

from pi_dagster.piwebapi.errors import PermanentError, PIWebAPIError, TransientError
from pi_dagster.piwebapi.event_tables import RECORDED_SCHEMA
from pi_dagster.piwebapi.recorded import ReadWindow, RecordedReading, StreamRef
from pi_dagster.piwebapi.source import PIWebAPISource

__all__ = [
    "RECORDED_SCHEMA",
    "PIWebAPIError",
    "PIWebAPISource",
    "PermanentError",
    "ReadWindow",
    "RecordedReading",
    "StreamRef",
    "TransientError",
]
