"""Where the pages are: the folder `reports` of the lake, beside the tables, one file a day."""

from __future__ import annotations

from datetime import date

from pi_dagster.lake import Lake
from pi_dagster.pictures.report_facts import ReportFacts
from pi_dagster.pictures.report_page import render_page

FOLDER = "reports"


def report_path(day: date) -> str:
    """Where in the lake the page of a day is."""
    return f"{FOLDER}/{day}.html"


def write_report(lake: Lake, facts: ReportFacts) -> int:
    """Write the page of a day in the place of an earlier one, whole or not at all.

    Returns:
        Its bytes.

    Raises:
        LakeAccessError: the storage failed.
    """
    page = render_page(facts).encode()
    path = report_path(facts.day)
    # delta-rs takes only what has gone through the stream's buffer.
    buffer_bytes = len(page) + 1
    with (
        lake.explaining(f"writing {lake.uri}/{path}"),
        lake.filesystem().open_output_stream(path, buffer_size=buffer_bytes) as stream,
    ):
        stream.write(page)
    return len(page)
