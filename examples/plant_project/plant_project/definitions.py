"""What Dagster loads: everything below the folder `defs`."""

from pathlib import Path

import dagster as dg


@dg.definitions
def defs() -> dg.Definitions:
    """The PI system, and what the plant makes of it; one process a run, as a run loads one asset."""
    folder = dg.load_from_defs_folder(path_within_project=Path(__file__).parent)
    return dg.Definitions.merge(folder, dg.Definitions(executor=dg.in_process_executor))
