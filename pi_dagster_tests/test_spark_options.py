"""What the options of `pi_web_api` mean, and how a wrong one is refused; no JVM is needed for that."""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path

import pytest

pytest.importorskip("pyspark", reason="the extra `spark` is not installed")

from pi_dagster.site import LakeSettings, ServerSettings, Site, TagGroup
from pi_dagster.spark.options import OptionError, ReadOptions

URL = "https://pi.example.com/piwebapi"
SITE = Site(
    server=ServerSettings(url=URL, batch_size=30),
    lake=LakeSettings(uri="/data/pi"),
    start_date=date(2026, 11, 2),
    tag_groups=(TagGroup(name="all", tag_filter="*"),),
    lag_seconds=77.0,
)

WITHOUT_AF = SITE.model_copy(update={"asset_framework": None}).model_dump_json()


def test_options_are_the_sites_settings_by_the_same_names() -> None:
    options = ReadOptions.of(
        {"server.url": URL, "server.BATCH_SIZE": "50", "server.compress": "false", "tags": '["A", "B, C"]'}
    )
    assert options.server == ServerSettings(url=URL, batch_size=50, compress=False)
    assert options.tags == ("A", "B, C")


def test_a_tag_that_is_named_twice_counts_once() -> None:
    options = ReadOptions.of({"server.url": URL, "tags": '["Blr01.Flow", "B", "BLR01.FLOW", "B"]'})
    assert options.tags == ("Blr01.Flow", "B")


def test_a_site_gives_server_lag_and_overlap() -> None:
    options = ReadOptions.of({"site": SITE.model_dump_json(), "tail_overlap_minutes": "3"})
    assert options.server == SITE.server
    assert (options.lag_seconds, options.tail_overlap_minutes) == (77.0, 3.0)


def test_lists_of_af_are_json_or_one_name() -> None:
    options = ReadOptions.of(
        {
            "server.url": URL,
            "table": "event_frames",
            "asset_framework.databases": '["Plant", "Lab"]',
            "event_frames.templates": "Batch",
        }
    )
    assert options.asset_framework is not None
    assert options.asset_framework.databases == ("Plant", "Lab")
    assert options.event_frames.templates == ("Batch",)


def test_a_site_may_be_a_site_file(tmp_path: Path) -> None:
    file = tmp_path / "defs.yaml"
    file.write_text(json.dumps({"type": "any", "attributes": SITE.model_dump(mode="json")}))
    assert ReadOptions.of({"site": str(file)}).site == SITE


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({}, "`server.url` is missing"),
        ({"server.url": URL, "tagfilter": "*"}, "did you mean `tag_filter`"),
        ({"server.url": URL, "start": "yesterday"}, "`start`: write it like 2026-11-02"),
        ({"server.url": URL, "tag_filter": "*", "tags": "A"}, "only one of tag_filter and tags"),
        ({"server.url": URL, "tag_group": "a"}, "needs the option `site`"),
        ({"server.url": URL, "table": "values"}, "Option `table`"),
        (
            {"server.url": URL, "table": "points", "with_window": "true"},
            "`with_window` belongs to the table",
        ),
        (
            {"server.url": URL, "table": "points", "start": "2026-11-02"},
            "`start` belongs to the table",
        ),
        ({"server.url": URL, "asset_framework.databses": "A"}, "did you mean `asset_framework.databases`"),
        ({"site": WITHOUT_AF, "table": "event_frames"}, "`asset_framework` switched off"),
        ({"server": URL}, "Option `server`"),
        ({"site": "{}"}, "is missing"),
        ({"site": "/no/such/file"}, "cannot be read"),
        ({"site": SITE.model_dump_json(), "server.url": URL}, "not both"),
        ({"site": SITE.model_dump_json(), "tag_group": "none"}, "no partition 'none'"),
        ({"server.url": URL, "max_window_minutes": "inf"}, "`max_window_minutes`"),
        ({"server.url": URL, "max_window_minutes": "nan"}, "`max_window_minutes`"),
        ({"server.url": URL, "max_window_minutes": "1e12"}, "`max_window_minutes`"),
        ({"server.url": URL, "tags": ""}, "`tags` holds something else than names"),
        ({"server.url": URL, "tags": '["A", " "]'}, "`tags` holds something else than names"),
        ({"server.url": URL, "tags": '[["A", "B"]]'}, "`tags` holds something else than names"),
        ({"site": SITE.model_dump_json(), "with_window": "true", "tag_filter": "*"}, "choose them by `tag_group`"),
        ({"site": SITE.model_dump_json(), "with_window": "true", "tags": "A"}, "choose them by `tag_group`"),
    ],
)
def test_a_wrong_option_is_told_by_its_name(options: dict[str, str], told: str) -> None:
    with pytest.raises(OptionError, match=told):
        ReadOptions.of(options)
