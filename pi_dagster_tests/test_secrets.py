"""No secret is left behind: not by loads that work, nor where a server sends back what it was sent, nor by a defect."""

from __future__ import annotations

import base64
import gzip
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, quote_plus

import dagster as dg
import pytest
from pydantic import ValidationError

from pi_dagster.assets import failures
from pi_dagster.assets import points as points_asset
from pi_dagster.components.site_file import load_site
from pi_dagster.lake import Lake
from pi_dagster.piwebapi.errors import RequestRefusedError
from pi_dagster.redaction import forms_of, is_secret_name, redacted, remember_secret
from pi_dagster.simulator import Fault, FaultKind, RunningSimulator, Simulator, SimulatorSettings
from pi_dagster.simulator.archive import Archive
from pi_dagster.simulator.generator import GeneratedBase
from pi_dagster.site import LakeSettings, ServerSettings, SparkSettings
from pi_dagster.site_mistakes import SiteFileError

PLANTED = {
    "PI_TEST_PASSWORD": "Gehe1m<&>ni$!/käse+",
    "PI_TEST_LAKE_KEY": "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEX",
    "PI_TEST_KEY_PASSWORD": "unlocks the key",
}
PROXY_PASSWORD = "of%20the%20proxy%21"
DAY = "2026-11-02"
SITE = """\
type: pi_dagster.components.PISystemComponent
attributes:
  server:
    url: {url}
    retry_budget_seconds: 0
    login: {{kind: basic, username: PLANT\\svc, password_env: PI_TEST_PASSWORD}}
  lake:
    uri: {lake}
    storage_options_env: {{aws_secret_access_key: PI_TEST_LAKE_KEY}}
  start_date: 2026-11-01
  asset_framework: null
  on_tag_error: keep
  tag_groups: [{{name: all, tag_filter: "*"}}]
"""
QUESTION = """{
  runsOrError { ... on Runs { results { runConfigYaml tags { key value } eventConnection { events {
    __typename ... on MessageEvent { message }
    ... on ErrorEvent { error { message stack cause { message stack } } }
    ... on MaterializationEvent { metadataEntries { label description ... on TextMetadataEntry { text }
      ... on TableMetadataEntry { table { records } } } }
    ... on ExecutionStepFailureEvent { failureMetadata { metadataEntries { label ... on TextMetadataEntry { text } } } }
  } } } } }
  assetNodes { description metadataEntries { label description ... on TextMetadataEntry { text } } }
}"""


@dataclass(frozen=True)
class Traces:
    """What runs have left behind: places to the bytes that are there."""

    places: Mapping[str, bytes]

    def holding(self, secret: str) -> list[str]:
        """Where `secret` is, in any form."""
        raw = secret.encode()
        forms = {raw, quote(secret).encode(), quote_plus(secret).encode(), quote(secret, safe="").encode()}
        forms |= {form.encode() for form in forms_of(secret)}
        return [place for place, content in self.places.items() if any(form in content for form in forms)]


def files_below(folder: Path) -> Iterator[tuple[str, bytes]]:
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            content = path.read_bytes()
            yield str(path), gzip.decompress(content) if path.suffix == ".gz" else content


@pytest.fixture
def simulator() -> Iterator[RunningSimulator]:
    settings = SimulatorSettings(user="PLANT\\svc", password=PLANTED["PI_TEST_PASSWORD"])
    with Simulator(archive=Archive(GeneratedBase(tags=6)), settings=settings).serve() as running:
        yield running


def echo() -> str:
    """What a server in debug mode may say: the request's headers."""
    login = base64.b64encode(f"PLANT\\svc:{PLANTED['PI_TEST_PASSWORD']}".encode()).decode()
    return f"Refused with Authorization: Basic {login} ({PLANTED['PI_TEST_PASSWORD']})"


@pytest.fixture
def traces(
    simulator: RunningSimulator,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    request: pytest.FixtureRequest,
) -> Traces:
    for variable, secret in PLANTED.items():
        monkeypatch.setenv(variable, secret)
    monkeypatch.setenv("https_proxy", f"http://me:{PROXY_PASSWORD}@127.0.0.1:1")
    home, lake, site_file = tmp_path / "home", tmp_path / "lake", tmp_path / "defs.yaml"
    home.mkdir()
    site_file.write_text(SITE.format(url=simulator.url, lake=lake))
    monkeypatch.setenv("PI_DAGSTER_SITE", str(site_file))
    monkeypatch.setenv("DAGSTER_HOME", str(home))
    (home / "dagster.yaml").write_text("telemetry: {enabled: false}\n")
    from pi_dagster.definitions import defs

    with dg.DagsterInstance.from_config(str(home)) as instance:
        job = defs().resolve_implicit_global_asset_job_def()

        def run(asset: str, **partition: str) -> bool:
            key = [dg.AssetKey([asset])]
            return job.execute_in_process(
                asset_selection=key, instance=instance, raise_on_error=False, **partition
            ).success

        assert run("pi_points")
        assert run("pi_timeseries", partition_key=f"{DAY}|all")
        for status in (403, 401):
            fault = simulator.faults.add(Fault(kind=FaultKind.STATUS, status=status, route="*recorded", message=echo()))
            run("pi_timeseries", partition_key=f"{DAY}|all")
            simulator.faults.clear(fault)
        # A defect of ours, whose stack trace Dagster keeps.
        monkeypatch.setattr(points_asset, "refresh_points", lambda *_, **__: int(echo()))
        assert not run("pi_points")
    asked = subprocess.run(
        [
            sys.executable,
            "-c",
            "from dagster_graphql.cli import main; main()",
            "-m",
            "pi_dagster.definitions",
            "-t",
            QUESTION,
        ],
        capture_output=True,
        env={**os.environ, "DAGSTER_HOME": str(home)},
        check=True,
    )
    out, err = capfd.readouterr()
    return Traces(
        {
            **dict(files_below(home)),
            **dict(files_below(lake)),
            "stdout": out.encode(),
            "stderr": err.encode(),
            "GraphQL": asked.stdout,
            "log of GraphQL": asked.stderr,
        }
    )


def test_nothing_that_runs_leave_behind_holds_a_secret(traces: Traces) -> None:
    assert b"Refused with Authorization" in traces.places["GraphQL"], "the echo must have come through"
    assert traces.holding("Refused with Authorization"), "the scan must see what is there"
    assert any("_delta_log" in place for place in traces.places)
    assert any("compute_logs" in place or place.endswith(".err") for place in traces.places)
    for secret in (*PLANTED.values(), PROXY_PASSWORD, "of the proxy!"):
        assert traces.holding(secret) == []


@pytest.mark.parametrize("before", ["", "u", "me", "svc", "PLANT\\svc:"])
def test_a_secret_is_masked_in_every_form(before: str) -> None:
    secret = "kä$e/und+Brot&\\"
    remember_secret(secret)
    login = before + secret
    for form in (
        login,
        quote(login, safe=""),
        quote_plus(login),
        base64.b64encode(login.encode()).decode(),
        base64.urlsafe_b64encode(f"{login}, and more".encode()).decode(),
    ):
        masked = redacted(f"It was {form}.")
        assert "***" in masked
        assert not Traces({"": masked.encode()}).holding(secret)


@pytest.mark.parametrize("scheme", ["Basic", "Bearer", "Negotiate", "NTLM", "bearer"])
def test_a_login_that_nobody_remembers_is_masked_too(scheme: str) -> None:
    """A ticket, or an answer to a challenge from which a password can be guessed."""
    said = f"Refused: {{'Authorization': '{scheme} TlRMTVNTUAADAAAAGAAYAHYA/+~_-=='}}"
    assert redacted(said) == f"Refused: {{'Authorization': '{scheme} ***'}}"


def test_words_about_logins_stay_as_they_are() -> None:
    told = "It takes no Basic login: see basic authentication. Kinds that it accepts: Negotiate, NTLM, Bearer."
    assert redacted(told) == told


def test_of_tokens_only_the_last_are_remembered() -> None:
    """A backfill of a week fetches thousands, and each error message is compared with all that is remembered."""
    remember_secret("lasting-secret")
    for number in range(1000):
        remember_secret(f"token-{number:04d}", is_passing=True)
    assert redacted("token-0000 token-0999 lasting-secret") == "token-0000 *** ***"


def test_a_text_without_secrets_stays_as_it_is() -> None:
    remember_secret("a secret that is nowhere")
    assert redacted("The tag BLR01.FLOW is well.") == "The tag BLR01.FLOW is well."


def test_a_short_secret_does_not_cut_up_messages() -> None:
    remember_secret("tag")
    assert redacted("The tag BLR01.FLOW is well.") == "The tag BLR01.FLOW is well."


@pytest.mark.parametrize(
    ("name", "is_secret"),
    [
        ("aws_secret_access_key", True),
        ("azure_storage_account_key", True),
        ("AZURE_STORAGE_SAS_TOKEN", True),
        ("sas_key", True),
        ("aws_session_token", True),
        ("azure_storage_client_secret", True),
        ("google_service_account_key", True),
        ("aws_access_key_id", False),
        ("aws_web_identity_token_file", False),
        ("aws_region", False),
        ("azure_storage_account_name", False),
    ],
)
def test_options_that_hold_secrets_are_known_by_name(name: str, is_secret: bool) -> None:
    assert is_secret_name(name) is is_secret


def test_a_secret_among_the_plain_storage_options_is_refused_without_being_told() -> None:
    with pytest.raises(ValidationError, match=r"aws_secret_access_key.*storage_options_env") as caught:
        LakeSettings(uri="s3://x/y", storage_options={"aws_secret_access_key": "hunter2hunter2"})
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "value", "is_refused"),
    [
        ("spark.hadoop.fs.s3a.secret.key", "hunter2hunter2", True),
        ("spark.hadoop.fs.azure.account.key.plant.dfs.core.windows.net", "hunter2hunter2", True),
        ("spark.hadoop.fs.azure.account.oauth2.client.secret.plant.dfs.core.windows.net", "hunter2hunter2", True),
        ("spark.hadoop.fs.azure.account.key.plant.dfs.core.windows.net", "{{secrets/pi/lake}}", False),
        ("spark.hadoop.fs.s3a.aws.credentials.provider", "com.amazonaws.auth.InstanceProfile", False),
        ("spark.hadoop.fs.s3a.endpoint", "https://minio.example.com", False),
        ("spark.sql.catalog.main.token", "not-used", False),
    ],
)
def test_a_secret_of_a_store_among_sparks_settings_is_refused_without_being_told(
    name: str, value: str, is_refused: bool
) -> None:
    if not is_refused:
        assert SparkSettings(settings={name: value}).settings == {name: value}
        return
    with pytest.raises(ValidationError, match=r"fs\..*spark-defaults\.conf") as caught:
        SparkSettings(settings={name: value})
    assert "hunter2" not in str(caught.value)


def test_a_password_in_the_wrong_place_of_a_site_is_not_repeated(tmp_path: Path) -> None:
    file = tmp_path / "defs.yaml"
    text = SITE.format(url="https://pi.example.com/piwebapi", lake="lake")
    file.write_text(text.replace("password_env: PI_TEST_PASSWORD", "password: hunter2hunter2"))
    with pytest.raises(SiteFileError, match="password") as caught:
        load_site(file)
    assert "hunter2" not in str(caught.value)
    with pytest.raises(ValidationError) as refused:
        ServerSettings(url="https://pi.example.com/piwebapi", login={"kind": "basic", "password": "hunter2hunter2"})
    assert "hunter2" not in str(refused.value)


def test_an_error_of_the_client_never_holds_what_was_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    remember_secret(PLANTED["PI_TEST_PASSWORD"])
    assert not Traces({"": str(RequestRefusedError(echo(), status=403)).encode()}).holding(PLANTED["PI_TEST_PASSWORD"])


def test_an_error_of_the_lake_never_holds_its_key() -> None:
    key = PLANTED["PI_TEST_LAKE_KEY"]
    lake = Lake("s3://bucket/pi", {"aws_secret_access_key": key})
    assert key not in repr(lake)
    assert key not in lake.plain_text(OSError(f"signature of {key} is wrong"))


def divide_by_nothing_while_handling(error: Exception) -> None:
    try:
        raise error
    except KeyError:
        _ = 1 / 0


def test_a_defect_keeps_its_stack_trace_but_not_the_secret() -> None:
    remember_secret(PLANTED["PI_TEST_PASSWORD"])
    with pytest.raises(RuntimeError, match="ZeroDivisionError") as caught, failures.errors_told_plainly():
        divide_by_nothing_while_handling(KeyError(echo()))
    assert "divide_by_nothing" in str(caught.value)
    assert not Traces({"": str(caught.value).encode()}).holding(PLANTED["PI_TEST_PASSWORD"])
    assert caught.value.__suppress_context__
