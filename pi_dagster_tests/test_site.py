"""The site model refuses what cannot work, in words that say what to do."""

from __future__ import annotations

from datetime import date, datetime, timedelta, timezone
from typing import Any

import pytest
from pydantic import ValidationError

from pi_dagster.site import (
    BasicLogin,
    LakeSettings,
    SecretMissingError,
    Site,
    TagGroup,
    secret_from_environment,
)


def settings(**changes: Any) -> dict[str, Any]:
    return {
        "server": {"url": "https://pi.example.com/piwebapi"},
        "lake": {"uri": "/data/pi"},
        "start_date": "2026-01-01",
        "tag_groups": [{"name": "boilers", "tag_filter": "BLR*"}],
        **changes,
    }


def refusal(**changes: Any) -> str:
    with pytest.raises(ValidationError) as refused:
        Site.model_validate(settings(**changes))
    return str(refused.value)


def test_four_settings_make_a_site() -> None:
    site = Site.model_validate(settings())
    assert site.start_date == date(2026, 1, 1)
    assert site.partition_names() == ("boilers",)


def test_a_trailing_slash_of_the_url_does_not_matter() -> None:
    site = Site.model_validate(settings(server={"url": "https://pi.example.com/piwebapi/"}))
    assert site.server.url == "https://pi.example.com/piwebapi"


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("pi.example.com/piwebapi", "is not a URL"),
        ("https://pi.example.com/", "does not end in /piwebapi"),
        ("https://me:secret@pi.example.com/piwebapi", "must not hold a user name or password"),
        ("https://pi.example.com/piwebapi?x=1", "without ? or #"),
        ("{{ env.PI_WEB_API_URL }}", "is not a URL"),
        ("https://pi.example.com:99999/piwebapi", "a port is a number up to 65535"),
        ("https://pi.example.com:abc/piwebapi", "a port is a number up to 65535"),
        ("https://[::1/piwebapi", "a port is a number up to 65535"),
        ("https://pi example.com/piwebapi", "must not have blanks in it"),
        (" https://pi.example.com/piwebapi", "must not have blanks in it"),
    ],
)
def test_a_url_that_is_not_a_base_url_is_refused(url: str, reason: str) -> None:
    assert reason in refusal(server={"url": url})


@pytest.mark.parametrize(
    ("uri", "reason"),
    [
        ("s3:/bucket/pi", "write `://` after the kind of store"),
        ("file:/data/pi", "write `://` after the kind of store"),
        ("s3:bucket/pi", "write `://` after the kind of store"),
        ("s3://AKIA:hunter2@bucket/pi", "must not hold a login"),
        ("s3://AKIA:hunt/hunter2@bucket/pi", "is no URI"),
        ("abfss://c@account.dfs.core.windows.net/pi?sv=2022&sig=hunter2", "must not have ? or #"),
        ("s3://bucket/pi#hunter2", "must not have ? or #"),
        ("s3://[hunter2/pi", "is no URI"),
    ],
)
def test_a_lake_that_would_be_elsewhere_or_shows_a_secret_is_refused_without_repeating_it(
    uri: str, reason: str
) -> None:
    told = refusal(lake={"uri": uri})
    assert reason in told
    assert "hunter2" not in told


@pytest.mark.parametrize(
    "uri",
    [
        "abfss://container@account.dfs.core.windows.net/pi",
        "s3://bucket/pi",
        "file:///data/pi",
        "/data/pi#2?",
        "./s3:/pi",
        "~/pi",
        "lake",
    ],
)
def test_a_lake_may_be_a_folder_or_a_prefix_in_a_store(uri: str) -> None:
    assert Site.model_validate(settings(lake={"uri": uri})).lake.uri == uri


@pytest.mark.parametrize("url", ["/data/pi/reports", "pi.example.com/reports", "javascript:alert(1)", "https://a:b@pi"])
def test_an_address_of_reports_that_no_browser_should_open_is_refused(url: str) -> None:
    assert "is not an address for browsers" in refusal(reports_url=url)


@pytest.mark.parametrize("schedule", ["daily", "report"])
def test_a_schedule_of_pictures_that_is_no_cron_is_refused(schedule: str) -> None:
    assert f"schedules.{schedule}" in refusal(schedules={schedule: "at noon"})


def test_a_start_date_in_the_future_is_refused() -> None:
    tomorrow = datetime.now(timezone.utc).date() + timedelta(days=1)
    assert "is in the future" in refusal(start_date=tomorrow.isoformat())


def test_an_unknown_setting_is_refused() -> None:
    assert "start_dat" in refusal(start_dat="2026-01-01")


def test_a_group_has_exactly_one_way_to_match() -> None:
    assert "needs exactly one of `tag_filter`, `tags`, `af_template`, `element_path`; it has none" in refusal(
        tag_groups=[{"name": "a"}]
    )
    both = [{"name": "a", "tag_filter": "A*", "af_template": "Pump"}]
    assert "it has `tag_filter` and `af_template`" in refusal(tag_groups=both)


def test_a_group_by_assets_needs_the_asset_framework() -> None:
    groups = [{"name": "a", "element_path": "/Enterprise"}]
    assert "tag group 'a' is chosen by AF elements" in refusal(tag_groups=groups, asset_framework=None)


def test_the_asset_framework_is_read_unless_it_is_switched_off() -> None:
    asset_framework = Site.model_validate(settings()).asset_framework
    assert asset_framework is not None
    assert asset_framework.databases is None
    assert Site.model_validate(settings(asset_framework=None)).asset_framework is None


@pytest.mark.parametrize("share", [-0.1, 1.5])
def test_a_wrong_share_of_lost_tags_is_refused(share: float) -> None:
    assert "max_lost_tag_share" in refusal(max_lost_tag_share=share)


@pytest.mark.parametrize(
    ("setting", "wrong"),
    [
        ("databases", []),
        ("root_path", "Enterprise/Site1"),
        ("root_path", "/"),
        ("templates", []),
        ("categories", []),
        ("page_size", 1),
        ("elements_per_batch", 0),
        ("max_lost_share", 1.5),
    ],
)
def test_a_wrong_setting_of_the_asset_framework_is_refused(setting: str, wrong: object) -> None:
    assert f"asset_framework.{setting}" in refusal(asset_framework={setting: wrong})


@pytest.mark.parametrize(
    ("setting", "wrong"),
    [
        ("lookback_days", 0),
        ("lookback_days", 1000),
        ("sensor_interval_seconds", 1),
        ("page_size", 1),
        ("page_size", 200_000),
        ("templates", []),
        ("lookback", 7),
    ],
)
def test_a_wrong_setting_of_event_frames_is_refused(setting: str, wrong: object) -> None:
    assert f"event_frames.{setting}" in refusal(event_frames={setting: wrong})


@pytest.mark.parametrize("path", ["Enterprise", "", "/", "//x"])
def test_an_element_path_that_does_not_begin_at_the_first_level_is_refused(path: str) -> None:
    assert "tag_groups.0.element_path" in refusal(tag_groups=[{"name": "a", "element_path": path}])


@pytest.mark.parametrize("name", ["a|b", "a,b", "[a]", "a b", "", ".", "..", "a...b"])
def test_a_group_name_that_cannot_be_a_partition_key_is_refused(name: str) -> None:
    assert "tag_groups.0.name" in refusal(tag_groups=[{"name": name, "tag_filter": "A*"}])


def test_two_groups_with_one_name_are_refused_even_when_their_partitions_differ() -> None:
    groups = [{"name": "Pumps", "tag_filter": "A*"}, {"name": "pumps", "tag_filter": "B*", "shards": 2}]
    assert "two tag groups are named 'pumps'" in refusal(tag_groups=groups)


def test_a_group_named_like_the_shard_of_another_is_refused() -> None:
    groups = [{"name": "pumps", "tag_filter": "A*", "shards": 2}, {"name": "pumps-01", "tag_filter": "B*"}]
    assert "would share the partition 'pumps-01'" in refusal(tag_groups=groups)


def test_shards_are_numbered_in_a_fixed_width_so_that_they_sort() -> None:
    assert TagGroup(name="p", tag_filter="*", shards=2).partition_names() == ("p-00", "p-01")
    names = TagGroup(name="p", tag_filter="*", shards=200).partition_names()
    assert list(names) == sorted(names)
    assert names[-1] == "p-199"


@pytest.mark.parametrize("cron", ["every minute", "* * * *", "*/5 * * * * *"])
def test_a_schedule_that_is_not_cron_is_refused(cron: str) -> None:
    assert "is not a cron expression" in refusal(schedules={"timeseries": cron})
    assert "is not a cron expression" in refusal(schedules={"assets": cron})
    assert "is not a cron expression" in refusal(schedules={"event_frames": cron})
    assert "is not a cron expression" in refusal(schedules={"quality": cron})


@pytest.mark.parametrize(
    ("setting", "wrong"),
    [
        ("tail_overlap_minutes", -1),
        ("tail_overlap_minutes", 1441),
        ("settle_hours", -0.5),
        ("settle_hours", 25),
        ("retention_days", 6),
        ("reconcile_days", -1),
        ("reconcile_requests_per_run", 0),
    ],
)
def test_a_time_out_of_range_is_refused(setting: str, wrong: float) -> None:
    assert setting in refusal(**{setting: wrong})


def test_secrets_are_read_from_the_environment_when_they_are_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    lake = LakeSettings(uri="s3://b/p", storage_options={"region": "x"}, storage_options_env={"key": "LAKE_KEY"})
    monkeypatch.setenv("LAKE_KEY", "s3cret")
    assert lake.resolve_storage_options() == {"region": "x", "key": "s3cret"}


def test_a_missing_secret_names_the_variable_and_the_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PI_PASSWORD", raising=False)
    with pytest.raises(SecretMissingError, match=r"PI_PASSWORD.*server\.login\.password_env"):
        secret_from_environment("PI_PASSWORD", setting="server.login.password_env")


def test_no_secret_is_in_a_site(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PI_PASSWORD", "hunter2")
    login = BasicLogin(username="me", password_env="PI_PASSWORD")
    site = Site.model_validate(settings(server={"url": "https://pi.example.com/piwebapi", "login": login}))
    assert "hunter2" not in f"{site!r} {site.describe()}"
