"""What comparing counts finds, and what it must not take for a difference."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.reconcile import Size, compare, find, loaded_plant, plant_differences


@pytest.mark.parametrize("server", [{}, {"count_of_nothing": "no_data", "streamset_limit": "total"}])
def test_every_planted_difference_is_found_and_nothing_else(tmp_path: Path, server: dict[str, str]) -> None:
    size = Size(tags=60, days=4, planted=40, shards=2)
    with loaded_plant(str(tmp_path), size, **server) as (site, archive):
        assert not [one for one in compare(site, size)[0] if one.differences or one.uncounted]
        outcome = find(site, size, plant_differences(archive, size))
    assert outcome.found == outcome.planted
    assert not outcome.found_after_reload
