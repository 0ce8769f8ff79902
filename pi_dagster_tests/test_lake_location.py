from __future__ import annotations

from pathlib import Path

import pytest

from pi_dagster.lake import Lake, LakeError, LakeNotWritableError, TimeseriesTable


def test_a_local_folder_is_created_and_left_empty_by_the_write_check(tmp_path: Path) -> None:
    lake = Lake(str(tmp_path / "new" / "lake"))
    lake.check_writable()
    assert list(Path(lake.uri).iterdir()) == []


def test_a_relative_path_and_a_tilde_become_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert Lake("pi_demo/lake").uri == str(tmp_path / "pi_demo" / "lake")
    assert Lake("~/lake").uri == str(tmp_path / "home" / "lake")


def test_a_file_uri_is_the_folder_it_names(tmp_path: Path) -> None:
    assert Lake(f"file://{tmp_path}/a%20lake/").uri == str(tmp_path / "a lake")


def test_an_object_store_uri_is_passed_on_as_it_is() -> None:
    assert Lake("s3://bucket/pi/").table_uri("pi_points") == "s3://bucket/pi/pi_points"


def test_a_path_below_a_file_is_refused_in_words_that_name_it_and_the_remedy(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(LakeNotWritableError) as refused:
        TimeseriesTable.open(Lake(str(tmp_path / "file" / "lake")))
    assert str(tmp_path / "file" / "lake") in str(refused.value)
    assert "lake.uri" in str(refused.value)


def test_an_unknown_kind_of_store_is_refused() -> None:
    with pytest.raises(LakeNotWritableError, match="foo://bucket/pi"):
        Lake("foo://bucket/pi").check_writable()


def test_a_store_out_of_reach_is_refused_without_showing_the_credentials() -> None:
    options = {
        "AWS_ENDPOINT_URL": "http://127.0.0.1:9/hidden-token-in-the-path",
        "AWS_SESSION_TOKEN": "hidden-token-in-the-path",
        "AWS_ACCESS_KEY_ID": "an-id",
        "AWS_SECRET_ACCESS_KEY": "hidden-secret",
        "AWS_REGION": "eu-west-1",
        "allow_http": "true",
        "max_retries": "0",
    }
    lake = Lake("s3://bucket/pi", options)
    with pytest.raises(LakeNotWritableError, match="s3://bucket/pi") as refused:
        lake.check_writable()
    shown = f"{refused.value} {refused.value.__cause__} {lake!r}"
    assert "hidden" not in shown
    assert "\n" not in str(refused.value)
    assert "\x1b" not in str(refused.value)


def test_opening_a_table_of_a_store_out_of_reach_is_a_lake_error() -> None:
    options = {
        "AWS_ENDPOINT_URL": "http://127.0.0.1:9",
        "AWS_ACCESS_KEY_ID": "an-id",
        "AWS_SECRET_ACCESS_KEY": "hidden-secret",
        "AWS_REGION": "eu-west-1",
        "allow_http": "true",
        "max_retries": "0",
    }
    with pytest.raises(LakeError, match="s3://bucket/pi"):
        TimeseriesTable.open(Lake("s3://bucket/pi", options))
